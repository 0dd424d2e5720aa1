//! One worker: walks at random through the life of its own volumes, and asks again whatever was
//! not answered.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tarn::csi::proto::{
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode},
    volume_content_source::{self, SnapshotSource, VolumeSource},
    *,
};
use tonic::{Code, Status};

use super::{
    board::Board,
    client::{Clients, Services, is_cut_off},
    dice::Dice,
    ground::while_open,
    journal::Journal,
    model::{Model, Op, Origin, Outcome, SLOT, Use, Volume},
};

/// How long one call may need until it has a final answer, over all repetitions.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a call that could not be done now waits.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Worker {
    pub(crate) model: Model,
    /// Where volumes are staged and published.
    pub(crate) folder: PathBuf,
    pub(crate) clients: Clients,
    pub(crate) board: Arc<Board>,
    pub(crate) dice: Dice,
    pub(crate) journal: Option<Journal>,
}

impl Worker {
    /// Walks until the board says that it is time to end, showing its model at every pause.
    pub(crate) fn walk(&mut self) -> Result<(), String> {
        while self.board.go_on(&self.model) {
            let op = self.model.choose(&mut self.dice);
            self.step(op)?;
        }
        Ok(())
    }

    /// Removes everything that it has made.
    pub(crate) fn tear_down(&mut self) -> Result<(), String> {
        while let Some(op) = self.model.tear_down() {
            self.step(op)?;
        }
        Ok(())
    }

    /// Looks whether what was written to any volume or snapshot is still there. No volume is in use after it.
    pub(crate) fn read_everything(&mut self) -> Result<(), String> {
        let names: Vec<String> = self.model.volumes.keys().cloned().collect();
        for name in names {
            self.read_volume(&name)?;
        }
        let snapshots = self.model.snapshots.clone();
        for (of, snapshot) in snapshots {
            let name = self.model.unused_name();
            let from = Some(Origin::Snapshot(of));
            let (size, usage, thin) = (snapshot.size, snapshot.usage, snapshot.thin);
            let restore = Op::Create { name: name.clone(), size, usage, thin, from };
            if let Outcome::Made { .. } = self.step(restore)? {
                self.read_volume(&name)?;
                self.step(Op::Delete { name })?;
            }
        }
        Ok(())
    }

    fn read_volume(&mut self, name: &str) -> Result<(), String> {
        let name = name.to_owned();
        let Volume { staged, published, .. } = self.volume(&name)?;
        if published.is_some() {
            self.step(Op::Unpublish { name: name.clone() })?;
        }
        if staged {
            self.step(Op::Unstage { name: name.clone() })?;
        }
        self.step(Op::Stage { name: name.clone() })?;
        self.step(Op::Publish { name: name.clone(), read_only: false })?;
        self.step(Op::Read { name: name.clone() })?;
        self.step(Op::Unpublish { name: name.clone() })?;
        self.step(Op::Unstage { name })?;
        Ok(())
    }

    /// Does one step to its final answer, and enters it.
    pub(crate) fn step(&mut self, op: Op) -> Result<Outcome, String> {
        if let Some(journal) = &mut self.journal {
            journal.begin(&op)?;
        }
        let outcome = self.perform(&op).map_err(|why| format!("{op:?}: {why}"))?;
        if let Some(journal) = &mut self.journal {
            journal.end(&op, &outcome)?;
        }
        self.model.enter(&op, &outcome);
        self.board.count(&op);
        Ok(outcome)
    }

    fn perform(&mut self, op: &Op) -> Result<Outcome, String> {
        match op {
            Op::Create { .. } => self.create(op),
            Op::Delete { name } => {
                let volume_id = self.volume(name)?.id;
                let request = DeleteVolumeRequest { volume_id, ..Default::default() };
                self.done(async |to| to.controller.delete_volume(request.clone()).await)
            }
            Op::Snapshot { name, of } => self.snapshot(name, of),
            Op::DeleteSnapshot { name } => {
                let snapshot = self.model.snapshots.get(name).ok_or("unknown")?;
                let snapshot_id = snapshot.id.clone();
                let request = DeleteSnapshotRequest { snapshot_id, ..Default::default() };
                self.done(async |to| to.controller.delete_snapshot(request.clone()).await)
            }
            Op::Expand { name, size } => self.expand(name, *size),
            Op::Stage { name } => self.stage(name),
            Op::Unstage { name } => {
                let (volume, staged) = (self.volume(name)?, self.staging(name));
                let staging_target_path = text(&staged);
                let request =
                    NodeUnstageVolumeRequest { volume_id: volume.id, staging_target_path };
                self.done(async |to| to.node.node_unstage_volume(request.clone()).await)?;
                // As the kubelet does.
                remove(fs::remove_dir(&staged))
            }
            Op::Publish { name, read_only } => self.publish(name, *read_only),
            Op::Unpublish { name } => {
                let (volume_id, at) = (self.volume(name)?.id, self.target(name));
                let request = NodeUnpublishVolumeRequest { volume_id, target_path: text(&at) };
                self.done(async |to| to.node.node_unpublish_volume(request.clone()).await)?;
                match at.symlink_metadata() {
                    Err(_) => Ok(Outcome::Done),
                    Ok(_) => Err(format!("{} is still there", at.display())),
                }
            }
            Op::Write { name, slot, seed } => {
                let volume = self.volume(name)?;
                let _open = while_open();
                write(&self.target(name), volume.usage, *slot, *seed)
                    .map_err(|err| err.to_string())?;
                Ok(Outcome::Done)
            }
            Op::Read { name } => {
                let volume = self.volume(name)?;
                let _open = while_open();
                read(&self.target(name), &volume)?;
                Ok(Outcome::Done)
            }
        }
    }

    fn create(&mut self, op: &Op) -> Result<Outcome, String> {
        let Op::Create { name, size, usage, thin, from } = op else { return Err("?".into()) };
        let provisioning = if *thin { "Thin" } else { "Thick" };
        let request = CreateVolumeRequest {
            name: name.clone(),
            capacity_range: capacity(*size),
            volume_capabilities: vec![capability(*usage, false)],
            parameters: [("provisioning".to_owned(), provisioning.to_owned())].into(),
            volume_content_source: self.content_source(from.as_ref())?,
            ..Default::default()
        };
        let made = self.ask(async |to| to.controller.create_volume(request.clone()).await);
        let Some(answer) = unless_full(made)? else { return Ok(Outcome::Full) };
        let volume = answer.volume.ok_or("no volume in the answer")?;
        let has = u64::try_from(volume.capacity_bytes).unwrap_or_default();
        if has < *size {
            return Err(format!("it has {has} bytes, asked for were {size}"));
        }
        Ok(Outcome::Made { id: volume.volume_id, size: has })
    }

    fn content_source(&self, from: Option<&Origin>) -> Result<Option<VolumeContentSource>, String> {
        use volume_content_source::Type;
        let source = match from {
            None => return Ok(None),
            Some(Origin::Volume(name)) => {
                Type::Volume(VolumeSource { volume_id: self.volume(name)?.id })
            }
            Some(Origin::Snapshot(name)) => {
                let snapshot = self.model.snapshots.get(name).ok_or("unknown")?;
                Type::Snapshot(SnapshotSource { snapshot_id: snapshot.id.clone() })
            }
        };
        Ok(Some(VolumeContentSource { r#type: Some(source) }))
    }

    fn snapshot(&mut self, name: &str, of: &str) -> Result<Outcome, String> {
        let source_volume_id = self.volume(of)?.id;
        let request =
            CreateSnapshotRequest { source_volume_id, name: name.into(), ..Default::default() };
        let made = self.ask(async |to| to.controller.create_snapshot(request.clone()).await);
        let Some(answer) = unless_full(made)? else { return Ok(Outcome::Full) };
        let snapshot = answer.snapshot.ok_or("no snapshot in the answer")?;
        if !snapshot.ready_to_use {
            return Err("the snapshot is not ready".into());
        }
        let size = u64::try_from(snapshot.size_bytes).unwrap_or_default();
        Ok(Outcome::Made { id: snapshot.snapshot_id, size })
    }

    fn expand(&mut self, name: &str, size: u64) -> Result<Outcome, String> {
        let volume = self.volume(name)?;
        let volume_capability = Some(capability(volume.usage, false));
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.id.clone(),
            capacity_range: capacity(size),
            volume_capability: volume_capability.clone(),
            ..Default::default()
        };
        let grown =
            self.ask(async |to| to.controller.controller_expand_volume(request.clone()).await);
        let Some(answer) = unless_full(grown)? else { return Ok(Outcome::Full) };
        let has = u64::try_from(answer.capacity_bytes).unwrap_or_default();
        if has < size {
            return Err(format!("it has {has} bytes, asked for were {size}"));
        }
        let writable = volume.published != Some(true);
        if volume.staged && volume.usage != Use::Block && writable {
            let path = self.staging(name);
            let request = NodeExpandVolumeRequest {
                volume_id: volume.id.clone(),
                volume_path: text(&path),
                staging_target_path: text(&path),
                volume_capability,
                capacity_range: capacity(size),
                ..Default::default()
            };
            self.done(async |to| to.node.node_expand_volume(request.clone()).await)?;
        }
        Ok(Outcome::Made { id: volume.id, size: has })
    }

    fn stage(&mut self, name: &str) -> Result<Outcome, String> {
        let (volume, staged) = (self.volume(name)?, self.staging(name));
        fs::create_dir_all(&staged).map_err(|err| err.to_string())?;
        let request = NodeStageVolumeRequest {
            volume_id: volume.id,
            staging_target_path: text(&staged),
            volume_capability: Some(capability(volume.usage, false)),
            ..Default::default()
        };
        self.done(async |to| to.node.node_stage_volume(request.clone()).await)
    }

    fn publish(&mut self, name: &str, read_only: bool) -> Result<Outcome, String> {
        let (volume, at) = (self.volume(name)?, self.target(name));
        let parent = at.parent().ok_or("no parent")?;
        fs::create_dir_all(parent).map_err(|err| err.to_string())?;
        let request = NodePublishVolumeRequest {
            volume_id: volume.id,
            staging_target_path: text(&self.staging(name)),
            target_path: text(&at),
            volume_capability: Some(capability(volume.usage, false)),
            readonly: read_only,
            ..Default::default()
        };
        self.done(async |to| to.node.node_publish_volume(request.clone()).await)
    }

    fn volume(&self, name: &str) -> Result<Volume, String> {
        self.model.volumes.get(name).cloned().ok_or_else(|| format!("no volume {name}"))
    }

    fn staging(&self, name: &str) -> PathBuf {
        staging(&self.folder, name)
    }

    fn target(&self, name: &str) -> PathBuf {
        target(&self.folder, name)
    }

    /// A call that must succeed in the end.
    fn done<T>(
        &mut self,
        call: impl AsyncFnMut(&mut Services) -> Result<T, Status>,
    ) -> Result<Outcome, String> {
        self.ask(call).map(|_| Outcome::Done).map_err(|status| said(&status))
    }

    /// Asks until there is a final answer: again when the driver died, again when what it says will pass.
    fn ask<T>(
        &mut self,
        mut call: impl AsyncFnMut(&mut Services) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.board.sending();
            let answer = self.clients.call(async |to| call(to).await);
            match answer {
                Err(status) if Instant::now() > deadline => {
                    return Err(Status::new(
                        Code::DeadlineExceeded,
                        format!("no final answer within {PATIENCE:?}, only {}", said(&status)),
                    ));
                }
                Err(status) if is_cut_off(&status) || is_passing(&status) => {
                    self.board.asked_again();
                    thread::sleep(PAUSE);
                }
                other => return other,
            }
        }
    }
}

/// Whether something is still under way, or a program that a killed driver has left still holds the volume: nobody
/// else uses it.
fn is_passing(status: &Status) -> bool {
    let is_held =
        status.code() == Code::FailedPrecondition && status.message().ends_with(" is in use");
    is_held || status.code() == Code::Aborted
}

/// What a worker's volume is staged at.
pub(crate) fn staging(folder: &Path, name: &str) -> PathBuf {
    folder.join("staging").join(name)
}

/// Where a worker's volume is published.
pub(crate) fn target(folder: &Path, name: &str) -> PathBuf {
    folder.join("pods").join(name).join("volume")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn said(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn remove(result: std::io::Result<()>) -> Result<Outcome, String> {
    match result {
        Ok(()) => Ok(Outcome::Done),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Outcome::Done),
        Err(err) => Err(format!("the staging directory stays: {err}")),
    }
}

/// No room is a final answer, too.
fn unless_full<T>(answer: Result<tonic::Response<T>, Status>) -> Result<Option<T>, String> {
    match answer {
        Ok(response) => Ok(Some(response.into_inner())),
        Err(status) => match status.code() {
            Code::ResourceExhausted | Code::OutOfRange => Ok(None),
            _ => Err(said(&status)),
        },
    }
}

fn capacity(size: u64) -> Option<CapacityRange> {
    let required_bytes = i64::try_from(size).unwrap_or(i64::MAX);
    Some(CapacityRange { required_bytes, limit_bytes: 0 })
}

fn capability(usage: Use, read_only: bool) -> VolumeCapability {
    let fs_type = match usage {
        Use::Block => "",
        Use::Ext4 => "ext4",
        Use::Xfs => "xfs",
        Use::Btrfs => "btrfs",
    };
    let access = match usage {
        Use::Block => AccessType::Block(BlockVolume {}),
        Use::Ext4 | Use::Xfs | Use::Btrfs => {
            AccessType::Mount(MountVolume { fs_type: fs_type.into(), ..Default::default() })
        }
    };
    let mode = if read_only {
        access_mode::Mode::SingleNodeReaderOnly
    } else {
        access_mode::Mode::SingleNodeWriter
    };
    VolumeCapability {
        access_type: Some(access),
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

/// Writes one place of a volume, through to the disk.
fn write(at: &Path, usage: Use, slot: u64, seed: u64) -> std::io::Result<()> {
    let bytes = Dice::bytes(seed, SLOT);
    if usage == Use::Block {
        let device = OpenOptions::new().write(true).open(at)?;
        device.write_all_at(&bytes, slot * SLOT as u64)?;
        return device.sync_all();
    }
    let name = at.join(format!("f{slot}"));
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(name)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    File::open(at)?.sync_all()
}

/// Compares everything that was written with what is there.
pub(crate) fn read(at: &Path, volume: &Volume) -> Result<(), String> {
    for (slot, seed) in &volume.content {
        let mut found = vec![0; SLOT];
        let read = if volume.usage == Use::Block {
            File::open(at).and_then(|it| it.read_exact_at(&mut found, slot * SLOT as u64))
        } else {
            let file = File::open(at.join(format!("f{slot}")));
            file.and_then(|it| it.read_exact_at(&mut found, 0))
        };
        read.map_err(|err| format!("place {slot} of {} cannot be read: {err}", at.display()))?;
        if found != Dice::bytes(*seed, SLOT) {
            return Err(format!("place {slot} of {} holds other bytes", at.display()));
        }
    }
    Ok(())
}
