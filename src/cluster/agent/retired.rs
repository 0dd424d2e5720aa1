//! Disks of this node that are to leave their pools, as said on the Node itself: for the one disk of the one
//! machine that fails, while the StoragePool, which may be kept in Git, stays as it is.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::Resource as _;

use super::{Notice, Shared};
use crate::{cluster::RETIRE, pool::PoolSpec};

/// What the annotation names, in its order: serials as NodeLocalStorage shows them or, of missing disks, the UUIDs
/// of their physical volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Retired(Vec<String>);

impl Retired {
    pub(super) fn of(annotations: &BTreeMap<String, String>) -> Self {
        let named = annotations.get(RETIRE).map_or("", String::as_str).split(',').map(str::trim);
        Self(named.filter(|it| !it.is_empty()).map(str::to_owned).collect())
    }

    /// A pool's spec that retires these disks, too.
    pub(super) fn added_to(&self, mut spec: PoolSpec) -> PoolSpec {
        if let Some(devices) = &mut spec.devices {
            let new = self.0.iter().filter(|it| !devices.retire.contains(it));
            let new: Vec<String> = new.cloned().collect();
            devices.retire.extend(new);
        }
        spec
    }
}

impl Shared {
    /// Warns of what the annotation names and this node has not: perhaps a serial that was misspelled.
    pub(super) async fn warn_of_unknown(&self, retired: &Retired) {
        let (plan, _) = self.agent.machine.groups().disks();
        if plan.disks.is_empty() {
            return;
        }
        let is_there = |name: &&String| {
            plan.disks.iter().any(|it| it.disk.device.serial.as_ref() == Some(name))
        };
        for name in retired.0.iter().filter(|name| !is_there(name)) {
            let note = format!(
                "{RETIRE}: no disk that is there has the serial `{name}`, unless it is missing now; those that are \
                 there: `kubectl get nls {} -o jsonpath={{.status.devices[*].serial}}`",
                self.agent.node
            );
            tracing::warn!("{note}");
            let name = self.agent.node_name.clone();
            let node = ObjectReference { name: Some(name), ..Node::default().object_ref(&()) };
            let warning =
                Notice { reason: "UnknownDisk", action: "Retire", note: &note, secondary: None };
            self.warn(&node, warning).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn retired(value: &str) -> Retired {
        Retired::of(&BTreeMap::from([(RETIRE.to_owned(), value.to_owned())]))
    }

    #[rstest]
    #[case::one("S4EW", &["S4EW"])]
    #[case::two(" S4EW,WD 1 ", &["S4EW", "WD 1"])]
    #[case::none("", &[])]
    #[case::nothing(" , ", &[])]
    fn serials_have_commas_between(#[case] value: &str, #[case] want: &[&str]) {
        assert_eq!(retired(value).0, want);
    }

    #[test]
    fn pools_of_disks_retire_them_and_others_stay_as_they_are() {
        let added = |spec| retired("B,C").added_to(serde_json::from_value(spec).unwrap());
        let of_disks = added(json!({"devices": {"paths": ["/dev/sd*"], "retire": ["A", "B"]}}));
        assert_eq!(of_disks.devices.unwrap().retire, ["A", "B", "C"]);
        assert_eq!(added(json!({"volumeGroup": "vg0"})).devices, None);
    }
}
