//! What each of our mounts was asked for, beside the mounts: mountinfo does not show every option,
//! and shows some that nobody asked for. Gone after a reboot, as the mounts are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{DeviceNumber, paths::ensure_directory};

/// One file for each mount, named after a hash of its place. A node's agent that is replaced finds
/// those of the one before.
const MARKS: &str = "/run/tarn/mounts";

/// Notes with what a device was mounted. Without the note a later look accepts any options.
pub(super) fn note(device: Option<DeviceNumber>, at: &Path, mark: &str) {
    let Some(device) = device else { return };
    let noted = ensure_directory(Path::new(MARKS))
        .map_err(|err| err.to_string())
        .and_then(|()| fs::write(place(at), line(device, mark)).map_err(|err| err.to_string()));
    if let Err(error) = noted {
        tracing::warn!(at = %at.display(), error, "the options of a mount could not be noted");
    }
}

/// Nothing of ours is mounted there any more, or not yet.
pub(super) fn forget(at: &Path) {
    match fs::remove_file(place(at)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(at = %at.display(), %err, "the note on a mount stays");
        }
        _ => (),
    }
}

/// What was noted of the mount of a device.
pub(super) fn read(device: DeviceNumber, at: &Path) -> Option<String> {
    let noted = fs::read_to_string(place(at)).ok()?;
    noted.strip_prefix(&line(device, "")).map(str::to_owned)
}

fn line(device: DeviceNumber, mark: &str) -> String {
    format!("{}:{} {mark}", device.major, device.minor)
}

fn place(at: &Path) -> PathBuf {
    Path::new(MARKS).join(HEXLOWER.encode(&Sha256::digest(at.as_os_str().as_encoded_bytes())))
}
