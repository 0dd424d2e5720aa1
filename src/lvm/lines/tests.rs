//! Every command line, word for word.

use rstest::rstest;

use super::*;
use crate::lvm::{PvMark, Raid, RaidLevel, Stretch};

fn vg() -> VgName {
    "vg0".parse().unwrap()
}

fn lv(name: &str) -> LvName {
    name.parse().unwrap()
}

fn tags(tags: &[&str]) -> Vec<Tag> {
    tags.iter().map(|tag| tag.parse().unwrap()).collect()
}

fn volume(backing: Backing) -> Invocation {
    let size = Bytes::GIB;
    let tags = tags(&["a=1", "b"]);
    create_volume(&CreateVolume { vg: vg(), name: lv("v"), size, backing, on: Vec::new(), tags })
}

fn places() -> Vec<Place> {
    let stretch = |start, length| Stretch { start, length };
    let two = vec![stretch(0, 3), stretch(10, 1)];
    let of = |device: &str| Place { device: device.into(), stretches: two.clone() };
    vec![of("/dev/sda"), of("/dev/sdb")]
}

fn raid(level: RaidLevel, stripes: u32, mirrors: u32, stripe_size: Option<Bytes>) -> Invocation {
    let layout = Layout::Raid(Raid { level, stripes, mirrors, stripe_size });
    let (backing, tags) = (Backing::Thick(layout), tags(&["a=1"]));
    let on = places();
    let size = Bytes::GIB;
    create_volume(&CreateVolume { vg: vg(), name: lv("v"), size, backing, on, tags })
}

fn moved(on: Option<Place>) -> MoveExtents {
    MoveExtents { vg: vg(), device: "/dev/sda".into(), first: 8, count: 8, on }
}

fn snapshot(kind: SnapshotKind) -> Invocation {
    let (origin, name, tags) = (lv("v"), lv("s"), tags(&["a=1"]));
    create_snapshot(&CreateSnapshot { vg: vg(), origin, name, kind, tags })
}

fn striped_over(stripes: u32, stripe_size: Option<Bytes>) -> Layout {
    Layout::Striped { stripes, stripe_size }
}

fn group() -> CreateGroup {
    let devices = vec!["/dev/sda".into(), "/dev/sdb".into()];
    CreateGroup { vg: vg(), devices, tags: tags(&["t"]) }
}

fn physical_volume() -> Invocation {
    let (device, mark) = ("/dev/sda".into(), PvMark::of("x"));
    let wanted = CreatePhysicalVolume { device, mark, metadata: Bytes::mib(16) };
    create_physical_volume(&wanted, "UUID")
}

fn pool(layout: Layout) -> Invocation {
    create_thin_pool(&CreateThinPool { vg: vg(), name: lv("pool"), size: Bytes::GIB, layout })
}

fn converted() -> Invocation {
    let (data, metadata, chunk) = (lv("pool"), lv("meta"), Bytes(64 << 10));
    convert_to_thin_pool(&ConvertToThinPool { vg: vg(), data, metadata, chunk })
}

#[rstest]
#[case::version(version(), "lvm version")]
#[case::a_thin_pool_of_raids(
    converted(),
    "lvconvert --yes --config \"activation/monitoring=0 activation/error_when_full=1\" --type thin-pool --zero y --chunksize 65536b --poolmetadata vg0/meta --poolmetadataspare n vg0/pool"
)]
#[case::activate_degraded(
    activate_degraded(&vg(), &lv("v")),
    "lvchange --yes --config activation/monitoring=0 --poll n --activate y --ignoreactivationskip --activationmode partial vg0/v"
)]
#[case::activate_anew(
    activate_anew(&vg(), &lv("pool")),
    "lvchange --yes --config \"activation/monitoring=0 global/thin_check_options=[\\\"-q\\\",\\\"--clear-needs-check-flag\\\"]\" --poll n --activate y vg0/pool"
)]
#[case::locking_directory(
    locking_directory(),
    "lvm lvmconfig --typeconfig full global/locking_dir"
)]
#[case::mapped_devices(
    mapped_devices(),
    "dmsetup info --columns --noheadings --separator : --options tables_loaded,suspended,uuid,name"
)]
#[case::clear_device(clear_device("vg0-v"), "dmsetup clear vg0-v")]
#[case::thin_numbers(
    thin_numbers(&vg()),
    "lvs --config global/activation=0 --nolocking --reportformat json --options \
     lv_name,segtype,pool_lv,thin_id,transaction_id vg0"
)]
#[case::lies_on(
    lies_on(&vg()),
    "lvs --config global/activation=0 --nolocking --reportformat json --all --options lv_name,devices vg0"
)]
#[case::resume_device(resume_device("vg0-p_tmeta"), "dmsetup resume vg0-p_tmeta")]
#[case::status(status("vg0-v"), "dmsetup status --noflush vg0-v")]
#[case::delete_thin(
    delete_thin("vg0-pool-tpool", 7),
    "dmsetup message vg0-pool-tpool 0 \"delete 7\""
)]
#[case::count_up_thin(
    count_up_thin("vg0-pool-tpool", 7, 8),
    "dmsetup message vg0-pool-tpool 0 \"set_transaction_id 7 8\""
)]
#[case::layout(
    layout(&vg(), &lv("v")),
    "lvs --reportformat json --units b --nosuffix --options segtype,data_stripes,data_copies,stripe_size vg0/v"
)]
#[case::dependents(
    dependents(&vg()),
    "lvs --reportformat json --options lv_name,lv_role,origin,pool_lv --options +lv_health_status vg0"
)]
#[case::physical(
    physical_volume(),
    "pvcreate --uuid UUID --norestorefile --metadatasize 16777216b /dev/sda"
)]
#[case::extend_group(
    extend_group(&vg(), &["/dev/sda".into(), "/dev/sdb".into()]),
    "vgextend vg0 /dev/sda /dev/sdb"
)]
#[case::physical_volumes(
    physical_volumes(),
    "pvs --reportformat json --units b --nosuffix --binary --options pv_name,pv_uuid,pv_major,pv_minor,pv_duplicate,pv_missing,pv_allocatable,pv_tags,vg_name,vg_uuid,vg_tags,vg_exported,vg_shared,vg_missing_pv_count,dev_size,pe_start,pv_pe_count,pv_pe_alloc_count,pv_mda_count,vg_extent_size"
)]
#[case::group(create_group(&group()), "vgcreate --addtag t vg0 /dev/sda /dev/sdb")]
#[case::take_back(
    take_back(&vg(), Path::new("/dev/sda")),
    "vgextend --restoremissing vg0 /dev/sda"
)]
#[case::leaving(
    set_belonging(Path::new("/dev/sda"), Belonging::Leaves),
    "pvchange --yes --allocatable n --addtag tarn.leaving /dev/sda"
)]
#[case::returning(
    set_belonging(Path::new("/dev/sda"), Belonging::Returns),
    "pvchange --yes --allocatable y /dev/sda"
)]
#[case::staying(
    set_belonging(Path::new("/dev/sda"), Belonging::Stays),
    "pvchange --yes --deltag tarn.leaving /dev/sda"
)]
#[case::moving(
    move_extents(&moved(None)),
    "pvmove --yes --config \"activation/monitoring=0 global/use_lvmpolld=0\" --interval 1 /dev/sda:8-15"
)]
#[case::moving_a_leg(
    move_extents(&moved(places().pop())),
    "pvmove --yes --config \"activation/monitoring=0 global/use_lvmpolld=0\" --interval 1 --alloc anywhere /dev/sda:8-15 /dev/sdb:0-2:10-10"
)]
#[case::abort_move(
    abort_move(Path::new("/dev/sda")),
    "pvmove --yes --config \"activation/monitoring=0 global/use_lvmpolld=0\" --interval 1 --abort /dev/sda"
)]
#[case::tag_group(
    tag_group(&vg(), &tags(&["a=1"]), &tags(&["b"])),
    "vgchange --yes --config activation/monitoring=0 --addtag a=1 --deltag b vg0"
)]
#[case::repair(
    repair(&RepairRaid { vg: vg(), lv: lv("v"), on: places() }),
    "lvconvert --yes --config activation/monitoring=0 --repair vg0/v /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
)]
#[case::remove_device(remove_device("vg0-v_rmeta_2"), "dmsetup remove vg0-v_rmeta_2")]
#[case::forget_missing(
    forget_missing(&vg()),
    "vgreduce --yes --config activation/monitoring=0 --removemissing vg0"
)]
#[case::reduce(reduce_group(&vg(), Path::new("/dev/sda")), "vgreduce --yes vg0 /dev/sda")]
#[case::unmade(remove_physical_volume(Path::new("/dev/sda")), "pvremove /dev/sda")]
#[case::resize(resize_physical_volume(Path::new("/dev/sda")), "pvresize --yes /dev/sda")]
#[case::activate_group(
    activate_group(&vg()),
    "vgchange --yes --config activation/monitoring=0 --poll n --activate y vg0"
)]
#[case::pool(
    pool(Layout::Linear),
    "lvcreate --yes --config \"activation/monitoring=0 activation/error_when_full=1\" --type thin-pool --zero y --poolmetadataspare y --name pool --size 1073741824b vg0"
)]
#[case::striped_pool(
    pool(striped_over(2, None)),
    "lvcreate --yes --config \"activation/monitoring=0 activation/error_when_full=1\" --type thin-pool --zero y --poolmetadataspare y --name pool --size 1073741824b --stripes 2 vg0"
)]
#[case::linear(
    volume(Backing::Thick(Layout::Linear)),
    "lvcreate --yes --wipesignatures y --zero y --size 1073741824b --name v --addtag a=1 --addtag b vg0"
)]
#[case::striped(
    volume(Backing::Thick(striped_over(3, Some(Bytes::KIB)))),
    "lvcreate --yes --wipesignatures y --zero y --size 1073741824b --stripes 3 --stripesize 1024b --name v --addtag a=1 --addtag b vg0"
)]
#[case::raid1(
    raid(RaidLevel::Raid1, 1, 1, None),
    "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid1 --mirrors 1 --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
)]
#[case::raid5(
    raid(RaidLevel::Raid5, 2, 0, Some(Bytes::KIB)),
    "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid5 --stripes 2 --stripesize 1024b --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
)]
#[case::raid6(
    raid(RaidLevel::Raid6, 3, 0, None),
    "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid6 --stripes 3 --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
)]
#[case::raid10(
    raid(RaidLevel::Raid10, 2, 1, None),
    "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid10 --mirrors 1 --stripes 2 --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
)]
#[case::thin(
    volume(Backing::Thin(lv("pool"))),
    "lvcreate --yes --config activation/monitoring=0 --virtualsize 1073741824b --thinpool pool --name v --addtag a=1 --addtag b vg0"
)]
#[case::frozen(
    snapshot(SnapshotKind::ThinFrozen),
    "lvcreate --yes --config activation/monitoring=0 --snapshot --permission r --setactivationskip y --name s --addtag a=1 vg0/v"
)]
#[case::writable(
    snapshot(SnapshotKind::ThinWritable),
    "lvcreate --yes --config activation/monitoring=0 --snapshot --permission rw --setactivationskip n --name s --addtag a=1 vg0/v"
)]
#[case::copy_on_write(
    snapshot(SnapshotKind::CopyOnWrite(Bytes::MIB)),
    "lvcreate --yes --config activation/monitoring=0 --snapshot --permission rw --size 1048576b --name s --addtag a=1 vg0/v"
)]
#[case::extend(
    extend(&vg(), &lv("v"), Bytes::GIB, &[]),
    "lvextend --yes --config activation/monitoring=0 --size 1073741824b vg0/v"
)]
#[case::extend_on_disks(
    extend(&vg(), &lv("v"), Bytes::GIB, &places()),
    "lvextend --yes --config activation/monitoring=0 --size 1073741824b vg0/v /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
)]
#[case::rename(rename(&vg(), &lv("v"), &lv("w")), "lvrename --yes vg0 v w")]
#[case::remove(remove(&vg(), &lv("v")), "lvremove --yes vg0/v")]
#[case::split(
    split_snapshot(&vg(), &lv("s")),
    "lvconvert --yes --config activation/monitoring=0 --splitsnapshot vg0/s"
)]
#[case::tags(
    change_tags(&vg(), &lv("v"), &tags(&["a=1", "b"]), &tags(&["c"])),
    "lvchange --yes --addtag a=1 --addtag b --deltag c vg0/v"
)]
#[case::activate(
    activate(&vg(), &lv("v")),
    "lvchange --yes --config activation/monitoring=0 --poll n --activate y --ignoreactivationskip vg0/v"
)]
#[case::deactivate(deactivate(&vg(), &lv("v")), "lvchange --yes --activate n vg0/v")]
#[case::leads_to(leads_to("vg0-p_tmeta"), "dmsetup deps -o devname vg0-p_tmeta")]
#[case::refresh(
    refresh(&vg(), &lv("v")),
    "lvchange --yes --config activation/monitoring=0 --refresh vg0/v"
)]
fn command_lines(#[case] command: Invocation, #[case] want: &str) {
    assert_eq!(command.to_string(), want);
}

#[test]
fn the_report_is_one_command() {
    let line = report(&vg()).to_string();
    assert!(line.starts_with("lvm fullreport --all --reportformat json --units b --nosuffix"));
    assert!(line.ends_with("--configreport seg --options lv_uuid,thin_id vg0"));
}
