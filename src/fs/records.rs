//! Records: files of a directory that are called `ID.json`, each of them durable. What is in them is for who has them.

use std::{
    fmt::Display,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::durable;

/// The end of the names of the files.
const ENDING: &str = ".json";

/// Has the records below `home` for as long as the answer lives, so that no other process does that asks for the same; `None`
/// where there is no such directory. It is waited for.
///
/// # Errors
/// Those of the file system, and of flock(2).
pub fn lock(home: &Path) -> io::Result<Option<File>> {
    let directory = match File::open(home) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        directory => directory?,
    };
    directory.lock()?;
    Ok(Some(directory))
}

/// Writes a record, so that after a power cut it is there as it was or as it is now.
///
/// # Errors
/// Those of the file system.
pub fn write(home: &Path, id: &impl Display, record: &[u8]) -> io::Result<()> {
    durable::write(home, &format!("{id}{ENDING}"), record)
}

/// Whether there is a record.
pub fn is_written(home: &Path, id: &impl Display) -> bool {
    home.join(format!("{id}{ENDING}")).try_exists().unwrap_or(false)
}

/// Removes a record; one that is gone is fine.
///
/// # Errors
/// Those of the file system.
pub fn remove(home: &Path, id: &impl Display) -> io::Result<()> {
    durable::remove(home, &format!("{id}{ENDING}"))
}

/// Removes what is left of records that were never written to their end. Nobody may be writing one.
///
/// # Errors
/// Those of the file system.
pub fn remove_unfinished<I: FromStr>(home: &Path) -> io::Result<()> {
    durable::remove_unfinished(home, |name| id_of::<I>(name).is_some())
}

/// Every record of a directory; none where there is no such directory.
///
/// # Errors
/// One that cannot be read is an error, which names it: what it is about would count as gone.
pub fn read_all<I: FromStr, R>(
    home: &Path,
    parse: impl Fn(&[u8]) -> io::Result<R>,
) -> io::Result<Vec<(I, R)>> {
    let mut all = Vec::new();
    for (id, path) in files(home)? {
        let about = |err: io::Error| io::Error::other(format!("{}: {err}", path.display()));
        let text = fs::read(&path).map_err(about)?;
        all.push((id, parse(&text).map_err(about)?));
    }
    Ok(all)
}

/// The files of a directory, with what each is about; none where there is no such directory.
///
/// # Errors
/// Those of the file system.
pub fn files<I: FromStr>(home: &Path) -> io::Result<Vec<(I, PathBuf)>> {
    let entries = match fs::read_dir(home) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(id_of);
        all.extend(id.map(|id| (id, home.join(&name))));
    }
    Ok(all)
}

/// What the record is about that a file of this name is.
fn id_of<I: FromStr>(name: &str) -> Option<I> {
    name.strip_suffix(ENDING)?.parse().ok()
}
