//! How near a thin pool is to its end. Pure.

use super::capacity::{THIN_WATERMARK, ThinStock};

/// From so many hundredths of its data on a thin pool fills up; as the alert `TarnThinPoolFillsUp` has it.
const DATA: f64 = 85.0;
/// The same of its metadata, which cannot be made smaller and are damaged when they are full
/// (`TarnThinMetadataFillsUp`).
const METADATA: f64 = 75.0;
/// So many hundredths below such a mark it is over: what is used goes up and down.
const EASED: f64 = 3.0;

/// How near a thin pool is to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fullness {
    /// Far from it.
    #[default]
    Roomy,
    /// Somebody should do something.
    FillsUp,
    /// Nothing is made in it any more, lest those that are there run into its end.
    AlmostFull,
}

impl Fullness {
    /// How near it is now, of which `self` was said last.
    #[must_use]
    pub fn then(self, thin: &ThinStock) -> Self {
        let data = thin.data_percent.unwrap_or(0.0);
        let metadata = thin.metadata_percent.unwrap_or(0.0);
        let has_passed = |level: Self, of_data: f64, of_metadata: f64| {
            let eased = if self >= level { EASED } else { 0.0 };
            data >= of_data - eased || metadata >= of_metadata - eased
        };
        if has_passed(Self::AlmostFull, THIN_WATERMARK, THIN_WATERMARK) {
            Self::AlmostFull
        } else if has_passed(Self::FillsUp, DATA, METADATA) {
            Self::FillsUp
        } else {
            Self::Roomy
        }
    }
}

/// How much of a thin pool is in use, and what to do about it.
pub fn advice(thin: &ThinStock, fullness: Fullness) -> String {
    let percent = |it: Option<f64>| it.map_or("?".to_owned(), |it| format!("{it:.1} %"));
    let used = format!(
        "{} of its thin pool's data and {} of its metadata are in use",
        percent(thin.data_percent),
        percent(thin.metadata_percent)
    );
    let remedy =
        "delete volumes or snapshots, run fstrim where they are mounted, or raise `thinPool.size`";
    match fullness {
        Fullness::Roomy => used,
        Fullness::FillsUp => {
            format!("{used}; from {THIN_WATERMARK:.0} % on nothing is made in it: {remedy}")
        }
        Fullness::AlmostFull => format!(
            "{used}; nothing is made in it any more, and writes fail when it is full: {remedy}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::units::Bytes;

    fn thin(data: f64, metadata: f64) -> ThinStock {
        ThinStock {
            size: Bytes::GIB,
            promised: Bytes::GIB,
            data_percent: Some(data),
            metadata_percent: Some(metadata),
        }
    }

    #[rstest]
    #[case::empty(0.0, 10.0, Fullness::Roomy)]
    #[case::just_below(84.9, 74.9, Fullness::Roomy)]
    #[case::data(85.0, 10.0, Fullness::FillsUp)]
    #[case::metadata(10.0, 75.0, Fullness::FillsUp)]
    #[case::data_at_the_watermark(95.0, 10.0, Fullness::AlmostFull)]
    #[case::metadata_at_the_watermark(10.0, 95.0, Fullness::AlmostFull)]
    fn levels(#[case] data: f64, #[case] metadata: f64, #[case] want: Fullness) {
        assert_eq!(Fullness::Roomy.then(&thin(data, metadata)), want);
    }

    #[test]
    fn it_is_over_only_when_it_has_eased() {
        let told =
            [(86.0, "FillsUp"), (83.0, "FillsUp"), (95.5, "AlmostFull"), (93.0, "AlmostFull")];
        let eased = [(91.9, "FillsUp"), (82.0, "FillsUp"), (81.9, "Roomy"), (84.0, "Roomy")];
        let mut fullness = Fullness::Roomy;
        for (data, want) in told.into_iter().chain(eased) {
            fullness = fullness.then(&thin(data, 10.0));
            assert_eq!(format!("{fullness:?}"), want, "{data}");
        }
        let unknown = ThinStock { data_percent: None, metadata_percent: None, ..thin(0.0, 0.0) };
        assert_eq!(fullness.then(&unknown), Fullness::Roomy);
    }

    #[test]
    fn what_to_do_is_said_with_the_figures() {
        let said = advice(&thin(86.24, 12.0), Fullness::FillsUp);
        assert!(said.starts_with("86.2 % of its thin pool's data and 12.0 %"), "{said}");
        assert!(said.contains("from 95 % on") && said.contains("thinPool.size"), "{said}");
    }
}
