//! What an admin says about a pool: the spec of a `StoragePool`, and of each entry of a pools file.

mod devices;
mod directory;
mod memory;
mod source;
mod trim;
mod whole;

pub use devices::{DevicesSpec, LEAST_DISK, Mismatch};
pub use directory::{DirectoryLoopFile, DirectorySpec, QuotaFs};
pub use memory::{MemorySize, MemorySpec, RootMode};
pub use trim::{BadTrim, Trim};
pub use whole::WholeDevicesSpec;

use std::{ops::RangeInclusive, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    device::Wipe,
    lvm::{Layout, Raid, VgName},
    units::Bytes,
    volume::{Error, LayoutWish, Parameters, Provisioning},
};

/// What an admin says about a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// An existing volume group, used as it is. This, `loopFile`, `devices`, `directory`, `memory` or `wholeDevices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_group: Option<VgName>,
    /// A file that stands in for a disk; made when it is not there. This, `volumeGroup`, `devices`, `directory`,
    /// `memory` or `wholeDevices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_file: Option<LoopFile>,
    /// Disks that become a volume group of the pool's own. This, `volumeGroup`, `loopFile`, `directory`, `memory`
    /// or `wholeDevices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<DevicesSpec>,
    /// A directory whose volumes are directories with quotas. This, `volumeGroup`, `loopFile`, `devices`, `memory` or
    /// `wholeDevices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectorySpec>,
    /// The machine's memory. This, `volumeGroup`, `loopFile`, `devices`, `directory` or `wholeDevices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemorySpec>,
    /// Devices of which each is one volume. This, `volumeGroup`, `loopFile`, `devices`, `directory` or `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_devices: Option<WholeDevicesSpec>,
    /// Which volumes the pool may hold.
    #[serde(default)]
    pub provisioning: Provisions,
    /// How thick volumes lie on the disks when their StorageClass does not say.
    #[serde(default)]
    pub layout: LayoutWish,
    /// Which layouts a StorageClass may say; any of them when this is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    pub layouts: Vec<LayoutWish>,
    /// How many copies of their data `Raid1` and `Raid10` volumes have beside the first when their
    /// StorageClass does not say: 1 to 9.
    #[serde(default = "default_mirrors")]
    #[schemars(range(min = 1, max = 9))]
    pub mirrors: u32,
    /// Over how many disks the data of striped volumes lie, those of parity and mirrors not counted,
    /// when their StorageClass does not say: 2 to 128.
    #[serde(default = "default_stripes")]
    #[schemars(range(min = 2, max = 128))]
    pub stripes: u32,
    /// Room of the volume group that no volume is given.
    #[serde(default)]
    pub reserve: Bytes,
    /// The thin pool; needed unless `provisioning` is `Thick`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin_pool: Option<ThinPoolSpec>,
    /// What is done to a deleted volume's bytes when its StorageClass does not say.
    #[serde(default)]
    pub wipe: Wipe,
}

/// Which volumes a pool may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Provisions {
    /// Thick ones.
    #[default]
    Thick,
    /// Thin ones.
    Thin,
    /// Both; thick unless the StorageClass says otherwise.
    ThickAndThin,
}

/// A file that stands in for a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoopFile {
    /// An absolute path of a directory; made when it is not there.
    pub directory: PathBuf,
    /// How large; made larger the file grows, made smaller it stays as it is. At least 64Mi.
    pub size: Bytes,
}

/// The thin pool of a volume group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThinPoolSpec {
    /// Room for data, taken when the pool is made.
    pub size: Bytes,
    /// How its data lie on the disks. Its metadata are mirrored where they lie on a RAID, so that they bear as
    /// many losses.
    #[serde(default)]
    pub layout: LayoutWish,
    /// How many copies of its data `Raid1` and `Raid10` have beside the first; the pool's `mirrors` when this is
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub mirrors: Option<u32>,
    /// Over how many disks its data lie, those of parity and mirrors not counted; the pool's `stripes` when this
    /// is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 128))]
    pub stripes: Option<u32>,
    /// How large all thin volumes together may be, in percent of the thin pool: 100 to 10000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 100, max = 10000))]
    pub overprovision: u64,
    /// When the thin pool grows by itself; it does not when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoextend: Option<Autoextend>,
    /// How often mounted file systems on thin volumes give back what they do not use any more: `Off`, `Daily`,
    /// `Weekly`, or a time from 1m to 365d, such as 12h.
    #[serde(default)]
    pub trim: Trim,
}

/// When and by how much a thin pool grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Autoextend {
    /// When this many percent of its data are in use: 50 to 95.
    #[schemars(range(min = 50, max = 95))]
    pub threshold: u32,
    /// It grows by this many percent of its size: 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub percent: u32,
}

fn default_mirrors() -> u32 {
    1
}

fn default_stripes() -> u32 {
    2
}

fn hundred() -> u64 {
    100
}

/// The least loop file: smaller ones hardly have room for LVM's own metadata.
const LEAST_LOOP_FILE: Bytes = Bytes::mib(64);

impl PoolSpec {
    /// Everything that is wrong with it, as (field, with the fields it is in and dots between them;
    /// what is wrong and what is allowed).
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        found.extend(self.source_mistakes());
        found.extend(self.layout_mistakes());
        match (&self.thin_pool, self.provisioning) {
            (None, Provisions::Thin | Provisions::ThickAndThin) => {
                found.push(("thinPool", "thin volumes need it: say at least its `size`".into()));
            }
            (Some(_), Provisions::Thick) => {
                let why = "a `Thick` pool has none: say `provisioning: Thin` or `ThickAndThin`";
                found.push(("thinPool", why.to_owned()));
            }
            (Some(thin), _) => {
                found.extend(thin.mistakes());
                found.extend(self.thin_layout_mistakes(thin));
            }
            (None, Provisions::Thick) => (),
        }
        found
    }

    /// How volumes lie: each number in its range, and the layout of those that say nothing possible.
    fn layout_mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let numbers = [
            ("mirrors", self.mirrors, 1..=9, self.layout.mirrors()),
            ("stripes", self.stripes, 2..=128, self.layout.stripes()),
        ];
        for (field, value, range, of_layout) in numbers {
            let between = |it: &RangeInclusive<u32>| format!("{} to {}", it.start(), it.end());
            if !range.contains(&value) {
                found.push((field, format!("{value} is not in {}", between(&range))));
                continue;
            }
            if let Some(range) = of_layout.filter(|it| !it.contains(&value)) {
                let said = format!("{value} is not in the {} of {}", between(&range), self.layout);
                found.push((field, said));
            }
        }
        if !self.allows(self.layout) {
            let why = format!(
                "{} is not among `layouts`, which are {}",
                self.layout,
                self.allowed_layouts()
            );
            found.push(("layout", why));
        }
        found
    }

    /// How the thin pool lies, as [`PoolSpec::layout_mistakes`] of volumes.
    fn thin_layout_mistakes(&self, thin: &ThinPoolSpec) -> Vec<(&'static str, String)> {
        let layout = thin.layout;
        let mut found = Vec::new();
        if !self.allows(layout) {
            let allowed = self.allowed_layouts();
            let why = format!("{layout} is not among `layouts`, which are {allowed}");
            found.push(("thinPool.layout", why));
        }
        let numbers = [
            ("thinPool.mirrors", thin.mirrors, self.mirrors, layout.mirrors()),
            ("thinPool.stripes", thin.stripes, self.stripes, layout.stripes()),
        ];
        for (field, said, of_pool, allowed) in numbers {
            match (said, allowed) {
                (Some(value), None) => {
                    found.push((field, format!("{layout} has none, and {value} are said")));
                }
                (None, None) => (),
                (_, Some(range)) => {
                    let value = said.unwrap_or(of_pool);
                    let (first, last) = (range.start(), range.end());
                    if !range.contains(&value) {
                        let why = format!("{value} is not in the {first} to {last} of {layout}");
                        found.push((field, why));
                    }
                }
            }
        }
        found
    }

    fn allows(&self, layout: LayoutWish) -> bool {
        self.layouts.is_empty() || self.layouts.contains(&layout)
    }

    fn allowed_layouts(&self) -> String {
        self.layouts.iter().map(LayoutWish::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whether it may hold such volumes.
    pub fn offers(&self, provisioning: Provisioning) -> bool {
        match self.provisioning {
            Provisions::ThickAndThin => true,
            Provisions::Thick => provisioning == Provisioning::Thick,
            Provisions::Thin => provisioning == Provisioning::Thin,
        }
    }

    /// What a volume gets whose class does not say.
    pub fn default_provisioning(&self) -> Provisioning {
        match self.provisioning {
            Provisions::Thin => Provisioning::Thin,
            Provisions::Thick | Provisions::ThickAndThin => Provisioning::Thick,
        }
    }

    /// How a thick volume of this class lies on the pool's disks: as the class says, and where it says
    /// nothing, as the pool does. Nothing is ever made weaker than that.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layout that the pool does not allow, and for stripes or mirrors that
    /// the layout does not have.
    pub fn layout(&self, class: &Parameters) -> Result<Layout, Error> {
        let wish = class.layout.unwrap_or(self.layout);
        if !self.is_a_group() && wish != LayoutWish::Linear {
            let allowed = "only volumes of a volume group have one; leave it out";
            return Err(Error::invalid("parameters[layout]", wish.to_string(), allowed));
        }
        if !self.allows(wish) {
            let allowed = format!("the pool allows {}", self.allowed_layouts());
            return Err(Error::invalid("parameters[layout]", wish.to_string(), allowed));
        }
        class.ensure_fits(wish)?;
        let with_defaults = Parameters {
            mirrors: wish.mirrors().map(|_| class.mirrors.unwrap_or(self.mirrors)),
            stripes: wish.stripes().map(|_| class.stripes.unwrap_or(self.stripes)),
            ..class.clone()
        };
        // The numbers of the pool are for its own layout, and may be none for the class'.
        with_defaults.ensure_fits(wish)?;
        Ok(laid_out(wish, with_defaults.mirrors, with_defaults.stripes, class.stripe_size))
    }

    /// How the thin pool's data lie on the disks, where there is one.
    pub fn thin_layout(&self) -> Layout {
        let Some(thin) = &self.thin_pool else { return Layout::Linear };
        let mirrors = thin.layout.mirrors().map(|_| thin.mirrors.unwrap_or(self.mirrors));
        let stripes = thin.layout.stripes().map(|_| thin.stripes.unwrap_or(self.stripes));
        laid_out(thin.layout, mirrors, stripes, None)
    }
}

/// A layout of which the numbers are those that it has.
fn laid_out(
    wish: LayoutWish,
    mirrors: Option<u32>,
    stripes: Option<u32>,
    stripe_size: Option<Bytes>,
) -> Layout {
    match (wish.raid(), stripes) {
        (Some(level), _) => Layout::Raid(Raid {
            level,
            stripes: stripes.unwrap_or(1),
            mirrors: mirrors.unwrap_or(0),
            stripe_size,
        }),
        (None, Some(stripes)) => Layout::Striped { stripes, stripe_size },
        (None, None) => Layout::Linear,
    }
}

impl LoopFile {
    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let plain = self.directory.components().all(|part| {
            matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_))
        });
        if !self.directory.is_absolute() || !plain {
            let path = self.directory.display();
            found.push((
                "loopFile.directory",
                format!("`{path}` is not an absolute path without `..`"),
            ));
        }
        if self.size < LEAST_LOOP_FILE {
            found.push(("loopFile.size", format!("{} is less than {LEAST_LOOP_FILE}", self.size)));
        }
        found
    }
}

impl ThinPoolSpec {
    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.size < Bytes::mib(4) {
            found.push(("thinPool.size", format!("{} is less than 4Mi", self.size)));
        }
        if !(100..=10_000).contains(&self.overprovision) {
            let said = format!("{} is not in 100 to 10000", self.overprovision);
            found.push(("thinPool.overprovision", said));
        }
        if let Some(grow) = self.autoextend {
            if !(50..=95).contains(&grow.threshold) {
                let said = format!("{} is not in 50 to 95", grow.threshold);
                found.push(("thinPool.autoextend.threshold", said));
            }
            if !(1..=100).contains(&grow.percent) {
                let said = format!("{} is not in 1 to 100", grow.percent);
                found.push(("thinPool.autoextend.percent", said));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lvm::RaidLevel;

    fn spec(fields: &str) -> PoolSpec {
        serde_json::from_str(&format!(r#"{{"volumeGroup": "vg0"{fields}}}"#)).unwrap()
    }

    fn class(pairs: &[(&str, &str)]) -> Parameters {
        let map = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Parameters::parse(&map).unwrap()
    }

    fn raid(level: RaidLevel, stripes: u32, mirrors: u32) -> Layout {
        Layout::Raid(Raid { level, stripes, mirrors, stripe_size: None })
    }

    #[rstest]
    #[case::linear("", &[], Layout::Linear)]
    #[case::of_the_pool(r#", "layout": "Raid1""#, &[], raid(RaidLevel::Raid1, 1, 1))]
    #[case::copies(r#", "mirrors": 2"#, &[("layout", "Raid1")], raid(RaidLevel::Raid1, 1, 2))]
    #[case::of_the_class(
        r#", "layout": "Raid1""#, &[("mirrors", "3")], raid(RaidLevel::Raid1, 1, 3)
    )]
    #[case::parity(r#", "stripes": 4"#, &[("layout", "Raid5")], raid(RaidLevel::Raid5, 4, 0))]
    #[case::two_parities(
        "", &[("layout", "Raid6"), ("stripes", "3")], raid(RaidLevel::Raid6, 3, 0)
    )]
    #[case::mirrored_stripes("", &[("layout", "Raid10")], raid(RaidLevel::Raid10, 2, 1))]
    #[case::allowed(
        r#", "layout": "Raid1", "layouts": ["Raid1", "Linear"]"#, &[("layout", "Linear")], Layout::Linear
    )]
    fn layouts(#[case] pool: &str, #[case] pairs: &[(&str, &str)], #[case] want: Layout) {
        assert_eq!(spec(pool).mistakes(), []);
        assert_eq!(spec(pool).layout(&class(pairs)).unwrap(), want);
    }

    #[rstest]
    #[case::not_allowed(
        r#", "layout": "Raid1", "layouts": ["Raid1", "Raid5"]"#, &[("layout", "Linear")],
        "parameters[layout]: `Linear` is not accepted: the pool allows Raid1, Raid5"
    )]
    #[case::no_stripes_here(
        "", &[("stripes", "2")], "parameters[stripes]: `2` is not accepted: Linear has no stripes; leave it out or say another layout"
    )]
    #[case::too_few_by_default(
        "", &[("layout", "Raid6")], "parameters[stripes]: `2` is not accepted: Raid6 has 3 to 62"
    )]
    #[case::too_many_by_default(
        r#", "mirrors": 2"#, &[("layout", "Raid10")], "parameters[mirrors]: `2` is not accepted: Raid10 has 1"
    )]
    fn never_a_weaker_one(#[case] pool: &str, #[case] pairs: &[(&str, &str)], #[case] want: &str) {
        assert_eq!(spec(pool).layout(&class(pairs)).unwrap_err().to_string(), want);
    }

    fn thin(pool: &str, thin: &str) -> PoolSpec {
        spec(&format!(r#"{pool}, "provisioning": "Thin", "thinPool": {{"size": "1Gi"{thin}}}"#))
    }

    #[rstest]
    #[case::nothing_said(r#", "layout": "Raid1""#, "", Layout::Linear)]
    #[case::mirror("", r#", "layout": "Raid1""#, raid(RaidLevel::Raid1, 1, 1))]
    #[case::copies_of_the_pool(
        r#", "mirrors": 2"#,
        r#", "layout": "Raid1""#,
        raid(RaidLevel::Raid1, 1, 2)
    )]
    #[case::its_own_copies(
        r#", "mirrors": 2"#,
        r#", "layout": "Raid1", "mirrors": 3"#,
        raid(RaidLevel::Raid1, 1, 3)
    )]
    #[case::two_parities("", r#", "layout": "Raid6", "stripes": 4"#, raid(RaidLevel::Raid6, 4, 0))]
    #[case::striped("", r#", "layout": "Striped""#, Layout::Striped { stripes: 2, stripe_size: None })]
    fn how_the_thin_pool_lies(#[case] pool: &str, #[case] said: &str, #[case] want: Layout) {
        let spec = thin(pool, said);
        assert_eq!((spec.mistakes(), spec.thin_layout()), (Vec::new(), want));
    }

    #[rstest]
    #[case::weaker_than_the_layouts(r#", "layout": "Raid1", "layouts": ["Raid1"]"#, "", "layout")]
    #[case::too_few_of_the_pool("", r#", "layout": "Raid6""#, "stripes")]
    #[case::too_many("", r#", "layout": "Raid10", "mirrors": 2"#, "mirrors")]
    #[case::none_to_say("", r#", "layout": "Raid5", "mirrors": 1"#, "mirrors")]
    #[case::none_of_linear("", r#", "stripes": 2"#, "stripes")]
    fn mistakes_of_the_thin_pool(#[case] pool: &str, #[case] said: &str, #[case] field: &str) {
        let found = thin(pool, said).mistakes();
        let found: Vec<_> = found.into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, [format!("thinPool.{field}")]);
    }

    #[rstest]
    #[case::mirrors(r#", "mirrors": 10"#, "mirrors")]
    #[case::too_few(r#", "layout": "Raid6""#, "stripes")]
    #[case::too_many(r#", "layout": "Raid10", "mirrors": 2"#, "mirrors")]
    #[case::not_allowed(r#", "layouts": ["Raid1"]"#, "layout")]
    #[case::two_sources(r#", "memory": {"size": "1Gi"}"#, "memory")]
    fn mistakes(#[case] pool: &str, #[case] field: &str) {
        let found: Vec<_> = spec(pool).mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, [field]);
    }

    #[rstest]
    #[case::thin(r#", "provisioning": "Thin", "thinPool": {"size": "1Gi"}"#, "provisioning")]
    #[case::layout(r#", "layout": "Raid1""#, "layout")]
    #[case::layouts(r#", "layouts": ["Linear"]"#, "layouts")]
    #[case::reserve(r#", "reserve": "1Gi""#, "reserve")]
    fn a_pool_in_memory_has_nothing_of_a_group(#[case] said: &str, #[case] field: &str) {
        let pool = |said| format!(r#"{{"memory": {{"size": "1Gi"}}{said}}}"#);
        let read = |said| serde_json::from_str::<PoolSpec>(&pool(said)).unwrap();
        assert_eq!(read("").mistakes(), []);
        assert_eq!(read(said).mistakes().into_iter().map(|it| it.0).collect::<Vec<_>>(), [field]);
        let striped = class(&[("layout", "Striped")]);
        assert!(matches!(read("").layout(&striped), Err(Error::Invalid { .. })));
    }
}
