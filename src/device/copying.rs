//! Copies a part of one device to another.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use nix::libc;

use super::{
    Error, Part,
    host::{alone, failed},
};

/// How much is read and written at once.
const CHUNK: usize = 1 << 20;
/// What direct I/O wants addresses, offsets and lengths to be multiples of: no logical block is
/// larger than a page (open(2), O_DIRECT).
const ALIGNMENT: usize = 4096;

static ZEROES: [u8; CHUNK] = [0; CHUNK];

/// A part piece by piece, each a chunk at most: where it begins, and how long it is.
fn pieces(part: Part) -> impl Iterator<Item = (u64, usize)> {
    let end = part.offset.0.saturating_add(part.length.0);
    let length = move |at: u64| usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
    (part.offset.0..end).step_by(CHUNK).map(move |at| (at, length(at)))
}

/// Up to `length` zeroes, and at most a chunk of them.
fn zeroes(length: usize) -> &'static [u8] {
    ZEROES.get(..length).unwrap_or(&ZEROES)
}

/// Writes zeroes over a part.
pub(super) fn write_zeroes(file: &File, part: Part) -> io::Result<()> {
    pieces(part).try_for_each(|(at, length)| file.write_all_at(zeroes(length), at))
}

/// Writes bytes over a part that nobody can foretell.
pub(super) fn write_random(file: &File, part: Part) -> io::Result<()> {
    let mut random = File::open("/dev/urandom")?;
    let mut chunk = vec![0; CHUNK];
    pieces(part).try_for_each(|(at, length)| {
        chunk.truncate(length);
        random.read_exact(&mut chunk)?;
        file.write_all_at(&chunk, at)
    })
}

/// See [`super::Devices::copy`]. A chunk of zeroes that the target has already is not written, so a
/// thin target stays thin. Past the page cache where offset and length allow: a copy of many
/// gigabytes would push out everything else.
pub(super) fn copy(from: &Path, to: &Path, part: Part) -> Result<(), Error> {
    let aligned = |bytes: u64| bytes.is_multiple_of(ALIGNMENT as u64);
    let direct = aligned(part.offset.0) && aligned(part.length.0);
    let source = reader(from, direct).map_err(failed("open", from))?;
    let there = reader(to, direct).map_err(failed("open", to))?;
    let target = alone(to, flags(direct)).map_err(failed("open", to))?;
    let (mut new, mut old) = (Buffer::new(), Buffer::new());
    for (at, length) in pieces(part) {
        let bytes = new.part(length);
        source.read_exact_at(bytes, at).map_err(failed("read", from))?;
        let write = if bytes == zeroes(length) {
            let has = old.part(length);
            there.read_exact_at(has, at).map_err(failed("read", to))?;
            has != bytes
        } else {
            true
        };
        if write {
            target.write_all_at(bytes, at).map_err(failed("write to", to))?;
        }
    }
    Ok(())
}

fn flags(direct: bool) -> i32 {
    if direct { libc::O_DIRECT } else { 0 }
}

fn reader(path: &Path, direct: bool) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags(direct)).open(path)
}

/// A chunk whose address is aligned for direct I/O.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let bytes = vec![0; CHUNK + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self { bytes, start }
    }

    fn part(&mut self, length: usize) -> &mut [u8] {
        let end = self.start.saturating_add(length);
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }
}
