//! The error type of the crate.

use std::path::PathBuf;

/// What can go wrong in the tensor layer. Every message says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor with another shape than documented.
    #[error("{what}: expected shape {expected}, got {got:?}")]
    Shape {
        /// Argument or operation.
        what: &'static str,
        /// The documented shape, in words or letters.
        expected: String,
        /// The shape that came.
        got: Vec<usize>,
    },
    /// A configuration value out of its range.
    #[error("config field `{field}`: {reason}")]
    Config {
        /// Name of the field as it is written in a config file.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A device that does not exist or that this build cannot use.
    #[error("device `{name}`: {reason}")]
    Device {
        /// The name that was asked for.
        name: String,
        /// Why it cannot be had, and which feature to add.
        reason: String,
    },
    /// A loss, density or state that is not a finite number.
    #[error("non-finite {what} at step {step}")]
    NonFinite {
        /// The quantity.
        what: &'static str,
        /// Update or chain step at which it was seen.
        step: usize,
    },
    /// A model directory or training state that cannot be used.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// File or directory.
        path: PathBuf,
        /// What is wrong with it, all problems at once.
        reason: String,
    },
    /// A model or file that the hub did not give.
    #[error("hub {id}: {reason}")]
    Hub {
        /// `owner/name[@revision]`.
        id: String,
        /// What happened and what to do.
        reason: String,
    },
    /// A file that could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// An error of the tensor library.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// May a driver drop the chains concerned, or go back to the last checkpoint, and go on?
    pub fn is_recoverable(&self) -> bool {
        matches!(self, Self::NonFinite { .. })
    }

    /// An I/O error that names its file.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;
