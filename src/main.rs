//! The `tarn` program.

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    tarn::cli::run(&mut io::stdout().lock()).unwrap_or_else(|err| {
        let chain = anyhow::Error::from(err);
        // When stderr is gone there is nobody left to tell.
        writeln!(io::stderr(), "tarn: {chain:#}").unwrap_or_default();
        ExitCode::FAILURE
    })
}
