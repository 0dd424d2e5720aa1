//! Sizes with a unit: bytes, and how Kubernetes writes them.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A count of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes at all.
    pub const ZERO: Self = Self(0);
    /// 1024 bytes.
    pub const KIB: Self = Self(1 << 10);
    /// 1024² bytes.
    pub const MIB: Self = Self(1 << 20);
    /// 1024³ bytes.
    pub const GIB: Self = Self(1 << 30);

    /// So many mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many gibibytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// Rounds up to a whole number of `unit`s; `None` past `u64::MAX` bytes or for a unit of zero.
    pub fn round_up(self, unit: Self) -> Option<Self> {
        (unit.0 > 0).then(|| self.0.div_ceil(unit.0).checked_mul(unit.0).map(Self)).flatten()
    }

    /// How many whole `unit`s fit; zero for a unit of zero.
    pub fn whole(self, unit: Self) -> u64 {
        self.0.checked_div(unit.0).unwrap_or(0)
    }

    /// The sum, or `None` past `u64::MAX` bytes.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// What is left after taking `other` away; zero when that is more.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `percent` hundredths of this, rounded down.
    pub fn percent(self, percent: u64) -> Self {
        let product = u128::from(self.0) * u128::from(percent) / 100;
        Self(u64::try_from(product).unwrap_or(u64::MAX))
    }

    /// As CSI counts bytes: a signed integer that never wraps.
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// The scales of a Kubernetes quantity, largest first, binary before decimal.
const SCALES: &[(&str, u64)] = &[
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a size: write a whole number of bytes, with a suffix such as Mi, Gi, Ti, M, G or T"
)]
pub struct BadSize(pub String);

/// Parses a Kubernetes quantity such as `10Gi`, `1500M` or `4096`, in whole bytes
/// (apimachinery, `resource.Quantity`; fractions and exponents are not accepted).
impl FromStr for Bytes {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = text.strip_prefix(digits).ok_or_else(bad)?;
        let scale = match suffix {
            "" => 1,
            _ => SCALES.iter().find(|(name, _)| *name == suffix).ok_or_else(bad)?.1,
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number.checked_mul(scale).map(Self).ok_or_else(bad)
    }
}

/// Writes the shortest exact binary quantity: `1Gi`, `1536Mi`, `1000`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |scale: u64| self.0 >= scale && self.0.is_multiple_of(scale);
        match SCALES.iter().find(|(name, scale)| name.ends_with('i') && exact(*scale)) {
            Some((name, scale)) => write!(f, "{}{name}", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?$",
            "description": "A size as Kubernetes writes it: a whole number of bytes, or one with a suffix such as Gi.",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::binary("10Gi", Some(10 << 30))]
    #[case::decimal("1500M", Some(1_500_000_000))]
    #[case::plain("7", Some(7))]
    #[case::no_number("Gi", None)]
    #[case::nothing("", None)]
    #[case::kelvin("1K", None)]
    #[case::negative("-1", None)]
    #[case::plus("+1Gi", None)]
    #[case::fraction("1.5Gi", None)]
    #[case::past_the_end("18446744073709551616", None)]
    #[case::overflow("99999999Ti", None)]
    fn sizes_as_typed(#[case] text: &str, #[case] want: Option<u64>) {
        assert_eq!(text.parse().ok(), want.map(Bytes));
    }

    #[rstest]
    #[case(Bytes::gib(1), "1Gi")]
    #[case(Bytes::mib(1536), "1536Mi")]
    #[case(Bytes(1000), "1000")]
    #[case(Bytes::ZERO, "0")]
    fn sizes_as_shown(#[case] size: Bytes, #[case] want: &str) {
        assert_eq!(size.to_string(), want);
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(n: u64) {
            prop_assert_eq!(Bytes(n).to_string().parse(), Ok(Bytes(n)));
        }

        #[test]
        fn rounding_never_shrinks_and_adds_less_than_a_unit(n in 1u64..1 << 50, shift in 12u32..30) {
            let unit = Bytes(1 << shift);
            let up = Bytes(n).round_up(unit).unwrap();
            prop_assert!(Bytes(n) <= up && up.0 - n < unit.0 && up.0.is_multiple_of(unit.0));
        }
    }
}
