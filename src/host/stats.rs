//! NodeGetVolumeStats: how full a volume is. Takes no turn and asks no LVM.

use std::path::Path;

use super::{Host, no_volume};
use crate::{
    fs::paths,
    mounts::fs_failed,
    volume::{Error, Purpose, Stats, VolumeId},
};

impl Host {
    /// How full a volume is that is staged or published at `at`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not there.
    pub fn stats(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error> {
        let at = &paths::real(at);
        let found = self.volume(id).ok_or_else(|| no_volume(id))?;
        let mounts = self.mounts_of(&found)?;
        let missing = || Error::NotFound(format!("volume {id} at {}", at.display()));
        match found.record.purpose {
            Purpose::Block => {
                let there = self.tools.fs.device_at(at);
                let there = there.map_err(|err| fs_failed("looking at the path", err))?;
                match there.is_some() && there == mounts.device {
                    true => Ok(Stats::Block(found.lv.size)),
                    false => Err(missing()),
                }
            }
            Purpose::Filesystem(_) => {
                let mount = mounts.at(at).ok_or_else(missing)?;
                let usage = self.tools.fs.usage(&mount.at);
                usage.map(Stats::Filesystem).map_err(|err| fs_failed("asking how full it is", err))
            }
        }
    }
}
