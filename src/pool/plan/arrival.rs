//! Volume groups that Tarn has made on another node, and whose disks are plugged into this one: what it
//! would take to have them here. Tarn does nothing of it by itself.

use std::{fmt, path::PathBuf};

use super::Sought;
use crate::{
    lvm::{SeenGroup, VgName},
    pool::{
        file::own_group,
        owner::{Owner, Whose},
        survey::Survey,
    },
    volume::{NodeId, PoolName},
};

/// A group that has come from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its name.
    pub group: VgName,
    /// LVM's own identity of it.
    pub uuid: String,
    /// For which pool it was made.
    pub pool: PoolName,
    /// By which node.
    pub node: NodeId,
    /// Its disks that are here.
    pub disks: Vec<PathBuf>,
    /// What is to be done so that it is this node's, in this order.
    pub needs: Vec<Need>,
}

/// One thing that is to be done by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// So many of its disks are not here.
    Disks(u64),
    /// No pool of this name is to be made of disks on this node.
    Pool(PoolName),
    /// A command.
    Command(String),
}

/// The groups of other nodes, each once.
pub(super) fn arrivals(sought: &[Sought<'_>], owner: &Owner, survey: &Survey) -> Vec<Arrival> {
    let mut found: Vec<Arrival> = Vec::new();
    for physical in survey.physical.iter().filter(|it| !it.missing) {
        let Some(group) = &physical.group else { continue };
        let Some((pool, node)) = owner.neighbour(&group.tags) else { continue };
        if let Some(known) = found.iter_mut().find(|it| it.uuid == group.uuid) {
            known.disks.push(physical.device.clone());
            continue;
        }
        let needs = needs(group, (&pool, &node), sought, owner, survey);
        found.push(Arrival {
            group: group.name.clone(),
            uuid: group.uuid.clone(),
            disks: vec![physical.device.clone()],
            pool,
            node,
            needs,
        });
    }
    found
}

fn needs(
    group: &SeenGroup,
    (pool, node): (&PoolName, &NodeId),
    sought: &[Sought<'_>],
    owner: &Owner,
    survey: &Survey,
) -> Vec<Need> {
    let mut needs = Vec::new();
    if group.missing > 0 {
        needs.push(Need::Disks(group.missing));
    }
    if group.elsewhere {
        needs.push(Need::Command(format!("vgimport {}", group.name)));
    }
    // A pool has one group, and a machine one group of a name.
    let is_taken = is_taken(group, pool, owner, survey);
    let new = is_taken.then(|| free_name(group, (pool, node), owner, survey)).flatten();
    let as_pool = new.as_ref().unwrap_or(pool);
    if !sought.iter().any(|it| it.name() == as_pool) {
        needs.push(Need::Pool(as_pool.clone()));
    }
    let name = own_group(as_pool);
    if group.name != name {
        needs.push(Need::Command(format!("vgrename {} {name}", group.uuid)));
    }
    let mut change = "vgchange".to_owned();
    if as_pool != pool {
        change += &format!(" --deltag tarn.pool={pool} --addtag tarn.pool={as_pool}");
    }
    let (old, this) = (node.as_str(), owner.node.as_str());
    change += &format!(" --deltag tarn.node={old} --addtag tarn.node={this} {name}");
    needs.push(Need::Command(change));
    needs
}

/// Whether the pool of that name has a group here already, or another one has its name.
fn is_taken(group: &SeenGroup, pool: &PoolName, owner: &Owner, survey: &Survey) -> bool {
    let name = own_group(pool);
    let mut others = survey.physical.iter().filter_map(|it| it.group.as_ref());
    survey.known.contains_key(&name)
        || others.any(|it| {
            let is_its = it.name == name || owner.whose(&it.tags) == Whose::Ours(pool.clone());
            it.uuid != group.uuid && is_its
        })
}

/// A name for a pool that tells where its group comes from; a pool of that name has no group yet.
fn free_name(
    group: &SeenGroup,
    (pool, node): (&PoolName, &NodeId),
    owner: &Owner,
    survey: &Survey,
) -> Option<PoolName> {
    let mut names = vec![format!("{pool}-of-{}", node.as_str().replace('.', "-"))];
    names.extend((2..100).map(|number| format!("{pool}-{number}")));
    let mut names = names.iter().filter_map(|it| it.parse().ok());
    names.find(|it| !is_taken(group, it, owner, survey))
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disks: Vec<String> = self.disks.iter().map(|it| it.display().to_string()).collect();
        let Self { group, uuid, pool, node, .. } = self;
        write!(
            f,
            "volume group {group} ({uuid}) on {} was made by node {} for its pool {pool}, and is left \
             alone; to adopt it here, when that node is not to have it again:",
            disks.join(", "),
            node.as_str()
        )?;
        for (number, need) in (1..).zip(&self.needs) {
            write!(f, " {number}. {need}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disks(count) => write!(f, "plug in the {count} of its disks that are missing"),
            Self::Pool(name) => write!(f, "have a pool {name} on this node, made of `devices`"),
            Self::Command(line) => write!(f, "`{line}`"),
        }
    }
}
