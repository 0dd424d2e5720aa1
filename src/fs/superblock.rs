//! What a file system says of itself in its superblock: the first 72 KiB of a device tell.
//!
//! Field offsets are from the kernel: fs/ext4/ext4.h (`ext4_super_block`, at byte 1024),
//! fs/xfs/libxfs/xfs_format.h (`xfs_dsb`, at byte 0, big-endian) and
//! include/uapi/linux/btrfs_tree.h (`btrfs_super_block`, at 64 KiB).

use super::{FsKind, Identity};
use crate::units::Bytes;

/// How many bytes from a device's start [`Superblock::read`] wants to see.
pub(super) const SPAN: usize = 72 << 10;

/// Where btrfs keeps its superblock.
pub(super) const BTRFS_AT: usize = 64 << 10;

/// A file system's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Which.
    pub(super) kind: FsKind,
    /// How large it is.
    pub(super) size: Bytes,
    /// Its unit of allocation.
    pub(super) block: Bytes,
    /// What of it statvfs(3) does not count: the log of xfs; zero for others.
    pub(super) log: Bytes,
    /// How it was left.
    pub(super) state: State,
}

/// How a file system was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Unmounted in order, with no error on record.
    Clean,
    /// In use, or not unmounted in order, or with an error on record. For xfs and btrfs always:
    /// they find out when mounted.
    Unknown,
    /// mkfs never finished (xfs: `sb_inprogress`, which the kernel refuses to mount).
    Unfinished,
}

impl Superblock {
    /// The superblock of `kind` in the first [`SPAN`] bytes of a device, if it is there and makes
    /// sense.
    pub(super) fn read(kind: FsKind, start: &[u8]) -> Option<Self> {
        match kind {
            FsKind::Ext4 => ext4(start.get(1024..2048)?),
            FsKind::Xfs => xfs(start.get(..512)?),
            FsKind::Btrfs => btrfs(start.get(BTRFS_AT..BTRFS_AT + 4096)?),
        }
    }
}

/// By what the file system of `kind` is known again that begins so.
pub(super) fn identity(kind: FsKind, start: &[u8]) -> Option<Identity> {
    Superblock::read(kind, start)?;
    let at = match kind {
        FsKind::Ext4 => 1024 + 0x68,
        FsKind::Xfs => 32,
        FsKind::Btrfs => BTRFS_AT + 0x20,
    };
    let bytes: [u8; 16] = take(start, at)?;
    if bytes == [0; 16] {
        return None;
    }
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16];
    let parts: Vec<String> = parts.into_iter().filter_map(|it| bytes.get(it).map(hex)).collect();
    let devices = match kind {
        FsKind::Ext4 | FsKind::Xfs => 1,
        FsKind::Btrfs => u64::from_le_bytes(take(start, BTRFS_AT + 0x88)?),
    };
    Some(Identity { uuid: parts.join("-"), devices })
}

fn ext4(sb: &[u8]) -> Option<Superblock> {
    const MAGIC: u16 = 0xEF53;
    const VALID: u16 = 1;
    const ERROR: u16 = 2;
    const NEEDS_RECOVERY: u32 = 4;
    const WIDE: u32 = 0x80;
    if u16::from_le_bytes(take(sb, 0x38)?) != MAGIC {
        return None;
    }
    let incompatible = u32::from_le_bytes(take(sb, 0x60)?);
    let low = u64::from(u32::from_le_bytes(take(sb, 0x04)?));
    let high = match incompatible & WIDE {
        0 => 0,
        _ => u64::from(u32::from_le_bytes(take(sb, 0x150)?)),
    };
    let block = 1024_u64.checked_shl(u32::from_le_bytes(take(sb, 0x18)?))?;
    let state = u16::from_le_bytes(take(sb, 0x3A)?);
    let clean = state & (VALID | ERROR) == VALID && incompatible & NEEDS_RECOVERY == 0;
    Some(Superblock {
        kind: FsKind::Ext4,
        size: Bytes((high << 32 | low).checked_mul(block)?),
        block: Bytes(block),
        log: Bytes::ZERO,
        state: if clean { State::Clean } else { State::Unknown },
    })
}

fn xfs(sb: &[u8]) -> Option<Superblock> {
    if take(sb, 0)? != *b"XFSB" {
        return None;
    }
    let block = u64::from(u32::from_be_bytes(take(sb, 4)?));
    let internal_log = u64::from_be_bytes(take(sb, 48)?) != 0;
    let log = if internal_log { u64::from(u32::from_be_bytes(take(sb, 96)?)) } else { 0 };
    let [in_progress] = take(sb, 126)?;
    Some(Superblock {
        kind: FsKind::Xfs,
        size: Bytes(u64::from_be_bytes(take(sb, 8)?).checked_mul(block)?),
        block: Bytes(block),
        log: Bytes(log.checked_mul(block)?),
        state: if in_progress == 0 { State::Unknown } else { State::Unfinished },
    })
}

fn btrfs(sb: &[u8]) -> Option<Superblock> {
    if take(sb, 0x40)? != *b"_BHRfS_M" {
        return None;
    }
    Some(Superblock {
        kind: FsKind::Btrfs,
        size: Bytes(u64::from_le_bytes(take(sb, 0x70)?)),
        block: Bytes(u64::from(u32::from_le_bytes(take(sb, 0x90)?))),
        log: Bytes::ZERO,
        state: State::Unknown,
    })
}

/// The `N` bytes at `at`.
pub(super) fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use rstest::rstest;

    use super::*;

    // Fresh file systems of 512 MiB: mke2fs 1.47.0, mkfs.xfs 6.1.0, mkfs.btrfs 6.2.
    const EXT4: &str = "00800000000002009919 00002fe70100f57f00000000000002000000020000000080\
        000000800000002000000000000058a3026b0000ffff53ef01000100000058a3026b00000000000000000100\
        0000000000000b00000000010000 3c000000c20200006b040000";
    const XFS: &str = "58465342000010000000000000020000 0000000000000000 0000000000000000\
        d5a208034d70476b90547fc73f749f86 0000000000010006 0000000000000080 0000000000000081\
        0000000000000082 00000001 00008000 00000004 00000000 00004000";
    const BTRFS: &str = "5f42485266535f4d 0600000000000000 00c0d20100000000 0040500100000000\
        0000000000000000 0000000000000000 0000002000000000 0040020000000000 0600000000000000\
        0100000000000000 00100000";

    /// The first bytes of a device with `hex` at `at`.
    fn start(at: usize, hex: &str) -> Vec<u8> {
        let bytes = HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
        let mut start = vec![0; SPAN];
        start[at..at + bytes.len()].copy_from_slice(&bytes);
        start
    }

    fn with(mut start: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
        start[at] = byte;
        start
    }

    #[rstest]
    #[case(FsKind::Ext4, start(1024, EXT4), 0, State::Clean)]
    #[case(FsKind::Xfs, start(0, XFS), 0x4000 * 4096, State::Unknown)]
    #[case(FsKind::Btrfs, start(BTRFS_AT + 0x40, BTRFS), 0, State::Unknown)]
    fn as_mkfs_leaves_it(
        #[case] kind: FsKind,
        #[case] start: Vec<u8>,
        #[case] log: u64,
        #[case] state: State,
    ) {
        let block = Bytes(4096);
        let want = Superblock { kind, size: Bytes::mib(512), block, log: Bytes(log), state };
        assert_eq!(Superblock::read(kind, &start), Some(want));
        for other in FsKind::ALL.into_iter().filter(|other| *other != kind) {
            assert_eq!(Superblock::read(other, &start), None);
        }
    }

    #[rstest]
    #[case(FsKind::Xfs, start(0, XFS), Some("d5a20803-4d70-476b-9054-7fc73f749f86"))]
    #[case::none(FsKind::Ext4, start(1024, EXT4), None)]
    #[case::none(FsKind::Btrfs, start(BTRFS_AT + 0x40, BTRFS), None)]
    #[case::another(FsKind::Ext4, start(0, XFS), None)]
    fn by_what_it_is_known(
        #[case] kind: FsKind,
        #[case] start: Vec<u8>,
        #[case] want: Option<&str>,
    ) {
        let want = want.map(|uuid| Identity { uuid: uuid.to_owned(), devices: 1 });
        assert_eq!(identity(kind, &start), want);
    }

    #[rstest]
    #[case(1)]
    #[case(2)]
    fn on_how_many_devices_it_lies(#[case] devices: u8) {
        let start = with(start(BTRFS_AT + 0x40, BTRFS), BTRFS_AT + 0x20, 0xd5);
        let found = identity(FsKind::Btrfs, &with(start, BTRFS_AT + 0x88, devices)).unwrap();
        assert_eq!(found.devices, u64::from(devices));
    }

    #[rstest]
    #[case::not_unmounted(FsKind::Ext4, with(start(1024, EXT4), 1024 + 0x3A, 0), State::Unknown)]
    #[case::error(FsKind::Ext4, with(start(1024, EXT4), 1024 + 0x3A, 3), State::Unknown)]
    #[case::journal(FsKind::Ext4, with(start(1024, EXT4), 1024 + 0x60, 0xC6), State::Unknown)]
    #[case::in_progress(FsKind::Xfs, with(start(0, XFS), 126, 1), State::Unfinished)]
    fn as_it_was_left(#[case] kind: FsKind, #[case] start: Vec<u8>, #[case] want: State) {
        assert_eq!(Superblock::read(kind, &start).map(|it| it.state), Some(want));
    }

    #[rstest]
    fn little_or_nonsense_is_no_superblock(
        #[values(FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs)] kind: FsKind,
    ) {
        assert_eq!(Superblock::read(kind, &[]), None);
        assert_eq!(Superblock::read(kind, &[0; SPAN]), None);
        assert_eq!(Superblock::read(kind, &[0xFF; SPAN]), None);
        let huge = with(start(1024, EXT4), 1024 + 0x18, 255); // a block of 2^265 bytes
        assert_eq!(Superblock::read(FsKind::Ext4, &huge), None);
    }
}
