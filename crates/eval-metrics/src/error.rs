//! The error type of the crate.

/// What can be wrong with the input of a score. Every message says what to change.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer rows than the score needs.
    #[error("{what}: {got} rows, at least {needed} are needed")]
    TooFew {
        /// The argument.
        what: &'static str,
        /// Fewest rows that make sense.
        needed: usize,
        /// Rows that came.
        got: usize,
    },
    /// Rows, columns or labels that do not match another argument.
    #[error("{what}: expected {expected} {unit}, got {got}")]
    Mismatch {
        /// The argument.
        what: &'static str,
        /// What is counted: rows, columns, labels.
        unit: &'static str,
        /// The number that the other argument has.
        expected: usize,
        /// The number that came.
        got: usize,
    },
    /// A number that is infinite or not a number.
    #[error("{what}: row {row}, column {column} is not a finite number")]
    NonFinite {
        /// The argument.
        what: &'static str,
        /// Row, from zero.
        row: usize,
        /// Column, from zero.
        column: usize,
    },
    /// A parameter out of its range.
    #[error("`{name}`: {reason}")]
    Argument {
        /// Name of the parameter.
        name: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A row that is not a probability vector.
    #[error("probabilities: row {row} {reason}; apply a softmax, or pass logits")]
    Probability {
        /// Row, from zero.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A label that names no class.
    #[error("labels: number {row} is none of the {classes} classes, which count from 0")]
    Label {
        /// Position, from zero.
        row: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A matrix for which the chosen algorithm gives no answer.
    #[error("{what}: {reason}")]
    Numerical {
        /// The matrix or the quantity.
        what: &'static str,
        /// What is wrong with it and what to do instead.
        reason: String,
    },
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;
