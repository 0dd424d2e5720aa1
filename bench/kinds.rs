//! The kinds of pools beside each other: what it costs to make and use a volume, and how fast one is.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Row,
    by_hand::{hide_from_lvm, make_group, run},
    driver::Driver,
    median, millis,
};

/// How often each kind is measured, turn and turn about.
const TURNS: usize = 5;
const SIZE: i64 = 512 << 20;
/// Where a file system is mounted that no driver knows: what the others are compared with.
const BARE: &str = "/run/bare";
/// The pools, and what they are in words.
const KINDS: [(&str, &str); 5] = [
    ("thick", "LVM, thick"),
    ("thin", "LVM, thin"),
    ("ext4", "directory on ext4"),
    ("xfs", "directory on xfs"),
    ("memory", "memory"),
];
const POOLS: &str = "pools:
- {name: thick, volumeGroup: a}
- {name: thin, volumeGroup: b, provisioning: Thin, thinPool: {size: 8Gi}}
- {name: ext4, directory: {path: /run/of-ext4}}
- {name: xfs, directory: {path: /run/of-xfs}}
- {name: memory, memory: {size: 1Gi}}
";

/// What is done in a volume, and how fio is told so.
const WORK: [(&str, &[&str]); 3] = [
    (
        "4 KiB at random places, each made durable",
        &["--rw=randwrite", "--bs=4k", "--fsync=1", "--number_ios=1000"],
    ),
    ("written in order, 1 MiB at once", &["--rw=write", "--bs=1M", "--end_fsync=1"]),
    (
        "4 KiB read at random places",
        &["--rw=randread", "--bs=4k", "--invalidate=1", "--number_ios=4000"],
    ),
];

/// How long things took, in every turn.
#[derive(Default)]
struct Times {
    ready: Vec<Duration>,
    work: [Vec<Duration>; WORK.len()],
}

/// Makes volumes of all kinds on one disk in turn, uses each, and compares it with an ext4 made by hand.
pub(crate) async fn all(tarn: &str) -> Vec<Row> {
    prepare();
    let driver = Driver::start_with(tarn, POOLS).await;
    let mut bare = Times::default();
    let mut kinds: [Times; KINDS.len()] = Default::default();
    for turn in 0..TURNS {
        measure(&mut bare, BARE);
        for ((pool, _), times) in KINDS.iter().zip(&mut kinds) {
            let began = Instant::now();
            let id = driver.calls.create(&format!("{pool}-{turn}"), pool, SIZE).await;
            driver.calls.stage(&id).await;
            driver.calls.publish(&id).await;
            times.ready.push(began.elapsed());
            measure(times, &format!("/run/published/{id}"));
            driver.calls.take_down(&id).await;
            driver.calls.delete(&id).await;
        }
    }
    driver.stop();
    let mut rows = Vec::new();
    for ((_, words), times) in KINDS.iter().zip(&mut kinds) {
        let ready = millis(median(&mut times.ready));
        rows.push(Row::new(&format!("{words}: made, staged and published"), ready, "-", true));
    }
    for (at, (what, _)) in WORK.iter().enumerate() {
        for ((_, words), times) in KINDS.iter().zip(&mut kinds) {
            let (ours, bare) = (median(&mut times.work[at]), median(&mut bare.work[at]));
            let ratio = ours.as_secs_f64() / bare.as_secs_f64();
            let measured = format!("{ratio:.2} ({} / {})", millis(ours), millis(bare));
            rows.push(Row::new(&format!("{what}: {words} / bare ext4"), measured, "-", true));
        }
    }
    rows
}

/// One disk in five parts, so that all kinds write to the same.
fn prepare() {
    run("sgdisk -n 1:0:+12G -n 2:0:+12G -n 3:0:+4G -n 4:0:+4G -n 5:0:+4G /dev/ubda");
    hide_from_lvm(&["/dev/ubda1", "/dev/ubda2"]);
    make_group("a", "/dev/ubda1");
    make_group("b", "/dev/ubda2");
    for at in [BARE, "/run/of-ext4", "/run/of-xfs"] {
        fs::create_dir(at).unwrap();
    }
    run("mkfs.ext4 -q /dev/ubda3");
    run(&format!("mount /dev/ubda3 {BARE}"));
    run("mkfs.ext4 -q -O quota,project -E quotatype=prjquota /dev/ubda4");
    run("mount -o prjquota /dev/ubda4 /run/of-ext4");
    run("mkfs.xfs -q /dev/ubda5");
    run("mount -o prjquota /dev/ubda5 /run/of-xfs");
}

fn measure(times: &mut Times, at: &str) {
    for ((_, how), times) in WORK.iter().zip(&mut times.work) {
        let out = Command::new("fio")
            .args(["--name=work", "--ioengine=psync", "--size=128M", "--output-format=json"])
            .arg(format!("--directory={at}"))
            .args(*how)
            .output()
            .unwrap();
        assert!(out.status.success(), "fio: {}", String::from_utf8_lossy(&out.stderr));
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let job = &report["jobs"][0];
        let took =
            job["read"]["runtime"].as_u64().unwrap() + job["write"]["runtime"].as_u64().unwrap();
        times.push(Duration::from_millis(took));
    }
    // The next volume of its kind is new, and so is what is compared with it.
    fs::remove_file(format!("{at}/work.0.0")).unwrap();
}
