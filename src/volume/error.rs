//! Why a wish about a volume is not granted. `csi/status.rs` has the gRPC code of each.

use std::error::Error as StdError;

/// Why a wish about a volume is not granted.
///
/// A variant exists because the caller does something different about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed; asking again as it is cannot help.
    #[error("{field}: `{value}` is not accepted: {allowed}")]
    Invalid {
        /// Which field.
        field: String,
        /// What it held.
        value: String,
        /// What it may hold.
        allowed: String,
    },
    /// There is no such volume, snapshot or mount.
    #[error("{0} does not exist here")]
    NotFound(String),
    /// Something of that name exists and is different.
    #[error("{what} exists already with another {difference}")]
    Exists {
        /// What.
        what: String,
        /// In which way it is different.
        difference: Difference,
    },
    /// No size in the range that was asked for can be had, here or anywhere.
    #[error("{0}")]
    OutOfRange(String),
    /// There is no room here now; nothing was made. Another node may have room.
    #[error("{0}")]
    NoRoom(String),
    /// Somebody has it mounted or open, and may soon let go of it.
    #[error("{0}")]
    InUse(String),
    /// What was asked for cannot be done in the state that things are in; somebody must change that.
    #[error("{0}")]
    Precondition(String),
    /// Work on it is under way; asking again later gets the answer.
    #[error("{0}")]
    Busy(String),
    /// It failed in a way that may have left something behind; the same call, repeated, cleans up.
    #[error("{doing} did not end well, and may have been done in part; try again")]
    Uncertain {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The machine failed us, and nothing was changed.
    #[error("{doing} failed")]
    Machine {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// In which way an existing thing differs from what is wanted under its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} ({found}, wanted {wanted})")]
pub struct Difference {
    /// In what.
    pub field: &'static str,
    /// What it has.
    pub found: String,
    /// What was asked for.
    pub wanted: String,
}

impl Error {
    /// A field that holds what it must not.
    pub fn invalid(
        field: impl Into<String>,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Invalid { field: field.into(), value: value.into(), allowed: allowed.into() }
    }

    /// A field that must not be empty.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::invalid(field, "", "it must not be empty")
    }

    /// A failure of the machine in doing something, with nothing changed.
    pub fn machine(
        doing: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::Machine { doing: doing.into(), source: Box::new(source) }
    }

    /// A failure that may have left something behind.
    pub fn uncertain(
        doing: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::Uncertain { doing: doing.into(), source: Box::new(source) }
    }

    /// An existing thing that differs from what is wanted.
    pub fn exists(
        what: impl Into<String>,
        field: &'static str,
        found: impl ToString,
        wanted: impl ToString,
    ) -> Self {
        let difference = Difference { field, found: found.to_string(), wanted: wanted.to_string() };
        Self::Exists { what: what.into(), difference }
    }
}

/// An error and everything that caused it, on one line: `outer: cause: root cause`.
pub fn chain(err: &dyn StdError) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
