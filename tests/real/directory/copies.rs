//! Snapshots and copies whose files share their blocks.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command, thread, time::Duration};

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, setxattr};

use super::*;
use crate::support::dice::Dice;

/// What a tenant may have made, also of what is rare.
const TREE: &str = "mkdir -p plain/sub strange && echo text >plain/file && ln plain/file plain/sub/same && ln plain/file same && \
    ln -s /etc/passwd link && mkfifo pipe && mknod null c 1 3 && truncate -s 64M sparse && \
    echo end | dd of=sparse bs=1 seek=10000000 conv=notrunc status=none && chown 1000:1001 plain/sub && chmod 2750 plain/sub && \
    cp /bin/true capable && \
    touch -d 2001-02-03 plain/file link -h && touch -d 2002-03-04 strange && \
    chattr -p 77 +P strange && touch strange/other && echo kept >immutable && chattr +i immutable && \
    mkdir deep && (cd deep && for i in $(seq 60); do mkdir -p $(printf 'dddddddddd/%.0s' $(seq 20)) && cd dddddddddd; done)";

fn shell(at: &Path, line: &str) -> String {
    let at = at.to_str().unwrap();
    run("sh", &["-c", &format!("cd {at} && {line}")])
}

/// An access list as the kernel keeps it: user 1234 may read and enter (include/uapi/linux/posix_acl_xattr.h).
fn access_list() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 5, 1234), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)];
    let entry = |(tag, may, who): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &who.to_le_bytes()].concat()
    };
    [2_u32.to_le_bytes().to_vec(), entries.into_iter().flat_map(entry).collect()].concat()
}

/// The tree, with attributes, access lists, and a file that has CAP_NET_RAW (linux/capability.h).
fn grow_tree(at: &Path) {
    shell(at, TREE);
    let capability = [0x0200_0001_u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    let all: [(&str, &str, &[u8]); 5] = [
        ("plain/file", "user.word", b"value"),
        ("plain", "trusted.word", &[0, 255]),
        ("plain/file", "system.posix_acl_access", &access_list()),
        ("strange", "system.posix_acl_default", &access_list()),
        ("capable", "security.capability", &capability),
    ];
    for (file, name, value) in all {
        setxattr(at.join(file), name, value, XattrFlags::empty()).unwrap();
    }
}

/// All that a copy must have: names, kinds, modes, owners, links, times, contents, and last the attributes.
fn shown(at: &Path) -> (String, Vec<String>) {
    let files = shell(
        at,
        "find . -printf '%P %y %m %U %G %n %T@ %l\\n' | sort; find . -type f -printf '%P %s\\n' | sort; \
         find . -type f -print0 | sort -z | xargs -0 sha256sum; [ same -ef plain/sub/same ] && echo linked",
    );
    let mut attributes = Vec::new();
    for path in shell(at, "find . | sort").lines().map(|it| at.join(it)) {
        let mut list = vec![0; 4096];
        let length = llistxattr(&path, list.as_mut_slice()).unwrap();
        for name in list[..length].split(|it| *it == 0).filter(|it| !it.is_empty()) {
            let (mut value, name) = (vec![0; 4096], OsStr::from_bytes(name));
            let length = lgetxattr(&path, name, value.as_mut_slice()).unwrap();
            let below = path.strip_prefix(at).unwrap().display();
            attributes.push(format!("{below} {} {:?}", name.display(), &value[..length]));
        }
    }
    assert!(attributes.len() >= 5, "{attributes:?}");
    (files, attributes)
}

/// The directory of a volume or snapshot.
fn of_id(shelf: &Shelf, id: &str) -> PathBuf {
    shelf.home.join(id)
}

/// That everything in a copy is of one project, and of none that anything in another has.
fn ensure_own_projects(at: &Path, other: &Path) {
    let projects = |at: &Path| {
        let said = shell(
            at,
            "find . \\( -type f -o -type d \\) -exec lsattr -pd {} + | awk '{print $1}' | sort -u",
        );
        said.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (own, others) = (projects(at), projects(other));
    assert_eq!(own.len(), 1, "{own:?}");
    assert!(!others.contains(&own[0]), "{own:?} {others:?}");
}

#[test]
#[ignore = "guest: real reflinks and project quotas"]
fn a_snapshot_is_restored_with_all_that_was_in_it() {
    let shelf = Shelf::new("xfs");
    let scene = &shelf.scene;
    let (volume, target) = scene.make_used(&wish("a", mib(24)));
    grow_tree(&target);
    put(&target, 0, 100);
    let before = shown(&target);
    let in_use = scene.snapshot("s", &volume);
    let said = refused(in_use.map(drop), Code::FailedPrecondition);
    assert!(said.contains("stop the pods"), "{said}");
    let clone = wish("c", mib(24)).of_volume(&volume.id);
    refused(scene.try_make(&clone), Code::FailedPrecondition);
    assert_eq!(fs::read_dir(&shelf.home).unwrap().count(), 2, "nothing is begun");

    scene.put_down(&volume);
    let snapshot = scene.snapshot("s", &volume).unwrap();
    assert!(snapshot.ready_to_use);
    assert_eq!(snapshot.size_bytes, i64::try_from(mib(24)).unwrap());
    assert_eq!(scene.snapshot("s", &volume).unwrap(), snapshot);
    assert_eq!(scene.snapshots(), [snapshot.snapshot_id.as_str()]);
    let target = scene.take_up(&volume);
    shell(&target, "chattr -i immutable && rm -rf plain sparse immutable && echo other >same");
    scene.put_down(&volume);

    let wide = scene.make(&wish("r", mib(48)).of_snapshot(&snapshot.snapshot_id));
    let from = of_id(&shelf, &snapshot.snapshot_id);
    ensure_own_projects(&from, &of_id(&shelf, &volume.id));
    ensure_own_projects(&of_id(&shelf, &wide.id), &from);
    let restored = scene.take_up(&wide);
    assert_eq!(scene.total(&wide, &restored).unwrap(), mib(48));
    assert!(holds(&restored, 0, 100));
    assert_eq!(shown(&restored), before);
    assert!(
        shell(&restored, "stat -c %b sparse").trim().parse::<u64>().unwrap() < 1000,
        "it is sparse"
    );
    let flags = shell(&restored, "lsattr -d immutable | cut -d ' ' -f 1");
    assert!(!flags.contains('i'), "flags are not copied: {flags}");
    let took = fill(&restored.join("full"));
    assert!(took > mib(40) && took <= mib(48), "{took} bytes");
    scene.put_down(&wide);

    // Deep, immutable, and in any order.
    scene.delete(&volume).unwrap();
    let twin = scene.make(&wish("t", mib(24)).of_snapshot(&snapshot.snapshot_id));
    scene.delete_snapshot(&snapshot.snapshot_id).unwrap();
    assert_eq!(shown(&scene.take_up(&twin)), before);
    scene.put_down(&twin);
    scene.delete(&twin).unwrap();
    scene.delete(&wide).unwrap();
    shelf.await_empty();
    let left = run(
        "xfs_quota",
        &["-x", "-c", "report -p -n -N -b", shelf.home.parent().unwrap().to_str().unwrap()],
    );
    assert!(!left.lines().any(|line| line.starts_with("#14")), "{left}");
}

/// A volume that is full has a snapshot that takes no room on the disk, and is promised all that it may need.
#[test]
#[ignore = "guest: real reflinks and project quotas"]
fn a_full_volume_is_copied_and_counted() {
    let shelf = Shelf::new("xfs");
    let scene = &shelf.scene;
    let (volume, target) = scene.make_used(&wish("a", mib(48)));
    let took = fill(&target.join("full"));
    scene.put_down(&volume);
    let free = || {
        shell(&shelf.home, "df -k --output=avail . | tail -1").trim().parse::<u64>().unwrap() << 10
    };
    let (disk, (_, room)) = (free(), scene.capacity(&[]));
    let snapshot = scene.snapshot("s", &volume).unwrap();
    assert!(disk - free() < mib(4), "its blocks are those of the volume");
    let promised = room - scene.capacity(&[]).1;
    assert!(promised >= mib(46) && promised <= mib(50), "{promised}");
    let copy = scene.make(&wish("c", mib(48)).of_volume(&volume.id));
    let target = scene.take_up(&copy);
    assert_eq!(fs::metadata(target.join("full")).unwrap().len(), took);
    let more = attempt(
        "setpriv",
        &[
            "--bounding-set",
            "-sys_resource",
            "sh",
            "-c",
            &format!("head -c 4M /dev/zero >{}/more", target.display()),
        ],
    );
    assert!(!more.status.success(), "it is full, too");
    scene.put_down(&copy);
    scene.delete_snapshot(&snapshot.snapshot_id).unwrap();
    scene.delete(&copy).unwrap();
    wait_until("what was deleted is gone", || fs::read_dir(&shelf.home).unwrap().count() == 2);
    wait_until("its room is back", || scene.capacity(&[]).1 + mib(1) > room);
}

#[rstest]
#[case::ext4("ext4", "it is on ext4, which has no reflinks")]
#[case::xfs_without("plain-xfs", "made without reflinks")]
#[ignore = "guest: real reflinks and project quotas"]
fn without_reflinks_it_says_so(#[case] kind: &str, #[case] says: &str) {
    let shelf = Shelf::new(kind);
    let scene = &shelf.scene;
    let volume = scene.make(&wish("a", mib(16)));
    let snapshot = scene.snapshot("s", &volume).map(drop);
    let clone = scene.try_make(&wish("c", mib(16)).of_volume(&volume.id)).map(drop);
    for refusal in [snapshot, clone] {
        let said = refused(refusal, Code::InvalidArgument);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
#[ignore = "guest: real reflinks and project quotas, kills the driver"]
fn killed_while_it_copies() {
    let mut shelf = Shelf::new("xfs");
    let (volume, target) = shelf.scene.make_used(&wish("a", mib(96)));
    shell(&target, "for i in $(seq 3000); do echo $i >$i; done; ln 1 one");
    let before = shell(&target, "cat * | sha256sum");
    shelf.scene.put_down(&volume);
    let mut dice = Dice::new(21);
    for round in 0..8 {
        let pid = shelf.scene.driver_pid();
        let pause = Duration::from_micros(dice.roll(500_000));
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
        });
        let name = format!("s{round}");
        let first = shelf.scene.snapshot(&name, &volume);
        killer.join().unwrap();
        shelf.scene.kill();
        shelf.scene.start();
        let scene = &shelf.scene;
        let mut taken = first;
        wait_until("the repeated call finishes", || {
            taken = scene.snapshot(&name, &volume);
            taken.is_ok()
        });
        let id = taken.unwrap().snapshot_id;
        assert_eq!(scene.snapshots(), [id.as_str()], "round {round}");
        let copy = scene.make(&wish("r", mib(96)).of_snapshot(&id));
        assert_eq!(shell(&scene.take_up(&copy), "cat * | sha256sum"), before, "round {round}");
        scene.put_down(&copy);
        scene.delete(&copy).unwrap();
        scene.delete_snapshot(&id).unwrap();
        wait_until("nothing else is left", || fs::read_dir(&shelf.home).unwrap().count() == 2);
    }
    shelf.scene.delete(&volume).unwrap();
    shelf.await_empty();
}
