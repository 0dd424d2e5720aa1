//! What every [`Devices`] must do. It holds for the fake on any machine, and for the real thing in a
//! guest.

mod guest;

use super::{fake::FakeDevices, *};

/// Where a contract is tried.
trait World {
    fn devices(&self) -> &dyn Devices;
    /// A device full of zeroes.
    fn device(&self, size: Bytes) -> PathBuf;
    fn write(&self, device: &Path, at: Bytes, bytes: &[u8]);
    fn read(&self, device: &Path, at: Bytes, length: usize) -> Vec<u8>;
    /// Opens the device and keeps it open until the next call of `close`.
    fn open(&self, device: &Path);
    fn close(&self, device: &Path);
    /// A device that is listed.
    fn listed(&self) -> PathBuf;
    /// A path for a file.
    fn file(&self) -> PathBuf;
}

const SIZE: Bytes = Bytes::mib(8);
const MIDDLE: Part = Part { offset: Bytes::mib(2), length: Bytes::mib(3) };
/// Places around and in the middle part.
const INSIDE: [Bytes; 3] = [Bytes::mib(2), Bytes(4_000_001), Bytes((5 << 20) - 4)];
const OUTSIDE: [Bytes; 3] = [Bytes::ZERO, Bytes((2 << 20) - 4), Bytes::mib(5)];

fn mark(world: &dyn World, device: &Path, bytes: &[u8; 4]) {
    for at in INSIDE.into_iter().chain(OUTSIDE) {
        world.write(device, at, bytes);
    }
}

fn at_each(world: &dyn World, device: &Path, places: [Bytes; 3], bytes: &[u8; 4]) -> bool {
    places.into_iter().all(|at| world.read(device, at, 4) == bytes)
}

fn sizes_are_told(world: &dyn World) {
    let devices = world.devices();
    assert_eq!(devices.size(&world.device(SIZE)).unwrap(), Some(SIZE));
    assert_eq!(devices.size(Path::new("/dev/tarn-no-such-device")).unwrap(), None);
}

fn holders_are_counted(world: &dyn World) {
    let (devices, device) = (world.devices(), world.device(SIZE));
    assert_eq!(devices.open_count(&device).unwrap(), 0);
    world.open(&device);
    assert_eq!(devices.open_count(&device).unwrap(), 1);
    world.close(&device);
    assert_eq!(devices.open_count(&device).unwrap(), 0);
    devices.open_count(Path::new("/dev/tarn-no-such-device")).unwrap_err();
}

fn a_file_becomes_one_device(world: &dyn World) {
    let (devices, file) = (world.devices(), world.file());
    let device = devices.ensure_loop(&file, SIZE).unwrap();
    assert_eq!(devices.size(&device).unwrap(), Some(SIZE));
    world.write(&device, Bytes::mib(1), b"kept");
    for (wanted, has) in [(8, 8), (16, 16), (4, 16), (16, 16)] {
        assert_eq!(devices.ensure_loop(&file, Bytes::mib(wanted)).unwrap(), device);
        assert_eq!(devices.size(&device).unwrap(), Some(Bytes::mib(has)));
    }
    assert_eq!(world.read(&device, Bytes::mib(1), 4), b"kept");
    assert_ne!(devices.ensure_loop(&world.file(), SIZE).unwrap(), device);
}

fn what_is_wiped_is_gone(world: &dyn World) {
    let devices = world.devices();
    for how in [Wipe::Zero, Wipe::Discard, Wipe::QuickReset] {
        let device = world.device(SIZE);
        mark(world, &device, b"mark");
        devices.wipe(&device, MIDDLE, Wipe::None).unwrap();
        assert!(at_each(world, &device, INSIDE, b"mark"));
        for _ in 0..2 {
            devices.wipe(&device, MIDDLE, how).unwrap();
            assert!(at_each(world, &device, INSIDE, &[0; 4]), "{how:?}");
            assert!(at_each(world, &device, OUTSIDE, b"mark"), "{how:?}");
        }
        let past = Part { offset: Bytes::mib(7), length: Bytes::mib(2) };
        devices.wipe(&device, past, how).unwrap_err();
        devices.wipe(Path::new("/dev/tarn-no-such-device"), MIDDLE, how).unwrap_err();
    }
    let device = world.device(SIZE);
    mark(world, &device, b"mark");
    devices.wipe(&device, MIDDLE, Wipe::Shred).unwrap();
    for untouched in [b"mark", &[0; 4]] {
        assert!(!at_each(world, &device, INSIDE, untouched));
    }
    assert!(at_each(world, &device, OUTSIDE, b"mark"));
}

fn what_is_copied_is_equal(world: &dyn World) {
    let devices = world.devices();
    let (from, to) = (world.device(SIZE), world.device(SIZE));
    mark(world, &from, b"from");
    mark(world, &to, b"old.");
    world.write(&to, Bytes::mib(3), b"old."); // where the source has zeroes
    for _ in 0..2 {
        devices.copy(&from, &to, MIDDLE).unwrap();
        devices.flush(&to).unwrap();
        assert!(at_each(world, &to, INSIDE, b"from") && at_each(world, &to, OUTSIDE, b"old."));
        assert_eq!(world.read(&to, Bytes::mib(3), 4), [0; 4]);
    }
    assert!(at_each(world, &from, INSIDE, b"from") && at_each(world, &from, OUTSIDE, b"from"));
    let odd = Part { offset: Bytes(512), length: Bytes(1536) };
    devices.copy(&from, &to, odd).unwrap();
    let past = Part { offset: Bytes::mib(7), length: Bytes::mib(2) };
    devices.copy(&from, &to, past).unwrap_err();
    let missing = Path::new("/dev/tarn-no-such-device");
    devices.copy(missing, &to, MIDDLE).unwrap_err();
    devices.copy(&from, missing, MIDDLE).unwrap_err();
    devices.flush(missing).unwrap_err();
}

fn a_held_device_is_held_once(world: &dyn World) {
    let devices = world.devices();
    let path = world.listed();
    let device = devices.list().unwrap().into_iter().find(|it| it.path == path).unwrap();
    assert_eq!(Some(device.size), devices.size(&path).unwrap());
    let hold = devices.hold(&device).unwrap();
    drop(hold);
    let hold = devices.hold(&device).unwrap();
    drop(hold);
    let gone = BlockDevice { path: "/dev/tarn-no-such-device".into(), ..device };
    devices.hold(&gone).unwrap_err();
}

fn holds(world: &dyn World) {
    sizes_are_told(world);
    a_held_device_is_held_once(world);
    holders_are_counted(world);
    a_file_becomes_one_device(world);
    what_is_wiped_is_gone(world);
    what_is_copied_is_equal(world);
}

#[derive(Default)]
struct FakeWorld {
    devices: FakeDevices,
    count: std::cell::Cell<u32>,
}

impl FakeWorld {
    fn next(&self) -> u32 {
        self.count.replace(self.count.get() + 1)
    }
}

impl World for FakeWorld {
    fn devices(&self) -> &dyn Devices {
        &self.devices
    }

    fn device(&self, size: Bytes) -> PathBuf {
        let path = PathBuf::from(format!("/dev/fake/{}", self.next()));
        self.devices.add_device(&path, size);
        path
    }

    fn write(&self, device: &Path, at: Bytes, bytes: &[u8]) {
        self.devices.write(device, at, bytes);
    }

    fn read(&self, device: &Path, at: Bytes, length: usize) -> Vec<u8> {
        self.devices.read(device, at, length)
    }

    fn open(&self, device: &Path) {
        self.devices.set_open(device, 1);
    }

    fn close(&self, device: &Path) {
        self.devices.set_open(device, 0);
    }

    fn listed(&self) -> PathBuf {
        let device = example();
        self.devices.plug_in(device.clone());
        device.path
    }

    fn file(&self) -> PathBuf {
        PathBuf::from(format!("/var/lib/tarn/{}.img", self.next()))
    }
}

#[test]
fn the_fake_keeps_the_contract() {
    holds(&FakeWorld::default());
}
