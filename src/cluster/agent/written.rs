//! What this agent wrote last, until its watch shows it: an object as it was before that would have
//! the same step done again, which takes the volume's turn from those who were told that it is done.
//! Pure.

use std::collections::HashMap;

/// Versions by the names of objects. A version is a number that grows with every write (Kubernetes
/// API conventions, `resourceVersion`); one that is not is not looked at.
#[derive(Debug, Default)]
pub(super) struct Written {
    versions: HashMap<String, u64>,
}

impl Written {
    /// Remembers that `name` was written and has this version now.
    pub(super) fn note(&mut self, name: &str, version: Option<&str>) {
        if let Some(version) = read(version) {
            self.versions.insert(name.to_owned(), version);
        }
    }

    /// Whether an object is older than what was written of it, so that a newer one is on its way.
    pub(super) fn is_ahead_of(&mut self, name: &str, version: Option<&str>) -> bool {
        let is_older = self
            .versions
            .get(name)
            .is_some_and(|written| read(version).is_some_and(|version| version < *written));
        if !is_older {
            self.versions.remove(name);
        }
        is_older
    }
}

fn read(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_from_before_the_last_write_is_passed_over() {
        let mut written = Written::default();
        assert!(!written.is_ahead_of("v", Some("9")), "nothing was written");
        written.note("v", Some("10"));
        assert!(written.is_ahead_of("v", Some("9")));
        assert!(!written.is_ahead_of("w", Some("9")));
        assert!(!written.is_ahead_of("v", Some("10")), "the watch has caught up");
        assert!(!written.is_ahead_of("v", Some("9")), "and nothing is remembered");
    }

    #[test]
    fn a_version_that_is_no_number_holds_nothing_back() {
        let mut written = Written::default();
        written.note("v", Some("ten"));
        assert!(!written.is_ahead_of("v", Some("9")));
        written.note("v", Some("10"));
        assert!(!written.is_ahead_of("v", None));
    }
}
