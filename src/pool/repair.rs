//! RAID volumes that have lost legs with a disk: when that disk is given up, and where the new legs go. Pure.
//!
//! A disk that is missing may be back in a moment, with all that was on it. So nothing is repaired before it
//! is given up: when a new disk has taken its place, or the pool's spec retires it. That is noted as a tag of
//! the group, so that a restart goes on.

use std::collections::BTreeSet;

use crate::{
    lvm::{Group, Kind, LogicalVolume, LvName, PhysicalVolume, Place, Tag, places_apart},
    units::Bytes,
};

/// The tag of a group for a physical volume of it that is given up.
const GONE: &str = "tarn.gone=";

/// What is done next for the RAID volumes of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// New legs are made of a volume.
    Replace {
        /// The volume.
        volume: LvName,
        /// Where each new leg lies.
        on: Vec<Place>,
    },
    /// What an interrupted repair has left of an old leg is removed.
    Discard(LvName),
    /// The disks that are given up, and on which nothing lies any more, are forgotten.
    Forget,
    /// These tags are of no use any more.
    Untag(Vec<Tag>),
}

/// What can be done for the RAID volumes of a group, and what cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// What is done next.
    pub next: Option<Repair>,
    /// Volumes that have lost a leg and work, none of which is repaired before a disk is given up.
    pub waiting: Vec<LvName>,
    /// Why a volume is not repaired whose lost legs' disks are given up.
    pub hindered: Vec<String>,
}

/// The tag by which a group's physical volume is given up, by LVM's identity of it. `None` for what LVM
/// never gives.
pub fn tag_for(uuid: &str) -> Option<Tag> {
    format!("{GONE}{uuid}").parse().ok()
}

/// The physical volumes that are given up by a group's tags.
pub fn given_up(tags: &[Tag]) -> BTreeSet<String> {
    let gone = tags.iter().filter_map(|tag| tag.as_str().strip_prefix(GONE));
    gone.map(str::to_owned).collect()
}

/// The missing physical volumes with which one of these volumes has lost a leg, and works.
pub fn missed<'a>(volumes: impl Iterator<Item = &'a LogicalVolume>) -> BTreeSet<String> {
    let works = volumes.filter_map(|lv| lv.legs.as_ref()).filter(|legs| legs.works);
    works.flat_map(|legs| &legs.lost).map(|it| it.disk.clone()).collect()
}

/// What can be done for the RAIDs of a group that are `ours`: volumes, and what thin pools lie on.
pub fn outlook(group: &Group, ours: &BTreeSet<&LvName>) -> Outlook {
    let gone = given_up(&group.tags);
    let mut outlook = Outlook::default();
    let all = group.logical.iter().chain(&group.layers);
    for lv in all.filter(|lv| ours.contains(&lv.name)) {
        let lost = lv.legs.as_ref().filter(|legs| legs.works).map_or(&[][..], |legs| &legs.lost);
        if lost.is_empty() || lv.kind != Kind::Thick {
            continue;
        }
        if !lost.iter().all(|it| gone.contains(&it.disk)) {
            outlook.waiting.push(lv.name.clone());
            continue;
        }
        match places_for(group, lv) {
            Ok(on) => {
                let volume = lv.name.clone();
                outlook.next.get_or_insert(Repair::Replace { volume, on });
            }
            Err(why) => outlook.hindered.push(format!("{} cannot be repaired: {why}", lv.name)),
        }
    }
    if outlook.next.is_none() {
        outlook.next = remnant(group, ours).map(Repair::Discard);
    }
    if outlook.next.is_none() {
        outlook.next = farewell(group, &gone);
    }
    outlook
}

/// Where new legs go for those that a volume has lost: on disks that have nothing of it.
fn places_for(group: &Group, lv: &LogicalVolume) -> Result<Vec<Place>, String> {
    let Some(legs) = &lv.legs else { return Ok(Vec::new()) };
    if lv.synced.is_some_and(|percent| percent < 100.0) {
        return Err("its other legs are still being filled".to_owned());
    }
    let lost: BTreeSet<usize> = legs.lost.iter().map(|it| it.leg).collect();
    let kept = legs.disks.iter().enumerate().filter(|(leg, _)| !lost.contains(leg));
    let kept: BTreeSet<_> = kept.map(|(_, disk)| disk).chain(&legs.beside).collect();
    let others = group.physical.iter().filter(|pv| !kept.contains(&pv.device));
    let others: Vec<PhysicalVolume> = others.cloned().collect();
    let each = legs.extents_of_leg(lv.size.whole(group.extent));
    let found = u32::try_from(lost.len()).ok().and_then(|count| places_apart(&others, count, each));
    found.ok_or_else(|| {
        let size = Bytes(each.saturating_mul(group.extent.0));
        match lost.len() {
            1 => format!("no disk without anything of it has {size} free; add one"),
            count => {
                format!("no {count} disks without anything of it have {size} free each; add them")
            }
        }
    })
}

/// What is left of a leg of one of these volumes that was replaced: LVM calls it so until it is removed.
fn remnant(group: &Group, ours: &BTreeSet<&LvName>) -> Option<LvName> {
    let is_old_leg = |name: &str| {
        let leg = name
            .strip_suffix("_extracted")
            .and_then(|name| name.rsplit_once("_rimage_").or_else(|| name.rsplit_once("_rmeta_")));
        leg.is_some_and(|(volume, number)| {
            number.parse::<u32>().is_ok() && ours.iter().any(|it| it.as_str() == volume)
        })
    };
    let mut old = group.logical.iter().filter(|lv| lv.lost && !lv.active);
    old.find(|lv| is_old_leg(lv.name.as_str())).map(|lv| lv.name.clone())
}

/// What is done about the missing disks themselves. LVM forgets all on which nothing lies, or none.
fn farewell(group: &Group, gone: &BTreeSet<String>) -> Option<Repair> {
    let is_empty = |pv: &&PhysicalVolume| pv.missing && pv.free() == pv.extents;
    let mut empty = group.physical.iter().filter(is_empty).peekable();
    if empty.peek().is_some() && empty.all(|pv| gone.contains(&pv.uuid)) {
        return Some(Repair::Forget);
    }
    let is_missing = |uuid: &str| group.physical.iter().any(|pv| pv.missing && pv.uuid == uuid);
    let idle: Vec<Tag> =
        gone.iter().filter(|uuid| !is_missing(uuid)).filter_map(|uuid| tag_for(uuid)).collect();
    (!idle.is_empty()).then_some(Repair::Untag(idle))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::lvm::{Legs, LostLeg, Stretch};

    /// Disks of 20 extents: a letter for each, with what of it is free; in capitals, missing.
    fn group(disks: &[(char, u64)], logical: Vec<LogicalVolume>, gone: &str) -> Group {
        let disk = |(name, free): &(char, u64)| PhysicalVolume {
            device: match name.is_uppercase() {
                true => "[unknown]".into(),
                false => format!("/dev/{name}").into(),
            },
            uuid: name.to_lowercase().to_string(),
            missing: name.is_uppercase(),
            allocatable: true,
            erring: false,
            extents: 20,
            free_runs: vec![Stretch { start: 20 - free, length: *free }],
        };
        Group {
            name: "vg".parse().unwrap(),
            uuid: String::new(),
            extent: Bytes::mib(4),
            extents: 20 * disks.len() as u64,
            free: disks.iter().map(|(_, free)| free).sum(),
            tags: gone.chars().filter_map(|uuid| tag_for(&uuid.to_string())).collect(),
            physical: disks.iter().map(disk).collect(),
            logical,
            layers: Vec::new(),
            legs: Vec::new(),
            moving: BTreeMap::new(),
        }
    }

    /// A mirror of 4 extents on these disks; capitals are missing.
    fn mirror(name: &str, disks: &str) -> LogicalVolume {
        let lost = disks.chars().enumerate().filter(|(_, it)| it.is_uppercase());
        let lost: Vec<LostLeg> =
            lost.map(|(leg, it)| LostLeg { leg, disk: it.to_lowercase().to_string() }).collect();
        let device = |it: char| match it.is_uppercase() {
            true => "[unknown]".into(),
            false => format!("/dev/{it}").into(),
        };
        let works = lost.len() < disks.len();
        let legs = Legs::whole(disks.chars().map(device).collect(), 1);
        let legs = Legs { works, lost, ..legs };
        LogicalVolume {
            name: name.parse().unwrap(),
            uuid: String::new(),
            size: Bytes::mib(16),
            kind: Kind::Thick,
            origin: None,
            lost: !legs.lost.is_empty(),
            legs: Some(legs),
            synced: Some(100.0),
            thin_id: None,
            active: true,
            suspended: false,
            failed: false,
            tags: Vec::new(),
        }
    }

    fn seen(group: &Group) -> Outlook {
        outlook(group, &group.logical.iter().map(|lv| &lv.name).collect())
    }

    fn places_of(outlook: &Outlook) -> Vec<String> {
        let Some(Repair::Replace { on, .. }) = &outlook.next else { return Vec::new() };
        on.iter().map(|it| it.device.display().to_string()).collect()
    }

    #[rstest]
    #[case::a_new_disk("Ab", &[('A', 15), ('b', 15), ('c', 20)], "a", &["/dev/c"])]
    #[case::the_emptiest("Ab", &[('A', 15), ('b', 15), ('c', 9), ('d', 10)], "a", &["/dev/d"])]
    #[case::two_legs("ABc", &[('A', 15), ('B', 15), ('c', 15), ('d', 9), ('e', 9)], "ab", &["/dev/d", "/dev/e"])]
    #[case::to_the_last_extent("Ab", &[('A', 15), ('b', 15), ('c', 5)], "a", &["/dev/c"])]
    fn where_new_legs_go(
        #[case] legs: &str,
        #[case] disks: &[(char, u64)],
        #[case] gone: &str,
        #[case] want: &[&str],
    ) {
        let outlook = seen(&group(disks, vec![mirror("v", legs)], gone));
        assert_eq!(places_of(&outlook), want);
        assert_eq!((outlook.waiting.len(), outlook.hindered.len()), (0, 0));
    }

    #[rstest]
    #[case::never_beside_its_own("Ab", &[('A', 15), ('b', 15)], "a")]
    #[case::an_extent_short("Ab", &[('A', 15), ('b', 15), ('c', 4)], "a")]
    #[case::two_on_one("ABc", &[('A', 15), ('B', 15), ('c', 15), ('d', 20)], "ab")]
    fn what_has_no_room_says_so(
        #[case] legs: &str,
        #[case] disks: &[(char, u64)],
        #[case] gone: &str,
    ) {
        let outlook = seen(&group(disks, vec![mirror("v", legs)], gone));
        assert_eq!((outlook.next, outlook.waiting.len()), (None, 0));
        assert!(
            outlook.hindered[0].starts_with("v cannot be repaired: no "),
            "{:?}",
            outlook.hindered
        );
        assert!(outlook.hindered[0].contains("20Mi free"), "{:?}", outlook.hindered);
    }

    /// LVM takes metadata of a leg for a leg: it refuses the disk, however much is free.
    #[test]
    fn never_where_metadata_of_another_leg_or_its_own_lie() {
        let mut split = mirror("v", "Ab");
        split.legs.as_mut().unwrap().beside.push("/dev/c".into());
        let mut disks = vec![('A', 15), ('b', 15), ('c', 19)];
        let outlook = seen(&group(&disks, vec![split.clone()], "a"));
        assert!(outlook.next.is_none() && outlook.hindered.len() == 1, "{outlook:?}");
        disks.push(('d', 5));
        assert_eq!(places_of(&seen(&group(&disks, vec![split], "a"))), ["/dev/d"]);
    }

    #[test]
    fn nothing_is_done_before_every_lost_disk_is_given_up() {
        let disks = [('A', 15), ('B', 15), ('c', 15), ('d', 20), ('e', 20)];
        for gone in ["", "a", "b"] {
            let outlook = seen(&group(&disks, vec![mirror("v", "ABc")], gone));
            assert_eq!((&outlook.next, outlook.waiting.len()), (&None, 1), "{gone}");
        }
        assert_eq!(missed([mirror("v", "ABc"), mirror("w", "C")].iter()).len(), 2);
    }

    #[test]
    fn what_does_not_work_or_is_not_full_is_left_alone() {
        let disks = [('A', 15), ('B', 15), ('c', 20), ('d', 20)];
        let outlook = seen(&group(&disks, vec![mirror("v", "AB")], "ab"));
        assert_eq!(outlook, Outlook::default());
        let filling = LogicalVolume { synced: Some(99.9), ..mirror("v", "Ac") };
        let outlook = seen(&group(&disks, vec![filling], "ab"));
        assert!(outlook.next.is_none() && outlook.hindered[0].contains("still being filled"));
        let theirs = group(&disks, vec![mirror("v", "Ac")], "ab");
        assert_eq!(outlook_of_nobody(&theirs), None);
    }

    fn outlook_of_nobody(group: &Group) -> Option<Repair> {
        outlook(group, &BTreeSet::new()).next
    }

    #[test]
    fn what_a_kill_has_left_of_an_old_leg_is_removed() {
        let disks = [('A', 15), ('b', 15), ('c', 15)];
        let old = |name: &str| LogicalVolume { active: false, legs: None, ..mirror(name, "Ab") };
        let logical =
            vec![mirror("v", "cb"), old("v_rimage_0_extracted"), old("w_rmeta_0_extracted")];
        let mut group = group(&disks, logical, "a");
        let ours = "v".parse().unwrap();
        let next = |group: &Group| outlook(group, &BTreeSet::from([&ours])).next;
        let layer = "v_rimage_0_extracted".parse().unwrap();
        assert_eq!(next(&group), Some(Repair::Discard(layer)));
        group.logical.remove(1);
        assert_eq!(next(&group), None, "that of somebody else's volume stays");
    }

    #[rstest]
    #[case::empty_and_given_up(&[('A', 20), ('b', 15)], "a", Some(Repair::Forget))]
    #[case::something_lies_on_it(&[('A', 19), ('b', 15)], "a", None)]
    #[case::it_may_be_back(&[('A', 20), ('b', 15)], "", None)]
    #[case::another_may_be_back(&[('A', 20), ('B', 20), ('c', 15)], "a", None)]
    #[case::another_has_something(&[('A', 20), ('B', 19), ('c', 15)], "a", Some(Repair::Forget))]
    #[case::it_is_back(&[('a', 20), ('b', 15)], "a", Some(Repair::Untag(vec![tag_for("a").unwrap()])))]
    #[case::nothing(&[('a', 20), ('b', 15)], "", None)]
    fn when_a_disk_is_forgotten(
        #[case] disks: &[(char, u64)],
        #[case] gone: &str,
        #[case] want: Option<Repair>,
    ) {
        assert_eq!(seen(&group(disks, Vec::new(), gone)).next, want);
    }
}
