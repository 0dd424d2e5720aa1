//! How often file systems on thin volumes give back what they do not use.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// How often, in seconds; never for 0. Once a week where nothing is said, as Linux distributions do it for
/// file systems on other disks (fstrim.timer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim(i64);

impl Default for Trim {
    fn default() -> Self {
        Self(WEEK)
    }
}

impl Trim {
    /// Whether a volume's moment was after `last` and is not after `now`, both in seconds since 1970. Each
    /// volume has a moment of its own in every period, so that a node does not trim all of them at once, nor
    /// all nodes at the same time, and nothing has to be remembered.
    pub fn is_due(self, volume: &str, last: i64, now: i64) -> bool {
        if self.0 == 0 || now <= last {
            return false;
        }
        // FNV-1a: spread evenly, and the same in every life of the program.
        let mix = |it: u64, byte| (it ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = volume.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        let moment = hash.checked_rem(self.0.unsigned_abs()).unwrap_or(0).cast_signed();
        let period = |at: i64| at.saturating_sub(moment).div_euclid(self.0);
        period(now) > period(last)
    }
}

/// Not how often something is done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not Off, Daily, Weekly or a time from 1m to 365d, such as 12h")]
pub struct BadTrim(String);

impl FromStr for Trim {
    type Err = BadTrim;

    fn from_str(text: &str) -> Result<Self, BadTrim> {
        let bad = || BadTrim(text.to_owned());
        let seconds = match text {
            "Off" => return Ok(Self(0)),
            "Daily" => DAY,
            "Weekly" => WEEK,
            _ => {
                let units = [('m', MINUTE), ('h', HOUR), ('d', DAY)];
                let mut found = units
                    .iter()
                    .filter_map(|(letter, unit)| Some((text.strip_suffix(*letter)?, unit)));
                let (digits, unit) = found.next().ok_or_else(bad)?;
                let is_number = digits.bytes().all(|it| it.is_ascii_digit());
                let count: i64 = digits.parse().ok().filter(|_| is_number).ok_or_else(bad)?;
                count.checked_mul(*unit).ok_or_else(bad)?
            }
        };
        if (MINUTE..=365 * DAY).contains(&seconds) { Ok(Self(seconds)) } else { Err(bad()) }
    }
}

impl fmt::Display for Trim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("Off"),
            DAY => f.write_str("Daily"),
            WEEK => f.write_str("Weekly"),
            it if it % DAY == 0 => write!(f, "{}d", it / DAY),
            it if it % HOUR == 0 => write!(f, "{}h", it / HOUR),
            it => write!(f, "{}m", it / MINUTE),
        }
    }
}

impl Serialize for Trim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Trim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Trim {
    fn schema_name() -> Cow<'static, str> {
        "Trim".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(Off|Daily|Weekly|[0-9]+[mhd])$" })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Off", 0)]
    #[case("Daily", DAY)]
    #[case("Weekly", WEEK)]
    #[case("1m", MINUTE)]
    #[case("36h", 36 * HOUR)]
    #[case("30d", 30 * DAY)]
    fn what_is_written_is_read(#[case] text: &str, #[case] seconds: i64) {
        assert_eq!(text.parse(), Ok(Trim(seconds)));
        assert_eq!(Trim(seconds).to_string(), text);
    }

    #[rstest]
    fn other_words_are_refused(
        #[values(
            "",
            "off",
            "Monthly",
            "0m",
            "366d",
            "h",
            "+1h",
            "1.5h",
            "10",
            "99999999999999999d"
        )]
        text: &str,
    ) {
        let said = text.parse::<Trim>().unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{text}` is not")), "{said}");
    }

    #[test]
    fn each_volume_has_one_moment_in_every_period() {
        let (daily, begin) = (Trim(DAY), 20_000 * DAY);
        let moments = |volume: &str| {
            let all = (begin..begin + 3 * DAY).step_by(15);
            all.filter(|now| daily.is_due(volume, now - 15, *now)).collect::<Vec<_>>()
        };
        let (one, other) = (moments("v-one"), moments("v-other"));
        assert_eq!((one.len(), other.len()), (3, 3));
        assert_eq!(one[1] - one[0], DAY);
        assert_ne!(one[0], other[0]);
    }

    #[rstest]
    #[case::never(Trim(0), 0, 10 * DAY, false)]
    #[case::slept_for_days(Trim(DAY), 0, 10 * DAY, true)]
    #[case::the_clock_was_set_back(Trim(DAY), 10 * DAY, 0, false)]
    #[case::just_looked(Trim(DAY), DAY, DAY, false)]
    fn odd_times(#[case] trim: Trim, #[case] last: i64, #[case] now: i64, #[case] want: bool) {
        assert_eq!(trim.is_due("v-one", last, now), want);
    }
}
