//! File systems and mounts in memory, for tests: they keep the rules of the real ones.
//!
//! Directories and files at mount points are real (tests use a temporary directory); only the
//! contents of devices and the table of mounts are made up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use nix::errno::Errno;

use super::{
    Access, Content, DeviceNumber, Error, Filesystems, FsKind, MkfsOptions, Mount, MountHow, Share,
    Usage,
};
use crate::{
    process::{Cause, Failure},
    units::Bytes,
};

/// The device number of the fake's device files' own file system.
const DEVTMPFS: DeviceNumber = DeviceNumber { major: 0, minor: 6 };
/// What is mounted where nothing of ours is.
const ROOT: DeviceNumber = DeviceNumber { major: 0, minor: 1 };

/// Finds the number and size of a device that was not announced.
type Lookup = Box<dyn Fn(&Path) -> Option<(DeviceNumber, Bytes)> + Send + Sync>;

/// One call of [`Filesystems`], to count it or let it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Probe,
    Make,
    Check,
    PartFromOrigin,
    Mount,
    Bind,
    Unmount,
    Mounts,
    DeviceAt,
    Grow,
    Usage,
}

/// The fake. Contents belong to a device number: a path that names another device later finds
/// that one's content.
#[derive(Default)]
pub struct FakeFs {
    state: Mutex<State>,
    lookup: Option<Lookup>,
    gate: Arc<GateState>,
}

#[derive(Default)]
struct State {
    devices: BTreeMap<PathBuf, (DeviceNumber, Bytes)>,
    contents: BTreeMap<DeviceNumber, (Content, u64)>,
    identities: u64,
    mounts: Vec<Mounted>,
    held: BTreeSet<PathBuf>,
    broken: BTreeSet<PathBuf>,
    damaged: BTreeSet<DeviceNumber>,
    working: BTreeSet<DeviceNumber>,
    failing: BTreeSet<Call>,
    calls: BTreeMap<Call, usize>,
}

/// A mount, and the device that a bound device file is.
#[derive(Clone)]
struct Mounted {
    mount: Mount,
    node: Option<DeviceNumber>,
}

#[derive(Default)]
struct GateState {
    /// Whether the next `make` stops, and whether one has.
    state: Mutex<(bool, bool)>,
    moved: Condvar,
}

/// Holds up the next [`Filesystems::make`] until it is dropped.
pub struct Gate(Arc<GateState>);

impl fmt::Debug for FakeFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeFs").finish_non_exhaustive()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// Waits until a `make` stands before the gate.
    pub fn reached(&self) {
        let mut state = lock(&self.0.state);
        while !state.1 {
            state = self.0.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        *lock(&self.0.state) = (false, false);
        self.0.moved.notify_all();
    }
}

impl GateState {
    fn pass(&self) {
        let mut state = lock(&self.state);
        if !state.0 {
            return;
        }
        state.1 = true;
        self.moved.notify_all();
        while state.0 {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a test arranges the world.
impl FakeFs {
    /// No devices, no mounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `lookup` for devices that nobody announced, each time they are used: a fake LVM's
    /// volumes, with the size they have just now.
    #[must_use]
    pub fn looking_up(
        mut self,
        lookup: impl Fn(&Path) -> Option<(DeviceNumber, Bytes)> + Send + Sync + 'static,
    ) -> Self {
        self.lookup = Some(Box::new(lookup));
        self
    }

    /// An empty device.
    #[must_use]
    pub fn with_device(self, path: impl AsRef<Path>, number: DeviceNumber, size: Bytes) -> Self {
        self.add_device(path, number, size);
        self
    }

    /// An empty device, later.
    pub fn add_device(&self, path: impl AsRef<Path>, number: DeviceNumber, size: Bytes) {
        let mut state = lock(&self.state);
        state.devices.insert(path.as_ref().to_owned(), (number, size));
        state.contents.remove(&number);
    }

    /// The device goes away; mounts of it stay, as they do.
    pub fn remove_device(&self, path: impl AsRef<Path>) {
        lock(&self.state).devices.remove(path.as_ref());
    }

    /// The device becomes larger (or smaller).
    pub fn set_size(&self, path: impl AsRef<Path>, size: Bytes) {
        if let Some(device) = lock(&self.state).devices.get_mut(path.as_ref()) {
            device.1 = size;
        }
    }

    /// Puts something on a device, with an identity of its own. Nothing happens where there is no
    /// device.
    pub fn set_content(&self, path: impl AsRef<Path>, content: Content) {
        let mut state = lock(&self.state);
        if let Ok((number, _)) = self.find(&state, path.as_ref()) {
            state.put(number, content);
        }
    }

    /// What is on a device.
    pub fn content(&self, path: impl AsRef<Path>) -> Content {
        let state = lock(&self.state);
        let found = self.find(&state, path.as_ref()).ok();
        found.map_or(Content::Nothing, |(number, _)| state.content(number))
    }

    /// Makes `to` a copy of `from`, identity included, as a snapshot or a clone is.
    pub fn copy_content(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let mut state = lock(&self.state);
        let numbers = (self.find(&state, from.as_ref()), self.find(&state, to.as_ref()));
        let (Ok((from, _)), Ok((to, _))) = numbers else { return };
        match state.contents.get(&from).cloned() {
            Some(content) => state.contents.insert(to, content),
            None => state.contents.remove(&to),
        };
    }

    /// Every read of the device fails from now on.
    pub fn break_device(&self, path: impl AsRef<Path>) {
        lock(&self.state).broken.insert(path.as_ref().to_owned());
    }

    /// It can be read again.
    pub fn mend_device(&self, path: impl AsRef<Path>) {
        lock(&self.state).broken.remove(path.as_ref());
    }

    /// The next checks find damage that they must not repair.
    pub fn damage(&self, path: impl AsRef<Path>) {
        let mut state = lock(&self.state);
        if let Ok((number, _)) = self.find(&state, path.as_ref()) {
            state.damaged.insert(number);
        }
    }

    /// Somebody uses the mount at `at`: it cannot be unmounted.
    pub fn hold(&self, at: impl AsRef<Path>) {
        lock(&self.state).held.insert(at.as_ref().to_owned());
    }

    /// Nobody does any more.
    pub fn release(&self, at: impl AsRef<Path>) {
        lock(&self.state).held.remove(at.as_ref());
    }

    /// The next such call fails with an I/O error and changes nothing.
    pub fn fail_once(&self, call: Call) {
        lock(&self.state).failing.insert(call);
    }

    /// How often it was called.
    pub fn calls(&self, call: Call) -> usize {
        lock(&self.state).calls.get(&call).copied().unwrap_or(0)
    }

    /// Stops the next `make` after it has begun, until the gate is dropped; a second `make` on the
    /// device finds it busy meanwhile.
    pub fn gate_make(&self) -> Gate {
        *lock(&self.gate.state) = (true, false);
        Gate(Arc::clone(&self.gate))
    }

    /// All mounts go away, as in a restart of the machine; devices and their contents stay.
    pub fn reboot(&self) {
        let mut state = lock(&self.state);
        state.mounts.clear();
        state.held.clear();
    }

    fn enter(&self, call: Call, path: &Path) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = lock(&self.state);
        *state.calls.entry(call).or_default() += 1;
        if state.failing.remove(&call) {
            return Err(failed("work on", path, Errno::EIO));
        }
        Ok(state)
    }

    fn find(&self, state: &State, path: &Path) -> Result<(DeviceNumber, Bytes), Error> {
        if state.broken.contains(path) {
            return Err(failed("read", path, Errno::EIO));
        }
        let known = state.devices.get(path).copied();
        known
            .or_else(|| self.lookup.as_ref().and_then(|lookup| lookup(path)))
            .ok_or_else(|| failed("open", path, Errno::ENOENT))
    }
}

impl State {
    fn content(&self, device: DeviceNumber) -> Content {
        self.contents.get(&device).map_or(Content::Nothing, |(content, _)| content.clone())
    }

    fn put(&mut self, device: DeviceNumber, content: Content) {
        self.identities += 1;
        self.contents.insert(device, (content, self.identities));
    }

    /// The topmost mount exactly at `at`.
    fn at(&self, at: &Path) -> Option<&Mounted> {
        self.mounts.iter().rev().find(|it| it.mount.at == at)
    }

    /// The topmost mount that `path` is in.
    fn around(&self, path: &Path) -> Option<&Mounted> {
        let inside = self.mounts.iter().filter(|it| path.starts_with(&it.mount.at));
        // max_by_key takes the last of equals, which is the topmost.
        inside.max_by_key(|it| it.mount.at.components().count())
    }

    fn is_mounted(&self, device: DeviceNumber) -> bool {
        self.mounts.iter().any(|it| it.mount.device == device)
    }

    /// Whether a mounted device other than this carries the same identity.
    fn twin_is_mounted(&self, device: DeviceNumber) -> bool {
        let identity = |of| self.contents.get(&of).map(|(_, identity)| *identity);
        let others = self.mounts.iter().map(|it| it.mount.device).filter(|it| *it != device);
        others.into_iter().any(|it| identity(it).is_some() && identity(it) == identity(device))
    }
}

impl Filesystems for FakeFs {
    fn probe(&self, device: &Path) -> Result<Content, Error> {
        let state = self.enter(Call::Probe, device)?;
        let (number, _) = self.find(&state, device)?;
        Ok(state.content(number))
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
        let mount = Mount { device: number, root: "/".into(), at: real, access, fs_type };
        if state.at(&mount.at).is_some_and(|there| there.mount.device == number) {
            return Err(fail(Errno::EBUSY));
        }
        state.mounts.push(Mounted { mount, node: None });
        Ok(())
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
        state.mounts.push(Mounted { mount, node });
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
        state.mounts.remove(top);
        Ok(())
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
                *has = size.max(*has);
                Ok(())
            }
            _ => Err(refused("grow", device, "resize", "bad magic number")),
        }
    }

    fn usage(&self, at: &Path) -> Result<Usage, Error> {
        let state = self.enter(Call::Usage, at)?;
        let real = at.canonicalize().map_err(|source| Error::Path {
            action: "look at",
            path: at.to_owned(),
            source,
        })?;
        let device = state.around(&real).map(|it| it.mount.device);
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
}

/// A bound device file, as mountinfo shows it: a file of the file system that /dev is.
fn device_file(device: &Path, at: &Path) -> Mount {
    let root = Path::new("/").join(device.strip_prefix("/dev").unwrap_or(device));
    let fs_type = "devtmpfs".to_owned();
    Mount { device: DEVTMPFS, root, at: at.to_owned(), access: Access::ReadWrite, fs_type }
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
            fs_type: "rootfs".to_owned(),
        },
    }
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Path { action, path: path.to_owned(), source: io::Error::from(errno) }
}

fn refused(action: &'static str, device: &Path, program: &str, stderr: &str) -> Error {
    let cause = Cause::Exit { code: 1, stderr: stderr.to_owned() };
    let command = format!("{program} {}", device.display());
    Error::Tool { action, device: device.to_owned(), source: Failure { command, cause } }
}
