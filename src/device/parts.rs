//! A device in parts, one after the other.

use super::Part;
use crate::units::Bytes;

/// So much at a time: between two parts whoever works on a device can stop.
const PART: Bytes = Bytes::mib(256);
/// What is at either end is overwritten last: until then the device looks as it did, and a wipe that was
/// interrupted begins anew.
const EDGE: Bytes = Bytes::mib(1);

/// A size in parts of at most 256 MiB.
pub fn parts(size: Bytes) -> impl Iterator<Item = Part> {
    let count = size.0.div_ceil(PART.0);
    (0..count).map(move |at| {
        let offset = Bytes(at * PART.0);
        Part { offset, length: PART.min(size.saturating_sub(offset)) }
    })
}

/// All of a device of at least 2 MiB: what is between its ends, then the ends.
pub fn ends_last(size: Bytes) -> impl Iterator<Item = Part> {
    let last = size.saturating_sub(EDGE);
    let middle = parts(last.saturating_sub(EDGE));
    let middle = middle.map(|it| Part { offset: Bytes(it.offset.0 + EDGE.0), ..it });
    let ends = [Part { offset: last, length: EDGE }, Part { offset: Bytes::ZERO, length: EDGE }];
    middle.chain(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_disk_is_wiped_once_and_its_ends_last() {
        let size = Bytes::mib(1000);
        let mut parts: Vec<Part> = ends_last(size).collect();
        let ends: Vec<u64> = parts[parts.len() - 2..].iter().map(|it| it.offset.0).collect();
        assert_eq!(ends, [Bytes::mib(999).0, 0]);
        parts.sort_by_key(|it| it.offset);
        let mut end = Bytes::ZERO;
        for part in parts {
            assert_eq!(part.offset, end);
            end = Bytes(end.0 + part.length.0);
        }
        assert_eq!(end, size);
    }
}
