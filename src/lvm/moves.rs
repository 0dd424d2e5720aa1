//! Moves of extents (`pvmove`) that an interrupted command has left: who lies on them, and what is left when they have ended.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;

use super::{
    Error, LvName, VgName,
    names::mapped,
    prepared::{Device, is_spare},
    report::{Report, parse, unreadable},
};

/// What the names of moves begin with (lvm2, `pvmove%d`).
pub(super) const MOVE: &str = "pvmove";

#[derive(Deserialize)]
struct Places<'a> {
    #[serde(borrow)]
    lv: Vec<PlaceRow<'a>>,
}

/// What a volume lies on: `pvmove0(0),/dev/sda(7)`.
#[derive(Deserialize)]
struct PlaceRow<'a> {
    lv_name: &'a str,
    #[serde(borrow)]
    devices: Cow<'a, str>,
}

impl PlaceRow<'_> {
    fn name(&self) -> &str {
        self.lv_name.trim_matches(['[', ']'])
    }

    /// The names of the moves that it lies on.
    fn moves(&self) -> impl Iterator<Item = &str> {
        let places = self.devices.split(',').filter_map(|it| Some(it.split_once('(')?.0));
        places.filter(|it| it.starts_with(MOVE))
    }
}

fn rows(json: &[u8]) -> Result<Vec<PlaceRow<'_>>, Error> {
    let report: Report<Places<'_>> = serde_json::from_slice(json).map_err(unreadable)?;
    Ok(report.report.into_iter().flat_map(|it| it.lv).collect())
}

/// The devices of volumes that an unfinished move has, in part or whole, from what [`super::lines::lies_on`] prints, such as
/// `pvmove0(0)`; with those of the moves.
///
/// # Errors
/// [`Error::Report`] for anything else.
pub(super) fn on_moves(
    json: &[u8],
    vg: &VgName,
) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let mut found = BTreeMap::<_, BTreeSet<String>>::new();
    for row in rows(json)? {
        for at in row.moves() {
            let name: LvName = parse("lv_name", row.name())?;
            let at: LvName = parse("devices", at)?;
            found.entry(mapped(vg, &name)).or_default().insert(mapped(vg, &at));
        }
    }
    Ok(found)
}

/// Whether the table in force of a device leads to another, from what [`super::lines::leads_to`] prints:
/// `1 dependencies  : (vg0-pvmove0)`.
pub(super) fn leads_to(out: &[u8], device: &str) -> bool {
    String::from_utf8_lossy(out).contains(&format!("({device})"))
}

/// What is left of moves that have moved all they had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// The device of the spare that was moved, and leads to them still.
    pub(super) spares: Vec<String>,
    /// Those that LVM still has.
    pub(super) volumes: Vec<LvName>,
    /// The devices of those that LVM has no more.
    pub(super) devices: Vec<String>,
}

/// What is left of moves that have ended, from what [`super::lines::lies_on`] prints and the devices of the group.
///
/// # Errors
/// [`Error::Report`] for anything else.
pub(super) fn ended(json: &[u8], devices: &[Device], vg: &VgName) -> Result<Ended, Error> {
    let rows = rows(json)?;
    let used: BTreeSet<&str> = rows.iter().flat_map(PlaceRow::moves).collect();
    let has_ended = |row: &&PlaceRow<'_>| {
        row.name().starts_with(MOVE) && row.devices.is_empty() && !used.contains(row.name())
    };
    let volumes = rows.iter().filter(has_ended).map(|it| parse("lv_name", it.name()));
    let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    let known: BTreeSet<String> =
        rows.iter().filter_map(|it| Some(mapped(vg, &it.name().parse().ok()?))).collect();
    let name = |it: &Device| it.name.clone();
    let unknown = |it: &&Device| it.is_a_move() && it.is_in_force() && !known.contains(&it.name);
    let moves: Vec<_> = devices.iter().filter(unknown).map(name).collect();
    let any = !moves.is_empty() || !volumes.is_empty();
    let spares = devices.iter().filter(|it| any && it.is_in_force() && is_spare(&it.name));
    Ok(Ended { spares: spares.map(name).collect(), volumes, devices: moves })
}

#[cfg(test)]
mod tests {
    use super::{super::prepared::read, *};

    #[test]
    fn what_is_on_a_move() {
        let json = br#"{"report": [{"lv": [
            {"lv_name": "v-1", "devices": "/dev/sda(0),pvmove0(3)"}, {"lv_name": "w", "devices": "/dev/sda(9)"},
            {"lv_name": "[p_tmeta]", "devices": "pvmove0(0),pvmove1(7)"}, {"lv_name": "[pvmove0]", "devices": "/dev/sda(0),/dev/sdb(0)"},
            {"lv_name": "[p_tdata]", "devices": "p_tdata_rimage_0(0)"}]}]}"#;
        let found = on_moves(json, &"vg0".parse().unwrap()).unwrap();
        let found: Vec<_> =
            found.iter().map(|(device, moves)| (device.as_str(), Vec::from_iter(moves))).collect();
        let (first, second) = ("vg0-pvmove0".to_owned(), "vg0-pvmove1".to_owned());
        assert_eq!(found, [("vg0-p_tmeta", vec![&first, &second]), ("vg0-v--1", vec![&first])]);
    }

    #[test]
    fn where_a_table_leads() {
        let out = b"2 dependencies\t: (vg0-pvmove0) (sda)\n";
        assert!(leads_to(out, "vg0-pvmove0") && !leads_to(out, "vg0-pvmove"));
    }

    #[test]
    fn moves_that_have_ended() {
        let json = br#"{"report": [{"lv": [
            {"lv_name": "v-1", "devices": "/dev/sda(0),pvmove0(3)"}, {"lv_name": "[pvmove0]", "devices": ""},
            {"lv_name": "[pvmove1]", "devices": ""}, {"lv_name": "w", "devices": "pvmove10(0)"},
            {"lv_name": "[pvmove2]", "devices": "/dev/sda(0),/dev/sdb(0)"}, {"lv_name": "t", "devices": ""}]}]}"#;
        let ended = |lines: &str| {
            let vg = "vg0".parse().unwrap();
            super::ended(json, &read(lines.as_bytes(), &vg).unwrap(), &vg).unwrap()
        };
        let spare = "Live:Active:LVM-a:vg0-lvol0_pmspare";
        let spares = vec!["vg0-lvol0_pmspare".to_owned()];
        let known = ended(&format!("{spare}\nLive:Active:LVM-b:vg0-pvmove1"));
        let volumes = vec!["pvmove1".parse().unwrap()];
        assert_eq!(
            known,
            Ended { spares: spares.clone(), volumes: volumes.clone(), devices: vec![] }
        );
        let unknown = ended(&format!("Live:Active:LVM-b:vg0-pvmove3\n{spare}"));
        assert_eq!(unknown, Ended { spares, volumes, devices: vec!["vg0-pvmove3".to_owned()] });
        let none = br#"{"report": [{"lv": [{"lv_name": "v-1", "devices": "/dev/sda(0)"}]}]}"#;
        let devices = read(spare.as_bytes(), &"vg0".parse().unwrap()).unwrap();
        let none = super::ended(none, &devices, &"vg0".parse().unwrap()).unwrap();
        assert_eq!(none, Ended::default());
    }
}
