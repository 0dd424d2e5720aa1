//! What an admin says about a pool: the spec of a `StoragePool`, and of each entry of a pools file.

mod devices;

pub use devices::{DevicesSpec, LEAST_DISK, Mismatch};

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    device::Wipe,
    lvm::{Layout, VgName},
    units::Bytes,
    volume::{Error, LayoutWish, Parameters, Provisioning},
};

/// What an admin says about a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// An existing volume group, used as it is. This, `loopFile` or `devices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_group: Option<VgName>,
    /// A file that stands in for a disk; made when it is not there. This, `volumeGroup` or `devices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_file: Option<LoopFile>,
    /// Disks that become a volume group of the pool's own. This, `volumeGroup` or `loopFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<DevicesSpec>,
    /// Which volumes the pool may hold.
    #[serde(default)]
    pub provisioning: Provisions,
    /// How thick volumes lie on the disks when their StorageClass does not say.
    #[serde(default)]
    pub layout: LayoutWish,
    /// Over how many disks striped volumes lie when their StorageClass does not say: 2 to 128.
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
    /// How large all thin volumes together may be, in percent of the thin pool: 100 to 10000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 100, max = 10000))]
    pub overprovision: u64,
    /// When the thin pool grows by itself; it does not when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoextend: Option<Autoextend>,
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
        if !(2..=128).contains(&self.stripes) {
            found.push(("stripes", format!("{} is not in 2 to 128", self.stripes)));
        }
        match (&self.thin_pool, self.provisioning) {
            (None, Provisions::Thin | Provisions::ThickAndThin) => {
                found.push(("thinPool", "thin volumes need it: say at least its `size`".into()));
            }
            (Some(_), Provisions::Thick) => {
                let why = "a `Thick` pool has none: say `provisioning: Thin` or `ThickAndThin`";
                found.push(("thinPool", why.to_owned()));
            }
            (Some(thin), _) => found.extend(thin.mistakes()),
            (None, Provisions::Thick) => (),
        }
        found
    }

    /// Of what it is made: one of three, and that in order.
    fn source_mistakes(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("volumeGroup", self.volume_group.is_some()),
            ("loopFile", self.loop_file.is_some()),
            ("devices", self.devices.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given).map(|(field, _)| *field);
        let Some(first) = given.next() else {
            let why = "give `volumeGroup`, `loopFile` or `devices`";
            return vec![("volumeGroup", why.to_owned())];
        };
        if let Some(second) = given.next() {
            return vec![(second, format!("give `{first}` or `{second}`, not both"))];
        }
        let loop_file = self.loop_file.iter().flat_map(LoopFile::mistakes);
        loop_file.chain(self.devices.iter().flat_map(DevicesSpec::mistakes)).collect()
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

    /// How a thick volume of this class lies on the pool's disks.
    ///
    /// # Errors
    /// [`Error::Invalid`] for stripes of a linear volume.
    pub fn layout(&self, class: &Parameters) -> Result<Layout, Error> {
        match class.layout.unwrap_or(self.layout) {
            LayoutWish::Striped => Ok(Layout::Striped {
                stripes: class.stripes.unwrap_or(self.stripes),
                stripe_size: class.stripe_size,
            }),
            LayoutWish::Linear if class.stripes.is_some() || class.stripe_size.is_some() => {
                let allowed = "the pool's volumes are linear unless the class says `Striped`";
                Err(Error::invalid("parameters[stripes]", "given", allowed))
            }
            LayoutWish::Linear => Ok(Layout::Linear),
        }
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
