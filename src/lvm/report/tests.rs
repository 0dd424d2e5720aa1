//! Reports of LVM 2.03.16, as they are and as they may be.

use rstest::rstest;

use super::*;
use crate::lvm::Legs;

const EVERY_KIND: &[u8] = include_bytes!("../testdata/2.03.16-every-kind.json");
const MISSING_DISK: &[u8] = include_bytes!("../testdata/2.03.16-missing-disk.json");
const DEPENDENTS: &[u8] = include_bytes!("../testdata/2.03.16-dependents.json");
const VERSION: &[u8] = include_bytes!("../testdata/2.03.16-version.txt");

fn volume(name: &str) -> LogicalVolume {
    let group = read(EVERY_KIND).unwrap();
    group.logical.into_iter().find(|it| it.name.as_str() == name).unwrap()
}

#[test]
fn a_group_and_its_disks() {
    let group = read(EVERY_KIND).unwrap();
    assert_eq!((group.name.as_str(), group.extent), ("vg0", Bytes::mib(4)));
    assert_eq!((group.extents, group.free), (3069, 3043));
    assert_eq!(group.tags, ["tarn.pool=fast".parse().unwrap(), "two".parse().unwrap()]);
    let disks: Vec<_> = group.physical.iter().map(|pv| pv.device.to_str().unwrap()).collect();
    assert_eq!(disks, ["/dev/ubdb", "/dev/ubda", "/dev/ubdc"], "in the group's order");
    let allocatable: Vec<_> = group.physical.iter().map(|pv| pv.allocatable).collect();
    assert_eq!(allocatable, [true, true, false]);
    let free: Vec<_> = group.physical.iter().map(|pv| &pv.free_runs[..]).collect();
    let run = |start, length| Stretch { start, length };
    assert_eq!(free, [&[run(17, 1006)][..], &[run(5, 5), run(14, 1009)], &[run(0, 1023)]]);
}

#[rstest]
#[case::linear("a", Kind::Thick, Bytes::mib(16), None)]
#[case::striped("st", Kind::Thick, Bytes::mib(16), None)]
#[case::copy_on_write("cow", Kind::CopyOnWrite, Bytes::mib(16), Some("a"))]
#[case::thin("t", Kind::Thin("pool".parse().unwrap()), Bytes::GIB, None)]
#[case::thin_snapshot("frozen", Kind::Thin("pool".parse().unwrap()), Bytes::GIB, Some("t"))]
#[case::raid("mirror", Kind::Thick, Bytes::mib(4), None)]
#[case::pool(
    "pool",
    Kind::ThinPool { data_percent: Some(12.5), metadata_percent: Some(10.94) },
    Bytes::mib(32),
    None
)]
fn kinds(
    #[case] name: &str,
    #[case] kind: Kind,
    #[case] size: Bytes,
    #[case] origin: Option<&str>,
) {
    let seen = volume(name);
    assert_eq!((seen.kind, seen.size), (kind, size));
    assert_eq!(seen.origin, origin.map(|it| it.parse().unwrap()));
}

#[test]
fn the_legs_of_a_raid() {
    let disks = vec!["/dev/ubdb".into(), "/dev/ubda".into()];
    assert_eq!(volume("mirror").legs, Some(Legs::whole(disks, 1)));
    assert_eq!(volume("st").legs, None);
}

#[test]
fn what_a_thin_pool_lies_on_is_below_it() {
    let group = read(include_bytes!("../testdata/2.03.16-thin-on-raids.json")).unwrap();
    let names: Vec<_> = group.logical.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["pool", "t"]);
    assert!(group.logical.iter().all(|it| it.legs.is_none()));
    let [data, metadata] = group.layers.as_slice() else { panic!("{:?}", group.layers) };
    let pool = &group.logical[0].name;
    assert_eq!((&data.name, &metadata.name), (&pool.thin_data(), &pool.thin_metadata()));
    assert_eq!((data.size, metadata.size), (Bytes::mib(64), Bytes::mib(4)));
    let legs = |disks: [&str; 2]| Some(Legs::whole(disks.map(Into::into).to_vec(), 1));
    assert_eq!(data.legs, legs(["/dev/ubda", "/dev/ubdb"]));
    assert_eq!(metadata.legs, legs(["/dev/ubda", "/dev/ubdc"]));
    assert_eq!((data.synced, data.active, &data.kind), (Some(100.0), true, &Kind::Thick));
    let of_metadata = group.legs.iter().filter(|it| it.volume == metadata.name);
    assert_eq!(of_metadata.map(|it| it.stretch.length).sum::<u64>(), 4);
}

#[test]
fn metadata_that_lie_elsewhere_are_beside_the_legs() {
    let text = String::from_utf8_lossy(EVERY_KIND);
    let row = text.lines().find(|line| line.contains("[mirror_rmeta_1]")).unwrap();
    let moved = row.replace(
        "wNjiFF-QJq0-HVeW-Jnrp-dpkK-VeIm-SZN1OY",
        "eroWDH-GzJS-D0Rc-BlSl-q3Om-EWAn-ynOleI",
    );
    let group = read(text.replace(row, &moved).as_bytes()).unwrap();
    let mirror = group.logical.iter().find(|it| it.name.as_str() == "mirror").unwrap();
    let beside = vec!["/dev/ubdc".into()];
    assert_eq!(mirror.legs, volume("mirror").legs.map(|legs| Legs { beside, ..legs }));
}

#[test]
fn where_the_legs_lie_and_what_an_interrupted_pvmove_has_of_them() {
    let text = String::from_utf8_lossy(EVERY_KIND).into_owned();
    let whole = read(text.as_bytes()).unwrap();
    let of = |group: &Group, disk: &str| {
        let its = group.legs.iter().filter(|it| it.disk == disk);
        its.map(|it| (it.volume.to_string(), it.leg, it.stretch.length)).collect::<Vec<_>>()
    };
    let disk = &whole.physical.iter().find(|it| it.device.ends_with("ubdb")).unwrap().uuid;
    assert_eq!(of(&whole, disk), [("mirror".to_owned(), 0, 1), ("mirror".to_owned(), 0, 1)]);
    assert!(whole.moving.is_empty());
    let moving = text.replace("[mirror_rimage_0]", "[pvmove0]");
    let group = read(moving.as_bytes()).unwrap();
    assert_eq!(of(&group, disk), [("mirror".to_owned(), 0, 1)]);
    assert_eq!(group.moving.get(disk), Some(&1));
}

#[test]
fn a_leg_that_is_shut_out_after_an_error() {
    let text = String::from_utf8_lossy(EVERY_KIND).into_owned();
    let shut_out = |layer: &str| {
        let named = format!(r#""lv_name":"[{layer}]""#);
        let told = format!(r#"{named}, "lv_health_status":"refresh needed""#);
        let group = read(text.replace(&named, &told).as_bytes()).unwrap();
        let mirror = group.logical.into_iter().find(|it| it.name.as_str() == "mirror").unwrap();
        mirror.legs.unwrap().shut_out
    };
    assert_eq!(shut_out("mirror_rimage_0"), [Path::new("/dev/ubdb")]);
    assert_eq!(shut_out("mirror_rmeta_1"), [Path::new("/dev/ubda")]);
    assert!(shut_out("other_rimage_0").is_empty());
}

/// As LVM says it of one whose removal was cut short between the volume and its legs.
#[test]
fn the_legs_of_a_raid_that_is_not_active_are_not_shut_out() {
    let text = String::from_utf8_lossy(EVERY_KIND).into_owned();
    let leg = r#""lv_name":"[mirror_rimage_0]""#;
    let text = text.replace(leg, &format!(r#"{leg}, "lv_health_status":"refresh needed""#));
    let (before, mirror) = text.split_once(r#""lv_name":"mirror","#).unwrap();
    let mirror = mirror.replacen(r#""lv_active":"active""#, r#""lv_active":"""#, 1);
    let group = read(format!(r#"{before}"lv_name":"mirror",{mirror}"#).as_bytes()).unwrap();
    assert!(group.physical.iter().all(|it| !it.erring));
}

/// LVM shows what it is to clear.
#[test]
fn a_half_made_raid() {
    let text = String::from_utf8_lossy(EVERY_KIND).into_owned();
    let row = text.lines().find(|line| line.contains(r#""lv_name":"asleep", "lv_uuid""#)).unwrap();
    let row = row.trim().trim_end_matches(',');
    let shown = |leg: u32| row.replace("asleep", &format!("mirror_rmeta_{leg}"));
    let more =
        |rows: &[String]| text.replacen(row, &[rows, &[row.to_owned()]].concat().join(","), 1);
    let kind = |text: String| {
        let group = read(text.as_bytes()).unwrap();
        let mirror = group.logical.iter().find(|it| it.name.as_str() == "mirror").unwrap();
        (mirror.kind.clone(), group.logical.len())
    };
    let (before, count) = kind(text.clone());
    assert_eq!(before, Kind::Thick);
    assert_eq!(kind(more(&[shown(0), shown(1)])), (Kind::HalfMade, count));
    assert_eq!(kind(more(&[shown(1)])), (Kind::Thick, count + 1), "somebody adds a leg");
}

#[rstest]
#[case::active("a", true, false)]
#[case::inactive("off", false, false)]
#[case::frozen("frozen", false, false)]
#[case::suspended("asleep", true, true)]
fn states(#[case] name: &str, #[case] active: bool, #[case] suspended: bool) {
    let seen = volume(name);
    assert_eq!((seen.active, seen.suspended), (active, suspended));
}

#[test]
fn a_missing_disk_is_seen() {
    let group = read(MISSING_DISK).unwrap();
    let missing: Vec<_> = group.physical.iter().map(|pv| pv.missing).collect();
    assert_eq!(missing, [true, false, false]);
    assert_eq!(group.physical[0].device.to_str(), Some("[unknown]"));
}

#[rstest]
#[case::origin("a", Dependents::Some)]
#[case::pool("pool", Dependents::Some)]
#[case::thin_origin("t", Dependents::Alone)]
#[case::snapshot("cow", Dependents::Alone)]
#[case::nobody("nobody", Dependents::Absent)]
fn who_needs_it(#[case] name: &str, #[case] want: Dependents) {
    assert_eq!(dependents(DEPENDENTS, &name.parse().unwrap()).unwrap(), want);
}

#[test]
fn what_lies_on_a_missing_disk_is_not_removed() {
    let row = |name: &str, health: &str| {
        format!(
            r#"{{"lv_name":"{name}","lv_role":"public","origin":"","pool_lv":"","lv_health_status":"{health}"}}"#
        )
    };
    let rows = [row("whole", ""), row("lost", "partial")].join(",");
    let json = format!(r#"{{"report": [{{"lv": [{rows}]}}]}}"#);
    let of = |name: &str| dependents(json.as_bytes(), &name.parse().unwrap()).unwrap();
    assert_eq!((of("whole"), of("lost")), (Dependents::Alone, Dependents::Lost));
}

#[rstest]
#[case::nothing("")]
#[case::no_json("Volume group not found")]
#[case::no_group(r#"{"report": []}"#)]
#[case::no_row(r#"{"report": [{"vg": [], "pv": [], "lv": [], "pvseg": [], "seg": []}]}"#)]
fn what_is_no_report(#[case] text: &str) {
    assert!(matches!(read(text.as_bytes()), Err(Error::Report(_))));
}

#[test]
fn versions() {
    assert_eq!(version(VERSION).unwrap(), (2, 3, 16));
    assert!(version(b"LVM version:     two").is_err());
}

#[rstest]
#[case::gave_up("failed", true)]
#[case::read_only("metadata_read_only", true)]
#[case::full("out_of_data", false)]
#[case::well("", false)]
fn a_thin_pool_gives_up_with_all_that_is_in_it(#[case] health: &str, #[case] want: bool) {
    let report = String::from_utf8(EVERY_KIND.to_vec()).unwrap();
    let has = format!(r#""lv_name":"pool", "lv_health_status":"{health}""#);
    let group = read(report.replace(r#""lv_name":"pool""#, &has).as_bytes()).unwrap();
    let failed: Vec<_> = group.logical.iter().filter(|it| it.failed).map(|it| &it.name).collect();
    let in_it = group.logical.iter().filter(|it| it.thin_pool().is_some()).map(|it| &it.name);
    assert_eq!(failed, in_it.filter(|_| want).collect::<Vec<_>>());
}
