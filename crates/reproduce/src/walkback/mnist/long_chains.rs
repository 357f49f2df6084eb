//! Figures 9 to 14: chains at temperature 1 that go on for thousands of steps.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use walkback::{SampleOptions, WalkbackModel, generate_from};

use super::{
    super::settings::TrainSettings,
    pictures::{self, Samples},
    samples,
};
use crate::{
    arrays::{extremes, mean_square, spread},
    digits::{self, Judge, View, classifier_score},
    error::Result,
    images::Images,
    limits::{at_least, bad},
    plots::{Plot, Series},
    report::{Align, Table},
    request::Request,
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

/// Columns of the sheet: states after so many steps.
const SHOWN: [usize; 12] = [0, 1, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LongSettings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Chains.
    chains: usize,
    /// Steps at temperature 1.
    chain_steps: usize,
    /// Steps from one look at the chains to the next.
    look_every: usize,
}

fn resolve(request: &Request) -> Result<LongSettings> {
    let settings: LongSettings = request.settings(&LongSettings {
        train: samples::training(request.scale),
        chains: request.scale.pick(20, 64, 64),
        chain_steps: request.scale.pick(20, 5_000, 5_000),
        look_every: request.scale.pick(5, 50, 50),
    })?;
    samples::validate(&settings.train)?;
    at_least(&[
        ("chains", settings.chains, 10),
        ("chain_steps", settings.chain_steps, 1),
        ("look_every", settings.look_every, 1),
    ])?;
    if settings.chains > settings.train.test_examples {
        return bad("chains", "must be at most test_examples");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve(request)?.train.cut())?;
    digits::ready(&request.root)
}

/// The chains after some steps.
#[derive(Clone, Copy, Debug)]
struct Look {
    step: usize,
    /// Mean pixel.
    brightness: f64,
    /// Deviation of a pixel over chains.
    spread: f64,
    /// Mean squared distance to where the chains were at step 0.
    moved: f64,
    /// Mean probability of the class that the digit network gives.
    confidence: f64,
    /// Entropy of the classes given, in nats; ln 10 for all alike.
    class_entropy: f64,
    /// Classifier score.
    score: f64,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = samples::trained(run, &settings.train, "train")?;
    let model = &trained.model;
    let seed = run.request.stream().child("long-chains");
    let options = SampleOptions::of(model);
    let cooled = Samples::generate(model, settings.chains, &options, seed.child("cooled"))?.states;
    let data = images.first(&images.test, settings.chains, seed.child("test"), model.device())?;
    run.heading(format!("{} steps at temperature 1", settings.chain_steps));
    run.paragraph(
        "Proposition 1 of the supplement: an operator that has learnt its walks perfectly, with tails \
         of several lengths at temperature 1, leaves the law of the data alone. This is a statement \
         about an ideal optimum; the curves below say what this operator does. Whatever they show, \
         drift included, is the result.",
    );
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    let mut all = Vec::new();
    for (name, start) in [("samples", cooled), ("test digits", data)] {
        let looks = walk(run, model, &judge, &settings, (name, start))?;
        all.push((name, looks));
    }
    plots(run, &all)?;
    table(run, &all);
    for (name, looks) in &all {
        report(run, name, looks, &settings);
    }
    Ok(())
}

/// Runs the chains from `start`; what is seen on the way, and a sheet.
fn walk(
    run: &mut Run<'_>,
    model: &WalkbackModel,
    judge: &Judge,
    settings: &LongSettings,
    (name, start): (&str, Tensor),
) -> Result<Vec<Look>> {
    let key = name.replace(' ', "-");
    let mut noise = run.request.stream().child("long-chains").child(&key).host_noise();
    let options = SampleOptions::at_rest(model, settings.chain_steps);
    let mut looks = vec![look(judge, &start, &start, 0)?];
    let mut columns = vec![start.narrow(0, 0, pictures::ROWS)?];
    let mut shown = vec![0];
    let mut failed = None;
    let origin = start.clone();
    let observer = run.observer()?;
    let (stage, total) = ("long chains", Some(settings.chain_steps));
    observer.observe(&chains_core::train::Event::Started { stage, step: 0, total })?;
    let mut bounds = (f32::INFINITY, f32::NEG_INFINITY);
    generate_from(model, start, &options, &mut noise, |index, generated| {
        let step = index + 1;
        let state = &generated.position;
        if SHOWN.contains(&step) {
            columns.push(state.narrow(0, 0, pictures::ROWS)?);
            shown.push(step);
        }
        if failed.is_none() && (step % settings.look_every == 0 || step == settings.chain_steps) {
            match look(judge, state, &origin, step).and_then(|l| Ok((l, extremes(state)?))) {
                Ok((seen, (low, high))) => {
                    looks.push(seen);
                    bounds = (bounds.0.min(low), bounds.1.max(high));
                }
                Err(error) => failed = Some(error),
            }
            observer.observe(&chains_core::train::Event::Scalars { step, values: &[] })?;
        }
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let step = settings.chain_steps;
    observer.observe(&chains_core::train::Event::Finished { step })?;
    run.check(Check::new(
        format!("from {name}: all states that were looked at are pixels"),
        bounds.0 >= 0.0 && bounds.1 <= 1.0,
        format!("from {:.3} to {:.3}", bounds.0, bounds.1),
    ));
    let steps: Vec<String> = shown.iter().map(ToString::to_string).collect();
    let caption = format!(
        "From {name}, one chain a row, at temperature 1, after {} steps.",
        steps.join(", ")
    );
    run.chains(&format!("long-{key}"), model.config().network.event, &columns, &caption)?;
    Ok(looks)
}

fn look(judge: &Judge, state: &Tensor, origin: &Tensor, step: usize) -> Result<Look> {
    let view = View::of_floats(judge, state, &mut ())?;
    Ok(Look {
        step,
        brightness: f64::from(state.mean_all()?.to_scalar::<f32>()?),
        spread: spread(state)?,
        moved: mean_square(state, origin)?,
        confidence: view.confidence(),
        class_entropy: entropy(&view.classes()),
        score: classifier_score(&view)?.value,
    })
}

/// Entropy of how often each class occurs, nats.
fn entropy(classes: &[usize]) -> f64 {
    let mut counts = [0_usize; 10];
    classes.iter().for_each(|class| counts[*class] += 1);
    let share = |count: usize| count as f64 / classes.len().max(1) as f64;
    let terms = counts.iter().filter(|count| **count > 0).map(|count| share(*count));
    -terms.map(|p| p * p.ln()).sum::<f64>()
}

type Seen<'a> = [(&'a str, Vec<Look>)];

fn plots(run: &mut Run<'_>, all: &Seen<'_>) -> Result<()> {
    type Value = fn(&Look) -> f64;
    let plots: [(&str, &str, &str, Value); 4] = [
        ("drift-classifier-score", "Classifier score along the chains", "exp nats", |l| l.score),
        ("drift-class-entropy", "Entropy of the classes", "nats (2.30: all alike)", |l| {
            l.class_entropy
        }),
        ("drift-brightness", "Mean pixel", "of [0, 1]", |l| l.brightness),
        ("drift-distance", "Distance from the start of the chain", "mean squared", |l| l.moved),
    ];
    for (file, title, unit, value) in plots {
        let mut plot = Plot::new(title, "steps at temperature 1", unit);
        for (name, looks) in all {
            let points = looks.iter().map(|l| (l.step as f64, value(l)));
            plot.series(Series::line(format!("from {name}"), points));
        }
        run.plot(file, &plot, "")?;
    }
    Ok(())
}

fn table(run: &mut Run<'_>, all: &Seen<'_>) {
    let columns = [
        "start",
        "step",
        "mean pixel",
        "pixel deviation",
        "confidence",
        "class entropy",
        "classifier score",
    ];
    let align = |c| if c == "start" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|c| (c, align(c))));
    for (name, looks) in all {
        let mut next = 0;
        for look in looks {
            // Each about twice as far as the one before, and the last.
            if look.step < next && look.step != looks[looks.len() - 1].step {
                continue;
            }
            next = 2 * look.step.max(1);
            table.row([
                (*name).to_owned(),
                look.step.to_string(),
                format!("{:.4}", look.brightness),
                format!("{:.4}", look.spread),
                format!("{:.3}", look.confidence),
                format!("{:.3}", look.class_entropy),
                format!("{:.3}", look.score),
            ]);
        }
    }
    run.table(table);
}

/// First and last look as metrics.
fn report(run: &mut Run<'_>, name: &str, looks: &[Look], settings: &LongSettings) {
    let key = name.replace(' ', "_");
    for look in [&looks[0], &looks[looks.len() - 1]] {
        for (what, value, unit) in [
            ("classifier_score", look.score, "exp nats"),
            ("class_entropy", look.class_entropy, "nats"),
            ("mean_pixel", look.brightness, "of [0, 1]"),
            ("pixel_deviation", look.spread, "of [0, 1]"),
        ] {
            let metric = Metric::new(format!("{what}_from_{key}_step_{}", look.step), value, unit);
            run.metric(metric.n(settings.chains));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_entropy_is_zero_for_one_class_and_largest_for_all_alike() {
        assert!(entropy(&[3; 8]).abs() < 1e-12);
        let all: Vec<usize> = (0..20).map(|n| n % 10).collect();
        assert!((entropy(&all) - 10_f64.ln()).abs() < 1e-12);
        assert!((entropy(&[0, 0, 1, 1]) - 2_f64.ln()).abs() < 1e-12);
    }
}
