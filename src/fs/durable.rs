//! Files that are there, after a power cut too, as they were or as they are now.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// The end of the names of files that are being written.
const UNFINISHED: &str = ".new";

/// Writes the file `name` in a directory, in place of one that is there.
///
/// # Errors
/// Those of the file system; the file is then as it was, or as it is to be.
pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}{UNFINISHED}"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Removes what kills have left of writing files, of those whose names are `ours`. Nobody may be writing one. There may be
/// no such directory.
///
/// # Errors
/// Those of the file system.
pub fn remove_unfinished(directory: &Path, ours: impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().filter(|it| it.strip_suffix(UNFINISHED).is_some_and(&ours));
        name.map_or(Ok(()), |name| remove(directory, name))?;
    }
    Ok(())
}

/// Removes the file `name` of a directory; one that is gone is fine.
///
/// # Errors
/// Those of the file system.
pub fn remove(directory: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(directory.join(name)) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => File::open(directory)?.sync_all(),
    }
}
