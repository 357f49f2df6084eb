//! Words for the person at the terminal. A pipe that its reader has closed is no reason to stop.

use std::{
    fmt::Arguments,
    io::{Write, stderr, stdout},
};

/// A line on stdout.
pub(crate) fn say(line: Arguments<'_>) {
    // Whoever closed stdout has heard enough; the exit status tells the rest.
    writeln!(stdout(), "{line}").and_then(|()| stdout().flush()).ok();
}

/// A line on stderr.
pub(crate) fn warn(line: Arguments<'_>) {
    writeln!(stderr(), "{line}").ok();
}
