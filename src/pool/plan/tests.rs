//! What is planned for which disks, and the texts that say so.

mod arriving;
mod leaving;
mod replacing;

use insta::assert_snapshot;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    device::DeviceType,
    fs::{Edges, Family, Look, Signature},
    lvm::{Footprint, SeenPhysicalVolume, Tag},
    pool::survey::{
        Use,
        example::{disk, nothing},
    },
    units::Bytes,
};

fn owner() -> Owner {
    Owner {
        creator: "local.tarn.dev".to_owned(),
        cluster: Some("c1".to_owned()),
        node: "n1".parse().unwrap(),
    }
}

fn pool(name: &str, devices: &str) -> PoolEntry {
    let spec = serde_json::from_str(&format!(r#"{{"devices": {devices}}}"#)).unwrap();
    PoolEntry { name: name.parse().unwrap(), spec }
}

fn fast() -> PoolEntry {
    pool("fast", r#"{"paths": ["/dev/sd*", "/dev/dm-*"]}"#)
}

/// An empty disk.
fn empty(name: &str) -> Disk {
    Disk {
        device: disk(name),
        uses: Vec::new(),
        look: Some(Ok(nothing())),
        physical: None,
        unheld: None,
        failed: None,
        reserved: None,
    }
}

fn with_signature(name: &str, signature: &str, family: Family) -> Disk {
    let signature = Some(Signature { name: signature.to_owned(), family, label: None });
    Disk { look: Some(Ok(Look { signature, edges: Edges::Written })), ..empty(name) }
}

/// What `pvs` says of a disk in a group.
fn member(name: &str, group: &str, tags: Vec<Tag>) -> Disk {
    let group = SeenGroup {
        name: group.parse().unwrap(),
        uuid: format!("uuid-{group}"),
        tags,
        missing: 0,
        elsewhere: false,
    };
    loose(name, "a-uuid", Some(group))
}

fn loose(name: &str, uuid: &str, group: Option<SeenGroup>) -> Disk {
    let physical = SeenPhysicalVolume {
        device: format!("/dev/{name}").into(),
        number: Some(disk(name).number),
        uuid: uuid.to_owned(),
        duplicate: false,
        missing: false,
        leaving: false,
        allocatable: true,
        group,
        footprint: None,
    };
    let signature =
        Signature { name: "LVM2_member".to_owned(), family: Family::PhysicalVolume, label: None };
    let look = Look { signature: Some(signature), edges: Edges::OnlyLabel };
    Disk { physical: Some(physical), look: Some(Ok(look)), ..empty(name) }
}

fn our_tags(pool: &str) -> Vec<Tag> {
    owner().tags(&pool.parse().unwrap())
}

fn survey(disks: Vec<Disk>) -> Survey {
    let physical = disks.iter().filter_map(|it| it.physical.clone()).collect();
    Survey { disks, physical, ..Survey::default() }
}

fn planned(pools: &[PoolEntry], disks: Vec<Disk>) -> Plan {
    plan(pools, &owner(), &survey(disks))
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn empty_disks_become_one_group() {
    let plan = planned(&[fast()], vec![empty("sda"), empty("sdb"), empty("nvme0n1")]);
    assert_snapshot!(plan, @r"
    pool fast: volume group tarn-fast, not there yet
      takes   /dev/sda (100Gi, WDC WD40, serial S-sda)
      takes   /dev/sdb (100Gi, WDC WD40, serial S-sdb)
    no pool selects:
      /dev/nvme0n1 (100Gi, WDC WD40, serial S-nvme0n1): pool fast: none of its names matches `paths`
    to do:
      pvcreate --metadatasize 32Mi /dev/sda
      pvcreate --metadatasize 32Mi /dev/sdb
      vgcreate --addtag tarn.pool=fast --addtag tarn.node=n1 --addtag tarn.by=local.tarn.dev --addtag tarn.cluster=c1 tarn-fast /dev/sda /dev/sdb
    ");
}

#[test]
fn a_disk_that_is_added_joins_the_group() {
    let has = member("sda", "tarn-fast", our_tags("fast"));
    let plan = planned(&[fast()], vec![has.clone(), empty("sdb")]);
    assert_eq!(
        steps(&plan),
        ["pvcreate --metadatasize 32Mi /dev/sdb", "vgextend tarn-fast /dev/sdb"]
    );
    // And then there is nothing left to do.
    let both = vec![has, member("sdb", "tarn-fast", our_tags("fast"))];
    assert_eq!(planned(&[fast()], both).steps, []);
}

/// A member on a device with room for so many extents more.
fn grown(extents: u64, areas: u64) -> Disk {
    let mut disk = member("sda", "tarn-fast", our_tags("fast"));
    if let Some(it) = &mut disk.physical {
        let device = Bytes::mib(1 + 4 * (24 + extents));
        let (start, extent) = (Bytes::MIB, Bytes::mib(4));
        it.footprint = Some(Footprint { device, start, extent, extents: 24, used: 0, areas });
    }
    disk
}

fn with_a_missing_disk(mut disk: Disk) -> Disk {
    disk.physical.as_mut().unwrap().group.as_mut().unwrap().missing = 1;
    disk
}

#[rstest]
#[case::as_it_was(grown(0, 1), &[])]
#[case::larger(grown(1, 1), &["pvresize /dev/sda"])]
#[case::metadata_at_its_end(grown(1, 2), &[])]
#[case::failed(Disk { failed: Some("pvresize".to_owned()), ..grown(1, 1) }, &[])]
#[case::a_disk_is_missing(with_a_missing_disk(grown(1, 1)), &[])]
fn a_disk_that_has_grown(#[case] disk: Disk, #[case] want: &[&str]) {
    let plan = planned(&[fast()], vec![disk.clone()]);
    assert_eq!(steps(&plan), want, "{plan}");
    // It is the pool's that has it, and no other's.
    assert_eq!(planned(&[pool("other", r#"{"paths": ["/dev/sd*"]}"#)], vec![disk]).steps, []);
}

#[test]
fn what_was_stopped_is_taken_up() {
    let fast = [fast()];
    let uuid = |pool: &str| owner().mark(&pool.parse().unwrap()).uuid("0123456789abcdef");
    let unfinished = loose("sda", &uuid("fast"), None);
    let plan = planned(&fast, vec![unfinished.clone(), empty("sdb")]);
    assert_eq!(steps(&plan)[0], "pvcreate --metadatasize 32Mi /dev/sdb");
    assert!(steps(&plan)[1].ends_with("tarn-fast /dev/sda /dev/sdb"), "{plan}");
    // The same of another pool, of nobody, and one that has been in a group with volumes.
    let of_other = loose("sda", &uuid("slow"), None);
    let of_nobody = loose("sda", "abcdef-0123", None);
    let mut used = unfinished;
    if let Some(Ok(look)) = &mut used.look {
        look.edges = Edges::Written;
    }
    for disk in [of_other, of_nobody, used] {
        let plan = planned(&fast, vec![disk]);
        assert_eq!(
            (plan.steps.len(), plan.disks[0].reason()),
            (0, Some("PhysicalVolume")),
            "{plan}"
        );
    }
}

fn mounted(name: &str, at: &str) -> Use {
    Use::Mounted { device: name.to_owned(), at: at.into() }
}

fn used(use_: Use) -> Disk {
    Disk { uses: vec![use_], ..empty("sda") }
}

fn changed(change: impl FnOnce(&mut BlockDevice)) -> Disk {
    let mut disk = empty("sda");
    change(&mut disk.device);
    disk
}

#[rstest]
#[case::root(used(mounted("sda2", "/")), "SystemDisk")]
#[case::boot(used(mounted("sda1", "/boot/efi")), "SystemDisk")]
#[case::mounted(used(mounted("sda", "/mnt")), "Mounted")]
#[case::partitions(used(Use::Partitioned(vec!["sda1".to_owned()])), "Partitioned")]
#[case::path(used(Use::PathOf("/dev/mapper/mpatha".to_owned())), "MultipathPath")]
#[case::below(used(Use::Below("the RAID md0".to_owned())), "InUse")]
#[case::held(Disk { unheld: Some("/dev/sda is in use".to_owned()), ..empty("sda") }, "InUse")]
#[case::file_system(with_signature("sda", "ext4", Family::FileSystem), "FileSystem")]
#[case::table(with_signature("sda", "gpt", Family::PartitionTable), "PartitionTable")]
#[case::raid(with_signature("sda", "linux_raid_member", Family::Raid), "Raid")]
#[case::luks(with_signature("sda", "crypto_LUKS", Family::Encryption), "Encrypted")]
#[case::lvm(with_signature("sda", "LVM2_member", Family::PhysicalVolume), "PhysicalVolume")]
#[case::zfs(with_signature("sda", "zfs_member", Family::Zfs), "Zfs")]
#[case::bcache(with_signature("sda", "bcache", Family::Bcache), "Bcache")]
#[case::ceph(with_signature("sda", "ceph_bluestore", Family::Ceph), "Ceph")]
#[case::swap(with_signature("sda", "swap", Family::Swap), "Swap")]
#[case::other(with_signature("sda", "jbd", Family::Other), "OtherSignature")]
#[case::bytes(
    Disk { look: Some(Ok(Look { signature: None, edges: Edges::Written })), ..empty("sda") },
    "NotEmpty"
)]
#[case::only_a_label(
    Disk { look: Some(Ok(Look { signature: None, edges: Edges::OnlyLabel })), ..empty("sda") },
    "NotEmpty"
)]
#[case::unreadable(Disk { look: Some(Err("I/O error".to_owned())), ..empty("sda") }, "Unreadable")]
#[case::not_looked_at(Disk { look: None, ..empty("sda") }, "Unreadable")]
#[case::read_only(changed(|it| it.read_only = true), "ReadOnly")]
#[case::zoned(changed(|it| it.zoned = true), "Zoned")]
#[case::too_small(changed(|it| it.size = Bytes::mib(63)), "TooSmall")]
#[case::failed(Disk { failed: Some("pvcreate".to_owned()), ..empty("sda") }, "Failed")]
#[case::other_group(member("sda", "vg0", Vec::new()), "OtherVolumeGroup")]
#[case::other_pool(member("sda", "tarn-slow", our_tags("slow")), "OtherVolumeGroup")]
fn a_disk_that_is_refused(#[case] disk: Disk, #[case] reason: &str) {
    let plan = planned(&[fast()], vec![disk, empty("sdb")]);
    assert_eq!(
        (plan.disks[0].state(), plan.disks[0].reason()),
        ("Refused", Some(reason)),
        "{plan}"
    );
    // It keeps no other from being taken.
    assert_eq!(plan.disks[1].state(), "Taken");
    assert!(steps(&plan).iter().all(|step| !step.contains("sda")), "{plan}");
}

#[test]
fn all_reasons_are_told_and_the_most_telling_first() {
    let mut system = with_signature("sda", "gpt", Family::PartitionTable);
    system.uses = vec![
        mounted("sda3", "/srv"),
        mounted("sda2", "/"),
        Use::Partitioned(vec!["sda2".to_owned(), "sda3".to_owned()]),
    ];
    let mut labelled = with_signature("sdb", "ext4", Family::FileSystem);
    if let Some(Ok(Look { signature: Some(signature), .. })) = &mut labelled.look {
        signature.label = Some("backup".to_owned());
    }
    labelled.device.read_only = true;
    let other = Owner { cluster: Some("c2".to_owned()), ..owner() };
    let foreign = member("sdc", "tarn-fast", other.tags(&"fast".parse().unwrap()));
    let bytes =
        Disk { look: Some(Ok(Look { signature: None, edges: Edges::Written })), ..empty("sdd") };
    let plan = planned(&[fast()], vec![system, labelled, foreign, bytes, empty("sde")]);
    assert_snapshot!(plan, @r#"
    pool fast: volume group tarn-fast; there is a volume group tarn-fast already, made for pool fast, node n1, driver local.tarn.dev, cluster c2; it is left alone
      refuses /dev/sda (100Gi, WDC WD40, serial S-sda): the system is on it: sda2 is mounted at /; sda3 is mounted at /srv; it has the partitions sda2, sda3; it has a gpt partition table
      refuses /dev/sdb (100Gi, WDC WD40, serial S-sdb): it has an ext4 file system labelled "backup"; it is read-only
      refuses /dev/sdc (100Gi, WDC WD40, serial S-sdc): it belongs to volume group tarn-fast, made for pool fast, node n1, driver local.tarn.dev, cluster c2
      refuses /dev/sdd (100Gi, WDC WD40, serial S-sdd): it is not empty: its first and last MiB are not all zeroes, and nothing known is there
      refuses /dev/sde (100Gi, WDC WD40, serial S-sde): there is a volume group tarn-fast already, made for pool fast, node n1, driver local.tarn.dev, cluster c2; it is left alone
    nothing to do
    "#);
}

#[test]
fn a_disk_that_two_pools_select_is_nobodys() {
    let pools = [fast(), pool("slow", r#"{"rotational": true}"#)];
    let plan = planned(&pools, vec![empty("sda")]);
    assert_eq!((plan.steps.len(), plan.disks[0].reason()), (0, Some("TwoPools")), "{plan}");
    // One that is a member already stays where it is.
    let plan = planned(&pools, vec![member("sda", "tarn-fast", our_tags("fast"))]);
    assert_eq!((plan.steps.len(), plan.disks[0].state()), (0, "Member"));
}

#[test]
fn a_spec_that_changes_takes_nothing_away() {
    let narrower = pool("fast", r#"{"paths": ["/dev/disk/by-id/other"], "minSize": "1Ti"}"#);
    let plan = planned(&[narrower], vec![member("sda", "tarn-fast", our_tags("fast"))]);
    assert_eq!((plan.steps.len(), plan.disks[0].state()), (0, "Member"));
}

#[test]
fn the_same_disk_seen_twice_is_not_taken_at_all() {
    let same = |name: &str, wwn: Option<&str>, serial: Option<&str>| {
        let mut disk = empty(name);
        (disk.device.wwn, disk.device.serial) = (wwn.map(str::to_owned), serial.map(str::to_owned));
        disk
    };
    let reasons = |one: Disk, other: Disk| {
        let plan = planned(&[fast()], vec![one, other]);
        plan.disks.iter().filter_map(DiskPlan::reason).collect::<Vec<_>>()
    };
    let twice = ["DuplicateId", "DuplicateId"];
    let none: [&str; 0] = [];
    assert_eq!(
        reasons(same("sda", Some("w"), Some("1")), same("sdb", Some("w"), Some("2"))),
        twice
    );
    assert_eq!(reasons(same("sda", None, Some("1")), same("sdb", None, Some("1"))), twice);
    // Namespaces of one NVMe disk have its serial number, and names of their own.
    assert_eq!(
        reasons(same("sda", Some("w1"), Some("1")), same("sdb", Some("w2"), Some("1"))),
        none
    );
    assert_eq!(reasons(same("sda", None, None), same("sdb", None, None)), none);
}

#[rstest]
#[case::of_another_cluster("tarn-fast", Owner { cluster: None, ..owner() }.tags(&"fast".parse().unwrap()), 0)]
#[case::of_nobody("tarn-fast", Vec::new(), 0)]
#[case::of_another_pool("tarn-fast", our_tags("slow"), 0)]
#[case::renamed("mine", our_tags("fast"), 0)]
#[case::with_a_missing_disk("tarn-fast", our_tags("fast"), 1)]
fn a_group_that_is_not_to_be_changed(
    #[case] name: &str,
    #[case] tags: Vec<Tag>,
    #[case] missing: u64,
) {
    let mut has = member("nvme0n1", name, tags);
    has.physical.as_mut().unwrap().group.as_mut().unwrap().missing = missing;
    let plan = planned(&[fast()], vec![has, empty("sda")]);
    assert_eq!(plan.steps, [], "{plan}");
    assert_eq!(plan.disks[1].reason(), Some("VolumeGroup"), "{plan}");
}

#[test]
fn two_groups_of_one_name_are_both_left_alone() {
    let mut other = member("sdb", "tarn-fast", our_tags("fast"));
    other.physical.as_mut().unwrap().group.as_mut().unwrap().uuid = "another".to_owned();
    let plan =
        planned(&[fast()], vec![member("sda", "tarn-fast", our_tags("fast")), other, empty("sdc")]);
    assert_eq!((plan.steps.len(), plan.disks[2].reason()), (0, Some("VolumeGroup")), "{plan}");
}

#[rstest]
#[case::nothing_of_it_is_left(Vec::new())]
#[case::another_has_its_name(vec![member("sdb", "tarn-fast", our_tags("fast"))])]
fn a_group_that_is_not_seen_is_missing_and_not_made_again(#[case] others: Vec<Disk>) {
    let mut survey = survey([others, vec![empty("sda")]].concat());
    survey.known.insert("tarn-fast".parse().unwrap(), "an earlier uuid".to_owned());
    let planned = plan(&[fast()], &owner(), &survey);
    assert_eq!(planned.steps, [], "{planned}");
    assert!(planned.to_string().contains("was here and is not seen now"), "{planned}");
    survey.known.clear();
    assert!(!plan(&[fast()], &owner(), &survey).steps.is_empty());
}

#[test]
fn partitions_are_taken_only_where_a_pool_says_so() {
    let part = || changed(|it| it.kind = Some(DeviceType::Partition));
    assert_eq!(planned(&[fast()], vec![part()]).disks[0].state(), "Unselected");
    let parts = pool("parts", r#"{"paths": ["/dev/sda*"], "types": ["Partition"]}"#);
    assert_eq!(planned(&[parts], vec![part()]).disks[0].state(), "Taken");
}

#[test]
fn pools_that_are_not_made_of_disks_take_none() {
    let spec = serde_json::from_str(r#"{"volumeGroup": "vg0"}"#).unwrap();
    let other = PoolEntry { name: "other".parse().unwrap(), spec };
    let plan = planned(&[other], vec![empty("sda")]);
    assert_snapshot!(plan, @r"
    no pool selects:
      /dev/sda (100Gi, WDC WD40, serial S-sda): no pool of this node is made of disks
    nothing to do
    ");
}

fn any_disk() -> impl Strategy<Value = Disk> {
    let written = Some(Ok(Look { signature: None, edges: Edges::Written }));
    let names = prop::sample::select(vec!["sda", "sdb", "sdc", "nvme0n1", "dm-0"]);
    let kinds = (any::<u8>(), any::<bool>(), any::<bool>(), names);
    kinds.prop_map(move |(kind, read_only, mounted_too, name)| {
        let mut disk = match kind % 8 {
            0 => member(name, "tarn-fast", our_tags("fast")),
            1 => member(name, "tarn-fast", Vec::new()),
            2 => Disk { look: written.clone(), ..empty(name) },
            3 => with_signature(name, "xfs", Family::FileSystem),
            4 => loose(name, "some-uuid", None),
            _ => empty(name),
        };
        disk.device.read_only = read_only;
        if mounted_too {
            disk.uses.push(mounted(name, "/mnt"));
        }
        disk
    })
}

proptest! {
    // Whatever a machine looks like: every disk that a step names is selected, and provably empty.
    #[test]
    fn only_empty_disks_are_ever_named(disks in prop::collection::vec(any_disk(), 0..6)) {
        let mut disks = disks;
        let mut seen = std::collections::BTreeSet::new();
        disks.retain(|it| seen.insert(it.device.name.clone()));
        let plan = planned(&[fast()], disks.clone());
        for disk in &disks {
            let path = disk.device.path.display().to_string();
            let is_empty = disk.look == Some(Ok(nothing()))
                && disk.uses.is_empty()
                && disk.physical.is_none()
                && !disk.device.read_only;
            let named = steps(&plan).iter().any(|it| it.split(' ').any(|word| word == path));
            prop_assert!(!named || is_empty, "{}", plan);
            prop_assert!(!named || !disk.device.name.starts_with("nvme"), "{}", plan);
        }
    }
}

/// `fast`, whose spec allows to wipe the disk with the serial of `sdb` while this is on it.
fn allowing(words: &str) -> PoolEntry {
    let consent = format!(r#"[{{"serial": "S-sdb", "contains": {words:?}}}]"#);
    pool("fast", &format!(r#"{{"paths": ["/dev/sd*"], "wipe": {consent}}}"#))
}

fn partitioned(name: &str) -> Disk {
    let uses = vec![Use::Partitioned(vec![format!("{name}1")])];
    Disk { uses, ..with_signature(name, "gpt", Family::PartitionTable) }
}

#[rstest]
#[case::file_system(
    "it has an ext4 file system",
    with_signature("sdb", "ext4", Family::FileSystem)
)]
#[case::bytes("it is not empty: its first and last MiB are not all zeroes, and nothing known is there",
    Disk { look: Some(Ok(Look { signature: None, edges: Edges::Written })), ..empty("sdb") })]
#[case::partitions("it has the partitions sdb1; it has a gpt partition table", partitioned("sdb"))]
fn a_disk_is_wiped_with_consent_for_what_is_on_it(#[case] words: &str, #[case] used: Disk) {
    let survey = Survey { disks: vec![used.clone(), empty("sdc")], ..Survey::default() };
    let found = plan(&[allowing(words)], &owner(), &survey);
    assert_eq!(found.disks[0].standing, Standing::Wiped("fast".parse().unwrap()), "{found}");
    let wipes: Vec<&Step> =
        found.steps.iter().filter(|it| matches!(it, Step::Wipe { .. })).collect();
    assert!(matches!(wipes[..], [Step::Wipe { disk, .. }] if disk.name == "sdb"));
    // What is empty is taken at once.
    assert!(found.steps[0].names("/dev/sdc".as_ref()));
    assert!(
        !found
            .steps
            .iter()
            .any(|it| matches!(it, Step::MakePhysical { disk, .. } if disk.name == "sdb"))
    );
    // Without consent, with consent for something else, or for another disk.
    for (pool, name) in [(fast(), "sdb"), (allowing("it has"), "sdb"), (allowing(words), "sdc")] {
        let device = disk(name);
        let survey = Survey { disks: vec![Disk { device, ..used.clone() }], ..Survey::default() };
        let found = plan(&[pool], &owner(), &survey);
        assert!(matches!(found.disks[0].standing, Standing::Refused { .. }), "{found}");
        assert!(found.steps.is_empty());
    }
}

#[rstest]
#[case::mounted(Disk {
    uses: vec![Use::Mounted { device: "sdb".to_owned(), at: "/mnt".into() }],
    ..with_signature("sdb", "ext4", Family::FileSystem)
})]
#[case::held(Disk {
    unheld: Some("/dev/sdb is in use".to_owned()),
    ..with_signature("sdb", "ext4", Family::FileSystem)
})]
#[case::failed(Disk {
    failed: Some("an error".to_owned()),
    ..with_signature("sdb", "ext4", Family::FileSystem)
})]
#[case::in_a_group(member("sdb", "theirs", Vec::new()))]
fn no_consent_is_enough_for_a_disk_in_use(#[case] used: Disk) {
    let survey = Survey { disks: vec![used], ..Survey::default() };
    let refused = plan(&[fast()], &owner(), &survey);
    let words = refused.disks[0].message();
    let found = plan(&[allowing(&words)], &owner(), &survey);
    assert!(matches!(found.disks[0].standing, Standing::Refused { .. }), "{found}");
    assert!(found.steps.is_empty());
}
