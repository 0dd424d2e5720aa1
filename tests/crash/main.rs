//! The driver killed at random moments of a mixed load, and the plug of its machine pulled: what
//! was acknowledged is there, what was not comes to its end when asked for again, and nothing is
//! left over.
//!
//! The same with disks that join its pool, grow and leave it, among disks of others; and with pools whose volumes are
//! directories, on a disk or in memory.
//!
//! `TARN_CRASH_KILLS` says how often the driver is killed in each test, `TARN_CRASH_SEED` repeats
//! the choices of an earlier run (though not its timing).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    dead_code,
    reason = "a test"
)]

mod board;
#[path = "../support/client.rs"]
mod client;
mod dice;
mod disks;
#[path = "../support/driver.rs"]
mod driver;
mod ground;
mod journal;
mod model;
mod moments;
mod power;
mod worker;

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use board::Board;
use client::Clients;
use dice::Dice;
use disks::Disks;
use driver::{Death, Driver};
use ground::{Ground, Things};
use model::Model;
use moments::Moments;
use worker::Worker;

const WORKERS: usize = 4;
const DISK: &str = "/dev/ubda";
/// How long after a call was sent the driver is killed, at most.
const DELAY_MS: u64 = 400;
/// How long none of the programs begins, among disks, until the driver is killed all the same: in its life, and
/// at its start.
const LIFE: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(5);
/// How many kills more there may be, until something was written and each moment was hit that is needed.
const MORE: u64 = 30;

#[test]
#[ignore = "guest: kills the driver on real LVM"]
fn killed_while_its_programs_run_on() {
    killed_often(Ground::Group, "alone", |_| Death::Alone);
}

#[test]
#[ignore = "guest: kills the driver and LVM on real LVM"]
fn killed_together_with_its_programs() {
    killed_often(Ground::Group, "with its programs", |_| Death::WithItsPrograms);
}

#[test]
#[ignore = "guest: kills the driver in a directory with project quotas"]
fn killed_in_a_directory() {
    killed_often(Ground::Directory("ext4"), "in a directory", any_death);
}

#[test]
#[ignore = "guest: kills the driver in a directory with project quotas"]
fn killed_in_a_directory_in_a_file() {
    killed_often(Ground::File("xfs"), "in a directory in a file", any_death);
}

#[test]
#[ignore = "guest: kills the driver with volumes in memory"]
fn killed_with_volumes_in_memory() {
    killed_often(Ground::Memory, "with volumes in memory", any_death);
}

#[test]
#[ignore = "guest: kills the driver on whole devices"]
fn killed_with_whole_devices() {
    killed_often(Ground::Whole, "with whole devices", any_death);
}

#[test]
#[ignore = "guest: kills the driver on whole disks"]
fn killed_while_disks_join_grow_and_leave() {
    let kills = kills(200);
    tried(kills, "among disks", |folder, board, dice| {
        let mut disks = Disks::prepare(folder)?;
        let mut driver = start(folder)?;
        let before = Things::look(Ground::Group, folder)?;
        let model = |prefix| Model::new(prefix).without_thick_copies();
        while_they_work(folder, board, dice, model, |dice| {
            let ended = kill_among_disks(folder, &mut driver, &mut disks, kills, board, dice);
            ended.map_err(|why| format!("{why}\n{}", disks::scene()))
        })?;
        before.await_again(Ground::Group, folder)?;
        stop(driver)?;
        disks.clear()
    });
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut() {
    cut_off(Ground::Group, false);
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut_in_a_directory() {
    cut_off(Ground::Directory("xfs"), false);
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut_in_a_file() {
    cut_off(Ground::File("ext4"), false);
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut_with_volumes_in_memory() {
    cut_off(Ground::Memory, false);
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut_with_whole_devices() {
    cut_off(Ground::Whole, false);
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut_while_disks_join_grow_and_leave() {
    cut_off(Ground::Group, true);
}

fn cut_off(ground: Ground, among_disks: bool) {
    let folder = Path::new("/run/tarn-crash");
    let shared = std::env::var_os("GUEST_DIR").unwrap();
    let last = std::env::var_os("TARN_POWER_LAST").is_some();
    if let Err(why) = power::live(ground, folder, Path::new(&shared), among_disks, last) {
        panic!("{why}{}{}", driver::last_words(folder), ground::scene());
    }
}

fn killed_often(ground: Ground, how: &str, death: fn(&mut Dice) -> Death) {
    let kills = kills(100);
    tried(kills, how, |folder, board, dice| {
        ground.prepare(DISK, folder)?;
        let mut driver = start(folder)?;
        let before = Things::look(ground, folder)?;
        while_they_work(
            folder,
            board,
            dice,
            |prefix| ground.model(prefix),
            |dice| kill_often(ground, folder, &mut driver, kills, death, board, dice),
        )?;
        before.await_again(ground, folder)?;
        stop(driver)?;
        ground.clear(DISK, folder)
    });
}

/// How often the driver is killed.
fn kills(usually: u64) -> u64 {
    std::env::var("TARN_CRASH_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(usually)
}

fn tried(
    kills: u64,
    how: &str,
    test: impl FnOnce(&Path, &Arc<Board>, &mut Dice) -> Result<(), String>,
) {
    let seed = dice::seed();
    println!("{kills} kills, {how}; TARN_CRASH_SEED={seed}");
    let folder = Path::new("/run/tarn-crash");
    let board = Arc::new(Board::new(WORKERS));
    let result = test(folder, &board, &mut Dice::new(seed));
    println!("{}", board.summary());
    if let Err(why) = result {
        panic!("seed {seed}: {why}{}{}", driver::last_words(folder), ground::scene());
    }
}

fn stop(driver: Driver) -> Result<(), String> {
    let status = driver.stop()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the driver answered SIGTERM with {status}"))
    }
}

/// Has workers make and use volumes meanwhile, and take everything away afterwards.
fn while_they_work(
    folder: &Path,
    board: &Arc<Board>,
    dice: &mut Dice,
    model: impl Fn(String) -> Model,
    what: impl FnOnce(&mut Dice) -> Result<(), String>,
) -> Result<(), String> {
    let workers = (0..WORKERS).map(|number| {
        let mut worker = Worker {
            model: model(format!("w{number}")),
            folder: folder.to_owned(),
            clients: Clients::new(folder),
            board: Arc::clone(board),
            dice: Dice::new(dice.next()),
            journal: None,
        };
        thread::spawn(move || {
            let result = worker
                .walk()
                .and_then(|()| worker.read_everything())
                .and_then(|()| worker.tear_down());
            result.inspect_err(|why| worker.board.fail(format!("worker {number}: {why}")))
        })
    });
    let workers: Vec<_> = workers.collect();
    let done = what(dice);
    board.end();
    for worker in workers {
        let ended = worker.join().map_err(|_| "a worker panicked".to_owned());
        // The first that failed has said so on the board.
        done.clone().and(ended?)?;
    }
    done
}

fn kill_often(
    ground: Ground,
    folder: &Path,
    driver: &mut Driver,
    kills: u64,
    death: fn(&mut Dice) -> Death,
    board: &Board,
    dice: &mut Dice,
) -> Result<(), String> {
    let (began, mut kill, mut counted) = (Instant::now(), 0, 0);
    while counted < kills {
        kill += 1;
        // Before the first write there is nothing to lose.
        counted += u64::from(board.has_written());
        if kill > kills + MORE {
            return Err(format!("nothing was written to a volume within {MORE} kills"));
        }
        board.await_call()?;
        thread::sleep(Duration::from_millis(dice.below(DELAY_MS)));
        driver.kill(death(dice))?;
        *driver = start(folder).map_err(|why| format!("after kill {kill}: {why}"))?;
        let models = board.pause()?;
        ground::check(ground, folder, &models)
            .map_err(|why| format!("after kill {kill}: {why}"))?;
        board.resume();
        if kill % 10 == 0 {
            println!("{kill} kills, {:?}: {}", began.elapsed(), board.summary());
        }
    }
    Ok(())
}

/// Kills the driver in its life and, often, once more at its next start, for which what is wished of the
/// disks may have changed; in the end all of them are in the pool.
fn kill_among_disks(
    folder: &Path,
    driver: &mut Driver,
    disks: &mut Disks,
    kills: u64,
    board: &Board,
    dice: &mut Dice,
) -> Result<(), String> {
    let (began, mut moments, mut kill) = (Instant::now(), Moments::hear(folder)?, 0);
    let is_enough = |moments: &Moments| moments.lacks().is_empty() && board.has_written();
    while kill < kills || (!is_enough(&moments) && kill < kills + MORE) {
        if dice.one_in(3) {
            disks.grow()?;
        }
        kill_at(LIFE, driver, disks, &mut moments, dice)?;
        kill += 1;
        disks.wish_anew(dice)?;
        *driver = launch(folder)?;
        if dice.one_in(2) {
            kill_at(START, driver, disks, &mut moments, dice)?;
            kill += 1;
            *driver = launch(folder)?;
        }
        driver.await_ready().map_err(|why| format!("after kill {kill}: {why}"))?;
        let models = board.pause()?;
        let checked =
            ground::check(Ground::Group, folder, &models).and_then(|()| disks.check_foreign());
        checked.map_err(|why| format!("after kill {kill}: {why}"))?;
        board.resume();
        println!("{kill} kills, {:?}: {}; {}", began.elapsed(), moments.summary(), board.summary());
    }
    if !is_enough(&moments) {
        let (lacks, steps) = (moments.lacks(), board.summary());
        return Err(format!("never during {lacks:?}: {}; {steps}", moments.summary()));
    }
    // Nobody works, so that it takes as long as it takes.
    let models = board.pause()?;
    driver.kill(any_death(dice))?;
    disks.wish_that_leaves(None)?;
    *driver = start(folder)?;
    disks.await_wish()?;
    ground::check(Ground::Group, folder, &models)
        .and_then(|()| disks.check_foreign())
        .and_then(|()| disks.check_that_the_others_were_refused())?;
    board.resume();
    Ok(())
}

/// Kills the driver while it does something about the disks, as far as it does.
fn kill_at(
    most: Duration,
    driver: &mut Driver,
    disks: &Disks,
    moments: &mut Moments,
    dice: &mut Dice,
) -> Result<(), String> {
    moments.wait(&disks.what_comes()?, most, dice);
    moments.note();
    driver.kill(any_death(dice))
}

/// Starts the driver, which need not serve yet.
fn launch(folder: &Path) -> Result<Driver, String> {
    let _starting = ground::while_starting();
    Driver::launch(folder)
}

/// Starts the driver, and waits until it serves.
fn start(folder: &Path) -> Result<Driver, String> {
    let mut driver = launch(folder)?;
    driver.await_ready()?;
    Ok(driver)
}

fn any_death(dice: &mut Dice) -> Death {
    if dice.one_in(2) { Death::Alone } else { Death::WithItsPrograms }
}
