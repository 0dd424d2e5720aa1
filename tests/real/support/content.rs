//! Bytes that tests write to volumes and look for later.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

/// How much is written to a slot.
const LENGTH: usize = 1 << 20;
/// Where slots begin on a raw block volume.
const STRIDE: u64 = 4 << 20;

/// Bytes that only this seed makes (xorshift).
pub(crate) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a pattern to a slot of a volume that appears at `target`, and has it on disk.
#[track_caller]
pub(crate) fn put(target: &Path, slot: u64, seed: u64) {
    let bytes = pattern(seed, LENGTH);
    let mut file = if target.is_dir() {
        File::create(target.join(format!("slot-{slot}"))).unwrap()
    } else {
        let mut device = OpenOptions::new().write(true).open(target).unwrap();
        device.seek(SeekFrom::Start(slot * STRIDE)).unwrap();
        device
    };
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
}

/// Whether a slot holds the pattern of this seed, byte for byte.
pub(crate) fn holds(target: &Path, slot: u64, seed: u64) -> bool {
    let mut found = vec![0; LENGTH];
    let file = if target.is_dir() {
        File::open(target.join(format!("slot-{slot}")))
    } else {
        File::open(target).and_then(|mut device| {
            device.seek(SeekFrom::Start(slot * STRIDE))?;
            Ok(device)
        })
    };
    let read = file.and_then(|mut file| file.read_exact(&mut found));
    read.is_ok() && found == pattern(seed, LENGTH)
}

/// Takes what was read out of the kernel's memory, so that the next read asks the disk.
pub(crate) fn forget_cached() {
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// Whether a sector of any of these seeds' patterns stands in the first bytes of a device.
pub(crate) fn stands_in(device: &Path, length: u64, seeds: &[u64]) -> bool {
    const SECTOR: usize = 512;
    let patterns: Vec<Vec<u8>> = seeds.iter().map(|seed| pattern(*seed, LENGTH)).collect();
    let wanted: HashSet<&[u8]> = patterns.iter().flat_map(|it| it.chunks(SECTOR)).collect();
    let mut file = File::open(device).unwrap();
    let mut part = vec![0; 4 << 20];
    let zeros = part.clone();
    for _ in 0..length.div_ceil(4 << 20) {
        let count = file.read(&mut part).unwrap();
        let found = &part[..count];
        if found != &zeros[..count] && found.chunks(SECTOR).any(|it| wanted.contains(it)) {
            return true;
        }
    }
    false
}
