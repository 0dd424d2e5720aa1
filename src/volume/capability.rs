//! How a volume is used: as which kind of thing, by whom at once (CSI spec, `VolumeCapability`).

use std::{fmt, str::FromStr};

use super::Error;
use crate::fs::{BadKind, FsKind, MountOptions};

/// One way of using a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// As what.
    pub access: Access,
    /// By how many at once.
    pub mode: Mode,
}

/// As what a volume is staged and published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As a raw block device.
    Block,
    /// As a mounted file system.
    Mount {
        /// Of this kind; `None` means the one it was made for.
        kind: Option<FsKind>,
        /// With these options.
        options: MountOptions,
    },
}

/// By how many at once. The volume is on one node, so more nodes are never possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `SINGLE_NODE_WRITER`: pods of one node; the older word, counted as many writers.
    SingleNode,
    /// `SINGLE_NODE_READER_ONLY`: pods of one node, reading.
    ReadOnly,
    /// `SINGLE_NODE_SINGLE_WRITER`: one pod (`AccessOncePod`).
    OneWriter,
    /// `SINGLE_NODE_MULTI_WRITER`: pods of one node.
    ManyWriters,
}

/// What a volume is made for; fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Raw block.
    Block,
    /// A file system.
    Filesystem(FsKind),
}

/// As tags and flags say it: `block`, or the file system.
impl FromStr for Purpose {
    type Err = BadPurpose;

    fn from_str(text: &str) -> Result<Self, BadPurpose> {
        match text {
            "block" => Ok(Self::Block),
            _ => text.parse().map(Self::Filesystem).map_err(|BadKind(text)| BadPurpose(text)),
        }
    }
}

/// Why a text is no purpose of a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing that a volume is for: use block, ext4, xfs or btrfs")]
pub struct BadPurpose(pub String);

impl Purpose {
    /// As tags and flags say it.
    pub fn word(self) -> &'static str {
        self.filesystem().map_or("block", FsKind::name)
    }

    /// What a volume is for that all of `capabilities` shall be possible with.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is none or they contradict each other.
    pub fn of(capabilities: &[Capability], class: Option<FsKind>) -> Result<Self, Error> {
        let mut purposes = capabilities.iter().map(|it| it.purpose(class));
        let first = purposes.next().ok_or_else(|| Error::missing("volume_capabilities"))??;
        for other in purposes {
            let other = other?;
            if other != first {
                return Err(Error::invalid(
                    "volume_capabilities",
                    format!("{first} and {other}"),
                    "one volume is either raw block or one kind of file system",
                ));
            }
        }
        Ok(first)
    }

    /// The file system, if it has one.
    pub fn filesystem(self) -> Option<FsKind> {
        match self {
            Self::Block => None,
            Self::Filesystem(kind) => Some(kind),
        }
    }
}

impl Capability {
    /// What a volume is for that this capability asks for; `class` is the StorageClass' word.
    fn purpose(&self, class: Option<FsKind>) -> Result<Purpose, Error> {
        let Access::Mount { kind, .. } = &self.access else { return Ok(Purpose::Block) };
        match (kind, class) {
            (Some(kind), Some(class)) if *kind != class => Err(Error::invalid(
                "volume_capability.mount.fs_type",
                kind.name(),
                format!("the class says {class}"),
            )),
            (kind, class) => Ok(Purpose::Filesystem(kind.or(class).unwrap_or(FsKind::Ext4))),
        }
    }

    /// Whether a volume made for `purpose` can be used so; the reason if not.
    pub fn suits(&self, purpose: Purpose) -> Result<(), String> {
        match (&self.access, purpose) {
            (Access::Block, Purpose::Block)
            | (Access::Mount { kind: None, .. }, Purpose::Filesystem(_)) => Ok(()),
            (Access::Mount { kind: Some(kind), .. }, Purpose::Filesystem(has)) if *kind == has => {
                Ok(())
            }
            (Access::Block, Purpose::Filesystem(_)) => {
                Err(format!("the volume was made for {purpose}, not for raw block"))
            }
            (Access::Mount { .. }, _) => {
                Err(format!("the volume was made for {purpose}, not for the file system asked for"))
            }
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("raw block"),
            Self::Filesystem(kind) => write!(f, "{kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: Option<FsKind>) -> Capability {
        let access = Access::Mount { kind, options: MountOptions::default() };
        Capability { access, mode: Mode::ManyWriters }
    }

    fn block() -> Capability {
        Capability { access: Access::Block, mode: Mode::OneWriter }
    }

    #[test]
    fn the_class_fills_in_what_the_capability_leaves_open() {
        let of = |class| Purpose::of(&[mount(None)], class).unwrap();
        assert_eq!(of(Some(FsKind::Xfs)), Purpose::Filesystem(FsKind::Xfs));
        assert_eq!(of(None), Purpose::Filesystem(FsKind::Ext4));
        assert_eq!(Purpose::of(&[block()], Some(FsKind::Xfs)).unwrap(), Purpose::Block);
    }

    #[test]
    fn contradictions_are_refused() {
        for wish in [&[][..], &[block(), mount(None)], &[mount(Some(FsKind::Xfs)), mount(None)]] {
            assert!(matches!(Purpose::of(wish, None), Err(Error::Invalid { .. })), "{wish:?}");
        }
        assert!(Purpose::of(&[mount(Some(FsKind::Xfs))], Some(FsKind::Btrfs)).is_err());
    }

    #[test]
    fn what_suits_what() {
        let xfs = Purpose::Filesystem(FsKind::Xfs);
        assert!(mount(None).suits(xfs).is_ok() && mount(Some(FsKind::Xfs)).suits(xfs).is_ok());
        assert!(block().suits(Purpose::Block).is_ok());
        assert!(block().suits(xfs).is_err() && mount(None).suits(Purpose::Block).is_err());
        assert!(mount(Some(FsKind::Ext4)).suits(xfs).is_err());
    }
}
