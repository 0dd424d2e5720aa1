//! What may be adopted and released, and what is said of the rest.

use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::{
    fs::FsKind,
    lvm::{Layout, Tag},
    units::Bytes,
    volume::Purpose,
};

fn lv(name: &str, tags: &[&str]) -> LogicalVolume {
    let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    let lv = LogicalVolume::new(name.parse().unwrap(), Bytes::GIB, Kind::Thick);
    LogicalVolume { tags, uuid: name.to_owned(), ..lv }
}

fn group(name: &str, logical: Vec<LogicalVolume>) -> Group {
    Group {
        name: name.parse().unwrap(),
        uuid: String::new(),
        extent: Bytes::mib(4),
        extents: 0,
        free: 0,
        tags: Vec::new(),
        physical: Vec::new(),
        logical,
        layers: vec![lv("tarn-thin_tdata", &[])],
        legs: Vec::new(),
        moving: BTreeMap::new(),
    }
}

/// The tags of a volume of this name that was called `was`.
fn tags(name: &str, was: Option<&str>) -> Vec<Tag> {
    let record = Record {
        name: name.parse().unwrap(),
        purpose: Purpose::Filesystem(FsKind::Ext4),
        size: Bytes::GIB,
        layout: Layout::Linear,
        wipe: crate::device::Wipe::Zero,
        mkfs: String::new(),
        source: None,
        was: was.map(|it| it.parse().unwrap()),
        created: 0,
        fresh: false,
        twin: false,
        copying: false,
    };
    record.tags("local.tarn.dev")
}

fn id(name: &str) -> VolumeId {
    VolumeId::of(&name.parse().unwrap())
}

/// A volume of Tarn's of this name, perhaps one that was adopted.
fn ours(name: &str, was: Option<&str>) -> LogicalVolume {
    LogicalVolume { tags: tags(name, was), ..lv(id(name).as_str(), &[]) }
}

fn said(groups: &[Group], path: &str, name: &str) -> Result<Meant, String> {
    let wanted = Adoption {
        what: path.parse().unwrap(),
        name: name.parse().unwrap(),
        purpose: None,
        wipe: None,
    };
    let groups: Vec<&Group> = groups.iter().collect();
    to_adopt(&groups, &wanted).map_err(|err| err.to_string())
}

#[rstest]
#[case::both("vg0/data")]
#[case::device("/dev/vg0/data")]
#[case::alone("data")]
fn one_is_meant(#[case] path: &str) {
    let groups = [group("vg1", Vec::new()), group("vg0", vec![lv("data", &["theirs"])])];
    let meant = said(&groups, path, "diary").unwrap();
    assert_eq!((meant.at, meant.lv.name.as_str(), meant.is_done), (1, "data", false));
    assert_eq!(meant.was, meant.lv.name);
}

#[rstest]
#[case::nothing("vg0/nothing", "`lvs` shows")]
#[case::no_pool("other/data", "which have vg0, vg1")]
#[case::two("twice", "may be vg0/twice or vg1/twice: say which")]
#[case::layer("vg0/tarn-thin_tdata", "LVM keeps for itself")]
#[case::leg("vg0/mirror_rimage_0", "LVM keeps for itself")]
#[case::pool("vg0/pool", "a thin pool")]
#[case::cow("vg0/cow", "a snapshot")]
#[case::origin("vg0/origin", "has snapshots or copies: cow, thin-copy")]
#[case::thin_copy("vg0/thin-copy", "a snapshot or copy of origin")]
#[case::cache("vg0/cached", "cache")]
#[case::half_made("vg0/half", "cut short")]
#[case::volume(&format!("vg0/{}", id("made")), "is Tarn's already: made")]
#[case::deleted(&format!("vg0/x-{}-0", id("gone")), "is being wiped")]
#[case::stray_tag("vg0/odd", "lvchange --deltag")]
#[case::adopted("vg0/photos", "was adopted as volume album")]
#[case::taken("vg0/data", "the name is taken")]
fn what_is_refused_and_why(#[case] path: &str, #[case] why: &str) {
    let kind = |name: &str, kind: Kind| LogicalVolume { kind, ..lv(name, &[]) };
    let of_origin =
        |it: LogicalVolume| LogicalVolume { origin: Some("origin".parse().unwrap()), ..it };
    let vg0 = group(
        "vg0",
        vec![
            lv("twice", &[]),
            lv("data", &[]),
            lv("origin", &[]),
            lv("odd", &["tarn.name=odd"]),
            kind("pool", Kind::ThinPool { data_percent: None, metadata_percent: None }),
            of_origin(kind("cow", Kind::CopyOnWrite)),
            of_origin(kind("thin-copy", Kind::Thin("pool".parse().unwrap()))),
            kind("cached", Kind::Other("cache".to_owned())),
            kind("half", Kind::HalfMade),
            lv(&format!("x-{}-0", id("gone")), &[]),
            ours("made", None),
            ours("album", Some("photos")),
        ],
    );
    // The name that is asked for is taken by a volume in another group.
    let vg1 = group("vg1", vec![lv("twice", &[]), ours("diary", None)]);
    let refused = said(&[vg0, vg1], path, "diary").unwrap_err();
    assert!(refused.contains(why), "{refused}");
}

#[test]
fn what_was_begun_is_meant_again_under_any_name() {
    let begun = LogicalVolume { tags: tags("diary", Some("data")), ..lv("data", &[]) };
    let groups = [group("vg0", vec![begun])];
    for name in ["diary", "another"] {
        let meant = said(&groups, "vg0/data", name).unwrap();
        assert_eq!((meant.lv.name.as_str(), meant.is_done), ("data", false));
    }
}

#[test]
fn a_volume_that_has_its_name_is_released_before_one_that_has_begun_to_take_it() {
    let begun = LogicalVolume { tags: tags("diary", Some("data")), ..lv("data", &[]) };
    let meant = released(vec![begun, ours("diary", Some("before"))], "diary").unwrap();
    assert_eq!((meant.lv.name.as_str(), meant.was.as_str()), (id("diary").as_str(), "before"));
}

#[test]
fn what_is_done_is_found() {
    let groups = [group("vg0", vec![ours("diary", Some("data"))])];
    let meant = said(&groups, "vg0/data", "diary").unwrap();
    assert_eq!((meant.lv.name.as_str(), meant.is_done), (id("diary").as_str(), true));
    assert_eq!(meant.was.as_str(), "data");
}

#[test]
fn a_new_volume_of_the_old_name_is_another() {
    let groups = [group("vg0", vec![ours("diary", Some("data")), lv("data", &[])])];
    let twice = said(&groups, "vg0/data", "diary").unwrap_err();
    assert!(twice.contains("is meant twice"), "{twice}");
    let meant = said(&groups, "vg0/data", "second").unwrap();
    assert_eq!((meant.lv.name.as_str(), meant.is_done), ("data", false));
}

#[test]
fn one_that_had_the_name_of_its_id_needs_only_tags() {
    let name = id("diary").to_string();
    let bare = said(&[group("vg0", vec![lv(&name, &[])])], &name, "diary").unwrap();
    assert!(!bare.is_done);
    let marked = [group("vg0", vec![ours("diary", Some(&name))])];
    assert!(said(&marked, &name, "diary").unwrap().is_done);
}

fn released(logical: Vec<LogicalVolume>, name: &str) -> Result<Meant, String> {
    let groups = [group("vg1", Vec::new()), group("vg0", logical)];
    let groups: Vec<&Group> = groups.iter().collect();
    to_release(&groups, &id(name)).map_err(|err| err.to_string())
}

#[test]
fn an_adopted_volume_is_released_also_when_that_was_begun() {
    let meant = released(vec![ours("diary", Some("data"))], "diary").unwrap();
    assert_eq!((meant.at, meant.lv.name.as_str()), (1, id("diary").as_str()));
    assert_eq!(meant.was.as_str(), "data");
    let begun = LogicalVolume { tags: tags("diary", Some("data")), ..lv("data", &[]) };
    let meant = released(vec![begun], "diary").unwrap();
    assert_eq!((meant.lv.name.as_str(), meant.was.as_str()), ("data", "data"));
}

#[test]
fn what_is_not_released_and_why() {
    let refused = |logical: Vec<LogicalVolume>| released(logical, "diary").unwrap_err();
    let unknown = refused(vec![ours("other", Some("data"))]);
    assert!(unknown.contains("does not exist here"), "{unknown}");
    let own = refused(vec![ours("diary", None)]);
    assert!(own.contains("was made by Tarn"), "{own}");
    let taken = refused(vec![ours("diary", Some("data")), lv("data", &[])]);
    assert!(taken.contains("vg0/data, and another is by now"), "{taken}");

    let adopted = ours("diary", Some("data"));
    let mut of_it = Record::read(&tags("later", None)).unwrap();
    of_it.source = Some(Source::Volume(id("diary")));
    let snapshot = |name: &str| LogicalVolume { tags: of_it.tags("x"), ..lv(name, &[]) };
    let kept = refused(vec![adopted.clone(), snapshot("s-later")]);
    assert!(kept.contains("s-later"), "{kept}");
    let finished_clone = vec![adopted.clone(), snapshot("v-later")];
    assert!(released(finished_clone, "diary").is_ok());
    of_it.copying = true;
    let copied = LogicalVolume { tags: of_it.tags("x"), ..lv("v-later", &[]) };
    assert!(refused(vec![adopted, copied]).contains("v-later"));
}
