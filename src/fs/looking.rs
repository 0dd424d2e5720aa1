//! What is at the edges of devices: enough to say that a disk is empty, or what is on it.
//!
//! All signatures that blkid knows are in the first or the last mebibyte, but for a few that it looks
//! for itself; and what no program knows is not all zeroes.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    Edges, Error, Family, Look, Signature,
    probe::{blkid, is_only_of_table},
};
use crate::process::Failure;

/// How much is read at either end.
const EDGE: u64 = 1 << 20;
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];
/// LVM's label is in one of the first four sectors (lvm2, lib/label/label.h).
const LABEL: &[u8] = b"LABELONE";
const LABEL_PLACES: [usize; 4] = [0, 512, 1024, 1536];
/// What every version of a group's metadata says that has, or had, a volume.
const VOLUMES: &[u8] = b"logical_volumes {";

/// See [`super::Filesystems::look`]. One blkid for each: of several devices it passes over those
/// behind one on which it finds nothing (2.38), without a word.
pub(super) fn look(device: &Path) -> Result<Look, Error> {
    let edges = edges(device)?;
    let found = signature(blkid(device).run());
    let signature = found.map_err(|source| Error::Tool {
        action: "look for signatures on",
        device: device.to_owned(),
        source,
    })?;
    Ok(Look { signature, edges })
}

/// blkid(8), EXIT STATUS: 2 nothing found, 8 several signatures that exclude each other.
fn signature(said: Result<Vec<u8>, Failure>) -> Result<Option<Signature>, Failure> {
    match said {
        Ok(out) => {
            let out = String::from_utf8_lossy(&out);
            Ok((!is_only_of_table(&out)).then(|| read(&out)))
        }
        Err(failure) if failure.exit_code() == Some(2) => Ok(None),
        Err(failure) if failure.exit_code() == Some(8) => {
            let name = "several that exclude each other".to_owned();
            Ok(Some(Signature { name, family: Family::Other, label: None }))
        }
        Err(failure) => Err(failure),
    }
}

/// What blkid found: lines of `KEY=value`.
fn read(out: &str) -> Signature {
    let tag = |name: &str| {
        let line = out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(plain).filter(|it| !it.is_empty())
    };
    let label = tag("LABEL");
    if let Some(name) = tag("TYPE") {
        let family = family(&name, tag("USAGE").as_deref());
        return Signature { name, family, label };
    }
    match tag("PTTYPE") {
        Some(name) => Signature { name, family: Family::PartitionTable, label },
        None => Signature { name: "unnamed".to_owned(), family: Family::Other, label },
    }
}

/// blkid's `export` escapes with backslashes what a shell would not take as it is.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

/// What a type of blkid's is one of (util-linux, libblkid/src/superblocks).
fn family(name: &str, usage: Option<&str>) -> Family {
    match (name, usage) {
        ("LVM2_member" | "LVM1_member", _) => Family::PhysicalVolume,
        ("zfs_member", _) => Family::Zfs,
        ("bcache", _) => Family::Bcache,
        (name, _) if name.starts_with("ceph") => Family::Ceph,
        ("swap" | "swsuspend", _) => Family::Swap,
        (_, Some("filesystem")) => Family::FileSystem,
        (_, Some("raid")) => Family::Raid,
        (_, Some("crypto")) => Family::Encryption,
        _ => Family::Other,
    }
}

fn edges(device: &Path) -> Result<Edges, Error> {
    let fail = |source| Error::Path { action: "read", path: device.to_owned(), source };
    let mut file = File::open(device).map_err(fail)?;
    let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
    let read = |at: u64| -> io::Result<Vec<u8>> {
        let length = usize::try_from(EDGE.min(size)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    };
    let first = read(0).map_err(fail)?;
    let last = read(size.saturating_sub(EDGE)).map_err(fail)?;
    Ok(judged(&first, &last))
}

/// A disk behind a label of LVM's counts as untouched when no version of a group's metadata in its
/// first mebibyte, where they begin, has a volume: `pvcreate` or `vgcreate` was the last that was
/// done to it.
fn judged(first: &[u8], last: &[u8]) -> Edges {
    let is_zero = |bytes: &[u8]| ZEROES.get(..bytes.len()) == Some(bytes);
    if !is_zero(last) {
        return Edges::Written;
    }
    if is_zero(first) {
        return Edges::Zero;
    }
    let starts_with = |at: &usize| first.get(*at..).is_some_and(|it| it.starts_with(LABEL));
    let has_label = LABEL_PLACES.iter().any(starts_with);
    let has_volumes = first.windows(VOLUMES.len()).any(|it| it == VOLUMES);
    if has_label && !has_volumes { Edges::OnlyLabel } else { Edges::Written }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::process::Cause;

    #[rstest]
    #[case::file_system(
        "UUID=1\nLABEL=my\\ data\nTYPE=ext4\nUSAGE=filesystem\n",
        "ext4",
        Family::FileSystem
    )]
    #[case::table("DEVNAME=/dev/b\nPTUUID=1\nPTTYPE=gpt\n", "gpt", Family::PartitionTable)]
    #[case::both(
        "PTTYPE=dos\nTYPE=LVM2_member\nUSAGE=raid\n",
        "LVM2_member",
        Family::PhysicalVolume
    )]
    #[case::silence("", "unnamed", Family::Other)]
    fn what_blkid_says(#[case] out: &str, #[case] name: &str, #[case] family: Family) {
        let found = read(out);
        assert_eq!((found.name.as_str(), found.family), (name, family));
        assert_eq!(found.label.as_deref(), (name == "ext4").then_some("my data"));
    }

    #[test]
    fn only_one_exit_code_means_nothing() {
        let ended = |code| {
            let cause = Cause::Exit { code, stderr: String::new() };
            signature(Err(Failure { command: "blkid".to_owned(), cause }))
        };
        assert_eq!(ended(2).unwrap(), None);
        assert_eq!(ended(8).unwrap().unwrap().family, Family::Other);
        assert!(ended(1).is_err() && ended(4).is_err());
    }

    #[rstest]
    #[case("linux_raid_member", Some("raid"), Family::Raid)]
    #[case("crypto_LUKS", Some("crypto"), Family::Encryption)]
    #[case("zfs_member", Some("filesystem"), Family::Zfs)]
    #[case("ceph_bluestore", Some("other"), Family::Ceph)]
    #[case("bcache", Some("other"), Family::Bcache)]
    #[case("swap", Some("other"), Family::Swap)]
    #[case("jbd", Some("other"), Family::Other)]
    fn families(#[case] name: &str, #[case] usage: Option<&str>, #[case] want: Family) {
        assert_eq!(family(name, usage), want);
    }

    fn edge(marks: &[(usize, &str)]) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        for (at, mark) in marks {
            bytes[*at..*at + mark.len()].copy_from_slice(mark.as_bytes());
        }
        bytes
    }

    #[rstest]
    #[case::zero(&[], &[], Edges::Zero)]
    #[case::first_byte(&[(0, "x")], &[], Edges::Written)]
    #[case::last_byte(&[], &[((1 << 20) - 1, "x")], Edges::Written)]
    #[case::label(&[(512, "LABELONE")], &[], Edges::OnlyLabel)]
    #[case::of_a_group(&[(512, "LABELONE"), (5000, "tarn-a { seqno = 1 }")], &[], Edges::OnlyLabel)]
    #[case::of_volumes(&[(512, "LABELONE"), (9000, "logical_volumes {")], &[], Edges::Written)]
    #[case::label_and_an_end(&[(512, "LABELONE")], &[(0, "x")], Edges::Written)]
    #[case::label_in_a_wrong_place(&[(2048, "LABELONE")], &[], Edges::Written)]
    fn what_edges_say(
        #[case] first: &[(usize, &str)],
        #[case] last: &[(usize, &str)],
        #[case] want: Edges,
    ) {
        assert_eq!(judged(&edge(first), &edge(last)), want);
    }
}
