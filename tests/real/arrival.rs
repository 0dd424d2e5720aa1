//! Groups that another node has made, on disks that are plugged in here: what is said of them is what it
//! takes to adopt them.

use std::{fs, path::PathBuf};

use tarn::csi::proto::ListVolumesRequest;

use crate::support::{
    calls::Csi,
    content::{holds, put},
    disks::{Disks, disk, members},
    driver::socket,
    machine::run,
    mib,
    wish::Wish,
};

/// Makes a pool with a volume on the first disk, as the node `other`, and gives the volume's id.
fn of_another_node(disks: &Disks) -> String {
    disks.pools(r#"{paths: ["/dev/ubda"]}"#);
    let driver = disks.start();
    let csi = Csi::connect(&socket(&disks.ground.home));
    let volume = csi.create_volume(Wish::new("v", "block", mib(16)).request()).unwrap();
    let id = volume.volume.unwrap().volume_id;
    put(&device("tarn-pool", &id), 0, 1);
    driver.stop();
    let other = ["--deltag", "tarn.node=guest", "--addtag", "tarn.node=other", "tarn-pool"];
    run("vgchange", &other);
    run("vgchange", &["-an", "tarn-pool"]);
    id
}

fn device(group: &str, id: &str) -> PathBuf {
    format!("/dev/{group}/{id}").into()
}

/// The commands that the plan has a person type.
fn commands(plan: &str) -> Vec<String> {
    let line = plan.lines().find(|it| it.contains("was made by node other for its pool pool"));
    let line = line.unwrap_or_else(|| panic!("{plan}"));
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|it| it.starts_with("vg")).map(str::to_owned).collect()
}

fn type_in(commands: &[String]) {
    for line in commands {
        let words: Vec<&str> = line.split(' ').collect();
        run(words[0], &words[1..]);
    }
}

/// The driver serves what it has adopted.
fn assert_served(disks: &Disks, group: &str, id: &str) {
    let driver = disks.start();
    let csi = Csi::connect(&socket(&disks.ground.home));
    let listed = csi.list_volumes(ListVolumesRequest::default()).unwrap().entries;
    assert_eq!(listed[0].volume.as_ref().unwrap().volume_id, id);
    assert!(holds(&device(group, id), 0, 1));
    assert!(!disks.plan().contains("was made by node"), "{}", disks.plan());
    driver.stop();
}

#[test]
#[ignore = "guest: makes volume groups of whole disks"]
fn a_group_is_adopted_by_what_the_plan_says() {
    let disks = Disks::new(1);
    let id = of_another_node(&disks);
    let plan = disks.plan();
    assert!(plan.contains("nothing to do"), "{plan}");
    let commands = commands(&plan);
    assert_eq!(commands, ["vgchange --deltag tarn.node=other --addtag tarn.node=guest tarn-pool"]);
    type_in(&commands);
    assert_served(&disks, "tarn-pool", &id);
}

#[test]
#[ignore = "guest: makes volume groups of whole disks"]
fn beside_a_group_of_the_same_name_it_gets_another() {
    let disks = Disks::new(2);
    let id = of_another_node(&disks);
    run("vgrename", &["tarn-pool", "away"]);
    disks.pools(r#"{paths: ["/dev/ubdb"]}"#);
    disks.start().stop();
    assert_eq!(members("tarn-pool"), [disk(1)]);
    let alone = r#"devices/filter=["r|/dev/ubdb|"]"#;
    run("vgrename", &["--config", alone, "away", "tarn-pool"]);
    let plan = disks.plan();
    let has = "have a pool pool-of-other on this node, made of `devices`";
    assert!(plan.contains(has) && plan.contains("nothing to do"), "{plan}");
    let pools = "pools: [{name: pool, devices: {paths: [\"/dev/ubdb\"]}}, \
                 {name: pool-of-other, devices: {paths: [\"/dev/ubda\"]}}]\n";
    fs::write(disks.ground.home.join("pools.yaml"), pools).unwrap();
    type_in(&commands(&disks.plan()));
    assert_served(&disks, "tarn-pool-of-other", &id);
    assert_eq!(members("tarn-pool"), [disk(1)]);
}
