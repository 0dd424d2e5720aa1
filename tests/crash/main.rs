//! The driver killed at random moments of a mixed load, and the plug of its machine pulled: what
//! was acknowledged is there, what was not comes to its end when asked for again, and nothing is
//! left over.
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
#[path = "../support/driver.rs"]
mod driver;
mod ground;
mod journal;
mod model;
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
use driver::{Death, Driver};
use ground::Things;
use model::Model;
use worker::Worker;

const WORKERS: usize = 4;
const DISK: &str = "/dev/ubda";
/// How long after a call was sent the driver is killed, at most.
const DELAY_MS: u64 = 400;

#[test]
#[ignore = "guest: kills the driver on real LVM"]
fn killed_while_its_programs_run_on() {
    killed_anywhere(Death::Alone);
}

#[test]
#[ignore = "guest: kills the driver and LVM on real LVM"]
fn killed_together_with_its_programs() {
    killed_anywhere(Death::WithItsPrograms);
}

#[test]
#[ignore = "power: tests/guest/powercut runs it, and pulls the plug"]
fn until_the_power_is_cut() {
    let folder = Path::new("/run/tarn-crash");
    let shared = std::env::var_os("GUEST_DIR").unwrap();
    let last = std::env::var_os("TARN_POWER_LAST").is_some();
    if let Err(why) = power::live(folder, Path::new(&shared), last) {
        panic!("{why}{}{}", driver::last_words(folder), ground::scene());
    }
}

fn killed_anywhere(death: Death) {
    let seed = dice::seed();
    let kills =
        std::env::var("TARN_CRASH_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(100);
    println!("{kills} kills, {death:?}; TARN_CRASH_SEED={seed}");
    let folder = Path::new("/run/tarn-crash");
    let board = Arc::new(Board::new(WORKERS));
    let result = load_and_kill(folder, seed, kills, death, &board);
    println!("{}", board.summary());
    if let Err(why) = result {
        panic!("seed {seed}: {why}{}{}", driver::last_words(folder), ground::scene());
    }
}

fn load_and_kill(
    folder: &Path,
    seed: u64,
    kills: u64,
    death: Death,
    board: &Arc<Board>,
) -> Result<(), String> {
    ground::prepare(DISK, folder)?;
    let mut driver = Driver::start(folder)?;
    let before = Things::look(folder)?;
    let mut dice = Dice::new(seed);
    let workers = (0..WORKERS).map(|number| {
        let mut worker = Worker {
            model: Model::new(format!("w{number}")),
            folder: folder.to_owned(),
            clients: Clients::new(folder),
            board: Arc::clone(board),
            dice: Dice::new(dice.next()),
            journal: None,
        };
        thread::spawn(move || {
            let result = worker.walk().and_then(|()| worker.tear_down());
            result.inspect_err(|why| worker.board.fail(format!("worker {number}: {why}")))
        })
    });
    let workers: Vec<_> = workers.collect();
    let killed = kill_often(folder, &mut driver, kills, death, board, &mut dice);
    board.end();
    for worker in workers {
        let ended = worker.join().map_err(|_| "a worker panicked".to_owned());
        // The first that failed has said so on the board.
        killed.clone().and(ended?)?;
    }
    killed?;
    before.await_again(folder)?;
    let status = driver.stop()?;
    if !status.success() {
        return Err(format!("the driver answered SIGTERM with {status}"));
    }
    ground::clear(DISK, folder)
}

fn kill_often(
    folder: &Path,
    driver: &mut Driver,
    kills: u64,
    death: Death,
    board: &Board,
    dice: &mut Dice,
) -> Result<(), String> {
    let began = Instant::now();
    for kill in 1..=kills {
        board.await_call()?;
        thread::sleep(Duration::from_millis(dice.below(DELAY_MS)));
        driver.kill(death)?;
        *driver = Driver::start(folder).map_err(|why| format!("after kill {kill}: {why}"))?;
        let models = board.pause()?;
        ground::check(folder, &models).map_err(|why| format!("after kill {kill}: {why}"))?;
        board.resume();
        if kill % 10 == 0 {
            println!("{kill} kills, {:?}: {}", began.elapsed(), board.summary());
        }
    }
    Ok(())
}
