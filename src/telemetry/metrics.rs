//! Every figure that the program publishes, by name. Units are in the names.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::units::Bytes;

/// From a lookup in memory (under 1 ms) to the copy of a large volume.
const SECONDS: [f64; 11] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// All metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    rpcs: Family<Rpc, Histogram, fn() -> Histogram>,
    commands: Family<Command, Histogram, fn() -> Histogram>,
    pools: PoolGauges,
    copied: Family<Volume, Count>,
    to_copy: Family<Volume, Count>,
    /// Of nobody, this and the next: shown from when they are known.
    strays: Family<Nobody, Count>,
    held: Family<Nobody, Count>,
}

/// What is known of one pool at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolFigures {
    /// Room for volumes in all.
    pub size: Bytes,
    /// Room that no volume has and that is not reserved.
    pub free: Bytes,
    /// The largest thick volume that would be made now; `None` in a pool without thick volumes.
    pub largest_thick: Option<Bytes>,
    /// The largest thin volume that would be made now; `None` in a pool without thin volumes.
    pub largest_thin: Option<Bytes>,
    /// How full the thin pool is, if there is one and it is active.
    pub thin: Option<ThinUse>,
    /// Volumes, also those that a copy still fills.
    pub volumes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Deleted volumes whose bytes are yet to be wiped.
    pub wipes: u64,
    /// Their sizes, together.
    pub wipe: Bytes,
    /// Disks that are missing.
    pub missing: u64,
    /// Volumes and snapshots that lie on those, if only in part.
    pub lost: u64,
    /// Disks that are there, and without which RAID volumes go on because they have answered with errors.
    pub erring: u64,
    /// Whether the volume group could not be read when that was tried last.
    pub unreadable: bool,
    /// RAID volumes whose legs do not all have their data yet.
    pub filling: u64,
    /// How much of those is still to be filled.
    pub to_fill: Bytes,
    /// How trimming went, if there is a thin pool.
    pub trims: Option<Trims>,
}

/// How often file systems on thin volumes were trimmed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trims {
    /// As it should be.
    pub succeeded: u64,
    /// With an error.
    pub failed: u64,
}

/// How full a thin pool is, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThinUse {
    /// Of its data.
    pub data: f64,
    /// Of its metadata. A thin pool whose metadata is full goes read-only (lvmthin(7)).
    pub metadata: f64,
}

/// A copy under way: shown from its beginning until this is dropped.
#[derive(Debug)]
pub struct CopyProgress {
    volume: Volume,
    copied: Family<Volume, Count>,
    to_copy: Family<Volume, Count>,
}

type Count = Gauge<u64, AtomicU64>;
type Ratio = Gauge<f64, AtomicU64>;
/// No label at all.
type Nobody = [(&'static str, &'static str); 0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    method: String,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Command {
    verb: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolVolumes {
    pool: String,
    provisioning: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolOutcomes {
    pool: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Volume {
    volume: String,
}

#[derive(Clone, Default)]
struct PoolGauges {
    size: Family<Pool, Count>,
    free: Family<Pool, Count>,
    largest: Family<PoolVolumes, Count>,
    thin_data: Family<Pool, Ratio>,
    thin_metadata: Family<Pool, Ratio>,
    volumes: Family<Pool, Count>,
    snapshots: Family<Pool, Count>,
    wipes: Family<Pool, Count>,
    wipe: Family<Pool, Count>,
    missing: Family<Pool, Count>,
    erring: Family<Pool, Count>,
    lost: Family<Pool, Count>,
    unreadable: Family<Pool, Count>,
    filling: Family<Pool, Count>,
    to_fill: Family<Pool, Count>,
    trims: Family<PoolOutcomes, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, with nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tarn");
        let timer: fn() -> Histogram = || Histogram::new(SECONDS);
        let rpcs = Family::new_with_constructor(timer);
        let commands = Family::new_with_constructor(timer);
        let (copied, to_copy) = (Family::default(), Family::default());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of this program", version);
        let help = "How long CSI calls took, by method and gRPC code";
        registry.register("rpc_duration_seconds", help, rpcs.clone());
        let help = "How long LVM commands took, by verb and whether they succeeded";
        registry.register("lvm_command_duration_seconds", help, commands.clone());
        let pools = PoolGauges::default();
        pools.register(&mut registry);
        let help = "How much of a volume has been copied from its source so far";
        registry.register("copy_done_bytes", help, copied.clone());
        let help = "How much of a volume is copied from its source in all";
        registry.register("copy_size_bytes", help, to_copy.clone());
        let strays = Family::default();
        let help = "Volumes and snapshots that have had no object in the API for a while";
        registry.register("volumes_without_object", help, strays.clone());
        let held = Family::default();
        let help =
            "Deletions that wait until an admin allows them, because they are too many at once";
        registry.register("deletions_held", help, held.clone());
        let registry = Arc::new(registry);
        Self { registry, rpcs, commands, pools, copied, to_copy, strays, held }
    }

    /// A CSI call was answered. `code` is the gRPC code, as `ALREADY_EXISTS`.
    pub fn rpc(&self, method: &str, code: &'static str, took: Duration) {
        let labels = Rpc { method: method.to_owned(), code };
        self.rpcs.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// An LVM command ended. `verb` is its first word or two, as `lvcreate`.
    pub fn lvm_command(&self, verb: &str, outcome: Outcome, took: Duration) {
        let labels = Command { verb: verb.to_owned(), outcome: outcome.word() };
        self.commands.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// What a pool looks like now.
    pub fn pool(&self, name: &str, figures: &PoolFigures) {
        self.pools.set(name, figures);
    }

    /// So many volumes and snapshots have no object in the API, and so many deletions wait until
    /// they are allowed.
    pub fn concerns(&self, strays: u64, held: u64) {
        self.strays.get_or_create(&[]).set(strays);
        self.held.get_or_create(&[]).set(held);
    }

    /// A copy of `size` bytes into a volume begins.
    pub fn copy(&self, volume: &str, size: Bytes) -> CopyProgress {
        let volume = Volume { volume: volume.to_owned() };
        self.to_copy.get_or_create(&volume).set(size.0);
        self.copied.get_or_create(&volume).set(0);
        CopyProgress { volume, copied: self.copied.clone(), to_copy: self.to_copy.clone() }
    }

    /// All of them, as OpenMetrics text.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Succeeded,
    /// With an error.
    Failed,
}

impl Outcome {
    /// Of a command with this result.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Succeeded } else { Self::Failed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl PoolGauges {
    fn register(&self, to: &mut Registry) {
        to.register("pool_size_bytes", "Room for volumes in all", self.size.clone());
        to.register("pool_free_bytes", "Room for volumes that none has", self.free.clone());
        let help = "The largest volume that would be made now";
        to.register("pool_largest_volume_bytes", help, self.largest.clone());
        let help = "How full the thin pool's data is, from 0 to 1";
        to.register("pool_thin_data_used_ratio", help, self.thin_data.clone());
        let help = "How full the thin pool's metadata is, from 0 to 1";
        to.register("pool_thin_metadata_used_ratio", help, self.thin_metadata.clone());
        to.register("pool_volumes", "Volumes", self.volumes.clone());
        to.register("pool_snapshots", "Snapshots", self.snapshots.clone());
        let help = "Deleted volumes that are yet to be wiped";
        to.register("pool_wipes_pending", help, self.wipes.clone());
        let help = "Room of deleted volumes that are yet to be wiped";
        to.register("pool_wipes_pending_bytes", help, self.wipe.clone());
        to.register("pool_disks_missing", "Disks that are missing", self.missing.clone());
        let help = "Disks without which RAID volumes go on because they err";
        to.register("pool_disks_erring", help, self.erring.clone());
        let help = "Volumes and snapshots that lie on disks that are missing";
        to.register("pool_volumes_on_missing_disks", help, self.lost.clone());
        let help = "1 while the volume group cannot be read";
        to.register("pool_unreadable", help, self.unreadable.clone());
        let help = "RAID volumes whose legs do not all have their data yet";
        to.register("pool_volumes_filling", help, self.filling.clone());
        let help = "How much of these volumes is still to be filled";
        to.register("pool_filling_bytes", help, self.to_fill.clone());
        let help = "How often file systems on thin volumes were trimmed";
        to.register("pool_trims", help, self.trims.clone());
    }

    fn set(&self, name: &str, now: &PoolFigures) {
        let pool = Pool { pool: name.to_owned() };
        let set = |of: &Family<Pool, Count>, value: u64| {
            of.get_or_create(&pool).set(value);
        };
        set(&self.size, now.size.0);
        set(&self.free, now.free.0);
        set(&self.volumes, now.volumes);
        set(&self.snapshots, now.snapshots);
        set(&self.wipes, now.wipes);
        set(&self.wipe, now.wipe.0);
        set(&self.missing, now.missing);
        set(&self.erring, now.erring);
        set(&self.lost, now.lost);
        set(&self.unreadable, u64::from(now.unreadable));
        set(&self.filling, now.filling);
        set(&self.to_fill, now.to_fill.0);
        for (provisioning, largest) in [("thick", now.largest_thick), ("thin", now.largest_thin)] {
            let labels = PoolVolumes { pool: name.to_owned(), provisioning };
            self.largest.remove(&labels);
            if let Some(size) = largest {
                self.largest.get_or_create(&labels).set(size.0);
            }
        }
        if let Some(trims) = now.trims {
            for (outcome, count) in
                [(Outcome::Succeeded, trims.succeeded), (Outcome::Failed, trims.failed)]
            {
                let labels = PoolOutcomes { pool: name.to_owned(), outcome: outcome.word() };
                self.trims.get_or_create(&labels).inner().store(count, Ordering::Relaxed);
            }
        }
        let thin = [
            (&self.thin_data, now.thin.map(|thin| thin.data)),
            (&self.thin_metadata, now.thin.map(|thin| thin.metadata)),
        ];
        for (family, ratio) in thin {
            family.remove(&pool);
            if let Some(ratio) = ratio {
                family.get_or_create(&pool).set(ratio);
            }
        }
    }
}

impl CopyProgress {
    /// So many bytes have been copied.
    pub fn done(&self, bytes: Bytes) {
        self.copied.get_or_create(&self.volume).set(bytes.0);
    }
}

impl Drop for CopyProgress {
    fn drop(&mut self) {
        self.copied.remove(&self.volume);
        self.to_copy.remove(&self.volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text().unwrap();
        let figures = text.lines().filter(|line| !line.starts_with('#'));
        let mut figures: Vec<_> =
            figures.filter(|line| !line.contains("_bucket")).map(str::to_owned).collect();
        figures.sort();
        figures
    }

    #[test]
    fn figures_have_names_labels_and_units() {
        let metrics = Metrics::new();
        metrics.rpc("CreateVolume", "OK", Duration::from_millis(1500));
        metrics.lvm_command("lvcreate", Outcome::of(&Err::<(), _>(())), Duration::from_millis(250));
        let figures = PoolFigures {
            size: Bytes::gib(2),
            largest_thick: Some(Bytes::GIB),
            thin: Some(ThinUse { data: 0.25, metadata: 0.5 }),
            volumes: 3,
            trims: Some(Trims { succeeded: 5, failed: 1 }),
            ..PoolFigures::default()
        };
        metrics.pool("fast", &figures);
        assert!(!metrics.text().unwrap().contains("tarn_volumes_without_object{"), "not known");
        metrics.concerns(0, 3);
        insta::assert_snapshot!(lines(&metrics).join("\n"), @r#"
        tarn_build_info{version="0.1.0"} 1
        tarn_deletions_held{} 3
        tarn_lvm_command_duration_seconds_count{verb="lvcreate",outcome="failed"} 1
        tarn_lvm_command_duration_seconds_sum{verb="lvcreate",outcome="failed"} 0.25
        tarn_pool_disks_erring{pool="fast"} 0
        tarn_pool_disks_missing{pool="fast"} 0
        tarn_pool_filling_bytes{pool="fast"} 0
        tarn_pool_free_bytes{pool="fast"} 0
        tarn_pool_largest_volume_bytes{pool="fast",provisioning="thick"} 1073741824
        tarn_pool_size_bytes{pool="fast"} 2147483648
        tarn_pool_snapshots{pool="fast"} 0
        tarn_pool_thin_data_used_ratio{pool="fast"} 0.25
        tarn_pool_thin_metadata_used_ratio{pool="fast"} 0.5
        tarn_pool_trims_total{pool="fast",outcome="failed"} 1
        tarn_pool_trims_total{pool="fast",outcome="succeeded"} 5
        tarn_pool_unreadable{pool="fast"} 0
        tarn_pool_volumes_filling{pool="fast"} 0
        tarn_pool_volumes_on_missing_disks{pool="fast"} 0
        tarn_pool_volumes{pool="fast"} 3
        tarn_pool_wipes_pending_bytes{pool="fast"} 0
        tarn_pool_wipes_pending{pool="fast"} 0
        tarn_rpc_duration_seconds_count{method="CreateVolume",code="OK"} 1
        tarn_rpc_duration_seconds_sum{method="CreateVolume",code="OK"} 1.5
        tarn_volumes_without_object{} 0
        "#);
    }

    #[test]
    fn what_a_pool_no_longer_has_is_not_shown() {
        let metrics = Metrics::new();
        let thin = PoolFigures { thin: Some(ThinUse::default()), ..PoolFigures::default() };
        metrics.pool("fast", &thin);
        assert!(metrics.text().unwrap().contains("tarn_pool_thin_data_used_ratio{"));
        metrics.pool("fast", &PoolFigures::default());
        assert!(!metrics.text().unwrap().contains("tarn_pool_thin_data_used_ratio{"));
    }

    #[test]
    fn a_copy_is_shown_while_it_runs() {
        let metrics = Metrics::new();
        let copy = metrics.copy("v-1", Bytes::GIB);
        copy.done(Bytes::MIB);
        let text = metrics.text().unwrap();
        assert!(text.contains("tarn_copy_done_bytes{volume=\"v-1\"} 1048576\n"), "{text}");
        drop(copy);
        assert!(!metrics.text().unwrap().contains("v-1"));
    }

    #[test]
    fn each_metric_says_what_it_is_and_ends_in_one_full_stop() {
        let metrics = Metrics::new();
        metrics.pool("fast", &PoolFigures::default());
        let text = metrics.text().unwrap();
        let helps: Vec<&str> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
        assert!(helps.len() >= 7);
        assert!(helps.iter().all(|help| help.ends_with('.') && !help.ends_with("..")), "{text}");
    }
}
