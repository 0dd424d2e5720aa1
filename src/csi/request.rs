//! What the wire says, read into what it means. Pure; everything wrong is named with its field.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use super::proto::{
    self, CapacityRange, CreateVolumeRequest, Topology, TopologyRequirement, VolumeContentSource,
    volume_capability::{AccessType, access_mode},
    volume_content_source,
};
use crate::{
    fs::MountOptions,
    volume::{
        Access, Capability, Driver, Error, Mode, NodeId, Parameters, Purpose, SizeRange, Source,
        VolumeName, Wanted,
    },
};

/// What a map may hold in all (CSI spec, "Size Limits").
const MAP_LIMIT: usize = 4 << 10;

/// Reads CreateVolume.
pub(super) fn wanted(request: CreateVolumeRequest, driver: &Driver) -> Result<Wanted, Error> {
    let name = name("name", &request.name)?;
    if request.volume_capabilities.is_empty() {
        return Err(Error::missing("volume_capabilities"));
    }
    let capabilities = capabilities(&request.volume_capabilities)?;
    let parameters = parameters(&request.parameters)?;
    if let Some(key) = request.mutable_parameters.keys().next() {
        let allowed = "volumes have no parameters that can be changed";
        return Err(Error::invalid("mutable_parameters", key, allowed));
    }
    let purpose = Purpose::of(&capabilities, parameters.filesystem)?;
    // A wrong option is refused before anything is looked up.
    parameters.mkfs_options(purpose)?;
    Ok(Wanted {
        name,
        size: size(request.capacity_range.as_ref())?,
        purpose,
        parameters,
        source: request.volume_content_source.as_ref().map(source).transpose()?,
        nodes: nodes(request.accessibility_requirements.as_ref(), driver)?,
        claim: claim(&request.parameters),
    })
}

/// For which claim a volume is (external-provisioner, `--extra-create-metadata`).
fn claim(parameters: &BTreeMap<String, String>) -> Option<String> {
    let of = |key: &str| parameters.get(&format!("csi.storage.k8s.io/pvc/{key}"));
    let text = format!("{}/{}", of("namespace")?, of("name")?);
    // Longer than Kubernetes allows names to be (63 and 253 characters), it is no claim.
    Some(text).filter(|text| text.len() <= 317)
}

/// Reads a name that the caller gives to something new.
pub(super) fn name(field: &'static str, text: &str) -> Result<VolumeName, Error> {
    if text.is_empty() {
        return Err(Error::missing(field));
    }
    text.parse()
        .map_err(|err| Error::invalid(field, format!("{} bytes", text.len()), format!("{err}")))
}

/// Refuses an empty field.
pub(super) fn given<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Error> {
    if text.is_empty() { Err(Error::missing(field)) } else { Ok(text) }
}

/// Reads the size; none at all leaves it to us.
pub(super) fn size(range: Option<&CapacityRange>) -> Result<SizeRange, Error> {
    let range = range.copied().unwrap_or_default();
    SizeRange::new(range.required_bytes, range.limit_bytes)
}

/// Reads a StorageClass' parameters.
pub(super) fn parameters(map: &BTreeMap<String, String>) -> Result<Parameters, Error> {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAP_LIMIT {
        let allowed = format!("at most {MAP_LIMIT} bytes in all");
        return Err(Error::invalid("parameters", format!("{bytes} bytes"), allowed));
    }
    Parameters::parse(map)
}

/// Reads how a volume will be used.
pub(super) fn capabilities(all: &[proto::VolumeCapability]) -> Result<Vec<Capability>, Error> {
    all.iter().map(capability).collect()
}

/// Whether the fields that every capability needs are there.
///
/// # Errors
/// [`Error::Invalid`] names the one that is not.
pub(super) fn complete(capability: &proto::VolumeCapability) -> Result<(), Error> {
    if capability.access_type.is_none() {
        return Err(Error::missing("volume_capability.access_type"));
    }
    let unknown = i32::from(access_mode::Mode::Unknown);
    if capability.access_mode.is_none_or(|it| it.mode == unknown) {
        return Err(Error::missing("volume_capability.access_mode"));
    }
    Ok(())
}

/// Reads one way of using a volume.
pub(super) fn capability(capability: &proto::VolumeCapability) -> Result<Capability, Error> {
    complete(capability)?;
    let access = match &capability.access_type {
        Some(AccessType::Mount(mount)) => {
            let field = "volume_capability.mount";
            if !mount.volume_mount_group.is_empty() {
                let allowed =
                    "file systems here have no group option; fsGroup is set by the kubelet";
                return Err(Error::invalid(
                    format!("{field}.volume_mount_group"),
                    "given",
                    allowed,
                ));
            }
            let kind = match mount.fs_type.as_str() {
                "" => None,
                name => Some(name.parse().map_err(|err: crate::fs::BadKind| {
                    Error::invalid(format!("{field}.fs_type"), name, err.to_string())
                })?),
            };
            // Mount flags may hold secrets: the value is not repeated.
            let options = MountOptions::parse(&mount.mount_flags).map_err(|err| {
                Error::invalid(format!("{field}.mount_flags"), "(not shown)", err.to_string())
            })?;
            Access::Mount { kind, options }
        }
        Some(AccessType::Block(_)) | None => Access::Block,
    };
    let wire = capability.access_mode.map(|it| it.mode).unwrap_or_default();
    Ok(Capability { access, mode: mode(wire)? })
}

fn mode(wire: i32) -> Result<Mode, Error> {
    use access_mode::Mode as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::SingleNodeWriter) => Ok(Mode::SingleNode),
        Ok(Wire::SingleNodeReaderOnly) => Ok(Mode::ReadOnly),
        Ok(Wire::SingleNodeSingleWriter) => Ok(Mode::OneWriter),
        Ok(Wire::SingleNodeMultiWriter) => Ok(Mode::ManyWriters),
        Ok(
            Wire::Unknown
            | Wire::MultiNodeReaderOnly
            | Wire::MultiNodeSingleWriter
            | Wire::MultiNodeMultiWriter,
        )
        | Err(_) => {
            let word = Wire::try_from(wire).map_or("unknown", |it| it.as_str_name());
            let allowed = "a volume is on one node: use a SINGLE_NODE mode";
            Err(Error::invalid("volume_capability.access_mode", word, allowed))
        }
    }
}

fn source(source: &VolumeContentSource) -> Result<Source, Error> {
    use volume_content_source::Type;
    match &source.r#type {
        Some(Type::Snapshot(it)) => {
            let id = given("volume_content_source.snapshot.snapshot_id", &it.snapshot_id)?;
            let gone = |_| Error::NotFound("the source snapshot".to_owned());
            id.parse().map(Source::Snapshot).map_err(gone)
        }
        Some(Type::Volume(it)) => {
            let id = given("volume_content_source.volume.volume_id", &it.volume_id)?;
            let gone = |_| Error::NotFound("the source volume".to_owned());
            id.parse().map(Source::Volume).map_err(gone)
        }
        None => Err(Error::missing("volume_content_source.type")),
    }
}

/// On which nodes a volume may be, best first; `None` where nothing is required.
fn nodes(
    requirement: Option<&TopologyRequirement>,
    driver: &Driver,
) -> Result<Option<Vec<NodeId>>, Error> {
    let Some(requirement) = requirement else { return Ok(None) };
    if requirement.preferred.is_empty() && requirement.requisite.is_empty() {
        return Ok(None);
    }
    let mut nodes = Vec::new();
    for topology in requirement.preferred.iter().chain(&requirement.requisite) {
        let node = node(topology, driver)?.filter(|node| !nodes.contains(node));
        nodes.extend(node);
    }
    Ok(Some(nodes))
}

/// The node that a topology names; `None` when it names none that could exist.
pub(super) fn node(topology: &Topology, driver: &Driver) -> Result<Option<NodeId>, Error> {
    let ours = driver.topology_key();
    if let Some(key) = topology.segments.keys().find(|key| *key != ours) {
        let allowed = format!("the only key of this driver is {ours}");
        return Err(Error::invalid("accessibility_requirements", key, allowed));
    }
    Ok(topology.segments.get(ours).and_then(|value| value.parse().ok()))
}

/// A path that a caller gave: absolute, without `..`, short enough for the kernel (path_resolution(7),
/// limits.h).
///
/// # Errors
/// [`Error::Invalid`] names the field.
pub(super) fn path(field: &'static str, text: &str) -> Result<PathBuf, Error> {
    if text.is_empty() {
        return Err(Error::missing(field));
    }
    let path = Path::new(text);
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
            && !text.contains('\0')
            && path.iter().all(|part| part.len() <= 255);
    if !path.is_absolute() || !plain || text.len() > 4095 {
        let allowed = "an absolute path without `..`, at most 4095 bytes and 255 in each part";
        return Err(Error::invalid(field, text, allowed));
    }
    if path.parent().is_none() {
        return Err(Error::invalid(field, text, "not the root directory"));
    }
    Ok(path.to_path_buf())
}

/// How many entries a page may have, and after what it begins.
///
/// # Errors
/// A negative number is [`Error::Invalid`]; a token that we never gave is [`Error::Busy`], whose
/// code tells the caller to begin anew (CSI spec, `ListVolumes`).
pub(super) fn page<I: std::str::FromStr>(
    max_entries: i32,
    token: &str,
) -> Result<(usize, Option<I>), Error> {
    /// Some 200 bytes an entry must stay below the 4 MiB that clients accept by default.
    const MOST: usize = 5_000;
    let wish = usize::try_from(max_entries).map_err(|_| {
        Error::invalid("max_entries", max_entries.to_string(), "0 for all, or a positive number")
    })?;
    let most = if wish == 0 { MOST } else { wish.min(MOST) };
    if token.is_empty() {
        return Ok((most, None));
    }
    let after = token.parse().map_err(|_| {
        Error::Busy("starting_token is none of ours; list from the beginning".to_owned())
    })?;
    Ok((most, Some(after)))
}
