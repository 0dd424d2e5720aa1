//! One life of a machine whose plug is going to be pulled.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use super::{
    DISK, WORKERS,
    board::Board,
    client::Clients,
    dice::{self, Dice},
    disks::Disks,
    driver::Death,
    ground::{self, Ground, Things},
    journal::Journal,
    model::Op,
    moments,
    worker::Worker,
};

/// Checks what earlier lives left, says so in `checked`, and then works until the plug is pulled, among disks
/// with a new wish; or, in the last life, takes everything away.
pub(crate) fn live(
    ground: Ground,
    folder: &Path,
    shared: &Path,
    among_disks: bool,
    last: bool,
) -> Result<(), String> {
    let mut dice = Dice::new(dice::seed());
    let mut disks = match among_disks {
        true => Some(disks_of(folder, shared, last)?),
        false => ground.prepare(DISK, folder).map(|()| None)?,
    };
    let mut driver = super::start(folder)?;
    let board = Arc::new(Board::new(WORKERS));
    board.ask_for_pause();
    let workers = (0..WORKERS).map(|number| {
        let (mut worker, again) = worker(ground, folder, shared, number, (&board, &mut dice))?;
        if among_disks {
            worker.model = worker.model.without_thick_copies();
        }
        Ok(thread::spawn(move || work((worker, again), number, last)))
    });
    let workers = workers.collect::<Result<Vec<_>, String>>()?;
    let models = board.pause()?;
    ground::check(ground, folder, &models)?;
    disks.iter().try_for_each(Disks::check_foreign)?;
    let baseline = shared.join("baseline");
    if !baseline.is_file() {
        write(&baseline, &Things::look(ground, folder)?.to_text())?;
    }
    let (mut volumes, mut snapshots) = (0, 0);
    for model in &models {
        volumes += model.volumes.len();
        snapshots += model.snapshots.len();
    }
    let with_a_new_wish = disks.as_mut().filter(|_| !last);
    if let Some(disks) = with_a_new_wish {
        // It reads at its start what is wished.
        driver.kill(Death::WithItsPrograms)?;
        announce(disks, shared, &mut dice)?;
        driver = super::launch(folder)?;
    }
    write(&shared.join("checked"), &format!("{volumes} volumes and {snapshots} snapshots"))?;
    if last {
        disks.iter().try_for_each(|it| {
            it.await_wish()?;
            it.check_foreign()?;
            it.check_that_the_others_were_refused()
        })?;
        board.end();
    }
    board.resume();
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked".to_owned())??;
    }
    let before = fs::read_to_string(&baseline).map_err(|err| err.to_string())?;
    Things::from_text(&before).await_again(ground, folder)?;
    driver.stop().map(drop)
}

/// The disks as the power cut has left them; in the last life, all are to be in the pool.
fn disks_of(folder: &Path, shared: &Path, last: bool) -> Result<Disks, String> {
    let mut disks = Disks::after_a_power_cut(folder, shared)?;
    println!("disks: {}", disks.what_was_cut()?);
    if last {
        disks.wish_that_leaves(None)?;
    }
    moments::announce_in(folder, &shared.join("moments"))?;
    Ok(disks)
}

/// Wishes something else, and says in `awaited` during which program the plug is to be pulled: one in which
/// it was not yet (`TARN_POWER_LACKS`), where one comes. From now on all
/// of them are noted.
fn announce(disks: &mut Disks, shared: &Path, dice: &mut Dice) -> Result<(), String> {
    disks.wish_anew(dice)?;
    disks.remember(shared)?;
    write(&shared.join("moments"), "")?;
    let comes = disks.what_comes()?;
    let lacks = std::env::var("TARN_POWER_LACKS").unwrap_or_default();
    let lacks = comes.iter().find(|it| lacks.split(' ').any(|lacks| lacks == **it));
    let one = usize::try_from(dice.below(comes.len().max(1) as u64)).unwrap_or_default();
    write(&shared.join("awaited"), lacks.or(comes.get(one)).unwrap_or(&""))
}

/// A worker that remembers what its earlier lives did. The step in which the power was cut is asked
/// for again, unless it was about a mount, of which none is left.
fn worker(
    ground: Ground,
    folder: &Path,
    shared: &Path,
    number: usize,
    (board, dice): (&Arc<Board>, &mut Dice),
) -> Result<(Worker, Option<Op>), String> {
    let path = shared.join(format!("journal-{number}"));
    let mut model = ground.model(format!("w{number}-{:x}", dice.next()));
    let cut = Journal::read(&path, &mut model)?;
    model.power_cut(cut.as_ref());
    let again = cut.filter(|op| {
        use Op::*;
        matches!(
            op,
            Create { .. } | Delete { .. } | Snapshot { .. } | DeleteSnapshot { .. } | Expand { .. }
        )
    });
    let worker = Worker {
        model,
        folder: PathBuf::from(folder),
        clients: Clients::new(folder),
        board: Arc::clone(board),
        dice: Dice::new(dice.next()),
        journal: Some(Journal::open(&path)?),
    };
    Ok((worker, again))
}

fn work(
    (mut worker, again): (Worker, Option<Op>),
    number: usize,
    last: bool,
) -> Result<(), String> {
    let live = || {
        if let Some(op) = again {
            println!("asking again for {op:?}");
            worker.step(op)?;
        }
        if let Some(journal) = &mut worker.journal {
            journal.boot()?;
        }
        worker.read_everything()?;
        worker.walk()?;
        if !last {
            return Ok(());
        }
        // Once more, after all disks have come to their places.
        worker.read_everything()?;
        worker.tear_down()
    };
    let result = live();
    result.inspect_err(|why| worker.board.fail(format!("worker {number}: {why}")))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|err| format!("{}: {err}", path.display()))
}
