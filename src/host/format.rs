//! Whether a file system may be made on a device, or what is there be used. Pure.
//!
//! The rule that never bends: a file system is made once, on a volume that has never been staged,
//! when a low-level probe finds nothing there.

use crate::{
    fs::{Content, FsKind},
    units::Bytes,
};

/// What to do before a volume can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the file system.
    Make,
    /// Use the one that is there, of this size.
    Use(Bytes),
}

/// Decides from what the volume's record and a probe of its device say.
///
/// # Errors
/// A sentence that says what was found, and what to do.
pub(super) fn decide(wanted: FsKind, fresh: bool, found: &Content) -> Result<Step, String> {
    match found {
        Content::Filesystem { kind, size } if *kind == wanted => Ok(Step::Use(*size)),
        Content::Filesystem { kind, .. } => {
            Err(format!("the volume was made for {wanted} but holds {kind}; it is left as it is"))
        }
        Content::Nothing if fresh => Ok(Step::Make),
        Content::Unfinished(kind) if fresh && *kind == wanted => Ok(Step::Make),
        Content::Nothing => Err(format!(
            "the volume has been in use, but no {wanted} is found on it: its superblock may be \
             damaged. Nothing is made anew; look at it by hand, or restore a snapshot"
        )),
        Content::Unfinished(kind) => Err(format!(
            "the volume holds an unfinished {kind} although it has been in use; look at it by hand"
        )),
        Content::Foreign(what) => Err(format!(
            "the volume holds {what}, which is not Tarn's to touch; it is left as it is"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ext4() -> Content {
        Content::Filesystem { kind: FsKind::Ext4, size: Bytes::GIB }
    }

    #[rstest]
    #[case::fresh_and_empty(true, Content::Nothing, Some(Step::Make))]
    #[case::mkfs_was_cut_short(true, Content::Unfinished(FsKind::Ext4), Some(Step::Make))]
    #[case::mkfs_of_another_kind(true, Content::Unfinished(FsKind::Xfs), None)]
    #[case::made_but_not_yet_recorded(true, ext4(), Some(Step::Use(Bytes::GIB)))]
    #[case::in_use(false, ext4(), Some(Step::Use(Bytes::GIB)))]
    #[case::lost_superblock(false, Content::Nothing, None)]
    #[case::lost_and_unfinished(false, Content::Unfinished(FsKind::Ext4), None)]
    #[case::luks(true, Content::Foreign("crypto_LUKS".into()), None)]
    #[case::partitions(true, Content::Foreign("gpt partition table".into()), None)]
    #[case::another_kind(true, Content::Filesystem { kind: FsKind::Xfs, size: Bytes::GIB }, None)]
    fn a_file_system_is_made_once(
        #[case] fresh: bool,
        #[case] found: Content,
        #[case] want: Option<Step>,
    ) {
        assert_eq!(decide(FsKind::Ext4, fresh, &found).ok(), want);
    }
}
