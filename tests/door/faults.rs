//! Every LVM command of a volume's life fails once, before or after it has changed something, with
//! and without a restart of the driver: the same calls, repeated, end well and nothing is left.

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
