//! Conditions, as all of Kubernetes' objects have them.

use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is so or not (API conventions, "Typical status properties").
///
/// k8s-openapi has this type too, but its schema only with those of all other types of the API, which
/// take minutes to compile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(length(max = 7))]
    pub status: String,
    /// Why, in one word for programs.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Why, in words for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// Since when, in RFC 3339.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_transition_time: String,
}

impl Condition {
    /// A condition that begins now.
    pub fn new(kind: &str, is_so: bool, reason: &str, message: String) -> Self {
        Self {
            kind: kind.to_owned(),
            status: if is_so { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Timestamp::now().to_string(),
        }
    }

    /// `all` with this one in the place of one of its kind.
    pub fn among(self, all: &[Self]) -> Vec<Self> {
        let others = all.iter().filter(|it| it.kind != self.kind).cloned();
        others.chain([self.clone()]).collect()
    }

    /// One that says what `last` said keeps the time since when it does.
    pub fn keep_time(&mut self, last: &[Self]) {
        let same = |it: &&Self| it.kind == self.kind && it.status == self.status;
        if let Some(same) = last.iter().find(same) {
            self.last_transition_time.clone_from(&same.last_transition_time);
        }
    }
}
