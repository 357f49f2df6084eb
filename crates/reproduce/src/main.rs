//! The `reproduce` program; `cargo xtask` starts it.

use std::process::ExitCode;

use clap::Parser;
use reproduce::cli::{Cli, run};

#[expect(clippy::print_stderr, reason = "errors go to stderr")]
fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
