//! Finds out what is on a device.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    Content, Error, FsKind, Identity,
    superblock::{self, SPAN, State, Superblock},
};
use crate::process::{Failure, Invocation};

/// How much is read at either end before a device counts as empty: blkid takes what it cannot read
/// for nothing found, and all signatures that it knows are in these parts.
const EDGE: u64 = 1 << 20;

/// What blkid says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Signature {
    Nothing,
    Several,
    One(String),
}

/// See [`super::Filesystems::probe`].
pub(super) fn probe(device: &Path) -> Result<Content, Error> {
    let fail = |source| Error::Path { action: "read", path: device.to_owned(), source };
    let mut file = File::open(device).map_err(fail)?;
    let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
    let start = read_at(&file, 0, EDGE.min(size)).map_err(fail)?;
    let signature = signature(blkid(device).run()).map_err(|source| Error::Tool {
        action: "look for signatures on",
        device: device.to_owned(),
        source,
    })?;
    if signature == Signature::Nothing {
        let edge = size.saturating_sub(EDGE);
        read_at(&file, edge, size - edge).map_err(fail)?;
    }
    Ok(content(signature, start.get(..SPAN).unwrap_or(&start)))
}

/// The superblock of a file system that is known to be there.
pub(super) fn superblock(device: &Path, kind: FsKind) -> Result<Superblock, Error> {
    from_start(device, kind, |start| Superblock::read(kind, start))
}

/// See [`super::Filesystems::identity`].
pub(super) fn identity(device: &Path, kind: FsKind) -> Result<Identity, Error> {
    from_start(device, kind, |start| superblock::identity(kind, start))
}

/// What the start of a device tells of the file system that is on it.
fn from_start<T>(
    device: &Path,
    kind: FsKind,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, Error> {
    let fail = |source| Error::Path { action: "read", path: device.to_owned(), source };
    let file = File::open(device).map_err(fail)?;
    let start = read_at(&file, 0, SPAN as u64).map_err(fail)?;
    read(&start).ok_or_else(|| {
        fail(io::Error::new(io::ErrorKind::InvalidData, format!("there is no {kind} superblock")))
    })
}

fn read_at(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Looks at the device itself (`-p`), not at blkid's cache.
pub(super) fn blkid(device: &Path) -> Invocation {
    Invocation::reads("blkid").args(["-p", "-o", "export"]).arg(device)
}

/// Whether that is all about a partition as an entry of its disk's table, and nothing about what is on it.
pub(super) fn is_only_of_table(out: &str) -> bool {
    let is_entry = |line: &str| line.starts_with("PART_ENTRY_");
    out.lines().any(is_entry)
        && out.lines().all(|line| is_entry(line) || line.starts_with("DEVNAME="))
}

/// blkid(8), EXIT STATUS: 2 nothing found, 8 several signatures that exclude each other.
fn signature(result: Result<Vec<u8>, Failure>) -> Result<Signature, Failure> {
    let out = match result {
        Ok(out) => String::from_utf8_lossy(&out).into_owned(),
        Err(failure) if failure.exit_code() == Some(2) => return Ok(Signature::Nothing),
        Err(failure) if failure.exit_code() == Some(8) => return Ok(Signature::Several),
        Err(failure) => return Err(failure),
    };
    if is_only_of_table(&out) {
        return Ok(Signature::Nothing);
    }
    let tag = |name: &str| {
        let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(str::to_owned)
    };
    let table = || tag("PTTYPE").map(|kind| format!("{kind} partition table"));
    let unknown = || "a signature that blkid does not name".to_owned();
    Ok(Signature::One(tag("TYPE").or_else(table).unwrap_or_else(unknown)))
}

fn content(signature: Signature, start: &[u8]) -> Content {
    let name = match signature {
        Signature::Nothing => return unseen(start),
        Signature::Several => return Content::Foreign("several signatures".to_owned()),
        Signature::One(name) => name,
    };
    let Ok(kind) = name.parse::<FsKind>() else { return Content::Foreign(name) };
    match Superblock::read(kind, start) {
        Some(Superblock { state: State::Unfinished, .. }) => Content::Unfinished(kind),
        Some(Superblock { size, .. }) => Content::Filesystem { kind, size },
        None => Content::Foreign(format!("{kind} with an odd superblock")),
    }
}

/// What blkid finds nothing on. A superblock whose checksum is wrong is none to newer ones (util-linux 2.39), but what
/// it is of may be there.
fn unseen(start: &[u8]) -> Content {
    match FsKind::ALL.into_iter().find(|kind| Superblock::read(*kind, start).is_some()) {
        Some(kind) => {
            Content::Foreign(format!("{kind} with a superblock that blkid does not take for one"))
        }
        None => Content::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::process::Cause;

    fn exit(code: i32) -> Result<Vec<u8>, Failure> {
        let cause = Cause::Exit { code, stderr: String::new() };
        Err(Failure { command: "blkid".to_owned(), cause })
    }

    fn said(out: &str) -> Result<Vec<u8>, Failure> {
        Ok(out.as_bytes().to_vec())
    }

    #[rstest]
    #[case::luks("DEVNAME=/dev/x\nVERSION=2\nTYPE=crypto_LUKS\nUSAGE=crypto\n", "crypto_LUKS")]
    #[case::table("DEVNAME=/dev/x\nPTUUID=1\nPTTYPE=gpt\n", "gpt partition table")]
    #[case::both("DEVNAME=/dev/x\nPTTYPE=dos\nTYPE=vfat\n", "vfat")]
    #[case::old_ext("TYPE=ext3\n", "ext3")]
    #[case::empty_ours("TYPE=xfs\n", "xfs with an odd superblock")]
    #[case::silence("", "a signature that blkid does not name")]
    fn foreign(#[case] out: &str, #[case] want: &str) {
        let found = content(signature(said(out)).unwrap(), &[0; SPAN]);
        assert_eq!(found, Content::Foreign(want.to_owned()));
    }

    #[test]
    fn a_superblock_is_not_nothing_whatever_blkid_says() {
        let mut start = vec![0; SPAN];
        assert_eq!(content(Signature::Nothing, &start), Content::Nothing);
        start[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        let found = content(Signature::Nothing, &start);
        assert!(matches!(&found, Content::Foreign(what) if what.starts_with("ext4")), "{found:?}");
    }

    #[rstest]
    #[case::empty("DEVNAME=/dev/x1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NUMBER=1\n", "")]
    #[case::used("PART_ENTRY_NUMBER=1\nTYPE=swap\n", "swap")]
    #[case::nested("PART_ENTRY_NUMBER=1\nPTTYPE=dos\n", "dos partition table")]
    #[case::unnamed("PART_ENTRY_NUMBER=1\nUUID=1\n", "a signature that blkid does not name")]
    fn partitions(#[case] out: &str, #[case] want: &str) {
        let want = if want.is_empty() { Signature::Nothing } else { Signature::One(want.into()) };
        assert_eq!(signature(said(out)).unwrap(), want);
    }

    #[test]
    fn exit_codes() {
        assert_eq!(signature(exit(2)).unwrap(), Signature::Nothing);
        assert_eq!(signature(exit(8)).unwrap(), Signature::Several);
        signature(exit(1)).unwrap_err();
        signature(exit(4)).unwrap_err();
    }

    #[test]
    fn the_line_as_typed() {
        assert_eq!(blkid(Path::new("/dev/vg/v")).to_string(), "blkid -p -o export /dev/vg/v");
    }
}
