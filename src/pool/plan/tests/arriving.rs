//! Groups that come from other nodes.

use super::*;

/// The tags of a pool of another node.
fn tags_of(pool: &str, node: &str, cluster: &str) -> Vec<Tag> {
    let (node, cluster) = (node.parse().unwrap(), Some(cluster.to_owned()));
    Owner { node, cluster, ..owner() }.tags(&pool.parse().unwrap())
}

/// A disk of the group of pool `fast` of the node n2.
fn arrived(name: &str) -> Disk {
    member(name, "tarn-fast", tags_of("fast", "n2", "c1"))
}

fn with_uuid(mut disk: Disk, uuid: &str) -> Disk {
    let group = disk.physical.as_mut().and_then(|it| it.group.as_mut());
    group.unwrap().uuid = uuid.to_owned();
    disk
}

fn needs(pools: &[PoolEntry], disks: Vec<Disk>) -> Vec<String> {
    let plan = planned(pools, disks);
    assert_eq!(plan.arrivals.len(), 1, "{plan}");
    plan.arrivals[0].needs.iter().map(ToString::to_string).collect()
}

const TAKE: &str = "`vgchange --deltag tarn.node=n2 --addtag tarn.node=n1 tarn-fast`";

#[test]
fn a_pool_without_a_group_could_have_it() {
    assert_eq!(needs(&[fast()], vec![arrived("sda"), arrived("sdb")]), [TAKE]);
}

#[test]
fn without_such_a_pool_there_must_be_one() {
    let slow = pool("slow", r#"{"paths": ["/dev/nvme*"]}"#);
    for pools in [vec![], vec![slow]] {
        let have = "have a pool fast on this node, made of `devices`";
        assert_eq!(needs(&pools, vec![arrived("sda")]), [have, TAKE]);
    }
}

#[test]
fn the_disks_that_are_missing_come_first() {
    let disk = with_a_missing_disk(arrived("sda"));
    let words = "plug in the 1 of its disks that are missing";
    assert_eq!(needs(&[fast()], vec![disk]), [words, TAKE]);
}

#[test]
fn beside_a_group_of_that_name_it_needs_another() {
    let ours = member("sdc", "tarn-fast", our_tags("fast"));
    let theirs = with_uuid(arrived("sda"), "b-uuid");
    let new = pool("fast-of-n2", r#"{"paths": ["/dev/nvme*"]}"#);
    let with_the_pool = needs(&[fast(), new], vec![ours.clone(), theirs.clone()]);
    assert!(with_the_pool[0].starts_with("`vgrename b-uuid tarn-fast-of-n2"), "{with_the_pool:?}");
    assert_eq!(
        needs(&[fast()], vec![ours, theirs]),
        [
            "have a pool fast-of-n2 on this node, made of `devices`",
            "`vgrename b-uuid tarn-fast-of-n2`",
            "`vgchange --deltag tarn.pool=fast --addtag tarn.pool=fast-of-n2 --deltag tarn.node=n2 \
             --addtag tarn.node=n1 tarn-fast-of-n2`"
        ]
    );
}

/// Once what is asked for is done, nothing more is.
#[test]
fn an_adopted_group_has_not_come_from_elsewhere() {
    let mut disk = arrived("sda");
    let group = disk.physical.as_mut().and_then(|it| it.group.as_mut()).unwrap();
    group.tags = our_tags("fast");
    let plan = planned(&[fast()], vec![disk]);
    assert!(plan.arrivals.is_empty(), "{plan}");
    assert_eq!(plan.disks[0].state(), "Member");
}

#[rstest]
#[case::of_another_cluster(tags_of("fast", "n2", "c2"))]
#[case::of_this_node(our_tags("fast"))]
#[case::made_by_hand(vec!["mine".parse().unwrap()])]
fn other_groups_have_not(#[case] tags: Vec<Tag>) {
    let plan = planned(&[fast()], vec![member("sda", "theirs", tags)]);
    assert!(plan.arrivals.is_empty(), "{plan}");
}

#[test]
fn it_is_told_and_nothing_is_done() {
    let plan = planned(&[fast()], vec![arrived("sda"), arrived("sdb")]);
    assert_snapshot!(plan, @r"
    pool fast: volume group tarn-fast; there is a volume group tarn-fast already, made for pool fast, node n2, driver local.tarn.dev, cluster c1; it is left alone
      refuses /dev/sda (100Gi, WDC WD40, serial S-sda): it belongs to volume group tarn-fast, made for pool fast, node n2, driver local.tarn.dev, cluster c1
      refuses /dev/sdb (100Gi, WDC WD40, serial S-sdb): it belongs to volume group tarn-fast, made for pool fast, node n2, driver local.tarn.dev, cluster c1
    volume group tarn-fast (uuid-tarn-fast) on /dev/sda, /dev/sdb was made by node n2 for its pool fast, and is left alone; to adopt it here, when that node is not to have it again: 1. `vgchange --deltag tarn.node=n2 --addtag tarn.node=n1 tarn-fast`
    nothing to do
    ");
    assert_eq!(plan.headlines().len(), 2);
}
