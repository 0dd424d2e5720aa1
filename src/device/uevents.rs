//! What the kernel tells when block devices come, go or change (NETLINK_KOBJECT_UEVENT; kernel,
//! lib/kobject_uevent.c). It works without udev, and in a container with a network of its own.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv,
            socket,
        },
    },
};

/// The group of messages that the kernel sends; udev's own are in another.
const KERNEL: u32 = 1;
/// No message is longer (kernel, include/linux/kobject.h, UEVENT_BUFFER_SIZE, and its header).
const LONGEST: usize = 8 << 10;

/// Messages about block devices, from when this was made on.
#[derive(Debug)]
pub struct Uevents {
    /// The fake has none.
    socket: Option<OwnedFd>,
    bell: Bell,
}

/// Ends a wait from elsewhere.
#[derive(Clone, Debug)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// Ends the wait that is on, or the next.
    pub fn ring(&self) {
        // It fails only when it has rung 2^64 - 2 times unheard.
        let _unheard = self.0.write(1);
    }
}

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn listen() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
        Ok(Self { socket: Some(socket), ..Self::silent()? })
    }

    /// Hears nothing but its bell.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn silent() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Bell(Arc::new(EventFd::from_value_and_flags(0, flags)?));
        Ok(Self { socket: None, bell })
    }

    /// What ends a wait.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Waits until something has happened to a block device that is more than a volume of LVM's
    /// (true), the bell has rung (true), or this long (false).
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn wait(&self, patience: Duration) -> io::Result<bool> {
        self.wait_beside(&[], patience)
    }

    /// The same, or until one of the others has what it is polled for (true).
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn wait_beside(&self, others: &[PollFd<'_>], patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, so that the last wait does not spin.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
            let mut fds = vec![PollFd::new(self.bell.0.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.socket.iter().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
            fds.extend(others.iter().cloned());
            match poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => (),
                Err(errno) => return Err(errno.into()),
            }
            // Both are emptied, whichever it was.
            let rung = self.bell.0.read().is_ok();
            let of_others = fds.iter().rev().take(others.len()).any(|it| it.any() == Some(true));
            if self.heard()? || rung || of_others {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Reads all messages that have come; whether one of them matters.
    fn heard(&self) -> io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(false) };
        let mut buffer = vec![0; LONGEST];
        let mut matters = false;
        loop {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let message = buffer.get(..length).unwrap_or_default();
                    matters |= subject(message).is_some_and(|path| !is_volume(path));
                }
                Err(Errno::EAGAIN) => return Ok(matters),
                Err(Errno::EINTR) => (),
                // More came than there was room for: anything may have happened.
                Err(Errno::ENOBUFS) => matters = true,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The path in sysfs of the block device that a message is about: `ACTION@PATH` and then
/// `KEY=VALUE`, each ended by a zero byte.
fn subject(message: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(message).ok()?;
    let (head, rest) = text.split_once('\0')?;
    let (_, path) = head.split_once('@')?;
    rest.split('\0').any(|it| it == "SUBSYSTEM=block").then_some(path)
}

/// Whether it is a logical volume, or a device-mapper device that cannot be asked any more: those
/// come and go with every call.
fn is_volume(path: &str) -> bool {
    if !path.starts_with("/devices/virtual/block/dm-") {
        return false;
    }
    let uuid = Path::new("/sys").join(path.trim_start_matches('/')).join("dm/uuid");
    fs::read_to_string(uuid).map_or(true, |it| it.is_empty() || it.starts_with("LVM-"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::disk(
        "add@/devices/x/sdb\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=1\0",
        Some("/devices/x/sdb")
    )]
    #[case::other("add@/devices/x/eth0\0ACTION=add\0SUBSYSTEM=net\0", None)]
    #[case::of_udev("libudev\0\u{1}\u{2}\0SUBSYSTEM=block\0", None)]
    #[case::nothing("", None)]
    fn what_a_message_is_about(#[case] message: &str, #[case] path: Option<&str>) {
        assert_eq!(subject(message.as_bytes()), path);
    }

    #[rstest]
    #[case::disk("/devices/pci/sdb", false)]
    #[case::gone_mapping("/devices/virtual/block/dm-9999", true)]
    fn what_is_passed_over(#[case] path: &str, #[case] volume: bool) {
        assert_eq!(is_volume(path), volume);
    }

    #[test]
    fn the_bell_ends_a_wait_and_silence_does_not() {
        let uevents = Uevents::silent().unwrap();
        assert!(!uevents.wait(Duration::from_millis(5)).unwrap());
        uevents.bell().ring();
        uevents.bell().ring();
        assert!(uevents.wait(Duration::from_secs(60)).unwrap());
        assert!(!uevents.wait(Duration::from_millis(5)).unwrap());
    }
}
