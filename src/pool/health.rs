//! How well a pool is: which of its disks are missing or err, and which volumes lie on them. Pure.

use std::fmt;

/// So many volumes are named in one sentence.
const MOST_NAMED: usize = 20;
/// The disks are there, and yet a thin pool is not.
const GIVEN_UP: &str = "its thin pool has given up after an error of its disks";

/// How well a pool is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why its volume group could not be read when that was tried last. What is known of the pool is
    /// from before; nothing of it counts as gone.
    pub unread: Option<String>,
    /// The disks that it misses, each with what is known of it.
    pub disks: Vec<String>,
    /// The volumes and snapshots that lie on those, if only in part, by their ids; also those in a thin
    /// pool that has given up because of them, and those that have not found their way back yet.
    pub lost: Vec<String>,
    /// What becomes of the RAID volumes among those, in a sentence.
    pub repair: Option<String>,
    /// The volumes whose contents are gone, as those in memory after a restart, by their ids. The pool is well.
    pub emptied: Vec<String>,
    /// Whether each volume is a disk of its own, so that none of the others suffers.
    pub apart: bool,
    /// The disks that are there, and without which RAID volumes go on because they have erred.
    pub erring: Vec<Erring>,
}

/// A disk that has answered RAID volumes with errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erring {
    /// What is known of it.
    pub disk: String,
    /// The volumes that go on without their legs on it, by their ids.
    pub volumes: Vec<String>,
}

impl Erring {
    /// What a volume lacks that has a leg on it.
    pub fn of_a_volume(&self) -> String {
        format!("it goes on without its leg on {}, which has answered with errors", self.disk)
    }
}

impl fmt::Display for Erring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has answered with errors; without their legs on it go on ", self.disk)?;
        f.write_str(&named(&self.volumes))?;
        f.write_str(". They are tried again now and then; if it errs for good, pull it")
    }
}

/// The first of these ids, and how many more there are.
fn named(ids: &[String]) -> String {
    let first: Vec<&str> = ids.iter().take(MOST_NAMED).map(String::as_str).collect();
    match ids.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

impl Health {
    /// Whether nothing is missing.
    pub fn is_well(&self) -> bool {
        self.unread.is_none() && self.is_there() && self.erring.is_empty()
    }

    /// Whether no disk is missing, and no volume because of one.
    pub fn is_there(&self) -> bool {
        self.disks.is_empty() && self.lost.is_empty()
    }

    /// In one word: `Ready`, `Degraded` or `Unreadable`.
    pub fn state(&self) -> &'static str {
        match self.unread {
            Some(_) => "Unreadable",
            None if self.is_well() => "Ready",
            None => "Degraded",
        }
    }

    /// What a volume of it lacks that is not whole.
    pub fn of_a_lost_volume(&self) -> String {
        match self.disks.as_slice() {
            [] => GIVEN_UP.to_owned(),
            disks => format!("it lies on a disk that is missing: {}", disks.join(", ")),
        }
    }
}

/// What is missing, and what that means.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unread {
            return write!(
                f,
                "its volume group cannot be read, and nothing in it is given up: {why}"
            );
        }
        let erring: Vec<String> = self.erring.iter().map(ToString::to_string).collect();
        let erring = erring.join(". ");
        match (self.disks.as_slice(), self.lost.as_slice()) {
            ([], []) if erring.is_empty() => return f.write_str("all its disks are there"),
            ([], []) => return f.write_str(&erring),
            ([], [_, ..]) => f.write_str(GIVEN_UP)?,
            (disks, _) => write!(f, "it misses {}", disks.join(", "))?,
        }
        match self.lost.is_empty() {
            true => f.write_str("; no volume lies on that"),
            false => write!(f, "; on that lie {}", named(&self.lost)),
        }?;
        match self.disks.is_empty() {
            true => {
                f.write_str(". It is there again as soon as no program uses any of its volumes")
            }
            false if self.apart => f.write_str(". Each is served again when its disk is back"),
            false => f.write_str(
                ". The others are served; LVM makes and changes nothing before it is back",
            ),
        }?;
        let more = self.repair.iter().chain(Some(&erring).filter(|it| !it.is_empty()));
        more.into_iter().try_for_each(|it| write!(f, ". {it}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(lost: usize) -> Health {
        let lost = (0..lost).map(|it| format!("v-{it}")).collect();
        let disks = vec!["/dev/sdb (1Gi, serial A)".to_owned()];
        Health { disks, lost, ..Health::default() }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(Health::default().to_string(), "all its disks are there");
        let two = missing(2).to_string();
        assert!(
            two.starts_with("it misses /dev/sdb (1Gi, serial A); on that lie v-0, v-1. "),
            "{two}"
        );
        assert!(missing(0).to_string().contains("no volume lies on that"));
        let many = missing(25).to_string();
        assert!(many.contains("v-19 and 5 more"), "{many}");
    }

    #[test]
    fn a_disk_that_errs_is_told_of_alone_and_beside_one_that_is_missing() {
        let disk = "/dev/sdc (1Gi, serial B)".to_owned();
        let erring = vec![Erring { disk, volumes: vec!["v-7".to_owned()] }];
        let ill = Health { erring, ..Health::default() };
        assert_eq!((ill.state(), ill.is_well()), ("Degraded", false));
        let said = ill.to_string();
        assert!(said.starts_with("/dev/sdc (1Gi, serial B) has answered with errors"), "{said}");
        assert!(said.contains("go on v-7. "), "{said}");
        let both = Health { erring: ill.erring, ..missing(1) }.to_string();
        assert!(both.starts_with("it misses /dev/sdb") && both.contains("v-7"), "{both}");
    }

    #[test]
    fn a_thin_pool_can_be_ill_with_all_its_disks() {
        let ill = Health { disks: Vec::new(), ..missing(1) };
        assert_eq!((ill.state(), ill.is_well()), ("Degraded", false));
        assert!(ill.to_string().contains("given up") && ill.to_string().contains("v-0"), "{ill}");
        assert_eq!(ill.of_a_lost_volume(), GIVEN_UP);
    }

    #[test]
    fn a_group_that_cannot_be_read_is_no_pool_without_disks() {
        let unread = Health { unread: Some("no answer".to_owned()), ..missing(1) };
        assert_eq!((unread.state(), unread.is_well()), ("Unreadable", false));
        assert!(unread.to_string().ends_with("given up: no answer"), "{unread}");
        assert_eq!((missing(1).state(), Health::default().state()), ("Degraded", "Ready"));
    }
}
