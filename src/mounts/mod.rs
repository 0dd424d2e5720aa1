//! Where volumes are mounted, and how they appear at the paths of pods and go from there: the same for every
//! kind of pool.

mod filesystem;
mod publish;
mod usable;

pub use filesystem::{OnDevice, how};
pub use publish::{publish, unpublish};

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    fs::{self, DeviceNumber, Filesystems, Mount},
    volume::{Error, chain},
};

/// The mounts of one volume.
#[derive(Clone, Debug)]
pub struct Mounts {
    /// The number of the volume's device; `None` when it has none now.
    pub device: Option<DeviceNumber>,
    /// Its file system or its device file, oldest first.
    pub of_volume: Vec<Mount>,
    /// All mounts of the machine, oldest first.
    pub all: Vec<Mount>,
}

impl Mounts {
    /// The topmost mount at `path`, if it is one of the volume's.
    pub fn at(&self, path: &Path) -> Option<&Mount> {
        let top = self.all.iter().rev().find(|mount| mount.at == path)?;
        self.of_volume.iter().find(|mount| *mount == top)
    }

    /// Something else's topmost mount at `path`.
    pub fn stranger_at(&self, path: &Path) -> Option<&Mount> {
        let top = self.all.iter().rev().find(|mount| mount.at == path)?;
        (!self.of_volume.contains(top)).then_some(top)
    }

    /// Whether the volume is mounted at `path` below something else.
    pub fn is_covered(&self, path: &Path) -> bool {
        self.at(path).is_none() && self.of_volume.iter().any(|mount| mount.at == path)
    }

    /// Where else than in `paths` the volume is mounted.
    pub fn elsewhere(&self, paths: &[&Path]) -> Vec<PathBuf> {
        let away = |at: &PathBuf| !paths.contains(&at.as_path());
        self.of_volume.iter().map(|mount| mount.at.clone()).filter(away).collect()
    }
}

/// Refuses a path where something else is mounted.
pub fn refuse_stranger(mounts: &Mounts, at: &Path) -> Result<(), Error> {
    match mounts.stranger_at(at) {
        Some(other) => Err(Error::Precondition(format!(
            "something else is mounted at {}: {} of device {}:{}",
            at.display(),
            other.fs_type,
            other.device.major,
            other.device.minor
        ))),
        None => Ok(()),
    }
}

/// Unmounts whatever of a volume is mounted at `at`, layer by layer, and sees that it is gone. `mounts` tells what
/// is mounted of it now.
///
/// # Errors
/// [`Error::InUse`] while something holds it, [`Error::Precondition`] when it is below another mount.
pub fn unmount_layers(
    fs: &dyn Filesystems,
    name: &str,
    at: &Path,
    mounts: impl Fn() -> Result<Mounts, Error>,
) -> Result<(), Error> {
    loop {
        let mounts = mounts()?;
        match mounts.at(at) {
            Some(_) => (),
            None if mounts.is_covered(at) => {
                let at = at.display();
                return Err(Error::Precondition(format!(
                    "{name} is mounted at {at} below another mount, which must go first"
                )));
            }
            None => return Ok(()),
        }
        fs.unmount(at).map_err(|err| fs_failed(format!("unmounting {name}"), err))?;
    }
}

/// A step on a file system or mount that failed.
pub fn fs_failed(doing: impl Into<String>, err: fs::Error) -> Error {
    match err {
        fs::Error::Busy(_) => Error::Busy(err.to_string()),
        fs::Error::InUse(_) => Error::InUse(err.to_string()),
        fs::Error::NotEmpty { .. } | fs::Error::Damaged { .. } => {
            Error::Precondition(err.to_string())
        }
        fs::Error::Path { ref source, .. } if is_in_the_way(source) => {
            Error::Precondition(chain(&err))
        }
        fs::Error::Mount { .. } | fs::Error::Path { .. } | fs::Error::Tool { .. } => {
            Error::machine(doing, err)
        }
    }
}

/// Whether a call on a path failed because of what somebody else has put there.
fn is_in_the_way(err: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, PermissionDenied,
        ReadOnlyFilesystem, ResourceBusy,
    };
    let kinds = [
        AlreadyExists,
        DirectoryNotEmpty,
        IsADirectory,
        NotADirectory,
        PermissionDenied,
        ReadOnlyFilesystem,
        ResourceBusy,
    ];
    let a_ring_of_links = Some(nix::errno::Errno::ELOOP as i32);
    kinds.contains(&err.kind()) || err.raw_os_error() == a_ring_of_links
}
