//! Which logical volume is meant, and whether it may be adopted or released. Pure.
//!
//! An adopted volume has the tags of one of Tarn's, with what it was called before; then it gets the name that
//! belongs to its id. One that has the tags and its old name still is on its way, in one direction or the other.

use crate::{
    host::{
        ledger::is_deleted,
        no_volume,
        record::{Record, is_ours},
    },
    lvm::{Group, Kind, LogicalVolume, LvName, VgName},
    volume::{Adoption, Error, LvPath, Source, VolumeId},
};

/// What LVM has in the names of volumes that it keeps for itself (lvm(8), "Valid names").
const INTERNAL: [&str; 12] = [
    "_cdata", "_cmeta", "_corig", "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta",
    "_tdata", "_tmeta", "_vorigin",
];

/// The logical volume that is meant, in the group of this place among those that were looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Meant {
    pub(super) at: usize,
    pub(super) lv: LogicalVolume,
    /// What it was called before Tarn had it.
    pub(super) was: LvName,
    /// Whether it is what it is to become.
    pub(super) is_done: bool,
}

/// The one that is to be adopted.
///
/// # Errors
/// Why it may not be, and what to do about it.
pub(super) fn to_adopt(groups: &[&Group], wanted: &Adoption<LvPath>) -> Result<Meant, Error> {
    let id = VolumeId::of(&wanted.name);
    let path = &wanted.what;
    let is_named = |group: &Group| path.group.as_ref().is_none_or(|it| *it == group.name);
    if !groups.iter().any(|group| is_named(group)) {
        return Err(no_group(groups, path));
    }
    let all = || {
        let named = groups.iter().enumerate().filter(|(_, group)| is_named(group));
        named.flat_map(|(at, group)| group.logical.iter().map(move |lv| (at, lv)))
    };
    let so_called: Vec<_> = all().filter(|(_, lv)| lv.name == path.name).collect();
    let was_so_called = |(_, lv): &(usize, &LogicalVolume)| {
        let was = Record::read(&lv.tags).and_then(|it| it.was);
        lv.name != path.name && was.as_ref() == Some(&path.name)
    };
    let adopted: Vec<_> = all().filter(was_so_called).collect();
    let before = adopted.iter().find(|(_, lv)| lv.name.as_str() == id.as_str());
    match (so_called.as_slice(), before) {
        ([], Some((at, lv))) => Ok(meant(*at, lv, &path.name, true)),
        ([], None) => Err(not_found(groups, path, &adopted)),
        ([(at, lv)], None) => {
            let group = groups.get(*at).ok_or_else(|| no_group(groups, path))?;
            let is_done = judge(groups, group, lv, &id)?;
            Ok(meant(*at, lv, &path.name, is_done))
        }
        (_, Some(_)) => Err(Error::Precondition(format!(
            "{path} is meant twice: volume {} was called so before it was adopted, and now another is. Give \
             that one another name (lvrename), or adopt it under another name",
            wanted.name.as_str()
        ))),
        (several, None) => {
            let names = several.iter().filter_map(|(at, _)| groups.get(*at));
            let names: Vec<String> = names.map(|it| format!("{}/{}", it.name, path.name)).collect();
            Err(Error::Precondition(format!("{path} may be {}: say which", names.join(" or "))))
        }
    }
}

fn meant(at: usize, lv: &LogicalVolume, was: &LvName, is_done: bool) -> Meant {
    Meant { at, lv: lv.clone(), was: was.clone(), is_done }
}

fn no_group(groups: &[&Group], path: &LvPath) -> Error {
    let known: Vec<&str> = groups.iter().map(|it| it.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::Precondition(format!(
        "{path} is in no volume group of this node's pools, which have {known}; name its group in a pool first \
         (volumeGroup)"
    ))
}

fn not_found(groups: &[&Group], path: &LvPath, adopted: &[(usize, &LogicalVolume)]) -> Error {
    if let Some((_, lv)) = adopted.first() {
        let name =
            Record::read(&lv.tags).map_or_else(String::new, |it| it.name.as_str().to_owned());
        return Error::Precondition(format!(
            "{path} was adopted as volume {name} ({}); release that first (tarn release {name})",
            lv.name
        ));
    }
    let is_layer = |group: &&Group| group.layers.iter().any(|it| it.name == path.name);
    let is_internal = INTERNAL.iter().any(|it| path.name.as_str().contains(it));
    if is_internal || groups.iter().any(is_layer) {
        return Error::Precondition(format!(
            "{path} is a part of another volume that LVM keeps for itself; adopt that one"
        ));
    }
    Error::NotFound(format!("logical volume {path} (`lvs` shows which there are)"))
}

/// Whether the one that is meant has all that it is to have; its tags alone say it of one that was called before
/// as it is called now.
fn judge(
    groups: &[&Group],
    group: &Group,
    lv: &LogicalVolume,
    id: &VolumeId,
) -> Result<bool, Error> {
    let path = format!("{}/{}", group.name, lv.name);
    let no = |why: String| Err(Error::Precondition(format!("{path} {why}")));
    let has_its_name = lv.name.as_str() == id.as_str();
    let is_begun = is_begun(lv, id);
    match Record::read(&lv.tags) {
        _ if is_deleted(lv) => return no("was deleted through Tarn, and is being wiped".to_owned()),
        Some(_) if is_begun && has_its_name => return Ok(true),
        Some(record) if record.was.as_ref() == Some(&lv.name) => (),
        Some(record) => {
            let name = record.name.as_str();
            return no(format!("is Tarn's already: {name}, a volume or snapshot"));
        }
        None if lv.tags.iter().any(is_ours) => {
            return no("has tags of Tarn's that say nothing whole; take them off by hand \
                       (lvchange --deltag) when you know where they come from"
                .to_owned());
        }
        None => (),
    }
    ensure_kind(&path, lv)?;
    ensure_alone(&path, group, lv)?;
    // What was begun is ended first, in one way or the other.
    if !is_begun {
        ensure_free(groups, &group.name, lv, id)?;
    }
    Ok(false)
}

/// Whether it has the tags of a volume of this id, and its old name.
fn is_begun(lv: &LogicalVolume, id: &VolumeId) -> bool {
    Record::read(&lv.tags)
        .is_some_and(|it| it.was.as_ref() == Some(&lv.name) && VolumeId::of(&it.name) == *id)
}

/// Refuses a name that another volume has, or has begun to take. Of two of one group that both have begun, it is
/// whose LVM makes it.
///
/// # Errors
/// [`Error::Precondition`].
pub(super) fn ensure_free(
    groups: &[&Group],
    vg: &VgName,
    lv: &LogicalVolume,
    id: &VolumeId,
) -> Result<(), Error> {
    let may_be_first = is_begun(lv, id);
    let all = groups.iter().flat_map(|of| of.logical.iter().map(move |it| (&of.name, it)));
    let mut others = all.filter(|(of, it)| *of != vg || it.uuid != lv.uuid);
    let rival = others.find(|(of, it)| {
        it.name.as_str() == id.as_str() || (is_begun(it, id) && !(may_be_first && *of == vg))
    });
    let Some((of, rival)) = rival else { return Ok(()) };
    let who = match rival.name.as_str() == id.as_str() {
        true => format!("there is a volume {id}, which is its id"),
        false => format!("{of}/{} is being adopted under it, or that was cut short", rival.name),
    };
    Err(Error::Precondition(format!(
        "the name is taken: {who}; adopt {vg}/{} under another name",
        lv.name
    )))
}

fn ensure_kind(path: &str, lv: &LogicalVolume) -> Result<(), Error> {
    let what = match &lv.kind {
        Kind::Thick | Kind::Thin(_) => return Ok(()),
        Kind::ThinPool { .. } => "a thin pool; adopt the volumes in it".to_owned(),
        Kind::CopyOnWrite => "a snapshot; copy it to a volume of its own first".to_owned(),
        Kind::HalfMade => "a RAID whose making was cut short".to_owned(),
        Kind::Other(layout) => format!("of a kind that Tarn does not serve: {layout}"),
    };
    Err(Error::Precondition(format!("{path} is {what}")))
}

/// Refuses a snapshot, and what has some: they belong together, and Tarn would have one of them.
fn ensure_alone(path: &str, group: &Group, lv: &LogicalVolume) -> Result<(), Error> {
    if let Some(origin) = &lv.origin {
        return Err(Error::Precondition(format!(
            "{path} is a snapshot or copy of {origin}; it can be adopted when that is gone, or copy it to a \
             volume of its own"
        )));
    }
    let of_it = |it: &&LogicalVolume| it.origin.as_ref() == Some(&lv.name);
    let all: Vec<&str> = group.logical.iter().filter(of_it).map(|it| it.name.as_str()).collect();
    match all.is_empty() {
        true => Ok(()),
        false => Err(Error::Precondition(format!(
            "{path} has snapshots or copies: {}; remove them first (lvremove)",
            all.join(", ")
        ))),
    }
}

/// The adopted volume that is to be released.
///
/// # Errors
/// Why it may not be, and what to do about it.
pub(super) fn to_release(groups: &[&Group], id: &VolumeId) -> Result<Meant, Error> {
    let all = || {
        let groups = groups.iter().enumerate();
        groups.flat_map(|(at, group)| group.logical.iter().map(move |lv| (at, *group, lv)))
    };
    let so_called = all().find(|(_, _, lv)| lv.name.as_str() == id.as_str());
    let it = so_called.or_else(|| all().find(|(_, _, lv)| is_begun(lv, id)));
    let (at, group, lv) = it.ok_or_else(|| no_volume(id))?;
    let record = Record::read(&lv.tags).filter(|_| !is_deleted(lv));
    let Some(was) = record.and_then(|it| it.was) else {
        return Err(Error::Precondition(format!(
            "volume {id} was not adopted: it was made by Tarn, and there is nobody to hand it back to"
        )));
    };
    let needs_it = |it: &&LogicalVolume| {
        let record = Record::read(&it.tags);
        let of_it = |it: &Record| it.source == Some(Source::Volume(id.clone()));
        let is_volume = it.name.as_str().starts_with("v-");
        let needs = |record: Record| of_it(&record) && (!is_volume || record.copying);
        let is_snapshot = it.kind == Kind::CopyOnWrite && it.origin.as_ref() == Some(&lv.name);
        is_snapshot || record.is_some_and(needs)
    };
    let users: Vec<&str> = group
        .logical
        .iter()
        .filter(|it| !is_deleted(it))
        .filter(needs_it)
        .map(|it| it.name.as_str())
        .collect();
    if !users.is_empty() {
        return Err(Error::Precondition(format!(
            "volume {id} has snapshots, or is being copied: {}; delete them first",
            users.join(", ")
        )));
    }
    let is_called_so = |it: &LogicalVolume| it.name == was && it.name != lv.name;
    if group.logical.iter().any(is_called_so) {
        return Err(Error::Precondition(format!(
            "volume {id} was called {}/{was}, and another is by now; give that one another name (lvrename)",
            group.name
        )));
    }
    Ok(meant(at, lv, &was, false))
}

#[cfg(test)]
mod tests;
