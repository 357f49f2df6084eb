//! The error type of the crate.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What can go wrong while data are found, read or drawn. Every message says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file whose bytes are not what its format demands.
    #[error("{}: byte {offset}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where the trouble begins, counted after decompression if the file is compressed.
        offset: u64,
        /// What was expected and what came.
        reason: String,
    },
    /// A cell of a table that cannot be used.
    #[error("{}: line {line}, column `{column}`: {reason}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Line in the file, the header being line 1.
        line: u64,
        /// Name of the column in the header.
        column: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A file that is not the one its `SHA256SUMS` lists.
    #[error(
        "{}: SHA-256 is {got}, `SHA256SUMS` says {expected}; fetch the file again, or delete \
         `SHA256SUMS` if the change is meant",
        path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// The digest that was listed.
        expected: String,
        /// The digest of the file.
        got: String,
    },
    /// A data set that is in none of the places where it may be.
    #[error("no {what} found; searched {}; {advice}", Places(searched))]
    Missing {
        /// The data set.
        what: String,
        /// The places, in the order of the search.
        searched: Vec<PathBuf>,
        /// Which files to put there.
        advice: String,
    },
    /// An argument out of its range.
    #[error("{what}: {reason}")]
    Argument {
        /// The argument.
        what: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// An error of the tensor layer.
    #[error(transparent)]
    Core(#[from] chains_core::Error),
}

impl Error {
    /// An I/O error that names its file.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// A format error at a byte of a file.
    pub(crate) fn format(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), offset, reason: reason.into() }
    }

    /// A complaint about an argument.
    pub(crate) fn argument(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Argument { what, reason: reason.into() }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Core(error.into())
    }
}

/// Paths with commas between them.
struct Places<'a>(&'a [PathBuf]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{}`", place.display())?;
        }
        Ok(())
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;
