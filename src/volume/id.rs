//! Who a volume is. A volume's id is made from its name, so that a repeated call finds its own work.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// How many characters of base32 follow the prefix: 130 bits of SHA-256.
const LENGTH: usize = 26;

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// The id that belongs to a name.
            pub fn of(name: &VolumeName) -> Self {
                Self(format!("{}{}", $prefix, digest(name.as_str())))
            }

            /// The text: also the name of its logical volume.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The part after the prefix, the same for everything made from one name.
            pub fn stem(&self) -> &str {
                self.0.strip_prefix($prefix).unwrap_or_default()
            }
        }

        /// `None` is a text that is no id of Tarn's, so nothing can exist under it.
        impl FromStr for $type {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let stem = text.strip_prefix($prefix).ok_or(NotAnId)?;
                let alphabet = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
                let good = stem.len() == LENGTH && stem.bytes().all(alphabet);
                if good { Ok(Self(text.to_owned())) } else { Err(NotAnId) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// The identity of a volume: `v-` and 26 characters, also its logical volume's name.
    VolumeId,
    "v-"
);
id!(
    /// The identity of a snapshot: `s-` and 26 characters, also its logical volume's name.
    SnapshotId,
    "s-"
);

/// A text that Tarn never gave to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of Tarn's")]
pub struct NotAnId;

/// The same short name for the same text, in lower case: 130 bits of its SHA-256 in base32.
pub(crate) fn digest(of: &str) -> String {
    let mut text = BASE32_NOPAD.encode(&Sha256::digest(of));
    text.truncate(LENGTH);
    text.make_ascii_lowercase();
    text
}

/// A name that a caller gave: 1 to 128 bytes of any Unicode (CSI spec, "Size Limits").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VolumeName(String);

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 128 bytes long, this one {0}")]
pub struct BadVolumeName(pub usize);

impl VolumeName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = BadVolumeName;

    fn from_str(text: &str) -> Result<Self, BadVolumeName> {
        let good = (1..=128).contains(&text.len());
        if good { Ok(Self(text.to_owned())) } else { Err(BadVolumeName(text.len())) }
    }
}

/// The value of the topology segment of one node: its name, or a digest of a name longer than the
/// 63 characters of a Kubernetes label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(String);

/// Why a text is not the name of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a node's name: 1 to 253 of a-z A-Z 0-9 - _ . beginning and ending with a letter or digit"
)]
pub struct BadNodeId(pub String);

impl NodeId {
    /// The text, valid as a label's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = BadNodeId;

    fn from_str(text: &str) -> Result<Self, BadNodeId> {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let good = text.len() <= 253
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.bytes().all(inner);
        if !good {
            return Err(BadNodeId(text.to_owned()));
        }
        let short = text.len() <= 63;
        Ok(Self(if short { text.to_owned() } else { digest(text) }))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a pool, as a StorageClass gives it: a DNS label (RFC 1123).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolName(String);

/// Why a text is not the name of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a pool's name: 1 to 63 of a-z 0-9 and -, beginning and ending with a letter or digit"
)]
pub struct BadPoolName(pub String);

impl PoolName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolName {
    type Err = BadPoolName;

    fn from_str(text: &str) -> Result<Self, BadPoolName> {
        let good = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(BadPoolName(text.to_owned())) }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_id_never_changes() {
        let id = VolumeId::of(&"pvc-1".parse().unwrap());
        assert_eq!(id.as_str(), "v-6kdi4gvhzk3gsul43h22wg3zk7");
        assert_eq!(SnapshotId::of(&"pvc-1".parse().unwrap()).stem(), id.stem());
    }

    #[rstest]
    #[case::empty("")]
    #[case::path("../../etc/passwd")]
    #[case::option("-rf")]
    #[case::upper("v-AAAAAAAAAAAAAAAAAAAAAAAAAA")]
    #[case::short("v-aaaa")]
    #[case::snapshot("s-aaaaaaaaaaaaaaaaaaaaaaaaaa")]
    fn what_is_no_id_of_a_volume(#[case] text: &str) {
        assert_eq!(text.parse::<VolumeId>(), Err(NotAnId));
    }

    #[rstest]
    #[case::label("node-1.example", true)]
    #[case::empty("", false)]
    #[case::edge("-node", false)]
    #[case::unicode("nöde", false)]
    fn names_of_nodes(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<NodeId>().is_ok(), good);
    }

    #[test]
    fn a_long_node_name_still_fits_a_label() {
        assert_eq!("n".repeat(200).parse::<NodeId>().unwrap().as_str().len(), LENGTH);
    }

    proptest! {
        #[test]
        fn any_name_gives_an_id_that_parses(name in "\\PC{1,32}") {
            let id = VolumeId::of(&name.parse().unwrap());
            prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
        }

        #[test]
        fn no_text_makes_parsing_panic(text: String) {
            drop(text.parse::<VolumeId>());
            drop(text.parse::<NodeId>());
            drop(text.parse::<PoolName>());
        }
    }
}
