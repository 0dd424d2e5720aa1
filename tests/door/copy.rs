//! CreateVolume from a volume or a snapshot: thin ones share, thick ones are copied.

use std::{
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use tarn::{
    csi::proto::CreateVolumeRequest, device::fake::Call, fs::Content, lvm::fake::FailAt,
    units::Bytes,
};
use tonic::Code;

use crate::{
    ground::{EXTENT, Ground, code},
    requests::*,
};

#[rstest]
#[case::volume("v-aaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case::snapshot("s-aaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case::path("../../etc")]
fn an_unknown_source_is_not_found(#[case] source: &str) {
    assert_eq!(code(Ground::thick().create(copy("b", source))), Code::NotFound);
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn a_copy_says_where_it_comes_from(#[case] ground: Ground) {
    let a = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &a).unwrap().snapshot_id;
    for (name, source) in [("b", &a), ("c", &snapshot)] {
        let made = ground.create(copy(name, source)).unwrap();
        assert_eq!(made.content_source, Some(content(source)));
        assert_eq!(ground.create(copy(name, source)).unwrap(), made);
        assert_eq!(code(ground.create(volume(name))), Code::AlreadyExists);
    }
    let listed = ground.list(Default::default()).unwrap();
    assert_eq!(listed.entries.len(), 3);
}

#[rstest]
#[case::smaller(Ground::thick(), size(60 * MIB, 0), Code::OutOfRange)]
#[case::smaller_thin(Ground::thin(), size(60 * MIB, 0), Code::OutOfRange)]
#[case::limit_below(Ground::thick(), size(0, 60 * MIB), Code::OutOfRange)]
#[case::no_wish(Ground::thick(), None, Code::Ok)]
#[case::larger(Ground::thick(), size(100 * MIB, 0), Code::Ok)]
#[case::larger_thin(Ground::thin(), size(100 * MIB, 0), Code::Ok)]
#[case::too_large(Ground::thick(), size(9 * GIB, 0), Code::ResourceExhausted)]
fn the_size_of_a_copy(
    #[case] ground: Ground,
    #[case] capacity_range: Option<tarn::csi::proto::CapacityRange>,
    #[case] want: Code,
) {
    let a = ground.made(volume("a"));
    let answer = ground.create(CreateVolumeRequest { capacity_range, ..copy("b", &a) });
    if let Ok(made) = &answer {
        let asked = capacity_range.map_or(GIB, |it| it.required_bytes);
        assert_eq!(made.capacity_bytes, asked);
        assert_eq!(ground.lv(&made.volume_id).size, Bytes(asked.unsigned_abs()));
    } else {
        assert_eq!(ground.lvs(), [a]);
    }
    assert_eq!(code(answer), want);
}

#[test]
fn a_copy_is_of_the_kind_of_its_source() {
    let ground = Ground::two_pools();
    let of = |parameters: &[(&str, &str)], wish: CreateVolumeRequest| CreateVolumeRequest {
        parameters: map(parameters),
        ..wish
    };
    let thin = [("pool", "fast"), ("provisioning", "Thin")];
    let a = ground.made(of(&thin, volume("a")));
    for other in [
        of(&[("pool", "fast"), ("provisioning", "Thick")], copy("b", &a)),
        of(&[("pool", "slow")], copy("b", &a)),
        CreateVolumeRequest { volume_capabilities: vec![block()], ..of(&thin, copy("b", &a)) },
        CreateVolumeRequest { volume_capabilities: vec![mount("xfs")], ..of(&thin, copy("b", &a)) },
    ] {
        assert_eq!(code(ground.create(other)), Code::InvalidArgument);
    }
    ground.create(of(&[("pool", "fast")], copy("b", &a))).unwrap();
    ground.create(copy("c", &a)).unwrap();
}

#[test]
fn a_copy_is_not_made_on_another_node() {
    let ground = Ground::thin();
    let a = ground.made(volume("a"));
    let wish = CreateVolumeRequest {
        accessibility_requirements: nodes(&["node-2"], &["node-2"]),
        ..copy("b", &a)
    };
    assert_eq!(code(ground.create(wish)), Code::ResourceExhausted);
}

#[test]
fn a_thin_copy_takes_no_time() {
    let ground = Ground::thin();
    let a = ground.made(volume("a"));
    let commands = ground.commands(|| drop(ground.made(copy("b", &a))));
    assert_eq!(commands, ["create_snapshot"]);
    assert_eq!(ground.devices.calls(Call::Copy), 0);
}

#[test]
fn a_thick_copy_has_every_byte_of_its_source() {
    let ground = Ground::thick();
    let a = ground.made(block_volume("a"));
    let snapshot = ground.snapshot("s", &a).unwrap().snapshot_id;
    ground.devices.write(ground.device(&snapshot), Bytes(5000), b"hello");
    let wish = CreateVolumeRequest { volume_capabilities: vec![block()], ..copy("b", &snapshot) };
    let b = ground.made(wish);
    assert_eq!(ground.devices.read(ground.device(&b), Bytes(5000), 5), b"hello");
    assert!(ground.devices.calls(Call::Flush) > 0, "durable before it is acknowledged");
    assert!(!ground.has_tag(&b, "tarn.copying"));
}

#[test]
fn a_thick_clone_leaves_no_snapshot_behind() {
    let ground = Ground::thick();
    let free = ground.free();
    let a = ground.made(volume("a"));
    let b = ground.made(copy("b", &a));
    ground.settle();
    assert_eq!(ground.lvs().len(), 2);
    ground.expand(expansion(&a, 128 * MIB)).unwrap();
    ground.delete(&a).unwrap();
    ground.delete(&b).unwrap();
    ground.settle();
    assert_eq!(ground.free(), free);
}

#[rstest]
#[case::the_copy_itself(&[], Some(Call::Copy))]
#[case::its_flush(&[], Some(Call::Flush))]
#[case::the_snapshot(&[("create_snapshot", FailAt::Before)], None)]
#[case::the_snapshots_answer(&[("create_snapshot", FailAt::After)], None)]
#[case::splitting_it_off(&[("split_snapshot", FailAt::Before)], None)]
#[case::the_splits_answer(&[("split_snapshot", FailAt::After)], None)]
#[case::the_tag(&[("change_tags", FailAt::Before)], None)]
#[case::the_tags_answer(&[("change_tags", FailAt::After)], None)]
fn a_clone_that_fails_anywhere_is_finished_by_the_next_call(
    #[case] commands: &[(&'static str, FailAt)],
    #[case] device: Option<Call>,
) {
    for restart in [false, true] {
        let mut ground = Ground::thick();
        let free = ground.free();
        let a = ground.made(volume("a"));
        commands.iter().for_each(|(verb, at)| ground.lvm.fail_once(verb, *at));
        device.into_iter().for_each(|call| ground.devices.fail_once(call));
        let first = code(ground.create(copy("b", &a)));
        assert!(matches!(first, Code::Ok | Code::Aborted), "{first:?} would leak the volume");
        if restart {
            ground.start();
        }
        // The snapshot that it was copied from may have to be wiped first.
        ground.settle();
        let b = ground.made(copy("b", &a));
        assert!(!ground.has_tag(&b, "tarn.copying"));
        ground.delete(&b).unwrap();
        if !restart {
            ground.start();
        }
        ground.settle();
        ground.delete(&a).unwrap();
        ground.settle();
        assert_eq!((ground.free(), ground.lvs()), (free, vec![]), "restart {restart}");
    }
}

#[test]
fn a_copy_that_a_restart_cut_short_goes_on_by_itself() {
    let mut ground = Ground::thick();
    let a = ground.made(volume("a"));
    ground.devices.fail_once(Call::Copy);
    assert_eq!(code(ground.create(copy("b", &a))), Code::Aborted);
    ground.start();
    ground.start_background();
    let b = loop {
        match ground.create(copy("b", &a)) {
            Ok(made) => break made.volume_id,
            Err(status) => assert_eq!(status.code(), Code::Aborted),
        }
    };
    assert!(!ground.has_tag(&b, "tarn.copying"));
}

/// What is in its way here never goes: its snapshot of before, which cannot be wiped.
#[test]
fn a_copy_that_waits_leaves_its_turn_to_calls() {
    let mut ground = Ground::thick();
    let a = ground.made(volume("a"));
    ground.lvm.fail_once("change_tags", FailAt::Before);
    assert_eq!(code(ground.create(copy("b", &a))), Code::Aborted);
    let passing = ground.lvs().into_iter().find(|it| it.starts_with("c-")).unwrap();
    ground.devices.hide(ground.device(&passing));
    ground.start();
    ground.start_background();
    let until = Instant::now() + Duration::from_secs(5);
    let answered = |status: tonic::Status| status.message().contains("is still being wiped");
    while !ground.create(copy("b", &a)).is_err_and(answered) {
        assert!(Instant::now() < until, "no call gets its turn");
        thread::sleep(Duration::from_millis(10));
    }
}

#[rstest]
#[case::thick(Ground::thick(), "create_volume")]
#[case::thin(Ground::thin(), "create_snapshot")]
fn a_copy_whose_making_fails_is_made_by_the_next_call(
    #[case] ground: Ground,
    #[case] verb: &'static str,
) {
    let a = ground.made(volume("a"));
    for (name, at) in [("b", FailAt::Before), ("c", FailAt::After)] {
        ground.lvm.fail_once(verb, at);
        drop(ground.create(copy(name, &a)));
        ground.made(copy(name, &a));
    }
    ground.settle();
    assert_eq!(ground.lvs().len(), 3);
}

#[rstest]
#[case::before(FailAt::Before)]
#[case::after(FailAt::After)]
fn a_larger_thin_copy_reaches_its_size(#[case] at: FailAt) {
    let ground = Ground::thin();
    let a = ground.made(volume("a"));
    ground.lvm.fail_once("extend", at);
    let wish = CreateVolumeRequest { capacity_range: size(128 * MIB, 0), ..copy("b", &a) };
    let first = code(ground.create(wish.clone()));
    assert!(matches!(first, Code::Ok | Code::Aborted), "{first:?} would leak the volume");
    let made = ground.create(wish).unwrap();
    assert_eq!(made.capacity_bytes, 128 * MIB);
    assert_eq!(ground.lv(&made.volume_id).size, Bytes::mib(128));
}

#[test]
fn what_is_being_copied_from_stays() {
    let ground = Ground::thick();
    let a = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &a).unwrap().snapshot_id;
    thread::scope(|scope| {
        let gate = ground.lvm.gate("change_tags");
        let copying = scope.spawn(|| ground.create(copy("b", &snapshot)));
        gate.wait_until_reached();
        assert_eq!(code(ground.delete_snapshot(&snapshot)), Code::FailedPrecondition);
        assert_eq!(code(ground.create(copy("b", &snapshot))), Code::Aborted);
        gate.release();
        copying.join().unwrap().unwrap();
    });
    ground.delete_snapshot(&snapshot).unwrap();
}

#[test]
fn a_copy_that_nobody_wants_any_more_lets_its_source_go() {
    let ground = Ground::thick();
    let free = ground.free();
    let a = ground.made(volume("a"));
    ground.devices.fail_once(Call::Copy);
    let b = code(ground.create(copy("b", &a)));
    assert_eq!(b, Code::Aborted);
    // The claim is gone, so nobody asks for the copy again; its deletion makes the source free.
    let half = ground.lvs().into_iter().find(|it| it.starts_with("v-") && *it != a).unwrap();
    ground.delete(&half).unwrap();
    ground.delete(&a).unwrap();
    ground.settle();
    assert_eq!((ground.free(), ground.lvs()), (free, vec![]));
}

#[test]
fn a_clone_needs_room_for_the_snapshot_it_is_made_from() {
    let ground = Ground::thick();
    let a = ground.made(sized("a", 3 * GIB));
    let free = ground.free();
    let wish = CreateVolumeRequest { capacity_range: size(3 * GIB, 0), ..copy("b", &a) };
    assert_eq!(code(ground.create(wish)), Code::ResourceExhausted);
    assert_eq!((ground.free(), ground.lvs()), (free, vec![a]), "nothing may be left then");
}

#[test]
fn a_clone_that_finds_no_room_half_way_is_taken_away() {
    let ground = Ground::thick();
    let a = ground.made(sized("a", GIB));
    let wish = CreateVolumeRequest { capacity_range: size(GIB, 0), ..copy("b", &a) };
    thread::scope(|scope| {
        let gate = ground.lvm.gate("create_snapshot");
        let cloning = scope.spawn(|| ground.create(wish));
        gate.wait_until_reached();
        let extents = (11 * GIB / 2 / EXTENT).unsigned_abs();
        ground.lvm.take_elsewhere("vg0", extents);
        gate.release();
        assert_eq!(code(cloning.join().unwrap()), Code::ResourceExhausted);
    });
    ground.settle();
    assert_eq!(ground.lvs(), ["theirs".to_owned(), a]);
}

#[test]
fn a_restored_file_system_is_used_and_grown() {
    for ground in [Ground::thick(), Ground::thin()] {
        let a = ground.made(volume("a"));
        let at = ground.path("staging-a");
        ground.stage(staging(&a, &at)).unwrap();
        ground.settle();
        let wish = CreateVolumeRequest { capacity_range: size(128 * MIB, 0), ..copy("b", &a) };
        let b = ground.made(wish);
        ground.fs.copy_content(ground.device(&a), ground.device(&b));
        ground.stage(staging(&b, &ground.path("staging-b"))).unwrap();
        let made = ground.fs.made();
        assert_eq!(made, 1, "the copy's file system is not made anew");
        let Content::Filesystem { size, .. } = ground.fs.content(ground.device(&b)) else {
            panic!("no file system");
        };
        assert_eq!(size, Bytes::mib(128));
    }
}
