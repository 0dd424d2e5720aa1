//! Options of mkfs: an allowed list per file system, because mkfs runs as root and some of its
//! options name other files and devices to write to.

use std::fmt;

use super::BadOption;
use crate::fs::FsKind;

/// Options for mkfs that a StorageClass may set (`mkfsOptions`). They show as they were typed,
/// each once and with one space between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MkfsOptions(Vec<Flag>);

/// One option and its value, as `-E` and `stride=16`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flag {
    name: &'static str,
    value: Option<String>,
}

/// What an option may be set to.
enum Value {
    /// It takes no value.
    Nothing,
    /// A whole number, perhaps with a unit: `4096`, `64k`, `8b`.
    Number,
    /// A part of a hundred, such as `0.5`.
    Percent,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Some of these words with commas between; `^` before one turns it off.
    Features(&'static [&'static str]),
    /// Settings with commas between, each with its own value.
    Settings(&'static [(&'static str, Value)]),
    /// A setting that is also fine without its number.
    Switch,
}

use Value::{Features, Nothing, Number, Percent, Settings, Switch, Word};

type Table = &'static [(&'static str, Value)];

/// mke2fs(8). No label, UUID, journal device, image offset or undo file; no feature that needs a
/// device of its own or makes it another file system than ext4; nothing that trusts old blocks.
const EXT4: Table = &[
    ("-b", Word(&["1024", "2048", "4096"])),
    ("-i", Number),
    ("-I", Word(&["128", "256", "512", "1024"])),
    ("-N", Number),
    ("-m", Percent),
    ("-G", Number),
    ("-O", Features(EXT4_FEATURES)),
    (
        "-E",
        Settings(&[
            ("stride", Number),
            ("stripe_width", Number),
            ("resize", Number),
            ("num_backup_sb", Word(&["0", "1", "2"])),
            ("packed_meta_blocks", Switch),
            ("lazy_itable_init", Switch),
            ("lazy_journal_init", Switch),
            ("discard", Nothing),
            ("nodiscard", Nothing),
        ]),
    ),
    ("-J", Settings(&[("size", Number), ("fast_commit_size", Number)])),
    ("-T", Word(&["small", "default", "big", "huge", "largefile", "largefile4", "news"])),
];

/// ext4(5).
const EXT4_FEATURES: &[&str] = &[
    "64bit",
    "bigalloc",
    "casefold",
    "dir_index",
    "dir_nlink",
    "ea_inode",
    "encrypt",
    "extra_isize",
    "fast_commit",
    "flex_bg",
    "has_journal",
    "huge_file",
    "inline_data",
    "large_dir",
    "large_file",
    "meta_bg",
    "metadata_csum",
    "metadata_csum_seed",
    "orphan_file",
    "project",
    "quota",
    "resize_inode",
    "sparse_super",
    "sparse_super2",
    "stable_inodes",
    "uninit_bg",
    "verity",
];

const ON_OFF: Value = Word(&["0", "1"]);

/// mkfs.xfs(8). No label, UUID, file, log device, realtime device or size smaller than the volume.
const XFS: Table = &[
    ("-b", Settings(&[("size", Number)])),
    (
        "-d",
        Settings(&[
            ("agcount", Number),
            ("agsize", Number),
            ("su", Number),
            ("sw", Number),
            ("sunit", Number),
            ("swidth", Number),
            ("noalign", Nothing),
            ("cowextsize", Number),
            ("extszinherit", Number),
        ]),
    ),
    (
        "-i",
        Settings(&[
            ("size", Number),
            ("maxpct", Number),
            ("perblock", Number),
            ("align", ON_OFF),
            ("sparse", ON_OFF),
            ("nrext64", ON_OFF),
        ]),
    ),
    ("-l", Settings(&[("size", Number), ("su", Number), ("sunit", Number)])),
    (
        "-m",
        Settings(&[
            ("crc", ON_OFF),
            ("finobt", ON_OFF),
            ("reflink", ON_OFF),
            ("rmapbt", ON_OFF),
            ("bigtime", ON_OFF),
            ("inobtcount", ON_OFF),
        ]),
    ),
    ("-n", Settings(&[("size", Number), ("ftype", ON_OFF), ("version", Word(&["2", "ci"]))])),
    ("-s", Settings(&[("size", Number)])),
    ("-K", Nothing),
];

const COPIES: Value = Word(&["single", "dup"]);

/// mkfs.btrfs(8). No label, UUID, size or source directory; one device, so no RAID and no zones.
/// Checksums are those that Tarn can compute itself when it gives a copy its own identity.
const BTRFS: Table = &[
    ("-n", Number),
    ("-s", Number),
    ("-m", COPIES),
    ("-d", COPIES),
    ("-M", Nothing),
    (
        "-O",
        Features(&[
            "mixed-bg",
            "extref",
            "skinny-metadata",
            "no-holes",
            "free-space-tree",
            "block-group-tree",
            "quota",
            "squota",
        ]),
    ),
    ("-R", Features(&["quota", "free-space-tree", "block-group-tree"])),
    ("--checksum", Word(&["crc32c", "sha256"])),
    ("--csum", Word(&["crc32c", "sha256"])),
    ("-K", Nothing),
];

impl MkfsOptions {
    /// Parses what a StorageClass says, such as `-i 8192 -O ^has_journal`.
    ///
    /// # Errors
    /// An option, setting or value that is not on the list for this file system, or is given twice.
    pub fn parse(kind: FsKind, text: &str) -> Result<Self, BadOption> {
        let table = match kind {
            FsKind::Ext4 => EXT4,
            FsKind::Xfs => XFS,
            FsKind::Btrfs => BTRFS,
        };
        let mut flags: Vec<Flag> = Vec::new();
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let (word, joined) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (word, None),
            };
            let found = table.iter().find(|(name, _)| *name == word);
            let (name, value) =
                found.ok_or_else(|| unknown(&format!("mkfs.{kind}"), word, table))?;
            if flags.iter().any(|flag| flag.name == *name) {
                return Err(BadOption(format!("mkfs.{kind} option `{name}` is given twice")));
            }
            let given = match value {
                Nothing => joined,
                Number | Percent | Word(_) | Features(_) | Settings(_) | Switch => {
                    joined.or_else(|| words.next())
                }
            };
            value.check(&format!("mkfs.{kind} {name}"), given)?;
            flags.push(Flag { name, value: given.map(str::to_owned) });
        }
        Ok(Self(flags))
    }

    /// Those that a file system needs that is to keep project quotas (mke2fs(8), `quotatype`; xfs needs none).
    pub fn with_project_quotas(kind: FsKind) -> Self {
        let flag = |name, value: &str| Flag { name, value: Some(value.to_owned()) };
        match kind {
            FsKind::Ext4 => {
                Self(vec![flag("-O", "quota,project"), flag("-E", "quotatype=prjquota")])
            }
            FsKind::Xfs | FsKind::Btrfs => Self::default(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As arguments. An option of `defaults` that these set too loses to them; where both are
    /// settings (`-E`), they come after the defaults, so that the last of a pair counts.
    pub(in crate::fs) fn args(&self, defaults: &[(&'static str, Option<&str>)]) -> Vec<String> {
        let own = |name| self.0.iter().find(|flag| flag.name == name);
        let mut args = Vec::new();
        for (name, value) in defaults {
            let value = match (value, own(*name)) {
                (Some(value), Some(Flag { value: Some(own), .. })) if value.contains(',') => {
                    Some(format!("{value},{own}"))
                }
                (_, Some(flag)) => flag.value.clone(),
                (value, None) => value.map(str::to_owned),
            };
            args.push((*name).to_owned());
            args.extend(value);
        }
        for flag in &self.0 {
            if !defaults.iter().any(|(name, _)| *name == flag.name) {
                args.push(flag.name.to_owned());
                args.extend(flag.value.clone());
            }
        }
        args
    }
}

impl fmt::Display for MkfsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.args(&[]).join(" "))
    }
}

impl Value {
    /// Whether `given` is such a value; `option` names it in the complaint.
    fn check(&self, option: &str, given: Option<&str>) -> Result<(), BadOption> {
        let bad = |wants: &str| match given {
            Some(given) => Err(BadOption(format!("`{option}` cannot be `{given}`: {wants}"))),
            None => Err(BadOption(format!("`{option}` needs a value: {wants}"))),
        };
        let text = given.unwrap_or_default();
        match self {
            Nothing if given.is_none() => Ok(()),
            Nothing => bad("it takes no value"),
            Number if is_number(text) => Ok(()),
            Number => bad("write a whole number, perhaps with a unit such as k or m"),
            Percent if is_percent(text) => Ok(()),
            Percent => bad("write a number from 0 to 50"),
            Word(words) if words.contains(&text) => Ok(()),
            Word(words) => bad(&format!("use {}", words.join(", "))),
            Switch if matches!(given, None | Some("0" | "1")) => Ok(()),
            Switch => bad("use 0 or 1"),
            Features(known) => {
                let plain = |word: &str| known.contains(&word.strip_prefix('^').unwrap_or(word));
                match text.split(',').find(|word| !plain(word)) {
                    None => Ok(()),
                    Some(_) => bad(&format!("use {}", known.join(", "))),
                }
            }
            Settings(table) => {
                let mut seen = Vec::new();
                for setting in text.split(',') {
                    let (name, value) = match setting.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (setting, None),
                    };
                    let rule = table.iter().find(|(known, _)| *known == name);
                    let (_, rule) = rule.ok_or_else(|| unknown(option, name, table))?;
                    rule.check(&format!("{option} {name}"), value)?;
                    if seen.contains(&name) {
                        return Err(BadOption(format!("`{option} {name}` is given twice")));
                    }
                    seen.push(name);
                }
                Ok(())
            }
        }
    }
}

fn unknown(of: &str, option: &str, table: Table) -> BadOption {
    let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    BadOption(format!("{of} option `{option}` is not allowed: use {}", known.join(", ")))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_suffix(|c: char| "bskmgtpeKMGTPE".contains(c)).unwrap_or(text);
    (1..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_percent(text: &str) -> bool {
    let plain = text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain && text.parse::<f64>().is_ok_and(|percent| (0.0..=50.0).contains(&percent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use FsKind::{Btrfs, Ext4, Xfs};

    #[rstest]
    #[case(Ext4, "-i 8192 -O ^has_journal,quota -m 0.5")]
    #[case(Ext4, "-b 4096 -I 256 -N 1000 -T largefile -J size=16 -G 16")]
    #[case(Ext4, "-E stride=16,stripe_width=64,lazy_itable_init=0,packed_meta_blocks,discard")]
    #[case(Xfs, "-b size=4096 -d su=64k,sw=4 -i size=512,maxpct=25 -l size=64m,su=64k -K")]
    #[case(
        Xfs,
        "-m crc=1,reflink=0,finobt=1,rmapbt=1,bigtime=1 -n size=8k,version=ci -s size=4096"
    )]
    #[case(
        Btrfs,
        "-n 16k -s 4096 -m dup -d single -O ^no-holes,block-group-tree -K --checksum sha256"
    )]
    #[case(Ext4, "")]
    fn allowed(#[case] kind: FsKind, #[case] text: &str) {
        let options = MkfsOptions::parse(kind, text).unwrap();
        assert_eq!(options.to_string(), text);
        assert_eq!(MkfsOptions::parse(kind, &options.to_string()), Ok(options));
    }

    #[rstest]
    #[case::force(Ext4, "-F")]
    #[case::force_xfs(Xfs, "-f")]
    #[case::label(Ext4, "-L x")]
    #[case::uuid(Btrfs, "-U 00000000-0000-0000-0000-000000000000")]
    #[case::journal_device(Ext4, "-J device=/dev/sda")]
    #[case::journal_feature(Ext4, "-O journal_dev")]
    #[case::file(Xfs, "-d file=1")]
    #[case::name(Xfs, "-d name=/etc/passwd")]
    #[case::log_device(Xfs, "-l logdev=/dev/sda")]
    #[case::path_for_number(Ext4, "-i /dev/sda")]
    #[case::another_device(Xfs, "-K /dev/sda")]
    #[case::joined(Ext4, "-i8192")]
    #[case::undo_file(Ext4, "-z /tmp/x")]
    #[case::root_directory(Btrfs, "-r /etc")]
    #[case::stale_blocks(Ext4, "-E assume_storage_prezeroed=1")]
    #[case::offset(Ext4, "-E offset=4096")]
    #[case::raid(Btrfs, "-d raid0")]
    #[case::no_value(Ext4, "-i")]
    #[case::flag_for_value(Ext4, "-i -F")]
    #[case::twice(Ext4, "-i 8192 -i 4096")]
    #[case::twice_inside(Xfs, "-d su=4k,su=8k")]
    #[case::too_many(Ext4, "-m 51")]
    #[case::no_number(Ext4, "-m nan")]
    #[case::value_for_none(Xfs, "-d noalign=1")]
    #[case::empty_setting(Ext4, "-E stride=1,")]
    #[case::other_file_system(Btrfs, "-i 8192")]
    #[case::checksum(Btrfs, "--checksum=xxhash")]
    fn refused(#[case] kind: FsKind, #[case] text: &str) {
        MkfsOptions::parse(kind, text).unwrap_err();
    }

    #[test]
    fn a_complaint_names_the_option_and_what_is_allowed() {
        let told = |kind, text| MkfsOptions::parse(kind, text).unwrap_err().to_string();
        assert_eq!(told(Btrfs, "-m raid1"), "`mkfs.btrfs -m` cannot be `raid1`: use single, dup");
        assert_eq!(told(Xfs, "-b log=12"), "mkfs.xfs -b option `log` is not allowed: use size");
    }

    #[test]
    fn defaults_give_way() {
        let options = MkfsOptions::parse(Ext4, "-m 0 -E stride=16,discard -i 8192").unwrap();
        let defaults = [("-E", Some("lazy_itable_init=1,nodiscard")), ("-m", Some("5"))];
        assert_eq!(
            options.args(&defaults),
            ["-E", "lazy_itable_init=1,nodiscard,stride=16,discard", "-m", "0", "-i", "8192"]
        );
    }

    proptest! {
        #[test]
        fn nothing_typed_panics_and_what_passes_is_harmless(text in "[-a-zA-Z0-9=,^./ ]{0,40}") {
            for kind in FsKind::ALL {
                if let Ok(options) = MkfsOptions::parse(kind, &text) {
                    prop_assert!(!options.to_string().contains('/'));
                }
            }
        }
    }
}
