//! Thin pools that lie on RAIDs: made in steps, of which each may be the last, never weaker than their spec says, and
//! grown on the disks of their legs.

use rstest::rstest;
use serde_json::{Value, json};
use tarn::{
    csi::proto::CreateVolumeRequest,
    lvm::{Backing, CreateVolume, Kind, Layout, Lvm as _, Raid, RaidLevel, fake::FailAt, places},
    units::Bytes,
};

use crate::{
    ground::{EXTENT, Ground},
    requests::*,
};

const POOL: &str = "tarn-thin";

/// A pool for thin volumes, with a thin pool of 100 extents that lies so.
fn spec(said: Value) -> Value {
    let mut thin = json!({"size": "400Mi", "overprovision": 200});
    thin.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
    json!({"volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": thin})
}

fn mirrored() -> Value {
    spec(json!({"layout": "Raid1"}))
}

fn thick() -> Vec<(&'static str, Value)> {
    vec![("disks", json!({"volumeGroup": "vg0"}))]
}

fn provisioned(name: &str, how: &str) -> CreateVolumeRequest {
    CreateVolumeRequest { parameters: map(&[("provisioning", how)]), ..volume(name) }
}

/// The sizes of the RAIDs below the thin pool, in extents, and on how many disks they lie.
fn layers(ground: &Ground) -> Vec<(String, i64, usize)> {
    let layers = ground.lvm.peek("vg0").layers.into_iter();
    let told = layers.map(|it| {
        let mut disks = it.legs.unwrap().disks;
        disks.sort();
        disks.dedup();
        (it.name.to_string(), it.size.as_i64() / EXTENT, disks.len())
    });
    told.collect()
}

#[rstest]
#[case::mirror(2, json!({"layout": "Raid1"}), 2, 2)]
#[case::two_copies(3, json!({"layout": "Raid1", "mirrors": 2}), 3, 3)]
#[case::parity(3, json!({"layout": "Raid5"}), 3, 2)]
#[case::two_parities(5, json!({"layout": "Raid6", "stripes": 3}), 5, 3)]
#[case::mirrored_stripes(4, json!({"layout": "Raid10"}), 4, 2)]
fn it_is_made_as_its_spec_says(
    #[case] disks: usize,
    #[case] said: Value,
    #[case] data: usize,
    #[case] metadata: usize,
) {
    let ground = Ground::on_disks(&vec![1024; disks], vec![("disks", spec(said))]);
    let layers = layers(&ground);
    assert!(layers[0].1 >= 100 && layers[0].1 < 103, "{layers:?}");
    let (pool, meta) = (format!("{POOL}_tdata"), format!("{POOL}_tmeta"));
    let want = [(pool, layers[0].1, data), (meta, 1, metadata)];
    assert_eq!(layers, want);
    ground.made(provisioned("a", "Thin"));
    ground.made(provisioned("b", "Thick"));
}

#[test]
fn too_few_disks_are_told_of_and_nothing_weaker_is_made() {
    let mut ground = Ground::on_disks(&[1024], thick());
    let before = ground.lvm.peek("vg0");
    let failed = ground.set_pools(vec![("disks", mirrored())]);
    let why = &failed[0];
    assert!(why.contains("raid1 needs 2 disks that have 404Mi free each"), "{why}");
    assert_eq!(ground.lvm.peek("vg0"), before);
    assert_eq!(ground.host().unserved().len(), 1);
}

#[test]
fn a_pool_that_lies_otherwise_is_not_taken_for_it() {
    let mut ground = Ground::with(vec![("disks", spec(json!({})))]);
    let failed = ground.set_pools(vec![("disks", mirrored())]);
    let why = &failed[0];
    assert!(why.contains("does not lie on raid1 with 2 legs"), "{why}");
    // It is served as it was.
    ground.made(provisioned("a", "Thin"));
}

#[rstest]
fn whatever_fails_the_next_try_ends_with_a_whole_thin_pool(
    #[values(FailAt::Before, FailAt::After)] at: FailAt,
    #[values(0, 1, 2, 3, 4, 5)] others: usize,
) {
    let mut ground = Ground::with(thick());
    let theirs = ground.made(volume("a"));
    ground.settle();
    let before = ground.lv(&theirs);
    ground.lvm.fail_later(others, at);
    ground.set_pools(vec![("disks", mirrored())]);
    // Or what it did not come to failed this time.
    while !ground.set_pools(vec![("disks", mirrored())]).is_empty() {}
    assert_eq!(layers(&ground).len(), 2);
    assert!(matches!(ground.lv(POOL).kind, Kind::ThinPool { .. }));
    assert_eq!((ground.lv(&theirs), ground.lvs()), (before, vec![theirs]));
    ground.made(provisioned("b", "Thin"));
}

/// Makes a mirror by hand, as what is to become a thin pool is made.
fn make(ground: &Ground, name: &str, tag: &str) {
    let group = ground.lvm.peek("vg0");
    let disks: Vec<_> = group.physical.iter().collect();
    let raid = Raid { level: RaidLevel::Raid1, stripes: 1, mirrors: 1, stripe_size: None };
    let wanted = CreateVolume {
        vg: group.name.clone(),
        name: name.parse().unwrap(),
        size: Bytes(3 * EXTENT.unsigned_abs()),
        backing: Backing::Thick(Layout::Raid(raid)),
        on: places(&disks, 4).unwrap(),
        tags: tag.parse().into_iter().collect(),
    };
    ground.lvm.create_volume(&wanted).unwrap();
}

const DATA: (&str, &str) = (POOL, "tarn.thin=data");
const METADATA: (&str, &str) = ("tarn-thin-metadata", "tarn.thin=metadata");

#[rstest]
#[case::its_data(&[DATA], None)]
#[case::half_of_its_data(&[DATA], Some(POOL))]
#[case::both(&[DATA, METADATA], None)]
#[case::half_of_its_metadata(&[DATA, METADATA], Some(METADATA.0))]
#[case::its_metadata(&[METADATA], None)]
fn what_a_kill_has_left_is_made_anew(#[case] left: &[(&str, &str)], #[case] half: Option<&str>) {
    let mut ground = Ground::with(thick());
    left.iter().for_each(|(name, tag)| make(&ground, name, tag));
    half.into_iter().for_each(|name| ground.lvm.half_make("vg0", name));
    assert!(ground.set_pools(vec![("disks", mirrored())]).is_empty());
    assert!(matches!(ground.lv(POOL).kind, Kind::ThinPool { .. }) && ground.lvs().is_empty());
    assert_eq!(layers(&ground)[0].1, 100);
}

#[rstest]
#[case::by_the_name_of_the_pool(POOL, "theirs", "another kind")]
#[case::by_the_name_of_its_metadata(METADATA.0, "theirs", "already exists")]
#[case::with_the_other_tag(METADATA.0, DATA.1, "already exists")]
fn what_is_somebody_elses_is_left_alone(#[case] name: &str, #[case] tag: &str, #[case] want: &str) {
    let mut ground = Ground::with(thick());
    make(&ground, name, tag);
    let before = ground.lvm.peek("vg0");
    let failed = ground.set_pools(vec![("disks", mirrored())]);
    assert!(failed[0].contains(want), "{failed:?}");
    assert_eq!(ground.lvm.peek("vg0"), before);
}

#[test]
fn data_and_metadata_grow_on_the_disks_of_their_legs() {
    let grow = json!({"threshold": 80, "percent": 50});
    let pool = spec(json!({"layout": "Raid1", "autoextend": grow}));
    let ground = Ground::on_disks(&[1024; 3], vec![("disks", pool)]);
    let on = layers(&ground);
    ground.lvm.fill_pool("vg0", POOL, 81.0, 10.0);
    ground.host().groups().do_chores_now();
    assert_eq!(ground.lv(POOL).size.as_i64(), 150 * EXTENT);
    ground.lvm.fill_pool("vg0", POOL, 10.0, 81.0);
    ground.host().groups().do_chores_now();
    let now = layers(&ground);
    assert_eq!((now[0].1, now[1].1), (150, 2));
    assert_eq!((now[0].2, now[1].2), (on[0].2, on[1].2));
    assert_eq!(ground.lv(POOL).size.as_i64(), 150 * EXTENT);
}

#[test]
fn a_larger_size_makes_it_grow_at_the_next_start() {
    let mut ground = Ground::with(vec![("disks", mirrored())]);
    let larger = spec(json!({"layout": "Raid1", "size": "5Gi"}));
    let failed = ground.set_pools(vec![("disks", larger)]);
    assert!(failed[0].contains("not every disk of the legs of tarn-thin_tdata"), "{failed:?}");
    assert_eq!(ground.lv(POOL).size.as_i64(), 100 * EXTENT);
    assert!(
        ground
            .set_pools(vec![("disks", spec(json!({"layout": "Raid1", "size": "3Gi"})))])
            .is_empty()
    );
    assert_eq!(ground.lv(POOL).size, Bytes::gib(3));
    // A smaller one changes nothing.
    assert!(ground.set_pools(vec![("disks", mirrored())]).is_empty());
    assert_eq!(ground.lv(POOL).size, Bytes::gib(3));
}

#[test]
fn its_volumes_are_used_while_a_disk_is_missing() {
    let mut ground = Ground::on_disks(&[1024; 3], vec![("disks", mirrored())]);
    let id = ground.made(provisioned("a", "Thin"));
    let stage = ground.path("stage");
    ground.lvm.set_missing("vg0", 0, true);
    ground.reboot();
    assert!(ground.lv(POOL).active && ground.lv(&id).active, "also after a start");
    ground.stage(staging(&id, &stage)).unwrap();
    let health = ground.host().status().pools[0].health.clone();
    assert_eq!((health.state(), health.lost), ("Degraded", vec![POOL.to_owned(), id.clone()]));
    ground.unstage(&id, &stage).unwrap();
    ground.lvm.set_missing("vg0", 1, true);
    ground.host().groups().do_chores_now();
    assert!(ground.stage(staging(&id, &stage)).is_err(), "both legs are gone");
}
