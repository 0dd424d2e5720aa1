//! What is told of a change, so that nobody has to wait for the next round.

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use crate::device::{Bell, Devices, Uevents};

/// For how long nothing may happen until a bunch of changes is over, and how many of these may pass.
const QUIET: Duration = Duration::from_millis(100);
const BUNCHES: u32 = 10;

/// News of block devices, of what is mounted, and of what is in directories, from when this was made on.
pub(super) struct News {
    uevents: Uevents,
    /// Has something urgent to tell when a mount comes or goes (proc_pid_mounts(5)).
    mounts: File,
    directories: Inotify,
}

impl News {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn listen(devices: &dyn Devices) -> io::Result<Self> {
        Ok(Self {
            uevents: devices.watch().map_err(io::Error::other)?,
            mounts: File::open("/proc/self/mountinfo")?,
            directories: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
        })
    }

    /// What ends a wait.
    pub(super) fn bell(&self) -> Bell {
        self.uevents.bell()
    }

    /// Tells of these directories, too, from now on; of one that is not there as soon as it is named again.
    pub(super) fn follow(&self, directories: &[PathBuf]) {
        for directory in directories {
            if let Err(errno) = self.follow_one(directory) {
                let directory = directory.display();
                tracing::debug!(%directory, %errno, "changes in it are seen with the next round");
            }
        }
    }

    fn follow_one(&self, directory: &Path) -> nix::Result<()> {
        let names = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        let flags = names | itself | AddWatchFlags::IN_ONLYDIR;
        self.directories.add_watch(directory, flags).map(drop)
    }

    /// Waits for a bunch of news, and until it is over (true), or this long (false).
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<bool> {
        if !self.hear(patience)? {
            return Ok(false);
        }
        for _ in 0..BUNCHES {
            if !self.hear(QUIET)? {
                break;
            }
        }
        Ok(true)
    }

    fn hear(&self, patience: Duration) -> io::Result<bool> {
        let others = [
            PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI),
            PollFd::new(self.directories.as_fd(), PollFlags::POLLIN),
        ];
        let is_told = self.uevents.wait_beside(&others, patience)?;
        // Which names does not matter, but they would be told again.
        loop {
            match self.directories.read_events() {
                Ok(_) | Err(Errno::EINTR) => (),
                Err(Errno::EAGAIN) => return Ok(is_told),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::mount::{MsFlags, mount, umount};

    use super::*;
    use crate::{device::fake::FakeDevices, pool::survey::example::disk};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn a_device_that_comes_is_news_and_silence_is_none() {
        let devices = FakeDevices::new();
        let news = News::listen(&devices).unwrap();
        assert!(!news.wait(SHORT).unwrap());
        devices.plug_in(disk("sda"));
        assert!(news.wait(LONG).unwrap() && !news.wait(SHORT).unwrap());
        news.bell().ring();
        assert!(news.wait(LONG).unwrap() && !news.wait(SHORT).unwrap());
    }

    #[test]
    fn names_that_come_go_and_change_are_news_also_in_a_directory_that_was_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let (one, other) = (home.path().join("one"), home.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        let news = News::listen(&FakeDevices::new()).unwrap();
        let is_told = || news.wait(LONG).unwrap() && !news.wait(SHORT).unwrap();
        news.follow(&[one.clone(), other.clone()]);
        assert!(!news.wait(SHORT).unwrap());
        symlink("/dev/sda", one.join("a")).unwrap();
        assert!(is_told(), "a link");
        std::fs::rename(one.join("a"), one.join("b")).unwrap();
        assert!(is_told(), "another name");
        std::fs::remove_file(one.join("b")).unwrap();
        assert!(is_told(), "none");
        std::fs::remove_dir(&one).unwrap();
        assert!(is_told(), "the directory is gone");

        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        news.follow(&[one.clone(), other.clone()]);
        news.follow(&[one.clone(), other.clone()]);
        for directory in [one, other] {
            std::fs::create_dir(directory.join("mount")).unwrap();
            assert!(is_told(), "{}", directory.display());
        }
    }

    #[test]
    #[ignore = "guest: mounts"]
    fn guest_a_mount_that_comes_or_goes_is_news() {
        let home = tempfile::tempdir().unwrap();
        let news = News::listen(&FakeDevices::new()).unwrap();
        let is_told = || news.wait(LONG).unwrap() && !news.wait(SHORT).unwrap();
        let nothing = None::<&str>;
        mount(Some("none"), home.path(), Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
        assert!(is_told());
        umount(home.path()).unwrap();
        assert!(is_told());
    }
}
