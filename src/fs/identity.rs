//! Gives a copy of a btrfs an identity of its own.
//!
//! The kernel knows a btrfs by the UUID in its superblock, and takes two devices with the same one
//! for the same file system. The feature METADATA_UUID (Linux 5.0) lets the superblock carry a new
//! UUID while all tree blocks keep the old: three fields of one 4 KiB block change. That is what
//! `btrfstune -m` does, but it opens the file system and commits a transaction, which overwrites
//! what a copy taken from a running file system has in its log tree. Changing the superblock alone
//! leaves everything else as it was, and is one write.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use sha2::{Digest, Sha256};

use super::superblock::take;

/// The size of a superblock (btrfs(5), BTRFS_SUPER_INFO_SIZE).
const LENGTH: usize = 4096;
/// Where the one that counts is, then where its copies are if the device is large enough.
const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];

// Offsets in `btrfs_super_block` (include/uapi/linux/btrfs_tree.h).
const FSID: usize = 0x20;
const PLACE: usize = 0x30;
const MAGIC: usize = 0x40;
const DEVICES: usize = 0x88;
const INCOMPATIBLE: usize = 0xBC;
const CHECKSUM_KIND: usize = 0xC4;
const METADATA_UUID: usize = 0x23B;
/// BTRFS_FEATURE_INCOMPAT_METADATA_UUID.
const HAS_METADATA_UUID: u64 = 1 << 10;

/// A superblock.
type Block = [u8; LENGTH];

/// Changes the identity of the unmounted btrfs on a device. Stopped in between, it leaves the old
/// identity or the new one, and may be repeated: that only gives yet another.
pub(super) fn change(device: &File, size: u64) -> io::Result<()> {
    let mut fsid = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut fsid)?;
    // RFC 9562, 5.4: a random UUID says that it is one.
    fsid[6] = fsid[6] & 0x0F | 0x40;
    fsid[8] = fsid[8] & 0x3F | 0x80;
    let first = renamed(&read(device, PLACES[0])?, PLACES[0], fsid).map_err(invalid)?;
    for place in PLACES.into_iter().skip(1).filter(|it| it + LENGTH as u64 <= size) {
        // A copy that is no superblock is of no use to anyone, and none of ours to write.
        if let Ok(copy) = renamed(&read(device, place)?, place, fsid) {
            device.write_all_at(&copy, place)?;
        }
    }
    device.sync_all()?;
    device.write_all_at(&first, PLACES[0])?;
    device.sync_all()
}

fn read(device: &File, at: u64) -> io::Result<Block> {
    let mut block = [0; LENGTH];
    device.read_exact_at(&mut block, at)?;
    Ok(block)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The superblock with another UUID, still vouching for the tree blocks with the old one.
fn renamed(block: &Block, place: u64, fsid: [u8; 16]) -> Result<Block, &'static str> {
    let field = |at| take::<8>(block, at).map(u64::from_le_bytes);
    if take(block, MAGIC) != Some(*b"_BHRfS_M") || field(PLACE) != Some(place) {
        return Err("there is no btrfs superblock");
    }
    if take(block, 0) != Some(checksum(block)?) {
        return Err("the checksum of the btrfs superblock is wrong");
    }
    if field(DEVICES) != Some(1) {
        return Err("the btrfs spans several devices");
    }
    let features = field(INCOMPATIBLE).unwrap_or_default();
    let mut new = *block;
    if features & HAS_METADATA_UUID == 0 {
        let old: [u8; 16] = take(block, FSID).unwrap_or_default();
        put(&mut new, METADATA_UUID, &old);
        put(&mut new, INCOMPATIBLE, &(features | HAS_METADATA_UUID).to_le_bytes());
    }
    put(&mut new, FSID, &fsid);
    let sum = checksum(&new)?;
    put(&mut new, 0, &sum);
    Ok(new)
}

fn put(block: &mut Block, at: usize, bytes: &[u8]) {
    for (cell, byte) in block.iter_mut().skip(at).zip(bytes) {
        *cell = *byte;
    }
}

/// The checksum of all behind it, by the algorithm that the superblock names; the rest is zero.
fn checksum(block: &Block) -> Result<[u8; 32], &'static str> {
    let body = block.get(32..).unwrap_or_default();
    match take(block, CHECKSUM_KIND).map(u16::from_le_bytes) {
        Some(0) => {
            let mut sum = [0; 32];
            let crc = crc32c(body).to_le_bytes();
            sum.iter_mut().zip(crc).for_each(|(cell, byte)| *cell = byte);
            Ok(sum)
        }
        Some(2) => Ok(Sha256::digest(body).into()),
        _ => Err("the btrfs uses checksums that Tarn cannot compute: only crc32c and sha256"),
    }
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit: it sees 4 KiB a few times in a volume's life.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u16) -> Block {
        let mut block = [0; LENGTH];
        put(&mut block, FSID, &[7; 16]);
        put(&mut block, PLACE, &PLACES[0].to_le_bytes());
        put(&mut block, MAGIC, b"_BHRfS_M");
        put(&mut block, DEVICES, &1_u64.to_le_bytes());
        put(&mut block, CHECKSUM_KIND, &kind.to_le_bytes());
        let sum = checksum(&block).unwrap();
        put(&mut block, 0, &sum);
        block
    }

    #[test]
    fn the_checksum_is_the_one_of_the_rfc() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn trees_keep_the_first_identity_however_often_it_changes() {
        for kind in [0, 2] {
            let once = renamed(&block(kind), PLACES[0], [8; 16]).unwrap();
            let twice = renamed(&once, PLACES[0], [9; 16]).unwrap();
            assert_eq!(take(&twice, FSID), Some([9; 16]));
            assert_eq!(take(&twice, METADATA_UUID), Some([7; 16]));
            assert_eq!(take(&twice, 0), Some(checksum(&twice).unwrap()));
        }
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let good = block(0);
        let broken = |at: usize, byte: u8| {
            let mut block = good;
            block[at] = byte;
            renamed(&block, PLACES[0], [8; 16]).unwrap_err()
        };
        assert!(broken(MAGIC, 0).contains("no btrfs superblock"));
        assert!(broken(LENGTH - 1, 1).contains("checksum"));
        assert!(broken(CHECKSUM_KIND, 1).contains("crc32c and sha256"));
        assert!(renamed(&good, PLACES[1], [8; 16]).is_err());
    }
}
