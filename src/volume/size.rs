//! How large a volume may be (CSI spec, `CapacityRange`).

use super::Error;
use crate::units::Bytes;

/// What a caller gets who names no size.
const DEFAULT: Bytes = Bytes::GIB;

/// At least `required`, and at most `limit` where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    required: Bytes,
    limit: Option<Bytes>,
}

impl SizeRange {
    /// As on the wire: signed, and 0 means "not given".
    ///
    /// # Errors
    /// [`Error::Invalid`] for a negative number, [`Error::OutOfRange`] where the limit is less than
    /// what is required.
    pub fn new(required: i64, limit: i64) -> Result<Self, Error> {
        let field = |name, value: i64| {
            u64::try_from(value).map(Bytes).map_err(|_| {
                Error::invalid(name, value.to_string(), "a number of bytes, 0 for no wish")
            })
        };
        let required = field("capacity_range.required_bytes", required)?;
        let limit = field("capacity_range.limit_bytes", limit)?;
        let limit = (limit > Bytes::ZERO).then_some(limit);
        if limit.is_some_and(|limit| limit < required) {
            return Err(Error::OutOfRange(format!(
                "limit_bytes {} is less than required_bytes {}",
                limit.unwrap_or_default().0,
                required.0
            )));
        }
        Ok(Self { required, limit })
    }

    /// At least so much, with no limit.
    pub fn at_least(required: Bytes) -> Self {
        Self { required, limit: None }
    }

    /// The least number of bytes that is enough. With no wish at all that is 1 GiB, or the limit if
    /// that is less.
    pub fn least(self) -> Bytes {
        if self.required > Bytes::ZERO {
            return self.required;
        }
        self.limit.map_or(DEFAULT, |limit| limit.min(DEFAULT))
    }

    /// The most that is wanted, where that was said.
    pub fn most(self) -> Option<Bytes> {
        self.limit
    }

    /// Whether anything was asked for.
    pub fn is_given(self) -> bool {
        self.required > Bytes::ZERO || self.limit.is_some()
    }

    /// Whether a volume of `size` is what was asked for.
    pub fn allows(self, size: Bytes) -> bool {
        self.required <= size && self.limit.is_none_or(|limit| size <= limit)
    }

    /// The least size in range that is a whole number of `unit`s and not below `floor`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when rounding up leaves the range, or the size asked for is less than
    /// `floor`, that of a source.
    pub fn fit(self, unit: Bytes, floor: Bytes) -> Result<Bytes, Error> {
        let least =
            if self.required == Bytes::ZERO { floor.max(self.least()) } else { self.least() };
        let size =
            least.round_up(unit).filter(|size| size.0 <= i64::MAX.unsigned_abs()).ok_or_else(
                || Error::OutOfRange(format!("{} bytes are more than any volume", least.0)),
            )?;
        match self.limit {
            Some(limit) if size > limit => Err(Error::OutOfRange(format!(
                "{} bytes become {} in whole extents of {unit}, over limit_bytes {}",
                least.0, size.0, limit.0
            ))),
            _ if size < floor => Err(Error::OutOfRange(format!(
                "{size} is less than the {floor} of the source; ask for at least that"
            ))),
            _ => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EXTENT: Bytes = Bytes::mib(4);

    #[rstest]
    #[case::default(0, 0, Bytes::gib(1))]
    #[case::default_under_a_limit(0, 8 << 20, Bytes::mib(8))]
    #[case::exact(8 << 20, 8 << 20, Bytes::mib(8))]
    #[case::up(1, 0, EXTENT)]
    fn fits(#[case] required: i64, #[case] limit: i64, #[case] want: Bytes) {
        let range = SizeRange::new(required, limit).unwrap();
        assert_eq!(range.fit(EXTENT, Bytes::ZERO).unwrap(), want);
    }

    #[rstest]
    #[case::rounding_passes_the_limit(5 << 20, 6 << 20)]
    #[case::absurd(i64::MAX, 0)]
    #[case::limit_below_an_extent(0, 1)]
    fn does_not_fit(#[case] required: i64, #[case] limit: i64) {
        let range = SizeRange::new(required, limit).unwrap();
        assert!(matches!(range.fit(EXTENT, Bytes::ZERO), Err(Error::OutOfRange(_))));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(SizeRange::new(-1, 0), Err(Error::Invalid { .. })));
        assert!(matches!(SizeRange::new(0, -1), Err(Error::Invalid { .. })));
        assert!(matches!(SizeRange::new(2, 1), Err(Error::OutOfRange(_))));
    }

    #[test]
    fn a_copy_without_a_wish_is_as_large_as_its_source() {
        let range = SizeRange::new(0, 0).unwrap();
        assert_eq!(range.fit(EXTENT, Bytes::gib(7)).unwrap(), Bytes::gib(7));
    }

    #[test]
    fn a_copy_is_not_smaller_than_its_source() {
        let refused = SizeRange::at_least(Bytes::GIB).fit(EXTENT, Bytes::gib(7)).unwrap_err();
        assert!(matches!(refused, Error::OutOfRange(_)) && refused.to_string().contains("source"));
    }
}
