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
    driver::Driver,
    ground::{self, Things},
    journal::Journal,
    model::{Model, Op},
    worker::Worker,
};

/// Checks what earlier lives left, says so in `checked`, and then works until the plug is pulled;
/// or, in the last life, takes everything away.
pub(crate) fn live(folder: &Path, shared: &Path, last: bool) -> Result<(), String> {
    ground::prepare(DISK, folder)?;
    let driver = Driver::start(folder)?;
    let board = Arc::new(Board::new(WORKERS));
    board.ask_for_pause();
    let mut dice = Dice::new(dice::seed());
    let workers = (0..WORKERS).map(|number| {
        let worker = worker(folder, shared, number, &board, &mut dice)?;
        Ok(thread::spawn(move || work(worker, number, last)))
    });
    let workers = workers.collect::<Result<Vec<_>, String>>()?;
    let models = board.pause()?;
    ground::check(folder, &models)?;
    let baseline = shared.join("baseline");
    if !baseline.is_file() {
        write(&baseline, &Things::look(folder)?.to_text())?;
    }
    let (mut volumes, mut snapshots) = (0, 0);
    for model in &models {
        volumes += model.volumes.len();
        snapshots += model.snapshots.len();
    }
    write(&shared.join("checked"), &format!("{volumes} volumes and {snapshots} snapshots"))?;
    if last {
        board.end();
    }
    board.resume();
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked".to_owned())??;
    }
    let before = fs::read_to_string(&baseline).map_err(|err| err.to_string())?;
    Things::from_text(&before).await_again(folder)?;
    driver.stop().map(drop)
}

/// A worker that remembers what its earlier lives did. The step in which the power was cut is asked
/// for again, unless it was about a mount, of which none is left.
fn worker(
    folder: &Path,
    shared: &Path,
    number: usize,
    board: &Arc<Board>,
    dice: &mut Dice,
) -> Result<(Worker, Option<Op>), String> {
    let path = shared.join(format!("journal-{number}"));
    let mut model = Model::new(format!("w{number}-{:x}", dice.next()));
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
        if last { worker.tear_down() } else { Ok(()) }
    };
    let result = live();
    result.inspect_err(|why| worker.board.fail(format!("worker {number}: {why}")))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|err| format!("{}: {err}", path.display()))
}
