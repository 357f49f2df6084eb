//! `reproduce`.

use std::{cell::RefCell, path::PathBuf};

use super::{device, key_value, print, root};
use crate::{
    error::{Error, Result},
    registry::{Experiment, Paper, papers},
    report::format_with_error,
    request::{Request, Scale},
    results::Results,
    run::execute,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `infusion`, or `all`
    paper: String,
    /// Experiment to run, repeatable; `all` for every one. Default: the headline ones
    #[arg(long = "experiment", value_name = "ID")]
    experiments: Vec<String>,
    /// How much work
    #[arg(long, value_enum, default_value_t = Scale::Quick)]
    scale: Scale,
    /// Root of all randomness
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Folder with data sets, searched before the repository's
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run directory. Default: target/reproduce/PAPER/EXPERIMENT/SCALE-SEED; with several
    /// experiments, one folder for each below it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on where an earlier run of the same settings stopped
    #[arg(long)]
    resume: bool,
    /// Never use the network
    #[arg(long)]
    offline: bool,
    /// Override a setting, repeatable; an unknown key lists the known ones
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// List the experiments and whether they can run now
    #[arg(long)]
    list: bool,
    /// Print what would run, with all settings, and stop
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: Args) -> Result<u8> {
    let papers = papers(&args.paper)?;
    let root = root();
    let base = args.out.clone().unwrap_or_else(|| root.join("target/reproduce"));
    let mut request = Request {
        scale: args.scale,
        seed: args.seed,
        device: device(&args.device)?,
        device_name: args.device.clone(),
        data: args.data.clone(),
        offline: args.offline,
        root,
        models: base.join(".models"),
        resume: args.resume,
        overrides: args.overrides.clone(),
        trained: RefCell::default(),
    };
    if args.list {
        return list(&papers, &request);
    }
    let mut chosen = Vec::new();
    for paper in &papers {
        chosen.extend(paper.select(&args.experiments)?.into_iter().map(|e| (*paper, e)));
    }
    let single = chosen.len() == 1;
    if single && args.out.is_some() {
        // One run directory: the shared models go inside it.
        request.models = base.join("checkpoints").join("training");
    }
    // Bad settings are found before the first experiment spends an hour.
    for (_, experiment) in &chosen {
        (experiment.settings)(&request)?;
    }
    if args.dry_run {
        return dry_run(&chosen, &request);
    }
    let mut passed = true;
    let mut skipped = Vec::new();
    for (paper, experiment) in &chosen {
        match (experiment.ready)(&request) {
            Ok(()) => {}
            // What is missing is left out of several; what is damaged is an error.
            Err(error) if single || matches!(error, Error::Data(_)) => return Err(error),
            Err(error) => {
                skipped.push(format!("{}: {error}", experiment.id));
                continue;
            }
        }
        let out = match (&args.out, single) {
            (Some(out), true) => out.clone(),
            (Some(out), false) => out.join(experiment.id),
            (None, _) => base.join(paper.id).join(experiment.id).join(format!(
                "{}-{}",
                args.scale.name(),
                args.seed
            )),
        };
        let results = execute(&request, paper, experiment, &out)?;
        passed &= results.passed();
        print(&summary(&results, &out));
    }
    if skipped.len() == chosen.len() {
        return Err(Error::Usage(format!("nothing can run:\n  {}", skipped.join("\n  "))));
    }
    if !skipped.is_empty() {
        print(&format!("not run:\n  {}\n", skipped.join("\n  ")));
    }
    Ok(u8::from(!passed))
}

fn list(papers: &[&Paper], request: &Request) -> Result<u8> {
    for paper in papers {
        print(&paper.list(request));
    }
    Ok(0)
}

fn dry_run(chosen: &[(&Paper, &Experiment)], request: &Request) -> Result<u8> {
    for (paper, experiment) in chosen {
        let settings = (experiment.settings)(request)?;
        let text = toml::to_string(&settings).map_err(|e| Error::Usage(e.to_string()))?;
        let ready = match (experiment.ready)(request) {
            Ok(()) => "ready".to_owned(),
            Err(error) => format!("not now: {error}"),
        };
        print(&format!("# {} {} ({ready})\n{text}\n", paper.id, experiment.id));
    }
    Ok(0)
}

/// What a person wants to see at the end.
fn summary(results: &Results, out: &std::path::Path) -> String {
    let mut text = format!(
        "\n{} {} ({}), scale {}, seed {}, {:.0} s\n",
        results.paper,
        results.experiment,
        results.anchor,
        results.scale,
        results.seed,
        results.wall_s
    );
    for metric in &results.metrics {
        let value = match metric.std_error {
            Some(error) => format_with_error(metric.value, error),
            None => crate::report::format_number(metric.value),
        };
        let published = metric.published.map(|p| format!("  (published {p})")).unwrap_or_default();
        let k = metric.settings.get("k").map(|k| format!("  k {k}")).unwrap_or_default();
        text += &format!("  {:<44} {value} {}{k}{published}\n", metric.name, metric.unit);
    }
    for check in &results.checks {
        let mark = if check.passed { "passed" } else { "FAILED" };
        text += &format!("  {mark}  {}: {}\n", check.name, check.detail);
    }
    text + &format!("  report: {}\n", out.join("report.html").display())
}
