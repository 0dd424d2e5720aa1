//! What the driver is called, and the label that its nodes carry.

use std::{fmt, str::FromStr};

/// What the driver is called where nobody says otherwise.
pub const DEFAULT_NAME: &str = "local.tarn.dev";

/// The driver's name (CSI spec, `GetPluginInfo`) and the key of its one topology segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    name: String,
    topology_key: String,
}

/// Why a text is not a driver's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a driver's name: 2 to 63 of a-z A-Z 0-9 - . and _, beginning and ending with a letter, such as {DEFAULT_NAME}"
)]
pub struct BadDriverName(pub String);

impl Driver {
    /// The name, as StorageClasses and PersistentVolumes give it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The label of nodes, such as `topology.tarn.dev/node`.
    pub fn topology_key(&self) -> &str {
        &self.topology_key
    }
}

impl FromStr for Driver {
    type Err = BadDriverName;

    fn from_str(name: &str) -> Result<Self, BadDriverName> {
        let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let good = (2..=63).contains(&name.len())
            && letter(name.chars().next())
            && letter(name.chars().next_back())
            && name.bytes().all(inner);
        if !good {
            return Err(BadDriverName(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), topology_key: topology_key(name) })
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The key that belongs to a name. `local.tarn.dev` is one driver of the group `tarn.dev`; a name of
/// one or two labels is its own group. A label's key begins with a domain name in small letters
/// (Kubernetes, "Labels and Selectors").
fn topology_key(name: &str) -> String {
    let group = match name.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => name,
    };
    format!("topology.{}/node", group.to_ascii_lowercase().replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::ours(DEFAULT_NAME, "topology.tarn.dev/node")]
    #[case::four_labels("a.b.example.org", "topology.b.example.org/node")]
    #[case::two_labels("example.org", "topology.example.org/node")]
    #[case::one_label("tarn", "topology.tarn/node")]
    #[case::large_letters("Disk.Tarn_X.Dev", "topology.tarn-x.dev/node")]
    fn the_key_follows_from_the_name(#[case] name: &str, #[case] key: &str) {
        let driver: Driver = name.parse().unwrap();
        assert_eq!((driver.name(), driver.topology_key()), (name, key));
    }

    #[rstest]
    #[case::empty("")]
    #[case::one_letter("a")]
    #[case::digit_first("1.tarn.dev")]
    #[case::digit_last("tarn.dev1")]
    #[case::dot_last("tarn.dev.")]
    #[case::slash("tarn/dev")]
    #[case::too_long(&"x".repeat(64))]
    #[case::not_ascii("tärn.dev")]
    fn nonsense_is_refused(#[case] name: &str) {
        assert!(name.parse::<Driver>().is_err());
    }
}
