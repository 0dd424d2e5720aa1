//! Measures Tarn beside the plain tools, in one run, and writes the figures as a table.
//!
//! `figures TARN RESULTS` runs as root in the disposable guest, on two scratch disks; `./run bench`
//! calls it. Every figure is a median of alternating runs, so that both sides meet the same machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement that fails stops, and it starts programs by hand on purpose"
)]

mod by_hand;
mod driver;
mod sections;

use std::{env, fs, time::Duration};

/// How often each side of a comparison runs.
const ROUNDS: usize = 30;

fn main() {
    let mut args = env::args().skip(1);
    let (tarn, results) = (args.next().expect("TARN"), args.next().expect("RESULTS"));
    let rows = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(sections::all(&tarn));
    let mut text = fs::read_to_string(&results).unwrap_or_default();
    let mark = "<!-- figures -->";
    text.truncate(text.find(mark).unwrap_or(text.len()));
    text.push_str(mark);
    text.push_str("\n\n| what | measured | at most |\n|---|---|---|\n");
    for row in &rows {
        text.push_str(&format!("| {} | {} | {} |\n", row.what, row.measured, row.most));
    }
    fs::write(&results, &text).unwrap();
    let kept = rows.iter().filter(|row| row.kept).count();
    println!("figures: {kept} of {} within what was promised", rows.len());
}

/// One line of the table.
pub(crate) struct Row {
    what: String,
    measured: String,
    most: String,
    kept: bool,
}

impl Row {
    pub(crate) fn new(what: &str, measured: String, most: &str, kept: bool) -> Self {
        println!("{} {what}: {measured} (at most {most})", if kept { "ok  " } else { "OVER" });
        Self { what: what.into(), measured, most: most.into(), kept }
    }

    /// A ratio of two medians.
    pub(crate) fn ratio(
        what: &str,
        ours: &mut [Duration],
        theirs: &mut [Duration],
        most: f64,
    ) -> Self {
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let measured = format!("{ratio:.2} ({} / {})", millis(ours), millis(theirs));
        Self::new(what, measured, &most.to_string(), ratio <= most)
    }
}

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
