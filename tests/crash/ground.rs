//! The volume group below the driver, and what must not be left over on it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tarn::csi::proto::{ListSnapshotsRequest, ListVolumesRequest};

use super::{
    client::Clients,
    model::Model,
    worker::{read, staging, target},
};

/// The name of the volume group.
pub(crate) const GROUP: &str = "crash";
/// How long the driver may take to wipe what was deleted.
const WIPING: Duration = Duration::from_secs(120);

/// Runs a program of the system and returns what it printed.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String, String> {
    #[expect(clippy::disallowed_methods, reason = "looks at the system from outside the driver")]
    let output = std::process::Command::new(program).args(args).output();
    let output = output.map_err(|err| format!("{program}: {err}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{program} {args:?}: {}: {}", output.status, text(&output.stderr)))
}

/// Makes the volume group on a disk, unless it is there, and a folder with the pools file.
pub(crate) fn prepare(disk: &str, folder: &Path) -> Result<(), String> {
    if run("vgs", &[GROUP]).is_err() {
        run("pvcreate", &["--yes", "--quiet", disk])?;
        run("vgcreate", &["--quiet", GROUP, disk])?;
    }
    let pools = format!(
        "pools:\n- name: crash\n  volumeGroup: {GROUP}\n  provisioning: ThickAndThin\n  \
         thinPool: {{ size: 1Gi, overprovision: 400 }}\n  wipe: Zero\n"
    );
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join("pools.yaml"), pools))
        .map_err(|err| format!("no pools file: {err}"))
}

/// Takes the volume group away again.
pub(crate) fn clear(disk: &str, folder: &Path) -> Result<(), String> {
    run("vgremove", &["--yes", "--force", "--quiet", GROUP])?;
    run("pvremove", &["--yes", "--quiet", disk])?;
    fs::remove_dir_all(folder).map_err(|err| err.to_string())
}

/// Everything that could be left over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Things {
    all: BTreeSet<String>,
}

impl Things {
    pub(crate) fn look(folder: &Path) -> Result<Self, String> {
        let mut all = BTreeSet::new();
        let mut add = |kind: &str, list: String| {
            all.extend(list.lines().map(|line| format!("{kind} {}", line.trim())));
        };
        add("free extents", run("vgs", &["--noheadings", "-o", "vg_free_count", GROUP])?);
        add("volume", run("lvs", &["-a", "--noheadings", "-o", "lv_full_name,lv_size"])?);
        // The layer below a thin pool comes with the first thin volume, and stays.
        let devices = run("dmsetup", &["info", "-c", "--noheadings", "-o", "name,suspended"])?;
        let devices = devices.lines().filter(|line| !line.contains("-tpool"));
        add("device", devices.collect::<Vec<_>>().join("\n"));
        add("loop", run("losetup", &["--list", "--noheadings", "--output", "NAME,BACK-FILE"])?);
        add("mount", run("findmnt", &["--list", "--noheadings", "-o", "TARGET,SOURCE"])?);
        for name in ["staging", "pods"] {
            add("file", files(&folder.join(name)).join("\n"));
        }
        Ok(Self { all })
    }

    /// As text, one thing a line.
    pub(crate) fn to_text(&self) -> String {
        self.all.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The opposite of [`Things::to_text`].
    pub(crate) fn from_text(text: &str) -> Self {
        Self { all: text.lines().map(str::to_owned).collect() }
    }

    /// Waits until only what there was before is left.
    pub(crate) fn await_again(&self, folder: &Path) -> Result<(), String> {
        let deadline = Instant::now() + WIPING;
        loop {
            let now = Self::look(folder)?;
            if now == *self {
                return Ok(());
            }
            if Instant::now() > deadline {
                let more: Vec<_> = now.all.difference(&self.all).collect();
                let less: Vec<_> = self.all.difference(&now.all).collect();
                return Err(format!("left over: {more:#?}; missing: {less:#?}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn files(folder: &Path) -> Vec<String> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = found.flat_map(|entry| {
        let path = entry.path();
        // The empty folder of a pod is the kubelet's to remove.
        let of_pod = path.parent().is_some_and(|it| it.ends_with("pods"));
        if of_pod { files(&path) } else { vec![path.display().to_string()] }
    });
    below.collect()
}

/// Compares what the driver and the system say with what the workers were told. No worker may be
/// at work.
pub(crate) fn check(folder: &Path, models: &[Model]) -> Result<(), String> {
    // New ones: those of before a kill may not have noticed it.
    compare_lists(&mut Clients::new(folder), models)?;
    compare_volumes(models)?;
    let mounts = mounted()?;
    for (name, volume) in models.iter().flat_map(|model| &model.volumes) {
        let staged = staging(folder, name);
        if volume.staged && volume.usage != super::model::Use::Block && !mounts.contains(&staged) {
            return Err(format!("{name} is no longer mounted at {}", staged.display()));
        }
        let at = target(folder, name);
        if volume.published.is_some() {
            if !mounts.contains(&at) {
                return Err(format!("{name} is no longer mounted at {}", at.display()));
            }
            read(&at, volume)?;
        }
    }
    Ok(())
}

fn compare_lists(clients: &mut Clients, models: &[Model]) -> Result<(), String> {
    let listed = clients.call(async |to| {
        let volumes = to.controller.list_volumes(ListVolumesRequest::default()).await?;
        let snapshots = to.controller.list_snapshots(ListSnapshotsRequest::default()).await?;
        Ok((volumes.into_inner(), snapshots.into_inner()))
    });
    let (volumes, snapshots) = listed.map_err(|status| status.to_string())?;
    let volumes = volumes.entries.into_iter().filter_map(|it| it.volume);
    let snapshots = snapshots.entries.into_iter().filter_map(|it| it.snapshot);
    let has: BTreeSet<(String, i64)> = volumes
        .map(|it| (it.volume_id, it.capacity_bytes))
        .chain(snapshots.map(|it| (it.snapshot_id, it.size_bytes)))
        .collect();
    let volumes = models.iter().flat_map(|it| it.volumes.values()).map(|it| (&it.id, it.size));
    let snapshots = models.iter().flat_map(|it| it.snapshots.values()).map(|it| (&it.id, it.size));
    let want: BTreeSet<(String, i64)> = volumes
        .chain(snapshots)
        .map(|(id, size)| (id.clone(), i64::try_from(size).unwrap_or_default()))
        .collect();
    same("the driver lists", &has, &want)
}

/// What LVM has: what the workers know, what waits to be wiped, and the parts of the thin pool;
/// nothing suspended.
fn compare_volumes(models: &[Model]) -> Result<(), String> {
    let fields = "lv_name,segtype,origin,lv_suspended,lv_health_status,lv_check_needed";
    let report = run("lvs", &["--noheadings", "--separator", ",", "-o", fields, GROUP])?;
    let mut has = BTreeSet::new();
    for line in report.lines() {
        let mut words = line.trim().split(',');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (name, kind, origin) = (next(), next(), next());
        // An inactive volume's state is "unknown".
        let state: Vec<&str> = words.filter(|word| !["", "unknown"].contains(word)).collect();
        if !state.is_empty() {
            return Err(format!("{name} is {}", state.join(" ")));
        }
        // What is deleted waits to be wiped: a volume under another name, a copy-on-write snapshot
        // split off from its origin.
        let is_there = name.starts_with("v-") || kind == "thin" || !origin.is_empty();
        if is_there {
            has.insert(name);
        }
    }
    let volumes = models.iter().flat_map(|it| it.volumes.values()).map(|it| it.id.clone());
    let snapshots = models.iter().flat_map(|it| it.snapshots.values()).map(|it| it.id.clone());
    same("LVM has", &has, &volumes.chain(snapshots).collect())
}

fn same<T: Ord + std::fmt::Debug>(
    who: &str,
    has: &BTreeSet<T>,
    want: &BTreeSet<T>,
) -> Result<(), String> {
    if has == want {
        return Ok(());
    }
    let more: Vec<_> = has.difference(want).collect();
    let less: Vec<_> = want.difference(has).collect();
    Err(format!("{who} what nobody was told of: {more:?}, and lacks: {less:?}"))
}

fn mounted() -> Result<BTreeSet<PathBuf>, String> {
    let info = fs::read_to_string("/proc/self/mountinfo").map_err(|err| err.to_string())?;
    Ok(info.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect())
}

/// What a person would look at first when something went wrong.
pub(crate) fn scene() -> String {
    let commands: [(&str, &[&str]); 3] = [
        ("lvs", &["-a", "-o", "lv_name,lv_attr,lv_size,lv_suspended,origin,lv_tags", GROUP]),
        ("dmsetup", &["info", "-c"]),
        ("findmnt", &["--list", "-t", "ext4,xfs,btrfs,devtmpfs"]),
    ];
    let parts = commands.map(|(program, args)| run(program, args).unwrap_or_else(|err| err));
    format!("\n{}", parts.join("\n\n"))
}
