//! Snapshots, restored volumes and clones, on the fake, whose copies are real ones.

use super::*;
use crate::volume::{SnapshotFilter, SnapshotId, Source, WantedSnapshot};

fn snapshot_of(volume: &str, name: &str) -> WantedSnapshot {
    WantedSnapshot { name: name.parse().unwrap(), source: id_of(volume) }
}

fn copy_of(source: Source, name: &str, size: Bytes) -> Wanted {
    Wanted { source: Some(source), ..wanted(name, size) }
}

fn s_id(name: &str) -> SnapshotId {
    SnapshotId::of(&name.parse().unwrap())
}

fn own(machine: &Machine, id: &str) -> PathBuf {
    machine.path("disk/dir").join(id)
}

/// A directory with a volume of 8Mi that holds 1Mi.
fn with_volume() -> (Machine, Folders) {
    let machine = Machine::of(Kind::Directory);
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    std::fs::write(own(&machine, id.as_str()).join("file"), vec![7; 1 << 20]).unwrap();
    (machine, folders)
}

fn listed(folders: &Folders) -> Vec<SnapshotId> {
    folders.snapshots(&SnapshotFilter::default(), None, 9).into_iter().map(|it| it.id).collect()
}

#[test]
fn a_snapshot_stays_as_it_was_and_lives_without_its_volume() {
    let (machine, folders) = with_volume();
    let taken = folders.snapshot(&snapshot_of("a", "s")).unwrap();
    assert_eq!((taken.size, taken.source.clone()), (Bytes::mib(8), id_of("a")));
    assert_eq!(folders.snapshot(&snapshot_of("a", "s")).unwrap(), taken, "the same call finds it");
    let limit = machine.fs.limit_of(own(&machine, taken.id.as_str())).unwrap();
    assert!(limit.bytes >= Bytes::mib(1) && limit.bytes < Bytes::mib(2), "{limit:?}");
    let file = own(&machine, id_of("a").as_str()).join("file");
    std::fs::write(file, "other").unwrap();
    folders.delete(&id_of("a")).unwrap();
    folders.do_chores_now();

    let folders = machine.started(json!({}));
    assert_eq!(listed(&folders), [s_id("s")]);
    let kept = folders.kept(&|id| id == taken.id.as_str());
    assert_eq!((kept[0].snapshot_of.clone(), kept[0].size), (Some(id_of("a")), Bytes::mib(8)));
    let of = Source::Snapshot(taken.id.clone());
    let small = folders.create(&copy_of(of.clone(), "r", Bytes::mib(4)));
    assert!(matches!(small, Err(Error::OutOfRange(_))), "{small:?}");
    let wish = copy_of(of.clone(), "r", Bytes::mib(16));
    for _ in 0..2 {
        let made = folders.create(&wish).unwrap();
        assert_eq!((made.size, made.source), (Bytes::mib(16), Some(of.clone())));
    }
    let restored = own(&machine, id_of("r").as_str());
    assert_eq!(std::fs::read(restored.join("file")).unwrap(), vec![7; 1 << 20]);
    assert_eq!(machine.fs.limit_of(&restored).unwrap().bytes, Bytes::mib(16));
    let status = &folders.status()[0];
    assert_eq!((status.volumes, status.snapshots), (1, 1));
    let other = folders.create(&wanted("r", Bytes::mib(16)));
    assert!(matches!(other, Err(Error::Exists { .. })), "{other:?}");

    for _ in 0..2 {
        folders.delete(&id_of("r")).unwrap();
        folders.delete_snapshot(&taken.id).unwrap();
        folders.do_chores_now();
    }
    assert_eq!((listed(&folders), machine.fs.limits()), (Vec::new(), 0));
    assert_eq!(folders.capacity(&Parameters::default()).largest, Bytes::mib(64));
}

#[test]
fn a_name_is_for_snapshots_of_one_volume() {
    let (_machine, folders) = with_volume();
    folders.create(&wanted("b", Bytes::mib(8))).unwrap();
    folders.snapshot(&snapshot_of("a", "s")).unwrap();
    let other = folders.snapshot(&snapshot_of("b", "s")).unwrap_err();
    assert!(matches!(other, Error::Exists { .. }), "{other}");
    let unknown = folders.snapshot(&snapshot_of("c", "t")).unwrap_err();
    assert!(matches!(unknown, Error::NotFound(_)), "{unknown}");
}

/// Whoever may write to it would have a copy of no one moment.
#[test]
fn what_can_be_written_to_is_not_copied_and_what_is_copied_is_not_staged() {
    let (machine, folders) = with_volume();
    let id = id_of("a");
    folders.stage(&machine.stage(&id)).unwrap();
    let clone = copy_of(Source::Volume(id.clone()), "c", Bytes::mib(8));
    for refused in
        [folders.snapshot(&snapshot_of("a", "s")).map(drop), folders.create(&clone).map(drop)]
    {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Precondition(_)), "{refused}");
        assert!(refused.to_string().contains("stop the pods"), "{refused}");
    }
    folders.unstage(&id, &machine.path("staged")).unwrap();
    let reading = Stage { capability: mount(&["ro"]), ..machine.stage(&id) };
    folders.stage(&reading).unwrap();
    folders.snapshot(&snapshot_of("a", "s")).unwrap();
    folders.unstage(&id, &machine.path("staged")).unwrap();

    let gate = machine.fs.gate_make();
    std::thread::scope(|scope| {
        let copy = scope.spawn(|| folders.create(&clone));
        gate.reached();
        assert_eq!(folders.copies()[0].volume, id_of("c").as_str());
        for held in [folders.stage(&machine.stage(&id)), folders.delete(&id)] {
            assert!(matches!(held, Err(Error::Busy(_))), "{held:?}");
        }
        assert!(folders.find(&id_of("c")).is_none(), "it is not whole");
        assert!(folders.volumes(None, 9).iter().all(|it| it.id == id));
        drop(gate);
        copy.join().unwrap().unwrap();
    });
    assert_eq!(folders.copies(), []);
    folders.stage(&machine.stage(&id)).unwrap();
}

#[rstest]
#[case::memory(Kind::Memory, "it is in memory")]
#[case::directory(Kind::Directory, "it has no reflinks")]
fn where_files_cannot_share_it_is_refused_and_said_why(#[case] kind: Kind, #[case] why: &str) {
    let machine = Machine::of(kind);
    machine.fs.lack_reflinks();
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    let clone = copy_of(Source::Volume(id), "c", Bytes::mib(8));
    for refused in
        [folders.snapshot(&snapshot_of("a", "s")).map(drop), folders.create(&clone).map(drop)]
    {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert!(!folders.can_copy());
}

/// A copy is promised all that it may come to need.
#[test]
fn snapshots_and_copies_have_room_of_their_own() {
    let (_machine, folders) = with_volume();
    folders.snapshot(&snapshot_of("a", "s")).unwrap();
    let room = folders.capacity(&Parameters::default()).largest;
    assert!(room > Bytes::mib(64 - 8 - 3) && room < Bytes::mib(64 - 8), "{room}");
    let of = || Source::Snapshot(s_id("s"));
    let large = folders.create(&copy_of(of(), "r", Bytes(room.0 + 1)));
    assert!(matches!(large, Err(Error::NoRoom(_))), "{large:?}");
    folders.create(&wanted("b", room)).unwrap();
    let none = folders.snapshot(&snapshot_of("a", "t")).unwrap_err();
    assert!(matches!(none, Error::NoRoom(_)), "{none}");
    assert_eq!(listed(&folders), [s_id("s")]);
}

/// As by a driver that is stopped, and by one that is killed.
#[test]
fn a_copy_that_was_cut_short_is_made_anew_and_leaves_nothing() {
    let (machine, folders) = with_volume();
    let before = machine.things();
    folders.stop();
    let begun = folders.snapshot(&snapshot_of("a", "s")).unwrap_err();
    assert!(matches!(begun, Error::Busy(_)), "{begun}");
    assert_eq!(listed(&folders), []);

    let folders = machine.started(json!({}));
    let again = folders.snapshot(&snapshot_of("a", "s")).unwrap_err();
    assert!(matches!(again, Error::Busy(_)), "it is being removed: {again}");
    folders.do_chores_now();
    assert_eq!((machine.things(), machine.fs.limits()), (before, 1));
    folders.snapshot(&snapshot_of("a", "s")).unwrap();
    assert_eq!(listed(&folders), [s_id("s")]);
}

/// Every step of a life with copies, each twice.
fn live_with_copies(machine: &Machine, folders: &Folders) -> Result<(), Error> {
    let twice = |step: &dyn Fn() -> Result<(), Error>| step().and_then(|()| step());
    let restored = copy_of(Source::Snapshot(s_id("s")), "r", Bytes::mib(8));
    let cloned = copy_of(Source::Volume(id_of("a")), "c", Bytes::mib(8));
    twice(&|| folders.create(&wanted("a", Bytes::mib(8))).map(drop))?;
    std::fs::write(own(machine, id_of("a").as_str()).join("file"), "x").unwrap();
    twice(&|| folders.snapshot(&snapshot_of("a", "s")).map(drop))?;
    twice(&|| folders.create(&restored).map(drop))?;
    twice(&|| folders.create(&cloned).map(drop))?;
    for name in ["r", "c"] {
        let file = own(machine, id_of(name).as_str()).join("file");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "x", "{name}");
    }
    twice(&|| folders.delete_snapshot(&s_id("s")))?;
    for name in ["a", "r", "c"] {
        twice(&|| folders.delete(&id_of(name)))?;
    }
    folders.do_chores_now();
    Ok(())
}

#[rstest]
fn a_step_of_a_copy_that_fails_is_done_again(#[values(false, true)] started_anew: bool) {
    let at_rest = || {
        let machine = Machine::of(Kind::Directory);
        let folders = machine.started(json!({}));
        live_with_copies(&machine, &folders).unwrap();
        let things = machine.things();
        (machine, folders, things)
    };
    let (machine, folders, _) = at_rest();
    let before = machine.fs.all_calls();
    live_with_copies(&machine, &folders).unwrap();
    let calls = machine.fs.all_calls() - before;
    assert!(calls > 30, "{calls}");
    for at in 0..calls {
        let (machine, mut folders, before) = at_rest();
        machine.fs.fail_later(at);
        if let Err(err) = live_with_copies(&machine, &folders) {
            assert!(!matches!(err, Error::Invalid { .. } | Error::NoRoom(_)), "{at}: {err}");
        }
        if started_anew {
            folders = machine.started(json!({}));
        }
        folders.do_chores_now();
        let again = live_with_copies(&machine, &folders);
        again.unwrap_or_else(|err| panic!("after call {at} failed: {err}"));
        assert_eq!((machine.things(), machine.fs.limits()), (before, 0), "after call {at} failed");
    }
}
