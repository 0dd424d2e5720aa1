//! What is in a file system: its removal, and copies of it.
//!
//! Nothing here follows a link, enters another mount or leaves the file system: every directory is opened from the one
//! beside it (openat2(2), `RESOLVE_NO_XDEV`), and the first by a handle that stays with its file system whatever is mounted
//! over it.

mod attributes;
mod copying;
mod removal;
#[cfg(test)]
mod tests;

use std::{
    ffi::{CStr, CString, OsStr},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Dir, Mode, OFlags, ResolveFlags, fstat, openat2, syncfs},
    io::Errno,
};

use super::{Error, Mount, mounting};
use crate::units::Bytes;
use copying::Copying;
pub(super) use copying::Fill;
use removal::{Removal, Step};

/// What mkfs.ext4 makes, and e2fsck wants to be there.
const LOST_AND_FOUND: &CStr = c"lost+found";
/// How a directory is opened.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// So many names are read of a directory at once.
const BATCH: usize = 10_000;
/// What keeps an open within its mount.
const WITHIN: ResolveFlags = ResolveFlags::NO_XDEV.union(ResolveFlags::NO_SYMLINKS);
/// The same, and below the directory that it begins at.
const BELOW: ResolveFlags = WITHIN.union(ResolveFlags::BENEATH);

/// The root directory of a mounted file system, held open: it cannot be unmounted meanwhile.
#[derive(Debug)]
pub struct Root {
    handle: File,
    at: PathBuf,
    owner: Owner,
}

/// To whom a root directory belongs that is new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Root {
    /// See [`super::Filesystems::root`].
    pub(super) fn of(mount: &Mount) -> Result<Self, Error> {
        let root = Self::open(&mount.at, Owner { user: 0, group: 0 })?;
        let is_it = |it: &Mount| {
            (it.device, &it.root, &it.at) == (mount.device, &mount.root, &mount.at)
                && it.fs_type == mount.fs_type
        };
        match mounting::mount_of(&root.handle)? {
            Some(found) if is_it(&found) => Ok(root),
            _ => Err(Error::Path {
                action: "open",
                path: mount.at.clone(),
                source: io::Error::other("something else is there by now"),
            }),
        }
    }

    /// Opens a directory at a real path.
    pub(super) fn open(at: &Path, owner: Owner) -> Result<Self, Error> {
        let handle = openat2(CWD, at, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        let handle = handle.map_err(|err| failed("open", at, err))?;
        Ok(Self { handle: File::from(handle), at: at.to_owned(), owner })
    }

    /// Something in it, if there is anything but an empty `lost+found`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn holds(&self) -> Result<Option<PathBuf>, Error> {
        for name in names(self.handle.as_fd(), 2).map_err(|err| failed("read", &self.at, err))? {
            let shown = below(&self.at, &name);
            let inside = match name.as_c_str() == LOST_AND_FOUND {
                true => enter(self.handle.as_fd(), &name).ok(),
                false => None,
            };
            let Some(inside) = inside else { return Ok(Some(shown)) };
            let lost = names(inside.as_fd(), 1).map_err(|err| failed("read", &shown, err))?;
            if let Some(lost) = lost.first() {
                return Ok(Some(below(&shown, lost)));
            }
        }
        Ok(None)
    }

    /// Removes everything in it but `lost+found` itself, also what is immutable. `goes_on` is asked after each file and
    /// directory; false where it said no.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn clear(&self, goes_on: &mut dyn FnMut() -> bool) -> Result<bool, Error> {
        let mut removal = Removal::of(self)?;
        loop {
            match removal.step()? {
                Step::Removed if !goes_on() => return Ok(false),
                Step::Removed | Step::Moved => (),
                Step::Done => return Ok(true),
            }
        }
    }

    /// Makes it, and its `lost+found`, what mkfs makes: root's, with no extended attributes and no access lists.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reset(&self) -> Result<(), Error> {
        let reset = |it: &File, mode| attributes::reset(it, self.owner, mode);
        reset(&self.handle, 0o755)
            .and_then(|()| match enter(self.handle.as_fd(), LOST_AND_FOUND) {
                Ok(lost) => reset(&lost, 0o700),
                Err(Errno::NOENT) => Ok(()),
                Err(err) => Err(err.into()),
            })
            .map_err(|source| Error::Path { action: "reset", path: self.at.clone(), source })
    }

    /// Waits until all that was changed in its file system is durable.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&self) -> Result<(), Error> {
        syncfs(&self.handle).map_err(|err| failed("sync", &self.at, err))
    }
}

/// Takes off what keeps a file or directory, and what is beside it, from being removed (chattr(1)). Nobody else may change its
/// parents.
///
/// # Errors
/// What the kernel says.
pub fn loosen(at: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return Ok(()) };
    let parent = File::open(parent)?;
    attributes::loosen(&parent)?;
    Ok(attributes::loosen_in(&parent, &CString::new(name.as_bytes())?)?)
}

/// See [`super::Filesystems::clone_tree`]; `fill` gives a file the contents of another.
pub(super) fn clone_tree(
    from: &Path,
    to: &Path,
    fill: Fill<'_>,
    goes_on: &mut dyn FnMut(Bytes) -> bool,
) -> Result<Option<Bytes>, Error> {
    let owner = Owner { user: 0, group: 0 };
    let (source, target) = (Root::open(from, owner)?, Root::open(to, owner)?);
    let copied = Copying::of(&source, &target, fill)?.run(goes_on)?;
    if copied.is_some() {
        target.sync()?;
    }
    Ok(copied)
}

/// The device of a directory, and its number there.
type Identity = (u64, u64);

fn identity(directory: &File) -> Result<Identity, Errno> {
    let data = fstat(directory)?;
    Ok((data.st_dev, data.st_ino))
}

/// The directory of this name in another, unless it is a link or something is mounted there.
fn enter(directory: BorrowedFd<'_>, name: &CStr) -> Result<File, Errno> {
    openat2(directory, name, DIRECTORY, Mode::empty(), BELOW).map(File::from)
}

/// What is in a directory, at most so many.
fn names(directory: BorrowedFd<'_>, most: usize) -> Result<Vec<CString>, Errno> {
    let mut all = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
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

fn below(directory: &Path, name: &CStr) -> PathBuf {
    directory.join(OsStr::from_bytes(name.to_bytes()))
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    let said = match errno {
        Errno::PERM => Some(
            "that is not permitted; the default subvolume of a btrfs stays until another one is",
        ),
        Errno::XDEV | Errno::BUSY => Some("something is mounted there"),
        Errno::LOOP => Some("it has become a link"),
        Errno::ROFS => Some(
            "it is read-only: the file system after an error, or a subvolume of a btrfs, which `btrfs property set` frees",
        ),
        _ => None,
    };
    let plain = io::Error::from(errno);
    let source = match said {
        Some(said) => io::Error::new(plain.kind(), said),
        None => plain,
    };
    Error::Path { action, path: path.to_owned(), source }
}
