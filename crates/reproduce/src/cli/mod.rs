//! The command line.

mod bench;
mod evaluate;
mod fetch;
mod list;
mod models;
mod reproduce;
mod sample;
mod vaebm;
mod variational_annealing;
mod vera;

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use chains_core::device::{Products, set_products};
use clap::{Parser, Subcommand};

use crate::{
    error::{Error, Result},
    request::repository_root,
};

/// Learned Markov chains and energy-based generative models: experiments, samples, scores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run experiments of a paper and report ours beside the published numbers.
    Reproduce(reproduce::Args),
    /// Draw samples from a trained model, or complete a picture, as a PNG sheet.
    Sample(sample::Args),
    /// Score a trained model on test images, or samples against a reference.
    Evaluate(evaluate::Args),
    /// Download models; say where data sets are.
    Fetch(fetch::Args),
    /// Time fixed units of work beside the machine's best matrix product.
    Bench(bench::Args),
}

/// Runs a command; the exit status is 0 if every check passed, 1 if one failed.
///
/// # Errors
/// See [`Error::exit_status`].
pub fn run(cli: Cli) -> Result<u8> {
    match cli.command {
        Command::Reproduce(args) => reproduce::run(args),
        Command::Sample(args) => sample::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Fetch(args) => fetch::run(args),
        Command::Bench(args) => bench::run(&args),
    }
}

/// The repository: above the working folder, or where this program was built.
fn root() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    repository_root(&here)
        .or_else(|| repository_root(Path::new(env!("CARGO_MANIFEST_DIR"))))
        .unwrap_or(here)
}

/// `KEY=VALUE`.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Opens a device by name.
fn device(name: &str) -> Result<candle_core::Device> {
    chains_core::device::parse(name).map_err(Error::from)
}

/// A device and how precise its matrix products are.
#[derive(Debug, clap::Args)]
struct Accelerator {
    /// Where to compute: cpu, cuda:N or metal
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: String,
    /// Matrix products on CUDA: f32, or with factors rounded to tf32; all else is f32
    #[arg(long, default_value = "f32", value_name = "f32|tf32")]
    products: Products,
}

impl Accelerator {
    /// Opens the device, with its name as results show it.
    fn open(&self) -> Result<(candle_core::Device, String)> {
        let opened = device(&self.device)?;
        if self.products == Products::F32 {
            return Ok((opened, self.device.clone()));
        }
        if !opened.is_cuda() {
            let message = format!("--products {}: for CUDA devices", self.products);
            return Err(Error::Usage(message));
        }
        set_products(self.products);
        Ok((opened, format!("{}, {} products", self.device, self.products)))
    }
}

/// Results and paths go to stdout. A reader that has heard enough and closed the pipe is no error.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        // The results are in their files; where stderr is gone too, nobody is left to tell.
        writeln!(std::io::stderr(), "warning: stdout cannot be written: {error}").ok();
    }
}
