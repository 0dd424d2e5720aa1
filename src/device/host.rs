//! The real thing: the kernel's block devices, losetup and dmsetup.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, Flock, FlockArg, fallocate},
    libc,
    sys::stat,
};

use super::{BlockDevice, Devices, Error, Hold, Part, Uevents, Wipe, copying, sysfs};
use crate::{
    process::{Failure, Invocation, held},
    units::Bytes,
};

/// The programs that are started, each with its Debian package.
pub const PROGRAMS: &[(&str, &str)] =
    &[("blockdev", "util-linux"), ("dmsetup", "dmsetup"), ("losetup", "mount")];

/// Asks the kernel and the real programs. It remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDevices;

impl Devices for HostDevices {
    fn size(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        if block_device(path)?.is_none() {
            return Ok(None);
        }
        let is_left_over = |err: &io::Error| err.raw_os_error() == Some(Errno::ENXIO as i32);
        match end(path) {
            // A node of a device that is gone, or that has no table.
            Err(Error::Path { source, .. }) if is_left_over(&source) => Ok(None),
            size => size.map(Some),
        }
    }

    fn open_count(&self, path: &Path) -> Result<u32, Error> {
        let missing = || failed("open", path)(io::Error::from(Errno::ENOENT));
        let number = block_device(path)?.ok_or_else(missing)?;
        let action = "count who holds";
        let out = match dmsetup(number).run() {
            // A node of a device that is gone: nobody has it.
            Err(failure) if failure.says("does not exist") => return Ok(0),
            out => out.map_err(tool(action, path))?,
        };
        let text = String::from_utf8_lossy(&out);
        text.trim().parse().map_err(|_| failed(action, path)(odd("dmsetup", &text)))
    }

    fn leads_nowhere(&self, path: &Path) -> Result<bool, Error> {
        let Some(number) = block_device(path)? else { return Ok(false) };
        let name = format!("{}:{}", stat::major(number), stat::minor(number));
        let device = Path::new("/sys/dev/block").join(name);
        sysfs::leads_nowhere(&device).map_err(failed("look below", path))
    }

    fn ensure_loop(&self, file: &Path, size: Bytes) -> Result<PathBuf, Error> {
        // Two that look for the same file at once would attach it twice, and LVM see every PV twice.
        let _lock = ensure_file(file, size)?;
        let device = match attached(file)? {
            Some(device) => device,
            None => attach(file)?,
        };
        if end(&device)? < end(file)? {
            let grow = Invocation::changes("losetup").arg("--set-capacity").arg(&device);
            grow.run().map_err(tool("grow the loop device of", file))?;
        }
        Ok(device)
    }

    fn wipe(&self, device: &Path, part: Part, how: Wipe) -> Result<(), Error> {
        let fail = failed("wipe", device);
        let wipe = || {
            let mut file = alone(device, 0)?;
            // fallocate(2) cuts a part that reaches past the end, and reports success.
            let size = file.seek(SeekFrom::End(0))?;
            if part.offset.checked_add(part.length).is_none_or(|end| end.0 > size) {
                return Err(io::Error::from(Errno::EINVAL));
            }
            match how {
                Wipe::Zero | Wipe::QuickReset => zero(&file, part)?,
                Wipe::Discard => unmap(&file, part)?,
                Wipe::Shred => copying::write_random(&file, part)?,
                Wipe::None => return Ok(()),
            }
            file.sync_all()
        };
        wipe().map_err(fail)
    }

    fn copy(&self, from: &Path, to: &Path, part: Part) -> Result<(), Error> {
        copying::copy(from, to, part)
    }

    fn forget_partitions(&self, device: &Path) -> Result<(), Error> {
        let reread = Invocation::changes("blockdev").arg("--rereadpt").arg(device);
        match reread.run() {
            // One that can have no partitions says so.
            Err(failure) if failure.says("Invalid argument") => Ok(()),
            result => result.map(drop).map_err(tool("look for partitions on", device)),
        }
    }

    fn flush(&self, device: &Path) -> Result<(), Error> {
        File::open(device).and_then(|file| file.sync_all()).map_err(failed("flush", device))
    }

    fn list(&self) -> Result<Vec<BlockDevice>, Error> {
        sysfs::list(Path::new("/sys"), Path::new("/dev"))
    }

    /// For reading only: closing a device that was open for writing makes udev look at it anew.
    fn hold(&self, device: &BlockDevice) -> Result<Hold, Error> {
        let path = &device.path;
        let fail = |source: io::Error| match source.kind() == io::ErrorKind::ResourceBusy {
            true => Error::Held(path.clone()),
            false => failed("open", path)(source),
        };
        if !sysfs::is_node_of(path, device.number).map_err(fail)? {
            return Err(Error::NotBlock(path.clone()));
        }
        let mut alone = OpenOptions::new();
        alone.read(true).custom_flags(libc::O_EXCL);
        let file = held::once_free(|| alone.open(path)).map_err(fail)?;
        let locked = held::lock(file).map_err(fail)?;
        Ok(Hold { _exclusive: Some(locked) })
    }

    fn watch(&self) -> Result<Uevents, Error> {
        Uevents::listen().map_err(failed("listen for changes below", Path::new("/sys")))
    }
}

/// The number of the block device at a path; `None` when there is nothing.
fn block_device(path: &Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(data) if data.file_type().is_block_device() => Ok(Some(data.rdev())),
        Ok(_) => Err(Error::NotBlock(path.to_owned())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("look at", path)(source)),
    }
}

/// The size of a file or device.
fn end(path: &Path) -> Result<Bytes, Error> {
    let end = File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0)));
    end.map(Bytes).map_err(failed("read the size of", path))
}

/// dmsetup(8), `info -c`.
fn dmsetup(number: u64) -> Invocation {
    let (major, minor) = (stat::major(number).to_string(), stat::minor(number).to_string());
    let columns = ["info", "-c", "--noheadings", "-o", "open"];
    Invocation::reads("dmsetup").args(columns).args(["-j", &major, "-m", &minor])
}

/// Opens a device for writing, unless it is mounted or below another device (open(2), O_EXCL
/// without O_CREAT).
pub(super) fn alone(device: &Path, flags: i32) -> io::Result<File> {
    let flags = libc::O_EXCL | flags;
    held::once_free(|| OpenOptions::new().write(true).custom_flags(flags).open(device))
}

/// The file, at least as large, sparse, readable by its owner only, and locked.
fn ensure_file(file: &Path, size: Bytes) -> Result<Flock<File>, Error> {
    let make = || {
        if let Some(parent) = file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let open = options.mode(0o600).custom_flags(libc::O_NOFOLLOW).open(file)?;
        if !open.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let lock = Flock::lock(open, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        if lock.metadata()?.len() < size.0 {
            lock.set_len(size.0)?;
            lock.sync_all()?;
        }
        Ok(lock)
    };
    make().map_err(failed("make the file", file))
}

/// The loop device that the file is attached to; of several the one that somebody uses. losetup compares device and
/// inode, so another name of the same file counts, and a deleted file of the same name does not.
fn attached(file: &Path) -> Result<Option<PathBuf>, Error> {
    let find = Invocation::reads("losetup").args(["--list", "--noheadings", "--output", "NAME"]);
    let find = find.arg("--associated").arg(file);
    let out = find.run().map_err(tool("find the loop device of", file))?;
    let out = String::from_utf8_lossy(&out);
    let all: Vec<PathBuf> =
        out.lines().map(str::trim).filter(|it| !it.is_empty()).map(PathBuf::from).collect();
    match all.as_slice() {
        [] | [_] => Ok(all.into_iter().next()),
        [first, ..] => {
            tracing::warn!(file = %file.display(), "attached to several loop devices");
            // To mount one beside the mount of another would be the end of the file system in it.
            for device in &all {
                if is_used(device)? {
                    return Ok(Some(device.clone()));
                }
            }
            Ok(Some(first.clone()))
        }
    }
}

/// Whether the device is mounted, also where that is not seen from here, or is below another device.
fn is_used(device: &Path) -> Result<bool, Error> {
    let mut alone = OpenOptions::new();
    alone.read(true).custom_flags(libc::O_EXCL);
    match held::once_free(|| alone.open(device)) {
        Ok(_) => Ok(false),
        Err(err) if err.kind() == io::ErrorKind::ResourceBusy => Ok(true),
        Err(err) => Err(failed("open", device)(err)),
    }
}

/// Attaches the file, past the page cache where its file system can (losetup(8), `--direct-io`):
/// the volumes above have a cache of their own.
fn attach(file: &Path) -> Result<PathBuf, Error> {
    let losetup = |direct: &[&str]| {
        let find = Invocation::changes("losetup").args(["--find", "--show", "--nooverlap"]);
        find.args(direct).arg(file).run()
    };
    let out = match losetup(&["--direct-io=on"]) {
        Ok(out) => out,
        Err(failure) => {
            tracing::warn!(file = %file.display(), %failure.cause, "attaching without direct I/O");
            // It may have been attached before it was found unable to.
            if let Some(device) = attached(file)? {
                return Ok(device);
            }
            losetup(&[]).map_err(tool("attach to a loop device", file))?
        }
    };
    let text = String::from_utf8_lossy(&out);
    match text.trim() {
        device if device.starts_with("/dev/") => Ok(PathBuf::from(device)),
        _ => Err(failed("attach to a loop device", file)(odd("losetup", &text))),
    }
}

/// Unmaps where the device then promises zeroes, else writes zeroes (block/fops.c,
/// `blkdev_fallocate`: punching a hole has no fallback of its own and never leaves old bytes).
fn unmap(file: &File, part: Part) -> io::Result<()> {
    let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match allocate(file, how, part) {
        Err(Errno::EOPNOTSUPP) => zero(file, part),
        result => result.map_err(io::Error::from),
    }
}

/// Writes zeroes, by the device itself where it can.
fn zero(file: &File, part: Part) -> io::Result<()> {
    let how = FallocateFlags::FALLOC_FL_ZERO_RANGE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match allocate(file, how, part) {
        Err(Errno::EOPNOTSUPP) => copying::write_zeroes(file, part),
        result => result.map_err(io::Error::from),
    }
}

fn allocate(file: &File, how: FallocateFlags, part: Part) -> Result<(), Errno> {
    if part.length == Bytes::ZERO {
        return Ok(()); // fallocate(2) refuses it
    }
    let offset = i64::try_from(part.offset.0).map_err(|_| Errno::EFBIG)?;
    let length = i64::try_from(part.length.0).map_err(|_| Errno::EFBIG)?;
    loop {
        match fallocate(file, how, offset, length) {
            Err(Errno::EINTR) => (),
            result => return result,
        }
    }
}

fn odd(program: &str, said: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{program} said {:?}", said.trim()))
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { action, path, source }
}

fn tool(action: &'static str, path: &Path) -> impl FnOnce(Failure) -> Error {
    let path = path.to_owned();
    move |source| Error::Tool { action, path, source }
}
