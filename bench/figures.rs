//! Measures Tarn beside the plain tools, in one run, and writes the figures as a table.
//!
//! `figures beside-tools TARN RESULTS`, `figures asking TARN RESULTS` and `figures kinds TARN RESULTS` run as root in
//! the disposable guest, on two scratch disks, `figures survey TARN RESULTS` there on none; `figures waiting RESULTS` anywhere, over an LVM whose commands only take
//! time; `./run bench` calls them all. `figures claims RESULTS` asks a cluster with the driver; `./run
//! bench cluster` has one. `figures scale TARN RESULTS NODES VOLUMES` wants an API server of its own;
//! `./run bench scale` brings one up, and the nodes are `figures nodes` and `figures node`. Every ratio is
//! one of medians of alternating runs, so that both sides meet the same machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement that fails stops, and it starts programs by hand on purpose"
)]

mod by_hand;
mod calls;
mod claims;
mod crowd;
mod driver;
mod kinds;
mod process;
mod scale;
mod sections;
mod survey;
mod waiting;

use std::{env, fs, time::Duration};

/// How often each side of a comparison runs.
const ROUNDS: usize = 30;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap();
    match args[..] {
        ["nodes", count, each, folder] => {
            return scale::nodes::many(number(count), number(each), folder.as_ref());
        }
        ["node", name, volumes, folder] => {
            return scale::nodes::single(name, number(volumes), folder.as_ref());
        }
        _ => (),
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (section, rows, results) = match args[..] {
        ["beside-tools", tarn, results] => {
            ("beside-tools", runtime.block_on(sections::all(tarn)), results)
        }
        ["asking", tarn, results] => {
            ("asking", runtime.block_on(sections::capacity(tarn)), results)
        }
        ["survey", tarn, results] => ("survey", runtime.block_on(survey::all(tarn)), results),
        ["kinds", tarn, results] => ("kinds", runtime.block_on(kinds::all(tarn)), results),
        ["waiting", results] => ("waiting", runtime.block_on(waiting::all()), results),
        ["claims", results] => ("claims", runtime.block_on(claims::all()), results),
        ["scale", tarn, results, nodes, volumes] => {
            let size = scale::Size { nodes: number(nodes), volumes: number(volumes) };
            ("scale", runtime.block_on(scale::all(tarn, size)), results)
        }
        _ => panic!(
            "figures claims RESULTS | figures beside-tools TARN RESULTS | figures asking TARN RESULTS | \
             figures kinds TARN RESULTS | figures survey TARN RESULTS | figures waiting RESULTS | figures scale TARN RESULTS NODES VOLUMES"
        ),
    };
    write(results, section, &rows);
    let kept = rows.iter().filter(|row| row.kept).count();
    println!("figures: {kept} of {} within what was promised", rows.len());
}

/// Replaces what stands between the two marks of a section.
fn write(results: &str, section: &str, rows: &[Row]) {
    let text = fs::read_to_string(results).unwrap();
    let (begin, end) = (format!("<!-- {section} -->\n"), format!("<!-- end of {section} -->\n"));
    let (before, rest) = text.split_once(&begin).expect("the section's first mark");
    let (_, after) = rest.split_once(&end).expect("the section's last mark");
    let mut table = String::from("\n| what | measured | at most |\n|---|---|---|\n");
    for row in rows {
        table.push_str(&format!("| {} | {} | {} |\n", row.what, row.measured, row.most));
    }
    fs::write(results, format!("{before}{begin}{table}\n{end}{after}")).unwrap();
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
        Self::of_times(what, median(ours), median(theirs), most)
    }

    /// A ratio of the times that 99 of 100 stay below.
    pub(crate) fn p99_ratio(
        what: &str,
        ours: &mut [Duration],
        theirs: &mut [Duration],
        most: f64,
    ) -> Self {
        Self::of_times(what, p99(ours), p99(theirs), most)
    }

    /// A time, in words of milliseconds or seconds as its limit is.
    pub(crate) fn time(what: &str, took: Duration, also: &str, most: Duration) -> Self {
        let text = |time: Duration| match most < Duration::from_secs(1) {
            true => format!("{:.2} ms", time.as_secs_f64() * 1000.0),
            false => format!("{:.1} s", time.as_secs_f64()),
        };
        Self::new(what, format!("{}{also}", text(took)), &format!("{most:?}"), took <= most)
    }

    fn of_times(what: &str, ours: Duration, theirs: Duration, most: f64) -> Self {
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let measured = format!("{ratio:.2} ({} / {})", millis(ours), millis(theirs));
        Self::new(what, measured, &most.to_string(), ratio <= most)
    }
}

/// The time that 99 of 100 stay below.
pub(crate) fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
