//! Copies on plain directories, whose bytes are copied: what is in them, and what is not followed.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use super::*;
use crate::{fs::contents::clone_tree, process::Invocation};

fn copied(from: &Path, to: &Path, goes_on: &mut dyn FnMut(Bytes) -> bool) -> Option<Bytes> {
    let fill = |mut from: &File, mut to: &File| {
        io::copy(&mut from, &mut to).map(drop).map_err(|_| Errno::IO)
    };
    clone_tree(from, to, &fill, goes_on).unwrap()
}

fn home() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let at = home.path().canonicalize().unwrap();
    let (from, to) = (at.join("from"), at.join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    (home, from, to)
}

#[test]
fn everything_is_copied_and_no_link_is_followed() {
    let (home, from, to) = home();
    fs::write(home.path().join("secret"), "secret").unwrap();
    fs::create_dir_all(from.join("a/b/empty")).unwrap();
    fs::write(from.join("a/file"), "contents").unwrap();
    fs::write(from.join("links-0"), "not Tarn's").unwrap();
    fs::hard_link(from.join("a/file"), from.join("a/b/same")).unwrap();
    fs::hard_link(from.join("a/file"), from.join("same")).unwrap();
    symlink(home.path().join("secret"), from.join("link")).unwrap();
    symlink(home.path(), from.join("a/outside")).unwrap();
    nix::unistd::mkfifo(&from.join("a/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    fs::set_permissions(from.join("a/file"), Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(from.join("a/b"), Permissions::from_mode(0o1500)).unwrap();
    fs::set_permissions(&from, Permissions::from_mode(0o2770)).unwrap();
    let mut count = 0;
    copied(&from, &to, &mut |_| {
        count += 1;
        true
    });
    assert_eq!(count, 11);
    let show = |at: &Path| {
        let format = "%P %y %m %U %G %n %s %T@ %l\\n";
        let shown = Invocation::reads("find").arg(at).args(["-printf", format]).run().unwrap();
        let mut lines: Vec<_> =
            String::from_utf8(shown).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    // How large a directory says that it is depends on what was in it.
    let without_size = |lines: Vec<String>| -> Vec<String> {
        let field = |line: String| match line.split(' ').nth(1) {
            Some("d") => {
                let mut all: Vec<_> = line.split(' ').collect();
                all.remove(6);
                all.join(" ")
            }
            _ => line,
        };
        lines.into_iter().map(field).collect()
    };
    assert_eq!(without_size(show(&to)), without_size(show(&from)));
    let number = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!((number("a/file"), number("a/file")), (number("same"), number("a/b/same")));
    assert_ne!(number("same"), fs::metadata(from.join("same")).unwrap().ino());
    assert_eq!(fs::read_to_string(to.join("same")).unwrap(), "contents");
    assert_eq!(fs::read_to_string(to.join("links-0")).unwrap(), "not Tarn's");
    assert!(fs::symlink_metadata(to.join("a/pipe")).unwrap().file_type().is_fifo());
    fs::symlink_metadata(to.join("links-1")).unwrap_err();
    fs::set_permissions(from.join("a/b"), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(to.join("a/b"), Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn it_stops_where_it_is_told() {
    let (_home, from, to) = home();
    (0..9).for_each(|n| fs::write(from.join(n.to_string()), "x").unwrap());
    let mut left = 4;
    let stopped = copied(&from, &to, &mut |_| {
        left -= 1;
        left > 0
    });
    assert_eq!((stopped, fs::read_dir(&to).unwrap().count()), (None, 3));
}

/// Deeper than a path may be long and than files may be open, and with more in a directory than is read at once.
#[test]
fn none_is_too_deep_or_too_large() {
    let (home, from, to) = home();
    let mut bottom = home.path().join("bottom");
    fs::create_dir(&bottom).unwrap();
    for n in 0..3000 {
        let above = home.path().join(format!("n{n}"));
        fs::create_dir(&above).unwrap();
        fs::rename(&bottom, above.join("x")).unwrap();
        bottom = above;
    }
    fs::rename(bottom, from.join("deep")).unwrap();
    fs::create_dir(from.join("wide")).unwrap();
    for n in 0..3000 {
        let name = from.join(format!("wide/a-name-that-is-quite-long-{n}"));
        if n % 10 == 0 { fs::create_dir(name).unwrap() } else { fs::write(name, "").unwrap() }
    }
    let mut count = 0;
    copied(&from, &to, &mut |_| {
        count += 1;
        true
    });
    assert_eq!(count, 3001 + 3001);
    assert_eq!(fs::read_dir(to.join("wide")).unwrap().count(), 3000);
    // What removes a test's directory goes by paths.
    Invocation::changes("rm").arg("-rf").args([from, to]).run().unwrap();
}
