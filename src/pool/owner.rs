//! Whose a volume group is: the tags that say so, written by the command that makes it.

use std::fmt;

use crate::{
    lvm::{PvMark, Tag},
    volume::{NodeId, PoolName},
};

/// The tag for the pool.
const POOL: &str = "tarn.pool=";
/// The tag for the node.
const NODE: &str = "tarn.node=";
/// The tag for the driver's name.
const CREATOR: &str = "tarn.by=";
/// The tag for the cluster; without one it is nobody's but the node's.
const CLUSTER: &str = "tarn.cluster=";

/// Who makes volume groups of disks here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The driver's name.
    pub creator: String,
    /// What the cluster is known by; `None` without one.
    pub cluster: Option<String>,
    /// The node.
    pub node: NodeId,
}

/// Whose a volume group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This owner's, for this pool.
    Ours(PoolName),
    /// Another owner's.
    Other(OtherOwner),
    /// Tarn has not made it of disks.
    NotTarns,
}

/// Another owner, as far as the tags tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherOwner {
    pool: Option<String>,
    node: Option<String>,
    creator: Option<String>,
    cluster: Option<String>,
}

impl fmt::Display for OtherOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name} {value}"))
        };
        let parts = [
            part("pool", &self.pool),
            part("node", &self.node),
            part("driver", &self.creator),
            part("cluster", &self.cluster),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "made for {}", parts.join(", "))
    }
}

impl Owner {
    /// The tags of the group of one of its pools.
    pub fn tags(&self, pool: &PoolName) -> Vec<Tag> {
        let mut texts = vec![
            format!("{POOL}{pool}"),
            format!("{NODE}{}", self.node.as_str()),
            format!("{CREATOR}{}", self.creator),
        ];
        texts.extend(self.cluster.iter().map(|it| format!("{CLUSTER}{it}")));
        // The names of pools, nodes and drivers, and a cluster's UID, have nothing that a tag must not
        // have; without one of its tags a group would be nobody's, and never be taken for ours.
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// By what it knows physical volumes again that it made for a pool.
    pub fn mark(&self, pool: &PoolName) -> PvMark {
        let tags: Vec<String> = self.tags(pool).iter().map(ToString::to_string).collect();
        PvMark::of(&tags.join(" "))
    }

    /// For which pool the same driver has made a group on another node of the same cluster, and on which.
    pub fn neighbour(&self, tags: &[Tag]) -> Option<(PoolName, NodeId)> {
        let Whose::Other(found) = self.whose(tags) else { return None };
        let is_same =
            found.creator.as_deref() == Some(&self.creator) && found.cluster == self.cluster;
        let node = found.node.and_then(|it| it.parse().ok()).filter(|it| *it != self.node)?;
        let pool = found.pool.and_then(|it| it.parse().ok())?;
        is_same.then_some((pool, node))
    }

    /// Whose a group with these tags is.
    pub fn whose(&self, tags: &[Tag]) -> Whose {
        let value = |key: &str| {
            let mut values = tags.iter().filter_map(|tag| tag.as_str().strip_prefix(key));
            values.next().map(str::to_owned)
        };
        let found = OtherOwner {
            pool: value(POOL),
            node: value(NODE),
            creator: value(CREATOR),
            cluster: value(CLUSTER),
        };
        let pool = found.pool.as_ref().and_then(|it| it.parse().ok());
        let ours = found.node.as_deref() == Some(self.node.as_str())
            && found.creator.as_deref() == Some(&self.creator)
            && found.cluster == self.cluster;
        match pool {
            Some(pool) if ours => Whose::Ours(pool),
            _ if found == OtherOwner::default() => Whose::NotTarns,
            _ => Whose::Other(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn owner(node: &str, creator: &str, cluster: Option<&str>) -> Owner {
        let cluster = cluster.map(str::to_owned);
        Owner { node: node.parse().unwrap(), creator: creator.to_owned(), cluster }
    }

    #[rstest]
    #[case::itself("n1", "local.tarn.dev", Some("c1"), true)]
    #[case::other_node("n2", "local.tarn.dev", Some("c1"), false)]
    #[case::other_driver("n1", "other.tarn.dev", Some("c1"), false)]
    #[case::other_cluster("n1", "local.tarn.dev", Some("c2"), false)]
    #[case::no_cluster("n1", "local.tarn.dev", None, false)]
    fn only_its_own_groups_are_its_own(
        #[case] node: &str,
        #[case] creator: &str,
        #[case] cluster: Option<&str>,
        #[case] ours: bool,
    ) {
        let us = owner("n1", "local.tarn.dev", Some("c1"));
        let (maker, pool) = (owner(node, creator, cluster), "fast".parse().unwrap());
        let found = us.whose(&maker.tags(&pool));
        assert_eq!(found == Whose::Ours(pool.clone()), ours, "{found:?}");
        assert_eq!(us.mark(&pool) == maker.mark(&pool), ours);
        let neighbour = us.neighbour(&maker.tags(&pool)).map(|(_, node)| node);
        assert_eq!(neighbour, (node == "n2").then(|| maker.node.clone()));
        assert_ne!(us.mark(&pool), us.mark(&"slow".parse().unwrap()));
    }

    #[test]
    fn others_are_described() {
        let us = owner("n1", "local.tarn.dev", None);
        let others = owner("n2", "d", Some("c2")).tags(&"fast".parse().unwrap());
        let Whose::Other(other) = us.whose(&others) else { panic!("{others:?}") };
        assert_eq!(other.to_string(), "made for pool fast, node n2, driver d, cluster c2");
        // A loop file's group.
        let loop_file = us.whose(&["tarn.pool=try".parse().unwrap()]);
        assert!(matches!(loop_file, Whose::Other(_)), "{loop_file:?}");
        assert_eq!(us.whose(&["mine".parse().unwrap()]), Whose::NotTarns);
    }
}
