//! Emptying on plain directories: what is removed, what stays, and what is not followed.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
};

use nix::sys::stat::{Mode as NixMode, mkdirat};

use super::*;

fn root() -> (tempfile::TempDir, Root) {
    let home = tempfile::tempdir().unwrap();
    let at = home.path().canonicalize().unwrap();
    fs::create_dir(at.join("inside")).unwrap();
    let data = at.metadata().unwrap();
    let root = Root::open(&at.join("inside"), Owner { user: data.uid(), group: data.gid() });
    (home, root.unwrap())
}

#[test]
fn all_is_removed_but_lost_and_found_and_no_link_is_followed() {
    let (home, root) = root();
    let at = root.at.clone();
    assert_eq!(root.holds().unwrap(), None);
    fs::create_dir(at.join("lost+found")).unwrap();
    assert_eq!(root.holds().unwrap(), None);
    fs::write(at.join("lost+found/#12"), "secret").unwrap();
    assert_eq!(root.holds().unwrap(), Some(at.join("lost+found/#12")));
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    symlink(&outside, at.join("link")).unwrap();
    symlink(outside.join("precious"), at.join("file")).unwrap();
    fs::create_dir_all(at.join("a/b/lost+found")).unwrap();
    fs::write(at.join("a/b/c"), "x").unwrap();
    fs::write(at.join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    let mut count = 0;
    let all = root.clear(&mut || {
        count += 1;
        true
    });
    assert!(all.unwrap());
    assert_eq!((root.holds().unwrap(), count), (None, 8));
    assert!(at.join("lost+found").is_dir() && outside.join("precious").is_file());
    assert!(root.clear(&mut || panic!("nothing is left")).unwrap());
}

#[test]
fn lost_and_found_that_is_no_directory_holds_something() {
    let (_home, root) = root();
    fs::write(root.at.join("lost+found"), "secret").unwrap();
    assert_eq!(root.holds().unwrap(), Some(root.at.join("lost+found")));
    assert!(root.clear(&mut || true).unwrap());
    assert!(!root.at.join("lost+found").try_exists().unwrap());
}

#[test]
fn however_deep_it_is() {
    let (_home, root) = root();
    let mut handle = root.handle.try_clone().unwrap();
    for _ in 0..3000 {
        mkdirat(&handle, c"d", NixMode::S_IRWXU).unwrap();
        handle = enter(handle.as_fd(), c"d").unwrap();
    }
    let mut count = 0;
    let all = root.clear(&mut || {
        count += 1;
        true
    });
    assert!(all.unwrap());
    assert_eq!((root.holds().unwrap(), count), (None, 3000));
}

#[test]
fn it_stops_and_goes_on() {
    let (_home, root) = root();
    for name in 0..10 {
        fs::write(root.at.join(name.to_string()), "").unwrap();
    }
    let mut left = 4;
    let mut stop = || {
        left -= 1;
        left > 0
    };
    assert!(!root.clear(&mut stop).unwrap());
    assert_eq!(fs::read_dir(&root.at).unwrap().count(), 6);
    assert!(root.clear(&mut || true).unwrap());
    assert_eq!(root.holds().unwrap(), None);
}

/// What leads out of the tree is not gone back to: the directory in which it is was moved meanwhile.
#[test]
fn a_directory_that_is_moved_away_leads_nowhere_else() {
    let (home, root) = root();
    let outside = home.path().join("outside");
    fs::create_dir_all(root.at.join("a/b")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    let mut removal = Removal::of(&root).unwrap();
    // The names in the root, into `a`, the names in it, into `b`.
    for _ in 0..4 {
        assert!(matches!(removal.step().unwrap(), Step::Moved));
    }
    fs::rename(root.at.join("a/b"), outside.join("b")).unwrap();
    let err = loop {
        match removal.step() {
            Ok(Step::Done) => panic!("it went on"),
            Ok(_) => (),
            Err(err) => break err,
        }
    };
    assert!(err.to_string().contains("inside/a/b"), "{err}");
    assert!(outside.join("precious").is_file() && outside.join("b").is_dir());
}

#[test]
fn it_is_reset() {
    let (_home, root) = root();
    fs::create_dir(root.at.join("lost+found")).unwrap();
    let mode = |at: &Path| at.metadata().unwrap().permissions().mode() & 0o7777;
    for at in [root.at.clone(), root.at.join("lost+found")] {
        fs::set_permissions(at, Permissions::from_mode(0o3777)).unwrap();
    }
    root.reset().unwrap();
    assert_eq!((mode(&root.at), mode(&root.at.join("lost+found"))), (0o755, 0o700));
    root.sync().unwrap();
}
