//! What files and directories have beside their contents: flags, owners, modes, extended attributes.

use std::{
    ffi::CStr,
    fs::{File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, fchown},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, IFlags, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
        chmodat, chownat, flistxattr, fremovexattr, ioctl_getflags, ioctl_setflags, lgetxattr,
        llistxattr, lsetxattr, openat2, statat, utimensat,
    },
    io::Errno,
};

use super::{BELOW, Owner, copying::path_in};

/// Flags that keep a file from being removed, or what is in a directory (ioctl_iflags(2)).
const KEEPING: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);
/// How long all names of a file's attributes together may be (xattr(7), `XATTR_LIST_MAX`).
const LONGEST: usize = 64 << 10;

/// Takes off the flags that keep it.
pub(super) fn loosen(it: &File) -> Result<(), Errno> {
    let flags = match ioctl_getflags(it) {
        Ok(flags) => flags,
        // Its file system has no flags.
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(()),
        Err(err) => return Err(err),
    };
    match flags.intersects(KEEPING) {
        true => ioctl_setflags(it, flags.difference(KEEPING)),
        false => Ok(()),
    }
}

/// Takes off the flags of a file or directory in another. Nothing else has any, and devices are not opened.
pub(super) fn loosen_in(directory: &File, name: &CStr) -> Result<(), Errno> {
    let data = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(FileType::from_raw_mode(data.st_mode), FileType::RegularFile | FileType::Directory)
    {
        return Ok(());
    }
    let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loosen(&File::from(openat2(directory, name, how, Mode::empty(), BELOW)?))
}

/// Makes a directory that of its owner, with this mode and nothing else.
pub(super) fn reset(it: &File, owner: Owner, mode: u32) -> io::Result<()> {
    loosen(it)?;
    for name in extended(it)? {
        match fremovexattr(it, name.as_slice()) {
            // xfs has an access list under two names.
            Ok(()) | Err(Errno::NODATA) => (),
            Err(err) => return Err(err.into()),
        }
    }
    fchown(it, Some(owner.user), Some(owner.group))?;
    it.set_permissions(Permissions::from_mode(mode))
}

/// The names of its extended attributes, but for those of security modules, which are the machine's.
fn extended(it: &File) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = vec![0; LONGEST];
    let length = match flistxattr(it, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(err) => return Err(err),
    };
    list.truncate(length);
    let names = list.split(|byte| *byte == 0).filter(|it| !it.is_empty());
    Ok(names.filter(|it| !it.starts_with(b"security.")).map(<[u8]>::to_vec).collect())
}

/// Something, by the directory that it is in and its name there.
type Place<'a> = (&'a File, &'a CStr);

/// Gives a copy what its source has beside contents: owner, mode, times, and extended attributes, which access lists and
/// capabilities of files are, too. Not its flags (chattr(1)): the first of them would keep the copy from being written.
pub(super) fn give(from: Place<'_>, to: Place<'_>, data: &Stat) -> Result<(), Errno> {
    let ((directory, name), nofollow) = (to, AtFlags::SYMLINK_NOFOLLOW);
    let owner = (Uid::from_raw(data.st_uid), Gid::from_raw(data.st_gid));
    // Before the rest: it takes capabilities and the bits of set-user-ID away (chown(2)).
    chownat(directory, name, Some(owner.0), Some(owner.1), nofollow)?;
    give_extended(from, to)?;
    if FileType::from_raw_mode(data.st_mode) != FileType::Symlink {
        chmodat(directory, name, Mode::from_raw_mode(data.st_mode), AtFlags::empty())?;
    }
    let at = |tv_sec, nanoseconds: u64| {
        let tv_nsec = nanoseconds.try_into().unwrap_or_default();
        Timespec { tv_sec, tv_nsec }
    };
    let times = Timestamps {
        last_access: at(data.st_atime, data.st_atime_nsec),
        last_modification: at(data.st_mtime, data.st_mtime_nsec),
    };
    utimensat(directory, name, &times, nofollow)
}

fn give_extended(from: Place<'_>, to: Place<'_>) -> Result<(), Errno> {
    let (from, to) = (path_in(from.0, from.1), path_in(to.0, to.1));
    let mut list = vec![0; LONGEST];
    let length = match llistxattr(&from, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(err) => return Err(err),
    };
    list.truncate(length);
    let names = list.split(|byte| *byte == 0);
    let mut value = vec![0; LONGEST];
    for name in names.filter(|it| is_of_users(it)) {
        let length = lgetxattr(&from, name, value.as_mut_slice())?;
        let value = value.get(..length).ok_or(Errno::RANGE)?;
        lsetxattr(&to, name, value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Whether a copy is to have the attribute: not what security modules keep of the file itself, which they give to the new
/// one, and no access list under the second name that xfs has for it.
fn is_of_users(name: &[u8]) -> bool {
    let is_security = name.starts_with(b"security.");
    !name.is_empty()
        && !name.starts_with(b"trusted.SGI_")
        && (!is_security || name == b"security.capability" || name == b"security.selinux")
}
