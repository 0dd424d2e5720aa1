//! What a node is asked to do with a volume, and says of one in use.

use std::path::PathBuf;

use super::{Capability, VolumeId};
use crate::{
    fs::{Access, Usage},
    units::Bytes,
};

/// What NodeStageVolume asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which volume.
    pub id: VolumeId,
    /// Where its file system is mounted; nothing is put there for raw block.
    pub at: PathBuf,
    /// How it will be used.
    pub capability: Capability,
}

/// What NodePublishVolume asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Which volume.
    pub id: VolumeId,
    /// Where it is staged.
    pub staged: PathBuf,
    /// Where it shall appear: a directory, or for raw block a file.
    pub at: PathBuf,
    /// How it will be used.
    pub capability: Capability,
    /// Whether it may be written to there.
    pub access: Access,
}

/// How full a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    /// A raw block volume: only its size is known.
    Block(Bytes),
    /// A file system.
    Filesystem(Usage),
}
