//! Options of mount(8), as mount(2) wants them: flags, and a text for the file system.

use std::fmt;

use data_encoding::HEXLOWER;
use nix::mount::MsFlags;
use sha2::{Digest, Sha256};

use super::BadOption;
use crate::fs::Mount;

/// How many bytes of text mount(2) takes: a page, with the byte that ends it.
const LONGEST: usize = 4095;

/// Mount options of a StorageClass or a caller. They may hold secrets, so they never show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MountOptions(Vec<String>);

/// What an option does to the flags of mount(2).
#[derive(Clone, Copy)]
enum Change {
    Set(MsFlags),
    Clear(MsFlags),
}

use Change::{Clear, Set};

/// Options that are flags of mount(2), for every file system (mount(8)).
const FLAGS: &[(&str, Change)] = &[
    ("ro", Set(MsFlags::MS_RDONLY)),
    ("rw", Clear(MsFlags::MS_RDONLY)),
    ("nosuid", Set(MsFlags::MS_NOSUID)),
    ("suid", Clear(MsFlags::MS_NOSUID)),
    ("nodev", Set(MsFlags::MS_NODEV)),
    ("dev", Clear(MsFlags::MS_NODEV)),
    ("noexec", Set(MsFlags::MS_NOEXEC)),
    ("exec", Clear(MsFlags::MS_NOEXEC)),
    ("sync", Set(MsFlags::MS_SYNCHRONOUS)),
    ("async", Clear(MsFlags::MS_SYNCHRONOUS)),
    ("dirsync", Set(MsFlags::MS_DIRSYNC)),
    ("noatime", Set(MsFlags::MS_NOATIME)),
    ("atime", Clear(MsFlags::MS_NOATIME)),
    ("nodiratime", Set(MsFlags::MS_NODIRATIME)),
    ("diratime", Clear(MsFlags::MS_NODIRATIME)),
    ("relatime", Set(MsFlags::MS_RELATIME)),
    ("norelatime", Clear(MsFlags::MS_RELATIME)),
    ("strictatime", Set(MsFlags::MS_STRICTATIME)),
    ("nostrictatime", Clear(MsFlags::MS_STRICTATIME)),
    ("lazytime", Set(MsFlags::MS_LAZYTIME)),
    ("nolazytime", Clear(MsFlags::MS_LAZYTIME)),
    ("mand", Set(MsFlags::MS_MANDLOCK)),
    ("nomand", Clear(MsFlags::MS_MANDLOCK)),
    ("iversion", Set(MsFlags::MS_I_VERSION)),
    ("noiversion", Clear(MsFlags::MS_I_VERSION)),
    ("silent", Set(MsFlags::MS_SILENT)),
    ("loud", Clear(MsFlags::MS_SILENT)),
];

/// Words for /etc/fstab that mean nothing to the kernel (mount(8), FILESYSTEM-INDEPENDENT).
const IDLE: &[&str] = &["defaults", "auto", "noauto", "nofail", "_netdev"];

/// Options that change what is mounted, where, or by whom, or that bring in another device.
const REFUSED: &[&str] = &[
    "bind",
    "rbind",
    "move",
    "remount",
    "loop",
    "offset",
    "sizelimit",
    "encryption",
    "user",
    "nouser",
    "users",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "helper",
    "uhelper",
    "shared",
    "rshared",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "verity",
    "device",
    "subvol",
    "subvolid",
    "journal_dev",
    "journal_path",
    "logdev",
    "rtdev",
    "sb",
];

impl MountOptions {
    /// Takes options as a StorageClass or a caller lists them. Several may share an entry, with
    /// commas between; a comma inside double quotes (`context="a:b:c0,c1"`) is part of the value.
    ///
    /// # Errors
    /// An option that would change what is mounted or where, that mount(8) keeps to itself, or that
    /// is written wrongly.
    pub fn parse(listed: &[String]) -> Result<Self, BadOption> {
        let mut options = Vec::new();
        for entry in listed {
            for option in split(entry)? {
                check(option)?;
                if !IDLE.contains(&option) {
                    options.push(option.to_owned());
                }
            }
        }
        let parsed = Self(options);
        match parsed.for_kernel().1.len() {
            0..=LONGEST => Ok(parsed),
            length => Err(BadOption(format!(
                "the mount options are {length} bytes long, and the kernel takes {LONGEST}"
            ))),
        }
    }

    /// Those with which ext4 and xfs hold projects to their quotas (ext4(5), xfs(5)).
    pub fn with_project_quotas() -> Self {
        Self(vec!["prjquota".to_owned()])
    }

    /// Whether they ask for project quotas.
    pub(in crate::fs) fn project_quotas(&self) -> bool {
        self.0.iter().any(|it| it == "prjquota")
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they say nothing but whether the mount may be written to.
    pub fn is_only_access(&self) -> bool {
        let (flags, text) = self.for_kernel();
        (flags - MsFlags::MS_RDONLY).is_empty() && text.is_empty()
    }

    /// Whether they ask for reading only (`ro`; the last of `ro` and `rw` counts, as in mount(8)).
    pub fn read_only(&self) -> bool {
        self.for_kernel().0.contains(MsFlags::MS_RDONLY)
    }

    /// Whether a mount that is there has the flags that these would give it, as far as mountinfo
    /// shows them; [`MountOptions::mark`] tells the others.
    pub fn agree_with(&self, mount: &Mount) -> bool {
        let shown = MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME
            | MsFlags::MS_NODIRATIME;
        self.for_kernel().0 & shown == mount.flags & shown
    }

    /// What tells these options from others, whatever their order: a hash, since they may hold
    /// secrets. Reading only, which [`Mount`] shows, and what changes nothing are left out.
    pub fn mark(&self) -> String {
        let (flags, text) = self.for_kernel();
        let left_out = MsFlags::MS_RDONLY | MsFlags::MS_RELATIME | MsFlags::MS_SILENT;
        let mut options: Vec<&str> = text.split(',').collect();
        // Of one name the last counts, so these stay in their order.
        options.sort_by_key(|option| option.split('=').next());
        let all = format!("{:x} {}", (flags - left_out).bits(), options.join(","));
        HEXLOWER.encode(&Sha256::digest(all))
    }

    /// The flags for mount(2), and the text for the file system.
    pub(in crate::fs) fn for_kernel(&self) -> (MsFlags, String) {
        let mut flags = MsFlags::empty();
        let mut text: Vec<&str> = Vec::new();
        for option in &self.0 {
            match FLAGS.iter().find(|(name, _)| name == option) {
                Some((_, Set(flag))) => flags |= *flag,
                Some((_, Clear(flag))) => flags -= *flag,
                None => text.push(option),
            }
        }
        (flags, text.join(","))
    }
}

impl fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mount options", self.0.len())
    }
}

/// Splits at the commas outside double quotes.
fn split(entry: &str) -> Result<Vec<&str>, BadOption> {
    let mut quoted = false;
    let parts = entry.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    match quoted {
        true => Err(BadOption("a mount option opens a quote and does not close it".to_owned())),
        false => Ok(parts),
    }
}

/// A refusal names the option, never its value.
fn check(option: &str) -> Result<(), BadOption> {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '|');
    if name.is_empty() || !name.chars().all(known) {
        return Err(BadOption(
            "a mount option must be a name, or a name and a value: `noatime`, `commit=30`".into(),
        ));
    }
    if option.chars().any(char::is_control) {
        return Err(BadOption(format!("mount option `{name}` holds a control character")));
    }
    if REFUSED.contains(&name) {
        return Err(BadOption(format!(
            "mount option `{name}` is not allowed: it changes what is mounted, where or by whom"
        )));
    }
    if name.starts_with("x-") || name.starts_with("X-") || name == "comment" {
        return Err(BadOption(format!(
            "mount option `{name}` is not allowed: only mount(8) and fstab know it"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(text: &[&str]) -> Result<MountOptions, BadOption> {
        MountOptions::parse(&text.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[rstest]
    #[case::order(&["commit=30", "noatime,data=journal"], &["data=journal", "commit=30,noatime"], true)]
    #[case::read_only_is_seen_elsewhere(&["ro"], &[], true)]
    #[case::idle(&["defaults"], &[], true)]
    #[case::value(&["commit=30"], &["commit=31"], false)]
    #[case::more(&["commit=30"], &[], false)]
    #[case::flag(&["noatime"], &[], false)]
    #[case::the_last_counts(&["commit=30,commit=5"], &["commit=5,commit=30"], false)]
    fn marks_tell_options_apart(#[case] a: &[&str], #[case] b: &[&str], #[case] same: bool) {
        let (a, b) = (parse(a).unwrap().mark(), parse(b).unwrap().mark());
        assert_eq!(a == b, same);
    }

    #[rstest]
    #[case::none(&[], MsFlags::empty(), "")]
    #[case::flags(&["noatime", "nodev,nosuid"],
        MsFlags::MS_NOATIME.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOSUID), "")]
    #[case::text(&["commit=30", "noatime", "discard"], MsFlags::MS_NOATIME, "commit=30,discard")]
    #[case::last_wins(&["ro", "rw"], MsFlags::empty(), "")]
    #[case::last_wins_again(&["rw,ro"], MsFlags::MS_RDONLY, "")]
    #[case::idle(&["defaults", "_netdev", "discard"], MsFlags::empty(), "discard")]
    #[case::quoted(&["context=\"u:r:t:s0:c1,c2\",noatime"], MsFlags::MS_NOATIME,
        "context=\"u:r:t:s0:c1,c2\"")]
    #[case::empty_parts(&["", ",,discard,"], MsFlags::empty(), "discard")]
    fn as_the_kernel_wants_them(#[case] text: &[&str], #[case] flags: MsFlags, #[case] data: &str) {
        let options = parse(text).unwrap();
        assert_eq!(options.for_kernel(), (flags, data.to_owned()));
        assert_eq!(options.read_only(), flags.contains(MsFlags::MS_RDONLY));
    }

    #[rstest]
    #[case("bind")]
    #[case("noatime,remount,rw")]
    #[case("loop=/dev/loop0")]
    #[case("offset=4096")]
    #[case("users")]
    #[case("shared")]
    #[case("device=/dev/sdb")]
    #[case("journal_path=/dev/sdb")]
    #[case("logdev=/dev/sdb")]
    #[case("subvol=@")]
    #[case("x-systemd.automount")]
    #[case("no atime")]
    #[case("=1")]
    #[case("commit=3\n0")]
    #[case("context=\"a")]
    fn refused(#[case] text: &str) {
        parse(&[text]).unwrap_err();
    }

    #[test]
    fn too_much_text_is_refused() {
        parse(&[&format!("a={}", "b".repeat(4093))]).unwrap();
        parse(&[&format!("a={}", "b".repeat(4094))]).unwrap_err();
    }

    #[test]
    fn they_do_not_show() {
        let options = parse(&["key=secret"]).unwrap();
        assert!(!format!("{options:?}").contains("secret"));
        let complaint = parse(&["loop=secret"]).unwrap_err().to_string();
        assert!(complaint.contains("loop") && !complaint.contains("secret"));
    }
}
