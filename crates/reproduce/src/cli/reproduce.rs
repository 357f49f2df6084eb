//! `reproduce`.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use super::{Accelerator, key_value, list::list, print, root};
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
    /// `infusion`, `walkback`, `variational-annealing`, `vaebm`, `vera`, `metrics`, or `all`
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
    #[command(flatten)]
    accelerator: Accelerator,
    /// Folder with data sets, searched before the repository's; for `vera --experiment tabular` it may
    /// be a CSV file of your own, with --set label=COLUMN
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run directory. Default: target/reproduce/PAPER/EXPERIMENT/SCALE-SEED; with several
    /// experiments, one folder EXPERIMENT for each below it, with several papers PAPER/EXPERIMENT
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on where an earlier run of the same settings stopped
    #[arg(long)]
    resume: bool,
    /// Never use the network. Reproducing never does by itself: data come from --data or the
    /// repository, models are trained
    #[arg(long)]
    offline: bool,
    /// Override a setting, repeatable; an unknown key lists the known ones. Of several experiments
    /// each takes the keys that it knows
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// List the experiments and whether they can run now, with what --set asks for
    #[arg(long)]
    list: bool,
    /// Print what would run, with all settings, and stop
    #[arg(long)]
    dry_run: bool,
}

/// An experiment that was asked for.
struct Chosen {
    paper: &'static Paper,
    experiment: &'static Experiment,
    /// Asked for by its own name, not among all or by default.
    named: bool,
    /// The overrides of keys that it knows.
    overrides: Vec<(String, String)>,
    out: PathBuf,
}

pub(super) fn run(args: Args) -> Result<u8> {
    let papers = papers(&args.paper)?;
    let root = root();
    let base = args.out.clone().unwrap_or_else(|| root.join("target/reproduce"));
    if let Some(data) = args.data.as_deref().filter(|data| !data.exists()) {
        return Err(Error::Usage(format!(
            "--data {}: there is no such folder or file",
            data.display()
        )));
    }
    let (device, device_name) = args.accelerator.open()?;
    let mut request = Request {
        scale: args.scale,
        seed: args.seed,
        device,
        device_name,
        data: args.data.clone(),
        offline: args.offline,
        root,
        models: base.join(".models"),
        resume: args.resume,
        overrides: args.overrides.clone(),
        trained: RefCell::default(),
    };
    if args.list {
        print(&list(&papers, &mut request)?);
        return Ok(0);
    }
    let mut chosen = choose(&args, &papers, &base)?;
    if let [only] = chosen.as_slice() {
        request.models = only.out.join("checkpoints").join("training");
    }
    // Bad settings and missing data are found before the first experiment spends an hour.
    resolve(&mut chosen, &mut request)?;
    if args.dry_run {
        return dry_run(&chosen, &mut request);
    }
    let skipped = leave_out(&mut chosen, &mut request)?;
    let mut passed = true;
    for Chosen { paper, experiment, overrides, out, .. } in chosen {
        if request.resume && !out.exists() {
            print(&format!("nothing to resume in {}; it begins anew\n", out.display()));
        }
        request.overrides = overrides;
        let results = execute(&request, paper, experiment, &out)?;
        passed &= results.passed();
        print(&summary(&results, &out));
    }
    if !skipped.is_empty() {
        print(&format!("not run:\n  {}\n", skipped.join("\n  ")));
    }
    Ok(u8::from(!passed))
}

/// What the command line asks for, and where each run goes.
fn choose(args: &Args, papers: &[&'static Paper], base: &Path) -> Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    for paper in papers {
        for experiment in paper.select(&args.experiments)? {
            let run = format!("{}-{}", args.scale.name(), args.seed);
            let out = match args.out {
                // Two papers may have experiments of one name.
                Some(_) if papers.len() > 1 => base.join(paper.id).join(experiment.id),
                Some(_) => base.join(experiment.id),
                None => base.join(paper.id).join(experiment.id).join(run),
            };
            let named = args.experiments.iter().any(|id| id == experiment.id);
            chosen.push(Chosen { paper, experiment, named, overrides: Vec::new(), out });
        }
    }
    if let ([only], Some(out)) = (chosen.as_mut_slice(), &args.out) {
        only.out.clone_from(out);
    }
    Ok(chosen)
}

/// Gives every experiment the overrides that it knows and checks its settings. A key that none
/// knows is an error.
fn resolve(chosen: &mut [Chosen], request: &mut Request) -> Result<()> {
    let overrides = std::mem::take(&mut request.overrides);
    let several = chosen.len() > 1;
    for pair in overrides {
        request.overrides = vec![pair.clone()];
        let mut unknown = Vec::new();
        for chosen in chosen.iter_mut() {
            match (chosen.experiment.settings)(request) {
                Err(error @ Error::UnknownKey { .. }) if !several => return Err(error),
                Err(Error::UnknownKey { known, .. }) => {
                    unknown.push(format!("{} knows {known}", chosen.experiment.id));
                }
                // Whether the values fit is seen with all of them.
                _ => chosen.overrides.push(pair.clone()),
            }
        }
        if unknown.len() == chosen.len() {
            return Err(Error::Usage(format!(
                "--set {}: unknown key to every chosen experiment;\n  {}",
                pair.0,
                unknown.join("\n  ")
            )));
        }
    }
    for Chosen { experiment, overrides, .. } in chosen {
        request.overrides.clone_from(overrides);
        (experiment.settings)(request).map_err(|error| match error {
            Error::Usage(message) if several => {
                Error::Usage(format!("{}: {message}", experiment.id))
            }
            error => error,
        })?;
    }
    Ok(())
}

/// Leaves out experiments whose data are missing, if they were not asked for by name, and says
/// which. Everything else that keeps one from running is an error.
fn leave_out(chosen: &mut Vec<Chosen>, request: &mut Request) -> Result<Vec<String>> {
    let (mut ready, mut skipped) = (Vec::new(), Vec::new());
    for one in chosen.drain(..) {
        request.overrides.clone_from(&one.overrides);
        match (one.experiment.ready)(request) {
            Ok(()) => ready.push(one),
            Err(Error::Missing(reason)) if !one.named => {
                skipped.push(format!("{}: {reason}", one.experiment.id));
            }
            Err(Error::Missing(reason)) => {
                return Err(Error::Missing(format!("{}: {reason}", one.experiment.id)));
            }
            Err(error) => return Err(error),
        }
    }
    if ready.is_empty() {
        return Err(Error::Missing(format!("nothing can run:\n  {}", skipped.join("\n  "))));
    }
    *chosen = ready;
    Ok(skipped)
}

fn dry_run(chosen: &[Chosen], request: &mut Request) -> Result<u8> {
    for Chosen { paper, experiment, overrides, .. } in chosen {
        request.overrides.clone_from(overrides);
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
fn summary(results: &Results, out: &Path) -> String {
    let mut text = format!(
        "\n{} {} ({}), scale {}, seed {}, {:.0} s\n",
        results.paper,
        results.experiment,
        results.anchor,
        results.scale,
        results.seed,
        results.wall_s
    );
    if results.scale == Scale::Smoke.name() {
        text += "  a smoke run: it shows that the path works, its numbers mean nothing\n";
    }
    for metric in &results.metrics {
        let value = match metric.std_error {
            Some(error) => format_with_error(metric.value, error),
            None => crate::report::format_number(metric.value),
        };
        let published = metric.published.map(|p| format!("  (published {p})")).unwrap_or_default();
        let set = |key: &str| {
            let plain = metric.settings.get(key).map(crate::report::plain);
            plain.map(|value| format!("  {key} {value}")).unwrap_or_default()
        };
        let set = ["k", "network", "images"].map(set).concat();
        text += &format!("  {:<44} {value} {}{set}{published}\n", metric.name, metric.unit);
    }
    for check in &results.checks {
        let mark = if check.passed { "passed" } else { "FAILED" };
        let detail = match check.detail.as_str() {
            "" => String::new(),
            detail => format!(": {detail}"),
        };
        text += &format!("  {mark}  {}{detail}\n", check.name);
    }
    text + &format!("  report: {}\n", out.join("report.html").display())
}
