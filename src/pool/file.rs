//! The pools file of `tarn standalone`: every pool of this machine in one YAML file.

mod said;
mod tree;

use std::{collections::BTreeSet, fmt};

use schemars::JsonSchema;
use serde::Deserialize;

use self::tree::{Node, Place, Value};
use super::PoolSpec;
use crate::{lvm::VgName, volume::PoolName};

/// One pool of a pools file.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct PoolEntry {
    /// What StorageClasses call it.
    #[schemars(
        with = "String",
        length(max = 63),
        regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: PoolName,
    /// What it is.
    #[schemars(flatten)]
    pub spec: PoolSpec,
}

/// The pools of one machine.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "says what the file looks like; `read` takes it apart by hand")]
pub struct PoolsFile {
    /// At least one. Names and volume groups are used once.
    #[schemars(length(min = 1))]
    pools: Vec<PoolEntry>,
}

/// Something wrong in a pools file, and where, both counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// In which line.
    pub line: usize,
    /// From which character of the line on.
    pub column: usize,
    /// The field, if it is about one, and what is wrong.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl PoolsFile {
    /// Reads a pools file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file. What follows from another
    /// mistake is not told: a pool with fields that cannot be read is not judged as a whole.
    pub fn read(text: &str) -> Result<Vec<PoolEntry>, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let pools = match tree::parse(text, &mut mistakes) {
            Ok(root) => drafts(root, &mut mistakes),
            Err(mistake) => return Err(vec![mistake]),
        };
        same_names(&pools, &mut mistakes);
        same_groups(&pools, &mut mistakes);
        if !mistakes.is_empty() {
            mistakes.sort();
            return Err(mistakes);
        }
        Ok(pools.into_iter().filter_map(Draft::finished).collect())
    }
}

impl PoolEntry {
    /// The volume group: the one that is named, or one of its own.
    pub fn group(&self) -> VgName {
        match &self.spec.volume_group {
            Some(group) => group.clone(),
            None => own_group(&self.name),
        }
    }
}

/// The group of a pool that has one of its own.
pub(super) fn own_group(name: &PoolName) -> VgName {
    #[expect(clippy::expect_used, reason = "a DNS label after a prefix is a name for LVM")]
    format!("tarn-{name}").parse().expect("a valid name")
}

/// A pool as far as it could be read.
struct Draft {
    node: Node,
    name: Option<(PoolName, Place)>,
    spec: Option<PoolSpec>,
}

impl Draft {
    fn finished(self) -> Option<PoolEntry> {
        Some(PoolEntry { name: self.name?.0, spec: self.spec? })
    }

    /// The volume group it will have and where the file says so.
    fn group(&self) -> Option<(VgName, Place)> {
        let spec = self.spec.as_ref()?;
        match (&spec.volume_group, &self.name) {
            (Some(group), _) => Some((group.clone(), self.place_of("volumeGroup"))),
            (None, Some((name, _))) if spec.loop_file.is_some() => {
                Some((own_group(name), self.place_of("loopFile")))
            }
            (None, Some((name, _))) if spec.devices.is_some() => {
                Some((own_group(name), self.place_of("devices")))
            }
            (None, _) => None,
        }
    }

    /// Where a field stands: the innermost of the dotted path that is there, else the pool.
    fn place_of(&self, path: &str) -> Place {
        let (mut node, mut place) = (&self.node, self.node.place);
        for key in path.split('.') {
            let Some(entry) = node.get(key) else { break };
            (node, place) = (&entry.value, entry.place);
        }
        place
    }
}

fn drafts(root: Option<Node>, mistakes: &mut Vec<Mistake>) -> Vec<Draft> {
    const EXAMPLE: &str =
        "write `pools:` and under it at least `- name: fast` with a `volumeGroup`";
    let start = Place { line: 1, column: 1 };
    let Some(root) = root else {
        mistakes.push(start.mistake(format!("there are no pools: {EXAMPLE}")));
        return Vec::new();
    };
    let Value::Map(entries) = root.value else {
        let found = root.kind();
        mistakes.push(root.place.mistake(format!("expected fields, found {found}: {EXAMPLE}")));
        return Vec::new();
    };
    let (pools, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|it| it.key == "pools");
    mistakes.extend(others.iter().map(|other| {
        other.place.mistake(format!("{}: there is no such field; there is only pools", other.key))
    }));
    let Some(pools) = pools.into_iter().next() else {
        mistakes.push(root.place.mistake(format!("pools: missing: {EXAMPLE}")));
        return Vec::new();
    };
    match pools.value.value {
        Value::List(items) if !items.is_empty() => {
            items.into_iter().map(|item| draft(item, mistakes)).collect()
        }
        Value::List(_) | Value::Map(_) | Value::Scalar(..) => {
            let found = pools.value.kind();
            let why = format!("pools: expected a list of pools, found {found}: {EXAMPLE}");
            mistakes.push(pools.place.mistake(why));
            Vec::new()
        }
    }
}

fn draft(node: Node, mistakes: &mut Vec<Mistake>) -> Draft {
    let mut draft = Draft { node, name: None, spec: None };
    if !matches!(draft.node.value, Value::Map(_)) {
        let found = draft.node.kind();
        let why = format!("expected the fields of a pool, found {found}");
        mistakes.push(draft.node.place.mistake(why));
        return draft;
    }
    draft.name = name(&draft.node, mistakes);
    let mut rest = draft.node.clone();
    if let Some(place) = draft.node.get("name").map(|entry| entry.place) {
        rest.remove(place);
    }
    draft.spec = spec(rest, mistakes);
    if let Some(spec) = &draft.spec {
        mistakes.extend(
            spec.mistakes()
                .into_iter()
                .map(|(field, why)| draft.place_of(field).mistake(format!("{field}: {why}"))),
        );
    }
    draft
}

fn name(node: &Node, mistakes: &mut Vec<Mistake>) -> Option<(PoolName, Place)> {
    let Some(entry) = node.get("name") else {
        mistakes.push(node.place.mistake("name: missing: a StorageClass names the pool by it"));
        return None;
    };
    let parsed = String::deserialize(&entry.value)
        .map_err(|fault| fault.message)
        .and_then(|text| text.parse().map_err(|err| format!("{err}")));
    match parsed {
        Ok(name) => Some((name, entry.place)),
        Err(why) => {
            mistakes.push(entry.place.mistake(format!("name: {why}")));
            None
        }
    }
}

/// The spec, if all of it can be read. Each field that cannot is told and taken out, to find the
/// next.
fn spec(mut node: Node, mistakes: &mut Vec<Mistake>) -> Option<PoolSpec> {
    let mut told = BTreeSet::new();
    loop {
        let fault = match PoolSpec::deserialize(&node) {
            Ok(spec) => return told.is_empty().then_some(spec),
            Err(fault) => fault,
        };
        // A field that was taken out is not missing as well.
        if !(fault.missing && told.contains(&fault.path)) {
            let place = fault.place.unwrap_or(node.place);
            mistakes.push(place.mistake(format!("{}: {}", fault.path, fault.message)));
        }
        told.insert(fault.path);
        fault.entry.and_then(|entry| node.remove(entry))?;
    }
}

fn same_names(pools: &[Draft], mistakes: &mut Vec<Mistake>) {
    let mut names: Vec<&(PoolName, Place)> = Vec::new();
    for pool in pools.iter().filter_map(|pool| pool.name.as_ref()) {
        match names.iter().find(|(name, _)| *name == pool.0) {
            Some((name, first)) => {
                mistakes.push(pool.1.mistake(format!(
                    "name: there is a pool `{name}` in line {} already",
                    first.line
                )))
            }
            None => names.push(pool),
        }
    }
}

fn same_groups(pools: &[Draft], mistakes: &mut Vec<Mistake>) {
    let mut groups: Vec<(VgName, Place, &Draft)> = Vec::new();
    for pool in pools {
        let Some((group, place)) = pool.group() else { continue };
        match groups.iter().find(|(other, ..)| *other == group) {
            // Loop files of two pools of one name: the name is the mistake.
            Some((_, first, other)) if !share_a_name(pool, other) => {
                mistakes.push(place.mistake(format!(
                    "volume group `{group}` is that of the pool in line {} already",
                    first.line
                )));
            }
            Some(_) => (),
            None => groups.push((group, place, pool)),
        }
    }
}

fn share_a_name(one: &Draft, other: &Draft) -> bool {
    match (&one.name, &other.name) {
        (Some((one, _)), Some((other, _))) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn mistakes(text: &str) -> String {
        let mistakes = PoolsFile::read(text).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_good_file() {
        let text = "\
# Two pools.
pools:
  - name: fast
    volumeGroup: vg0
    layout: Striped
    reserve: 1Gi
  - name: try
    loopFile: {directory: /var/lib/tarn, size: \"10Gi\"}
    provisioning: ThickAndThin
    wipe: Discard
    thinPool:
      size: 4294967296
      overprovision: 300
      autoextend: {threshold: 80, percent: 20}
";
        let pools = PoolsFile::read(text).unwrap();
        let lines: Vec<String> = pools.iter().map(ToString::to_string).collect();
        assert_snapshot!(lines.join("\n"), @r#"
        fast: volume group vg0; thick volumes, striped over 2 disks; wipe Zero; 1Gi reserved
        try: volume group tarn-try on a file of 10Gi in /var/lib/tarn; thick and thin volumes, linear; thin pool of 4Gi, linear, that promises 300% and grows by 20% at 80%; wipe Discard; 0 reserved
        "#);
    }

    #[test]
    fn all_mistakes_of_a_file_are_told_at_once() {
        let text = "\
pools:
  - name: Fast
    volumeGroup: -rf
    layuot: Striped
    stripes: many
    provisioning: thin
  - volumeGroup: vg1
    stripes: 1
    thinPool:
      overprovision: 50x
      size: [4Gi]
  - name: thin
    loopFile:
      size: 10 GB
    wipe:
      - Zero
  - name: thin
    loopFile: {directory: ../x, size: 1Mi}
    thinPool: {size: 4Ki, overprovision: 99, autoextend: {threshold: 99, percent: 0}}
    provisioning: Thin
version: 1
";
        assert_snapshot!(mistakes(text), @r#"
        line 2: name: `Fast` is not a pool's name: 1 to 63 of a-z 0-9 and -, beginning and ending with a letter or digit
        line 3: volumeGroup: `-rf` is not a name that LVM accepts: up to 127 of a-z A-Z 0-9 + _ . -, not beginning with -, not `.` or `..`
        line 4: layuot: there is no such field; there are volumeGroup, loopFile, devices, directory, memory, wholeDevices, provisioning, layout, layouts, mirrors, stripes, reserve, thinPool, wipe
        line 5: stripes: expected a whole number, found `many`
        line 6: provisioning: `thin` is not one of Thick, Thin, ThickAndThin
        line 7: name: missing: a StorageClass names the pool by it
        line 10: thinPool.overprovision: expected a whole number, found `50x`
        line 11: thinPool.size: expected text, found a list
        line 14: loopFile.directory: missing
        line 14: loopFile.size: `10 GB` is not a size: write a whole number of bytes, with a suffix such as Mi, Gi, Ti, M, G or T
        line 16: wipe: expected text, found a list
        line 17: name: there is a pool `thin` in line 12 already
        line 18: loopFile.directory: `../x` is not an absolute path without `..`
        line 18: loopFile.size: 1Mi is less than 64Mi
        line 19: thinPool.size: 4Ki is less than 4Mi
        line 19: thinPool.overprovision: 99 is not in 100 to 10000
        line 19: thinPool.autoextend.threshold: 99 is not in 50 to 95
        line 19: thinPool.autoextend.percent: 0 is not in 1 to 100
        line 21: version: there is no such field; there is only pools
        "#);
    }

    #[test]
    fn pools_do_not_share() {
        let text = "\
pools:
  - {name: a, volumeGroup: vg0}
  - {name: b, volumeGroup: vg0}
  - {name: a, volumeGroup: vg1}
  - {name: c, volumeGroup: tarn-d}
  - name: d
    loopFile: {directory: /srv, size: 1Gi}
";
        assert_snapshot!(mistakes(text), @r#"
        line 3: volume group `vg0` is that of the pool in line 2 already
        line 4: name: there is a pool `a` in line 2 already
        line 7: volume group `tarn-d` is that of the pool in line 5 already
        "#);
    }

    #[test]
    fn a_pool_is_judged_as_a_whole() {
        let text = "\
pools:
  - name: neither
  - name: both
    volumeGroup: vg0
    loopFile: {directory: /srv, size: 1Gi}
  - name: no-thin-pool
    volumeGroup: vg1
    provisioning: Thin
  - name: idle-thin-pool
    volumeGroup: vg2
    thinPool: {size: 1Gi}
  - name: twice
    volumeGroup: vg3
    volumeGroup: vg4
";
        assert_snapshot!(mistakes(text), @r#"
        line 2: volumeGroup: give `volumeGroup`, `loopFile`, `devices`, `directory`, `memory` or `wholeDevices`
        line 5: loopFile: give `volumeGroup` or `loopFile`, not both
        line 6: thinPool: thin volumes need it: say at least its `size`
        line 11: thinPool: a `Thick` pool has none: say `provisioning: Thin` or `ThickAndThin`
        line 14: volumeGroup: given twice, first in line 13
        "#);
    }

    #[test]
    fn files_of_another_shape() {
        let said: Vec<String> = [
            "",
            "# nothing\n",
            "pools:\n",
            "pools: []\n",
            "pools: {fast: {}}\n",
            "pool: [x]\n",
            "pools: [vg0, ~]\n",
            "- name: fast\n",
            "pools: [\n",
            "pools:\n\t- name: x\n",
            "pools: &all [*all]\n",
            "pools: !!seq []\n",
            "pools: [{name: a, volumeGroup: v}]\n---\npools: []\n",
            "pools: [{? [a] : b}]\n",
            "pools: [{name: [a], volumeGroup: ~}]\n",
            &"[".repeat(100_000),
        ]
        .iter()
        .map(|text| mistakes(text))
        .collect();
        assert_snapshot!(said.join("\n"), @r#"
        line 1: there are no pools: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: there are no pools: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: pools: expected a list of pools, found nothing: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: pools: expected a list of pools, found an empty list: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: pools: expected a list of pools, found fields: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: pool: there is no such field; there is only pools
        line 1: pools: missing: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: expected the fields of a pool, found `vg0`
        line 1: expected the fields of a pool, found nothing
        line 1: expected fields, found a list: write `pools:` and under it at least `- name: fast` with a `volumeGroup`
        line 1: not YAML: unclosed bracket '['
        line 2: not YAML: tabs disallowed within this context (block indentation)
        line 1: anchors, aliases and tags are not read here: write the value itself
        line 1: anchors, aliases and tags are not read here: write the value itself
        line 3: a second document: write all pools into the first
        line 1: a field's name is plain text
        line 1: name: expected text, found a list
        line 1: volumeGroup: give `volumeGroup`, `loopFile`, `devices`, `directory`, `memory` or `wholeDevices`
        line 1: not YAML: recursion limit exceeded
        "#);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[-\\[\\]{}:,&*!?|>'\"%@`#\n a-z~]{0,60}") {
            drop(PoolsFile::read(&text));
            drop(PoolsFile::read(&format!("pools:\n  - name: a\n    {text}")));
        }
    }
}
