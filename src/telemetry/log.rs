//! Logs go to stderr, as text for people or JSON for machines.

use std::{io, str::FromStr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How logs are written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// As what.
    pub format: Format,
    /// How much.
    pub level: Level,
}

/// As what a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged, also by module: `info`, or `info,tarn::lvm=debug`.
#[derive(Clone, Debug)]
pub struct Level(Targets);

/// Why a text is not a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use error, warn, info, debug or trace, or such as info,tarn::lvm=debug")]
pub struct BadLevel;

impl Default for Level {
    fn default() -> Self {
        Self(Targets::new().with_default(tracing::Level::INFO))
    }
}

impl FromStr for Level {
    type Err = BadLevel;

    fn from_str(text: &str) -> Result<Self, BadLevel> {
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        // On its own a word that is no level would mean a module of that name: a typing mistake.
        let good = text.split(',').all(|part| match part.split_once('=') {
            Some((_, level)) => is_level(level),
            None => is_level(part),
        });
        let targets = text.parse().map_err(|_| BadLevel)?;
        if good { Ok(Self(targets)) } else { Err(BadLevel) }
    }
}

/// Writes logs from here on. A second call changes nothing.
pub fn init(options: &Options) {
    let lines = fmt::layer().with_ansi(false).with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(options.level.0.clone());
    let started = match options.format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            registry.with(lines.with_span_list(false)).try_init()
        }
    };
    if let Err(err) = started {
        tracing::debug!(%err, "logs were started before");
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("info", true)]
    #[case::by_module("warn,tarn::lvm=debug,h2=off", true)]
    #[case::large("DEBUG", true)]
    #[case::mistyped("inof", false)]
    #[case::mistyped_by_module("info,tarn=loud", false)]
    #[case::empty("", false)]
    fn levels(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Level>().is_ok(), good);
    }
}
