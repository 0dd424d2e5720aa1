//! What CSI drivers commonly get wrong, one test for each.
//!
//! | # | Trap | Test |
//! |---|---|---|
//! | 1 | mkfs where the probe was wrong or the device unreadable | `trap_01_only_an_empty_new_volume_is_formatted` |
//! | 2 | staged again as another file system | `trap_02_staged_again_as_another_file_system` |
//! | 3 | a crash between mkfs and writing that down | `trap_03_crash_between_mkfs_and_recording`, `trap_03_crash_within_mkfs`, `trap_03_a_new_volume_of_the_same_name_was_never_staged` |
//! | 4 | the next tenant reads the last one's data | `trap_04_nothing_is_free_before_it_is_wiped` |
//! | 5 | unpublish or unstage of a path that is not there fails | `trap_05_a_missing_path_is_fine` |
//! | 6 | `readonly` is passed over | `trap_06_read_only_is_read_only` |
//! | 7 | a block target made as a directory, or stacked at each retry | `trap_07_a_block_target_is_one_file` |
//! | 8 | something left in the staging directory of a block volume | `trap_08_the_staging_directory_of_a_block_volume_stays_empty` |
//! | 9 | resize2fs on a block volume | `trap_09_a_block_volume_has_no_file_system_to_grow` |
//! | 10 | a restore to a larger volume keeps the small file system | `trap_10_a_larger_restore_is_filled` |
//! | 11 | an xfs clone beside its origin has the same UUID | `trap_11_a_clone_is_staged_beside_its_origin`; that the kernel agrees, the guest tests of `fs` show |
//! | 12 | stale mounts after a crash or reboot | `trap_12_after_a_reboot_everything_is_mounted_again` |
//! | 13 | no fsck before mounting | `trap_13_checked_before_it_is_mounted` |
//! | 14 | a lost answer makes a second volume | `trap_14_a_lost_answer_makes_no_second_volume` |
//! | 15 | deleted while open | `trap_15_not_deleted_while_open` |
//! | 16 | long, odd and hyphenated names | `trap_16_any_name` |
//! | 17 | a snapshot's creation time changes | `trap_17_a_creation_time_is_for_ever` |
//! | 18 | a full group hides that the volume exists | `trap_18_an_existing_volume_is_found_in_a_full_group` |
//! | 19 | a retry counts the volume itself as taken room | `trap_19_a_retry_does_not_count_itself` |
//! | 20 | fsGroup without a file system type | `trap_20_a_volume_without_fs_type_has_a_known_one`; `fsGroupPolicy` is in the chart |
//! | 21 | one lock over everything | `trap_21_one_slow_volume_is_slow_alone` |
//! | 22 | a thin pool runs full | `trap_22_a_thin_pool_grows_and_then_takes_no_more` |
//! | 23 | the host's LVM configuration | not here: command lines in `lvm::tools`, and every guest test |
//! | 24 | another root directory of the kubelet | `trap_24_the_kubelets_directory_may_be_a_link`; propagation of mounts is in the chart |
//! | 25 | an SELinux context as mount flag | `trap_25_an_selinux_context_is_a_mount_flag`; which contexts meet on a node the kubelet watches over |
//! | 26 | sizes that differ after a failed expansion | `trap_26_the_size_is_always_the_real_one` |
//! | 27 | a node that is gone for good | not on one machine: who else could say so |
//! | 28 | two claims of one pod, and room for one | not on one machine: the scheduler's; here `trap_28_the_second_claim_is_told_to_look_elsewhere` |

use std::{path::Path, thread};

use rstest::rstest;
use tarn::{
    csi::proto::{CreateVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest},
    fs::{Access, Content, FsKind, fake::Call},
    lvm::fake::FailAt,
    units::Bytes,
};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

#[rstest]
#[case::luks(Some(Content::Foreign("crypto_LUKS".into())))]
#[case::physical_volume(Some(Content::Foreign("LVM2_member".into())))]
#[case::partitions(Some(Content::Foreign("gpt partition table".into())))]
#[case::several(Some(Content::Foreign("several signatures".into())))]
#[case::another_file_system(Some(Content::Filesystem { kind: FsKind::Xfs, size: Bytes::mib(64) }))]
#[case::unreadable(None)]
fn trap_01_only_an_empty_new_volume_is_formatted(#[case] found: Option<Content>) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let device = ground.device(&id);
    match &found {
        Some(content) => ground.fs.set_content(&device, content.clone()),
        None => ground.fs.break_device(&device),
    }
    assert_ne!(code(ground.stage(staging(&id, &ground.path("staging")))), Code::Ok);
    assert!(ground.fs.made() == 0 && ground.mounts().is_empty());
    ground.fs.mend_device(&device);
    assert_eq!(ground.fs.content(&device), found.unwrap_or(Content::Nothing));
}

#[test]
fn trap_01_a_used_volume_is_never_formatted_again() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.unstage(&id, &at).unwrap();
    ground.settle();
    ground.fs.set_content(ground.device(&id), Content::Nothing);
    assert_eq!(code(ground.stage(staging(&id, &at))), Code::FailedPrecondition);
    assert_eq!(ground.fs.made(), 1);
}

#[test]
fn trap_02_staged_again_as_another_file_system() {
    let ground = Ground::thick();
    let id = ground.made(sized("a", 400 * MIB));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    let other = |at: &str| NodeStageVolumeRequest {
        volume_capability: Some(mount("xfs")),
        ..staging(&id, at)
    };
    assert_eq!(code(ground.stage(other(&at))), Code::AlreadyExists);
    assert_eq!(code(ground.stage(other(&ground.path("other")))), Code::FailedPrecondition);
    ground.unstage(&id, &at).unwrap();
    assert_eq!(code(ground.stage(other(&at))), Code::FailedPrecondition);
    assert_eq!(ground.fs.made(), 1);
}

#[test]
fn trap_03_crash_between_mkfs_and_recording() {
    let mut ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    assert!(ground.has_tag(&id, "tarn.fresh"), "recorded later, in the background");
    ground.reboot();
    assert!(ground.has_tag(&id, "tarn.fresh") && ground.mounts().is_empty());
    ground.stage(staging(&id, &at)).unwrap();
    ground.settle();
    assert!(!ground.has_tag(&id, "tarn.fresh"));
    assert_eq!(ground.fs.made(), 1);
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn trap_03_a_new_volume_of_the_same_name_was_never_staged(#[case] ground: Ground) {
    let at = ground.path("staging");
    let use_it = |id: &str| {
        ground.stage(staging(id, &at)).unwrap();
        ground.unstage(id, &at).unwrap();
    };
    let id = ground.made(volume("a"));
    use_it(&id);
    ground.delete(&id).unwrap();
    assert_eq!(ground.made(volume("a")), id);
    ground.settle();
    assert!(
        ground.has_tag(&id, "tarn.fresh"),
        "what was to be recorded of the one before is not of this"
    );
    use_it(&id);
    assert_eq!(ground.fs.made(), 2);
}

#[test]
fn trap_03_crash_within_mkfs() {
    let mut ground = Ground::thick();
    let id = ground.made(volume("a"));
    ground.fs.set_content(ground.device(&id), Content::Unfinished(FsKind::Ext4));
    ground.start();
    ground.stage(staging(&id, &ground.path("staging"))).unwrap();
    assert_eq!(ground.fs.made(), 1);
}

#[test]
fn trap_04_nothing_is_free_before_it_is_wiped() {
    let mut ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let free = ground.free();
    ground.delete(&id).unwrap();
    ground.devices.fail_once(tarn::device::fake::Call::Wipe);
    ground.settle();
    ground.start();
    assert_eq!(ground.free(), free, "neither a failure nor a restart gives it back unwiped");
    ground.settle();
    assert!(ground.free() > free);
    assert_eq!(ground.devices.calls(tarn::device::fake::Call::Wipe), 2);
}

#[test]
fn trap_05_a_missing_path_is_fine() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let nowhere = ground.path("no/where");
    ground.unpublish(&id, &nowhere).unwrap();
    ground.unstage(&id, &nowhere).unwrap();
    assert!(!Path::new(&nowhere).try_exists().unwrap());
}

#[test]
fn trap_06_read_only_is_read_only() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    ground.stage(staging(&id, &at)).unwrap();
    let reading = NodePublishVolumeRequest { readonly: true, ..publishing(&id, &at, &target) };
    ground.publish(reading).unwrap();
    assert_eq!(ground.mounts_at(&target)[0].access, Access::ReadOnly);
}

#[test]
fn trap_07_a_block_target_is_one_file() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    ground.stage(block_staging(&id, &at)).unwrap();
    for _ in 0..5 {
        ground.publish(block_publishing(&id, &at, &target)).unwrap();
    }
    assert!(Path::new(&target).is_file());
    assert_eq!(ground.mounts_at(&target).len(), 1);
}

#[test]
fn trap_08_the_staging_directory_of_a_block_volume_stays_empty() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let at = ground.path("staging");
    std::fs::create_dir(&at).unwrap();
    ground.stage(block_staging(&id, &at)).unwrap();
    ground.publish(block_publishing(&id, &at, &ground.path("target"))).unwrap();
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 0);
    assert!(ground.mounts_at(&at).is_empty());
}

#[test]
fn trap_09_a_block_volume_has_no_file_system_to_grow() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    ground.stage(block_staging(&id, &at)).unwrap();
    ground.publish(block_publishing(&id, &at, &target)).unwrap();
    ground.expand(expansion(&id, GIB)).unwrap();
    ground.node_expand(node_expansion(&id, &target, GIB)).unwrap();
    assert_eq!(ground.fs.calls(Call::Grow), 0);
}

#[test]
fn trap_10_a_larger_restore_is_filled() {
    let ground = Ground::thin();
    let a = ground.made(volume("a"));
    let at = ground.path("a");
    ground.stage(staging(&a, &at)).unwrap();
    ground.settle();
    let snapshot = ground.snapshot("s", &a).unwrap().snapshot_id;
    let wish = CreateVolumeRequest { capacity_range: size(GIB, 0), ..copy("b", &snapshot) };
    let b = ground.made(wish);
    ground.fs.copy_content(ground.device(&a), ground.device(&b));
    ground.stage(staging(&b, &ground.path("b"))).unwrap();
    let full = Content::Filesystem { kind: FsKind::Ext4, size: Bytes::GIB };
    assert_eq!(ground.fs.content(ground.device(&b)), full);
}

#[rstest]
#[case::ext4("ext4")]
#[case::xfs("xfs")]
#[case::btrfs("btrfs")]
fn trap_11_a_clone_is_staged_beside_its_origin(#[case] kind: &str) {
    let ground = Ground::thin();
    let of_kind = |wish| CreateVolumeRequest {
        volume_capabilities: vec![mount(kind)],
        capacity_range: size(400 * MIB, 0),
        ..wish
    };
    let stage = |id: &str, at: &str| NodeStageVolumeRequest {
        volume_capability: Some(mount(kind)),
        ..staging(id, &ground.path(at))
    };
    let a = ground.made(of_kind(volume("a")));
    ground.stage(stage(&a, "a")).unwrap();
    ground.settle();
    let b = ground.made(of_kind(copy("b", &a)));
    ground.fs.copy_content(ground.device(&a), ground.device(&b));
    ground.stage(stage(&b, "b")).unwrap();
    assert_eq!((ground.mounts().len(), ground.fs.made()), (2, 1));
}

#[test]
fn trap_12_after_a_reboot_everything_is_mounted_again() {
    let mut ground = Ground::thin();
    let id = ground.made(volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    for _ in 0..2 {
        ground.stage(staging(&id, &at)).unwrap();
        ground.publish(publishing(&id, &at, &target)).unwrap();
        assert_eq!(ground.mounts().len(), 2);
        ground.settle();
        ground.reboot();
    }
    // A kubelet that has lost its pods takes down what it finds, mounted or not.
    ground.unpublish(&id, &target).unwrap();
    ground.unstage(&id, &at).unwrap();
    ground.delete(&id).unwrap();
}

#[test]
fn trap_13_checked_before_it_is_mounted() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.unstage(&id, &at).unwrap();
    ground.settle();
    ground.stage(staging(&id, &at)).unwrap();
    assert_eq!(ground.fs.calls(Call::Check), 1);
    ground.unstage(&id, &at).unwrap();
    ground.fs.damage(ground.device(&id));
    assert_eq!(code(ground.stage(staging(&id, &at))), Code::FailedPrecondition);
    assert!(ground.mounts().is_empty());
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn trap_14_a_lost_answer_makes_no_second_volume(#[case] mut ground: Ground) {
    ground.lvm.fail_once("create_volume", FailAt::After);
    let first = ground.create(volume("a"));
    ground.start();
    let id = ground.made(volume("a"));
    assert_eq!(ground.made(volume("a")), id);
    assert_eq!(ground.lvs(), [id]);
    assert!(first.is_ok(), "{first:?}");
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn trap_15_not_deleted_while_open(#[case] ground: Ground) {
    let id = ground.made(block_volume("a"));
    ground.devices.set_open(ground.device(&id), 1);
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    assert_eq!(ground.lvs(), [id]);
}

#[test]
fn trap_16_any_name() {
    let ground = Ground::thick();
    for name in ["-", "--", "a-b--c", "ä\u{0}\n/../", &"€".repeat(42), &"x".repeat(128)] {
        let id = ground.made(volume(name));
        assert!(id.len() <= 63 && !id.trim_start_matches("v-").contains('-'), "{id}");
        ground.stage(staging(&id, &ground.path(&id))).unwrap();
    }
}

#[test]
fn trap_17_a_creation_time_is_for_ever() {
    for mut ground in [Ground::thick(), Ground::thin()] {
        let id = ground.made(volume("a"));
        let taken = ground.snapshot("s", &id).unwrap();
        assert_eq!(ground.snapshot("s", &id).unwrap(), taken);
        ground.reboot();
        assert_eq!(ground.snapshot("s", &id).unwrap(), taken);
        let listed = ground.list_snapshots(Default::default()).unwrap();
        assert_eq!(listed.entries[0].snapshot, Some(taken));
    }
}

#[test]
fn trap_18_an_existing_volume_is_found_in_a_full_group() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    ground.made(sized("rest", 8 * GIB - 64 * MIB));
    assert_eq!(ground.free(), 1024, "only the other group has room");
    assert_eq!(ground.made(volume("a")), id);
    assert_eq!(code(ground.create(sized("a", 9 * GIB))), Code::AlreadyExists);
    assert_eq!(code(ground.create(sized("b", 64 * MIB))), Code::ResourceExhausted);
}

#[test]
fn trap_19_a_retry_does_not_count_itself() {
    let mut ground = Ground::thick();
    let wish = || sized("a", 8 * GIB);
    let gate = ground.lvm.gate("create_volume");
    ground.hang_up(ground.controller().create_volume(wish()));
    assert_eq!(code(ground.create(wish())), Code::Aborted);
    gate.release();
    while let Err(status) = ground.create(wish()) {
        assert_eq!(status.code(), Code::Aborted);
    }
    ground.start();
    ground.create(wish()).unwrap();
}

#[test]
fn trap_20_a_volume_without_fs_type_has_a_known_one() {
    let ground = Ground::thick();
    let wish = CreateVolumeRequest { volume_capabilities: vec![mount("")], ..volume("a") };
    let id = ground.made(wish);
    let at = ground.path("staging");
    let request =
        NodeStageVolumeRequest { volume_capability: Some(mount("")), ..staging(&id, &at) };
    ground.stage(request).unwrap();
    assert_eq!(ground.mounts_at(&at)[0].fs_type, "ext4");
}

#[test]
fn trap_21_one_slow_volume_is_slow_alone() {
    let ground = Ground::thick();
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let (at, target) = (ground.path("a"), ground.path("target"));
    thread::scope(|scope| {
        let mkfs = ground.fs.gate_make();
        let making = scope.spawn(|| ground.stage(staging(&b, &ground.path("b"))));
        mkfs.reached();
        // One LVM command hangs as well.
        let lvcreate = ground.lvm.gate("create_volume");
        let creating = scope.spawn(|| ground.create(volume("c")));
        lvcreate.wait_until_reached();
        ground.fs.set_content(
            ground.device(&a),
            Content::Filesystem { kind: FsKind::Ext4, size: Bytes::mib(64) },
        );
        ground.stage(staging(&a, &at)).unwrap();
        ground.publish(publishing(&a, &at, &target)).unwrap();
        ground.stats(&a, &target).unwrap();
        ground.node_expand(node_expansion(&a, &target, 0)).unwrap();
        ground.unpublish(&a, &target).unwrap();
        ground.unstage(&a, &at).unwrap();
        ground.list(Default::default()).unwrap();
        ground.capacity(Default::default()).unwrap();
        lvcreate.release();
        drop(mkfs);
        creating.join().unwrap().unwrap();
        making.join().unwrap().unwrap();
    });
}

#[test]
fn trap_22_a_thin_pool_grows_and_then_takes_no_more() {
    let grow = serde_json::json!({"threshold": 80, "percent": 50});
    let thin = serde_json::json!({"size": "2Gi", "overprovision": 400, "autoextend": grow});
    let pool = serde_json::json!({"volumeGroup": "vg0", "provisioning": "Thin", "thinPool": thin});
    let ground = Ground::with(vec![("disks", pool)]);
    let id = ground.made(volume("a"));
    ground.lvm.fill_pool("vg0", "tarn-thin", 81.0, 10.0);
    ground.host().groups().do_chores_now();
    assert_eq!(ground.lv("tarn-thin").size, Bytes::gib(3));
    ground.lvm.fill_pool("vg0", "tarn-thin", 100.0, 10.0);
    ground.host().groups().do_chores_now();
    assert_eq!(code(ground.create(volume("b"))), Code::ResourceExhausted);
    assert_eq!(code(ground.snapshot("s", &id)), Code::ResourceExhausted);
    assert_eq!(ground.capacity(Default::default()).unwrap().available_capacity, 0);
    assert_eq!(ground.made(volume("a")), id, "what is there is still found");
}

#[test]
fn trap_24_the_kubelets_directory_may_be_a_link() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    std::fs::create_dir(ground.path("real")).unwrap();
    std::os::unix::fs::symlink("real", ground.path("kubelet")).unwrap();
    let (at, target) = (ground.path("kubelet/staging"), ground.path("kubelet/pods/1/mount"));
    for _ in 0..2 {
        ground.stage(staging(&id, &at)).unwrap();
        ground.publish(publishing(&id, &at, &target)).unwrap();
    }
    assert_eq!(ground.mounts().len(), 2);
    ground.stats(&id, &target).unwrap();
    ground.node_expand(node_expansion(&id, &target, 0)).unwrap();
    ground.unpublish(&id, &target).unwrap();
    ground.unstage(&id, &at).unwrap();
    assert!(ground.mounts().is_empty());
}

#[test]
fn trap_25_an_selinux_context_is_a_mount_flag() {
    let mut ground = Ground::thick();
    let id = ground.made(volume("a"));
    let context = "context=\"system_u:object_r:container_file_t:s0:c1,c2\"";
    let request = NodeStageVolumeRequest {
        volume_capability: Some(flagged("ext4", &[context])),
        ..staging(&id, &ground.path("staging"))
    };
    ground.stage(request.clone()).unwrap();
    ground.start();
    ground.stage(request).unwrap();
    assert_eq!(ground.mounts().len(), 1);
    for other in [&[][..], &[context.replace("c2", "c3").as_str()], &[context, "commit=30"]] {
        let other = NodeStageVolumeRequest {
            volume_capability: Some(flagged("ext4", other)),
            ..staging(&id, &ground.path("staging"))
        };
        assert_eq!(code(ground.stage(other)), Code::AlreadyExists);
    }
}

#[test]
fn trap_26_the_size_is_always_the_real_one() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    ground.lvm.fail_once("extend", FailAt::After);
    drop(ground.expand(expansion(&id, 128 * MIB)));
    let real = 128 * MIB;
    assert_eq!(ground.create(volume("a")).unwrap().capacity_bytes, real);
    assert_eq!(ground.expand(expansion(&id, 100 * MIB)).unwrap().capacity_bytes, real);
    let listed = ground.list(Default::default()).unwrap();
    assert_eq!(listed.entries[0].volume.as_ref().unwrap().capacity_bytes, real);
    assert_eq!(code(ground.expand(expansion(&id, 9 * GIB))), Code::OutOfRange);
    assert_eq!(ground.create(volume("a")).unwrap().capacity_bytes, real);
}

#[test]
fn trap_28_the_second_claim_is_told_to_look_elsewhere() {
    let ground = Ground::thick();
    let ids: Vec<_> = ["a", "b"].map(|name| ground.create(sized(name, 5 * GIB))).into();
    assert!(ids[0].is_ok());
    assert_eq!(ids[1].as_ref().unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(ground.lvs().len(), 1);
}
