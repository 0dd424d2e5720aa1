//! Numbers that look random and are the same for the same seed (SplitMix64).

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Bytes that are the same for the same seed.
    pub(crate) fn bytes(seed: u64, count: usize) -> Vec<u8> {
        let mut dice = Self::new(seed);
        let words = (0..count.div_ceil(8)).flat_map(|_| dice.next().to_le_bytes());
        words.take(count).collect()
    }
}

/// The seed that the environment gives, or a new one.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TARN_CRASH_SEED").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    })
}
