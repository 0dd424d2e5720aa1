//! What a test wants of a new volume.

use std::collections::BTreeMap;

use tarn::csi::proto::{
    CapacityRange, CreateVolumeRequest, VolumeCapability, VolumeContentSource,
    volume_capability::{
        AccessMode, AccessType, BlockVolume, MountVolume,
        access_mode::Mode::{self, SingleNodeMultiWriter},
    },
    volume_content_source::{SnapshotSource, Type, VolumeSource},
};

/// A volume that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    /// `block`, or a file system.
    pub(crate) kind: String,
    pub(crate) size: u64,
    pub(crate) limit: u64,
    pub(crate) mode: Mode,
    pub(crate) flags: Vec<String>,
    parameters: BTreeMap<String, String>,
    source: Option<Type>,
}

impl Wish {
    /// A volume of a name, kind (`block` or a file system) and least size in bytes.
    pub(crate) fn new(name: &str, kind: &str, size: u64) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            size,
            limit: 0,
            mode: SingleNodeMultiWriter,
            flags: Vec::new(),
            parameters: BTreeMap::new(),
            source: None,
        }
    }

    /// It is `limit` bytes large at most.
    pub(crate) fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// It is used in this mode.
    pub(crate) fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// It is mounted with this flag.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Its class has this parameter.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.parameters.insert(key.to_owned(), value.to_owned());
        self
    }

    /// It begins as a snapshot was.
    pub(crate) fn of_snapshot(mut self, id: &str) -> Self {
        self.source = Some(Type::Snapshot(SnapshotSource { snapshot_id: id.to_owned() }));
        self
    }

    /// It begins as another volume is.
    pub(crate) fn of_volume(mut self, id: &str) -> Self {
        self.source = Some(Type::Volume(VolumeSource { volume_id: id.to_owned() }));
        self
    }

    /// How it will be used.
    pub(crate) fn capability(&self) -> VolumeCapability {
        capability(&self.kind, self.mode, &self.flags)
    }

    /// The call that makes it.
    pub(crate) fn request(&self) -> CreateVolumeRequest {
        CreateVolumeRequest {
            name: self.name.clone(),
            capacity_range: Some(range(self.size, self.limit)),
            volume_capabilities: vec![self.capability()],
            parameters: self.parameters.clone(),
            volume_content_source: self
                .source
                .clone()
                .map(|it| VolumeContentSource { r#type: Some(it) }),
            ..Default::default()
        }
    }
}

/// A way of using a volume.
pub(crate) fn capability(kind: &str, mode: Mode, flags: &[String]) -> VolumeCapability {
    let access = match kind {
        "block" => AccessType::Block(BlockVolume {}),
        fs_type => AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            mount_flags: flags.to_vec(),
            ..Default::default()
        }),
    };
    VolumeCapability {
        access_type: Some(access),
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

/// At least `required`, at most `limit` bytes; 0 is no wish.
pub(crate) fn range(required: u64, limit: u64) -> CapacityRange {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap();
    CapacityRange { required_bytes: signed(required), limit_bytes: signed(limit) }
}
