//! File systems in memory (tmpfs(5)).

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _},
    path::Path,
};

use nix::{
    mount::{MsFlags, mount as mount2},
    sys::sysinfo::sysinfo,
};
use rustix::mount::{FsOpenFlags, fsconfig_set_flag, fsconfig_set_string, fsopen};

use super::{Error, HugePages, MemoryHow, MemoryOption, mountinfo, mounting, paths};
use crate::units::Bytes;

/// The kernel's word for pages that are never swapped out.
const NO_SWAP: &str = "noswap";
/// What the kernel does with huge pages of files in memory, its choice in brackets (transhuge.rst of its manual). There
/// is none in a kernel without huge pages.
const SHMEM_ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// See [`super::Filesystems::mount_memory`].
pub(super) fn mount(name: &str, at: &Path, how: &MemoryHow) -> Result<(), Error> {
    let MemoryHow { size, inodes, mode, huge_pages, swap } = how;
    let mut text = format!("size={},nr_inodes={inodes},mode={mode:o}", size.0);
    if *huge_pages != HugePages::Never {
        text = format!("{text},huge={}", huge_pages.word());
    }
    mount2(Some(name), at, Some("tmpfs"), MsFlags::empty(), Some(with_swap(text, *swap).as_str()))
        .map_err(failed("mount a file system in memory at", at))
}

/// See [`super::Filesystems::resize_memory`].
pub(super) fn resize(at: &Path, how: &MemoryHow) -> Result<(), Error> {
    let entries = mounting::entries()?;
    let there = mountinfo::topmost(&entries, &paths::real(at));
    // Linux before 6.18 refuses a remount that does not repeat it (mm/shmem.c, `shmem_reconfigure`), and every one
    // refuses to switch swapping off later.
    let swaps = !there.is_some_and(|it| it.options.split(',').any(|word| word == NO_SWAP));
    let text = with_swap(format!("size={},nr_inodes={}", how.size.0, how.inodes), swaps);
    mount2(None::<&str>, at, None::<&str>, MsFlags::MS_REMOUNT, Some(text.as_str()))
        .map_err(failed("resize the file system in memory at", at))
}

fn with_swap(text: String, swap: bool) -> String {
    if swap { text } else { format!("{text},{NO_SWAP}") }
}

/// See [`super::Filesystems::lacks_in_memory`].
pub(super) fn lacks(option: MemoryOption) -> Result<Option<String>, Error> {
    let asking = || failed("ask the kernel about", Path::new("tmpfs"));
    let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(asking())?;
    let taken = match option {
        MemoryOption::Huge(HugePages::Never) => return Ok(None),
        MemoryOption::Huge(pages) => fsconfig_set_string(&tmpfs, "huge", pages.word()),
        MemoryOption::NoSwap => fsconfig_set_flag(&tmpfs, NO_SWAP),
    };
    match taken {
        Err(rustix::io::Errno::INVAL) => Ok(Some(words(File::from(tmpfs)))),
        Err(errno) => Err(asking()(errno)),
        Ok(()) if option == MemoryOption::NoSwap => Ok(None),
        Ok(()) => switched_off().map_err(failed("read", Path::new(SHMEM_ENABLED))),
    }
}

/// The kernel's words about what it has just refused: `e tmpfs: Unknown parameter 'noswap'`, the first letter for how
/// grave it is.
fn words(mut tmpfs: File) -> String {
    let mut line = [0; 256];
    let said = tmpfs.read(&mut line).ok().and_then(|length| line.get(..length));
    let said = String::from_utf8_lossy(said.unwrap_or_default()).into_owned();
    match said.trim().trim_start_matches("e ") {
        "" => "invalid argument".to_owned(),
        words => words.to_owned(),
    }
}

/// Whether an admin has switched huge pages off for all mounts, whatever each says.
fn switched_off() -> Result<Option<String>, std::io::Error> {
    match fs::read_to_string(SHMEM_ENABLED) {
        Ok(said) if said.contains("[deny]") => Ok(Some(format!("{SHMEM_ENABLED} says `deny`"))),
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(None),
    }
}

/// See [`super::Filesystems::memory`].
pub(super) fn all() -> Result<Bytes, Error> {
    let all =
        sysinfo().map_err(failed("ask for the size of", Path::new("the machine's memory")))?;
    Ok(Bytes(all.ram_total()))
}

fn failed<E: Into<std::io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |errno| Error::Path { action, path, source: errno.into() }
}
