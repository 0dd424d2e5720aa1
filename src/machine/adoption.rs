//! Adoption, by what is adopted: a logical volume, or an entry of a directory of whole devices.

use std::{path::Path, sync::Arc};

use super::{ByKind, Machine, by_kind};
use crate::{
    host::{self, Host, Tools},
    pool::{PoolEntry, PoolKind, owner::Owner},
    volume::{Adopted, Adoption, Error, Existing, Released, VolumeId, VolumeName},
    whole::WholeDevices,
};

/// What adopts beside a driver that may serve this machine meanwhile.
pub struct Beside {
    groups: Host,
    whole: WholeDevices,
}

/// The kinds of pool that adopt.
#[derive(Clone, Copy)]
struct Adopting<'a> {
    groups: &'a Host,
    whole: &'a WholeDevices,
}

/// What can adopt for pools that are there; it opens, takes and puts right nothing. What pools keep in directories is below
/// `home`.
///
/// # Errors
/// [`Error::Machine`] where a group cannot be read.
pub fn beside(
    tools: Tools,
    owner: &Owner,
    pools: Vec<PoolEntry>,
    home: &Path,
) -> Result<Beside, Error> {
    let ByKind { groups, folders: _, whole: of_whole } = by_kind(pools);
    let of_fs = (Arc::clone(&tools.fs), Arc::clone(&tools.devices));
    let (clock, node) = (tools.clock, owner.node.clone());
    let whole = WholeDevices::new(of_fs, clock, node, home.to_owned(), &Arc::default());
    for (pool, why) in whole.serve(of_whole) {
        tracing::warn!(%pool, why, "the pool cannot be served");
    }
    Ok(Beside { groups: host::beside(tools, owner, groups)?, whole })
}

impl Beside {
    /// See [`Machine::adopt`].
    ///
    /// # Errors
    /// As there.
    pub fn adopt(&self, wanted: &Adoption) -> Result<Adopted, Error> {
        self.adopting().adopt(wanted)
    }

    /// See [`Machine::release`].
    ///
    /// # Errors
    /// As there.
    pub fn release(&self, id: &VolumeId) -> Result<Released, Error> {
        self.adopting().release(id)
    }

    fn adopting(&self) -> Adopting<'_> {
        Adopting { groups: &self.groups, whole: &self.whole }
    }
}

impl Machine {
    /// Makes what is there a volume, with all that it holds. What an earlier call has begun is finished, and what it has
    /// done is found.
    ///
    /// # Errors
    /// Each says what to do. Only after [`Error::Uncertain`] may something have been changed, and the same call goes on from
    /// there.
    pub fn adopt(&self, wanted: &Adoption) -> Result<Adopted, Error> {
        self.adopting().adopt(wanted)
    }

    /// Whether something has been adopted so already. Nothing is changed.
    ///
    /// # Errors
    /// Why it may not be, where that can be told without opening it.
    pub fn is_adopted(&self, wanted: &Adoption) -> Result<bool, Error> {
        self.adopting().is_adopted(wanted)
    }

    /// Hands an adopted volume back as it was.
    ///
    /// # Errors
    /// As [`Machine::adopt`].
    pub fn release(&self, id: &VolumeId) -> Result<Released, Error> {
        self.adopting().release(id)
    }

    /// What a volume was before it was adopted; `None` where Tarn has made it, or does not have it.
    pub fn adopted_from(&self, id: &VolumeId) -> Option<String> {
        self.groups.adopted_from(id).or_else(|| self.whole.adopted_from(id))
    }

    fn adopting(&self) -> Adopting<'_> {
        Adopting { groups: &self.groups, whole: &self.whole }
    }
}

impl Adopting<'_> {
    fn adopt(self, wanted: &Adoption) -> Result<Adopted, Error> {
        self.ensure_free(wanted)?;
        match &wanted.what {
            Existing::Lv(lv) => self.groups.adopt(&wanted.of(lv.clone())),
            Existing::Entry(path) => self.whole.adopt(&wanted.of(path.clone())),
        }
    }

    fn is_adopted(self, wanted: &Adoption) -> Result<bool, Error> {
        self.ensure_free(wanted)?;
        match &wanted.what {
            Existing::Lv(lv) => self.groups.is_adopted(&wanted.of(lv.clone())),
            Existing::Entry(path) => self.whole.is_adopted(&wanted.of(path.clone())),
        }
    }

    fn release(self, id: &VolumeId) -> Result<Released, Error> {
        self.whole.look_for(id);
        match self.whole.has(id) {
            true => self.whole.release(id),
            false => self.groups.release(id),
        }
    }

    /// Refuses a name that a volume of another kind has; each kind knows its own.
    fn ensure_free(self, wanted: &Adoption) -> Result<(), Error> {
        let Adoption { what, name, .. } = wanted;
        let id = VolumeId::of(name);
        let there = match what {
            Existing::Lv(_) => self.whole.is_recorded(&id),
            Existing::Entry(_) => self.groups.has(&id).then(|| "that is a volume group".to_owned()),
        };
        there.map_or(Ok(()), |pool| Err(taken(what, name, &pool)))
    }
}

fn taken(what: &Existing, name: &VolumeName, pool: &str) -> Error {
    Error::Precondition(format!(
        "the name is taken: there is a volume {} in a pool {pool}; adopt {what} under another name",
        name.as_str()
    ))
}
