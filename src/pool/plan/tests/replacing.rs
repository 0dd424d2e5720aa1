//! Disks that are missing, and what is done about them.

use rstest::rstest;

use super::*;
use crate::pool::survey::Absent;

/// The pool's group on `sda` and on a disk that is missing, given up or not, and an empty `sdb`.
fn bereft(absent: Absent, given_up: bool) -> Survey {
    let mut tags = our_tags("fast");
    tags.extend(crate::pool::repair::tag_for("gone-uuid").filter(|_| given_up));
    let mut has = member("sda", "tarn-fast", tags);
    let physical = has.physical.as_mut().unwrap();
    physical.group.as_mut().unwrap().missing = 1;
    let away = SeenPhysicalVolume {
        device: "[unknown]".into(),
        number: None,
        uuid: "gone-uuid".to_owned(),
        missing: true,
        ..physical.clone()
    };
    let mut survey = survey(vec![has, empty("sdb")]);
    survey.physical.push(away);
    survey.absent.insert("gone-uuid".to_owned(), absent);
    survey
}

fn retiring(what: &str) -> PoolEntry {
    pool("fast", &format!(r#"{{"paths": ["/dev/sd*"], "retire": ["{what}"]}}"#))
}

const GIVE_UP: &str = "give up the missing physical volume gone-uuid of tarn-fast";
const TAKE: [&str; 2] = ["pvcreate --metadatasize 32Mi /dev/sdb", "vgextend tarn-fast /dev/sdb"];

#[rstest]
#[case::it_may_be_back(fast(), false, false, &[])]
#[case::a_new_disk_takes_its_place(fast(), true, false, &[TAKE[0], GIVE_UP, TAKE[1]])]
#[case::and_it_is_given_up_already(fast(), true, true, &TAKE)]
#[case::retired_by_serial(retiring("S-gone"), false, false, &[GIVE_UP])]
#[case::retired_by_uuid(retiring("gone-uuid"), false, false, &[GIVE_UP])]
#[case::retired_already(retiring("gone-uuid"), false, true, &[])]
#[case::another_is_retired(retiring("S-sdc"), false, false, &[])]
fn what_is_done(
    #[case] pool: PoolEntry,
    #[case] replaceable: bool,
    #[case] given_up: bool,
    #[case] want: &[&str],
) {
    let absent = Absent { serial: Some("S-gone".to_owned()), replaceable };
    let plan = plan(&[pool], &owner(), &bereft(absent, given_up));
    assert_eq!(steps(&plan), want);
}

#[test]
fn no_disk_is_given_up_for_one_that_is_refused() {
    let absent = Absent { serial: None, replaceable: true };
    let mut survey = bereft(absent, false);
    survey.disks.pop();
    let used = with_signature("sdb", "ext4", Family::FileSystem);
    survey.disks.push(used);
    assert_eq!(steps(&plan(&[fast()], &owner(), &survey)), [""; 0]);
}
