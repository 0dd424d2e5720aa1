//! A pool in a directory with project quotas.

use std::path::{Component, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LEAST_LOOP_FILE, hundred, memory::per_inode};
use crate::{fs::FsKind, units::Bytes};

/// A directory on an ext4 or xfs that is mounted with project quotas, or with a file that has one in it: each volume is a
/// directory in that, whose quota is the volume's size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectorySpec {
    /// Its absolute path; it must be there, unless there is a `loopFile`. Volumes are in a directory of the pool's
    /// name in it.
    pub path: PathBuf,
    /// A file in this directory, with a file system of its own for the volumes; made when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loop_file: Option<DirectoryLoopFile>,
    /// How large all volumes together may be, in percent of what there is for them: 100 to 10000.
    #[serde(default = "hundred")]
    #[schemars(range(min = 100, max = 10000))]
    pub overprovision: u64,
    /// For how much of its size a volume may have one file or directory: at least 4Ki.
    #[serde(default = "per_inode")]
    pub bytes_per_inode: Bytes,
}

/// A file with a file system that keeps project quotas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryLoopFile {
    /// How large; made larger the file and its file system grow, made smaller they stay as they are. At least 64Mi,
    /// for `xfs` 300Mi.
    pub size: Bytes,
    /// The file system in it, which stays as it was made.
    #[serde(default)]
    pub fs_type: QuotaFs,
}

/// A file system that keeps project quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuotaFs {
    /// ext4.
    #[default]
    Ext4,
    /// xfs.
    Xfs,
}

impl QuotaFs {
    /// Among all that Tarn makes.
    pub fn kind(self) -> FsKind {
        match self {
            Self::Ext4 => FsKind::Ext4,
            Self::Xfs => FsKind::Xfs,
        }
    }
}

impl DirectoryLoopFile {
    fn mistakes(&self) -> Option<(&'static str, String)> {
        let (size, kind) = (self.size, self.fs_type.kind());
        let least = kind.smallest().max(LEAST_LOOP_FILE);
        let why = || format!("{size} is less than {least}, the least for {kind}");
        (size < least).then(|| ("directory.loopFile.size", why()))
    }
}

impl DirectorySpec {
    /// Everything that is wrong with it, as in [`super::PoolSpec::mistakes`].
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut parts = self.path.components();
        let is_plain = parts.all(|it| matches!(it, Component::RootDir | Component::Normal(_)));
        if !self.path.is_absolute() || !is_plain {
            let why = format!("`{}` is not an absolute path without `..`", self.path.display());
            found.push(("directory.path", why));
        } else if self.path.parent().is_none() {
            found.push(("directory.path", "the root directory is not for volumes".to_owned()));
        }
        found.extend(self.loop_file.iter().find_map(DirectoryLoopFile::mistakes));
        if !(100..=10_000).contains(&self.overprovision) {
            let why = format!("{} is not in 100 to 10000", self.overprovision);
            found.push(("directory.overprovision", why));
        }
        if self.bytes_per_inode < Bytes(4 << 10) {
            let why = format!("{} is less than 4Ki", self.bytes_per_inode);
            found.push(("directory.bytesPerInode", why));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::relative(r#"{"path": "srv"}"#, "path")]
    #[case::dots(r#"{"path": "/srv/../etc"}"#, "path")]
    #[case::root(r#"{"path": "/"}"#, "path")]
    #[case::less(r#"{"path": "/srv", "overprovision": 99}"#, "overprovision")]
    #[case::inodes(r#"{"path": "/srv", "bytesPerInode": "1Ki"}"#, "bytesPerInode")]
    #[case::file(r#"{"path": "/srv", "loopFile": {"size": "63Mi"}}"#, "loopFile.size")]
    #[case::xfs(
        r#"{"path": "/srv", "loopFile": {"size": "299Mi", "fsType": "xfs"}}"#,
        "loopFile.size"
    )]
    fn mistakes(#[case] spec: &str, #[case] field: &str) {
        let spec: DirectorySpec = serde_json::from_str(spec).unwrap();
        let found: Vec<_> = spec.mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, [format!("directory.{field}")]);
    }

    #[rstest]
    #[case(r#"{"size": "64Mi"}"#, QuotaFs::Ext4)]
    #[case(r#"{"size": "300Mi", "fsType": "xfs"}"#, QuotaFs::Xfs)]
    fn the_least_files(#[case] file: &str, #[case] kind: QuotaFs) {
        let spec = format!(r#"{{"path": "/srv", "loopFile": {file}}}"#);
        let spec: DirectorySpec = serde_json::from_str(&spec).unwrap();
        assert_eq!((spec.mistakes(), spec.loop_file.unwrap().fs_type), (Vec::new(), kind));
    }
}
