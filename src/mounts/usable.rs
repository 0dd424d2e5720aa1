//! Whether what is found on a volume may be used. Pure.
//!
//! The rule that never bends: a file system is made once, on a volume that has never been staged
//! and on which a low-level probe finds nothing. Whatever else is found is used if it is the file
//! system that the volume was made for, and left as it is if not.

use crate::fs::{Content, FsKind};

/// Whether a volume that was made for `wanted` and holds `found` may be mounted.
///
/// # Errors
/// A sentence that says what was found, and what to do.
pub(super) fn usable(wanted: FsKind, found: &Content) -> Result<(), String> {
    match found {
        Content::Filesystem { kind, .. } if *kind == wanted => Ok(()),
        Content::Filesystem { kind, .. } => {
            Err(format!("the volume was made for {wanted} but holds {kind}; it is left as it is"))
        }
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
    use crate::units::Bytes;

    #[rstest]
    #[case::ours(Content::Filesystem { kind: FsKind::Ext4, size: Bytes::GIB }, true)]
    #[case::another(Content::Filesystem { kind: FsKind::Xfs, size: Bytes::GIB }, false)]
    #[case::lost_superblock(Content::Nothing, false)]
    #[case::unfinished(Content::Unfinished(FsKind::Ext4), false)]
    #[case::luks(Content::Foreign("crypto_LUKS".into()), false)]
    #[case::partitions(Content::Foreign("gpt partition table".into()), false)]
    fn only_what_the_volume_was_made_for(#[case] found: Content, #[case] want: bool) {
        assert_eq!(usable(FsKind::Ext4, &found).is_ok(), want);
    }
}
