//! Reads `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;

use super::{Access, DeviceNumber, Mount};

/// One line: what callers see of it, and what was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number, which another mount may have when it is gone.
    pub(super) id: u64,
    /// What callers see.
    pub(super) mount: Mount,
    /// The device or whatever else was mounted, as the one who mounted it wrote it.
    pub(super) source: PathBuf,
    /// What the file system itself says of how it is mounted, with commas between.
    pub(super) options: String,
}

/// Parses the whole table, oldest mount first. A line that it does not understand is left out with
/// a warning: one odd mount must not hide all others.
pub(super) fn parse(table: &[u8]) -> Vec<Entry> {
    let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| entry(line).or_else(|| warned(line))).collect()
}

/// The topmost mount exactly at `at`.
pub(super) fn topmost<'a>(entries: &'a [Entry], at: &Path) -> Option<&'a Entry> {
    entries.iter().rev().find(|it| it.mount.at == at)
}

fn warned(line: &[u8]) -> Option<Entry> {
    let line = String::from_utf8_lossy(line);
    tracing::warn!(%line, "cannot read this line of /proc/self/mountinfo");
    None
}

/// `36 35 98:0 /root /at rw,noatime master:1 - ext4 /dev/source rw,errors=continue`
fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = device(fields.nth(1)?)?;
    let root = path(fields.next()?);
    let at = path(fields.next()?);
    let options = std::str::from_utf8(fields.next()?).ok()?;
    fields.find(|field| *field == b"-")?;
    let fs_type = String::from_utf8(unescape(fields.next()?)).ok()?;
    let source = path(fields.next()?);
    let own = String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
    let flags = flags(options);
    let read_only = flags.contains(MsFlags::MS_RDONLY);
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    let mount = Mount { device, root, at, access, flags, fs_type };
    Some(Entry { id, mount, source, options: own })
}

fn device(field: &[u8]) -> Option<DeviceNumber> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// MS_NOSYMFOLLOW (linux/mount.h), which has no name in the `nix` crate.
const NO_SYMLINKS: MsFlags = MsFlags::from_bits_retain(256);

/// The flags of one mount (fs/proc_namespace.c, `show_mnt_opts`).
fn flags(options: &str) -> MsFlags {
    let flag = |word| match word {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        "nosymfollow" => NO_SYMLINKS,
        _ => MsFlags::empty(),
    };
    options.split(',').map(flag).fold(MsFlags::empty(), MsFlags::union)
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Space, tab, newline and backslash come as three octal digits (`\040`).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        match after.split_first_chunk().and_then(|(digits, after)| Some((octal(digits)?, after))) {
            Some((byte, after)) if *first == b'\\' => {
                plain.push(byte);
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TABLE: &[u8] = b"\
22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/a
90 22 254:3 / /var/lib/kubelet/plugins/x/globalmount rw,nosuid,noatime shared:7 - ext4 /dev/mapper/vg-v rw
91 22 254:3 /sub /pods/a\\040b ro,nosuid,relatime shared:7 master:2 - ext4 /dev/mapper/vg-v rw
nonsense
92 22 0:44 / /b rw - btrfs /dev/vg/b rw,subvolid=5,subvol=/
93 22 0:6 /dm-3 /publish/\\134x rw - devtmpfs devtmpfs rw
";

    #[test]
    fn an_odd_line_loses_only_itself() {
        let found: Vec<String> =
            parse(TABLE).iter().map(|it| it.mount.at.display().to_string()).collect();
        let at = "/var/lib/kubelet/plugins/x/globalmount";
        assert_eq!(found, ["/", at, "/pods/a b", "/b", "/publish/\\x"]);
    }

    #[test]
    fn a_line_is_read_whole() {
        let entries = parse(TABLE);
        let device = DeviceNumber { major: 254, minor: 3 };
        let at = PathBuf::from("/pods/a b");
        let fs_type = "ext4".to_owned();
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_RELATIME;
        let access = Access::ReadOnly;
        let mount = Mount { device, root: "/sub".into(), at, access, flags, fs_type };
        let source = PathBuf::from("/dev/mapper/vg-v");
        assert_eq!(entries[2], Entry { id: 91, mount, source, options: "rw".to_owned() });
        assert_eq!(entries[3].options, "rw,subvolid=5,subvol=/");
    }

    #[test]
    fn the_last_mount_at_a_place_is_the_one_seen() {
        let stacked = b"1 0 8:1 / /x rw - ext4 a rw\n2 1 8:2 / /x ro - xfs b ro\n";
        let entries = parse(stacked);
        let top = topmost(&entries, Path::new("/x")).unwrap();
        assert_eq!(top.mount.device, DeviceNumber { major: 8, minor: 2 });
        assert_eq!(topmost(&entries, Path::new("/y")), None);
    }

    #[rstest]
    #[case::space("a\\040b", "a b")]
    #[case::backslash("a\\134040", "a\\040")]
    #[case::short("a\\04", "a\\04")]
    #[case::not_octal("a\\999", "a\\999")]
    #[case::too_large("a\\777", "a\\777")]
    #[case::end("a\\", "a\\")]
    fn octal_escapes(#[case] field: &str, #[case] want: &str) {
        assert_eq!(unescape(field.as_bytes()), want.as_bytes());
    }

    #[test]
    fn this_machines_own_table_is_read() {
        let table = std::fs::read("/proc/self/mountinfo").unwrap();
        let entries = parse(&table);
        assert_eq!(entries.len(), table.split(|it| *it == b'\n').count() - 1);
        assert!(topmost(&entries, Path::new("/")).is_some());
    }
}
