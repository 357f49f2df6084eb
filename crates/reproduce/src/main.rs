//! The `reproduce` program; `cargo xtask` starts it.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use reproduce::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Were stderr closed, the exit status still tells.
            writeln!(std::io::stderr(), "error: {error}").ok();
            ExitCode::from(error.exit_status())
        }
    }
}
