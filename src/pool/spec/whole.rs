//! A pool of devices of which each is one volume.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::{fits, wrong_with};

/// Directories into which an admin puts block devices, or links to them: each device is one volume, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WholeDevicesSpec {
    /// Their absolute paths: 1 to 8. What is put there is for volumes, and a pool of `devices` leaves it alone.
    #[schemars(length(min = 1, max = 8))]
    pub directories: Vec<PathBuf>,
    /// Globs of names, with commas between: only what has a name there that one of them matches is the pool's. When left
    /// out: all that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_PATTERN), regex(pattern = r"^[^,/\\\s]+(,[^,/\\\s]+)*$"))]
    pub name_pattern: Option<String>,
    /// How often a device is written over with random bytes where `wipe` is `Shred`, before the zeroes: 1 to 35.
    #[serde(default = "shred_passes")]
    #[schemars(range(min = 1, max = 35))]
    pub shred_passes: u32,
    /// Whether `wipe` may be `QuickReset`, which leaves most of what a volume held for the owner of the next one
    /// to read.
    #[serde(default)]
    pub allow_quick_reset: bool,
}

fn shred_passes() -> u32 {
    3
}

/// How many directories there may be.
const MOST: usize = 8;
/// How often a device may be written over.
const MOST_PASSES: u32 = 35;
/// How long all globs of names together may be.
const LONGEST_PATTERN: usize = 1024;
/// The field.
const FIELD: &str = "wholeDevices.directories";
/// The field of the globs.
const PATTERN: &str = "wholeDevices.namePattern";
/// Where the system keeps its own links and nodes: all of its disks would be for volumes.
const SYSTEM: &[&str] = &["/dev", "/proc", "/sys"];

impl WholeDevicesSpec {
    /// Whether what has this name in a directory is the pool's.
    pub fn means(&self, name: &OsStr) -> bool {
        let Some(said) = &self.name_pattern else { return true };
        // A pool that is not served gives out nothing, and keeps from others what it may have meant.
        wrong_with_names(said).is_some() || said.split(',').any(|it| fits(it, Path::new(name)))
    }

    /// Everything that is wrong with it, as in [`super::PoolSpec::mistakes`].
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        if !(1..=MOST).contains(&self.directories.len()) {
            let why = format!("{} is not in 1 to {MOST} directories", self.directories.len());
            return vec![(FIELD, why)];
        }
        let mut found = Vec::new();
        if !(1..=MOST_PASSES).contains(&self.shred_passes) {
            let why = format!("{} is not in 1 to {MOST_PASSES} passes", self.shred_passes);
            found.push(("wholeDevices.shredPasses", why));
        }
        let wrong = self.name_pattern.as_deref().and_then(wrong_with_names);
        found.extend(wrong.map(|why| (PATTERN, why)));
        for (at, path) in self.directories.iter().enumerate() {
            let shown = path.display();
            if !is_plain(path) {
                found.push((FIELD, format!("`{shown}` is not an absolute path without `..`")));
            } else if path.parent().is_none() || SYSTEM.iter().any(|it| path.starts_with(it)) {
                let why = format!("`{shown}` is the system's; make a directory of its own");
                found.push((FIELD, why));
            } else if self.directories.iter().take(at).any(|it| it == path) {
                found.push((FIELD, format!("`{shown}` is said twice")));
            }
        }
        found
    }
}

/// What is wrong with globs of names. What another provisioner's `namePattern` says in another way (filepath.Match of Go)
/// is refused, and not taken for something else.
fn wrong_with_names(said: &str) -> Option<String> {
    if said.len() > LONGEST_PATTERN {
        return Some(format!("`{said}` is longer than {LONGEST_PATTERN} characters"));
    }
    said.split(',').find_map(|glob| {
        let why = match glob {
            _ if glob.contains('/') => "a name has no slash",
            _ if glob.contains(char::is_whitespace) => "write `?` for a space in a name",
            _ if glob.contains("[^") => "all but these characters is `[!...]`",
            _ if glob.contains('\\') => "nothing is escaped so; a character as it is is `[*]`",
            _ => return wrong_with(glob, false),
        };
        Some(format!("`{glob}`: {why}"))
    })
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    path.is_absolute() && parts.all(|it| matches!(it, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::pool::PoolSpec;

    fn mistakes(directories: &str, more: &str) -> Vec<&'static str> {
        let spec = format!(r#"{{"wholeDevices": {{"directories": [{directories}]}}{more}}}"#);
        let spec: PoolSpec = serde_json::from_str(&spec).unwrap();
        spec.mistakes().into_iter().map(|(field, _)| field).collect()
    }

    #[rstest]
    #[case::none("")]
    #[case::relative(r#""mnt/disks""#)]
    #[case::dots(r#""/mnt/../dev""#)]
    #[case::root(r#""/""#)]
    #[case::all_disks(r#""/dev/disk/by-id""#)]
    #[case::twice(r#""/mnt/disks", "/mnt/disks""#)]
    #[case::too_many(r#""/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9""#)]
    fn lists_of_directories(#[case] list: &str) {
        assert_eq!(mistakes(list, ""), [super::FIELD]);
    }

    #[rstest]
    #[case::as_it_should_be("", None)]
    #[case::discard(r#", "wipe": "Discard""#, None)]
    #[case::shred(r#", "wipe": "Shred""#, None)]
    #[case::dirty(r#", "wipe": "None""#, Some("wipe"))]
    #[case::without_consent(r#", "wipe": "QuickReset""#, Some("wipe"))]
    #[case::layout(r#", "layout": "Raid1""#, Some("layout"))]
    #[case::reserve(r#", "reserve": "1Gi""#, Some("reserve"))]
    #[case::another_source(r#", "memory": {"size": "1Gi"}"#, Some("wholeDevices"))]
    fn beside_other_fields(#[case] more: &str, #[case] field: Option<&str>) {
        assert_eq!(mistakes(r#""/mnt/disks/fast""#, more), Vec::from_iter(field));
    }

    #[rstest]
    #[case::quick_with_consent(r#""allowQuickReset": true}, "wipe": "QuickReset""#, None)]
    #[case::often(r#""shredPasses": 35}, "wipe": "Shred""#, None)]
    #[case::never(r#""shredPasses": 0}"#, Some("wholeDevices.shredPasses"))]
    #[case::too_often(r#""shredPasses": 36}"#, Some("wholeDevices.shredPasses"))]
    fn how_devices_become_clean(#[case] said: &str, #[case] field: Option<&'static str>) {
        let spec = format!(r#"{{"wholeDevices": {{"directories": ["/disks"], {said}}}"#);
        let spec: PoolSpec = serde_json::from_str(&spec).unwrap();
        let found: Vec<_> = spec.mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, Vec::from_iter(field));
    }

    #[rstest]
    #[case::all("*", &["sda", ".hidden", "a,b", "[x]"], &[])]
    #[case::begins("nvme*", &["nvme0n1", "nvme"], &["sda", "xnvme", "Nvme0"])]
    #[case::several("nvme*,sd[a-c]", &["nvme0n1", "sdb"], &["sdd", "sdba", "xnvme"])]
    #[case::one_character("disk-??", &["disk-01", "disk-\u{fc}x"], &["disk-1", "disk-001"])]
    #[case::not_these("sd[!a]", &["sdb"], &["sda", "sd", "sdbb"])]
    #[case::within("*-part[1-3]", &["x-part2"], &["x-part4", "x-part22", "part2"])]
    #[case::as_it_is("a[*]b", &["a*b"], &["axb"])]
    fn names_that_are_meant(#[case] said: &str, #[case] meant: &[&str], #[case] others: &[&str]) {
        let spec = json!({ "directories": ["/disks"], "namePattern": said });
        let spec: WholeDevicesSpec = serde_json::from_value(spec).unwrap();
        let of_all = |names: &[&str]| names.iter().filter(|it| spec.means(OsStr::new(it))).count();
        assert_eq!((of_all(meant), of_all(others)), (meant.len(), 0));
        assert_eq!(spec.mistakes(), []);
    }

    #[rstest]
    #[case::nothing("", "`` is not 1 to 256")]
    #[case::nothing_after_a_comma("nvme*,", "`` is not 1 to 256")]
    #[case::space("nvme*, sd*", "` sd*`: write `?`")]
    #[case::path("/dev/nvme*", "`/dev/nvme*`: a name has no slash")]
    #[case::open("sd[a", "`sd[a` is not a glob")]
    #[case::stars("nvme**", "`nvme**` is not a glob")]
    #[case::not_as_in_go("sd*,sd[^a]", "`sd[^a]`: all but these")]
    #[case::escaped_as_in_go(r"sd\*", r"`sd\*`: nothing is escaped")]
    #[case::long(&"a".repeat(1025), "`aaa")]
    fn patterns_that_are_refused(#[case] said: &str, #[case] why: &str) {
        let spec = json!({ "directories": ["/disks"], "namePattern": said });
        let spec: WholeDevicesSpec = serde_json::from_value(spec).unwrap();
        let [(field, found)] = &spec.mistakes()[..] else { panic!("{:?}", spec.mistakes()) };
        assert!(*field == super::PATTERN && found.starts_with(why), "{found}");
        assert!(spec.means(OsStr::new("sda")), "it is kept from others");
    }

    #[rstest]
    #[case::whole(r#"{"wholeDevices": {"directories": ["/disks"]}}"#, "Shred", None)]
    #[case::dirty(r#"{"wholeDevices": {"directories": ["/disks"]}}"#, "None", Some("only clean"))]
    #[case::quick(
        r#"{"wholeDevices": {"directories": ["/disks"]}}"#,
        "QuickReset",
        Some("allowQuickReset: true")
    )]
    #[case::consent(
        r#"{"wholeDevices": {"directories": ["/disks"], "allowQuickReset": true}}"#,
        "QuickReset",
        None
    )]
    #[case::group(r#"{"volumeGroup": "vg0"}"#, "None", None)]
    #[case::group_shred(r#"{"volumeGroup": "vg0"}"#, "Shred", Some("Zero, Discard or None"))]
    #[case::group_quick(r#"{"volumeGroup": "vg0"}"#, "QuickReset", Some("Zero, Discard or None"))]
    #[case::memory(r#"{"memory": {"size": "1Gi"}}"#, "Shred", Some("Zero, Discard or None"))]
    fn how_a_class_may_have_volumes_wiped(
        #[case] spec: &str,
        #[case] wipe: &str,
        #[case] refused: Option<&str>,
    ) {
        let spec: PoolSpec = serde_json::from_str(spec).unwrap();
        let said = spec.wipe_of(Some(wipe.parse().unwrap()));
        let Some(why) = refused else { return assert_eq!(said.unwrap(), wipe.parse().unwrap()) };
        let said = said.unwrap_err().to_string();
        let begin = format!("parameters[wipe]: `{wipe}` is not accepted: ");
        assert!(said.starts_with(&begin) && said.contains(why), "{said}");
    }
}
