//! Pools that are made of disks: which are taken, which are left alone, and what a kill leaves.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::libc;
use rstest::rstest;

use crate::support::{
    calls::Csi,
    disks::{Disks, disk, empty, members, scribble, sum, tell_change},
    driver::{socket, standalone},
    machine::{attempt, run, wait_until},
    mib,
    wish::Wish,
};

/// The group of the pool `pool`.
const GROUP: &str = "tarn-pool";
const BOTH: &str = r#"{paths: ["/dev/disk/by-id/scratch-ubd[ab]"]}"#;
/// By when a new disk has joined, also on a busy machine: long before the look that comes without a
/// change.
const SOON: Duration = Duration::from_secs(60);
/// Quick for a test.
const LUKS: &str =
    "luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /etc/hostname";

fn made_by(line: &str, disk: &str) {
    let mut words = line.split(' ');
    let program = words.next().unwrap();
    let args: Vec<&str> = words.chain([disk]).collect();
    run(program, &args);
}

fn raid(disk: &str, metadata: &str) {
    let args = ["--create", "/dev/md7", "--run", "--level=1", "--raid-devices=2"];
    run("mdadm", &[&args[..], &[metadata, "missing", disk]].concat());
    run("mdadm", &["--stop", "/dev/md7"]);
}

/// The labels of a ZFS pool's member as far as blkid looks: uberblocks in the first label.
fn zfs(disk: &str) {
    for block in 0..8_i64 {
        scribble(disk, (128 << 10) + (block << 10), &0x00ba_b10c_u64.to_le_bytes());
    }
}

fn bcache(disk: &str) {
    let magic = [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d,
        0x81,
    ];
    // The magic number stands 24 bytes into the superblock; blkid of some versions wants its sum too,
    // and else the bytes themselves keep the disk from being taken.
    scribble(disk, 4096 + 24, &magic);
}

fn foreign_group(disk: &str) {
    run("pvcreate", &["-qq", "-y", disk]);
    run("vgcreate", &["-qq", "-y", "theirs", disk]);
    run("lvcreate", &["-qqy", "-L", "8m", "-n", "data", "theirs"]);
}

#[rstest]
#[case::ext4("an ext4 file system", |disk: &str| made_by("mkfs.ext4 -qF", disk))]
#[case::xfs("a xfs file system", |disk: &str| made_by("mkfs.xfs -q", disk))]
#[case::btrfs("a btrfs file system", |disk: &str| made_by("mkfs.btrfs -q", disk))]
#[case::swap("a swap area", |disk: &str| made_by("mkswap", disk))]
#[case::luks("crypto_LUKS", |disk: &str| made_by(&format!("cryptsetup {LUKS}"), disk))]
#[case::gpt("a gpt partition table", |disk: &str| made_by("sgdisk -o", disk))]
#[case::partitions("it has the partitions ubda1", |disk: &str| made_by("sgdisk -n 1:0:+64M", disk))]
#[case::raid("the mark of a RAID member", |disk: &str| raid(disk, "--metadata=1.2"))]
#[case::raid_at_the_end("the mark of a RAID member", |disk: &str| raid(disk, "--metadata=1.0"))]
#[case::zfs("the label of a ZFS pool", zfs)]
#[case::bcache("it", bcache)]
#[case::ceph("the label of a Ceph disk", |disk: &str| scribble(disk, 0, b"bluestore block device\n0123"))]
#[case::group("it belongs to volume group theirs", foreign_group)]
#[case::loose("the label of an LVM physical volume", |disk: &str| made_by("pvcreate -qq -y", disk))]
#[case::one_byte("it is not empty", |disk: &str| scribble(disk, (1 << 20) - 1, b"x"))]
#[case::last_byte("it is not empty", |disk: &str| scribble(disk, -1, b"x"))]
#[case::read_only("it is read-only", |disk: &str| made_by("blockdev --setro", disk))]
#[ignore = "guest: writes to whole disks"]
fn what_is_not_empty_is_left_alone(#[case] words: &str, #[case] make: fn(&str)) {
    let disks = Disks::new(2);
    let (used, spare) = (disk(0), disk(1));
    make(&used);
    attempt("blockdev", &["--rereadpt", &used]);
    disks.pools(BOTH);
    let before = sum(&used);
    let plan = disks.plan();
    let line = plan.lines().find(|it| it.contains(&used)).unwrap();
    assert!(line.trim_start().starts_with("refuses") && line.contains(words), "{plan}");
    disks.start().stop();
    assert_eq!(members(GROUP), [spare]);
    assert_eq!(sum(&used), before, "somebody wrote to {used}");
}

#[test]
#[ignore = "guest: mounts whole disks"]
fn what_is_in_use_is_left_alone() {
    let disks = Disks::new(4);
    disks.pools(r#"{paths: ["/dev/ubd[a-d]"]}"#);
    let at = disks.ground.home.join("mounted");
    fs::create_dir(&at).unwrap();
    run("mkfs.ext4", &["-qF", &disk(0)]);
    run("mount", &[&disk(0), at.to_str().unwrap()]);
    // Both are empty to look at.
    run("dmsetup", &["create", "above", "--table", &format!("0 2048 linear {} 0", disk(1))]);
    let held = OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(disk(2)).unwrap();
    let plan = disks.plan();
    let said = |number: usize, words: &str| {
        let line = plan.lines().find(|it| it.contains(&disk(number))).unwrap();
        assert!(line.contains(words), "{plan}");
    };
    said(0, &format!("ubda is mounted at {}", at.display()));
    said(1, "it is below the device /dev/mapper/above");
    said(2, "/dev/ubdc is in use");
    said(3, "takes");
    let driver = disks.start();
    assert_eq!(members(GROUP), [disk(3)]);
    driver.stop();
    drop(held);
    run("dmsetup", &["remove", "above"]);
    run("umount", &[at.to_str().unwrap()]);
}

#[test]
#[ignore = "guest: takes whole disks"]
fn empty_disks_become_a_pool_that_volumes_are_made_in() {
    let disks = Disks::new(2);
    disks.pools(BOTH);
    let plan = disks.plan();
    assert!(plan.contains("takes   /dev/ubda") && plan.contains("vgcreate"), "{plan}");
    assert!(members(GROUP).is_empty(), "a plan changes nothing");
    let driver = disks.start();
    assert_eq!(members(GROUP), [disk(0), disk(1)]);
    let tags = run("vgs", &["--noheadings", "-o", "vg_tags", GROUP]);
    assert_eq!(tags.trim(), "tarn.by=local.tarn.dev,tarn.node=guest,tarn.pool=pool");
    let area =
        run("vgs", &["--noheadings", "--units", "m", "--nosuffix", "-o", "vg_mda_size", GROUP]);
    assert!(area.trim().parse::<f64>().unwrap() > 30.0, "room for thousands of volumes: {area}");
    let csi = Csi::connect(&socket(&disks.ground.home));
    let made = csi.create_volume(Wish::new("v", "block", mib(5000)).request()).unwrap();
    assert_eq!(made.volume.unwrap().capacity_bytes.unsigned_abs(), mib(5000), "on both disks");
    let before = run("pvs", &["-o", "pv_name,pv_uuid,vg_uuid"]);
    driver.stop();
    let plan = disks.plan();
    assert!(plan.contains("has     /dev/ubda") && plan.contains("nothing to do"), "{plan}");
    disks.start().stop();
    assert_eq!(run("pvs", &["-o", "pv_name,pv_uuid,vg_uuid"]), before);
}

#[test]
#[ignore = "guest: takes whole disks"]
fn a_disk_that_comes_later_joins_soon() {
    let disks = Disks::new(2);
    disks.pools(r#"{paths: ["/dev/disk/by-id/*", "/dev/loop*"], types: [Disk, Loop]}"#);
    scribble(&disk(1), 0, b"not empty yet");
    let driver = disks.start();
    let csi = Csi::connect(&socket(&disks.ground.home));
    let room = || csi.get_capacity(Default::default()).unwrap().available_capacity;
    let (members_before, before) = (members(GROUP), room());
    assert_eq!(members_before, [disk(0)]);
    // One that was refused and is emptied.
    empty(&disk(1));
    let began = Instant::now();
    tell_change(&disk(1));
    wait_until("the emptied disk has joined", || room() > before);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // One that was not there at all.
    let (file, before) = (disks.ground.home.join("disk.img"), room());
    File::create(&file).unwrap().set_len(mib(200)).unwrap();
    let began = Instant::now();
    let device = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
    wait_until("the new disk has joined", || room() > before);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(members(GROUP).contains(&device.trim().to_owned()));
    driver.stop();
}

#[test]
#[ignore = "guest: makes volume groups of whole disks"]
fn a_group_of_the_pools_name_that_is_anothers_is_not_touched() {
    let disks = Disks::new(2);
    disks.pools(BOTH);
    run("pvcreate", &["-qq", "-y", &disk(0)]);
    let tags = ["--addtag", "tarn.pool=pool", "--addtag", "tarn.node=guest"];
    let other = ["--addtag", "tarn.by=local.tarn.dev", "--addtag", "tarn.cluster=another"];
    run("vgcreate", &[&["-qq", "-y"], &tags[..], &other[..], &[GROUP, &disk(0)]].concat());
    let before = (sum(&disk(0)), sum(&disk(1)));
    let plan = disks.plan();
    assert!(plan.contains("cluster another; it is left alone"), "{plan}");
    let output = standalone(&disks.ground.home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("left alone"), "{said}");
    assert_eq!((sum(&disk(0)), sum(&disk(1))), before, "somebody wrote to a disk");
}

/// Starts the driver, which something kills, and waits for its end.
fn start_to_be_killed(home: &Path) {
    let mut command = standalone(home);
    let log = OpenOptions::new().create(true).append(true).open(home.join("driver.log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let status = command.spawn().unwrap().wait().unwrap();
    assert_eq!(status.code(), None, "it was not killed: {status}");
}

#[rstest]
#[case::before("pvcreate", "kill -9 $PPID")]
#[case::after("pvcreate", r#""$real" "$@"; kill -9 $PPID"#)]
#[case::before("vgcreate", "kill -9 $PPID")]
#[case::after("vgcreate", r#""$real" "$@"; kill -9 $PPID"#)]
// The program itself, at some moment, and the driver with it.
#[case::in_the_middle_of("pvcreate", r#"timeout -s KILL 0.02 "$real" "$@"; kill -9 $PPID"#)]
#[case::in_the_middle_of("vgcreate", r#"timeout -s KILL 0.02 "$real" "$@"; kill -9 $PPID"#)]
#[case::later_in("vgcreate", r#"timeout -s KILL 0.04 "$real" "$@"; kill -9 $PPID"#)]
#[ignore = "guest: takes whole disks"]
fn killed_between_steps_it_goes_on_where_it_was(#[case] program: &str, #[case] script: &str) {
    let disks = Disks::new(3);
    disks.pools(r#"{paths: ["/dev/disk/by-id/scratch-*"]}"#);
    disks.wrap(program, script);
    start_to_be_killed(&disks.ground.home);
    disks.unwrap_program(program);
    let driver = disks.start();
    assert_eq!(members(GROUP), [disk(0), disk(1), disk(2)]);
    driver.stop();
    assert!(disks.plan().contains("nothing to do"));
}

#[rstest]
#[case::before("kill -9 $PPID")]
#[case::after(r#""$real" "$@"; kill -9 $PPID"#)]
#[case::in_the_middle(r#"timeout -s KILL 0.02 "$real" "$@"; kill -9 $PPID"#)]
#[ignore = "guest: takes whole disks"]
fn killed_while_it_extends_it_goes_on(#[case] script: &str) {
    let disks = Disks::new(3);
    disks.pools(r#"{paths: ["/dev/ubda"]}"#);
    disks.start().stop();
    disks.pools(r#"{paths: ["/dev/ubd[abc]"]}"#);
    disks.wrap("vgextend", script);
    start_to_be_killed(&disks.ground.home);
    disks.unwrap_program("vgextend");
    disks.start().stop();
    assert_eq!(members(GROUP), [disk(0), disk(1), disk(2)]);
}

/// Between the plan and the deed somebody makes a file system: the disk was empty when it was looked
/// at first.
#[test]
#[ignore = "guest: takes whole disks"]
fn what_is_used_in_the_meantime_is_left_alone() {
    let disks = Disks::new(2);
    disks.pools(BOTH);
    let flag = disks.ground.home.join("done");
    let flag = flag.display();
    disks.wrap(
        "blkid",
        &format!(
            r#""$real" "$@"; code=$?
            if [[ $* == *{} && ! -e {flag} ]]; then touch {flag}; mkfs.ext4 -qF {} >&2; fi
            exit $code"#,
            disk(0),
            disk(0)
        ),
    );
    let driver = disks.start();
    assert_eq!(members(GROUP), [disk(1)]);
    assert!(driver.last_words().contains("not empty any more"), "{}", driver.last_words());
    assert!(run("blkid", &["-p", "-o", "export", &disk(0)]).contains("TYPE=ext4"));
    driver.stop();
}

/// A survey is one LVM command and, beside it, short, however many volumes there are.
#[test]
#[ignore = "guest: takes whole disks"]
fn a_look_at_the_disks_is_one_lvm_command() {
    let disks = Disks::new(1);
    disks.pools(r#"{paths: ["/dev/ubda"]}"#);
    let count = disks.ground.home.join("count");
    for program in ["pvs", "vgs", "lvs", "lvm"] {
        let line = format!("echo {program} >>{}; exec \"$real\" \"$@\"", count.display());
        disks.wrap(program, &line);
    }
    let path =
        format!("{}:{}", disks.ground.home.join("bin").display(), std::env::var("PATH").unwrap());
    let mut plan = Command::new(env!("CARGO_BIN_EXE_tarn"));
    plan.args(["pools", "plan", "--node-id", "guest", "--pools"]);
    plan.arg(disks.ground.home.join("pools.yaml")).env("PATH", path);
    assert!(plan.stdout(Stdio::null()).status().unwrap().success());
    assert_eq!(fs::read_to_string(&count).unwrap(), "pvs\n");
}
