//! The rules: what each call does to the fake's devices and mounts.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::MetadataExt as _, path::Path};

use nix::{errno::Errno, mount::MsFlags};

use super::{Call, FakeFs, Mounted, lock};
use crate::{
    fs::{
        Access, Content, DeviceNumber, Edges, Error, Family, Filesystems, FsKind, HugePages,
        Identity, Look, MemoryHow, MemoryOption, MkfsOptions, Mount, MountHow, ProjectLimit, Quota,
        Share, Signature, Stretch, Usage,
        contents::{self, Owner, Root},
    },
    process::{Cause, Failure},
    units::Bytes,
};

/// The device number of the fake's device files' own file system.
const DEVTMPFS: DeviceNumber = DeviceNumber { major: 0, minor: 6 };
/// How much memory the fake's machine has.
const MEMORY: Bytes = Bytes::gib(8);
/// The minor numbers of file systems in memory begin after this one.
const FIRST_MEMORY: u64 = 100;
/// What is mounted where nothing of ours is.
const ROOT: DeviceNumber = DeviceNumber { major: 0, minor: 1 };

/// What content leaves at the edges.
fn look(content: &Content) -> Look {
    let named = |name: &str, family| Signature { name: name.to_owned(), family, label: None };
    let signature = match content {
        Content::Nothing => return Look { signature: None, edges: Edges::Zero },
        Content::Filesystem { kind, .. } => Some(named(kind.name(), Family::FileSystem)),
        Content::Unfinished(_) => None,
        Content::Foreign(what) if what == "LVM2_member" => {
            let signature = Some(named(what, Family::PhysicalVolume));
            return Look { signature, edges: Edges::OnlyLabel };
        }
        Content::Foreign(what) if what == "linux_raid_member" => Some(named(what, Family::Raid)),
        Content::Foreign(what) => Some(named(what, Family::Other)),
    };
    Look { signature, edges: Edges::Written }
}

impl Filesystems for FakeFs {
    fn probe(&self, device: &Path) -> Result<Content, Error> {
        let state = self.enter(Call::Probe, device)?;
        let (number, _) = self.find(&state, device)?;
        Ok(state.content(number))
    }

    fn look(&self, device: &Path) -> Result<Look, Error> {
        let state = self.enter(Call::Look, device)?;
        let (number, _) = self.find(&state, device)?;
        Ok(look(&state.content(number)))
    }

    fn identity(&self, device: &Path, kind: FsKind) -> Result<Identity, Error> {
        let state = self.enter(Call::Identity, device)?;
        let (number, _) = self.find(&state, device)?;
        match state.contents.get(&number) {
            Some((Content::Filesystem { kind: found, .. }, identity)) if *found == kind => {
                let uuid = format!("00000000-0000-0000-0000-{identity:012x}");
                Ok(Identity { uuid, devices: 1 })
            }
            _ => Err(failed("read", device, Errno::EINVAL)),
        }
    }

    fn make(&self, device: &Path, kind: FsKind, _: &MkfsOptions) -> Result<(), Error> {
        let mut state = self.enter(Call::Make, device)?;
        let (number, size) = self.find(&state, device)?;
        if state.working.contains(&number) {
            return Err(Error::Busy(device.to_owned()));
        }
        match state.content(number) {
            Content::Nothing | Content::Unfinished(_) => (),
            found @ (Content::Filesystem { .. } | Content::Foreign(_)) => {
                return Err(Error::NotEmpty { device: device.to_owned(), found });
            }
        }
        if size < kind.smallest() {
            return Err(refused("make a file system on", device, "mkfs", "too small"));
        }
        state.working.insert(number);
        drop(state);
        self.gate.pass();
        let mut state = lock(&self.state);
        state.working.remove(&number);
        state.put(number, Content::Filesystem { kind, size });
        state.made += 1;
        Ok(())
    }

    fn check(&self, device: &Path, kind: FsKind) -> Result<(), Error> {
        let state = self.enter(Call::Check, device)?;
        let (number, _) = self.find(&state, device)?;
        if state.damaged.contains(&number) {
            let report = "UNEXPECTED INCONSISTENCY".to_owned();
            return Err(Error::Damaged { device: device.to_owned(), kind, report });
        }
        Ok(())
    }

    fn part_from_origin(&self, device: &Path, kind: FsKind) -> Result<(), Error> {
        let mut state = self.enter(Call::PartFromOrigin, device)?;
        let (number, _) = self.find(&state, device)?;
        if kind == FsKind::Btrfs {
            if state.is_mounted(number) {
                return Err(refused("part", device, "btrfstune", "the device is mounted"));
            }
            let content = state.content(number);
            state.put(number, content);
        }
        Ok(())
    }

    fn mount(&self, device: &Path, at: &Path, how: &MountHow) -> Result<(), Error> {
        let mut state = self.enter(Call::Mount, at)?;
        let (number, _) = self.find(&state, device)?;
        let fail = |errno: Errno| Error::Mount {
            device: device.to_owned(),
            at: at.to_owned(),
            kind: how.kind,
            hint: errno.desc().to_owned(),
            source: errno.into(),
        };
        let real = at.canonicalize().map_err(|_| fail(Errno::ENOENT))?;
        if !real.is_dir() {
            return Err(fail(Errno::ENOTDIR));
        }
        match state.content(number) {
            Content::Filesystem { kind, .. } if kind == how.kind => (),
            Content::Nothing
            | Content::Filesystem { .. }
            | Content::Unfinished(_)
            | Content::Foreign(_) => return Err(fail(Errno::EINVAL)),
        }
        if how.kind == FsKind::Btrfs && state.twin_is_mounted(number) {
            return Err(fail(Errno::EEXIST));
        }
        let access = match how.access {
            Access::ReadWrite if !how.options.read_only() => Access::ReadWrite,
            Access::ReadWrite | Access::ReadOnly => Access::ReadOnly,
        };
        let fs_type = how.kind.name().to_owned();
        let mount = Mount {
            device: number,
            root: "/".into(),
            at: real,
            access,
            flags: how.options.for_kernel().0,
            fs_type,
        };
        if state.at(&mount.at).is_some_and(|there| there.mount.device == number) {
            return Err(fail(Errno::EBUSY));
        }
        if let Content::Filesystem { size, .. } = state.content(number)
            && how.options.project_quotas()
        {
            state.keep_quotas_of(&mount, size);
        }
        state.mounts.push(Mounted { mount, node: None, mark: Some(how.options.mark()) });
        Ok(())
    }

    fn mount_memory(&self, _: &str, at: &Path, how: &MemoryHow) -> Result<(), Error> {
        let mut state = self.enter(Call::MountMemory, at)?;
        let fail = |errno| failed("mount a file system in memory at", at, errno);
        let at = at.canonicalize().map_err(|_| fail(Errno::ENOENT))?;
        if !at.is_dir() {
            return Err(fail(Errno::ENOTDIR));
        }
        let is_plain = how.huge_pages == HugePages::Never && how.swap;
        if state.lacks_options && !is_plain {
            return Err(fail(Errno::EINVAL));
        }
        state.memories += 1;
        let device = DeviceNumber { major: 0, minor: FIRST_MEMORY + state.memories };
        state.memory.insert(device, *how);
        let mount = Mount {
            device,
            root: "/".into(),
            at,
            access: Access::ReadWrite,
            flags: MsFlags::empty(),
            fs_type: "tmpfs".to_owned(),
        };
        state.mounts.push(Mounted { mount, node: None, mark: None });
        Ok(())
    }

    fn resize_memory(&self, at: &Path, how: &MemoryHow) -> Result<(), Error> {
        let mut state = self.enter(Call::ResizeMemory, at)?;
        let real = at.canonicalize().unwrap_or_else(|_| at.to_owned());
        let device = state.at(&real).map(|it| it.mount.device);
        match device.and_then(|it| state.memory.get_mut(&it)) {
            Some(has) => {
                (has.size, has.inodes) = (how.size, how.inodes);
                Ok(())
            }
            None => Err(failed("resize the file system in memory at", at, Errno::EINVAL)),
        }
    }

    fn lacks_in_memory(&self, option: MemoryOption) -> Result<Option<String>, Error> {
        let state = self.enter(Call::LacksInMemory, Path::new("tmpfs"))?;
        let parameter = match option {
            MemoryOption::Huge(HugePages::Never) => return Ok(None),
            MemoryOption::Huge(_) => "huge",
            MemoryOption::NoSwap => "noswap",
        };
        Ok(state.lacks_options.then(|| format!("tmpfs: Unknown parameter '{parameter}'")))
    }

    fn memory(&self) -> Result<Bytes, Error> {
        drop(self.enter(Call::Memory, Path::new("the machine's memory"))?);
        Ok(MEMORY)
    }

    fn quota_at(&self, at: &Path) -> Result<Quota, Error> {
        let state = self.enter(Call::QuotaAt, at)?;
        Ok(match state.quotas_around(at) {
            Some((mount, _)) => Quota::Enforced { mount: mount.clone() },
            None => Quota::Off("project quotas are off".to_owned()),
        })
    }

    fn set_project(&self, at: &Path, project: u32) -> Result<(), Error> {
        let mut state = self.enter(Call::SetProject, at)?;
        let real = at.canonicalize().map_err(|_| failed("give a project to", at, Errno::ENOENT))?;
        state.projects.insert(real, project);
        Ok(())
    }

    fn limit_project(&self, mount: &Path, project: u32, limit: ProjectLimit) -> Result<(), Error> {
        let mut state = self.enter(Call::LimitProject, mount)?;
        if !state.quotas.contains_key(mount) {
            return Err(failed("work on the quotas of", mount, Errno::ESRCH));
        }
        match limit == ProjectLimit::default() {
            true => drop(state.limits.remove(&project)),
            false => drop(state.limits.insert(project, limit)),
        }
        Ok(())
    }

    fn used_projects(&self, mount: &Path) -> Result<BTreeSet<u32>, Error> {
        let state = self.enter(Call::UsedProjects, mount)?;
        Ok(state.limits.keys().copied().collect())
    }

    fn lacks_reflinks(&self, at: &Path) -> Result<Option<String>, Error> {
        let state = self.enter(Call::LacksReflinks, at)?;
        Ok(state.lacks_reflinks.then(|| "it has no reflinks".to_owned()))
    }

    fn clone_tree(
        &self,
        from: &Path,
        to: &Path,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Option<Bytes>, Error> {
        drop(self.enter(Call::CloneTree, to)?);
        self.gate.pass();
        let fill = |mut from: &File, mut to: &File| {
            let copied = io::copy(&mut from, &mut to).map(drop);
            copied.map_err(|_| rustix::io::Errno::IO)
        };
        contents::clone_tree(from, to, &fill, goes_on)
    }

    fn bind(&self, from: &Path, at: &Path, access: Access) -> Result<(), Error> {
        let mut state = self.enter(Call::Bind, at)?;
        let fail = |errno| failed("bind to", at, errno);
        let real = at.canonicalize().map_err(|_| fail(Errno::ENOENT))?;
        let (mut mount, node) = match self.find(&state, from) {
            Ok((number, _)) => (device_file(from, &real), Some(number)),
            Err(_) => {
                let from = from.canonicalize().map_err(|_| failed("bind", from, Errno::ENOENT))?;
                let around = state.around(&from).cloned();
                (seen_at(around.as_ref(), &from, &real), around.and_then(|it| it.node))
            }
        };
        let from_directory = node.is_none() && from.is_dir();
        if from_directory != real.is_dir() {
            return Err(fail(Errno::ENOTDIR));
        }
        if access == Access::ReadOnly {
            mount.access = Access::ReadOnly;
        }
        state.mounts.push(Mounted { mount, node, mark: None });
        Ok(())
    }

    fn unmount(&self, at: &Path) -> Result<(), Error> {
        let mut state = self.enter(Call::Unmount, at)?;
        let real = at.canonicalize().unwrap_or_else(|_| at.to_owned());
        let Some(top) = state.mounts.iter().rposition(|it| it.mount.at == real) else {
            return Ok(());
        };
        let above = state.mounts.iter().skip(top + 1).any(|it| it.mount.at.starts_with(&real));
        if above || state.held.contains(at) || state.held.contains(&real) {
            return Err(Error::InUse(at.to_owned()));
        }
        let gone = state.mounts.remove(top);
        state.forget_quotas_of(&gone);
        state.forget_memory_of(&gone);
        Ok(())
    }

    fn root(&self, mount: &Mount) -> Result<Root, Error> {
        drop(self.enter(Call::Root, &mount.at)?);
        // Tests need not be root's.
        let source = |source| Error::Path { action: "open", path: mount.at.clone(), source };
        let data = mount.at.metadata().map_err(source)?;
        Root::open(&mount.at, Owner { user: data.uid(), group: data.gid() })
    }

    fn mounts(&self) -> Result<Vec<Mount>, Error> {
        let state = self.enter(Call::Mounts, Path::new("/proc/self/mountinfo"))?;
        Ok(state.mounts.iter().map(|it| it.mount.clone()).collect())
    }

    fn device_at(&self, path: &Path) -> Result<Option<DeviceNumber>, Error> {
        let state = self.enter(Call::DeviceAt, path)?;
        if let Ok((number, _)) = self.find(&state, path) {
            return Ok(Some(number));
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(state.at(&real).and_then(|it| it.node))
    }

    fn grow(&self, device: &Path, at: &Path, kind: FsKind) -> Result<(), Error> {
        let mut state = self.enter(Call::Grow, device)?;
        let (number, size) = self.find(&state, device)?;
        let real = at.canonicalize().unwrap_or_else(|_| at.to_owned());
        let top = state.at(&real).map(|it| (it.mount.device, it.mount.access));
        if top != Some((number, Access::ReadWrite)) {
            return Err(refused("grow", at, "resize", "not mounted for writing"));
        }
        match state.contents.get_mut(&number) {
            Some((Content::Filesystem { kind: found, size: has }, _)) if *found == kind => {
                let grown = size.max(*has);
                *has = grown;
                state.quotas.entry(real).and_modify(|it| *it = grown);
                Ok(())
            }
            _ => Err(refused("grow", device, "resize", "bad magic number")),
        }
    }

    fn mark_of(&self, mount: &Mount) -> Option<String> {
        let state = lock(&self.state);
        state.mounts.iter().find(|it| it.mount == *mount)?.mark.clone()
    }

    fn usage(&self, at: &Path) -> Result<Usage, Error> {
        let state = self.enter(Call::Usage, at)?;
        let real = at.canonicalize().map_err(|source| Error::Path {
            action: "look at",
            path: at.to_owned(),
            source,
        })?;
        let limit = state.limit_of(&state.in_its_own_mount(&real));
        if let Some(limit) = limit {
            let used = held(&real).min(limit.bytes.0);
            let bytes = Share { total: limit.bytes.0, used, available: limit.bytes.0 - used };
            let inodes = Share { total: limit.inodes, used: 1, available: limit.inodes - 1 };
            return Ok(Usage { bytes, inodes });
        }
        if let Some((at, size)) = state.quotas_around(&real) {
            let used = state.projects.keys().filter(|it| it.starts_with(at)).map(|it| held(it));
            let used = used.sum::<u64>().min(size.0);
            let bytes = Share { total: size.0, used, available: size.0 - used };
            return Ok(Usage { bytes, inodes: Share::default() });
        }
        let device = state.around(&real).map(|it| it.mount.device);
        if let Some(how) = device.and_then(|it| state.memory.get(&it)) {
            let bytes = Share { total: how.size.0, used: 0, available: how.size.0 };
            let inodes = Share { total: how.inodes, used: 1, available: how.inodes - 1 };
            return Ok(Usage { bytes, inodes });
        }
        match device.map(|it| state.content(it)) {
            Some(Content::Filesystem { kind, size }) => {
                let bytes = Share { total: size.0, used: size.0 / 10, available: size.0 / 10 * 9 };
                let inodes = Share { total: 1000, used: 10, available: 990 };
                let counts = kind != FsKind::Btrfs;
                Ok(Usage { bytes, inodes: if counts { inodes } else { Share::default() } })
            }
            _ => Ok(Usage { bytes: Share::default(), inodes: Share::default() }),
        }
    }

    fn trim(&self, at: &Path, stretch: Stretch) -> Result<Bytes, Error> {
        self.gate.pass();
        let mut state = self.enter(Call::Trim, at)?;
        let real = at.canonicalize().unwrap_or_else(|_| at.to_owned());
        let device = state.at(&real).map(|it| it.mount.device);
        let Some(Content::Filesystem { size, .. }) = device.map(|it| state.content(it)) else {
            return Err(refused("trim", at, "fstrim", "the discard operation is not supported"));
        };
        let rest = size.saturating_sub(stretch.from);
        if rest == Bytes::ZERO {
            return Err(refused("trim", at, "fstrim", "Invalid argument"));
        }
        state.trims.push((real, stretch));
        Ok(rest.min(stretch.length.unwrap_or(rest)).percent(90))
    }
}

/// How many bytes the files below a directory have; nothing shares any.
fn held(directory: &Path) -> u64 {
    let Ok(entries) = directory.read_dir() else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => held(&entry.path()),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    };
    entries.flatten().map(of).sum()
}

/// A bound device file, as mountinfo shows it: a file of the file system that /dev is.
fn device_file(device: &Path, at: &Path) -> Mount {
    let root = Path::new("/").join(device.strip_prefix("/dev").unwrap_or(device));
    let fs_type = "devtmpfs".to_owned();
    Mount {
        device: DEVTMPFS,
        root,
        at: at.to_owned(),
        access: Access::ReadWrite,
        flags: MsFlags::empty(),
        fs_type,
    }
}

/// What lies at `from` under the mount around it, shown at `at`.
fn seen_at(around: Option<&Mounted>, from: &Path, at: &Path) -> Mount {
    match around {
        Some(Mounted { mount, .. }) => {
            let below = from.strip_prefix(&mount.at).unwrap_or(Path::new(""));
            let root = match below.as_os_str().is_empty() {
                true => mount.root.clone(),
                false => mount.root.join(below),
            };
            Mount { root, at: at.to_owned(), ..mount.clone() }
        }
        None => Mount {
            device: ROOT,
            root: from.to_owned(),
            at: at.to_owned(),
            access: Access::ReadWrite,
            flags: MsFlags::empty(),
            fs_type: "rootfs".to_owned(),
        },
    }
}

pub(super) fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Path { action, path: path.to_owned(), source: io::Error::from(errno) }
}

fn refused(action: &'static str, device: &Path, program: &str, stderr: &str) -> Error {
    let cause = Cause::Exit { code: 1, stderr: stderr.to_owned() };
    let command = format!("{program} {}", device.display());
    Error::Tool { action, device: device.to_owned(), source: Failure { command, cause } }
}
