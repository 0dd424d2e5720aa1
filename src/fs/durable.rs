//! Files that are there, after a power cut too, as they were or as they are now.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Writes the file `name` in a directory, in place of one that is there.
///
/// # Errors
/// Those of the file system; the file is then as it was, or as it is to be.
pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, directory.join(name))?;
    File::open(directory)?.sync_all()
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
