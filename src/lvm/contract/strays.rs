//! What real LVM leaves in its thin pools when it is killed or fails, and what becomes of it. Each test shows as well
//! that LVM alone does not cope.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use rstest::rstest;

use super::{
    Error, Layout, SnapshotKind, extents,
    ground::{Ground, ScratchGroup, attempt, by_hand, lv},
};

const SECRET: &[u8] = b"one tenant's bytes";
/// How a move is begun that stays in the foreground, and how one is ended that was cut short.
const MOVE: [&str; 5] =
    ["--yes", "--config", "activation/monitoring=0 global/use_lvmpolld=0", "--interval", "1"];

/// A pool with the thin volume `v`, which has something on it.
fn scene(group: &ScratchGroup) -> Ground<'_> {
    let ground = group.ground();
    ground.pool(16, Layout::Linear).unwrap();
    ground.thin("v", extents(4)).unwrap();
    fs::write(device(&ground, "v"), SECRET).unwrap();
    by_hand("blockdev", ["--flushbufs", &device(&ground, "v")]);
    ground
}

fn device(ground: &Ground<'_>, lv: &str) -> String {
    format!("/dev/{}/{lv}", ground.vg)
}

fn content(ground: &Ground<'_>, lv: &str) -> Vec<u8> {
    let mut bytes = vec![0; SECRET.len()];
    File::open(device(ground, lv)).unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

fn tell(group: &ScratchGroup, message: &str) -> Result<String, String> {
    attempt("dmsetup", ["message", &group.mapped("pool-tpool"), "0", message])
}

/// LVM has the kernel make a snapshot of `v`, fails after that, and takes back what it knows of it.
fn fail_late(group: &ScratchGroup) {
    let next = numbers(&group.ground()) + 1;
    by_hand("dmsetup", ["suspend", &group.mapped("v")]);
    tell(group, &format!("create_snap {next} 1")).unwrap();
    by_hand("dmsetup", ["resume", &group.mapped("v")]);
}

/// The highest number of a thin volume.
fn numbers(ground: &Ground<'_>) -> u32 {
    ground.report().logical.iter().filter_map(|it| it.thin_id).max().unwrap()
}

/// LVM is killed after the kernel has made the snapshot `s` of `v`, and before it has counted the transaction.
fn kill_late(group: &ScratchGroup) {
    let ground = group.ground();
    ground.snapshot("v", "s", SnapshotKind::ThinWritable).unwrap();
    by_hand("lvchange", ["--activate", "n", &format!("{}/s", ground.vg)]);
    let status = by_hand("dmsetup", ["status", &group.mapped("pool-tpool")]);
    let now: u64 = status.split(' ').nth(3).unwrap().parse().unwrap();
    tell(group, &format!("set_transaction_id {now} {}", now - 1)).unwrap();
    let backup = "/run/tarn-backup";
    by_hand("vgcfgbackup", ["--file", backup, ground.vg.as_str()]);
    let text = fs::read_to_string(backup).unwrap();
    let line = format!("transaction_id = {now}\n");
    let with_message = text.replace(&line, &format!("{line}message1 {{\ncreate = \"s\"\n}}\n"));
    assert_ne!(text, with_message);
    fs::write(backup, with_message).unwrap();
    by_hand("vgcfgrestore", ["--yes", "--force", "--file", backup, ground.vg.as_str()]);
}

#[test]
#[ignore = "guest: needs root and LVM"]
fn a_new_volume_never_has_the_blocks_of_another() {
    let group = ScratchGroup::new(1);
    let ground = scene(&group);
    let vg = ground.vg.as_str();
    fail_late(&group);
    by_hand("lvcreate", ["--virtualsize", "16m", "--thinpool", "pool", "--name", "leak", vg]);
    assert_eq!(content(&ground, "leak"), SECRET, "LVM gives it");
    ground.remove("leak").unwrap();

    fail_late(&group);
    ground.thin("w", extents(4)).unwrap();
    assert_eq!(content(&ground, "w"), vec![0; SECRET.len()]);
    assert_eq!(content(&ground, "v"), SECRET);
}

#[test]
#[ignore = "guest: needs root and LVM"]
fn a_snapshot_is_made_where_another_has_failed() {
    let group = ScratchGroup::new(1);
    let ground = scene(&group);
    fail_late(&group);
    let vg = ground.vg.as_str();
    let alone = ["--snapshot", "--name", "s", &format!("{vg}/v")];
    attempt("lvcreate", alone).unwrap_err();
    attempt("lvcreate", alone).unwrap_err();
    ground.snapshot("v", "s", SnapshotKind::ThinWritable).unwrap();
    assert_eq!(content(&ground, "s"), SECRET);

    fail_late(&group);
    ground.lvm.forget_prepared(&ground.vg).unwrap();
    tell(&group, &format!("delete {}", numbers(&ground) + 1)).unwrap_err();
}

#[test]
#[ignore = "guest: needs root and LVM"]
fn a_pool_goes_on_after_a_snapshot_that_was_cut_short() {
    let group = ScratchGroup::new(1);
    let ground = scene(&group);
    let (vg, s) = (&ground.vg, &lv("s"));
    kill_late(&group);
    ground.remove("s").unwrap_err();
    ground.lvm.forget_prepared(vg).unwrap();
    let known = ground.lvm.activate(vg, s);
    assert!(matches!(known, Err(Error::MissingInPool { .. })), "{known:?}");
    ground.remove("s").unwrap();
    ground.snapshot("v", "s", SnapshotKind::ThinFrozen).unwrap();
    ground.remove("s").unwrap();

    // As after the boot that follows a power cut.
    kill_late(&group);
    ground.lvm.activate_group(vg).unwrap();
    ground.lvm.forget_prepared(vg).unwrap();
    assert_eq!(content(&ground, "s"), SECRET);
    ground.remove("s").unwrap();
    ground.thin("w", extents(4)).unwrap();
    assert_eq!(content(&ground, "v"), SECRET);
}

/// LVM goes on with it by activating the pool's data for reading only, and all else that is moved with it.
#[test]
#[ignore = "guest: needs root and LVM"]
fn nothing_is_read_only_when_a_move_was_cut_short() {
    let group = ScratchGroup::new(2);
    let ground = group.ground();
    ground.pool(16, Layout::Linear).unwrap();
    ground.thick("v", 128).unwrap();
    let is_read_only = |lv: &str| {
        by_hand("blockdev", ["--getro", &format!("/dev/mapper/{}", group.mapped(lv))]).trim() == "1"
    };
    let from = cut_a_move_short(&ground);
    let used = |ground: &Ground<'_>| {
        let disk = ground.report().physical.into_iter().find(|it| it.device == from).unwrap();
        disk.extents - disk.free()
    };
    assert!(!is_read_only("v") && !is_read_only("pool_tdata"));
    let before = used(&ground);
    let mut pvmove = begin_move(&from);
    while !is_read_only("v") {
        assert!(pvmove.try_wait().unwrap().is_none(), "LVM goes on without that");
    }
    pvmove.kill().unwrap();
    pvmove.wait().unwrap();

    ground.lvm.forget_prepared(&ground.vg).unwrap();
    ground.lvm.abort_move(&ground.vg, &from).unwrap();
    assert_eq!((ground.report().moving.len(), used(&ground)), (0, before));
    assert!(!is_read_only("v") && !is_read_only("pool_tdata"));
    ground.lvm.abort_move(&ground.vg, &from).unwrap();
}

/// Kills one amid its work, and says from which disk it was.
fn cut_a_move_short(ground: &Ground<'_>) -> PathBuf {
    let disks = ground.report().physical;
    let from = disks.iter().find(|pv| pv.free() < pv.extents).unwrap().device.clone();
    let mut pvmove = begin_move(&from);
    while ground.report().moving.is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    pvmove.kill().unwrap();
    pvmove.wait().unwrap();
    from
}

#[expect(clippy::disallowed_methods, reason = "it is to be killed")]
fn begin_move(from: &Path) -> Child {
    Command::new("pvmove").args(MOVE).arg(from).spawn().unwrap()
}

/// It would end the move beside what Tarn does, and die with a container at any of its steps.
#[test]
#[ignore = "guest: needs root and LVM"]
fn no_process_is_left_that_goes_on_with_a_move() {
    let group = ScratchGroup::new(2);
    let ground = group.ground();
    let (vg, v) = (&ground.vg, &lv("v"));
    ground.thick("v", 128).unwrap();
    cut_a_move_short(&ground);
    let daemons = || attempt("pgrep", ["-f", "^.lvm2. "]);
    by_hand("vgchange", ["--config", "activation/monitoring=0", "--activate", "y", vg.as_str()]);
    daemons().expect("LVM leaves one");
    by_hand("pkill", ["-KILL", "-f", "^.lvm2. "]);

    ground.lvm.activate_group(vg).unwrap();
    ground.lvm.activate(vg, v).unwrap();
    ground.lvm.refresh(vg, v).unwrap();
    daemons().unwrap_err();
    by_hand("pvmove", MOVE);
    assert_eq!(ground.report().moving.len(), 0);
}

/// With metadata that cannot be written not even LVM's reports come to an end.
#[rstest]
#[case::metadata("pool_tmeta")]
#[case::data("pool_tdata")]
#[case::pool("pool-tpool")]
#[ignore = "guest: needs root and LVM"]
fn a_pool_goes_on_whose_layers_were_left_suspended(#[case] layer: &str) {
    let group = ScratchGroup::new(1);
    let ground = scene(&group);
    by_hand("dmsetup", ["suspend", "--noflush", "--nolockfs", &group.mapped(layer)]);
    let to = format!("of={}", device(&ground, "v"));
    #[expect(clippy::disallowed_methods, reason = "Tarn has no verb for this")]
    let mut writer = Command::new("dd")
        .args(["if=/dev/urandom", &to, "bs=1M", "count=1", "seek=4", "oflag=direct", "conv=fsync"])
        .spawn()
        .unwrap();
    while !fs::read_to_string(format!("/proc/{}/stat", writer.id())).unwrap().contains(") D ") {
        thread::sleep(Duration::from_millis(1));
    }
    ground.lvm.forget_prepared(&ground.vg).unwrap();
    assert!(writer.wait().unwrap().success());
    ground.snapshot("v", "s", SnapshotKind::ThinWritable).unwrap();
    assert_eq!(content(&ground, "s"), SECRET);
}

/// A pool that is suspended holds its volumes still, each as often as it has tables.
#[test]
#[ignore = "guest: needs root and LVM"]
fn a_thin_volume_goes_on_that_had_two_tables_while_its_pool_was_suspended() {
    let group = ScratchGroup::new(1);
    let ground = scene(&group);
    let (v, pool) = (group.mapped("v"), group.mapped("pool-tpool"));
    let table = by_hand("dmsetup", ["table", &v]);
    by_hand("dmsetup", ["load", &v, "--table", table.trim()]);
    by_hand("dmsetup", ["suspend", &v]);
    by_hand("dmsetup", ["suspend", &pool]);
    ground.lvm.forget_prepared(&ground.vg).unwrap();
    ground.lvm.refresh(&ground.vg, &lv("v")).unwrap();
    assert_eq!(content(&ground, "v"), SECRET);
}
