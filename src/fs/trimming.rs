//! Has mounted file systems give back what they do not use (fstrim(8)).

use std::path::Path;

use super::{Error, Stretch};
use crate::{process::Invocation, units::Bytes};

/// See [`super::Filesystems::trim`].
pub(super) fn trim(at: &Path, stretch: Stretch) -> Result<Bytes, Error> {
    let run = Invocation::changes("fstrim").args(["--verbose", "--offset"]);
    let run = run.arg(stretch.from.0.to_string());
    let run = match stretch.length {
        Some(length) => run.arg("--length").arg(length.0.to_string()),
        None => run,
    };
    let said = run.arg(at).run();
    let said =
        said.map_err(|source| Error::Tool { action: "trim", device: at.to_owned(), source })?;
    Ok(told(&String::from_utf8_lossy(&said)))
}

/// How many bytes fstrim has told of: `/mnt: 1.5 GiB (1610612736 bytes) trimmed`. Words that are none of its own
/// mean that it succeeded all the same.
fn told(said: &str) -> Bytes {
    let count = || said.rsplit_once('(')?.1.split_once(" bytes)")?.0.parse().ok();
    count().map_or(Bytes::ZERO, Bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/mnt: 1.5 GiB (1610612736 bytes) trimmed\n", 1_610_612_736)]
    #[case("/a (1 bytes) b: 0 B (0 bytes) trimmed\n", 0)]
    #[case("/mnt: trimmed\n", 0)]
    fn what_it_says(#[case] said: &str, #[case] want: u64) {
        assert_eq!(told(said), Bytes(want));
    }
}
