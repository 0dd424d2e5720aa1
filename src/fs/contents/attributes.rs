//! What files and directories have beside their contents: flags, owners, modes, extended attributes.

use std::{
    ffi::CStr,
    fs::{File, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, fchown},
};

use rustix::{
    fs::{
        AtFlags, FileType, IFlags, Mode, OFlags, flistxattr, fremovexattr, ioctl_getflags,
        ioctl_setflags, openat2, statat,
    },
    io::Errno,
};

use super::{BELOW, Owner};

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
