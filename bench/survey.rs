//! What it takes to look at many disks: LVM's own part of it, and what is beyond.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    Row,
    by_hand::{fill, run},
    driver::Driver,
    median, millis,
};

const DISKS: usize = 64;
const VOLUMES: usize = 1000;
/// How often each side of the comparison runs.
const ROUNDS: usize = 15;
const GROUP: &str = "tarn-many";
const POOLS: &str = "pools:\n- {name: many, devices: {paths: [\"/dev/loop*\"], types: [Loop]}}\n";
/// What a survey asks LVM.
const PVS: &str = "pvs --reportformat json --units b --nosuffix --binary -o \
                   pv_name,pv_uuid,pv_major,pv_minor,pv_duplicate,pv_missing,pv_allocatable,pv_tags,vg_name,vg_uuid,\
                   vg_tags,vg_exported,vg_shared,vg_missing_pv_count,dev_size,pe_start,pv_pe_count,\
                   pv_pe_alloc_count,pv_mda_count,vg_extent_size";
/// What a person would ask for the same.
const LSBLK: &str = "lsblk --json --bytes -o NAME,KNAME,MAJ:MIN,SIZE,TYPE,RO,RM,ROTA,ZONED,TRAN,MODEL,SERIAL,WWN,MOUNTPOINTS";

/// Makes one group of the disks, with the volumes, and looks at them again and again.
pub(crate) async fn all(tarn: &str) -> Vec<Row> {
    let disks: Vec<String> = (0..DISKS).map(attach).collect();
    let driver = Driver::start_with(tarn, POOLS).await;
    fill(GROUP, 0, VOLUMES);
    run(&format!("vgchange -qq --yes -ay {GROUP}"));
    let found = fs::read_dir(format!("/dev/{GROUP}")).unwrap().count();
    assert_eq!(found, VOLUMES, "volumes of the group");
    let commands = commands_of_a_look(&driver, &disks[0]).await;
    driver.stop();
    let of_ours = Row::new(
        &format!("LVM commands: the disks are looked at, {DISKS} of them with {VOLUMES} volumes"),
        commands.to_string(),
        "2",
        commands <= 2,
    );
    let mut rows = vec![of_ours];
    rows.extend(beyond(tarn));
    rows
}

fn attach(number: usize) -> String {
    let file = format!("/run/disk-{number}");
    fs::File::create(&file).unwrap().set_len(512 << 20).unwrap();
    let out = Command::new("losetup").args(["--find", "--show", &file]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// The kernel tells of a change, and the disks are looked at. More than one look for it would count, too.
async fn commands_of_a_look(driver: &Driver, disk: &str) -> u64 {
    let all = || {
        let (reports, others) = driver.commands();
        reports + others
    };
    // What the start and the volumes have caused is over.
    let mut before = all();
    loop {
        tokio::time::sleep(Duration::from_secs(12)).await;
        let now = all();
        if now == before {
            break;
        }
        before = now;
    }
    let event = format!("/sys/block/{}/uevent", disk.trim_start_matches("/dev/"));
    fs::write(event, "change").unwrap();
    let began = Instant::now();
    while all() == before {
        assert!(began.elapsed() < Duration::from_secs(30), "nobody looked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It looks once more later, for the links that udev makes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    all() - before
}

/// A program that only looks, less LVM's own command and a program that does nothing, beside a plain tool that
/// lists the same devices.
fn beyond(tarn: &str) -> [Row; 2] {
    fs::write("/run/pools.yaml", POOLS).unwrap();
    let (mut ours, mut lvm, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    let mut listed = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(run(&format!("{tarn} pools plan --pools /run/pools.yaml")));
        lvm.push(run(PVS));
        nothing.push(run(&format!("{tarn} --version")));
        listed.push(run(LSBLK));
    }
    let (ours, lvm, nothing) = (median(&mut ours), median(&mut lvm), median(&mut nothing));
    let beyond = ours.saturating_sub(lvm + nothing);
    let most = Duration::from_millis(150);
    let what = format!("`tarn pools plan` beyond `pvs`: {DISKS} disks, {VOLUMES} volumes");
    let measured =
        format!("{} ({} - {} - {})", millis(beyond), millis(ours), millis(lvm), millis(nothing));
    let ratio = Row::ratio(&format!("{what} / `lsblk`"), &mut [beyond], &mut listed, 1.0);
    [Row::new(&what, measured, "150 ms", beyond <= most), ratio]
}
