//! Block devices in memory, for tests: sizes, bytes, open counts and loop devices.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::errno::Errno;

use super::{Bell, BlockDevice, Devices, Error, Hold, Part, Uevents, Wipe};
use crate::units::Bytes;

/// Bytes are kept in blocks of this size; a block that is not kept reads as zeroes.
const BLOCK: usize = 4096;
/// What a shredded byte is.
const SHREDDED: u8 = 0xa7;

/// Finds the size of a device that was not announced.
type Lookup = Box<dyn Fn(&Path) -> Option<Bytes> + Send + Sync>;

/// One call of [`Devices`], to count it or let it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Size,
    OpenCount,
    LeadsNowhere,
    EnsureLoop,
    Wipe,
    Copy,
    Flush,
    ForgetPartitions,
    List,
    Hold,
    Watch,
}

/// The fake. A device's bytes go when the device does.
#[derive(Default)]
pub struct FakeDevices {
    state: Mutex<State>,
    lookup: Option<Lookup>,
}

/// What happens beside a call.
type Event = Box<dyn FnOnce(&FakeDevices) + Send>;

#[derive(Default)]
struct State {
    sizes: BTreeMap<PathBuf, Bytes>,
    blocks: BTreeMap<PathBuf, BTreeMap<u64, Vec<u8>>>,
    hidden: BTreeSet<PathBuf>,
    open: BTreeMap<PathBuf, u32>,
    astray: BTreeSet<PathBuf>,
    on_files: bool,
    loops: BTreeMap<PathBuf, PathBuf>,
    listed: BTreeMap<PathBuf, BlockDevice>,
    bells: Vec<Bell>,
    failing: BTreeSet<Call>,
    wipes: Vec<(Part, Wipe)>,
    after_wipe: Option<Event>,
    later: Option<usize>,
    calls: BTreeMap<Call, usize>,
}

impl fmt::Debug for FakeDevices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeDevices").finish_non_exhaustive()
    }
}

/// How a test arranges the world.
impl FakeDevices {
    /// No devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `lookup` for the size of devices that nobody announced, each time they are used.
    #[must_use]
    pub fn looking_up(
        mut self,
        lookup: impl Fn(&Path) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.lookup = Some(Box::new(lookup));
        self
    }

    /// Loop devices are those of real files, which are made and grown, and known by their inodes.
    #[must_use]
    pub fn on_real_files(self) -> Self {
        self.lock().on_files = true;
        self
    }

    /// A device full of zeroes.
    #[must_use]
    pub fn with_device(self, path: impl AsRef<Path>, size: Bytes) -> Self {
        self.add_device(path, size);
        self
    }

    /// A device full of zeroes, later.
    pub fn add_device(&self, path: impl AsRef<Path>, size: Bytes) {
        let mut state = self.lock();
        state.sizes.insert(path.as_ref().to_owned(), size);
        state.blocks.remove(path.as_ref());
    }

    /// The device goes away, and its bytes.
    pub fn remove_device(&self, path: impl AsRef<Path>) {
        let mut state = self.lock();
        state.sizes.remove(path.as_ref());
        state.blocks.remove(path.as_ref());
        state.open.remove(path.as_ref());
    }

    /// The device becomes larger (or smaller).
    pub fn set_size(&self, path: impl AsRef<Path>, size: Bytes) {
        self.lock().sizes.insert(path.as_ref().to_owned(), size);
    }

    /// A device that is listed, full of zeroes unless it is there already. Whoever watches is told.
    pub fn plug_in(&self, device: BlockDevice) {
        let mut state = self.lock();
        state.sizes.insert(device.path.clone(), device.size);
        state.listed.insert(device.path.clone(), device);
        state.bells.iter().for_each(Bell::ring);
    }

    /// The device is pulled out. Whoever watches is told.
    pub fn pull_out(&self, path: impl AsRef<Path>) {
        self.remove_device(&path);
        let mut state = self.lock();
        state.listed.remove(path.as_ref());
        state.bells.iter().for_each(Bell::ring);
    }

    /// The device is there, but its node is not.
    pub fn hide(&self, path: impl AsRef<Path>) {
        self.lock().hidden.insert(path.as_ref().to_owned());
    }

    /// So many hold it open.
    pub fn set_open(&self, path: impl AsRef<Path>, count: u32) {
        self.lock().open.insert(path.as_ref().to_owned(), count);
    }

    /// It leads to a disk that is gone.
    pub fn lead_astray(&self, path: impl AsRef<Path>) {
        self.lock().astray.insert(path.as_ref().to_owned());
    }

    /// Writes bytes, as the owner of a volume does.
    pub fn write(&self, path: impl AsRef<Path>, offset: Bytes, bytes: &[u8]) {
        let mut state = self.lock();
        let blocks = state.blocks.entry(path.as_ref().to_owned()).or_default();
        for (at, byte) in (offset.0..).zip(bytes) {
            let (block, inside) = place(at);
            let block = blocks.entry(block).or_insert_with(|| vec![0; BLOCK]);
            if let Some(cell) = block.get_mut(inside) {
                *cell = *byte;
            }
        }
    }

    /// Reads bytes back.
    pub fn read(&self, path: impl AsRef<Path>, offset: Bytes, length: usize) -> Vec<u8> {
        let state = self.lock();
        let blocks = state.blocks.get(path.as_ref());
        let byte = |at| {
            let (block, inside) = place(at);
            blocks.and_then(|it| it.get(&block)?.get(inside)).copied().unwrap_or(0)
        };
        (offset.0..).take(length).map(byte).collect()
    }

    /// The next such call fails with an I/O error and changes nothing.
    pub fn fail_once(&self, call: Call) {
        self.lock().failing.insert(call);
    }

    /// What was wiped, of whichever device, and how, since it was asked last.
    pub fn take_wipes(&self) -> Vec<(Part, Wipe)> {
        std::mem::take(&mut self.lock().wipes)
    }

    /// Something happens right after the next wipe.
    pub fn after_wipe(&self, event: impl FnOnce(&Self) + Send + 'static) {
        self.lock().after_wipe = Some(Box::new(event));
    }

    /// A later call fails so, whichever it is: after so many others.
    pub fn fail_later(&self, others: usize) {
        self.lock().later = Some(others);
    }

    /// How many calls there were.
    pub fn all_calls(&self) -> usize {
        self.lock().calls.values().sum()
    }

    /// How often it was called.
    pub fn calls(&self, call: Call) -> usize {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, call: Call, path: &Path) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.lock();
        *state.calls.entry(call).or_default() += 1;
        let later = state.later.take();
        state.later = later.and_then(|others| others.checked_sub(1));
        if state.failing.remove(&call) || later == Some(0) {
            return Err(failed("work on", path, Errno::EIO));
        }
        Ok(state)
    }

    fn find(&self, state: &State, path: &Path) -> Option<Bytes> {
        if state.hidden.contains(path) {
            return None;
        }
        let known = state.sizes.get(path).copied();
        known.or_else(|| self.lookup.as_ref().and_then(|lookup| lookup(path)))
    }

    /// The device is there and the part is inside it.
    fn inside(&self, state: &State, path: &Path, part: Part) -> Result<(), Error> {
        let size = self.find(state, path).ok_or_else(|| failed("open", path, Errno::ENOENT))?;
        match part.offset.checked_add(part.length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(failed("reach the end of", path, Errno::EINVAL)),
        }
    }
}

/// The block that a byte is in, and its place there.
fn place(at: u64) -> (u64, usize) {
    let block = BLOCK as u64;
    (at / block, usize::try_from(at % block).unwrap_or(0))
}

/// Makes a file at least so large; its inode is what a loop device is attached to.
fn inode(file: &Path, size: Bytes) -> io::Result<PathBuf> {
    let file = File::options().write(true).create(true).truncate(false).open(file)?;
    if file.metadata()?.len() < size.0 {
        file.set_len(size.0)?;
    }
    Ok(PathBuf::from(format!("inode {}", file.metadata()?.ino())))
}

impl Devices for FakeDevices {
    fn size(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        let state = self.enter(Call::Size, path)?;
        Ok(self.find(&state, path))
    }

    fn open_count(&self, path: &Path) -> Result<u32, Error> {
        let state = self.enter(Call::OpenCount, path)?;
        if self.find(&state, path).is_none() {
            return Err(failed("open", path, Errno::ENOENT));
        }
        Ok(state.open.get(path).copied().unwrap_or(0))
    }

    fn leads_nowhere(&self, path: &Path) -> Result<bool, Error> {
        let state = self.enter(Call::LeadsNowhere, path)?;
        Ok(state.astray.contains(path))
    }

    fn ensure_loop(&self, file: &Path, size: Bytes) -> Result<PathBuf, Error> {
        let mut state = self.enter(Call::EnsureLoop, file)?;
        let next = PathBuf::from(format!("/dev/loop{}", state.loops.len()));
        let key = match state.on_files {
            true => inode(file, size).map_err(|source| Error::Path {
                action: "make the file",
                path: file.to_owned(),
                source,
            })?,
            false => file.to_owned(),
        };
        let device = state.loops.entry(key).or_insert(next).clone();
        let has = state.sizes.entry(device.clone()).or_default();
        *has = size.max(*has);
        Ok(device)
    }

    fn wipe(&self, device: &Path, part: Part, how: Wipe) -> Result<(), Error> {
        let mut state = self.enter(Call::Wipe, device)?;
        self.inside(&state, device, part)?;
        if how == Wipe::None {
            return Ok(());
        }
        state.wipes.push((part, how));
        // What nobody can foretell is one byte here, in blocks that are kept.
        let byte = if how == Wipe::Shred { SHREDDED } else { 0 };
        let end = part.offset.0 + part.length.0;
        if let Some(blocks) = state.blocks.get_mut(device) {
            for (number, bytes) in blocks.iter_mut() {
                let start = number * BLOCK as u64;
                let place = |at: u64| {
                    usize::try_from(at.saturating_sub(start)).unwrap_or(BLOCK).min(bytes.len())
                };
                let (first, last) = (place(part.offset.0), place(end));
                bytes.iter_mut().take(last).skip(first).for_each(|cell| *cell = byte);
            }
        }
        let event = state.after_wipe.take();
        drop(state);
        if let Some(event) = event {
            event(self);
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path, part: Part) -> Result<(), Error> {
        let state = self.enter(Call::Copy, from)?;
        self.inside(&state, from, part)?;
        self.inside(&state, to, part)?;
        let end = part.offset.0 + part.length.0;
        let kept = |path: &Path| -> Vec<u64> {
            let blocks = state.blocks.get(path).into_iter().flat_map(BTreeMap::keys);
            blocks.copied().collect()
        };
        let mut numbers = kept(from);
        numbers.extend(kept(to));
        drop(state);
        for number in numbers {
            let start = (number * BLOCK as u64).max(part.offset.0);
            let stop = ((number + 1) * BLOCK as u64).min(end);
            if let Ok(length) = usize::try_from(stop.saturating_sub(start)) {
                let bytes = self.read(from, Bytes(start), length);
                self.write(to, Bytes(start), &bytes);
            }
        }
        Ok(())
    }

    fn forget_partitions(&self, device: &Path) -> Result<(), Error> {
        self.enter(Call::ForgetPartitions, device).map(drop)
    }

    fn flush(&self, device: &Path) -> Result<(), Error> {
        let state = self.enter(Call::Flush, device)?;
        match self.find(&state, device) {
            Some(_) => Ok(()),
            None => Err(failed("open", device, Errno::ENOENT)),
        }
    }

    fn list(&self) -> Result<Vec<BlockDevice>, Error> {
        let state = self.enter(Call::List, Path::new("/sys"))?;
        Ok(state.listed.values().cloned().collect())
    }

    fn hold(&self, device: &BlockDevice) -> Result<Hold, Error> {
        let path = &device.path;
        let state = self.enter(Call::Hold, path)?;
        if self.find(&state, path).is_none() {
            return Err(failed("open", path, Errno::ENOENT));
        }
        match state.open.get(path).copied().unwrap_or(0) {
            0 => Ok(Hold { _exclusive: None }),
            _ => Err(Error::Held(path.clone())),
        }
    }

    fn watch(&self) -> Result<Uevents, Error> {
        let mut state = self.enter(Call::Watch, Path::new("/sys"))?;
        let uevents = Uevents::silent().map_err(|source| Error::Path {
            action: "listen for changes below",
            path: "/sys".into(),
            source,
        })?;
        state.bells.push(uevents.bell());
        Ok(uevents)
    }
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Path { action, path: path.to_owned(), source: io::Error::from(errno) }
}
