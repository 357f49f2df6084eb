//! `cargo xtask bench`.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

use super::{Accelerator, print, root};
use crate::{
    bench::{Bed, Bench, Machine, Timing, choose},
    error::{Error, Result},
};

/// Fixed units of work of the five papers, in milliseconds and in multiples of the arithmetic limit.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Workloads, such as W01 or W14, which names all its rows; with commas, or repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    accelerator: Accelerator,
    /// Also write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<u8> {
    let mut chosen = choose(&args.only)?;
    let (device, name) = args.accelerator.open()?;
    let (bed, machine) = (Bed::new(root(), device), Machine::here(&name));
    let idle = machine.load.is_none_or(|load| load < 0.3);
    let name = if machine.processor.is_empty() { "this machine" } else { &machine.processor };
    print(&format!("{name}, {} threads, device {}", machine.threads, machine.device));
    if !bed.device.is_cpu() {
        let of_host = chosen.iter().filter(|workload| workload.host).map(|workload| workload.id);
        let of_host: Vec<&str> = of_host.collect();
        if !of_host.is_empty() {
            note(&format!("left out, as they compute on the processor: {}", of_host.join(", ")));
        }
        chosen.retain(|workload| !workload.host);
    }
    if !idle {
        note("something else is running here; times are only worth reading on an idle machine");
    }
    print(&format!(
        "{:<51} {:>11} {:>10} {:>10} {:>8} {:>6} {:>9}",
        "workload", "median ms", "min ms", "GFLOP", "x limit", "sgemm", "peak MiB"
    ));
    let mut workloads = Vec::new();
    for workload in &chosen {
        if std::io::stderr().is_terminal() {
            note(&format!("{} ..", workload.id));
        }
        let timing = workload.time(&bed)?;
        print(&line(&timing));
        workloads.push(timing);
    }
    let sgemm_gflops = workloads.iter().map(|timing| timing.sgemm_gflops).fold(0.0, f64::max);
    let bench = Bench { machine, sgemm_gflops, workloads };
    if let Some(path) = &args.json {
        let mut text = serde_json::to_string_pretty(&bench)
            .map_err(|e| Error::Usage(format!("the table cannot be written: {e}")))?;
        text.push('\n');
        std::fs::write(path, text).map_err(|e| Error::io(path, e))?;
        print(&path.display().to_string());
    }
    Ok(0)
}

fn line(timing: &Timing) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    format!(
        "{:<6} {:<44} {:>11.3} {:>10.3} {:>10} {:>8} {:>6.0} {:>9}",
        timing.workload,
        timing.title,
        timing.ms_median,
        timing.ms_min,
        number(timing.gflop),
        number(timing.x_limit),
        timing.sgemm_gflops,
        timing.peak_rss_mb,
    )
}

fn note(text: &str) {
    // Where stderr is gone nobody is left to tell.
    writeln!(std::io::stderr(), "{text}").ok();
}
