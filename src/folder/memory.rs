//! Volumes in the machine's memory: a tmpfs is mounted at the directory of each, for as long as the volume is there.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ground::{Copier, Ground, Place, Room, inodes},
    record::{Id, Record},
};
use crate::{
    fs::{DeviceNumber, Filesystems, HugePages, MemoryHow, MemoryOption, Mount, paths},
    mounts::fs_failed,
    pool::{MemorySpec, RootMode},
    units::Bytes,
    volume::Error,
};

/// The directory of a volume's file system that is bound where the volume is staged. Were it the root, the mount that
/// keeps it would show the same, and the kubelet, which takes that for another user, would never unstage the volume
/// (`GetDeviceMountRefs` in its `GenerateUnmountDeviceFunc`).
const BODY: &str = "volume";
/// What it is called before it is whole.
const NEW: &str = "new";
/// Nobody but root enters what is around it.
const CLOSED: u32 = 0o700;

/// A share of the machine's memory.
pub(super) struct Memory {
    fs: Arc<dyn Filesystems>,
    budget: Bytes,
    bytes_per_inode: Bytes,
    mode: RootMode,
    huge_pages: HugePages,
    swap: bool,
}

impl Memory {
    pub(super) fn open(fs: &Arc<dyn Filesystems>, spec: &MemorySpec) -> Result<Self, Error> {
        let all = fs.memory().map_err(|err| fs_failed("asking how much memory there is", err))?;
        let budget = spec.size.of(all);
        if budget > all {
            let why = format!("memory.size: {budget} is more than the {all} of this machine");
            return Err(Error::Precondition(why));
        }
        ensure_kernel_has(&**fs, spec)?;
        let &MemorySpec { bytes_per_inode, mode, huge_pages, swap, .. } = spec;
        Ok(Self { fs: Arc::clone(fs), budget, bytes_per_inode, mode, huge_pages, swap })
    }

    fn how(&self, size: Bytes) -> MemoryHow {
        let &Self { huge_pages, swap, .. } = self;
        // One more, for the directory that is bound.
        let inodes = inodes(size, self.bytes_per_inode) + 1;
        MemoryHow { size, inodes, mode: CLOSED, huge_pages, swap }
    }
}

/// That volumes can be made as the spec says: never in another way instead.
///
/// # Errors
/// [`Error::Precondition`] names the field, with the kernel's words.
fn ensure_kernel_has(fs: &dyn Filesystems, spec: &MemorySpec) -> Result<(), Error> {
    let huge = Some(MemoryOption::Huge(spec.huge_pages));
    let huge = huge.filter(|_| spec.huge_pages != HugePages::Never);
    let no_swap = (!spec.swap).then_some(MemoryOption::NoSwap);
    for option in huge.into_iter().chain(no_swap) {
        let lacks = fs.lacks_in_memory(option);
        let lacks = lacks.map_err(|err| fs_failed("asking what the kernel can mount", err))?;
        let Some(why) = lacks else { continue };
        let said = match option {
            MemoryOption::Huge(pages) => format!(
                "memory.hugePages: {pages:?}: this kernel has no huge pages for files in memory"
            ),
            MemoryOption::NoSwap => {
                "memory.swap: false: this kernel can swap out any file in memory; Linux 6.4 is needed"
                    .to_owned()
            }
        };
        return Err(Error::Precondition(format!("{said} ({why})")));
    }
    Ok(())
}

fn own<'a>(at: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let at = paths::real(at);
    mounts.iter().rev().find(|mount| mount.at == at)
}

impl Ground for Memory {
    fn words(&self) -> &'static str {
        "in memory"
    }

    fn room(&self, volumes: &[(Place<'_>, &Record)]) -> Result<Room, Error> {
        let taken = Bytes(volumes.iter().map(|(_, record)| record.size.0).sum());
        Ok(Room { size: self.budget, free: self.budget.saturating_sub(taken) })
    }

    fn project(&self, _: &Id, _: &BTreeSet<u32>) -> Result<Option<u32>, Error> {
        Ok(None)
    }

    fn fill(&self, Place { id, at }: Place<'_>, record: &Record) -> Result<(), Error> {
        let doing = || format!("making {id} in memory");
        paths::ensure_directory(at).map_err(|err| fs_failed(doing(), err))?;
        let mounted = self.fs.mount_memory(id.as_str(), at, &self.how(record.size));
        mounted.map_err(|err| fs_failed(doing(), err))?;
        // With its name it is whole: one that was cut short before has none.
        let new = at.join(NEW);
        fs::create_dir(&new)
            .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(self.mode.0)))
            .and_then(|()| fs::rename(&new, self.body(at)))
            .map_err(|err| Error::machine(doing(), err))
    }

    fn copier(&self) -> Option<&dyn Copier> {
        None
    }

    fn is_filled(&self, place: Place<'_>) -> Result<bool, Error> {
        let mounts = self.fs.mounts().map_err(|err| fs_failed("looking at the mounts", err))?;
        Ok(own(place.at, &mounts).is_some() && self.body(place.at).is_dir())
    }

    fn fit(&self, Place { id, at }: Place<'_>, record: &Record) -> Result<(), Error> {
        let resized = self.fs.resize_memory(at, &self.how(record.size));
        resized.map_err(|err| fs_failed(format!("resizing {id}"), err))
    }

    fn scraps_at_once(&self) -> bool {
        true
    }

    fn hide(&self, _: Place<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn scrap(&self, place: Place<'_>, _: &Record, _: &dyn Fn() -> bool) -> Result<(), Error> {
        self.clear(place)
    }

    fn clear(&self, Place { id, at }: Place<'_>) -> Result<(), Error> {
        let failed = |err| fs_failed(format!("clearing {id}"), err);
        while own(at, &self.fs.mounts().map_err(failed)?).is_some() {
            self.fs.unmount(at).map_err(failed)?;
        }
        paths::remove_directory(at).map_err(failed)
    }

    fn tidy(&self, _: &dyn Fn() -> bool) -> Result<(), Error> {
        Ok(())
    }

    fn body(&self, at: &Path) -> PathBuf {
        at.join(BODY)
    }

    fn face(&self, at: &Path, mounts: &[Mount]) -> Option<(DeviceNumber, PathBuf)> {
        own(at, mounts).map(|mount| (mount.device, mount.root.join(BODY)))
    }
}
