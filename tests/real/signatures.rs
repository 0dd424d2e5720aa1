//! A file system is made only on a volume that was never used and holds nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use tonic::Code;

use crate::support::{
    Scene, Volume, Wish,
    content::put,
    machine::{run, wait_until},
    mib, refused,
};

/// Puts something on a device.
type Scribble = fn(&str);

/// What somebody else may have put on a device, and how.
const STRANGERS: [(&str, Scribble); 6] = [
    ("crypto_LUKS", |device| {
        fs::write("/run/key", "a key").unwrap();
        let quick = ["--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        let on = ["luksFormat", device, "/run/key"];
        run("cryptsetup", &[quick.as_slice(), &on].concat());
    }),
    ("LVM2_member", |device| {
        run("pvcreate", &["-qq", "-y", "--config", "devices { scan_lvs = 1 }", device]);
    }),
    ("linux_raid_member", |device| overwrite(device, 4096, &md_superblock())),
    ("swap", |device| drop(run("mkswap", &[device]))),
    ("PTTYPE", |device| overwrite(device, 0, &partition_table())),
    ("btrfs", |device| drop(run("mkfs.btrfs", &["-q", device]))),
];

/// A version 1.2 superblock of Linux' software RAID (md(4)), with the sum of its 256 bytes and
/// without devices.
fn md_superblock() -> Vec<u8> {
    let mut block = vec![0_u8; 256];
    block[..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
    block[4..8].copy_from_slice(&1_u32.to_le_bytes());
    block[16..32].copy_from_slice(b"an array's uuid!");
    block[144..152].copy_from_slice(&8_u64.to_le_bytes());
    let words =
        block.chunks_exact(4).map(|it| u64::from(u32::from_le_bytes(it.try_into().unwrap())));
    let sum: u64 = words.sum();
    let folded = ((sum & 0xffff_ffff) + (sum >> 32)) & 0xffff_ffff;
    block[216..220].copy_from_slice(&u32::try_from(folded).unwrap().to_le_bytes());
    block
}

/// An MBR with one Linux partition.
fn partition_table() -> Vec<u8> {
    let mut sector = vec![0_u8; 512];
    sector[440..444].copy_from_slice(b"disk");
    sector[450] = 0x83;
    sector[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    sector[458..462].copy_from_slice(&4096_u32.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn overwrite(device: &str, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = OpenOptions::new().write(true).open(device).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
}

fn content(device: &Path) -> Vec<u8> {
    fs::read(device).unwrap()
}

/// Staging is refused, also as another kind of file system, and changes no byte.
#[track_caller]
fn assert_left_alone(scene: &Scene, volume: &Volume, what: &str) {
    let device = scene.device(&volume.id);
    let before = content(&device);
    for _ in 0..2 {
        let said = refused(scene.stage(volume), Code::FailedPrecondition);
        assert!(said.contains(&volume.id), "{what}: {said}");
    }
    assert!(content(&device) == before, "{what}: staging wrote to it");
    assert!(!scene.leaked().iter().any(|it| it.contains("mount ")), "{what}");
}

#[test]
#[ignore = "guest: real signatures on real devices"]
fn what_others_wrote_is_never_formatted() {
    let scene = Scene::new(&[1000], "wipe: None");
    for (what, write) in STRANGERS {
        let volume = scene.make(&Wish::new(what, "ext4", mib(112)));
        let device = scene.device(&volume.id);
        write(device.to_str().unwrap());
        let seen = run("blkid", &["-p", "-o", "export", device.to_str().unwrap()]);
        assert!(seen.contains(what), "{what}: {seen}");
        assert_left_alone(&scene, &volume, what);
    }
}

#[test]
#[ignore = "guest: a real file system that is lost"]
fn a_lost_file_system_is_not_made_anew() {
    let scene = Scene::new(&[200], "wipe: None");
    let (volume, target) = scene.make_used(&Wish::new("used", "ext4", mib(32)));
    put(&target, 0, 1);
    scene.put_down(&volume);
    wait_until("the volume counts as used", || {
        !run("lvs", &["--noheadings", "-o", "lv_tags", &scene.ground.vg]).contains("tarn.fresh")
    });
    // First the superblock and the group descriptors go, then all of it.
    for length in [8 << 10, mib(32)] {
        let device = scene.device(&volume.id);
        let mut file = OpenOptions::new().write(true).open(&device).unwrap();
        file.write_all(&vec![0; usize::try_from(length).unwrap()]).unwrap();
        file.sync_all().unwrap();
        drop::<File>(file);
        assert_left_alone(&scene, &volume, "a file system without its beginning");
    }
}
