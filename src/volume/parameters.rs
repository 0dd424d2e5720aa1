//! What a StorageClass may say about its volumes: every key, what it means, what it may hold.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, PoolName, Purpose};
use crate::{
    device::Wipe,
    fs::{FsKind, MkfsOptions},
    units::Bytes,
};

/// The prefix of keys that sidecars add; those that Tarn does not know are passed over.
const SIDECARS: &str = "csi.storage.k8s.io/";
/// The file system; external-provisioner strips it from CreateVolume but not from GetCapacity.
const FSTYPE: &str = "csi.storage.k8s.io/fstype";
/// All keys of ours, for the message that refuses another.
const KEYS: &str = "pool, layout, stripes, stripeSize, provisioning, mkfsOptions, wipe, \
                    csi.storage.k8s.io/fstype";

/// What a StorageClass says. What it leaves open, the pool decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `pool`: from which pool. Needed where there is more than one.
    pub pool: Option<PoolName>,
    /// `provisioning`: `Thick` or `Thin`.
    pub provisioning: Option<Provisioning>,
    /// `layout`: `Linear` or `Striped`.
    pub layout: Option<LayoutWish>,
    /// `stripes`: over how many disks, 2 to 128.
    pub stripes: Option<u32>,
    /// `stripeSize`: bytes on one disk before the next, a power of two from 4Ki to 4Mi.
    pub stripe_size: Option<Bytes>,
    /// `csi.storage.k8s.io/fstype`: `ext4`, `xfs` or `btrfs`.
    pub filesystem: Option<FsKind>,
    /// `mkfsOptions`: options for mkfs, from the list in `docs/parameters.md`.
    pub mkfs: Option<String>,
    /// `wipe`: what is done to a deleted volume's bytes: `Zero`, `Discard` or `None`.
    pub wipe: Option<Wipe>,
}

/// Where a volume's blocks come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Provisioning {
    /// All of them are taken when the volume is made.
    Thick,
    /// They are taken from a thin pool when first written.
    Thin,
}

/// How a thick volume lies on the disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LayoutWish {
    /// Wherever there is room.
    #[default]
    Linear,
    /// Round-robin over several disks.
    Striped,
}

impl Parameters {
    /// Reads a StorageClass' parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the key, its value and what is allowed; an unknown key is refused,
    /// so that a typing mistake is not a silent default.
    pub fn parse(map: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut read = Self::default();
        for (key, value) in map {
            read.set(key, value)?;
        }
        let only_striped = read.stripes.is_some() || read.stripe_size.is_some();
        if only_striped && read.layout == Some(LayoutWish::Linear) {
            return Err(bad("layout", "Linear", "`stripes` and `stripeSize` need `Striped`"));
        }
        Ok(read)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "pool" => self.pool = Some(parsed(key, value)?),
            "provisioning" => {
                let words = [("thick", Provisioning::Thick), ("thin", Provisioning::Thin)];
                self.provisioning = Some(one_of(key, value, "Thick or Thin", &words)?);
            }
            "layout" => {
                let words = [("linear", LayoutWish::Linear), ("striped", LayoutWish::Striped)];
                self.layout = Some(one_of(key, value, "Linear or Striped", &words)?);
            }
            "stripes" => self.stripes = Some(stripes(key, value)?),
            "stripeSize" => self.stripe_size = Some(stripe_size(key, value)?),
            FSTYPE => self.filesystem = Some(parsed(key, value)?),
            "mkfsOptions" => self.mkfs = Some(value.to_owned()),
            "wipe" => {
                let words =
                    [("zero", Wipe::Zero), ("discard", Wipe::Discard), ("none", Wipe::None)];
                self.wipe = Some(one_of(key, value, "Zero, Discard or None", &words)?);
            }
            _ if key.starts_with(SIDECARS) => (),
            _ => {
                let allowed = format!("it is not a key of Tarn's, which are {KEYS}");
                return Err(Error::invalid("parameters", key, allowed));
            }
        }
        Ok(())
    }

    /// The options for mkfs of a volume for `purpose`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an option that is not on the list, or any for raw block.
    pub fn mkfs_options(&self, purpose: Purpose) -> Result<MkfsOptions, Error> {
        match (&self.mkfs, purpose) {
            (None, _) => Ok(MkfsOptions::default()),
            (Some(text), Purpose::Filesystem(kind)) => MkfsOptions::parse(kind, text)
                .map_err(|err| bad("mkfsOptions", text, err.to_string())),
            (Some(text), Purpose::Block) => {
                Err(bad("mkfsOptions", text, "a raw block volume has no file system"))
            }
        }
    }
}

fn bad(key: &str, value: &str, allowed: impl Into<String>) -> Error {
    Error::invalid(format!("parameters[{key}]"), value, allowed)
}

fn parsed<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|err: T::Err| bad(key, value, err.to_string()))
}

fn one_of<T: Copy>(key: &str, value: &str, say: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let found = words.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| bad(key, value, format!("use {say}")))
}

/// Over how many disks: LVM allows 2 to 128.
fn stripes(key: &str, value: &str) -> Result<u32, Error> {
    let number = value.parse().ok().filter(|count| (2..=128).contains(count));
    number.ok_or_else(|| bad(key, value, "a whole number from 2 to 128"))
}

/// A power of two that LVM accepts and that divides every usual extent.
fn stripe_size(key: &str, value: &str) -> Result<Bytes, Error> {
    let size: Bytes = parsed(key, value)?;
    let good = size.0.is_power_of_two() && (Bytes(4 << 10)..=Bytes::mib(4)).contains(&size);
    if good { Ok(size) } else { Err(bad(key, value, "a power of two from 4Ki to 4Mi")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Parameters, Error> {
        Parameters::parse(&pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn a_full_class() {
        let read = parse(&[
            ("pool", "fast"),
            ("provisioning", "Thick"),
            ("layout", "Striped"),
            ("stripes", "3"),
            ("stripeSize", "64Ki"),
            ("csi.storage.k8s.io/fstype", "xfs"),
            ("wipe", "discard"),
            ("csi.storage.k8s.io/pvc/name", "data-0"),
        ])
        .unwrap();
        let want = Parameters {
            pool: Some("fast".parse().unwrap()),
            provisioning: Some(Provisioning::Thick),
            layout: Some(LayoutWish::Striped),
            stripes: Some(3),
            stripe_size: Some(Bytes(64 << 10)),
            filesystem: Some(FsKind::Xfs),
            mkfs: None,
            wipe: Some(Wipe::Discard),
        };
        assert_eq!(read, want);
    }

    #[rstest]
    #[case::typo("Pool", "fast")]
    #[case::pool("pool", "-rf")]
    #[case::provisioning("provisioning", "thinnish")]
    #[case::one_stripe("stripes", "1")]
    #[case::odd_stripe("stripeSize", "100Ki")]
    #[case::wipe("wipe", "shred")]
    #[case::filesystem("csi.storage.k8s.io/fstype", "ntfs")]
    #[case::not_yet("mirrors", "1")]
    fn a_mistake_is_named(#[case] key: &str, #[case] value: &str) {
        let said = parse(&[(key, value)]).unwrap_err().to_string();
        assert!(said.contains(key), "{said}");
    }

    #[test]
    fn stripes_of_a_linear_volume_are_a_contradiction() {
        assert!(parse(&[("layout", "Linear"), ("stripes", "2")]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(map: BTreeMap<String, String>) {
            drop(Parameters::parse(&map));
        }
    }
}
