//! A small CSI client for scripts: one call, its answer in lines of `field value`.
//!
//!     csi SOCKET CreateVolume name=pvc-1 size=1Gi fs=ext4 provisioning=Thin
//!     csi SOCKET NodeStageVolume volume=v-… staging=/run/stage fs=ext4
//!
//! What a call needs and leaves out is refused by the driver, whose code and message then go to
//! stderr.
//!
//! Without a method, calls are read from stdin, one a line, until its end. After each answer comes
//! a line `ok`, or `failed` and why. `demo/life` is made with it: one program for all its calls.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail, ensure};
use tarn::{
    csi::proto::{
        self, CapacityRange, VolumeCapability, VolumeContentSource,
        controller_client::ControllerClient,
        identity_client::IdentityClient,
        node_client::NodeClient,
        volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode},
        volume_content_source::{SnapshotSource, Type, VolumeSource},
    },
    units::Bytes,
};
use tonic::transport::{Channel, Endpoint};

const USAGE: &str = "usage: csi SOCKET [METHOD [KEY=VALUE...]]
  GetPluginInfo      CreateVolume name size [fs | block=yes] [snapshot | source] [StorageClass keys]
  GetCapacity [StorageClass keys]       DeleteVolume volume          ControllerExpandVolume volume size
  CreateSnapshot name volume            DeleteSnapshot snapshot
  NodeStageVolume volume staging fs     NodePublishVolume volume staging target fs [readonly=yes]
  NodeUnpublishVolume volume target     NodeUnstageVolume volume staging
  NodeExpandVolume volume path";

/// What is answered: fields in order.
type Answer = Vec<(&'static str, String)>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            writeln!(io::stderr(), "csi: {err:#}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (socket, words) = words.split_first().context(USAGE)?;
    let address = format!("unix://{}", socket.trim_start_matches("unix://"));
    let channel = Endpoint::from_shared(address)?
        .connect()
        .await
        .with_context(|| format!("nobody answers at {socket}"))?;
    if !words.is_empty() {
        return tell(&call(channel, words).await?);
    }
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match call(channel.clone(), &words).await {
            Ok(answer) => {
                tell(&answer)?;
                writeln!(io::stdout(), "ok")?;
            }
            Err(err) => writeln!(io::stdout(), "failed {err:#}")?,
        }
    }
    Ok(())
}

fn tell(answer: &Answer) -> anyhow::Result<()> {
    let mut out = io::stdout();
    answer.iter().try_for_each(|(field, value)| writeln!(out, "{field:<16} {value}"))?;
    Ok(())
}

/// Makes one call: a method, and its keys.
async fn call(channel: Channel, words: &[String]) -> anyhow::Result<Answer> {
    let (method, keys) = words.split_first().context(USAGE)?;
    let keys = keys
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(anyhow!("`{word}` is not KEY=VALUE\n{USAGE}")),
        })
        .collect::<anyhow::Result<_>>()?;
    let mut keys = Keys(keys);
    let answer = match method.as_str() {
        "GetPluginInfo" => plugin_info(channel).await,
        "NodeStageVolume"
        | "NodePublishVolume"
        | "NodeUnpublishVolume"
        | "NodeUnstageVolume"
        | "NodeExpandVolume" => node(method, &mut keys, NodeClient::new(channel)).await,
        _ => controller(method, &mut keys, ControllerClient::new(channel)).await,
    };
    answer.map_err(|err| match err.downcast::<tonic::Status>() {
        Ok(status) => anyhow!("{:?}: {}", status.code(), status.message()),
        Err(err) => err,
    })
}

async fn plugin_info(channel: Channel) -> anyhow::Result<Answer> {
    let request = proto::GetPluginInfoRequest {};
    let info = IdentityClient::new(channel).get_plugin_info(request).await?.into_inner();
    Ok(vec![("name", info.name), ("version", info.vendor_version)])
}

async fn controller(
    method: &str,
    keys: &mut Keys,
    mut client: ControllerClient<Channel>,
) -> anyhow::Result<Answer> {
    match method {
        "CreateVolume" => {
            let request = keys.create()?;
            let made = client.create_volume(request).await?.into_inner().volume;
            let made = made.context("the answer holds no volume")?;
            Ok(vec![("volume_id", made.volume_id), ("capacity", size(made.capacity_bytes))])
        }
        "DeleteVolume" => {
            let request =
                proto::DeleteVolumeRequest { volume_id: keys.take("volume"), ..Default::default() };
            keys.done()?;
            client.delete_volume(request).await?;
            Ok(Vec::new())
        }
        "ControllerExpandVolume" => {
            let request = proto::ControllerExpandVolumeRequest {
                volume_id: keys.take("volume"),
                capacity_range: keys.range()?,
                ..Default::default()
            };
            keys.done()?;
            let grown = client.controller_expand_volume(request).await?.into_inner();
            Ok(vec![("capacity", size(grown.capacity_bytes))])
        }
        "GetCapacity" => {
            let parameters = std::mem::take(&mut keys.0);
            let request = proto::GetCapacityRequest { parameters, ..Default::default() };
            let room = client.get_capacity(request).await?.into_inner();
            let largest = room.maximum_volume_size.unwrap_or_default();
            Ok(vec![
                ("available", size(room.available_capacity)),
                ("largest_volume", size(largest)),
            ])
        }
        "CreateSnapshot" => {
            let request = proto::CreateSnapshotRequest {
                name: keys.take("name"),
                source_volume_id: keys.take("volume"),
                ..Default::default()
            };
            keys.done()?;
            let taken = client.create_snapshot(request).await?.into_inner().snapshot;
            let taken = taken.context("the answer holds no snapshot")?;
            Ok(vec![("snapshot_id", taken.snapshot_id), ("size", size(taken.size_bytes))])
        }
        "DeleteSnapshot" => {
            let request = proto::DeleteSnapshotRequest {
                snapshot_id: keys.take("snapshot"),
                ..Default::default()
            };
            keys.done()?;
            client.delete_snapshot(request).await?;
            Ok(Vec::new())
        }
        _ => bail!("no method {method}\n{USAGE}"),
    }
}

async fn node(
    method: &str,
    keys: &mut Keys,
    mut client: NodeClient<Channel>,
) -> anyhow::Result<Answer> {
    let volume_id = keys.take("volume");
    match method {
        "NodeStageVolume" => {
            let request = proto::NodeStageVolumeRequest {
                volume_id,
                staging_target_path: keys.take("staging"),
                volume_capability: Some(keys.capability()),
                ..Default::default()
            };
            keys.done()?;
            client.node_stage_volume(request).await?;
        }
        "NodePublishVolume" => {
            let request = proto::NodePublishVolumeRequest {
                volume_id,
                staging_target_path: keys.take("staging"),
                target_path: keys.take("target"),
                readonly: keys.take("readonly") == "yes",
                volume_capability: Some(keys.capability()),
                ..Default::default()
            };
            keys.done()?;
            client.node_publish_volume(request).await?;
        }
        "NodeUnpublishVolume" => {
            let target_path = keys.take("target");
            keys.done()?;
            let request = proto::NodeUnpublishVolumeRequest { volume_id, target_path };
            client.node_unpublish_volume(request).await?;
        }
        "NodeUnstageVolume" => {
            let staging_target_path = keys.take("staging");
            keys.done()?;
            let request = proto::NodeUnstageVolumeRequest { volume_id, staging_target_path };
            client.node_unstage_volume(request).await?;
        }
        _ => {
            let volume_path = keys.take("path");
            keys.done()?;
            let request =
                proto::NodeExpandVolumeRequest { volume_id, volume_path, ..Default::default() };
            let grown = client.node_expand_volume(request).await?.into_inner();
            return Ok(vec![("capacity", size(grown.capacity_bytes))]);
        }
    }
    Ok(Vec::new())
}

/// What was typed after the method; each key is taken once.
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn take(&mut self, key: &str) -> String {
        self.0.remove(key).unwrap_or_default()
    }

    /// A key that the method does not know is a typing mistake.
    fn done(&self) -> anyhow::Result<()> {
        let left: Vec<&str> = self.0.keys().map(String::as_str).collect();
        ensure!(left.is_empty(), "this method does not take {}\n{USAGE}", left.join(", "));
        Ok(())
    }

    /// CreateVolume; what it does not know itself are the keys of a StorageClass.
    fn create(&mut self) -> anyhow::Result<proto::CreateVolumeRequest> {
        let snapshot = self.take("snapshot");
        let source = self.take("source");
        let content = if !snapshot.is_empty() {
            Some(Type::Snapshot(SnapshotSource { snapshot_id: snapshot }))
        } else if !source.is_empty() {
            Some(Type::Volume(VolumeSource { volume_id: source }))
        } else {
            None
        };
        Ok(proto::CreateVolumeRequest {
            name: self.take("name"),
            capacity_range: self.range()?,
            volume_capabilities: vec![self.capability()],
            volume_content_source: content.map(|it| VolumeContentSource { r#type: Some(it) }),
            parameters: std::mem::take(&mut self.0),
            ..Default::default()
        })
    }

    fn range(&mut self) -> anyhow::Result<Option<CapacityRange>> {
        let text = self.take("size");
        if text.is_empty() {
            return Ok(None);
        }
        let size: Bytes = text.parse()?;
        Ok(Some(CapacityRange { required_bytes: size.as_i64(), limit_bytes: 0 }))
    }

    /// A volume of one node: raw block, or a file system.
    fn capability(&mut self) -> VolumeCapability {
        let fs_type = self.take("fs");
        let access_type = match self.take("block").as_str() {
            "yes" => AccessType::Block(BlockVolume {}),
            _ => AccessType::Mount(MountVolume { fs_type, ..Default::default() }),
        };
        let mode = access_mode::Mode::SingleNodeWriter.into();
        VolumeCapability { access_type: Some(access_type), access_mode: Some(AccessMode { mode }) }
    }
}

fn size(bytes: i64) -> String {
    u64::try_from(bytes).map_or_else(|_| bytes.to_string(), |bytes| Bytes(bytes).to_string())
}
