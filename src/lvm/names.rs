//! Names and tags that LVM accepts (lvm(8), VALID NAMES). Parsed once, valid ever after.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a volume group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VgName(String);

/// The name of a logical volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LvName(String);

/// A tag of a volume group or logical volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// Why a text is not a name for LVM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name that LVM accepts: up to 127 of a-z A-Z 0-9 + _ . -, not beginning with -, not `.` or `..`"
)]
pub struct BadName(pub String);

/// Why a text is not a tag for LVM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tag that LVM accepts")]
pub struct BadTag(pub String);

fn checked_name(text: &str) -> Result<String, BadName> {
    let ok = (1..=127).contains(&text.len())
        && !text.starts_with('-')
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+_.-".contains(&b));
    if ok { Ok(text.to_owned()) } else { Err(BadName(text.to_owned())) }
}

fn checked_tag(text: &str) -> Result<String, BadTag> {
    let ok = (1..=1024).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+_.-/=!:&#".contains(&b));
    if ok { Ok(text.to_owned()) } else { Err(BadTag(text.to_owned())) }
}

macro_rules! checked_text {
    ($type:ident, $error:ident, $check:ident) => {
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                $check(text).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// What the device mapper calls a volume of a group: hyphens within a name are doubled (lvm(8), `dm_build_dm_name`).
pub(super) fn mapped(vg: &VgName, lv: &LvName) -> String {
    format!("{}{}", mapped_prefix(vg), lv.0.replace('-', "--"))
}

/// What the names of a group's devices begin with.
pub(super) fn mapped_prefix(vg: &VgName) -> String {
    format!("{}-", vg.0.replace('-', "--"))
}

impl LvName {
    /// What LVM calls the volume that has the data of this thin pool.
    #[must_use]
    pub fn thin_data(&self) -> Self {
        Self(format!("{self}_tdata"))
    }

    /// What LVM calls the volume that has the metadata of this thin pool.
    #[must_use]
    pub fn thin_metadata(&self) -> Self {
        Self(format!("{self}_tmeta"))
    }
}

checked_text!(VgName, BadName, checked_name);
checked_text!(LvName, BadName, checked_name);
checked_text!(Tag, BadTag, checked_tag);

impl Serialize for VgName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for VgName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for VgName {
    fn schema_name() -> Cow<'static, str> {
        "VgName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}$",
            "description": "The name of an LVM volume group.",
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("vg0", true)]
    #[case::everything("a+b_c.d-e", true)]
    #[case::longest(&"x".repeat(127), true)]
    #[case::too_long(&"x".repeat(128), false)]
    #[case::empty("", false)]
    #[case::like_an_option("-rf", false)]
    #[case::dot(".", false)]
    #[case::up("..", false)]
    #[case::path("a/b", false)]
    #[case::space("a b", false)]
    #[case::unicode("ä", false)]
    fn names(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<LvName>().is_ok(), good);
    }

    #[rstest]
    #[case::key_and_value("tarn.name=pvc-1", true)]
    #[case::quote("it's", false)]
    #[case::at("@host", false)]
    #[case::empty("", false)]
    #[case::longest(&"x".repeat(1024), true)]
    #[case::too_long(&"x".repeat(1025), false)]
    fn tags(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Tag>().is_ok(), good);
    }
}
