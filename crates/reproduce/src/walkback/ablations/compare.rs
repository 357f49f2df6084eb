//! Trains variants on the same examples with the same number of gradient evaluations, and sets what
//! they reach side by side.

use chains_core::chain::PathSummary;
use ndarray::Array2;
use walkback::{SampleOptions, generate_from};

use super::super::{
    examples::{Examples, Split},
    plane::{bound_metrics, frozen_bound, walk_gap},
    training::{Recipe, Trained, train},
};
use crate::{
    arrays::{finite, rows, score},
    error::{Error, Result},
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number, format_with_error},
    results::Metric,
    run::Run,
};

/// One of the trainings that are compared.
pub(super) struct Variant {
    /// Its name in tables and plots.
    pub(super) name: &'static str,
    /// Everything that determines it.
    pub(super) recipe: Recipe,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// What the examples are called in names of metrics and files.
    pub(super) set: &'static str,
    /// Chains, and test examples that they are compared with.
    pub(super) samples: usize,
    /// Test examples in the bound.
    pub(super) bound_examples: usize,
    /// Paths of each.
    pub(super) bound_chains: usize,
}

/// What a variant reached.
pub(super) struct Reached {
    /// Its name.
    pub(super) name: &'static str,
    /// Minus the loss of the last epoch, summed over transitions: what its own training raises.
    pub(super) own_score: f64,
    /// The walkback score of validation examples at the end.
    pub(super) score: f64,
    /// Bound and estimate of test examples.
    pub(super) bound: PathSummary,
    /// Energy distance of samples to test examples.
    pub(super) energy: f64,
    /// The same of the start.
    pub(super) energy_start: f64,
    /// Energy distance of heated test examples to the start.
    pub(super) gap: f64,
    /// The last states of chains.
    pub(super) samples: Array2<f32>,
    /// The means that they were drawn around.
    pub(super) means: Array2<f32>,
    /// The trained model and its curve.
    pub(super) trained: Trained,
}

/// Trains and scores all variants; adds their table and learning curves to the report and their
/// numbers to the results.
///
/// # Errors
/// Of training and scores; [`Error::Usage`] if samples are no longer finite or nothing is followed.
pub(super) fn compare<D: Examples>(
    run: &mut Run<'_>,
    data: &D,
    variants: Vec<Variant>,
    look: Look,
) -> Result<Vec<Reached>> {
    let mut all = Vec::new();
    for variant in variants {
        let stage = format!("train {} {}", look.set, variant.name);
        let trained = train(run, data, &variant.recipe, &stage)?;
        let reached = reach(run, data, variant.name, trained, look)?;
        metrics(run, &reached, look);
        all.push(reached);
    }
    table(run, &all);
    curves(run, &all, look, data.count(Split::Train))?;
    Ok(all)
}

fn reach<D: Examples>(
    run: &mut Run<'_>,
    data: &D,
    name: &'static str,
    trained: Trained,
    look: Look,
) -> Result<Reached> {
    let seed = run.request.stream().child("compare");
    let model = &trained.model;
    let Some(last) = trained.curve.last().copied() else {
        return Err(Error::Usage(format!("{name}: nothing was followed, so nothing compares")));
    };
    let mut noise = seed.child("samples").host_noise();
    let start = model.start()?.sample(look.samples, &mut noise)?;
    let options = SampleOptions::of(model);
    let ends = generate_from(model, start.clone(), &options, &mut noise, |_, _| Ok(()))?;
    if !finite(&ends.position)? {
        return Err(Error::Usage(format!("{name}: samples are no longer finite numbers")));
    }
    let test = data.first(Split::Test, look.samples, seed.child("test"), model.device())?;
    let gap = walk_gap(model, &test, seed)?;
    let test = rows(&test)?;
    let energy = |set: &Array2<f32>| -> Result<f64> {
        Ok(score(eval_metrics::energy_distance(test.view(), set.view()))?.value)
    };
    let (samples, means) = (rows(&ends.position)?, rows(&ends.mean)?);
    let (energy_samples, energy_start) = (energy(&samples)?, energy(&rows(&start)?)?);
    let x = data.first(Split::Test, look.bound_examples, seed.child("bound-x"), model.device())?;
    let bound = frozen_bound(model, &x, look.bound_chains, seed.child("bound"), run.observer()?)?;
    finite_check(
        run,
        &format!("{}, {name}: bound and estimate", look.set),
        &[bound.lower_bound, bound.importance_sampling],
    );
    Ok(Reached {
        name,
        own_score: -last.loss,
        score: last.score_validation,
        bound,
        energy: energy_samples,
        energy_start,
        gap,
        samples,
        means,
        trained,
    })
}

fn metrics(run: &mut Run<'_>, reached: &Reached, look: Look) {
    let ending = format!("_{}_{}", look.set, reached.name.replace([' ', '-', ','], "_"));
    let ending = ending.replace("__", "_");
    run.metric(Metric::new(format!("own_score{ending}"), reached.own_score, "nats"));
    run.metric(Metric::new(format!("walkback_score{ending}"), reached.score, "nats"));
    for (name, value) in [
        ("samples", reached.energy),
        ("start", reached.energy_start),
        ("heated_to_start", reached.gap),
    ] {
        let metric = Metric::new(format!("energy_distance_{name}{ending}"), value, "");
        run.metric(metric.n(look.samples));
    }
    bound_metrics(run, &reached.bound, &ending);
}

fn table(run: &mut Run<'_>, all: &[Reached]) {
    let mut table = Table::new([
        ("Variant", Align::Left),
        ("own score", Align::Right),
        ("walkback score", Align::Right),
        ("lower bound, nats", Align::Right),
        ("energy distance", Align::Right),
        ("of the start", Align::Right),
        ("heated to start", Align::Right),
        ("walks", Align::Right),
    ]);
    for reached in all {
        table.row([
            reached.name.to_owned(),
            format_number(reached.own_score),
            format_number(reached.score),
            format_with_error(reached.bound.lower_bound, reached.bound.lower_bound_se),
            format_number(reached.energy),
            format_number(reached.energy_start),
            format_number(reached.gap),
            reached.trained.updates.to_string(),
        ]);
    }
    run.table(table);
    run.paragraph(
        "Own score: minus the loss of the last epoch, what that training raises. Walkback score: of \
         validation examples, without -ln q, no bound. Lower bound: of test examples with frozen \
         statistics. Energy distance: of samples, and of the states they start from, to test examples; \
         of heated test examples to the start, which is small where the walk forgets the data.",
    );
}

/// Validation scores and bounds over gradient evaluations: a walk has K of them, however often the
/// optimiser steps.
fn curves(run: &mut Run<'_>, all: &[Reached], look: Look, examples: usize) -> Result<()> {
    let mut score = Plot::new("Walkback score", "gradient evaluations", "nats");
    let mut bound = Plot::new("Lower bound", "gradient evaluations", "nats");
    for reached in all {
        let Reached { trained, name, .. } = reached;
        let epochs = trained.curve.last().map_or(1, |last| last.epoch).max(1);
        let steps = trained.model.config().network.steps;
        let per_epoch = (trained.updates / epochs * steps) as f64;
        let curve = || trained.curve.iter().map(move |at| (per_epoch * at.epoch as f64, at));
        score.series(Series::line(*name, curve().map(|(x, at)| (x, at.score_validation))));
        let bounds = curve().filter_map(|(x, at)| Some((x, at.bound_validation?)));
        bound.series(Series::line(*name, bounds));
    }
    let caption = format!("Validation examples; {examples} training examples.");
    run.plot(&format!("{}-score", look.set), &score, &caption)?;
    let caption = "Validation examples, one path each, with the statistics of the batch: no strict \
                   bound where layers are normalised.";
    run.plot(&format!("{}-bound", look.set), &bound, caption)
}
