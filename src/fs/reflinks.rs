//! Whether files of a file system can share their blocks.

use std::path::Path;

use rustix::{
    fs::{CWD, Mode, OFlags, ioctl_ficlone, openat},
    io::Errno,
};

use super::{Error, Mount, mounting, paths};

/// How a file is opened that has no name, and is gone when it is closed.
const NAMELESS: OFlags = OFlags::TMPFILE.union(OFlags::RDWR).union(OFlags::CLOEXEC);

/// See [`super::Filesystems::lacks_reflinks`]: it is tried, since no other answer is the kernel's own.
pub(super) fn lacking(at: &Path) -> Result<Option<String>, Error> {
    let new = || openat(CWD, at, NAMELESS, Mode::RUSR | Mode::WUSR);
    match new().and_then(|from| ioctl_ficlone(new()?, from)) {
        Ok(()) => Ok(None),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => {
            let mounts = mounting::mounts()?;
            let mount = Mount::around(&paths::real(at), &mounts);
            Ok(Some(words(mount.map_or("a file system", |it| it.fs_type.as_str()))))
        }
        Err(err) => {
            Err(Error::Path { action: "try reflinks in", path: at.to_owned(), source: err.into() })
        }
    }
}

fn words(fs_type: &str) -> String {
    match fs_type {
        "xfs" => "the xfs that it is on was made without reflinks (`mkfs.xfs -m reflink=1` makes one that has them)"
            .to_owned(),
        other => format!("it is on {other}, which has no reflinks; an xfs made with `-m reflink=1` has them"),
    }
}
