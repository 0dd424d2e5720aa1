//! What a StorageClass may say about its volumes: every key, what it means, what it may hold.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Error, PoolName, Purpose};
use crate::{
    device::Wipe,
    fs::{FsKind, MkfsOptions},
    lvm::RaidLevel,
    units::Bytes,
};

/// The prefix of keys that sidecars add; those that Tarn does not know are passed over.
const SIDECARS: &str = "csi.storage.k8s.io/";
/// The file system; external-provisioner strips it from CreateVolume but not from GetCapacity.
const FSTYPE: &str = "csi.storage.k8s.io/fstype";
/// All keys of ours, for the message that refuses another.
const KEYS: &str = "pool, layout, mirrors, stripes, stripeSize, provisioning, mkfsOptions, wipe, \
                    afterRestart, mode, volumeMode, csi.storage.k8s.io/fstype";
/// Whether the volumes of a class are made for its claims, or are there before them.
const MODE: &str = "mode";
/// What the volumes are used as, of a class whose volumes are there before its claims.
const VOLUME_MODE: &str = "volumeMode";

/// What a StorageClass says. What it leaves open, the pool decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `pool`: from which pool. Needed where there is more than one.
    pub pool: Option<PoolName>,
    /// `provisioning`: `Thick` or `Thin`.
    pub provisioning: Option<Provisioning>,
    /// `layout`: one of [`LayoutWish`].
    pub layout: Option<LayoutWish>,
    /// `mirrors`: how many copies of the data beside the first, 1 to 9.
    pub mirrors: Option<u32>,
    /// `stripes`: over how many disks, 2 to 128.
    pub stripes: Option<u32>,
    /// `stripeSize`: bytes on one disk before the next, a power of two from 4Ki to 4Mi.
    pub stripe_size: Option<Bytes>,
    /// `csi.storage.k8s.io/fstype`: `ext4`, `xfs` or `btrfs`.
    pub filesystem: Option<FsKind>,
    /// `mkfsOptions`: options for mkfs, from the list in `docs/parameters.md`.
    pub mkfs: Option<String>,
    /// `wipe`: what is done to a deleted volume's bytes: one of [`Wipe`].
    pub wipe: Option<Wipe>,
    /// `afterRestart`: what becomes of a volume in memory whose contents are gone: `Fail` or `Empty`.
    pub after_restart: Option<AfterRestart>,
    /// Not a key: the entry of a pool of whole devices whose device it is to be. Set for the volumes of a class that are
    /// there before its claims.
    pub device: Option<PathBuf>,
    /// Not a key: paths that others have. Of a pool of whole devices it is to be none to which one of them leads.
    pub except: Vec<PathBuf>,
}

/// A class whose volumes are there before its claims (`mode: Static`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticParameters {
    /// What is said of them as of any others.
    pub parameters: Parameters,
    /// `volumeMode`: what they are used as, a file system where nothing is said.
    pub purpose: Purpose,
}

impl StaticParameters {
    /// Reads a StorageClass' parameters; `None` where its volumes are made for its claims.
    ///
    /// # Errors
    /// As [`Parameters::parse`].
    pub fn parse(map: &BTreeMap<String, String>) -> Option<Result<Self, Error>> {
        map.get(MODE).filter(|it| is_static(it))?;
        let mut others = map.clone();
        others.remove(MODE);
        let mode = others.remove(VOLUME_MODE);
        Some(Parameters::parse(&others).and_then(|it| Self::of(it, mode.as_deref())))
    }

    fn of(parameters: Parameters, mode: Option<&str>) -> Result<Self, Error> {
        let words = [("filesystem", false), ("block", true)];
        let is_block = mode.map(|it| one_of(VOLUME_MODE, it, "Filesystem or Block", &words));
        let purpose = match (is_block.transpose()?, parameters.filesystem) {
            (Some(true), None) => Purpose::Block,
            (Some(true), Some(kind)) => {
                return Err(bad(FSTYPE, kind.name(), "a raw block volume has no file system"));
            }
            _ => parameters.purpose(),
        };
        parameters.mkfs_options(purpose)?;
        Ok(Self { parameters, purpose })
    }
}

fn is_static(mode: &str) -> bool {
    mode.eq_ignore_ascii_case("Static")
}

/// What becomes of a volume whose contents are gone after a restart of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AfterRestart {
    /// No pod gets it any more, so that none takes it for one that was never written to.
    #[default]
    Fail,
    /// The next pod gets it empty.
    Empty,
}

impl AfterRestart {
    /// What a class says of it, for messages.
    pub fn said(word: Option<Self>) -> String {
        word.map_or("what its pool says".to_owned(), |word| format!("{word:?}"))
    }
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
    /// The same on several disks.
    Raid1,
    /// Round-robin over several disks, and parity: any one may be lost.
    Raid5,
    /// Round-robin over several disks, and parity twice: any two may be lost.
    Raid6,
    /// Round-robin over several disks, each of them mirrored.
    Raid10,
}

impl LayoutWish {
    /// All there are, the weakest first.
    pub const ALL: [Self; 6] =
        [Self::Linear, Self::Striped, Self::Raid1, Self::Raid5, Self::Raid6, Self::Raid10];

    /// The wish for this RAID.
    pub fn of_raid(level: RaidLevel) -> Self {
        match level {
            RaidLevel::Raid1 => Self::Raid1,
            RaidLevel::Raid5 => Self::Raid5,
            RaidLevel::Raid6 => Self::Raid6,
            RaidLevel::Raid10 => Self::Raid10,
        }
    }

    /// The RAID that it is.
    pub fn raid(self) -> Option<RaidLevel> {
        match self {
            Self::Linear | Self::Striped => None,
            Self::Raid1 => Some(RaidLevel::Raid1),
            Self::Raid5 => Some(RaidLevel::Raid5),
            Self::Raid6 => Some(RaidLevel::Raid6),
            Self::Raid10 => Some(RaidLevel::Raid10),
        }
    }

    /// How many stripes such a volume may have; `None` where there are none.
    pub fn stripes(self) -> Option<RangeInclusive<u32>> {
        match self.raid() {
            Some(level) => level.stripes(),
            None => (self == Self::Striped).then_some(2..=128),
        }
    }

    /// How many copies of the data such a volume may have beside the first; `None` where there are
    /// none.
    pub fn mirrors(self) -> Option<RangeInclusive<u32>> {
        self.raid()?.mirrors()
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.to_string().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for LayoutWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
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
        if let Some(layout) = read.layout {
            read.ensure_fits(layout)?;
        }
        Ok(read)
    }

    /// That what it says of stripes and mirrors can be with this layout, its own or its pool's.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the key, its value and what is allowed.
    pub fn ensure_fits(&self, layout: LayoutWish) -> Result<(), Error> {
        let numbers = [
            ("mirrors", self.mirrors, layout.mirrors()),
            ("stripes", self.stripes, layout.stripes()),
        ];
        for (key, value, allowed) in numbers {
            let Some(value) = value.filter(|it| allowed.as_ref().is_none_or(|a| !a.contains(it)))
            else {
                continue;
            };
            return Err(bad(key, &value.to_string(), allowed_for(layout, key, allowed.as_ref())));
        }
        match self.stripe_size {
            Some(size) if layout.stripes().is_none() => {
                Err(bad("stripeSize", &size.to_string(), allowed_for(layout, "stripeSize", None)))
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "pool" => self.pool = Some(parsed(key, value)?),
            "provisioning" => {
                let words = [("thick", Provisioning::Thick), ("thin", Provisioning::Thin)];
                self.provisioning = Some(one_of(key, value, "Thick or Thin", &words)?);
            }
            "layout" => {
                let layout = LayoutWish::parse(value);
                let all = LayoutWish::ALL.map(|it| it.to_string()).join(", ");
                self.layout =
                    Some(layout.ok_or_else(|| bad(key, value, format!("use one of {all}")))?);
            }
            "mirrors" => self.mirrors = Some(counted(key, value, 1..=9)?),
            "stripes" => self.stripes = Some(counted(key, value, 2..=128)?),
            "stripeSize" => self.stripe_size = Some(stripe_size(key, value)?),
            FSTYPE => self.filesystem = Some(parsed(key, value)?),
            "mkfsOptions" => self.mkfs = Some(value.to_owned()),
            "wipe" => self.wipe = Some(parsed(key, value)?),
            "afterRestart" => {
                let words = [("fail", AfterRestart::Fail), ("empty", AfterRestart::Empty)];
                self.after_restart = Some(one_of(key, value, "Fail or Empty", &words)?);
            }
            MODE if is_static(value) => {
                let why = "nothing is made for a claim of this class: it is bound to a PersistentVolume that is \
                           there, once a device is free";
                return Err(bad(key, value, why));
            }
            MODE => return Err(bad(key, value, "use Static, or leave it out")),
            VOLUME_MODE => {
                return Err(bad(
                    key,
                    value,
                    "only a class with `mode: Static` says it; a claim says it otherwise",
                ));
            }
            _ if key.starts_with(SIDECARS) => (),
            _ => {
                let allowed = format!("it is not a key of Tarn's, which are {KEYS}");
                return Err(Error::invalid("parameters", key, allowed));
            }
        }
        Ok(())
    }

    /// What a volume is used as of which nothing else is known: a claim may still ask for raw block.
    pub fn purpose(&self) -> Purpose {
        Purpose::Filesystem(self.filesystem.unwrap_or(FsKind::Ext4))
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

/// What may be said with `key` of volumes that lie so.
fn allowed_for(layout: LayoutWish, key: &str, allowed: Option<&RangeInclusive<u32>>) -> String {
    match allowed {
        Some(range) if range.start() == range.end() => format!("{layout} has {}", range.start()),
        Some(range) => format!("{layout} has {} to {}", range.start(), range.end()),
        None => format!("{layout} has no {key}; leave it out or say another layout"),
    }
}

fn counted(key: &str, value: &str, allowed: RangeInclusive<u32>) -> Result<u32, Error> {
    let number = value.parse().ok().filter(|count| allowed.contains(count));
    let (least, most) = (allowed.start(), allowed.end());
    number.ok_or_else(|| bad(key, value, format!("a whole number from {least} to {most}")))
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
            ("afterRestart", "empty"),
            ("csi.storage.k8s.io/pvc/name", "data-0"),
        ])
        .unwrap();
        let want = Parameters {
            pool: Some("fast".parse().unwrap()),
            provisioning: Some(Provisioning::Thick),
            layout: Some(LayoutWish::Striped),
            mirrors: None,
            stripes: Some(3),
            stripe_size: Some(Bytes(64 << 10)),
            filesystem: Some(FsKind::Xfs),
            mkfs: None,
            wipe: Some(Wipe::Discard),
            after_restart: Some(AfterRestart::Empty),
            device: None,
            except: Vec::new(),
        };
        assert_eq!(read, want);
    }

    #[rstest]
    #[case::typo("Pool", "fast")]
    #[case::pool("pool", "-rf")]
    #[case::provisioning("provisioning", "thinnish")]
    #[case::one_stripe("stripes", "1")]
    #[case::odd_stripe("stripeSize", "100Ki")]
    #[case::wipe("wipe", "burn")]
    #[case::after_restart("afterRestart", "Gone")]
    #[case::filesystem("csi.storage.k8s.io/fstype", "ntfs")]
    #[case::no_mirror("mirrors", "0")]
    #[case::layout("layout", "Raid0")]
    #[case::nothing_is_made("mode", "static")]
    #[case::mode("mode", "Dynamic")]
    #[case::volume_mode("volumeMode", "Block")]
    fn a_mistake_is_named(#[case] key: &str, #[case] value: &str) {
        let said = parse(&[(key, value)]).unwrap_err().to_string();
        assert!(said.contains(key), "{said}");
    }

    #[rstest]
    #[case::linear(&[("layout", "Linear"), ("stripes", "2")], "stripes")]
    #[case::linear_mirror(&[("layout", "Linear"), ("mirrors", "1")], "mirrors")]
    #[case::striped_mirror(&[("layout", "Striped"), ("mirrors", "1")], "mirrors")]
    #[case::mirror(&[("layout", "Raid1"), ("stripes", "2")], "stripes")]
    #[case::mirror_stripe(&[("layout", "Raid1"), ("stripeSize", "64Ki")], "stripeSize")]
    #[case::parity(&[("layout", "raid5"), ("mirrors", "1")], "mirrors")]
    #[case::two_parities(&[("layout", "raid6"), ("stripes", "2")], "3 to 62")]
    #[case::wide(&[("layout", "raid10"), ("stripes", "33")], "2 to 32")]
    #[case::twice_mirrored(&[("layout", "raid10"), ("mirrors", "2")], "Raid10 has 1")]
    fn what_a_layout_does_not_have_is_refused(#[case] pairs: &[(&str, &str)], #[case] says: &str) {
        let said = parse(pairs).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }

    #[rstest]
    #[case(&[("layout", "Raid1"), ("mirrors", "9")])]
    #[case(&[("layout", "RAID5"), ("stripes", "63"), ("stripeSize", "4Ki")])]
    #[case(&[("layout", "raid10"), ("mirrors", "1"), ("stripes", "2")])]
    fn what_it_has_is_allowed(#[case] pairs: &[(&str, &str)]) {
        parse(pairs).unwrap();
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(map: BTreeMap<String, String>) {
            drop(Parameters::parse(&map));
        }
    }
}
