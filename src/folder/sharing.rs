//! How much of a disk volumes take that may share blocks. A quota counts a block that several have for each of them, and
//! the file system once; nobody says which those are. Pure.

use std::collections::BTreeMap;

use crate::units::Bytes;

/// What is known of one volume or snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// What has the same may share blocks with it.
    pub(super) kin: &'a str,
    /// How much it has in use, as its quota counts it.
    pub(super) used: Bytes,
    /// How much of that it may share with others that were there before it.
    pub(super) shared: Bytes,
}

/// How much they take of the disk at least. Of those that may share, the one that has most has all of that for itself;
/// and each has what it has got since it was copied.
pub(super) fn taken<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> Bytes {
    let mut kins = BTreeMap::<&str, (u64, u64)>::new();
    for Part { kin, used, shared } in parts {
        let (most, own) = kins.entry(kin).or_default();
        *most = (*most).max(used.0);
        *own = own.saturating_add(used.saturating_sub(shared).0);
    }
    Bytes(kins.into_values().fold(0, |sum, (most, own)| sum.saturating_add(most.max(own))))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(&[], 0)]
    #[case::strangers(&[("a", 5, 0), ("b", 7, 0)], 12)]
    #[case::a_snapshot_is_shared(&[("a", 5, 0), ("a", 5, 5)], 5)]
    #[case::whose_volume_is_gone(&[("a", 5, 5)], 5)]
    #[case::a_clone_that_grew(&[("a", 5, 0), ("a", 12, 5)], 12)]
    #[case::both_grew(&[("a", 10, 0), ("a", 12, 5)], 17)]
    #[case::a_clone_that_was_emptied(&[("a", 5, 0), ("a", 1, 5), ("b", 2, 0)], 7)]
    fn what_is_taken(#[case] parts: &[(&str, u64, u64)], #[case] want: u64) {
        let parts = parts.iter().map(|(kin, used, shared)| Part {
            kin,
            used: Bytes(*used),
            shared: Bytes(*shared),
        });
        assert_eq!(taken(parts), Bytes(want));
    }
}
