//! What a worker writes down where no power cut of the guest reaches it.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::model::{Model, Op, Outcome};

/// A file with one line before and one after each step, each on the disk before anything else
/// happens.
pub(crate) struct Journal {
    file: File,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Begin(Op),
    End(Op, Outcome),
    /// The power was cut, and everything before has been dealt with.
    Boot,
}

impl Journal {
    /// Reads what earlier lives wrote: what exists, and the step that the last one was cut in.
    pub(crate) fn read(path: &Path, model: &mut Model) -> Result<Option<Op>, String> {
        let Ok(file) = File::open(path) else { return Ok(None) };
        let mut cut = None;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|err| err.to_string())?;
            // The last line may have been cut short; then nothing of it has begun.
            let Ok(line) = serde_json::from_str(&line) else { continue };
            match line {
                Line::Begin(op) => cut = Some(op),
                Line::End(op, outcome) => {
                    model.enter(&op, &outcome);
                    cut = None;
                }
                Line::Boot => model.power_cut(cut.take().as_ref()),
            }
        }
        Ok(cut)
    }

    /// Goes on at the end of a file.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // A new line, should the last one have been cut short.
        file.and_then(|mut file| file.write_all(b"\n").map(|()| Self { file }))
            .map_err(|err| format!("no journal: {err}"))
    }

    pub(crate) fn begin(&mut self, op: &Op) -> Result<(), String> {
        self.write(&Line::Begin(op.clone()))
    }

    pub(crate) fn end(&mut self, op: &Op, outcome: &Outcome) -> Result<(), String> {
        self.write(&Line::End(op.clone(), outcome.clone()))
    }

    pub(crate) fn boot(&mut self) -> Result<(), String> {
        self.write(&Line::Boot)
    }

    fn write(&mut self, line: &Line) -> Result<(), String> {
        let mut text = serde_json::to_string(line).map_err(|err| err.to_string())?;
        text.push('\n');
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|err| format!("the journal cannot be written: {err}"))
    }
}
