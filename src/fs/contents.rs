//! What is in a file system, and its removal.
//!
//! Nothing here follows a link or enters another mount: every directory is opened from the one above it (openat2(2),
//! `RESOLVE_NO_XDEV`), by a handle that stays with its file system whatever is mounted over it.

use std::{
    ffi::{CStr, CString, OsStr},
    fs::{File, Permissions},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, PermissionsExt as _, fchown},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, renameat},
    sys::{
        stat::makedev,
        statfs::{BTRFS_SUPER_MAGIC, fstatfs},
    },
    unistd::{UnlinkatFlags, syncfs, unlinkat},
};
use serde::{Deserialize, Serialize};

use super::{DeviceNumber, Error, FsKind, Mount};

/// What mkfs.ext4 makes, and e2fsck wants to be there.
const LOST_AND_FOUND: &CStr = c"lost+found";
/// Directories that are further down are first moved up: each level above takes a handle.
const DEEPEST: usize = 32;

/// The root directory of a mounted file system, held open: it cannot be unmounted meanwhile.
#[derive(Debug)]
pub struct Root {
    handle: File,
    at: PathBuf,
}

/// To whom a directory belongs, and what others may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// The permissions.
    pub mode: u32,
}

impl Root {
    /// See [`super::Filesystems::root`].
    pub(super) fn of(mount: &Mount) -> Result<Self, Error> {
        let root = Self::open(&mount.at)?;
        let data = root.handle.metadata().map_err(|err| root.failed("look at", err))?;
        let is_it = match mount.fs_type == FsKind::Btrfs.name() {
            // Its files have numbers of no device.
            true => {
                let kind =
                    fstatfs(&root.handle).map_err(|err| root.failed("look at", err.into()))?;
                kind.filesystem_type() == BTRFS_SUPER_MAGIC
            }
            false => {
                let DeviceNumber { major, minor } = mount.device;
                data.dev() == makedev(major, minor)
            }
        };
        match is_it {
            true => Ok(root),
            false => Err(root.failed("open", io::Error::other("something else is there by now"))),
        }
    }

    /// Opens a directory at a real path.
    pub(super) fn open(at: &Path) -> Result<Self, Error> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let handle = openat2(AT_FDCWD, at, how).map_err(|err| failed("open", at, err))?;
        Ok(Self { handle: File::from(handle), at: at.to_owned() })
    }

    /// Something in it, if there is anything but an empty `lost+found`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn holds(&self) -> Result<Option<PathBuf>, Error> {
        for name in names(self.handle.as_fd(), &self.at, 2)? {
            let inside = match name.as_c_str() == LOST_AND_FOUND {
                true => enter(self.handle.as_fd(), &name).ok(),
                false => None,
            };
            let shown = self.at.join(OsStr::from_bytes(name.to_bytes()));
            let Some(inside) = inside else { return Ok(Some(shown)) };
            if let Some(lost) = names(inside.as_fd(), &shown, 1)?.into_iter().next() {
                return Ok(Some(shown.join(OsStr::from_bytes(lost.to_bytes()))));
            }
        }
        Ok(None)
    }

    /// To whom it belongs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn owner(&self) -> Result<Owner, Error> {
        let data = self.handle.metadata().map_err(|err| self.failed("look at", err))?;
        Ok(Owner { user: data.uid(), group: data.gid(), mode: data.mode() & 0o7777 })
    }

    /// Gives it back to whom it belonged.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn give_to(&self, owner: Owner) -> Result<(), Error> {
        let Owner { user, group, mode } = owner;
        fchown(&self.handle, Some(user), Some(group))
            .and_then(|()| self.handle.set_permissions(Permissions::from_mode(mode)))
            .map_err(|err| self.failed("give back", err))
    }

    /// Waits until all that was changed in its file system is durable.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&self) -> Result<(), Error> {
        syncfs(&self.handle).map_err(|err| self.failed("sync", err.into()))
    }

    /// Removes everything in it but `lost+found` itself. `goes_on` is asked after each file and directory; false where
    /// it said no. What cannot be removed does not keep the rest.
    ///
    /// # Errors
    /// The first that could not be removed.
    pub fn clear(&self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, Error> {
        let mut clearing =
            Clearing { root: self, goes_on, moved: 0, stopped: false, failure: None };
        loop {
            let moved = clearing.moved;
            clearing.empty(self.handle.as_fd(), &self.at, 0);
            match (clearing.stopped, clearing.failure.take()) {
                (true, _) => return Ok(false),
                (false, Some(err)) => return Err(err),
                (false, None) if clearing.moved == moved => return Ok(true),
                // What was moved up is removed in another round.
                (false, None) => (),
            }
        }
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Path { action, path: self.at.clone(), source }
    }
}

/// A removal that is under way.
struct Clearing<'a> {
    root: &'a Root,
    goes_on: &'a mut dyn FnMut() -> bool,
    /// How many directories were moved up into the root.
    moved: u64,
    stopped: bool,
    failure: Option<Error>,
}

impl Clearing<'_> {
    /// Removes what is in a directory so far down.
    fn empty(&mut self, directory: BorrowedFd<'_>, shown: &Path, depth: usize) {
        let found = match names(directory, shown, usize::MAX) {
            Ok(found) => found,
            Err(err) => return self.note(err),
        };
        for name in found {
            if self.stopped {
                return;
            }
            let path = shown.join(OsStr::from_bytes(name.to_bytes()));
            let is_kept = depth == 0 && name.as_c_str() == LOST_AND_FOUND;
            if let Err(err) = self.remove(directory, &name, &path, (depth, is_kept)) {
                self.note(err);
            }
        }
    }

    fn remove(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        (depth, is_kept): (usize, bool),
    ) -> Result<(), Error> {
        // Linux has EISDIR for directories; POSIX has EPERM, which here is said of what is immutable.
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => return self.count(),
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR) => (),
            Err(err) => return Err(failed("remove", path, err)),
        }
        let below = enter(directory, name).map_err(|err| failed("enter", path, err))?;
        if depth >= DEEPEST {
            return self.move_up(directory, name, path);
        }
        self.empty(below.as_fd(), path, depth + 1);
        if self.stopped || is_kept {
            return Ok(());
        }
        match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => self.count(),
            // What is in it could not be removed, or was moved up, or has come meanwhile.
            Err(Errno::ENOENT | Errno::ENOTEMPTY) => Ok(()),
            Err(err) => Err(failed("remove", path, err)),
        }
    }

    /// Moves a directory into the root, under a name that no other has.
    fn move_up(&mut self, from: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), Error> {
        loop {
            self.moved += 1;
            let new = format!("tarn-removes-{}", self.moved);
            match renameat(from, name, &self.root.handle, new.as_str()) {
                Ok(()) => return Ok(()),
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => (),
                Err(err) => return Err(failed("remove", path, err)),
            }
        }
    }

    fn count(&mut self) -> Result<(), Error> {
        self.stopped = !(self.goes_on)();
        Ok(())
    }

    fn note(&mut self, err: Error) {
        self.failure.get_or_insert(err);
    }
}

/// The directory of this name in another, unless it is a link or something is mounted there.
fn enter(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_XDEV
                | ResolveFlag::RESOLVE_NO_SYMLINKS,
        );
    openat2(directory, name, how)
}

/// What is in a directory, at most so many.
fn names(directory: BorrowedFd<'_>, shown: &Path, most: usize) -> Result<Vec<CString>, Error> {
    let fail = |err| failed("read", shown, err);
    // A handle of its own, since reading moves it.
    let mut entries = Dir::from_fd(enter(directory, c".").map_err(fail)?).map_err(fail)?;
    let mut all = Vec::new();
    for entry in entries.iter() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            all.push(name.to_owned());
        }
        if all.len() >= most {
            break;
        }
    }
    Ok(all)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "there are more than a hundred")]
fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    let said = match errno {
        Errno::EPERM => {
            Some("it is immutable or only grows; `lsattr` tells, `chattr -ia` frees it")
        }
        Errno::EXDEV | Errno::EBUSY => Some("something is mounted there"),
        Errno::ELOOP => Some("it has become a link"),
        _ => None,
    };
    let plain = io::Error::from(errno);
    let source = said.map_or(plain, |said| io::Error::new(io::Error::from(errno).kind(), said));
    Error::Path { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().canonicalize().unwrap();
        fs::create_dir(at.join("inside")).unwrap();
        let root = Root::open(&at.join("inside")).unwrap();
        (home, root)
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
        let mut count = 0;
        let all = root.clear(&mut || {
            count += 1;
            true
        });
        assert!(all.unwrap());
        assert_eq!((root.holds().unwrap(), count), (None, 7));
        assert!(at.join("lost+found").is_dir() && outside.join("precious").is_file());
        assert!(root.clear(&mut || panic!("nothing is left")).unwrap());
    }

    #[test]
    fn lost_and_found_that_is_no_directory_holds_something() {
        let (_home, root) = root();
        fs::write(root.at.join("lost+found"), "secret").unwrap();
        assert_eq!(root.holds().unwrap(), Some(root.at.join("lost+found")));
        assert!(root.clear(&mut || true).unwrap());
        assert!(!root.at.join("lost+found").exists());
    }

    #[test]
    fn however_deep_it_is() {
        let (_home, root) = root();
        fs::create_dir_all(root.at.join("tarn-removes-1/full")).unwrap();
        fs::write(root.at.join("tarn-removes-2"), "").unwrap();
        let mut handle = root.handle.try_clone().unwrap();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&handle, c"d", nix::sys::stat::Mode::S_IRWXU).unwrap();
            handle = File::from(enter(handle.as_fd(), c"d").unwrap());
        }
        assert!(root.clear(&mut || true).unwrap());
        assert_eq!(root.holds().unwrap(), None);
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

    #[test]
    fn it_is_given_back() {
        let (_home, root) = root();
        let owner = root.owner().unwrap();
        root.handle.set_permissions(Permissions::from_mode(0o777)).unwrap();
        assert_ne!(root.owner().unwrap(), owner);
        root.give_to(owner).unwrap();
        assert_eq!(root.owner().unwrap(), owner);
        root.sync().unwrap();
    }
}
