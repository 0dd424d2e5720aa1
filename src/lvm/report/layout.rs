//! How a volume lies on the disks, read from its segments.

use serde::Deserialize;

use super::{Report, parse, unreadable};
use crate::{
    lvm::{Error, Layout, Raid, RaidLevel},
    units::Bytes,
};

#[derive(Deserialize)]
struct Volume<'a> {
    #[serde(borrow)]
    lv: Vec<Segment<'a>>,
}

#[derive(Deserialize)]
struct Segment<'a> {
    segtype: &'a str,
    data_stripes: &'a str,
    data_copies: &'a str,
    stripe_size: &'a str,
}

/// Reads the output of [`crate::lvm::lines::layout`]; `None` for what Tarn never makes. A volume whose
/// segments differ lies wherever there is room.
pub(in crate::lvm) fn layout(json: &[u8]) -> Result<Option<Layout>, Error> {
    let report: Report<Volume<'_>> = serde_json::from_slice(json).map_err(unreadable)?;
    let segments: Vec<Segment<'_>> = report.report.into_iter().flat_map(|it| it.lv).collect();
    let mut layouts = segments.iter().map(Segment::layout).collect::<Result<Vec<_>, _>>()?;
    layouts.dedup();
    Ok(match layouts.as_slice() {
        [one] => *one,
        all if all.is_empty() || all.contains(&None) => None,
        _ => Some(Layout::Linear),
    })
}

impl Segment<'_> {
    fn layout(&self) -> Result<Option<Layout>, Error> {
        let stripes: u32 = parse("data_stripes", self.data_stripes)?;
        let stripe_size = Bytes(parse("stripe_size", self.stripe_size)?);
        let stripe_size = Some(stripe_size).filter(|it| *it > Bytes::ZERO);
        if self.segtype == "linear" || self.segtype == "thin" {
            return Ok(Some(Layout::Linear));
        }
        if self.segtype == "striped" {
            return Ok(Some(Layout::Striped { stripes, stripe_size }));
        }
        // `raid5_ls` is one way of placing the parity.
        let word = self.segtype.split('_').next().unwrap_or_default();
        let Some(level) = RaidLevel::ALL.into_iter().find(|it| it.name() == word) else {
            return Ok(None);
        };
        let copies: u32 = parse("data_copies", self.data_copies)?;
        let mirrors = level.mirrors().map_or(0, |_| copies.saturating_sub(1));
        let stripes = level.stripes().map_or(1, |_| stripes);
        Ok(Some(Layout::Raid(Raid { level, stripes, mirrors, stripe_size })))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn raid(level: RaidLevel, stripes: u32, mirrors: u32, stripe_size: Option<Bytes>) -> Layout {
        Layout::Raid(Raid { level, stripes, mirrors, stripe_size })
    }

    const SIZE: Option<Bytes> = Some(Bytes(65536));

    #[rstest]
    #[case::linear(&["linear 1 1 0"], Some(Layout::Linear))]
    #[case::in_two_places(&["linear 1 1 0", "linear 1 1 0"], Some(Layout::Linear))]
    #[case::thin(&["thin 0 1 0"], Some(Layout::Linear))]
    #[case::striped(&["striped 3 1 65536"], Some(Layout::Striped { stripes: 3, stripe_size: SIZE }))]
    #[case::mixed(&["striped 2 1 65536", "linear 1 1 0"], Some(Layout::Linear))]
    #[case::raid1(&["raid1 1 3 0"], Some(raid(RaidLevel::Raid1, 1, 2, None)))]
    #[case::raid5(&["raid5_ls 2 2 65536"], Some(raid(RaidLevel::Raid5, 2, 0, SIZE)))]
    #[case::raid6(&["raid6_zr 3 3 65536"], Some(raid(RaidLevel::Raid6, 3, 0, SIZE)))]
    #[case::raid10(&["raid10 2 2 65536"], Some(raid(RaidLevel::Raid10, 2, 1, SIZE)))]
    #[case::raid0(&["raid0 2 1 65536"], None)]
    #[case::partly(&["linear 1 1 0", "raid0 2 1 65536"], None)]
    #[case::mirror(&["mirror 1 2 0"], None)]
    fn layouts(#[case] segments: &[&str], #[case] want: Option<Layout>) {
        let row = |text: &&str| {
            let fields: Vec<&str> = text.split(' ').collect();
            serde_json::json!({
                "segtype": fields[0], "data_stripes": fields[1],
                "data_copies": fields[2], "stripe_size": fields[3],
            })
        };
        let rows: Vec<_> = segments.iter().map(row).collect();
        let json = serde_json::json!({ "report": [{ "lv": rows }] }).to_string();
        assert_eq!(layout(json.as_bytes()).unwrap(), want);
    }
}
