//! `tarn adopt` and `tarn release`, as they are typed.

use clap::Args;

use super::{Error, cluster::VolumesDir, machine::MachineArgs};
use crate::{
    cluster::{ClaimName, ObjectName, Wishes, objects_text},
    device::Wipe,
    serve,
    volume::{Adoption, Existing, Purpose, VolumeId, VolumeName},
};

/// Make what is there, with its data, a volume of its pool: a logical volume, a disk, a partition
/// or a mount point.
///
/// A logical volume must be in the volume group of a pool of this machine. It gets another name and
/// tags. A disk, partition or mount point is said as an absolute path: of an entry of a directory of
/// a pool of whole devices. It gets a record among those of the driver. Nothing of what it holds is
/// touched, no file system is ever made on it, and nobody may use it meanwhile. The driver may run
/// or not, and has it at its next call. Called again, it finishes what was cut short, or finds what
/// is done. What keeps it from being adopted is said, and then nothing is changed.
///
/// With --print-pv the objects for Kubernetes go to stdout. They say Retain: deleting the claim
/// leaves the volume, with all its data. Deleting Tarn's LogicalVolume by hand leaves it, too: that
/// waits until the volume is released, or the annotation tarn.dev/delete-adopted=true of the
/// LogicalVolume says that the data are to go. It needs root, as LVM does.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = ADOPT_EXAMPLE)]
pub(super) struct AdoptArgs {
    /// The logical volume, only LV where one group alone has it; or the path of an entry.
    #[arg(value_name = "VG/LV|PATH")]
    what: Existing,

    /// The name of the volume that it becomes, and of its PersistentVolume.
    #[arg(long, value_name = "NAME")]
    name: VolumeName,

    /// What it is for: block, ext4, xfs or btrfs [default: the file system that is found on it].
    #[arg(long = "as", value_name = "PURPOSE")]
    purpose: Option<Purpose>,

    /// What is done to its bytes should DeleteVolume be called one day: Zero, Discard or None, of a
    /// whole device Zero, Discard, Shred or QuickReset [default: as its pool says].
    #[arg(long, value_name = "HOW", verbatim_doc_comment)]
    wipe: Option<Wipe>,

    /// Print the PersistentVolume, in YAML.
    #[arg(long)]
    print_pv: bool,

    /// Print also this claim, and bind the two to each other.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "print_pv")]
    claim: Option<ClaimName>,

    /// The StorageClass that both name; without it they name none.
    #[arg(long, value_name = "NAME", requires = "print_pv")]
    class: Option<ObjectName>,

    #[command(flatten)]
    machine: MachineArgs,

    #[command(flatten)]
    volumes: VolumesDir,
}

/// Hand an adopted volume back: its old name, its old tags, and all its data.
///
/// A whole device is what it was before: an entry that is refused for new volumes while anything is
/// on it. Nobody may use the volume, and it may have no snapshots. Called again, it finishes what was
/// cut short. In a cluster, stop its pods, then release it, and then delete its claim, its
/// PersistentVolume and, last, its LogicalVolume, which waits for the release if it is deleted before.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = RELEASE_EXAMPLE)]
pub(super) struct ReleaseArgs {
    /// The volume: the name that it was adopted by, or its id.
    #[arg(value_name = "VOLUME")]
    volume: VolumeName,

    #[command(flatten)]
    machine: MachineArgs,

    #[command(flatten)]
    volumes: VolumesDir,
}

const ADOPT_EXAMPLE: &str = "\
Example:
  $ tarn adopt vg0/photos --name photos --pools pools.yaml
  adopted vg0/photos as volume v-qstnvze46bebea5ks6dszqzqdn of pool fast: photos, ext4, 20Gi
  $ tarn adopt /mnt/disks/sda --name music --pools pools.yaml
  adopted /mnt/disks/sda as volume v-qdyytgcolstqfb6rgnbpnwva3n of pool fast: music, xfs, 931Gi
  $ kubectl -n tarn-system exec tarn-node-x7k2p -- \\
      tarn adopt vg0/photos --name photos --print-pv --claim home/photos | kubectl apply -f -";

const RELEASE_EXAMPLE: &str = "\
Example:
  $ tarn release photos --pools pools.yaml
  released volume v-qstnvze46bebea5ks6dszqzqdn: it is vg0/photos again";

impl AdoptArgs {
    /// Does it, and gives what is to be printed.
    pub(super) fn run(self) -> Result<String, Error> {
        let (driver, node) = (self.machine.driver(), self.machine.node()?);
        // Names that no object can have are said before anything is changed.
        let wishes = match self.print_pv {
            true => Some(Wishes {
                name: self.name.as_str().parse().map_err(|err| Error::NotAdopted(Box::new(err)))?,
                class: self.class.map(|it| it.to_string()).unwrap_or_default(),
                claim: self.claim,
            }),
            false => None,
        };
        let Self { what, name, purpose, wipe, volumes, .. } = self;
        let wanted = Adoption { what, name, purpose, wipe };
        let (source, volumes) = (self.machine.source()?, &volumes.volumes_dir);
        let adopted = serve::adopt(&driver, &node, source, volumes, &wanted);
        let adopted = adopted.map_err(|err| Error::NotAdopted(err.into()))?;
        let (was, volume, name) = (&adopted.was, &adopted.volume, adopted.name.as_str());
        let (id, purpose, size) = (&volume.id, volume.purpose, volume.size);
        let pool = &adopted.pool;
        let said =
            format!("adopted {was} as volume {id} of pool {pool}: {name}, {purpose}, {size}\n");
        match wishes {
            None => Ok(said),
            Some(wishes) => {
                let objects = objects_text(volume, &driver, &wishes).map_err(Error::Unwritten)?;
                Ok(format!("# {said}{objects}"))
            }
        }
    }
}

impl ReleaseArgs {
    /// Does it, and gives what is to be printed.
    pub(super) fn run(self) -> Result<String, Error> {
        let (driver, node) = (self.machine.driver(), self.machine.node()?);
        let id = self.volume.as_str().parse().unwrap_or_else(|_| VolumeId::of(&self.volume));
        let (source, volumes) = (self.machine.source()?, &self.volumes.volumes_dir);
        let released = serve::release(&driver, &node, source, volumes, &id);
        let released = released.map_err(|err| Error::NotReleased(err.into()))?;
        Ok(format!("released volume {}: it is {} again\n", released.id, released.is))
    }
}
