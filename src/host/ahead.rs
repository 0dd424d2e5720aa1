//! A file system is made before the volume is staged for the first time: then that is a pod that starts.

use super::{Found, Host, stage::on_device};
use crate::volume::{Error, Purpose, VolumeId, chain};

impl Host {
    /// Makes the file system of a new volume, by the same rules as its first stage would. What is in
    /// the way is left to that, and told there.
    pub fn format_ahead(&self, id: &VolumeId) {
        let Ok(found) = self.finished_volume(id) else { return };
        if let Err(err) = self.format_new(&found) {
            tracing::info!(volume = %id, error = chain(&err), "not formatted ahead of its first stage");
        }
    }

    fn format_new(&self, found: &Found) -> Result<(), Error> {
        let Purpose::Filesystem(kind) = found.record.purpose else { return Ok(()) };
        let is_new = found.record.fresh && found.record.source.is_none();
        if !is_new {
            return Ok(());
        }
        found.ensure_not_lost()?;
        let device = self.active_device(found)?;
        // What is on it already is the first stage's to judge.
        on_device(found, &device, kind).make_or_see(&*self.tools.fs).map(drop)
    }
}
