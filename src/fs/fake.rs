//! File systems and mounts in memory, for tests: they keep the rules of the real ones.
//!
//! Directories and files at mount points are real (tests use a temporary directory); only the
//! contents of devices and the table of mounts are made up.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use nix::{errno::Errno, mount::MsFlags};

use self::rules::failed;
use super::{Access, Content, DeviceNumber, Error, MemoryHow, Mount, ProjectLimit, Stretch};
use crate::units::Bytes;

/// Finds the number and size of a device that was not announced.
type Lookup = Box<dyn Fn(&Path) -> Option<(DeviceNumber, Bytes)> + Send + Sync>;

/// One call of [`Filesystems`], to count it or let it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Probe,
    Look,
    Identity,
    Make,
    Check,
    PartFromOrigin,
    Mount,
    MountMemory,
    ResizeMemory,
    Memory,
    QuotaAt,
    SetProject,
    LimitProject,
    UsedProjects,
    LacksReflinks,
    CloneTree,
    LacksInMemory,
    Bind,
    Unmount,
    Root,
    Mounts,
    DeviceAt,
    Grow,
    Usage,
    Trim,
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
    made: usize,
    trims: Vec<(PathBuf, Stretch)>,
    mounts: Vec<Mounted>,
    /// File systems in memory, and how many there ever were.
    memory: BTreeMap<DeviceNumber, MemoryHow>,
    memories: u64,
    /// The kernel has neither huge pages nor `noswap`.
    lacks_options: bool,
    /// No file system has reflinks.
    lacks_reflinks: bool,
    /// Where project quotas are kept, the projects of directories, and their limits.
    quotas: BTreeMap<PathBuf, Bytes>,
    projects: BTreeMap<PathBuf, u32>,
    limits: BTreeMap<u32, ProjectLimit>,
    held: BTreeSet<PathBuf>,
    broken: BTreeSet<PathBuf>,
    damaged: BTreeSet<DeviceNumber>,
    working: BTreeSet<DeviceNumber>,
    failing: BTreeSet<Call>,
    later: Option<usize>,
    calls: BTreeMap<Call, usize>,
}

/// A mount, and the device that a bound device file is.
#[derive(Clone)]
struct Mounted {
    mount: Mount,
    node: Option<DeviceNumber>,
    mark: Option<String>,
}

#[derive(Default)]
struct GateState {
    /// Whether the next `make` stops, and whether one has.
    state: Mutex<(bool, bool)>,
    moved: Condvar,
}

/// Holds up the next [`Filesystems::make`], [`Filesystems::trim`] or [`Filesystems::clone_tree`] until it is dropped.
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
    /// Waits until a `make` or `trim` stands before the gate.
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

    /// A file system of this size, mounted at `at`, that keeps project quotas.
    pub fn mount_with_quotas(&self, at: impl AsRef<Path>, size: Bytes) {
        let (mut state, at) = (lock(&self.state), at.as_ref().to_owned());
        let mount = Mount {
            device: DeviceNumber { major: 259, minor: state.quotas.len() as u64 },
            root: "/".into(),
            at: at.clone(),
            access: Access::ReadWrite,
            flags: MsFlags::empty(),
            fs_type: "xfs".to_owned(),
        };
        state.mounts.push(Mounted { mount, node: None, mark: None });
        state.quotas.insert(at, size);
    }

    /// No file system has reflinks from now on.
    pub fn lack_reflinks(&self) {
        lock(&self.state).lacks_reflinks = true;
    }

    /// The kernel has nothing that not every kernel has for file systems in memory.
    pub fn lack_memory_options(&self) {
        lock(&self.state).lacks_options = true;
    }

    /// How the file system in memory at `at` is mounted.
    pub fn memory_at(&self, at: impl AsRef<Path>) -> Option<MemoryHow> {
        let state = lock(&self.state);
        let device = state.at(at.as_ref())?.mount.device;
        state.memory.get(&device).copied()
    }

    /// The limit of the project that a directory belongs to.
    pub fn limit_of(&self, directory: impl AsRef<Path>) -> Option<ProjectLimit> {
        lock(&self.state).limit_of(directory.as_ref())
    }

    /// How many projects have limits.
    pub fn limits(&self) -> usize {
        lock(&self.state).limits.len()
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

    /// A later call fails so, whichever it is: after so many others.
    pub fn fail_later(&self, others: usize) {
        lock(&self.state).later = Some(others);
    }

    /// How many calls there were.
    pub fn all_calls(&self) -> usize {
        lock(&self.state).calls.values().sum()
    }

    /// How often it was called.
    pub fn calls(&self, call: Call) -> usize {
        lock(&self.state).calls.get(&call).copied().unwrap_or(0)
    }

    /// All mounts, without being counted as a call.
    pub fn peek_mounts(&self) -> Vec<Mount> {
        lock(&self.state).mounts.iter().map(|it| it.mount.clone()).collect()
    }

    /// How many file systems were made.
    pub fn made(&self) -> usize {
        lock(&self.state).made
    }

    /// What was trimmed, and where that is mounted, in order.
    pub fn trims(&self) -> Vec<(PathBuf, Stretch)> {
        lock(&self.state).trims.clone()
    }

    /// Stops the next `trim` before it begins, until the gate is dropped.
    pub fn gate_trim(&self) -> Gate {
        self.gate_make()
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
        for gone in std::mem::take(&mut state.mounts) {
            state.forget_memory_of(&gone);
            state.forget_quotas_of(&gone);
        }
        state.held.clear();
    }

    fn enter(&self, call: Call, path: &Path) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = lock(&self.state);
        *state.calls.entry(call).or_default() += 1;
        let later = state.later.take();
        state.later = later.and_then(|others| others.checked_sub(1));
        if state.failing.remove(&call) || later == Some(0) {
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

    /// What a file system in memory held goes with its last mount, as far as that is directories.
    fn forget_memory_of(&mut self, gone: &Mounted) {
        let Mount { device, root, at, .. } = &gone.mount;
        let is_whole = root == Path::new("/") && !self.is_mounted(*device);
        if is_whole && self.memory.remove(device).is_some() {
            let entries = std::fs::read_dir(at).into_iter().flatten().flatten();
            entries.for_each(|entry| drop(std::fs::remove_dir(entry.path())));
        }
    }

    /// Where what is bound at a path is seen in the mount that shows all of its file system.
    fn in_its_own_mount(&self, path: &Path) -> PathBuf {
        let Some(around) = self.around(path) else { return path.to_owned() };
        let is_whole = |it: &&Mounted| {
            it.mount.device == around.mount.device && it.mount.root == Path::new("/")
        };
        let root = around.mount.root.strip_prefix("/").unwrap_or(Path::new(""));
        match self.mounts.iter().find(is_whole) {
            Some(whole) if around.mount.at == path => whole.mount.at.join(root),
            _ => path.to_owned(),
        }
    }

    /// It keeps project quotas where it was mounted no more; what it holds on a device is hidden.
    fn forget_quotas_of(&mut self, gone: &Mounted) {
        let Mount { device, at, .. } = &gone.mount;
        if self.quotas.remove(at).is_some() && self.contents.contains_key(device) {
            let hidden = std::fs::rename(at, hiding_place(at, *device));
            drop(hidden.and_then(|()| std::fs::create_dir(at)));
        }
    }

    /// It keeps project quotas where it is mounted now; what it holds is seen there.
    fn keep_quotas_of(&mut self, mount: &Mount, size: Bytes) {
        self.quotas.insert(mount.at.clone(), size);
        let hidden = hiding_place(&mount.at, mount.device);
        if hidden.is_dir() {
            let cleared = std::fs::remove_dir(&mount.at);
            drop(cleared.and_then(|()| std::fs::rename(hidden, &mount.at)));
        }
    }

    /// The file system around a path, where it keeps project quotas, and its size.
    fn quotas_around(&self, path: &Path) -> Option<(&PathBuf, Bytes)> {
        let at = &self.around(path)?.mount.at;
        self.quotas.get_key_value(at).map(|(at, size)| (at, *size))
    }

    fn limit_of(&self, directory: &Path) -> Option<ProjectLimit> {
        self.limits.get(self.projects.get(directory)?).copied()
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

/// Where the contents of a device are kept that is not mounted.
fn hiding_place(at: &Path, device: DeviceNumber) -> PathBuf {
    at.with_file_name(format!(".contents-{}-{}", device.major, device.minor))
}
