//! Who made a physical volume, told by the first half of its UUID: until it is in a group it has
//! no tags, and its maker must know it again when it was stopped between the two.

use std::{fmt, fs, io};

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

/// How many of the 32 characters of an LVM UUID are the mark.
const LENGTH: usize = 16;
/// Where the hyphens of a UUID are (lvm2, lib/uuid/uuid.c).
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];
/// The kernel's own random numbers (random(4), Linux).
const RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// The mark of whoever makes physical volumes for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvMark(String);

impl PvMark {
    /// The mark of a maker that is described by this text; another text has another mark.
    pub fn of(maker: &str) -> Self {
        let mut text = BASE32_NOPAD.encode(&Sha256::digest(maker)).to_ascii_lowercase();
        text.truncate(LENGTH);
        Self(text)
    }

    /// Whether a physical volume with this UUID was made with this mark.
    pub fn is_on(&self, uuid: &str) -> bool {
        uuid.chars().filter(|c| *c != '-').take(LENGTH).eq(self.0.chars())
    }

    /// A new UUID with this mark.
    ///
    /// # Errors
    /// When the kernel gives no random number.
    pub(super) fn new_uuid(&self) -> io::Result<String> {
        Ok(self.uuid(&fs::read_to_string(RANDOM)?))
    }

    /// The UUID with this mark and, behind it, what is random.
    pub(crate) fn uuid(&self, random: &str) -> String {
        let random = random.chars().filter(char::is_ascii_alphanumeric);
        let mut plain = self.0.chars().chain(random).chain(std::iter::repeat('0'));
        let groups = GROUPS.map(|length| plain.by_ref().take(length).collect::<String>());
        groups.join("-")
    }
}

impl fmt::Display for PvMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_tells_its_maker() {
        let (one, other) = (PvMark::of("pool fast on n1"), PvMark::of("pool fast on n2"));
        let uuid = one.uuid("0b2f3a56-17c8-4b39-9d2e-f1a2b3c4d5e6\n");
        assert!(one.is_on(&uuid) && !other.is_on(&uuid), "{uuid}");
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, GROUPS);
        assert!(!one.is_on("") && !one.is_on(&one.0[..15]));
    }

    #[test]
    fn no_uuid_is_made_twice() {
        let mark = PvMark::of("x");
        assert_ne!(mark.new_uuid().unwrap(), mark.new_uuid().unwrap());
    }
}
