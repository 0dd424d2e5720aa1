//! Used disks that a pool's spec allows to wipe, and those that it does not.

use std::fs;

use rstest::rstest;

use crate::support::{
    content::pattern,
    disks::{Disks, Scsi, empty, members, scribble, sum},
    machine::{attempt, run, wait_until},
    mib,
};

const GROUP: &str = "tarn-pool";
/// What is in the middle of the used disk.
const SECRET_AT: u64 = 100;

/// The end of the line of a plan that is about a disk: after its description.
fn said_of(plan: &str, disk: &str) -> (String, String) {
    let line = plan.lines().find(|it| it.contains(&format!("{disk} ("))).unwrap();
    let (described, words) = line.split_once("): ").unwrap();
    let serial = described.rsplit("serial ").next().unwrap();
    (serial.to_owned(), words.to_owned())
}

fn pools(disks: &Disks, serial: &str, contains: &str) {
    let wipe = format!("[{{serial: {serial:?}, contains: {contains:?}}}]");
    disks.pools(&format!(r#"{{paths: ["/dev/sd*"], wipe: {wipe}}}"#));
}

#[rstest]
#[case::file_system(|disk: &str| {
    run("mkfs.ext4", &["-qF", "-L", "old", disk]);
})]
#[case::partitions(|disk: &str| {
    run("sgdisk", &["-n", "1:0:+100M", disk]);
    attempt("blockdev", &["--rereadpt", disk]);
    run("mkfs.ext4", &["-qF", &format!("{disk}1")]);
})]
#[case::unknown(|disk: &str| scribble(disk, 7, b"something"))]
#[ignore = "guest: wipes a whole disk"]
fn a_used_disk_is_wiped_with_consent_alone(#[case] make: fn(&str)) {
    let disks = Disks::new(0);
    let scsi = Scsi::new();
    let disk = &scsi.path;
    make(disk);
    let secret = pattern(7, 4096);
    scribble(disk, i64::try_from(mib(SECRET_AT)).unwrap(), &secret);
    let before = sum(disk);

    disks.pools(r#"{paths: ["/dev/sd*"]}"#);
    let (serial, words) = said_of(&disks.plan(), disk);
    for (serial, words) in [(&serial[1..], &*words), (&serial, &words[1..])] {
        pools(&disks, serial, words);
        assert!(disks.plan().contains("refuses"), "{}", disks.plan());
    }
    assert_eq!(sum(disk), before, "somebody wrote to {disk}");

    pools(&disks, &serial, &words);
    let plan = disks.plan();
    assert!(plan.contains("wipes   ") && plan.contains("overwrite all of"), "{plan}");
    assert_eq!(sum(disk), before, "a plan changes nothing");
    let driver = disks.start();
    wait_until("the disk is in the pool", || members(GROUP) == [disk.clone()]);
    driver.stop();
    let all = fs::read(disk).unwrap();
    assert!(!all.windows(secret.len()).any(|it| it == secret), "old bytes are left");
    assert!(disks.plan().contains("nothing to do"));
    run("vgremove", &["-qq", "-y", GROUP]);
    empty(disk);
}
