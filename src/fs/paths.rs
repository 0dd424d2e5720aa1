//! Directories and files that mounts are put on. Nothing here follows a symbolic link in the last
//! part of a path, and nothing is ever deleted with its contents.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Error;

/// A path as `/proc/self/mountinfo` would show it: symbolic links in its parents are followed (the
/// kubelet's own directory may be one), its last part is taken as it is. What is not there yet is
/// taken as it is, too.
pub fn real(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    let parent = parent.canonicalize().unwrap_or_else(|_| real(parent));
    parent.join(name)
}

/// Makes a directory, and those above it, unless it is there. New ones are the owner's alone.
///
/// # Errors
/// When something else, such as a symbolic link, is there.
pub fn ensure_directory(path: &Path) -> Result<(), Error> {
    match kind(path)? {
        Some(kind) if kind.is_dir() => Ok(()),
        Some(kind) => Err(in_the_way("make the directory", path, kind)),
        None => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(failed("make the directory", path)),
    }
}

/// Makes an empty file, and the directories above it, unless it is there.
///
/// # Errors
/// When something else, such as a symbolic link, a directory or a file that holds bytes, is there. A
/// device file is fine: a volume may be bound there already.
pub fn ensure_file(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::FileTypeExt;
    let action = "make the file";
    match kind(path)? {
        Some(kind) if kind.is_block_device() => return Ok(()),
        Some(kind) if kind.is_file() && is_empty(path)? => return Ok(()),
        Some(kind) => return Err(in_the_way(action, path, kind)),
        None => (),
    }
    if let Some(parent) = path.parent() {
        let builder = fs::DirBuilder::new().recursive(true).mode(0o750).create(parent);
        builder.map_err(failed("make the directory", parent))?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(failed(action, path)(source)),
    }
}

/// Removes an empty directory; none is fine.
///
/// # Errors
/// When it is not empty, is a mount point, or is no directory.
pub fn remove_directory(path: &Path) -> Result<(), Error> {
    gone(fs::remove_dir(path)).map_err(failed("remove the directory", path))
}

/// Removes a file that holds nothing; none is fine.
///
/// # Errors
/// When it is a mount point, no regular file, or holds bytes: it is then not one of ours.
pub fn remove_file(path: &Path) -> Result<(), Error> {
    let action = "remove the file";
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_file() && data.len() == 0 => {
            gone(fs::remove_file(path)).map_err(failed(action, path))
        }
        Ok(data) => Err(in_the_way(action, path, data.file_type())),
        Err(err) => gone(Err(err)).map_err(failed(action, path)),
    }
}

/// What is at a path, not following a symbolic link there.
fn kind(path: &Path) -> Result<Option<fs::FileType>, Error> {
    match fs::symlink_metadata(path) {
        Ok(data) => Ok(Some(data.file_type())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("look at", path)(source)),
    }
}

fn is_empty(path: &Path) -> Result<bool, Error> {
    fs::symlink_metadata(path).map(|data| data.len() == 0).map_err(failed("look at", path))
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn in_the_way(action: &'static str, path: &Path, kind: fs::FileType) -> Error {
    let what = match kind {
        _ if kind.is_symlink() => "a symbolic link is there",
        _ if kind.is_dir() => "a directory is there",
        _ if kind.is_file() => "a file with contents is there",
        _ => "something else is there",
    };
    failed(action, path)(io::Error::new(io::ErrorKind::AlreadyExists, what))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_are_followed_in_parents_only() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir(root.join("there")).unwrap();
        symlink("there", root.join("link")).unwrap();
        assert_eq!(real(&root.join("link/new/target")), root.join("there/new/target"));
        assert_eq!(real(&root.join("link")), root.join("link"));
        assert_eq!(real(Path::new("/")), Path::new("/"));
    }

    #[test]
    fn twice_is_once() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("a/b");
        let file = temp.path().join("c/d");
        for _ in 0..2 {
            ensure_directory(&directory).unwrap();
            ensure_file(&file).unwrap();
        }
        assert!(directory.is_dir() && file.is_file());
        for _ in 0..2 {
            remove_directory(&directory).unwrap();
            remove_file(&file).unwrap();
        }
        assert!(!directory.try_exists().unwrap() && !file.try_exists().unwrap());
    }

    #[test]
    fn a_symbolic_link_is_named_and_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let link = temp.path().join("link");
        for target in ["elsewhere", "."] {
            symlink(temp.path().join(target), &link).unwrap();
            for refused in [ensure_directory(&link), ensure_file(&link), remove_file(&link)] {
                let err = refused.unwrap_err();
                assert!(err.to_string().contains("link"), "{err}");
                assert_eq!(err.source().unwrap().to_string(), "a symbolic link is there");
            }
            remove_directory(&link).unwrap_err();
            fs::remove_file(&link).unwrap();
        }
        assert!(!temp.path().join("elsewhere").try_exists().unwrap());
    }

    #[test]
    fn what_holds_something_stays() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "precious").unwrap();
        remove_directory(temp.path()).unwrap_err();
        remove_file(&file).unwrap_err();
        ensure_directory(&file).unwrap_err();
        ensure_file(temp.path()).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }
}
