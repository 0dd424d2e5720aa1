//! Devices that a program may hold, one that is being started or one that works on them.

use std::{
    fs::File,
    io, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// How long a device is tried that a program may hold which is being started.
const STARTED: Duration = Duration::from_secs(2);
/// How long a lock is tried: udev takes a shared one for the moment in which it probes a new device
/// (systemd.io, BLOCK_DEVICE_LOCKING).
const LOCKED: Duration = Duration::from_millis(500);
/// How long apart.
const PAUSE: Duration = Duration::from_millis(5);

/// Opens or mounts a device that nobody else may hold (open(2), `O_EXCL`; mount(2)), and waits a
/// moment where it is busy. A program that is being started is a copy of this process at first, with
/// all its open devices, also those that are closed here meanwhile; on a busy machine that takes
/// tens of milliseconds. Nothing tells its end: exec(2) closes them after it has woken who waits for
/// it (fs/exec.c, `begin_new_exec`).
///
/// # Errors
/// Those of `take`; [`io::ErrorKind::ResourceBusy`] when another holds the device.
pub fn once_free<T>(mut take: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match take() {
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy && began.elapsed() < STARTED => {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// The lock of who works on a device (flock(2)), for as long as the file is open here or in a
/// program that inherited it ([`super::Invocation::holding`]).
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] when another keeps it; those of flock(2).
pub fn lock(mut file: File) -> io::Result<Flock<File>> {
    let began = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) if began.elapsed() < LOCKED => file = back,
            Err((_, Errno::EWOULDBLOCK)) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err((_, errno)) => return Err(errno.into()),
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_a_starting_program_holds_is_waited_for() {
        let mut tries = 0;
        let open = || {
            tries += 1;
            if tries < 3 { Err(busy()) } else { File::open("/dev/null") }
        };
        once_free(open).unwrap();
        assert_eq!(tries, 3);
    }

    #[test]
    fn a_device_that_another_holds_stays_busy() {
        assert_eq!(once_free::<File>(|| Err(busy())).unwrap_err().kind(), busy().kind());
        let mut tries = 0;
        let refused = once_free::<File>(|| {
            tries += 1;
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!((refused.unwrap_err().kind(), tries), (io::ErrorKind::PermissionDenied, 1));
    }

    #[test]
    fn a_lock_is_free_again_when_its_file_is_closed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = lock(file.reopen().unwrap()).unwrap();
        let refused = lock(file.reopen().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), busy().kind());
        let waiting = thread::scope(|threads| {
            let waiting = threads.spawn(|| lock(file.reopen().unwrap()));
            drop(held);
            waiting.join().unwrap()
        });
        waiting.unwrap();
    }

    fn busy() -> io::Error {
        io::ErrorKind::ResourceBusy.into()
    }
}
