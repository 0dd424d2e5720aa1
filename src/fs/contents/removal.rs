//! One step after the other through the directories of a file system, each of which removes something.

use std::{ffi::CString, fs::File, os::fd::AsFd as _, path::PathBuf};

use rustix::{
    fs::{AtFlags, Mode, openat2, unlinkat},
    io::Errno,
};

use super::{
    BATCH, DIRECTORY, Error, Identity, LOST_AND_FOUND, Root, WITHIN, attributes, below, enter,
    failed, identity, names,
};

/// A removal that is under way. Of all directories on the way only the one that it is in is held open, however deep.
pub(super) struct Removal<'a> {
    root: &'a Root,
    here: File,
    /// The directories from the root to here.
    way: Vec<Level>,
    /// Whether `lost+found` was emptied.
    is_swept: bool,
}

/// A directory on the way.
struct Level {
    name: CString,
    identity: Identity,
    /// What was read of it, and is still to be removed.
    left: Vec<CString>,
}

/// What a step has done.
pub(super) enum Step {
    /// A file or a directory is removed.
    Removed,
    /// It is in another directory, or knows more of this one.
    Moved,
    /// Nothing is left.
    Done,
}

impl<'a> Removal<'a> {
    pub(super) fn of(root: &'a Root) -> Result<Self, Error> {
        let fail = |err| failed("enter", &root.at, err);
        let here = enter(root.handle.as_fd(), c".").map_err(fail)?;
        let identity = identity(&here).map_err(fail)?;
        let first = Level { name: c".".into(), identity, left: Vec::new() };
        Ok(Self { root, here, way: vec![first], is_swept: false })
    }

    /// Does the next thing.
    pub(super) fn step(&mut self) -> Result<Step, Error> {
        let Some(level) = self.way.last_mut() else { return Ok(Step::Done) };
        if let Some(name) = level.left.pop() {
            return self.remove(name);
        }
        let found = names(self.here.as_fd(), BATCH);
        let mut found = found.map_err(|err| failed("read", &self.path(), err))?;
        if self.is_swept && self.way.len() == 1 {
            found.retain(|name| name.as_c_str() != LOST_AND_FOUND);
        }
        if found.is_empty() {
            return self.leave();
        }
        if let Some(level) = self.way.last_mut() {
            level.left = found;
        }
        Ok(Step::Moved)
    }

    /// Removes what is no directory, or enters what is one.
    fn remove(&mut self, name: CString) -> Result<Step, Error> {
        match self.unlink(&name, AtFlags::empty()) {
            Ok(()) => return Ok(Step::Removed),
            Err(Errno::NOENT) => return Ok(Step::Moved),
            // So says Linux of a directory (unlink(2)).
            Err(Errno::ISDIR) => (),
            Err(err) => return Err(failed("remove", &below(&self.path(), &name), err)),
        }
        let entered = enter(self.here.as_fd(), &name).and_then(|it| Ok((identity(&it)?, it)));
        let (identity, here) =
            entered.map_err(|err| failed("enter", &below(&self.path(), &name), err))?;
        self.here = here;
        self.way.push(Level { name, identity, left: Vec::new() });
        Ok(Step::Moved)
    }

    /// Goes back from a directory that is empty, and removes it.
    fn leave(&mut self) -> Result<Step, Error> {
        let path = self.path();
        let (Some(last), Some(above)) = (self.way.pop(), self.way.last()) else {
            return Ok(Step::Done);
        };
        let up = openat2(&self.here, c"..", DIRECTORY, Mode::empty(), WITHIN).map(File::from);
        let up = up.and_then(|it| Ok((identity(&it)?, it)));
        match up.map_err(|err| failed("leave", &path, err))? {
            (found, up) if found == above.identity => self.here = up,
            _ => return Err(failed("leave", &path, Errno::STALE)),
        }
        if self.way.len() == 1 && last.name.as_c_str() == LOST_AND_FOUND {
            self.is_swept = true;
            return Ok(Step::Moved);
        }
        match self.unlink(&last.name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(Step::Removed),
            // Something has come meanwhile, which is found with the next names.
            Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(Step::Moved),
            Err(err) => Err(failed("remove", &path, err)),
        }
    }

    /// Removes a name from this directory, also where either is immutable.
    fn unlink(&self, name: &CString, flags: AtFlags) -> Result<(), Errno> {
        match unlinkat(&self.here, name, flags) {
            Err(Errno::PERM) => {
                attributes::loosen(&self.here)?;
                attributes::loosen_in(&self.here, name)?;
                unlinkat(&self.here, name, flags)
            }
            done => done,
        }
    }

    /// Where it is, for people.
    fn path(&self) -> PathBuf {
        self.way.iter().skip(1).fold(self.root.at.clone(), |path, level| below(&path, &level.name))
    }
}
