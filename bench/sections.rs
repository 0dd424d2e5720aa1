//! What is measured.

use std::time::{Duration, Instant};

use tarn::csi::proto::{
    CapacityRange, ControllerExpandVolumeRequest, CreateSnapshotRequest, DeleteSnapshotRequest,
    ListVolumesRequest, NodeGetVolumeStatsRequest,
};

use super::{
    ROUNDS, Row,
    by_hand::{fill, hide_from_lvm, make_group, run, set_delay},
    crowd::{at_once, while_making},
    driver::Driver,
    process::mebibytes,
};

const GIB: i64 = 1 << 30;
const MIB: i64 = 1 << 20;
/// The groups, and on which disk each is.
const GROUPS: [(&str, &str); 2] = [("a", "/dev/ubda"), ("b", "/dev/ubdb")];
/// What a write of a disk takes, in milliseconds, where it matters how changes wait for disks: those
/// of the guest are files in memory, and take nothing.
const DISK: u32 = 10;
/// The same options as the driver's, so that only the way differs.
const MKFS: &str = "mkfs.ext4 -q -m 0 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard";
/// Longer than the driver waits before it reads a report after a change.
const QUIET: Duration = Duration::from_millis(1600);

fn make_groups() {
    hide_from_lvm(&GROUPS.map(|(_, disk)| disk));
    GROUPS.iter().for_each(|(group, disk)| make_group(group, disk));
    fill("a", 0, 5);
}

pub(crate) async fn all(tarn: &str) -> Vec<Row> {
    make_groups();
    let driver = Driver::start(tarn).await;
    let mut rows = vec![idle_memory(&driver)];
    rows.extend(commands(&driver).await);
    rows.push(creates(&driver, 5).await);
    rows.push(stage_and_publish(&driver).await);
    GROUPS.iter().for_each(|(group, disk)| set_delay(group, disk, DISK));
    rows.extend(at_once(&driver.calls, QUIET / 2).await);
    GROUPS.iter().for_each(|(group, disk)| set_delay(group, disk, 0));
    rows.push(memory_with_volumes(&driver).await);
    fill("a", 5, 400);
    driver.stop();
    let driver = Driver::start(tarn).await;
    rows.push(creates(&driver, 400).await);
    driver.stop();
    rows
}

fn idle_memory(driver: &Driver) -> Row {
    let kib = driver.resident();
    Row::new("resident memory, idle", mebibytes(kib), "12 MiB", kib <= 12 << 10)
}

/// CreateVolume over gRPC beside `lvcreate` by hand, turn and turn about.
async fn creates(driver: &Driver, present: usize) -> Row {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let id = driver.calls.create(&format!("create-{present}-{round}"), "a", GIB).await;
        let took = began.elapsed();
        tokio::time::sleep(QUIET).await;
        let by_hand = run("lvcreate -qq --yes --wipesignatures y --zero y --size 1g --name hand a");
        run("lvremove -qq --yes a/hand");
        driver.calls.delete(&id).await;
        tokio::time::sleep(QUIET).await;
        // The first round warms both up.
        if round > 0 {
            ours.push(took);
            theirs.push(by_hand);
        }
    }
    let what =
        format!("CreateVolume / `lvcreate` by hand, thick 1 GiB, {present} LVs in the group");
    Row::ratio(&what, &mut ours, &mut theirs, 1.1)
}

async fn stage_and_publish(driver: &Driver) -> Row {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    run("mkdir -p /run/by-hand /run/by-hand-bind");
    for round in 0..=ROUNDS {
        let id = driver.calls.create(&format!("stage-{round}"), "a", GIB).await;
        run("lvcreate -qq --yes --wipesignatures y --zero y --size 1g --name hand a");
        tokio::time::sleep(QUIET).await;
        let began = Instant::now();
        driver.calls.stage(&id).await;
        driver.calls.publish(&id).await;
        let took = began.elapsed();
        tokio::time::sleep(QUIET).await;
        let by_hand = run(&format!("{MKFS} /dev/a/hand"))
            + run("mount /dev/a/hand /run/by-hand")
            + run("mount --bind /run/by-hand /run/by-hand-bind");
        run("umount /run/by-hand-bind");
        run("umount /run/by-hand");
        driver.calls.take_down(&id).await;
        driver.calls.delete(&id).await;
        run("lvremove -qq --yes a/hand");
        if round > 0 {
            ours.push(took);
            theirs.push(by_hand);
        }
    }
    let what = "stage + publish of a fresh 1 GiB ext4 / mkfs + mount + bind by hand";
    Row::ratio(what, &mut ours, &mut theirs, 1.2)
}

/// How many LVM commands a call makes, and how many reports follow it.
async fn commands(driver: &Driver) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut before = driver.commands();
    let mut count = |what: &str, most: u64| {
        let now = driver.commands();
        rows.push(commands_row(what, (now.0 - before.0, now.1 - before.1), most));
        before = now;
    };
    let mut controller = driver.calls.controller();
    let id = driver.calls.create("counted", "b", 64 * MIB).await;
    tokio::time::sleep(QUIET).await;
    count("create", 1);
    driver.calls.stage(&id).await;
    driver.calls.publish(&id).await;
    count("first stage + publish, as the caller waits", 0);
    tokio::time::sleep(QUIET).await;
    count("first stage, later: the tag `fresh` is taken off", 1);
    driver.calls.stage(&id).await;
    driver.calls.publish(&id).await;
    let path = format!("/run/published/{id}");
    let stats = NodeGetVolumeStatsRequest {
        volume_id: id.clone(),
        volume_path: path,
        ..Default::default()
    };
    driver.calls.node().node_get_volume_stats(stats).await.unwrap();
    driver.calls.capacity("b").await;
    controller.list_volumes(ListVolumesRequest::default()).await.unwrap();
    tokio::time::sleep(QUIET).await;
    count("stage, publish, stats, capacity, list", 0);
    let larger = CapacityRange { required_bytes: 128 * MIB, limit_bytes: 0 };
    let expand = ControllerExpandVolumeRequest {
        volume_id: id.clone(),
        capacity_range: Some(larger),
        ..Default::default()
    };
    controller.controller_expand_volume(expand).await.unwrap();
    tokio::time::sleep(QUIET).await;
    count("expand", 1);
    let snapshot = CreateSnapshotRequest {
        source_volume_id: id.clone(),
        name: "counted".to_owned(),
        ..Default::default()
    };
    let taken = controller.create_snapshot(snapshot).await.unwrap().into_inner().snapshot.unwrap();
    tokio::time::sleep(QUIET).await;
    count("snapshot", 1);
    let gone = DeleteSnapshotRequest { snapshot_id: taken.snapshot_id, ..Default::default() };
    controller.delete_snapshot(gone).await.unwrap();
    driver.calls.take_down(&id).await;
    tokio::time::sleep(QUIET).await;
    count("delete of a thick snapshot: split off, remove", 2);
    driver.calls.delete(&id).await;
    tokio::time::sleep(QUIET).await;
    count("delete of a thick volume", 2);
    rows
}

/// So many reports and other commands, beside what is promised: one report is shared by all changes of
/// a second, so there is one for each that comes later.
fn commands_row(what: &str, (reports, others): (u64, u64), most: u64) -> Row {
    let say = |others, reports| format!("{others}, and {reports} report(s)");
    let most_reports = most.max(1);
    let kept = others <= most && reports <= most_reports;
    Row::new(&format!("LVM commands: {what}"), say(others, reports), &say(most, most_reports), kept)
}

/// GetCapacity, 3,000 times while volumes are being made, and in turn with it a call that does
/// nothing: on the guest's one processor every call waits for LVM's programs.
pub(crate) async fn capacity(tarn: &str) -> Vec<Row> {
    make_groups();
    let driver = Driver::start(tarn).await;
    let calls = &driver.calls;
    let asking = async {
        let (mut times, mut empty) = (Vec::new(), Vec::new());
        for round in 0..3000 {
            // Whichever comes first after a pause is more often in LVM's way.
            for is_empty in [round % 2 == 0, round % 2 == 1] {
                let began = Instant::now();
                if is_empty {
                    calls.capabilities().await;
                    empty.push(began.elapsed());
                } else {
                    calls.capacity("a").await;
                    times.push(began.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (times, empty)
    };
    let (mut times, mut empty) = while_making(calls, 180, asking).await;
    driver.stop();
    let what =
        "GetCapacity / GetPluginCapabilities, p99 of 3,000 calls while volumes are being made";
    vec![Row::p99_ratio(what, &mut times, &mut empty, 1.2)]
}

async fn memory_with_volumes(driver: &Driver) -> Row {
    let mut ids = Vec::new();
    for at in 0..500 {
        ids.push(driver.calls.create(&format!("many-{at}"), "b", 4 * MIB * 2).await);
    }
    tokio::time::sleep(QUIET).await;
    let kib = driver.resident();
    for id in ids {
        driver.calls.delete(&id).await;
    }
    Row::new("resident memory, 500 volumes", mebibytes(kib), "20 MiB", kib <= 20 << 10)
}
