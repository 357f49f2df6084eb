//! `cargo xtask`: the commands of the workspace.
//!
//! Starts processes and links none of the workspace's crates, so that it builds in seconds. The
//! product's commands go to the binary of package `reproduce`, built with the features that the
//! arguments ask for; `test` runs everything that a change has to pass.

mod forward;
mod process;
mod say;
mod test;

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use forward::Forwarded;
use say::warn;

/// The commands of the workspace; each has its own `--help`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Our own commands; the product's are only listed beside them.
#[derive(Subcommand)]
enum Command {
    /// Run formatting, lints, docs, licences, every test and the smoke reproductions
    #[command(display_order = 100)]
    Test(test::Options),
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            warn(format_args!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    // The product's arguments never meet our parser, so that it cannot change or refuse any.
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some(command) = args.first().and_then(|name| Forwarded::parse(name)) {
        return forward::run(command, &args[1..]);
    }
    let matches = command_line().get_matches();
    match Cli::from_arg_matches(&matches)?.command {
        Command::Test(options) => test::run(&options),
    }
}

/// Our parser, with the product's commands in its help.
fn command_line() -> clap::Command {
    let listed = Forwarded::ALL.into_iter().enumerate().map(|(order, command)| {
        clap::Command::new(command.as_str()).about(command.about()).display_order(order)
    });
    Cli::command().subcommands(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_lists_every_command_with_a_line() {
        let mut command = command_line();
        command.clone().debug_assert();
        let help = command.render_help().to_string();
        for forwarded in Forwarded::ALL {
            let listed = |line: &str| {
                line.trim_start().starts_with(forwarded.as_str())
                    && line.ends_with(forwarded.about())
            };
            assert!(help.lines().any(listed), "{help}");
        }
        assert!(help.lines().any(|line| line.trim_start().starts_with("test ")), "{help}");
    }
}
