//! A pool in the machine's memory.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{fs::HugePages, units::Bytes, volume::AfterRestart};

/// A pool in the machine's memory: each volume is a tmpfs of its own, whose contents are gone after a restart of
/// the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemorySpec {
    /// How large all volumes together may be: bytes such as `4Gi`, or a share of the machine's memory such as `25%`.
    pub size: MemorySize,
    /// What becomes of a volume whose contents are gone when its StorageClass does not say.
    #[serde(default)]
    pub after_restart: AfterRestart,
    /// For how much of its size a volume may have one file or directory: at least 4Ki. Each takes about 1Ki of
    /// memory that is not counted.
    #[serde(default = "per_inode")]
    pub bytes_per_inode: Bytes,
    /// The permissions of each volume's root directory, in octal, such as `0770`.
    #[serde(default = "open_to_all")]
    pub mode: RootMode,
    /// When files have huge pages. A kernel without such does not serve the pool.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Whether what volumes hold may be swapped out. `false` needs Linux 6.4; an older one does not serve the pool.
    #[serde(default = "yes")]
    pub swap: bool,
}

/// The permissions of a directory (chmod(2)), written as three or four octal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootMode(pub u32);

/// How large all volumes in memory together may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySize {
    /// So many bytes.
    Bytes(Bytes),
    /// So many hundredths of the machine's memory.
    Percent(u64),
}

/// The least that is worth a pool.
const LEAST: Bytes = Bytes::mib(1);
/// The most of the machine's memory: programs need some, too.
const MOST_PERCENT: u64 = 90;

pub(super) fn per_inode() -> Bytes {
    Bytes(16 << 10)
}

/// The same as of an emptyDir.
fn open_to_all() -> RootMode {
    RootMode(0o777)
}

fn yes() -> bool {
    true
}

impl MemorySpec {
    /// Everything that is wrong with it, as in [`super::PoolSpec::mistakes`].
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        match self.size {
            MemorySize::Bytes(size) if size < LEAST => {
                found.push(("memory.size", format!("{size} is less than {LEAST}")));
            }
            MemorySize::Percent(percent) if !(1..=MOST_PERCENT).contains(&percent) => {
                let why = format!("{percent}% is not in 1% to {MOST_PERCENT}%");
                found.push(("memory.size", why));
            }
            MemorySize::Bytes(_) | MemorySize::Percent(_) => (),
        }
        if self.bytes_per_inode < Bytes(4 << 10) {
            let why = format!("{} is less than 4Ki", self.bytes_per_inode);
            found.push(("memory.bytesPerInode", why));
        }
        found
    }
}

impl MemorySize {
    /// In bytes, on a machine with so much memory.
    pub fn of(self, memory: Bytes) -> Bytes {
        match self {
            Self::Bytes(size) => size,
            Self::Percent(percent) => memory.percent(percent),
        }
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let said = match text.strip_suffix('%') {
            Some(number) => number.parse().ok().map(Self::Percent),
            None => text.parse().ok().map(Self::Bytes),
        };
        said.ok_or_else(|| {
            format!("`{text}` is neither a size such as 4Gi nor a share such as 25%")
        })
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(size) => size.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for RootMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let mode = u32::from_str_radix(text, 8).ok();
        let mode = mode.filter(|_| is_octal && (3..=4).contains(&text.len()));
        mode.map(Self).ok_or_else(|| format!("`{text}` is not a mode of octal digits such as 0770"))
    }
}

impl fmt::Display for RootMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for RootMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RootMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for RootMode {
    fn schema_name() -> Cow<'static, str> {
        "RootMode".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-7]{3,4}$" })
    }
}

impl JsonSchema for MemorySize {
    fn schema_name() -> Cow<'static, str> {
        "MemorySize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(%|[KMGTPE]i?|[kmgtpe])?$" })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("4Gi", Bytes::gib(4))]
    #[case("25%", Bytes::gib(2))]
    fn what_is_written_is_read(#[case] text: &str, #[case] size: Bytes) {
        let read: MemorySize = text.parse().unwrap();
        assert_eq!((read.to_string().as_str(), read.of(Bytes::gib(8))), (text, size));
    }

    #[rstest]
    fn other_words_are_refused(#[values("", "%", "a quarter", "-1%", "25 %", "1.5%")] text: &str) {
        let said = text.parse::<MemorySize>().unwrap_err();
        assert!(said.starts_with(&format!("`{text}` is neither")), "{said}");
    }

    #[rstest]
    #[case("0777", 0o777, "0777")]
    #[case("770", 0o770, "0770")]
    #[case("1777", 0o1777, "1777")]
    fn modes(#[case] text: &str, #[case] mode: u32, #[case] said: &str) {
        let read: RootMode = text.parse().unwrap();
        assert_eq!((read, read.to_string().as_str()), (RootMode(mode), said));
    }

    #[rstest]
    fn other_modes_are_refused(
        #[values("", "77", "0o777", "+777", "0778", "01777", "rwx")] text: &str,
    ) {
        let said = text.parse::<RootMode>().unwrap_err();
        assert!(said.contains("is not a mode"), "{said}");
    }

    #[test]
    fn what_is_not_said() {
        let spec: MemorySpec = serde_json::from_str(r#"{"size": "1Gi"}"#).unwrap();
        let MemorySpec { mode, huge_pages, swap, after_restart, .. } = spec;
        let fields = (mode, huge_pages, swap, after_restart);
        assert_eq!(fields, (RootMode(0o777), HugePages::Never, true, AfterRestart::Fail));
    }

    #[rstest]
    #[case::too_little(r#"{"size": "1Ki"}"#, "memory.size")]
    #[case::nothing(r#"{"size": "0%"}"#, "memory.size")]
    #[case::too_much(r#"{"size": "91%"}"#, "memory.size")]
    #[case::inodes(r#"{"size": "1Gi", "bytesPerInode": "1Ki"}"#, "memory.bytesPerInode")]
    fn mistakes(#[case] spec: &str, #[case] field: &str) {
        let spec: MemorySpec = serde_json::from_str(spec).unwrap();
        let found: Vec<_> = spec.mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, [field]);
    }
}
