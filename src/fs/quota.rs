//! Project quotas of ext4 and xfs (xfs_quota(8), chattr(1)): how much all files below a directory may hold together.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Error, Mount, ProjectLimit, Quota, mounting, paths};
use crate::process::Invocation;

/// See [`super::Filesystems::quota_at`].
pub(super) fn at(path: &Path) -> Result<Quota, Error> {
    let real = paths::real(path);
    let mounts = mounting::mounts()?;
    let Some(mount) = Mount::around(&real, &mounts) else {
        return Ok(Quota::Off("nothing is mounted around it".to_owned()));
    };
    if !["ext4", "xfs"].contains(&mount.fs_type.as_str()) {
        let why = format!("it is on {}, and only ext4 and xfs have project quotas", mount.fs_type);
        return Ok(Quota::Off(why));
    }
    let said = quota(&mount.at, "state -p", Invocation::reads("xfs_quota"))?;
    match said.lines().any(|line| line.trim() == "Enforcement: ON") {
        true => Ok(Quota::Enforced { mount: mount.at.clone() }),
        false => Ok(Quota::Off(how_to_switch_on(&mount.fs_type, &mount.at))),
    }
}

fn how_to_switch_on(fs_type: &str, mount: &Path) -> String {
    let before = match fs_type {
        "ext4" => " once, unmounted, `tune2fs -O quota,project -Q prjquota DEVICE`; then",
        _ => "",
    };
    let at = mount.display();
    format!("project quotas are off in the {fs_type} at {at}:{before} mount it with `prjquota`")
}

/// See [`super::Filesystems::set_project`].
pub(super) fn set(at: &Path, project: u32) -> Result<(), Error> {
    let command = Invocation::changes("chattr").args(["-p", &project.to_string(), "+P"]).arg(at);
    command.run().map(drop).map_err(|source| failed("give a project to", at, source))
}

/// See [`super::Filesystems::limit_project`].
pub(super) fn limit(mount: &Path, project: u32, limit: ProjectLimit) -> Result<(), Error> {
    let ProjectLimit { bytes, inodes } = limit;
    let text = format!("limit -p bhard={} ihard={inodes} {project}", bytes.0);
    quota(mount, &text, Invocation::changes("xfs_quota")).map(drop)
}

/// See [`super::Filesystems::used_projects`].
pub(super) fn used(mount: &Path) -> Result<BTreeSet<u32>, Error> {
    let said = quota(mount, "report -p -n -N -b", Invocation::reads("xfs_quota"))?;
    Ok(said.lines().filter_map(project).collect())
}

/// The project of a line such as `#1001   0   0   16384   00 [--------]`.
fn project(line: &str) -> Option<u32> {
    line.trim().strip_prefix('#')?.split_whitespace().next()?.parse().ok()
}

/// `-f` lets it work on other file systems than xfs.
fn quota(mount: &Path, command: &str, program: Invocation) -> Result<String, Error> {
    let said = program.args(["-x", "-f", "-c", command]).arg(mount).run();
    let said = said.map_err(|source| failed("work on the quotas of", mount, source))?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn failed(action: &'static str, path: &Path, source: crate::process::Failure) -> Error {
    Error::Tool { action, device: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("#0                   0          0          0     00 [--------]", Some(0))]
    #[case("#1409286145         16          0      16384     00 [--------]", Some(1_409_286_145))]
    #[case("", None)]
    #[case("Project quota on /srv (/dev/sda1)", None)]
    fn projects(#[case] line: &str, #[case] want: Option<u32>) {
        assert_eq!(project(line), want);
    }
}
