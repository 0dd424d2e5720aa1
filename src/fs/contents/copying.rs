//! A directory, copied with all that is in it within one file system, whose files share their blocks (reflinks).
//!
//! `cp -a --reflink=always` is not taken for it, though it is there: it goes by whole paths, and so gives up on a tree that is
//! deeper than a path may be long, as anybody can make one; it says nothing where it leaves out an extended attribute;
//! it cannot be asked to stop, nor how far it is; and it goes on when the driver is killed, beside the next one that
//! removes what it writes. Here nothing is held but the two directories that it is in, and for each above them its name: the
//! names in a directory are read anew, from where it was, after each directory in it, and of hard links
//! the file system itself keeps the list, in a directory of the copy that goes at its end.

use std::{
    ffi::{CStr, CString},
    fs::File,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, mknodat, openat,
        openat2, readlinkat, statat, symlinkat, unlinkat,
    },
    io::Errno,
};

use super::{
    BATCH, BELOW, DIRECTORY, Error, Identity, Root, WITHIN, attributes::give, below, enter, failed,
    identity, names,
};
use crate::units::Bytes;

/// Gives the second file, which is empty, the contents of the first.
pub(in crate::fs) type Fill<'a> = &'a dyn Fn(&File, &File) -> Result<(), Errno>;

/// How a file is opened to be read; its time of access stays.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC);
/// How a new file is opened.
const NEW: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// What new things may be done with before they are whole: root's alone.
const CLOSED: Mode = Mode::RWXU;
/// `st_blocks` is in these, whatever the file system (stat(2)).
const BLOCK: u64 = 512;

/// A copy that is under way.
pub(super) struct Copying<'a> {
    fill: Fill<'a>,
    source: &'a Root,
    target: &'a Root,
    /// Where it is, in both.
    from: File,
    to: File,
    /// The directories from the root to here.
    way: Vec<Level>,
    /// The directory, with its name, that has a link to each file with several that was copied.
    links: Option<(CString, File)>,
    /// What the copy has by now.
    copied: Bytes,
}

/// A directory on the way.
struct Level {
    name: CString,
    from: Identity,
    to: Identity,
    /// From where its names are still to be read.
    next: i64,
}

/// What comes after all that was read in a directory.
enum Next {
    /// One in it.
    Enter(CString),
    /// The one above it.
    Leave,
    /// Nothing: it was to stop.
    Stop,
}

impl<'a> Copying<'a> {
    pub(super) fn of(source: &'a Root, target: &'a Root, fill: Fill<'a>) -> Result<Self, Error> {
        let open = |root: &Root| enter(root.handle.as_fd(), c".");
        let (from, to) = open(source)
            .and_then(|from| Ok((from, open(target)?)))
            .map_err(|err| failed("enter", &source.at, err))?;
        let ids = identity(&from).and_then(|from| Ok((from, identity(&to)?)));
        let ids = ids.map_err(|err| failed("enter", &source.at, err))?;
        let top = Level { name: c".".into(), from: ids.0, to: ids.1, next: 0 };
        let (way, links, copied) = (vec![top], None, Bytes::ZERO);
        Ok(Self { fill, source, target, from, to, way, links, copied })
    }

    /// Copies all of it; `goes_on` is asked after each file and directory, and told what the copy has by then. `None`
    /// where it said no.
    pub(super) fn run(
        mut self,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Option<Bytes>, Error> {
        loop {
            match self.files(goes_on)? {
                Next::Stop => return Ok(None),
                Next::Enter(name) => {
                    let entered = self.enter(&name);
                    entered.map_err(|err| self.failed(&name, err))?;
                }
                Next::Leave if self.way.len() > 1 => {
                    let left = self.leave();
                    left.map_err(|err| self.failed(c"..", err))?;
                }
                Next::Leave => {
                    let ended = self.end();
                    ended.map_err(|err| self.failed(c".", err))?;
                    return Ok(Some(self.copied));
                }
            }
        }
    }

    /// Copies what is here until there is a directory.
    fn files(&mut self, goes_on: &mut dyn FnMut(Bytes) -> bool) -> Result<Next, Error> {
        let begun = self.way.last().map_or(0, |level| level.next);
        let opened = Dir::read_from(&self.from).and_then(|mut it| it.seek(begun).map(|()| it));
        let mut entries = opened.map_err(|err| self.failed(c".", err))?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(|err| self.failed(c".", err))?;
            if let Some(level) = self.way.last_mut() {
                level.next = entry.offset();
            }
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if !goes_on(self.copied) {
                return Ok(Next::Stop);
            }
            let data = statat(&self.from, name, AtFlags::SYMLINK_NOFOLLOW);
            let data = data.map_err(|err| self.failed(name, err))?;
            if FileType::from_raw_mode(data.st_mode) == FileType::Directory {
                return Ok(Next::Enter(name.to_owned()));
            }
            self.copy(name, &data).map_err(|err| self.failed(name, err))?;
        }
        Ok(Next::Leave)
    }

    /// Copies what is no directory.
    fn copy(&mut self, name: &CStr, data: &Stat) -> Result<(), Errno> {
        let number = CString::new(data.st_ino.to_string()).map_err(|_| Errno::INVAL)?;
        let has_others = data.st_nlink > 1;
        if let Some((_, links)) = self.links.as_ref().filter(|_| has_others) {
            match linkat(links, &number, &self.to, name, AtFlags::empty()) {
                Err(Errno::NOENT) => (),
                done => return done,
            }
        }
        match FileType::from_raw_mode(data.st_mode) {
            FileType::RegularFile => self.clone_file(name, data)?,
            FileType::Symlink => {
                let leads_to = readlinkat(&self.from, name, Vec::new())?;
                symlinkat(&leads_to, &self.to, name)?;
            }
            kind @ (FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice) => {
                mknodat(&self.to, name, kind, CLOSED, data.st_rdev)?;
            }
            FileType::Directory | FileType::Unknown => return Err(Errno::STALE),
        }
        give((&self.from, name), (&self.to, name), data)?;
        if has_others {
            self.ensure_links()?;
            let (_, links) = self.links.as_ref().ok_or(Errno::STALE)?;
            linkat(&self.to, name, links, &number, AtFlags::empty())?;
        }
        self.count(&statat(&self.to, name, AtFlags::SYMLINK_NOFOLLOW)?);
        Ok(())
    }

    fn clone_file(&self, name: &CStr, data: &Stat) -> Result<(), Errno> {
        let from = File::from(openat2(&self.from, name, FILE, Mode::empty(), BELOW)?);
        let found = fstat(&from)?;
        if (found.st_dev, found.st_ino) != (data.st_dev, data.st_ino) {
            return Err(Errno::STALE);
        }
        let to = File::from(openat(&self.to, name, NEW, Mode::RUSR | Mode::WUSR)?);
        if found.st_size > 0 { (self.fill)(&from, &to) } else { Ok(()) }
    }

    /// Makes the directory of links, which has a name that nothing has beside it.
    fn ensure_links(&mut self) -> Result<(), Errno> {
        if self.links.is_none() {
            let name = self.free_name()?;
            mkdirat(&self.target.handle, &name, CLOSED)?;
            let links = enter(self.target.handle.as_fd(), &name)?;
            self.links = Some((name, links));
        }
        Ok(())
    }

    fn free_name(&self) -> Result<CString, Errno> {
        for n in 0_u64.. {
            let name = CString::new(format!("links-{n}")).map_err(|_| Errno::INVAL)?;
            match statat(&self.source.handle, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(name),
                Err(err) => return Err(err),
                Ok(_) => (),
            }
        }
        Err(Errno::EXIST)
    }

    fn enter(&mut self, name: &CStr) -> Result<(), Errno> {
        let from = enter(self.from.as_fd(), name)?;
        mkdirat(&self.to, name, CLOSED)?;
        let to = enter(self.to.as_fd(), name)?;
        let ids = (identity(&from)?, identity(&to)?);
        self.way.push(Level { name: name.to_owned(), from: ids.0, to: ids.1, next: 0 });
        (self.from, self.to) = (from, to);
        Ok(())
    }

    /// Goes back from a directory that is copied, which only then gets the rest of what its source has.
    fn leave(&mut self) -> Result<(), Errno> {
        let above = self.way.len().checked_sub(2).and_then(|it| self.way.get(it));
        let (Some(above), Some(last)) = (above, self.way.last()) else { return Err(Errno::STALE) };
        let up = |it: &File, wanted| {
            let up = File::from(openat2(it, c"..", DIRECTORY, Mode::empty(), WITHIN)?);
            if identity(&up)? == wanted { Ok(up) } else { Err(Errno::STALE) }
        };
        let (from, to) = (up(&self.from, above.from)?, up(&self.to, above.to)?);
        give((&from, &last.name), (&to, &last.name), &fstat(&self.from)?)?;
        let new = fstat(&self.to)?;
        self.count(&new);
        (self.from, self.to) = (from, to);
        self.way.pop();
        Ok(())
    }

    /// Takes the links away, and makes the root what its source is.
    fn end(&mut self) -> Result<(), Errno> {
        if let Some((name, links)) = self.links.take() {
            loop {
                let some = names(links.as_fd(), BATCH)?;
                if some.is_empty() {
                    break;
                }
                some.iter().try_for_each(|it| unlinkat(&links, it, AtFlags::empty()))?;
            }
            unlinkat(&self.target.handle, &name, AtFlags::REMOVEDIR)?;
        }
        give((&self.from, c"."), (&self.to, c"."), &fstat(&self.from)?)?;
        let root = fstat(&self.to)?;
        self.count(&root);
        Ok(())
    }

    fn count(&mut self, new: &Stat) {
        let bytes = u64::try_from(new.st_blocks).unwrap_or_default().saturating_mul(BLOCK);
        self.copied = Bytes(self.copied.0.saturating_add(bytes));
    }

    fn failed(&self, name: &CStr, err: Errno) -> Error {
        let root = self.source.at.clone();
        let here: PathBuf =
            self.way.iter().skip(1).fold(root, |path, level| below(&path, &level.name));
        let path = below(&here, name);
        match err {
            Errno::XDEV | Errno::LOOP => failed("copy", &path, err),
            err => Error::Path { action: "copy", path, source: err.into() },
        }
    }
}

/// The path of something in a directory that is open, for calls that take no directory; a link there is not followed by those
/// that have a word for it.
pub(super) fn path_in(directory: &File, name: &CStr) -> PathBuf {
    below(&PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())), name)
}

#[cfg(test)]
mod tests;
