//! File systems of pools' own, in files: made once, mounted after each start, grown.

use std::fs::{create_dir, rename, write};

use super::*;
use crate::{
    device::Devices as _,
    fs::{Content, FsKind},
};

/// What the driver says of the pool that it does not serve.
fn refused(machine: &Machine, more: Value) -> String {
    let folders = machine.unserved();
    let said = folders.serve(vec![machine.entry(more)]).into_values().next();
    assert_eq!(folders.served(), []);
    said.unwrap()
}

fn room(folders: &Folders) -> Bytes {
    folders.capacity(&Parameters::default()).largest
}

fn sized(size: &str) -> Value {
    json!({ "loopFile": { "size": size } })
}

/// A machine that has had a volume, after a restart.
fn restarted() -> (Machine, VolumeId) {
    let machine = Machine::of(Kind::File);
    let id = machine.started(json!({})).create(&wanted("a", Bytes::mib(8))).unwrap().id;
    machine.fs.reboot();
    machine.mount_disk();
    (machine, id)
}

/// That the volume is there, in the file system that was made first.
fn has(machine: &Machine, folders: &Folders, id: &VolumeId) {
    folders.stage(&machine.stage(id)).unwrap();
    assert_eq!((machine.fs.made(), room(folders)), (1, Bytes::mib(56)));
}

#[test]
fn it_is_made_once_and_mounted_after_each_restart() {
    let machine = Machine::of(Kind::File);
    let id = machine.started(json!({})).create(&wanted("a", Bytes::mib(8))).unwrap().id;
    has(&machine, &machine.started(json!({})), &id);
    assert!(machine.path("disk/dir.img").is_file());
    machine.fs.reboot();
    machine.mount_disk();
    has(&machine, &machine.started(json!({})), &id);
}

/// Each call of the kernel fails once while it is made, and while it is mounted again; then it is tried again.
#[test]
fn whatever_fails_it_is_made_once() {
    let opening = |at: Option<usize>| {
        let machine = Machine::of(Kind::File);
        let before = machine.fs.all_calls();
        if let Some(at) = at {
            machine.fs.fail_later(at);
        }
        let folders = machine.unserved();
        folders.serve(vec![machine.entry(json!({}))]);
        let calls = machine.fs.all_calls() - before;
        folders.do_chores_now();
        let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
        folders.stage(&machine.stage(&id)).unwrap();
        assert_eq!(machine.fs.made(), 1, "call {at:?}");
        machine.fs.reboot();
        machine.mount_disk();
        if let Some(at) = at {
            machine.fs.fail_later(at);
        }
        let folders = machine.unserved();
        folders.serve(vec![machine.entry(json!({}))]);
        folders.do_chores_now();
        has(&machine, &folders, &id);
        calls
    };
    let calls = opening(None);
    assert!(calls > 8, "{calls}");
    for at in 0..calls {
        opening(Some(at));
    }
}

/// The life before was killed after mkfs had ended.
#[test]
fn a_whole_one_without_its_name_is_not_made_again() {
    let (machine, id) = restarted();
    rename(machine.path("disk/dir.img"), machine.path("disk/dir.new")).unwrap();
    has(&machine, &machine.started(json!({})), &id);
}

#[test]
fn it_grows_and_never_shrinks() {
    let machine = Machine::of(Kind::File);
    let folders = machine.started(json!({}));
    for (said, has) in [("128Mi", 128), ("64Mi", 128), ("1Gi", 128), ("192Mi", 192)] {
        assert_eq!(folders.serve(vec![machine.entry(sized(said))]), BTreeMap::new());
        folders.do_chores_now();
        assert_eq!(room(&folders), Bytes::mib(has), "{said}");
        assert_eq!(room(&machine.started(sized(said))), Bytes::mib(has), "{said}");
    }
}

#[test]
fn a_pool_that_is_let_go_of_leaves_all_as_it_is() {
    let machine = Machine::of(Kind::File);
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    let before = machine.things();
    folders.serve(Vec::new());
    folders.do_chores_now();
    assert_eq!(machine.things(), before);
    folders.serve(vec![machine.entry(json!({}))]);
    has(&machine, &folders, &id);
}

#[test]
fn volumes_are_not_left_behind_while_the_driver_runs() {
    let machine = Machine::of(Kind::File);
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    let beside = vec![machine.entry(json!({ "loopFile": null }))];
    let said = folders.serve(beside.clone()).into_values().next().unwrap();
    assert!(said.contains("dir.mount/dir; leave it there, or delete them first"), "{said}");
    has(&machine, &folders, &id);
    folders.unstage(&id, &machine.path("staged")).unwrap();
    folders.delete(&id).unwrap();
    folders.do_chores_now();
    assert_eq!(folders.serve(beside), BTreeMap::new());
    assert_eq!(room(&folders), Bytes::mib(256), "it is the disk now");
    folders.create(&wanted("a", Bytes::mib(8))).unwrap();
    assert_eq!(folders.serve(vec![machine.entry(json!({}))]).len(), 1, "nor the other way round");
}

#[test]
fn where_there_is_no_room_nothing_is_made() {
    let machine = Machine::of(Kind::File);
    let before = machine.things();
    let said = refused(&machine, sized("257Mi"));
    assert!(said.ends_with("has 256Mi free; say less, or make room"), "{said}");
    assert_eq!(machine.things(), before);
}

#[rstest]
#[case::foreign(Content::Foreign("LVM2_member".to_owned()), "holds LVM2_member, not ext4, and is left")]
#[case::nothing(Content::Nothing, "holds nothing, not ext4")]
#[case::other(
    Content::Filesystem { kind: FsKind::Xfs, size: Bytes::mib(64) },
    "say `fsType: xfs`, if that is what it is to be"
)]
fn a_file_that_is_not_ours_is_left_as_it_is(#[case] content: Content, #[case] says: &str) {
    let machine = Machine::of(Kind::File);
    let device =
        machine.devices.ensure_loop(&machine.path("disk/dir.img"), Bytes::mib(64)).unwrap();
    machine.fs.set_content(&device, content.clone());
    let said = refused(&machine, json!({}));
    assert!(said.contains(says), "{said}");
    assert_eq!((machine.fs.content(&device), machine.fs.made()), (content, 0));
}

#[test]
fn it_is_mounted_over_nothing() {
    let (machine, id) = restarted();
    let strange = machine.path("disk/dir.mount/file");
    write(&strange, "x").unwrap();
    let said = refused(&machine, json!({}));
    assert!(said.contains("is not empty; move away what is in it"), "{said}");
    std::fs::remove_file(strange).unwrap();
    has(&machine, &machine.started(json!({})), &id);
}

#[test]
fn what_else_is_mounted_there_is_not_taken_for_it() {
    let machine = Machine::of(Kind::File);
    let mount = machine.path("disk/dir.mount");
    create_dir(&mount).unwrap();
    machine.fs.mount_with_quotas(&mount, Bytes::mib(64));
    let said = refused(&machine, json!({}));
    assert!(said.contains("bring it back, or unmount that"), "{said}");
    machine.fs.unmount(&mount).unwrap();
    machine.started(json!({}));
    machine.fs.unmount(&mount).unwrap();
    machine.fs.mount_with_quotas(&mount, Bytes::mib(64));
    let said = refused(&machine, json!({}));
    assert!(said.contains("something else than"), "{said}");
}
