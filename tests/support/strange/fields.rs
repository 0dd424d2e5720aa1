//! Fields of requests: mostly sane, sometimes not.

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};
use tarn::csi::proto::{
    CapacityRange, Topology, VolumeCapability, VolumeContentSource,
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume},
    volume_content_source::{SnapshotSource, Type, VolumeSource},
};

use super::{SECRET, Use, World};

const TEXTS: &[&str] = &[
    "",
    " ",
    "-rf",
    "--help",
    ".",
    "..",
    "../../../../etc/passwd",
    "/",
    "//",
    "a/b",
    "\0",
    "a\0b",
    "\n",
    "\r\n\t",
    "%s%n%p",
    "$(reboot)",
    "`id`",
    "';--",
    "{\"a\":1}",
    "\u{202e}evil",
    "ü€𝄞",
    "e\u{301}",
    "\u{feff}",
    "NULL",
    "0",
    "-1",
    "99999999999999999999",
    "1e400",
    "v-",
    "s-",
    "v-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "s-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "c-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "x-v-aaaaaaaaaaaaaaaaaaaaaaaaaa-0",
    "V-AAAAAAAAAAAAAAAAAAAAAAAAAA",
    "v-aaaaaaaaaaaaaaaaaaaaaaaaaa\n",
    "v-aaaaaaaaaaaaaaaaaaaaaaaaa\u{e4}",
    "tarn-thin",
    "vg0/v-aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "/dev/vg0/v-aaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Files of every machine that nothing here may change: they hold bytes or are no files.
const FORBIDDEN: &[&str] = &["/etc/passwd", "/proc/self/mem", "/dev/null", "/dev/zero"];

pub(super) fn text() -> BoxedStrategy<String> {
    let letter = select(vec!["a", "/", ".", "-", "ü", "\0", "\n", "v-", "../"]);
    let lengths = select(vec![1usize, 2, 26, 63, 64, 127, 128, 129, 255, 256, 4095, 4096, 20_000]);
    prop_oneof![
        8 => select(TEXTS).prop_map(str::to_owned),
        2 => vec(any::<char>(), 0..12).prop_map(|all| all.into_iter().collect()),
        1 => (letter, lengths).prop_map(|(letter, length)| letter.repeat(length)),
    ]
    .boxed()
}

/// Mostly one of `good`.
pub(super) fn mostly(good: &[&str]) -> BoxedStrategy<String> {
    let good: Vec<String> = good.iter().map(|it| (*it).to_owned()).collect();
    prop_oneof![5 => select(good), 1 => text()].boxed()
}

pub(super) fn id(world: &World) -> BoxedStrategy<String> {
    prop_oneof![
        8 => select(world.volumes.clone()),
        1 => select(world.snapshots.clone()),
        2 => text(),
    ]
    .boxed()
}

pub(super) fn snapshot_id(world: &World) -> BoxedStrategy<String> {
    prop_oneof![
        6 => select(world.snapshots.clone()),
        1 => select(world.volumes.clone()),
        2 => text(),
    ]
    .boxed()
}

pub(super) fn path(world: &World) -> BoxedStrategy<String> {
    let inside = [
        "new",
        "new/deep/er",
        "link",
        "ring",
        "ring/x",
        "dangling",
        "file",
        "file/x",
        "full",
        "outside/kept",
        "a b",
        "ü",
        "-rf",
        "new/",
        "new//x",
        "new/./x",
        "new/../x",
        "..",
        "x\0y",
        "\n",
    ];
    let folder = world.folder.clone();
    let inside: Vec<String> = inside.iter().map(|name| format!("{folder}/{name}")).collect();
    let long = [254, 255, 256, 5000].map(|length| format!("{folder}/{}", "n".repeat(length)));
    let deep = format!("{folder}{}", "/d".repeat(3000));
    let used = world.uses.iter().flat_map(|it| [it.staged.clone(), it.target.clone()]);
    prop_oneof![
        6 => select(used.collect::<Vec<_>>()),
        4 => select(inside),
        1 => select(long.to_vec()),
        1 => Just(deep),
        1 => select(FORBIDDEN).prop_map(str::to_owned),
        1 => text().prop_map(|text| text.trim_start_matches('/').to_owned()),
        1 => Just("/".to_owned()),
    ]
    .boxed()
}

pub(super) fn number() -> BoxedStrategy<i64> {
    let special = [0, 1, -1, i64::MAX, i64::MIN, i64::MAX - 1, 1 << 62, 1 << 40, 4 << 20, 64 << 20];
    prop_oneof![
        3 => select(special.to_vec()),
        2 => 0..(1i64 << 30),
        1 => any::<i64>(),
    ]
    .boxed()
}

pub(super) fn range() -> BoxedStrategy<Option<CapacityRange>> {
    let limit = prop_oneof![3 => Just(0), 1 => number()];
    let range = (number(), limit)
        .prop_map(|(required_bytes, limit_bytes)| CapacityRange { required_bytes, limit_bytes });
    option::weighted(0.9, range).boxed()
}

pub(super) fn capability() -> BoxedStrategy<VolumeCapability> {
    let flags = ["noatime", "ro", "rw", "nosuid", "bind", "remount", "loop", "discard", SECRET];
    let mount = (
        mostly(&["", "ext4", "xfs", "btrfs", "vfat", "EXT4"]),
        vec(mostly(&flags), 0..3),
        prop_oneof![5 => Just(String::new()), 1 => text()],
    )
        .prop_map(|(fs_type, mount_flags, volume_mount_group)| {
            let group = volume_mount_group;
            AccessType::Mount(MountVolume { fs_type, mount_flags, volume_mount_group: group })
        });
    let plain =
        |fs: &str| AccessType::Mount(MountVolume { fs_type: fs.to_owned(), ..Default::default() });
    let access = prop_oneof![
        4 => select(vec![plain("ext4"), plain("xfs"), plain("")]),
        1 => mount,
        2 => Just(AccessType::Block(BlockVolume {})),
    ];
    let mode = prop_oneof![6 => 1..8i32, 1 => any::<i32>()];
    let mode = mode.prop_map(|mode| AccessMode { mode });
    (option::weighted(0.95, access), option::weighted(0.95, mode))
        .prop_map(|(access_type, access_mode)| VolumeCapability { access_mode, access_type })
        .boxed()
}

/// What a StorageClass or a sidecar may say, and what neither would.
pub(super) fn parameters(world: &World) -> BoxedStrategy<BTreeMap<String, String>> {
    let keys = mostly(&[
        "pool",
        "provisioning",
        "layout",
        "stripes",
        "mirrors",
        "stripeSize",
        "mkfsOptions",
        "wipe",
        "csi.storage.k8s.io/fstype",
        "csi.storage.k8s.io/pvc/name",
    ]);
    let mut values = vec![
        "Thick", "Thin", "Linear", "Striped", "Raid1", "raid10", "2", "129", "64Ki", "-m 1", "-F",
        "Zero", "None", "ext4", "xfs",
    ];
    values.extend(world.pools.iter().map(String::as_str));
    let pools = world.pools.clone();
    let sane = select(pools).prop_map(|pool| BTreeMap::from([("pool".to_owned(), pool)]));
    prop_oneof![6 => sane, 2 => btree_map(keys, mostly(&values), 0..4)].boxed()
}

pub(super) fn any_map() -> BoxedStrategy<BTreeMap<String, String>> {
    prop_oneof![4 => Just(BTreeMap::new()), 1 => btree_map(text(), text(), 0..3)].boxed()
}

pub(super) fn secrets() -> BTreeMap<String, String> {
    BTreeMap::from([("password".to_owned(), SECRET.to_owned())])
}

pub(super) fn topology(world: &World) -> BoxedStrategy<Topology> {
    let (key, node) = world.segment.clone();
    let ours = Topology { segments: BTreeMap::from([(key.clone(), node.clone())]) };
    let segments = btree_map(mostly(&[&key]), mostly(&[&node, "node-2"]), 0..3);
    let strange = segments.prop_map(|segments| Topology { segments });
    prop_oneof![3 => Just(ours), 1 => strange].boxed()
}

pub(super) fn source(world: &World) -> BoxedStrategy<Option<VolumeContentSource>> {
    let volume = id(world).prop_map(|volume_id| Type::Volume(VolumeSource { volume_id }));
    let snapshot =
        snapshot_id(world).prop_map(|snapshot_id| Type::Snapshot(SnapshotSource { snapshot_id }));
    let r#type = option::weighted(0.9, prop_oneof![volume, snapshot]);
    let source = r#type.prop_map(|r#type| VolumeContentSource { r#type });
    option::weighted(0.2, source).boxed()
}

/// A volume in use as it is used, but for one thing or another.
pub(super) fn slightly_wrong(world: &World) -> BoxedStrategy<Use> {
    let sometimes = 0.15;
    (
        select(world.uses.clone()),
        option::weighted(sometimes, id(world)),
        option::weighted(sometimes, path(world)),
        option::weighted(2.0 * sometimes, path(world)),
        option::weighted(sometimes, capability()),
    )
        .prop_map(|(right, id, staged, target, capability)| Use {
            id: id.unwrap_or(right.id),
            staged: staged.unwrap_or(right.staged),
            target: target.unwrap_or(right.target),
            capability: capability.unwrap_or(right.capability),
        })
        .boxed()
}
