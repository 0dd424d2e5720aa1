//! Wishes and refusals, as domain types and as fields of an object. Pure.

use std::path::PathBuf;

use super::objects::{
    CopySource, CopySourceKind, LogicalVolumeSpec, Refusal, RefusalReason, StrayReport, VolumeMode,
};
use crate::{
    fs::FsKind,
    lvm::{Layout, Raid},
    pool::{Class, Kept},
    units::Bytes,
    volume::{
        AfterRestart, Difference, Error, LayoutWish, NodeId, Parameters, PoolName, Provisioning,
        Purpose, SizeRange, Source, VolumeName, Wanted, WantedSnapshot, chain,
    },
};

/// What an object asks its node for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A volume.
    Volume(Box<Wanted>),
    /// A snapshot.
    Snapshot(WantedSnapshot),
}

/// Where and how a new volume is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) node: NodeId,
    pub(super) pool: PoolName,
    pub(super) class: Class,
    pub(super) size: Bytes,
}

/// The object's spec for a volume that is wanted.
pub(super) fn spec_of(wanted: &Wanted, place: &Placement) -> LogicalVolumeSpec {
    let lies = layout_fields(place.class.layout);
    LogicalVolumeSpec {
        node_name: place.node.to_string(),
        pool: place.pool.to_string(),
        csi_name: wanted.name.as_str().to_owned(),
        size: place.size.to_string(),
        volume_mode: mode_of(wanted.purpose),
        fs_type: wanted.purpose.filesystem().map(|kind| kind.name().to_owned()),
        provisioning: place.class.provisioning,
        layout: lies.layout,
        mirrors: lies.mirrors,
        stripes: lies.stripes,
        stripe_size: lies.stripe_size.map(|size| size.to_string()),
        wipe: place.class.wipe,
        mkfs_options: wanted.parameters.mkfs.clone(),
        after_restart: wanted.parameters.after_restart,
        device: wanted.parameters.device.as_ref().map(|it| it.display().to_string()),
        except: wanted.parameters.except.iter().map(|it| it.display().to_string()).collect(),
        source: wanted.source.as_ref().map(copy_source),
        snapshot_of: None,
        claim: wanted.claim.clone(),
    }
}

/// The object's spec for a snapshot of the volume whose spec is `of`.
pub(super) fn snapshot_spec(
    wanted: &WantedSnapshot,
    of: &LogicalVolumeSpec,
    size: Bytes,
) -> LogicalVolumeSpec {
    LogicalVolumeSpec {
        csi_name: wanted.name.as_str().to_owned(),
        size: size.to_string(),
        source: None,
        snapshot_of: Some(wanted.source.to_string()),
        mkfs_options: None,
        device: None,
        except: Vec::new(),
        claim: None,
        ..of.clone()
    }
}

/// How a volume lies, as the fields of its object.
struct LayoutFields {
    layout: LayoutWish,
    mirrors: Option<u32>,
    stripes: Option<u32>,
    stripe_size: Option<Bytes>,
}

fn layout_fields(layout: Layout) -> LayoutFields {
    let (layout, mirrors, stripes, stripe_size) = match layout {
        Layout::Linear => (LayoutWish::Linear, 0, 1, None),
        Layout::Striped { stripes, stripe_size } => (LayoutWish::Striped, 0, stripes, stripe_size),
        Layout::Raid(raid) => {
            (LayoutWish::of_raid(raid.level), raid.mirrors, raid.stripes, raid.stripe_size)
        }
    };
    LayoutFields {
        layout,
        mirrors: layout.mirrors().map(|_| mirrors),
        stripes: layout.stripes().map(|_| stripes),
        stripe_size,
    }
}

/// How a thick volume of this spec lies on the disks; linear where somebody has written nonsense.
pub(super) fn layout_of(spec: &LogicalVolumeSpec) -> Layout {
    let stripe_size = spec.stripe_size.as_deref().and_then(|it| it.parse().ok());
    let stripes = spec.stripes.unwrap_or(1);
    match spec.layout.raid() {
        Some(level) => {
            let mirrors = spec.mirrors.unwrap_or(0);
            Layout::Raid(Raid { level, stripes, mirrors, stripe_size })
        }
        None if spec.layout == LayoutWish::Striped => Layout::Striped { stripes, stripe_size },
        None => Layout::Linear,
    }
}

/// What a node says of a volume or snapshot that has no object.
pub(super) fn stray_of(kept: &Kept) -> StrayReport {
    let lies = layout_fields(kept.layout);
    let is_snapshot = kept.snapshot_of.is_some();
    StrayReport {
        name: kept.id.clone(),
        csi_name: kept.name.as_str().to_owned(),
        pool: kept.pool.to_string(),
        size: kept.size,
        volume_mode: mode_of(kept.purpose),
        fs_type: kept.purpose.filesystem().map(|kind| kind.name().to_owned()),
        provisioning: kept.provisioning,
        layout: lies.layout,
        mirrors: lies.mirrors,
        stripes: lies.stripes,
        stripe_size: lies.stripe_size,
        wipe: kept.wipe,
        mkfs_options: Some(kept.mkfs.clone()).filter(|it| !it.is_empty() && !is_snapshot),
        after_restart: kept.after_restart,
        device: kept.entry.as_ref().map(|it| it.display().to_string()),
        source: kept.source.as_ref().map(copy_source),
        snapshot_of: kept.snapshot_of.as_ref().map(ToString::to_string),
        made_at: kept.created,
    }
}

/// The spec of the object that a volume or snapshot of `node` has lost.
pub(super) fn lost_spec(node: &NodeId, stray: &StrayReport) -> LogicalVolumeSpec {
    LogicalVolumeSpec {
        node_name: node.to_string(),
        pool: stray.pool.clone(),
        csi_name: stray.csi_name.clone(),
        size: stray.size.to_string(),
        volume_mode: stray.volume_mode,
        fs_type: stray.fs_type.clone(),
        provisioning: stray.provisioning,
        layout: stray.layout,
        mirrors: stray.mirrors,
        stripes: stray.stripes,
        stripe_size: stray.stripe_size.map(|size| size.to_string()),
        wipe: stray.wipe,
        mkfs_options: stray.mkfs_options.clone(),
        after_restart: stray.after_restart,
        device: stray.device.clone(),
        except: Vec::new(),
        source: stray.source.clone(),
        snapshot_of: stray.snapshot_of.clone(),
        claim: None,
    }
}

fn mode_of(purpose: Purpose) -> VolumeMode {
    match purpose {
        Purpose::Block => VolumeMode::Block,
        Purpose::Filesystem(_) => VolumeMode::Filesystem,
    }
}

fn copy_source(source: &Source) -> CopySource {
    let (kind, name) = match source {
        Source::Volume(id) => (CopySourceKind::Volume, id.as_str()),
        Source::Snapshot(id) => (CopySourceKind::Snapshot, id.as_str()),
    };
    CopySource { kind, name: name.to_owned() }
}

/// What a volume of this spec is for.
///
/// # Errors
/// [`Error::Invalid`] where somebody has written nonsense.
pub(super) fn purpose_of(spec: &LogicalVolumeSpec) -> Result<Purpose, Error> {
    match (spec.volume_mode, &spec.fs_type) {
        (VolumeMode::Block, _) => Ok(Purpose::Block),
        (VolumeMode::Filesystem, Some(kind)) => {
            parsed::<FsKind>("spec.fsType", kind).map(Purpose::Filesystem)
        }
        (VolumeMode::Filesystem, None) => Err(Error::missing("spec.fsType")),
    }
}

/// What a volume of this spec was copied from.
///
/// # Errors
/// [`Error::Invalid`] where somebody has written nonsense.
pub(super) fn source_of(spec: &LogicalVolumeSpec) -> Result<Option<Source>, Error> {
    let Some(source) = &spec.source else { return Ok(None) };
    let name = &source.name;
    Ok(Some(match source.kind {
        CopySourceKind::Volume => Source::Volume(parsed("spec.source.name", name)?),
        CopySourceKind::Snapshot => Source::Snapshot(parsed("spec.source.name", name)?),
    }))
}

/// The size that is wished for.
///
/// # Errors
/// [`Error::Invalid`] where somebody has written nonsense.
pub(super) fn size_of(spec: &LogicalVolumeSpec) -> Result<Bytes, Error> {
    parsed("spec.size", &spec.size)
}

/// What a spec asks its node for.
///
/// # Errors
/// [`Error::Invalid`] where somebody has written nonsense.
pub(super) fn wish_of(spec: &LogicalVolumeSpec) -> Result<Wish, Error> {
    let name: VolumeName = parsed("spec.csiName", &spec.csi_name)?;
    if let Some(source) = &spec.snapshot_of {
        let source = parsed("spec.snapshotOf", source)?;
        return Ok(Wish::Snapshot(WantedSnapshot { name, source }));
    }
    let thick = spec.provisioning == Provisioning::Thick;
    let purpose = purpose_of(spec)?;
    let stripe_size = spec.stripe_size.as_deref();
    Ok(Wish::Volume(Box::new(Wanted {
        name,
        size: SizeRange::at_least(size_of(spec)?),
        purpose,
        parameters: Parameters {
            pool: Some(parsed("spec.pool", &spec.pool)?),
            provisioning: Some(spec.provisioning),
            layout: thick.then_some(spec.layout),
            mirrors: spec.mirrors,
            stripes: spec.stripes,
            stripe_size: stripe_size.map(|it| parsed("spec.stripeSize", it)).transpose()?,
            filesystem: purpose.filesystem(),
            mkfs: spec.mkfs_options.clone(),
            wipe: Some(spec.wipe),
            after_restart: spec.after_restart,
            device: spec.device.as_ref().map(PathBuf::from),
            except: spec.except.iter().map(PathBuf::from).collect(),
        },
        source: source_of(spec)?,
        nodes: Some(vec![parsed("spec.nodeName", &spec.node_name)?]),
        claim: spec.claim.clone(),
    })))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<T, Error> {
    text.parse().map_err(|err: T::Err| Error::invalid(field, text, err.to_string()))
}

/// Whether the object under a name is what a repeated call wants; `class` is what the pool makes of
/// its parameters, where the pool is known.
///
/// # Errors
/// [`Error::Exists`] names the first thing in which they differ.
pub(super) fn ensure_same(
    id: &str,
    spec: &LogicalVolumeSpec,
    size: Bytes,
    wanted: &Wanted,
    class: Option<&Class>,
) -> Result<(), Error> {
    let what = || format!("volume {id}");
    let same = |field: &'static str, has: String, wants: String| match has == wants {
        true => Ok(()),
        false => Err(Error::exists(what(), field, has, wants)),
    };
    if !wanted.size.allows(size) {
        return Err(Error::exists(what(), "size", size, wanted.size.least()));
    }
    same("purpose", purpose_of(spec)?.to_string(), wanted.purpose.to_string())?;
    let source = |it: Option<&CopySource>| it.map_or("none".to_owned(), |it| it.name.clone());
    let wants = wanted.source.as_ref().map(copy_source);
    same("content source", source(spec.source.as_ref()), source(wants.as_ref()))?;
    if let Some(pool) = &wanted.parameters.pool {
        same("pool", spec.pool.clone(), pool.to_string())?;
    }
    if let Some(class) = class {
        let place = Placement {
            node: parsed("spec.nodeName", &spec.node_name)?,
            pool: parsed("spec.pool", &spec.pool)?,
            class: class.clone(),
            size,
        };
        let wants = spec_of(wanted, &place);
        let provisioning = |it: &LogicalVolumeSpec| format!("{:?}", it.provisioning);
        same("provisioning", provisioning(spec), provisioning(&wants))?;
        let layout = |it: &LogicalVolumeSpec| {
            let mirrors = it.mirrors.map(|it| format!(" {it} mirrors")).unwrap_or_default();
            let stripes = it.stripes.map(|it| format!(" {it}")).unwrap_or_default();
            let size = it.stripe_size.clone().map(|it| format!(" {it}")).unwrap_or_default();
            format!("{}{mirrors}{stripes}{size}", it.layout)
        };
        same("layout", layout(spec), layout(&wants))?;
        same("wipe", format!("{:?}", spec.wipe), format!("{:?}", wants.wipe))?;
    }
    let after = AfterRestart::said;
    same("afterRestart", after(spec.after_restart), after(wanted.parameters.after_restart))?;
    if spec.source.is_none() {
        let options = |it: &Option<String>| it.clone().unwrap_or_default();
        same("mkfsOptions", options(&spec.mkfs_options), options(&wanted.parameters.mkfs))?;
    }
    match &wanted.nodes {
        Some(nodes) if !nodes.iter().any(|node| node.as_str() == spec.node_name) => {
            let nodes: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
            same("node", spec.node_name.clone(), nodes.join(" or "))
        }
        _ => Ok(()),
    }
}

/// What a node writes into the object about an error; `None` for one that is not the last word.
pub(super) fn refusal_of(err: &Error) -> Option<Refusal> {
    let reason = match err {
        Error::Invalid { .. } => RefusalReason::Invalid,
        Error::NotFound(_) => RefusalReason::NotFound,
        Error::Exists { .. } => RefusalReason::Exists,
        Error::OutOfRange(_) => RefusalReason::OutOfRange,
        Error::NoRoom(_) => RefusalReason::NoRoom,
        Error::InUse(_) => RefusalReason::InUse,
        Error::Precondition(_) => RefusalReason::Precondition,
        Error::Machine { .. } => RefusalReason::Machine,
        Error::Busy(_) | Error::Uncertain { .. } => return None,
    };
    let message = if let Error::NotFound(what) = err { what.clone() } else { chain(err) };
    Some(Refusal { reason, message, size: None })
}

/// The error that a node has written.
pub(super) fn error_of(refusal: &Refusal) -> Error {
    let message = refusal.message.clone();
    match refusal.reason {
        RefusalReason::Invalid => Error::invalid("the wish", "as it is written", message),
        RefusalReason::NotFound => Error::NotFound(message),
        RefusalReason::Exists => Error::Exists {
            what: message,
            difference: Difference {
                field: "content",
                found: "the node's".to_owned(),
                wanted: "what was asked for".to_owned(),
            },
        },
        RefusalReason::OutOfRange => Error::OutOfRange(message),
        RefusalReason::NoRoom => Error::NoRoom(message),
        RefusalReason::InUse => Error::InUse(message),
        RefusalReason::Precondition => Error::Precondition(message),
        RefusalReason::Machine => Error::Machine {
            doing: "what the node was asked to do".to_owned(),
            source: message.into(),
        },
    }
}
