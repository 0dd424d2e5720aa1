//! What a logical volume's tags say of it: Tarn's only record, written by the command that makes
//! the volume. Pure.

use std::fmt::Write as _;

use crate::{
    device::Wipe,
    lvm::{Layout, LvName, Raid, RaidLevel, Tag},
    units::Bytes,
    volume::{Purpose, SnapshotId, Source, VolumeName},
};

/// The volume has never been staged, so a file system may be made on it if it is found empty.
pub(super) const FRESH: &str = "tarn.fresh";
/// The volume's file system shares its identity with the one it was copied from.
pub(super) const TWIN: &str = "tarn.twin";
/// The volume's content is still being copied.
pub(super) const COPYING: &str = "tarn.copying";
/// The volume was deleted while a disk of its group was missing, when LVM renames nothing.
pub(super) const DELETED: &str = "tarn.deleted";

/// What was moved away from a disk that was to leave still lies here; it is only to be wiped.
pub(super) const LEFTOVERS: &str = "tarn.leftovers";

/// What an adopted volume was called before, and is again once it is released.
const WAS: &str = "tarn.was";

/// What the tags of a volume or snapshot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The name that the caller gave.
    pub(super) name: VolumeName,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// The size that was asked for, in whole extents. A volume smaller than this is unfinished.
    pub(super) size: Bytes,
    /// How a thick volume lies on the disks.
    pub(super) layout: Layout,
    /// What is done to its bytes when it is deleted.
    pub(super) wipe: Wipe,
    /// Options for mkfs, as one text.
    pub(super) mkfs: String,
    /// What its content is copied from; for a snapshot, the volume.
    pub(super) source: Option<Source>,
    /// What it was called before it was adopted; `None` for what Tarn has made.
    pub(super) was: Option<LvName>,
    /// When it was made or adopted, in seconds since 1970 UTC.
    pub(super) created: i64,
    /// See [`FRESH`].
    pub(super) fresh: bool,
    /// See [`TWIN`].
    pub(super) twin: bool,
    /// See [`COPYING`].
    pub(super) copying: bool,
}

impl Record {
    /// The tags that say this, with `creator` as who made it.
    pub(super) fn tags(&self, creator: &str) -> Vec<Tag> {
        let mut texts = vec![
            format!("tarn.name={}", escape(self.name.as_str())),
            format!("tarn.for={}", self.purpose.word()),
            format!("tarn.size={}", self.size.0),
            format!("tarn.layout={}", layout_text(self.layout)),
            format!("tarn.wipe={}", self.wipe.word()),
            format!("tarn.at={}", self.created),
            format!("tarn.by={}", escape(creator)),
        ];
        if !self.mkfs.is_empty() {
            texts.push(format!("tarn.mkfs={}", escape(&self.mkfs)));
        }
        match &self.source {
            Some(Source::Volume(id)) => texts.push(format!("tarn.from={id}")),
            Some(Source::Snapshot(id)) => texts.push(format!("tarn.from={id}")),
            None => (),
        }
        if let Some(was) = &self.was {
            texts.push(format!("{WAS}={}", escape(was.as_str())));
        }
        for (is_so, word) in [(self.fresh, FRESH), (self.twin, TWIN), (self.copying, COPYING)] {
            if is_so {
                texts.push(word.to_owned());
            }
        }
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Reads tags; `None` for a volume that is not ours.
    pub(super) fn read(tags: &[Tag]) -> Option<Self> {
        let value = |key: &str| {
            tags.iter().find_map(|tag| tag.as_str().strip_prefix(key)?.strip_prefix('='))
        };
        let has = |word: &str| tags.iter().any(|tag| tag.as_str() == word);
        let source = match value("tarn.from") {
            None => None,
            Some(text) => Some(match text.parse::<SnapshotId>() {
                Ok(id) => Source::Snapshot(id),
                Err(_) => Source::Volume(text.parse().ok()?),
            }),
        };
        Some(Self {
            name: unescape(value("tarn.name")?)?.parse().ok()?,
            purpose: value("tarn.for")?.parse().ok()?,
            size: Bytes(value("tarn.size")?.parse().ok()?),
            layout: layout_of(value("tarn.layout")?)?,
            wipe: value("tarn.wipe")?.parse().ok()?,
            mkfs: unescape(value("tarn.mkfs").unwrap_or_default())?,
            source,
            was: match value(WAS) {
                None => None,
                Some(text) => Some(unescape(text)?.parse().ok()?),
            },
            created: value("tarn.at")?.parse().ok()?,
            fresh: has(FRESH),
            twin: has(TWIN),
            copying: has(COPYING),
        })
    }
}

/// The tags of [`LEFTOVERS`].
pub(super) fn wipe_tags(wipe: Wipe, creator: &str) -> Vec<Tag> {
    let wiped = format!("tarn.wipe={}", wipe.word());
    let texts = [LEFTOVERS.to_owned(), wiped, format!("tarn.by={}", escape(creator))];
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// How what was deleted is wiped, by its tags; with zeroes where they say nothing.
pub(super) fn wipe_said(tags: &[Tag]) -> Wipe {
    let mut said = tags.iter().filter_map(|tag| tag.as_str().strip_prefix("tarn.wipe="));
    said.find_map(|it| it.parse().ok()).unwrap_or(Wipe::Zero)
}

/// Whether a tag is one of Tarn's.
pub(super) fn is_ours(tag: &Tag) -> bool {
    tag.as_str().starts_with("tarn.")
}

/// Writes any text in the letters that a tag may hold: all but `a-z A-Z 0-9 _ . -` become `+` and
/// two hexadecimal digits a byte.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            escaped.push(char::from(byte));
        } else if write!(escaped, "+{byte:02X}").is_err() {
            return escaped;
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'+' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// As a tag and an error message say it: `linear`, `striped:3`, `striped:3:65536`, or a RAID with its
/// copies and stripes, `raid1:1x1`, `raid5:0x2`, `raid10:1x2:65536`.
pub(super) fn layout_text(layout: Layout) -> String {
    let (text, stripe_size) = match layout {
        Layout::Linear => return "linear".to_owned(),
        Layout::Striped { stripes, stripe_size } => (format!("striped:{stripes}"), stripe_size),
        Layout::Raid(Raid { level, stripes, mirrors, stripe_size }) => {
            (format!("{}:{mirrors}x{stripes}", level.name()), stripe_size)
        }
    };
    match stripe_size {
        None => text,
        Some(size) => format!("{text}:{}", size.0),
    }
}

fn layout_of(text: &str) -> Option<Layout> {
    let mut parts = text.split(':');
    let (word, numbers) = (parts.next()?, parts.next());
    let stripe_size = match parts.next() {
        Some(size) => Some(Bytes(size.parse().ok()?)),
        None => None,
    };
    match (word, numbers) {
        ("linear", None) => Some(Layout::Linear),
        ("striped", Some(stripes)) => {
            Some(Layout::Striped { stripes: stripes.parse().ok()?, stripe_size })
        }
        (word, Some(numbers)) => {
            let level = RaidLevel::ALL.into_iter().find(|level| level.name() == word)?;
            let (mirrors, stripes) = numbers.split_once('x')?;
            let (mirrors, stripes) = (mirrors.parse().ok()?, stripes.parse().ok()?);
            Some(Layout::Raid(Raid { level, stripes, mirrors, stripe_size }))
        }
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::{fs::FsKind, volume::VolumeId};

    fn raid(level: RaidLevel, stripes: u32, mirrors: u32, stripe_size: Option<Bytes>) -> Layout {
        Layout::Raid(Raid { level, stripes, mirrors, stripe_size })
    }

    fn record(name: &str) -> Record {
        Record {
            name: name.parse().unwrap(),
            purpose: Purpose::Filesystem(FsKind::Xfs),
            size: Bytes::GIB,
            layout: Layout::Striped { stripes: 3, stripe_size: Some(Bytes(65536)) },
            wipe: Wipe::Discard,
            mkfs: "-i size=512 -m reflink=1".to_owned(),
            source: Some(Source::Volume(VolumeId::of(&"origin".parse().unwrap()))),
            was: Some("data+1".parse().unwrap()),
            created: 1_763_797_000,
            fresh: true,
            twin: false,
            copying: true,
        }
    }

    #[test]
    fn tags_as_lvs_shows_them() {
        let tags = record("pvc 1").tags("local.tarn.dev");
        let texts: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        insta::assert_debug_snapshot!(texts, @r#"
        [
            "tarn.name=pvc+201",
            "tarn.for=xfs",
            "tarn.size=1073741824",
            "tarn.layout=striped:3:65536",
            "tarn.wipe=discard",
            "tarn.at=1763797000",
            "tarn.by=local.tarn.dev",
            "tarn.mkfs=-i+20size+3D512+20-m+20reflink+3D1",
            "tarn.from=v-dap52rx4jjzenopu6hv2geu3ux",
            "tarn.was=data+2B1",
            "tarn.fresh",
            "tarn.copying",
        ]
        "#);
    }

    #[test]
    fn a_volume_of_somebody_else_has_no_record() {
        assert_eq!(Record::read(&["theirs".parse().unwrap()]), None);
        assert_eq!(Record::read(&["tarn.name=+zz".parse().unwrap()]), None);
    }

    #[rstest]
    #[case("linear", Layout::Linear)]
    #[case("striped:2", Layout::Striped { stripes: 2, stripe_size: None })]
    #[case("raid1:2x1", raid(RaidLevel::Raid1, 1, 2, None))]
    #[case("raid5:0x3:4096", raid(RaidLevel::Raid5, 3, 0, Some(Bytes(4096))))]
    #[case("raid6:0x3", raid(RaidLevel::Raid6, 3, 0, None))]
    #[case("raid10:1x2:65536", raid(RaidLevel::Raid10, 2, 1, Some(Bytes(65536))))]
    fn layouts(#[case] text: &str, #[case] layout: Layout) {
        assert_eq!((layout_text(layout).as_str(), layout_of(text)), (text, Some(layout)));
    }

    #[rstest]
    #[case("raid1")]
    #[case("raid7:1x1")]
    #[case("raid1:1")]
    #[case("linear:1")]
    fn no_layouts(#[case] text: &str) {
        assert_eq!(layout_of(text), None);
    }

    proptest! {
        #[test]
        fn any_name_survives(name in proptest::string::string_regex("(?s).{1,32}").unwrap()) {
            let before = record(&name);
            prop_assert_eq!(Record::read(&before.tags("x")), Some(before));
        }
    }
}
