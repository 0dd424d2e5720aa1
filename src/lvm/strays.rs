//! Thin devices in a pool that no finished command stands behind.
//!
//! LVM makes a thin volume in steps: it commits metadata that have the volume and a message to its pool, has the kernel
//! make the thin device, has it count the transaction up, and commits metadata without the message. In two places that
//! leaves a device behind which LVM itself never removes:
//!
//! - Killed before the transaction is counted, it sends the message again with every later change of the pool. That of a
//!   snapshot is refused then, as the device is there, and the pool takes no volume more and gives none back.
//! - Where it fails after the device was made, it takes the volume back and leaves the device (`lib/metadata/lv_manip.c`,
//!   "no delete of never existing thin device"). The next volume gets its number: a snapshot is refused, and **a new volume
//!   is given what lies on that device**, as LVM takes "it is there" for success (`libdm-deptree.c`, `expected_errno`).
//!
//! Numbers are given past all that exist, so such a device has that of an unfinished volume, or the first past them. Both
//! may be deleted while LVM's lock of the group is held and the pool is where LVM's metadata say, or one transaction before.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Error, LvName, VgName,
    names::mapped,
    report::{Report, parse, unreadable},
};

/// A number in a thin pool that no finished volume has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// The pool, by its name in the device mapper.
    pub(super) pool: String,
    /// The number.
    pub(super) id: u32,
    /// The pool's transaction and the next, if the number is that of a volume which is made in it.
    pub(super) unfinished: Option<(u64, u64)>,
}

/// The transaction of a pool that takes messages, from what [`super::lines::status`] prints of it:
/// `0 1048576 thin-pool 7 112/1024 16/8192 - rw ...` (the kernel's `thin-provisioning.rst`).
pub(super) fn transaction(out: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(out);
    let mut words = after(&text, "thin-pool");
    let transaction = words.next()?.parse().ok()?;
    words.any(|word| word == "rw").then_some(transaction)
}

#[derive(Deserialize)]
struct Volumes<'a> {
    #[serde(borrow)]
    lv: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    lv_name: &'a str,
    segtype: &'a str,
    pool_lv: &'a str,
    thin_id: &'a str,
    transaction_id: &'a str,
}

/// The strays that may be in a group's pools, from what [`super::lines::thin_numbers`] prints and the kernel's
/// transactions of those that take messages, by the names of their devices. None in a pool that is more than one
/// transaction away from what LVM has: then its metadata are not those of this pool.
///
/// # Errors
/// [`Error::Report`] for anything else.
pub(super) fn read(
    json: &[u8],
    vg: &VgName,
    kernel: &BTreeMap<String, u64>,
) -> Result<Vec<Stray>, Error> {
    let report: Report<Volumes<'_>> = serde_json::from_slice(json).map_err(unreadable)?;
    let rows: Vec<Row<'_>> = report.report.into_iter().flat_map(|it| it.lv).collect();
    let mut strays = Vec::new();
    for pool in rows.iter().filter(|it| it.segtype == "thin-pool") {
        let name: LvName = parse("lv_name", pool.lv_name)?;
        let device = format!("{}-tpool", mapped(vg, &name));
        let Some(&now) = kernel.get(&device) else { continue };
        let noted: u64 = parse("transaction_id", pool.transaction_id)?;
        let is_behind = now.checked_add(1) == Some(noted);
        if now != noted && !is_behind {
            tracing::warn!(%vg, pool = pool.lv_name, now, noted, "is at another transaction than LVM notes");
            continue;
        }
        let mut highest = 0;
        for row in rows.iter().filter(|it| it.segtype == "thin" && it.pool_lv == pool.lv_name) {
            let id = parse("thin_id", row.thin_id)?;
            highest = highest.max(id);
            if is_behind && parse::<u64>("transaction_id", row.transaction_id)? == now {
                let unfinished = Some((now, noted));
                strays.push(Stray { pool: device.clone(), id, unfinished });
            }
        }
        strays.push(Stray { pool: device, id: highest.saturating_add(1), unfinished: None });
    }
    Ok(strays)
}

/// Whether a thin device has blocks, from what [`super::lines::status`] prints of it: `0 49152 thin 2048 2047`, with the
/// number of sectors that have a block.
///
/// # Errors
/// [`Error::Report`] for anything else, such as `0 49152 thin Fail`.
pub(super) fn has_blocks(out: &[u8]) -> Result<bool, Error> {
    let text = String::from_utf8_lossy(out);
    let sectors = after(&text, "thin").next();
    let sectors = sectors.and_then(|it| it.parse::<u64>().ok());
    sectors
        .map(|it| it > 0)
        .ok_or_else(|| Error::Report(format!("no blocks of a thin device in `{}`", text.trim())))
}

/// What the kernel says of a device of this target.
fn after<'a>(status: &'a str, target: &'a str) -> impl Iterator<Item = &'a str> {
    status.split_whitespace().skip_while(move |word| *word != target).skip(1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0 8 thin-pool 7 1/2 1/2 - rw no_discard_passdown queue_if_no_space - 256 \n", Some(7))]
    #[case("0 8 thin-pool 18 1/2 1/2 - ro no_discard_passdown error_if_no_space - 256 \n", None)]
    #[case(
        "0 8 thin-pool 3 1/2 2/2 - out_of_data_space discard_passdown error_if_no_space - 1\n",
        None
    )]
    #[case("0 8 thin-pool Fail\n", None)]
    #[case("0 8 linear\n", None)]
    #[case("", None)]
    fn pools_that_take_messages(#[case] out: &str, #[case] want: Option<u64>) {
        assert_eq!(transaction(out.as_bytes()), want);
    }

    /// A pool that LVM has at the transaction `noted`, with a volume of each number and transaction.
    fn volumes(noted: u64, volumes: &[(u32, u64)]) -> String {
        let row = |name: &str, segtype: &str, pool: &str, id: &str, transaction: u64| {
            format!(
                r#"{{"lv_name": "{name}", "segtype": "{segtype}", "pool_lv": "{pool}", "thin_id": "{id}",
                "transaction_id": "{transaction}"}}"#
            )
        };
        let of_pool = |&(id, at): &(u32, u64)| row("v", "thin", "pool", &id.to_string(), at);
        let linear = r#"{"lv_name": "l", "segtype": "linear", "pool_lv": "", "thin_id": "", "transaction_id": ""}"#;
        let rows = [
            vec![linear.to_owned(), row("pool", "thin-pool", "", "", noted)],
            volumes.iter().map(of_pool).collect(),
            vec![row("ro", "thin-pool", "", "", 7), row("w", "thin", "other", "99", 6)],
        ];
        format!(r#"{{"report": [{{"lv": [{}]}}]}}"#, rows.concat().join(","))
    }

    #[rstest]
    #[case::empty(7, &[], &[(1, false)])]
    #[case::in_step(7, &[(1, 0), (5, 6), (2, 3)], &[(6, false)])]
    // Its own transaction is over: it is finished.
    #[case::made_last(7, &[(1, 6)], &[(2, false)])]
    #[case::unfinished(8, &[(1, 6), (2, 7)], &[(2, true), (3, false)])]
    #[case::a_deletion_is_unfinished(8, &[(1, 0), (2, 6)], &[(3, false)])]
    #[case::older_metadata(6, &[(1, 0)], &[])]
    #[case::two_ahead(9, &[(1, 0), (2, 7), (3, 8)], &[])]
    fn numbers_that_nobody_has(
        #[case] noted: u64,
        #[case] has: &[(u32, u64)],
        #[case] want: &[(u32, bool)],
    ) {
        let kernel = BTreeMap::from([("vg0-pool-tpool".to_owned(), 7)]);
        let found = read(volumes(noted, has).as_bytes(), &"vg0".parse().unwrap(), &kernel).unwrap();
        let stray = |&(id, is_unfinished): &(u32, bool)| Stray {
            pool: "vg0-pool-tpool".to_owned(),
            id,
            unfinished: is_unfinished.then_some((7, noted)),
        };
        assert_eq!(found, want.iter().map(stray).collect::<Vec<_>>());
    }

    #[rstest]
    #[case("0 49152 thin 2048 2047\n", Some(true))]
    #[case("0 49152 thin 0 -\n", Some(false))]
    #[case("0 49152 thin Fail\n", None)]
    #[case("0 49152 linear 254:3 0\n", None)]
    #[case("", None)]
    fn blocks_of_a_thin_device(#[case] out: &str, #[case] want: Option<bool>) {
        assert_eq!(has_blocks(out.as_bytes()).ok(), want);
    }
}
