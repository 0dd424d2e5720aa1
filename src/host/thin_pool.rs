//! A group's thin pool: made as its spec says, and grown.
//!
//! One that lies on RAIDs takes three commands: its data, its metadata, and that the two become the pool. Whoever is
//! killed in between leaves volumes that are known by their names and tags together. Nothing can be in them, so they
//! are removed, and all begins anew.

use super::{Host, ledger::Ledger, pool::Pool, start::Failed};
use crate::{
    lvm::{
        self, Backing, ConvertToThinPool, CreateThinPool, CreateVolume, Group, Kind, Layout,
        LogicalVolume, LvName, Lvm, Raid, VgName,
    },
    pool::{
        PoolSpec,
        thin::{self, Growth, Part, Parts, extension},
    },
    units::Bytes,
    volume::chain,
};

/// The tags of what becomes a thin pool. LVM keeps them with the pool's data and metadata.
const DATA: &str = "tarn.thin=data";
const METADATA: &str = "tarn.thin=metadata";

/// Makes the thin pool that a spec wants, or grows it to what that says; never makes it smaller.
pub(super) fn ensure_thin_pool(
    lvm: &dyn Lvm,
    group: Group,
    name: &LvName,
    spec: &PoolSpec,
) -> Result<(), Failed> {
    let Some(wish) = &spec.thin_pool else { return Ok(()) };
    let group = take_back_parts(lvm, group, name)?;
    let size = wish.size.round_up(group.extent).unwrap_or(wish.size);
    let layout = spec.thin_layout();
    let there = group.logical.iter().find(|lv| lv.name == *name);
    match there.map(|lv| (&lv.kind, lv.size)) {
        Some((Kind::ThinPool { .. }, has)) => {
            ensure_lies(&group, name, layout)?;
            if has >= size {
                return Ok(());
            }
            let grown = grow(lvm, &group, name, size);
            return grown.map_err(|err| err.about(&format!("growing its thin pool {name}")));
        }
        // What `lvcreate --type thin-pool` leaves when it is killed; nothing can be in it.
        Some(_) if there.is_some_and(|lv| !lv.active) => {
            let removed = lvm.remove(&group.name, name);
            removed.map_err(|err| failed("removing the half-made thin pool", name, err))?;
        }
        Some(_) => {
            return Err(Failed::plainly(format!(
                "its thin pool is to be {name}, but that is a volume of another kind; give it another name with `lvrename`"
            )));
        }
        None => (),
    }
    match layout {
        Layout::Raid(raid) => make_of_raids(lvm, &group, name, &raid, size),
        Layout::Linear | Layout::Striped { .. } => {
            let (vg, name) = (group.name.clone(), name.clone());
            let made =
                lvm.create_thin_pool(&CreateThinPool { vg, name: name.clone(), size, layout });
            made.map_err(|err| failed("making its thin pool", &name, err))
        }
    }
}

fn failed(doing: &str, thin: &LvName, err: lvm::Error) -> Failed {
    Failed::because(format!("{doing} {thin}"), err)
}

/// A thin pool keeps the layout that it was made with. It is never weaker than what the spec says.
fn ensure_lies(group: &Group, name: &LvName, layout: Layout) -> Result<(), Failed> {
    match layout {
        Layout::Raid(raid) if !thin::lies_on(group, name, &raid) => Err(Failed::plainly(format!(
            "its thin pool {name} does not lie on {} with {} legs, as `thinPool` says, and keeps the layout that it \
             was made with; say that one, or make another pool",
            raid.level.name(),
            raid.legs(),
        ))),
        Layout::Raid(_) | Layout::Linear | Layout::Striped { .. } => Ok(()),
    }
}

/// The name of what becomes the metadata of a thin pool.
fn metadata_of(thin: &LvName) -> Result<LvName, Failed> {
    let name = format!("{thin}-metadata").parse();
    name.map_err(|err| Failed::because("naming the metadata of its thin pool", err))
}

/// Removes what was made to become a thin pool, and has not.
fn take_back_parts(lvm: &dyn Lvm, group: Group, thin: &LvName) -> Result<Group, Failed> {
    let names = [(thin.clone(), DATA), (metadata_of(thin)?, METADATA)];
    let is_part = |lv: &&LogicalVolume| {
        let is_raid = lv.kind == Kind::HalfMade || (lv.kind == Kind::Thick && lv.legs.is_some());
        let is_tagged = |tag: &str| lv.tags.iter().any(|it| it.as_str() == tag);
        is_raid && names.iter().any(|(name, tag)| lv.name == *name && is_tagged(tag))
    };
    let parts: Vec<LvName> =
        group.logical.iter().filter(is_part).map(|lv| lv.name.clone()).collect();
    if parts.is_empty() {
        return Ok(group);
    }
    for part in &parts {
        let removed = lvm.remove(&group.name, part);
        removed.map_err(|err| failed("removing what was to become its thin pool,", part, err))?;
    }
    tracing::info!(group = %group.name, "what was to become its thin pool is removed");
    let again = lvm.report(&group.name);
    again.map_err(|err| Failed::because("its volume group cannot be read", err))
}

fn make_of_raids(
    lvm: &dyn Lvm,
    group: &Group,
    name: &LvName,
    raid: &Raid,
    size: Bytes,
) -> Result<(), Failed> {
    let doing = format!("making its thin pool {name}");
    let parts = thin::parts(group, raid, size);
    let Parts { data, metadata, chunk } =
        parts.map_err(|why| Failed::plainly(format!("{doing}: {why}")))?;
    let vg = &group.name;
    let name_of_metadata = metadata_of(name)?;
    let make = |name: &LvName, part: Part, tag: &str| {
        lvm.create_volume(&CreateVolume {
            vg: vg.clone(),
            name: name.clone(),
            size: part.size,
            backing: Backing::Thick(Layout::Raid(part.raid)),
            on: part.on,
            tags: tag.parse().into_iter().collect(),
        })
    };
    let made = make(name, data, DATA)
        .and_then(|()| make(&name_of_metadata, metadata, METADATA))
        .and_then(|()| {
            let (vg, data) = (vg.clone(), name.clone());
            lvm.convert_to_thin_pool(&ConvertToThinPool {
                vg,
                data,
                metadata: name_of_metadata.clone(),
                chunk,
            })
        });
    let Err(err) = made else { return Ok(()) };
    // What is left of it would be in the way of everything else. If it cannot be removed now, the next start does.
    let left = lvm.report(vg).map_err(|err| failed("looking for", name, err));
    if let Err(err) = left.and_then(|left| take_back_parts(lvm, left, name)) {
        tracing::warn!(group = %vg, error = %err.why(), "parts of a thin pool are left");
    }
    Err(Failed::because(doing, err))
}

/// Activates a thin pool that goes on without a disk which is missing: with its group LVM does not. Its volumes are
/// looked at one by one. True when it was done.
pub(super) fn wake_thin_pool(lvm: &dyn Lvm, group: &Group, name: &LvName) -> bool {
    let asleep = |lv: &&LogicalVolume| lv.name == *name && lv.lost && !lv.active;
    let asleep = group.logical.iter().find(asleep);
    if !asleep.is_some_and(|lv| thin::bears_loss(group, lv)) {
        return false;
    }
    let woken = lvm.activate_degraded(&group.name, name);
    if let Err(err) = &woken {
        let error = chain(err);
        tracing::error!(group = %group.name, error, "its thin pool cannot be activated");
    }
    woken.is_ok()
}

/// Why a thin pool does not grow.
enum NotGrown {
    /// There is no room for it.
    Full(String),
    /// LVM failed.
    Lvm(lvm::Error),
}

impl NotGrown {
    fn about(self, doing: &str) -> Failed {
        match self {
            Self::Full(why) => Failed::plainly(format!("{doing}: {why}")),
            Self::Lvm(err) => Failed::because(doing, err),
        }
    }
}

fn grow(lvm: &dyn Lvm, group: &Group, name: &LvName, size: Bytes) -> Result<(), NotGrown> {
    let growth = thin::growth(group, name, size).map_err(NotGrown::Full)?;
    carry_out(lvm, &group.name, &growth).map_err(NotGrown::Lvm)
}

fn carry_out(lvm: &dyn Lvm, vg: &VgName, growth: &[Growth]) -> Result<(), lvm::Error> {
    growth.iter().try_for_each(|Growth { layer, size, on }| lvm.extend(vg, layer, *size, on))
}

impl Host {
    /// Grows a thin pool that has passed its threshold, while the group has room beyond its reserve.
    pub(super) fn grow_thin_pool(&self, pool: &Pool) {
        let Some(grow) = pool.spec.thin_pool.as_ref().and_then(|it| it.autoextend) else { return };
        let lvm = &*self.tools.lvm;
        let change = pool.change();
        let wanted = |ledger: &Ledger| {
            let thin = ledger.find(pool.thin())?;
            // LVM lets nothing grow in a group that misses a disk.
            ledger.is_whole().then(|| extension(ledger.group(), thin, grow, pool.spec.reserve))
        };
        if pool.read(wanted).unwrap_or_default().is_empty() {
            return;
        }
        // Tarn names the extents, of which it must know where they are.
        let growth = change.settle(lvm).map(|()| pool.read(wanted).unwrap_or_default());
        let grown = growth.map_err(|err| chain(&err)).and_then(|growth| {
            carry_out(lvm, &pool.vg, &growth).map_err(|err| chain(&err))?;
            Ok(growth)
        });
        match grown {
            Ok(growth) => {
                for Growth { layer, size, .. } in growth {
                    tracing::info!(pool = %pool.name, %layer, %size, "thin pool has grown");
                }
            }
            Err(error) => {
                tracing::error!(pool = %pool.name, error, "thin pool could not grow");
            }
        }
        if let Err(err) = change.refresh(lvm) {
            tracing::warn!(pool = %pool.name, error = chain(&err), "no report");
        }
    }
}
