//! Figure 2b, and chains that are much longer than those of samples.

use candle_core::Tensor;
use chains_core::train::Event;
use serde::{Deserialize, Serialize};
use vaebm::{ChainConfig, NoiseDecoder, VaebmModel, run_chains};

use super::{
    super::digits::{data::unframed, samples::watch},
    model::{open, usual},
};
use crate::{
    digits::{self, View},
    error::Result,
    limits::{at_least, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

/// Steps from one column of the sheet of samples to the next, as in the paper.
const EVERY: usize = 2;
/// Rows of the sheets.
const ROWS: usize = 10;
/// Columns of the sheet of long chains, beside the start.
const COLUMNS: usize = 10;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ChainSettings {
    /// The folder of the model; empty: a tiny one that is not trained.
    pub(super) model: String,
    /// Long chains.
    chains: usize,
    /// Their steps.
    steps: usize,
    /// Steps from one look at their digits to the next.
    every: usize,
}

pub(super) fn resolve(request: &Request) -> Result<ChainSettings> {
    let scale = request.scale;
    let settings = request.settings(&ChainSettings {
        model: usual(request),
        chains: scale.pick(4, 50, 500),
        steps: scale.pick(4, 400, 400),
        every: scale.pick(2, 10, 10),
    })?;
    at_least(&[
        ("chains", settings.chains, 1),
        ("every", settings.every, 1),
        ("steps", settings.steps, settings.every),
    ])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = open(run, &settings.model)?;
    let seed = run.request.stream().child("chain-sheet");
    let short = watch(&model, ROWS, model.config().chains, EVERY, seed)?;
    let steps: Vec<String> = short.steps.iter().map(usize::to_string).collect();
    run.heading("Chains of samples");
    run.chains(
        "chains",
        [1, 28, 28],
        &short.images,
        &format!("One chain a row, after {} steps: the decoder's means.", steps.join(", ")),
    )?;
    let mut plot = Plot::new("Energy along chains of samples", "step", "mean E, nats");
    let points = short.steps.iter().zip(&short.energies).map(|(step, e)| (*step as f64, *e));
    plot.series(Series::line(format!("{ROWS} chains"), points));
    run.plot("energy", &plot, "Of the images that the energy sees.")?;
    if run.request.scale != Scale::Smoke {
        let [first, last] = [short.energies[0], short.energies[short.energies.len() - 1]];
        let detail = format!("from {} to {}", format_number(first), format_number(last));
        run.check(Check::new("the energy falls along the chains of samples", last < first, detail));
    }
    run.heading("Long chains");
    let long = long(run, &model, &settings)?;
    switches(run, &settings, &long)
}

/// What long chains did.
struct Long {
    /// Steps at which they were looked at.
    steps: Vec<usize>,
    /// Digits by network a, of every chain, at each of these.
    classes: Vec<Vec<usize>>,
    /// Mean energies there.
    energies: Vec<f64>,
}

fn long(run: &mut Run<'_>, model: &VaebmModel, settings: &ChainSettings) -> Result<Long> {
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    let (space, n) = (model.space(), settings.chains);
    let mut noise = run.request.stream().child("long-chains").host_noise();
    let start = space.decoder().draw_noise(n, &mut noise)?;
    let chains = ChainConfig { steps: settings.steps, ..model.config().chains };
    let observer = run.observer()?;
    let total = Some(settings.steps);
    observer.observe(&Event::Started { stage: "chains", step: 0, total })?;
    let (mut steps, mut images, mut energies) = (Vec::new(), Vec::new(), Vec::new());
    let mut see = |step: usize, at: &vaebm::JointNoise| -> chains_core::Result<()> {
        let (decoded, energy) = space.decode(at)?;
        steps.push(step);
        images.push(decoded.mean_image()?);
        energies.push(f64::from(energy.mean_all()?.to_scalar::<f32>()?));
        Ok(())
    };
    see(0, &start)?;
    run_chains(space, &chains, &start, &mut noise, |step, at| {
        observer.observe(&Event::Scalars { step, values: &[] })?;
        if step.is_multiple_of(settings.every) { see(step, at) } else { Ok(()) }
    })?;
    observer.observe(&Event::Finished { step: settings.steps })?;
    let images = images.iter().map(unframed).collect::<Result<Vec<Tensor>>>()?;
    let mut classes = Vec::new();
    for image in &images {
        classes.push(View::of_floats(&judge, image, &mut ())?.classes());
    }
    sheet(run, &steps, &images)?;
    Ok(Long { steps, classes, energies })
}

fn sheet(run: &mut Run<'_>, steps: &[usize], images: &[Tensor]) -> Result<()> {
    let stride = (steps.len() - 1).div_ceil(COLUMNS).max(1);
    let shown: Vec<usize> = (0..steps.len()).step_by(stride).collect();
    let rows = ROWS.min(images[0].dims()[0]);
    let columns = shown.iter().map(|at| images[*at].narrow(0, 0, rows));
    let columns = columns.collect::<candle_core::Result<Vec<_>>>()?;
    let names: Vec<String> = shown.iter().map(|at| steps[*at].to_string()).collect();
    let caption = format!("One chain a row, after {} steps.", names.join(", "));
    run.chains("long-chains", [1, 28, 28], &columns, &caption)
}

fn switches(run: &mut Run<'_>, settings: &ChainSettings, long: &Long) -> Result<()> {
    let pairs = || long.classes.windows(2).map(|pair| changed(&pair[0], &pair[1]));
    let each: Vec<f64> = pairs().collect();
    let rate = each.iter().sum::<f64>() / each.len() as f64;
    let away = changed(&long.classes[0], &long.classes[long.classes.len() - 1]);
    let mut plot = Plot::new("Long chains", "step", "share of the chains");
    let points = long.steps.iter().zip(&long.classes);
    let points = points.map(|(step, classes)| (*step as f64, changed(&long.classes[0], classes)));
    plot.series(Series::line("show another digit than at the start", points));
    run.plot("switches", &plot, "Digits as network a sees them.")?;
    let mut plot = Plot::new("Energy along long chains", "step", "mean E, nats");
    let points = long.steps.iter().zip(&long.energies).map(|(step, e)| (*step as f64, *e));
    plot.series(Series::line(format!("{} chains", settings.chains), points));
    run.plot("long-energy", &plot, "Of the images that the energy sees.")?;
    let mut table = Table::new([("Of long chains", Align::Left), ("", Align::Right)]);
    let hundred = rate * 100.0 / settings.every as f64;
    for (name, value) in [
        ("switches of the digit in 100 steps of a chain", hundred),
        ("share that show another digit at the end", away),
        ("mean energy at the start, nats", long.energies[0]),
        ("mean energy at the end, nats", long.energies[long.energies.len() - 1]),
    ] {
        table.row([name.to_owned(), format_number(value)]);
    }
    run.table(table);
    run.metric(Metric::new("switches_per_100_steps", hundred, "").n(settings.chains));
    run.metric(Metric::new("share_away", away, "").n(settings.chains));
    let lengths = settings.steps as f64 / settings.every as f64;
    run.paragraph(format!(
        "{} chains of {} steps, looked at every {}; a switch and a switch back between two looks are not \
         seen, nor are more than {lengths:.0} of a chain. The paper says that its chains do not mix: they \
         refine the sample that they begin at.",
        settings.chains, settings.steps, settings.every
    ));
    finite_check(run, "energies of long chains", &long.energies);
    Ok(())
}

/// Share of the entries that differ.
fn changed(a: &[usize], b: &[usize]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a != b).count() as f64 / a.len().max(1) as f64
}
