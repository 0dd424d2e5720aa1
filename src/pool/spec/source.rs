//! Of what a pool is made, and what it can have because of that.

use super::{
    DevicesSpec, DirectorySpec, LoopFile, MemorySpec, PoolSpec, Provisions, WholeDevicesSpec,
};
use crate::{
    device::Wipe,
    units::Bytes,
    volume::{Error, LayoutWish},
};

/// Why a volume that is a whole device is wiped when it is deleted.
const ONLY_CLEAN: &str = "a whole device is given out again only clean: Zero, Discard or Shred";
/// Why only its ends are not enough.
const NO_CONSENT: &str = "its next owner could read what a volume held; only a pool that says \
                          `wholeDevices.allowQuickReset: true` has it, others Zero, Discard or Shred";
/// Why other volumes are not wiped as whole devices may be.
const ONLY_WHOLE: &str =
    "only volumes that are whole devices are wiped so; others Zero, Discard or None";

impl PoolSpec {
    /// Of what it is made: one of six, and that in order.
    pub(super) fn source_mistakes(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("volumeGroup", self.volume_group.is_some()),
            ("loopFile", self.loop_file.is_some()),
            ("devices", self.devices.is_some()),
            ("directory", self.directory.is_some()),
            ("memory", self.memory.is_some()),
            ("wholeDevices", self.whole_devices.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given).map(|(field, _)| *field);
        let Some(first) = given.next() else {
            let why = "give `volumeGroup`, `loopFile`, `devices`, `directory`, `memory` or `wholeDevices`";
            return vec![("volumeGroup", why.to_owned())];
        };
        if let Some(second) = given.next() {
            return vec![(second, format!("give `{first}` or `{second}`, not both"))];
        }
        let loop_file = self.loop_file.iter().flat_map(LoopFile::mistakes);
        let devices = self.devices.iter().flat_map(DevicesSpec::mistakes);
        let memory = self.memory.iter().flat_map(MemorySpec::mistakes);
        let directory = self.directory.iter().flat_map(DirectorySpec::mistakes);
        let whole = self.whole_devices.iter().flat_map(WholeDevicesSpec::mistakes);
        let all = loop_file.chain(devices).chain(directory).chain(memory).chain(whole);
        all.chain(self.beyond_others()).chain(self.wiped_otherwise()).collect()
    }

    /// Whether its volumes are directories.
    pub fn is_of_folders(&self) -> bool {
        self.memory.is_some() || self.directory.is_some()
    }

    /// Whether its volumes are whole devices.
    pub fn is_of_whole_devices(&self) -> bool {
        self.whole_devices.is_some()
    }

    /// Whether it is a volume group.
    pub fn is_a_group(&self) -> bool {
        !self.is_of_folders() && !self.is_of_whole_devices()
    }

    /// What only a volume group has, said of another pool.
    fn beyond_others(&self) -> Vec<(&'static str, String)> {
        let is_said = [
            ("provisioning", self.provisioning != Provisions::Thick),
            ("layout", self.layout != LayoutWish::Linear),
            ("layouts", !self.layouts.is_empty()),
            ("reserve", self.reserve > Bytes::ZERO),
        ];
        let is_said = is_said.into_iter().filter(|(_, is_said)| *is_said && !self.is_a_group());
        is_said
            .map(|(field, _)| (field, "only a volume group has it; leave it out".into()))
            .collect()
    }

    fn wiped_otherwise(&self) -> Option<(&'static str, String)> {
        self.against_wipe(self.wipe).map(|why| ("wipe", why.to_owned()))
    }

    /// Why the bytes of its volumes are not wiped so.
    fn against_wipe(&self, wipe: Wipe) -> Option<&'static str> {
        match (&self.whole_devices, wipe) {
            (Some(_), Wipe::None) => Some(ONLY_CLEAN),
            (Some(whole), Wipe::QuickReset) if !whole.allow_quick_reset => Some(NO_CONSENT),
            (None, Wipe::QuickReset | Wipe::Shred) => Some(ONLY_WHOLE),
            (Some(_) | None, _) => None,
        }
    }

    /// The same, had it not taken back since that its volumes are wiped so.
    #[must_use]
    pub fn allowing(&self, wipe: Wipe) -> Self {
        let mut same = self.clone();
        if let Some(whole) = &mut same.whole_devices {
            whole.allow_quick_reset |= wipe == Wipe::QuickReset;
        }
        same
    }

    /// What is done to the bytes of a deleted volume whose class says `said`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where that is not done in such a pool.
    pub fn wipe_of(&self, said: Option<Wipe>) -> Result<Wipe, Error> {
        let wipe = said.unwrap_or(self.wipe);
        match self.against_wipe(wipe) {
            Some(why) => Err(Error::invalid("parameters[wipe]", format!("{wipe:?}"), why)),
            None => Ok(wipe),
        }
    }
}
