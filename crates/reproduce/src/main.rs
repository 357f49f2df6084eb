//! The `reproduce` program; `cargo xtask` starts it.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use reproduce::cli::{Cli, run};

/// Of a worker; candle's backward pass recurses as deep as the graph.
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // On a worker of rayon's pool: from any other thread each of thousands of operations a second
    // would put that thread to sleep and wake a worker.
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK).build_global();
    let result = if pool.is_ok() { rayon::scope(|_| run(cli)) } else { run(cli) };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Were stderr closed, the exit status still tells.
            writeln!(std::io::stderr(), "error: {error}").ok();
            ExitCode::from(error.exit_status())
        }
    }
}
