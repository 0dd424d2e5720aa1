//! Every LVM command of a volume's life fails once, before or after it has changed something, and
//! every call on file systems and devices; with and without a restart of the driver. The same
//! requests, repeated, end well, and nothing is left.

use rstest::rstest;
use tarn::{
    csi::proto::CreateVolumeRequest,
    lvm::fake::FailAt,
    volume::{SnapshotId, VolumeId},
};
use tonic::{Code, Status};

use crate::{ground::Ground, requests::*};

/// What happens when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is repeated.
    Again,
    /// The driver dies, starts, and the call is repeated.
    Restart,
    /// The whole machine does.
    Reboot,
}

/// Repeats a call until it is granted.
fn insist<T>(ground: &mut Ground, then: Then, call: impl Fn(&Ground) -> Result<T, Status>) -> T {
    for _ in 0..3 {
        match call(ground) {
            Ok(answer) => return answer,
            Err(status) => assert!(
                matches!(status.code(), Code::Aborted | Code::Internal | Code::FailedPrecondition),
                "{status:?}"
            ),
        }
        match then {
            Then::Again => (),
            Then::Restart => ground.start(),
            Then::Reboot => ground.reboot(),
        }
        // By the time that a caller asks again, what was deleted is wiped, or tried to be.
        ground.host().groups().empty_trash_now();
    }
    call(ground).unwrap_or_else(|status| panic!("still {status:?}"))
}

/// As [`insist`]; after an answer that external-provisioner takes for final nothing may be there,
/// since nobody would delete it.
fn insist_on_volume(ground: &mut Ground, then: Then, wish: &CreateVolumeRequest) -> String {
    let id = VolumeId::of(&wish.name.parse().unwrap()).to_string();
    let made = insist(ground, then, |ground| {
        let answer = ground.create(wish.clone());
        let is_final = answer.as_ref().is_err_and(|status| status.code() != Code::Aborted);
        assert!(!is_final || !ground.lvs().contains(&id), "{answer:?} but it is there");
        answer
    });
    assert_eq!(made.volume_id, id);
    id
}

/// A life with a snapshot, a restore, a clone, an expansion, a stage; and the end of all of it.
fn live(ground: &mut Ground, then: Then) {
    let path = ground.path("staging");
    let a = insist_on_volume(ground, then, &volume("a"));
    let larger = |of: &str, name: &str| CreateVolumeRequest {
        capacity_range: size(128 * MIB, 0),
        ..copy(name, of)
    };
    let snapshot = insist(ground, then, |ground| ground.snapshot("s", &a)).snapshot_id;
    assert_eq!(snapshot, SnapshotId::of(&"s".parse().unwrap()).to_string());
    let b = insist_on_volume(ground, then, &larger(&snapshot, "b"));
    insist(ground, then, |ground| ground.delete_snapshot(&snapshot));
    let c = insist_on_volume(ground, then, &larger(&a, "c"));
    let grown = insist(ground, then, |ground| ground.expand(expansion(&a, 96 * MIB)));
    assert_eq!(grown.capacity_bytes, 96 * MIB);
    insist(ground, then, |ground| ground.stage(staging(&a, &path)));
    ground.settle();
    insist(ground, then, |ground| ground.stage(staging(&a, &path)));
    let listed = ground.list(Default::default()).unwrap();
    let mut ids: Vec<String> =
        listed.entries.into_iter().map(|it| it.volume.unwrap().volume_id).collect();
    let mut all = vec![a.clone(), b.clone(), c.clone()];
    ids.sort();
    all.sort();
    assert_eq!(ids, all);
    insist(ground, then, |ground| ground.unstage(&a, &path));
    for id in [&a, &b, &c] {
        insist(ground, then, |ground| ground.delete(id));
    }
    ground.settle();
    ground.settle();
}

#[rstest]
fn a_life_goes_on_whatever_command_fails(
    #[values(FailAt::Before, FailAt::After)] at: FailAt,
    #[values(Then::Again, Then::Restart, Then::Reboot)] then: Then,
    #[values(Ground::thick, Ground::thin)] ground: fn() -> Ground,
) {
    let commands = {
        let mut ground = ground();
        let before = ground.lvm.commands().len();
        live(&mut ground, Then::Again);
        ground.lvm.commands().split_off(before)
    };
    assert!(commands.len() > 10, "{commands:?}");
    for (number, verb) in commands.iter().enumerate() {
        let mut ground = ground();
        let free = ground.free();
        ground.lvm.fail_later(number, at);
        live(&mut ground, then);
        assert_eq!((ground.free(), ground.lvs()), (free, vec![]), "{verb}, command {number}");
    }
}

/// Repeats a call of the kubelet's. After an answer that it takes for final it may forget the path,
/// so nothing may be mounted there.
fn insist_on_mount<T>(
    ground: &mut Ground,
    then: Then,
    at: &str,
    call: impl Fn(&Ground) -> Result<T, Status>,
) {
    insist(ground, then, |ground| {
        let answer = call(ground);
        let is_final = answer.as_ref().is_err_and(|status| status.code() != Code::Aborted);
        let mounted = ground.is_mounted(at);
        assert!(!is_final || !mounted, "{:?}, but mounted", answer.as_ref().err());
        answer
    });
}

/// What the kubelet does with a volume that is restored from a snapshot and grows.
fn serve_a_pod(ground: &mut Ground, then: Then) {
    let [staged, target, restored] = ["staged", "target", "restored"].map(|it| ground.path(it));
    let a = insist_on_volume(ground, then, &volume("a"));
    insist_on_mount(ground, then, &staged, |ground| ground.stage(staging(&a, &staged)));
    ground.settle();
    insist_on_mount(ground, then, &target, |ground| {
        // After a reboot the kubelet stages first.
        ground.stage(staging(&a, &staged))?;
        ground.publish(publishing(&a, &staged, &target))
    });
    insist(ground, then, |ground| ground.expand(expansion(&a, 128 * MIB)));
    insist(ground, then, |ground| ground.node_expand(node_expansion(&a, &target, 0)));
    insist(ground, then, |ground| ground.stats(&a, &target));
    let snapshot = insist(ground, then, |ground| ground.snapshot("s", &a)).snapshot_id;
    let wish = CreateVolumeRequest { capacity_range: size(200 * MIB, 0), ..copy("b", &snapshot) };
    let b = insist_on_volume(ground, then, &wish);
    insist(ground, then, |ground| ground.delete_snapshot(&snapshot));
    ground.fs.copy_content(ground.device(&a), ground.device(&b));
    insist_on_mount(ground, then, &restored, |ground| ground.stage(staging(&b, &restored)));
    insist(ground, then, |ground| ground.unpublish(&a, &target));
    for (id, at) in [(&a, &staged), (&b, &restored)] {
        insist(ground, then, |ground| ground.unstage(id, at));
        insist(ground, then, |ground| ground.delete(id));
    }
    ground.settle();
    ground.settle();
}

#[rstest]
fn a_pod_is_served_whatever_call_fails(
    #[values("file systems", "devices")] of: &str,
    #[values(Then::Again, Then::Restart)] then: Then,
    #[values(Ground::thick, Ground::thin)] ground: fn() -> Ground,
) {
    let of_fs = of == "file systems";
    let calls = |ground: &Ground| {
        if of_fs { ground.fs.all_calls() } else { ground.devices.all_calls() }
    };
    let all = {
        let mut ground = ground();
        let before = calls(&ground);
        serve_a_pod(&mut ground, Then::Again);
        calls(&ground) - before
    };
    assert!(all > 2, "{all}");
    for number in 0..all {
        let mut ground = ground();
        let free = ground.free();
        if of_fs {
            ground.fs.fail_later(number);
        } else {
            ground.devices.fail_later(number);
        }
        serve_a_pod(&mut ground, then);
        let left = (ground.free(), ground.lvs(), ground.mounts());
        assert_eq!(left, (free, vec![], vec![]), "call {number} on {of}");
        assert_eq!(ground.fs.made(), 1, "call {number} on {of}");
    }
}
