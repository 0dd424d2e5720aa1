//! A file system of a pool's own: in a file, which is attached to a loop device and mounted with project quotas.
//!
//! Until its file system is whole the name of the file says so, and only then one is made in it. So what was made once
//! is never made again, whatever becomes of it.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    device::{self, Devices},
    fs::{
        self as filesystems, Access, Content, Filesystems, FsKind, MkfsOptions, Mount, MountHow,
        MountOptions, paths,
    },
    mounts::fs_failed,
    pool::DirectoryLoopFile,
    units::Bytes,
    volume::{Error, PoolName, chain},
};

/// The file, and where it is mounted.
pub(super) struct Image<'a> {
    fs: &'a dyn Filesystems,
    devices: &'a dyn Devices,
    /// The directory that it is in.
    directory: PathBuf,
    /// The file, once there is a file system in it.
    whole: PathBuf,
    /// The same file until then.
    new: PathBuf,
    /// Where it is mounted.
    mount: PathBuf,
    kind: FsKind,
    size: Bytes,
}

/// How large a file is, and how much of that it takes of the file system around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    length: Bytes,
    taken: Bytes,
}

/// How large the file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// As large as this, and no less than its spec says.
    Whole(Bytes),
    /// As it is: there is no room for what its spec says.
    AsItIs(Bytes),
    /// It is not there yet, and there is no room for it.
    TooLarge,
}

impl<'a> Image<'a> {
    /// The file of a pool in this directory. No pool's name has a dot, so that nothing else of a pool has these names.
    pub(super) fn new(
        fs: &'a dyn Filesystems,
        devices: &'a dyn Devices,
        (directory, name): (&Path, &PoolName),
        spec: &DirectoryLoopFile,
    ) -> Self {
        let named = |ending: &str| directory.join(format!("{name}.{ending}"));
        Self {
            fs,
            devices,
            directory: directory.to_owned(),
            whole: named("img"),
            new: named("new"),
            mount: named("mount"),
            kind: spec.fs_type.kind(),
            size: spec.size,
        }
    }

    /// Has it made, attached and mounted, and as large as its spec says where there is room for that; gives back where
    /// it is mounted.
    ///
    /// # Errors
    /// [`Error::Precondition`] says what to do; [`Error::Busy`] while a mkfs of an earlier life is at work.
    pub(super) fn ensure(&self) -> Result<PathBuf, Error> {
        paths::ensure_directory(&self.directory)
            .map_err(|err| fs_failed("making the directory of its file", err))?;
        let (is_whole, mounted) = (is_there(&self.whole)?, self.mounted()?);
        if mounted.is_some() && !is_whole {
            return Err(self.refused(format!(
                "{} is gone, and something is mounted at {}; bring it back, or unmount that",
                self.whole.display(),
                self.mount.display()
            )));
        }
        let device = self.attach(is_whole)?;
        if !is_whole {
            self.make(&device)?;
        }
        match mounted {
            Some(mounted) => self.ensure_is(&mounted, &device)?,
            None => self.mount(&device)?,
        }
        let grown = self.fs.grow(&device, &self.mount, self.kind);
        grown.map_err(|err| fs_failed("growing the file system in its file", err))?;
        Ok(self.mount.clone())
    }

    /// What is mounted where the file is to be.
    fn mounted(&self) -> Result<Option<Mount>, Error> {
        let mounts = self.fs.mounts().map_err(|err| fs_failed("looking at the mounts", err))?;
        let at = paths::real(&self.mount);
        Ok(mounts.into_iter().rfind(|it| it.at == at))
    }

    fn refused(&self, why: impl Into<String>) -> Error {
        Error::Precondition(format!("directory.loopFile: {}", why.into()))
    }

    /// The loop device of the file, which is made and grown.
    fn attach(&self, is_whole: bool) -> Result<PathBuf, Error> {
        let file = if is_whole { &self.whole } else { &self.new };
        let usage = self.fs.usage(&self.directory);
        let usage = usage.map_err(|err| fs_failed("asking how much room there is", err))?;
        let free = Bytes(usage.bytes.available);
        let (size, directory) = (self.size, self.directory.display());
        let size = match fit(size, extent(file)?, free, is_whole) {
            Fit::Whole(size) => size,
            Fit::AsItIs(has) => {
                tracing::warn!(file = %file.display(), %size, %has, %free, "no room to grow");
                has
            }
            Fit::TooLarge => {
                return Err(self.refused(format!(
                    "its size is {size}, and {directory} has {free} free; say less, or make room"
                )));
            }
        };
        self.devices.ensure_loop(file, size).map_err(|err| {
            let hint = match &err {
                device::Error::Tool { .. } => "; are there loop devices (`modprobe loop`)?",
                device::Error::Path { .. }
                | device::Error::NotBlock(_)
                | device::Error::Held(_) => "",
            };
            self.refused(format!("{}{hint}", chain(&err)))
        })
    }

    /// Makes the file system, unless an earlier life has come to the end of that, and gives the file its name.
    fn make(&self, device: &Path) -> Result<(), Error> {
        let failed = |err| fs_failed("making the file system in its file", err);
        match self.fs.probe(device).map_err(failed)? {
            Content::Nothing | Content::Unfinished(_) => {
                let options = MkfsOptions::with_project_quotas(self.kind);
                self.fs.make(device, self.kind, &options).map_err(failed)?;
            }
            Content::Filesystem { kind, .. } if kind == self.kind => (),
            found @ (Content::Filesystem { .. } | Content::Foreign(_)) => {
                return Err(self.holds(&self.new, &found));
            }
        }
        let named = fs::rename(&self.new, &self.whole)
            .and_then(|()| File::open(&self.directory)?.sync_all());
        named.map_err(|err| Error::machine(format!("naming {}", self.whole.display()), err))
    }

    fn holds(&self, file: &Path, found: &Content) -> Error {
        let hint = match found {
            Content::Filesystem { kind, .. } => {
                format!("say `fsType: {kind}`, if that is what it is to be; else ")
            }
            Content::Nothing | Content::Unfinished(_) | Content::Foreign(_) => String::new(),
        };
        self.refused(format!(
            "{} holds {found}, not {}, and is left as it is; {hint}move it away, or name another path",
            file.display(),
            self.kind
        ))
    }

    /// That it is this file that is mounted.
    fn ensure_is(&self, mounted: &Mount, device: &Path) -> Result<(), Error> {
        let number = self.fs.device_at(device);
        let number = number.map_err(|err| fs_failed("looking at its loop device", err))?;
        let (at, file) = (self.mount.display(), self.whole.display());
        if number != Some(mounted.device) {
            let why = format!("something else than {file} is mounted at {at}; unmount that");
            return Err(self.refused(why));
        }
        match mounted.fs_type == self.kind.name() {
            true => Ok(()),
            false => {
                Err(self.refused(format!("{file} holds {0}; say `fsType: {0}`", mounted.fs_type)))
            }
        }
    }

    /// Mounts it, over nothing. A container may have it mounted where it is not seen from here, such as that of the life
    /// before; then it needs no check, and is mounted a second time.
    fn mount(&self, device: &Path) -> Result<(), Error> {
        let failed = |err| fs_failed("mounting its file", err);
        match self.fs.probe(device).map_err(failed)? {
            Content::Filesystem { kind, .. } if kind == self.kind => (),
            found @ (Content::Nothing
            | Content::Filesystem { .. }
            | Content::Unfinished(_)
            | Content::Foreign(_)) => return Err(self.holds(&self.whole, &found)),
        }
        paths::ensure_directory(&self.mount).map_err(failed)?;
        if !is_empty(&self.mount)? {
            let at = self.mount.display();
            return Err(self.refused(format!("{at} is not empty; move away what is in it")));
        }
        match self.fs.check(device, self.kind) {
            Ok(()) | Err(filesystems::Error::InUse(_)) => (),
            Err(err) => return Err(failed(err)),
        }
        let (options, access) = (MountOptions::with_project_quotas(), Access::ReadWrite);
        let how = MountHow { kind: self.kind, options, access };
        self.fs.mount(device, &self.mount, &how).map_err(failed)
    }
}

/// How large the file is to be that has this length, takes so much, and has so much room beside it. One that is to be
/// made needs room for all of it; one that is there and cannot grow is used as it is.
fn fit(size: Bytes, has: Extent, free: Bytes, is_whole: bool) -> Fit {
    match (size <= has.length, size <= Bytes(has.taken.0.saturating_add(free.0))) {
        (true, _) => Fit::Whole(has.length),
        (false, true) => Fit::Whole(size),
        (false, false) if is_whole => Fit::AsItIs(has.length),
        (false, false) => Fit::TooLarge,
    }
}

fn extent(file: &Path) -> Result<Extent, Error> {
    match fs::metadata(file) {
        Ok(data) => Ok(Extent {
            length: Bytes(data.len()),
            taken: Bytes(data.blocks().saturating_mul(512)),
        }),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Extent::default()),
        Err(err) => Err(Error::machine(format!("looking at {}", file.display()), err)),
    }
}

fn is_there(file: &Path) -> Result<bool, Error> {
    let found = file.try_exists();
    found.map_err(|err| Error::machine(format!("looking for {}", file.display()), err))
}

fn is_empty(directory: &Path) -> Result<bool, Error> {
    let entries = fs::read_dir(directory);
    let entries =
        entries.map_err(|err| Error::machine("looking where it is to be mounted", err))?;
    Ok(entries.count() == 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::new(0, 0, 8, false, Fit::Whole(Bytes(8)))]
    #[case::new_without_room(0, 0, 7, false, Fit::TooLarge)]
    #[case::made_in_part(8, 0, 7, false, Fit::Whole(Bytes(8)))]
    #[case::there(8, 1, 0, true, Fit::Whole(Bytes(8)))]
    #[case::smaller_is_said(9, 1, 0, true, Fit::Whole(Bytes(9)))]
    #[case::grows(4, 3, 5, true, Fit::Whole(Bytes(8)))]
    #[case::cannot_grow(4, 3, 4, true, Fit::AsItIs(Bytes(4)))]
    fn sizes(
        #[case] length: u64,
        #[case] taken: u64,
        #[case] free: u64,
        #[case] is_whole: bool,
        #[case] want: Fit,
    ) {
        let has = Extent { length: Bytes(length), taken: Bytes(taken) };
        assert_eq!(fit(Bytes(8), has, Bytes(free), is_whole), want);
    }
}
