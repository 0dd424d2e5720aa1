//! A pool of whole disks that join, grow and leave, among disks of others.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hasher},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    dice::Dice,
    ground::{GROUP, run},
};

/// The disks that may be told to leave: they have serial numbers (`tests/guest/boot`).
const OWN: [char; 2] = ['a', 'b'];
/// So much at either end of a disk is zeroed, for it to be empty.
const EDGE: usize = 8 << 20;
/// So much of a disk is read at a time.
const PIECE: usize = 4 << 20;
/// How much the disk that grows has at first, and how much more each time.
const FIRST: u64 = 256 << 20;
const MORE: u64 = 64 << 20;
/// How much less than its disk a physical volume has that has grown with it.
const OVERHEAD: u64 = 16 << 20;
/// How long the group may take to be as it is wished.
const PATIENCE: Duration = Duration::from_secs(240);

/// Makes a disk somebody else's, with the real tools.
type Make = fn(&str) -> Result<(), String>;

/// What is on the disks of others.
const FOREIGN: [(char, Make); 4] =
    [('c', file_system), ('d', group), ('e', encrypted), ('f', partitions)];

/// A physical volume.
#[derive(Debug)]
struct Physical {
    group: String,
    /// Whether it takes new volumes, and is not marked as one that leaves.
    is_open: bool,
    /// Bytes that volumes have.
    used: u64,
    /// Bytes of the disk that it does not have.
    beyond: u64,
}

/// The disks of the machine, and which of them the pool is to have.
pub(crate) struct Disks {
    folder: PathBuf,
    /// The one that is to leave.
    leaving: Option<char>,
    /// The one that grows.
    growing: String,
    /// A file that stands in for it.
    file: Option<PathBuf>,
    /// What stood on others' disks, and how many sectors were ever written to them.
    foreign: BTreeMap<String, (u64, u64)>,
}

impl Disks {
    /// Two disks of the pool, of which one is to stay out of it at first, one more that can grow, and four of
    /// others.
    pub(crate) fn prepare(folder: &Path) -> Result<Self, String> {
        let file = folder.join("grows.img");
        OWN.into_iter().chain(FOREIGN.map(|(letter, _)| letter)).try_for_each(empty)?;
        fs::create_dir_all(folder)
            .and_then(|()| File::create(&file)?.set_len(FIRST))
            .map_err(|err| format!("{}: {err}", file.display()))?;
        let growing = run("losetup", &["--find", "--show", &file.display().to_string()])?;
        let mut foreign = BTreeMap::new();
        for (letter, make) in FOREIGN {
            let disk = path(letter);
            make(&disk)?;
            run("sync", &[&disk])?;
            foreign.insert(disk.clone(), (sum(&disk)?, written(&disk)?));
        }
        // So that the first wish has a disk join.
        let leaving = Some(OWN[1]);
        let disks = Self { folder: folder.to_owned(), leaving, growing, file: Some(file), foreign };
        disks.wish()?;
        Ok(disks)
    }

    /// The same disks after a power cut, but for a file's: `shared` remembers what was wished, and what
    /// stood on the others' disk.
    pub(crate) fn after_a_power_cut(folder: &Path, shared: &Path) -> Result<Self, String> {
        let (remembered, other) = (shared.join("foreign"), path('d'));
        let sum = match fs::read_to_string(&remembered) {
            Ok(text) => text.parse().map_err(|_| format!("{text}: no sum"))?,
            Err(_) => {
                group(&other)?;
                // As it is in later lives.
                run("vgchange", &["-qq", "-an", "theirs"])?;
                run("sync", &[&other])?;
                let sum = sum(&other)?;
                fs::write(&remembered, sum.to_string()).map_err(|err| err.to_string())?;
                sum
            }
        };
        // In the first life one stays out, so that the first wish has a disk join.
        let leaving = fs::read_to_string(shared.join("leaving"));
        let leaving = leaving.map_or(Some(OWN[1]), |it| it.chars().next());
        let disks = Self {
            folder: folder.to_owned(),
            leaving,
            growing: path('c'),
            file: None,
            foreign: [(other.clone(), (sum, written(&other)?))].into(),
        };
        fs::create_dir_all(folder).map_err(|err| err.to_string())?;
        disks.check_foreign()?;
        disks.wish()?;
        Ok(disks)
    }

    /// Writes down what is wished, so that it is known after a power cut.
    pub(crate) fn remember(&self, shared: &Path) -> Result<(), String> {
        let leaving = self.leaving.map(String::from).unwrap_or_default();
        fs::write(shared.join("leaving"), leaving).map_err(|err| err.to_string())
    }

    /// Writes the pools file, which the driver reads at its start.
    fn wish(&self) -> Result<(), String> {
        let retire = self.leaving.map(|it| format!("scratch-{it}")).unwrap_or_default();
        let text = format!(
            "pools:\n- name: crash\n  devices: {{paths: [\"/dev/ubd*\", \"/dev/loop*\"], types: [Disk, \
             Loop], retire: [{retire}]}}\n  provisioning: ThickAndThin\n  thinPool: {{ size: 512Mi, \
             overprovision: 800 }}\n  wipe: Zero\n"
        );
        fs::write(self.folder.join("pools.yaml"), text).map_err(|err| format!("no pools: {err}"))
    }

    /// While no driver runs: wishes something else, mostly when what is wished has come true.
    pub(crate) fn wish_anew(&mut self, dice: &mut Dice) -> Result<(), String> {
        let is_so = self.misplaced()?.is_none();
        if !is_so && !dice.one_in(6) {
            return Ok(());
        }
        let physical = self.physical()?;
        let used = |it: &char| physical.get(&path(*it)).map_or(0, |it| it.used);
        let fuller = OWN.into_iter().max_by_key(used);
        self.wish_that_leaves(match self.leaving {
            // Mostly one that has to be emptied.
            None if dice.one_in(4) => OWN.into_iter().find(|it| Some(*it) != fuller),
            None => fuller,
            Some(_) if dice.one_in(2) => None,
            Some(leaving) => OWN.into_iter().find(|it| *it != leaving),
        })
    }

    /// While no driver runs: the pool is to have all disks but this one.
    pub(crate) fn wish_that_leaves(&mut self, leaving: Option<char>) -> Result<(), String> {
        if let Some(before) = self.leaving.filter(|it| Some(*it) != leaving)
            && !self.physical()?.contains_key(&path(before))
        {
            // What was taken out comes back as a new disk.
            empty(before)?;
        }
        println!("to leave: {leaving:?}");
        self.leaving = leaving;
        self.wish()
    }

    /// Makes the disk larger that can grow, as long as the machine has the room.
    pub(crate) fn grow(&self) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let file = OpenOptions::new().write(true).open(file).map_err(|err| err.to_string())?;
        let size = file.metadata().map_err(|err| err.to_string())?.len();
        if size >= 2 * FIRST {
            return Ok(());
        }
        file.set_len(size + MORE).map_err(|err| err.to_string())?;
        run("losetup", &["-c", &self.growing]).map(drop)
    }

    /// Physical volumes by their paths.
    fn physical(&self) -> Result<BTreeMap<String, Physical>, String> {
        let fields = "pv_name,vg_name,pv_attr,pv_tags,pv_used,pv_size,dev_size";
        let args = ["--noheadings", "--separator", ";", "--units", "b", "--nosuffix", "-o", fields];
        let mut physical = BTreeMap::new();
        for line in run("pvs", &args)?.lines() {
            let words: Vec<&str> = line.trim().split(';').collect();
            let [name, group, attributes, tags, used, size, device] = words[..] else {
                return Err(format!("pvs says {line}"));
            };
            let number = |it: &str| it.parse::<u64>().map_err(|_| format!("pvs says {line}"));
            let it = Physical {
                group: group.to_owned(),
                is_open: attributes.starts_with('a') && tags.is_empty(),
                used: number(used)?,
                beyond: number(device)?.saturating_sub(number(size)?),
            };
            physical.insert(name.to_owned(), it);
        }
        Ok(physical)
    }

    /// With which programs the driver is going to do something about the disks.
    pub(crate) fn what_comes(&self) -> Result<Vec<&'static str>, String> {
        let physical = self.physical()?;
        let member = |it: char| physical.get(&path(it)).filter(|it| it.group == GROUP);
        let joins = OWN.into_iter().any(|it| self.leaving != Some(it) && member(it).is_none());
        let mut programs = Vec::new();
        if joins {
            programs.extend(["pvcreate", "vgextend"]);
        }
        if let Some(leaves) = self.leaving.and_then(member) {
            programs.extend((leaves.used > 0).then_some("pvmove"));
            programs.extend(["vgreduce", "pvremove"]);
        }
        Ok(programs)
    }

    /// Which of the disks that may leave is not where it is wished.
    fn misplaced(&self) -> Result<Option<String>, String> {
        let physical = self.physical()?;
        for letter in OWN {
            let disk = path(letter);
            let found = physical.get(&disk);
            let is_right = match self.leaving == Some(letter) {
                true => found.is_none(),
                false => found.is_some_and(|it| it.group == GROUP && it.is_open),
            };
            if !is_right {
                return Ok(Some(format!("{disk} is {found:?}")));
            }
        }
        Ok(None)
    }

    /// What is not yet as it is wished.
    fn what_lacks(&self) -> Result<Option<String>, String> {
        if let Some(misplaced) = self.misplaced()? {
            return Ok(Some(misplaced));
        }
        let physical = self.physical()?;
        let grown = physical.get(&self.growing);
        if !grown.is_some_and(|it| it.group == GROUP && it.is_open && it.beyond < OVERHEAD) {
            return Ok(Some(format!("{} is {grown:?}", self.growing)));
        }
        let volumes = run("lvs", &["-a", "--noheadings", "-o", "lv_name", GROUP])?;
        Ok(volumes.contains("pvmove").then(|| "a move is not over".to_owned()))
    }

    /// What a power cut has left half-done, in words.
    pub(crate) fn what_was_cut(&self) -> Result<String, String> {
        let single = self.physical()?.into_iter().filter(|(_, it)| it.group.is_empty());
        let mut found: Vec<String> =
            single.map(|(disk, _)| format!("{disk} in no group")).collect();
        if run("lvs", &["-a", "--noheadings", "-o", "lv_name"])?.contains("pvmove") {
            found.push("a move half-way".to_owned());
        }
        let leaving = self.leaving.map_or_else(|| "none".to_owned(), path);
        Ok(format!("to leave is {leaving}, left are {found:?}"))
    }

    /// Waits until the group is as it is wished.
    pub(crate) fn await_wish(&self) -> Result<(), String> {
        let began = Instant::now();
        while let Some(lacks) = self.what_lacks()? {
            if began.elapsed() > PATIENCE {
                return Err(format!("after {PATIENCE:?} {lacks}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
        println!("all is as wished after {:?}", began.elapsed());
        Ok(())
    }

    /// Nobody has written to the disks of others.
    pub(crate) fn check_foreign(&self) -> Result<(), String> {
        for (disk, before) in &self.foreign {
            let now = (sum(disk)?, written(disk)?);
            if now != *before {
                return Err(format!("somebody wrote to {disk}: it was {before:?}, and is {now:?}"));
            }
        }
        Ok(())
    }

    /// The driver has said of each disk of others why it does not take it, and has done nothing with it.
    pub(crate) fn check_that_the_others_were_refused(&self) -> Result<(), String> {
        let log = fs::read_to_string(self.folder.join("driver.log"));
        let log = log.map_err(|err| format!("no log: {err}"))?;
        for disk in self.foreign.keys() {
            let mut about = log.lines().filter(|line| line.contains(&**disk));
            if let Some(step) = about.clone().find(|line| line.contains("step=")) {
                return Err(format!("something was done with the disk of others: {step}"));
            }
            let refused = format!("disk={disk} state=\"Refused\" why=\"");
            if !about.any(|line| line.contains(&refused)) {
                return Err(format!("it is not said why {disk} is not taken"));
            }
        }
        Ok(())
    }

    /// Takes everything away again.
    pub(crate) fn clear(self) -> Result<(), String> {
        run("vgremove", &["--yes", "--force", "--quiet", GROUP])?;
        run("vgremove", &["--yes", "--force", "--quiet", "theirs"])?;
        let foreign = self.foreign.keys().filter_map(|it| it.chars().last());
        OWN.into_iter().chain(foreign).try_for_each(empty)?;
        if self.file.is_some() {
            run("losetup", &["-d", &self.growing])?;
        }
        fs::remove_dir_all(&self.folder).map_err(|err| err.to_string())
    }
}

/// What a person would look at first when the disks are not as they should be.
pub(crate) fn scene() -> String {
    let fields = "lv_name,lv_attr,lv_size,seg_pe_ranges,lv_tags";
    let parts = [
        run("pvs", &["-a", "-o", "pv_name,vg_name,pv_attr,pv_size,pv_used,pv_uuid"]),
        run("lvs", &["-a", "-o", fields, GROUP]),
    ];
    parts.map(|it| it.unwrap_or_else(|err| err)).join("\n\n")
}

fn path(letter: char) -> String {
    format!("/dev/ubd{letter}")
}

fn file_system(disk: &str) -> Result<(), String> {
    run("mkfs.ext4", &["-qF", "-L", "theirs", disk]).map(drop)
}

fn group(disk: &str) -> Result<(), String> {
    run("pvcreate", &["-qq", "-y", disk])?;
    run("vgcreate", &["-qq", "-y", "theirs", disk])?;
    run("lvcreate", &["-qqy", "-Wn", "-Zn", "-L", "64m", "-n", "data", "theirs"]).map(drop)
}

fn encrypted(disk: &str) -> Result<(), String> {
    let quick = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let args = [&["luksFormat", "-q", "--key-file", "/etc/hostname"], &quick[..], &[disk]].concat();
    run("cryptsetup", &args).map(drop)
}

fn partitions(disk: &str) -> Result<(), String> {
    run("sgdisk", &["-n", "1:0:+64M", disk])?;
    run("blockdev", &["--rereadpt", disk]).map(drop)
}

/// Zeroes both ends of a disk, as of a new one, and has the kernel forget its partitions.
fn empty(letter: char) -> Result<(), String> {
    let disk = path(letter);
    let zero = || {
        let mut file = OpenOptions::new().write(true).open(&disk)?;
        let end = file.seek(SeekFrom::End(0))?;
        for at in [0, end - EDGE as u64] {
            file.write_all_at(&vec![0; EDGE], at)?;
        }
        file.sync_all()
    };
    zero().map_err(|err| format!("{disk}: {err}"))?;
    run("blockdev", &["--rereadpt", &disk]).map(drop)
}

/// A sum of all bytes of a disk, from the disk itself.
fn sum(disk: &str) -> Result<u64, String> {
    // Without what the kernel remembers of it.
    run("blockdev", &["--flushbufs", disk])?;
    let mut hasher = DefaultHasher::new();
    let mut read = || {
        let (mut file, mut bytes) = (File::open(disk)?, vec![0; PIECE]);
        loop {
            match file.read(&mut bytes)? {
                0 => return Ok(()),
                length => hasher.write(&bytes[..length]),
            }
        }
    };
    read().map_err(|err: std::io::Error| format!("{disk}: {err}"))?;
    Ok(hasher.finish())
}

/// How many sectors were written to a disk, or discarded, since the machine began (Documentation/block/stat.rst,
/// Linux).
fn written(disk: &str) -> Result<u64, String> {
    let name = disk.trim_start_matches("/dev/");
    let stat = fs::read_to_string(format!("/sys/class/block/{name}/stat"));
    let stat = stat.map_err(|err| format!("{disk}: {err}"))?;
    let numbers: Vec<u64> = stat.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    match numbers[..] {
        [_, _, _, _, _, _, written, _, _, _, _, _, _, discarded, ..] => Ok(written + discarded),
        _ => Err(format!("{disk}: {stat}")),
    }
}
