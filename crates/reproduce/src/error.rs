//! The error type of the crate, and the exit status that each error stands for.

use std::path::{Path, PathBuf};

/// What can go wrong while recording or reporting a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request that cannot be met as it was put; the message says what to change.
    #[error("{0}")]
    Usage(String),
    /// Data or networks that are not there; the message says which, and where to put them.
    #[error("{0}")]
    Missing(String),
    /// A `--set` key that the settings do not have.
    #[error("--set {key}: unknown key; known are {known}")]
    UnknownKey {
        /// As it was given.
        key: String,
        /// The keys that there are, with commas.
        known: String,
    },
    /// A file whose contents are not what they should be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where in the file, and what is wrong.
        reason: String,
    },
    /// A number that cannot be reported because it is not finite.
    #[error("{what}: {value} is not a finite number and is not reported as a result")]
    NonFinite {
        /// Metric and field.
        what: String,
        /// The number, or `null`.
        value: String,
    },
    /// A training whose loss or parameters are not finite numbers any more.
    #[error("{source}; {state}")]
    Diverged {
        /// What is no number, and at which update.
        source: chains_core::Error,
        /// The last saved state.
        state: LastState,
    },
    /// A file or folder that could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A plot that could not be drawn.
    #[error("plot `{title}`: {reason}")]
    Plot {
        /// Title of the plot.
        title: String,
        /// What the drawing library said.
        reason: String,
    },
    /// A data set that cannot be read.
    #[error(transparent)]
    Data(#[from] datasets::Error),
    /// An error of the tensor layer.
    #[error(transparent)]
    Chains(#[from] chains_core::Error),
    /// An error of the tensor library.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The last saved state of a training that broke, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastState(pub Option<PathBuf>);

impl From<Option<PathBuf>> for LastState {
    fn from(path: Option<PathBuf>) -> Self {
        Self(path)
    }
}

impl std::fmt::Display for LastState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(path) => write!(
                f,
                "the last good state is {}; --resume goes on from there, and the same settings lead \
                 to the same end: lower the rate",
                path.display()
            ),
            None => write!(f, "no state was saved before; lower the rate"),
        }
    }
}

impl Error {
    /// An I/O error that names its file.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// A malformed file.
    pub fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }

    /// The exit status of a command that ends with this error: 2 for bad usage or input, 3 for a
    /// run that broke.
    pub fn exit_status(&self) -> u8 {
        use chains_core::Error as Core;
        match self {
            Self::Usage(_)
            | Self::Missing(_)
            | Self::UnknownKey { .. }
            | Self::Format { .. }
            | Self::Data(_) => 2,
            Self::Chains(
                Core::Config { .. }
                | Core::Device { .. }
                | Core::Checkpoint { .. }
                | Core::Hub { .. },
            ) => 2,
            _ => 3,
        }
    }

    /// The same error in the type that observers must return; `path` is the file concerned.
    pub(crate) fn into_chains(self, path: &Path) -> chains_core::Error {
        match self {
            Self::Chains(error) => error,
            Self::Tensor(error) => chains_core::Error::Tensor(error),
            Self::Io { path, source } => chains_core::Error::io(path, source),
            other => chains_core::Error::io(path, std::io::Error::other(other.to_string())),
        }
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;
