//! Clouds of chains at every fifth step, samples beside data, training curves.

use candle_core::Tensor;
use ndarray::Array2;
use walkback::{SampleOptions, Statistics, WalkbackModel, generate_from, heat};

use super::{
    super::{
        examples::Points,
        training::{EpochScores, Trained},
    },
    scores::{Scored, head, test_points},
};
use crate::{
    arrays::rows,
    error::Result,
    plots::{Panels, Plot, Series},
    run::Run,
};

/// Panels in a row.
const COLUMNS: usize = 4;

/// The points of rows `(n, 2)`.
pub(in crate::walkback) fn cloud(rows: &Array2<f32>) -> Vec<(f64, f64)> {
    rows.rows().into_iter().map(|s| (f64::from(s[0]), f64::from(s[1]))).collect()
}

/// Steps between two panels, so that seven of them show a whole chain: 5 of 30.
fn stride(steps: usize) -> usize {
    steps.div_ceil(6).max(1)
}

/// Figure 6 or 7: the heated chain of test points and the cooled chain of the start, at every fifth
/// of 30 steps.
pub(super) fn chains(
    run: &mut Run<'_>,
    points: &Points,
    model: &WalkbackModel,
    shown: usize,
    figure: &str,
) -> Result<()> {
    let seed = run.request.stream().child("chains");
    let (steps, every) = (model.config().network.steps, stride(model.config().network.steps));
    let x = test_points(points, shown, model.device())?;
    let n = x.dims()[0];
    let mut noise = seed.child("heat").host_noise();
    let mut states = vec![x.clone()];
    heat(model, &x, Statistics::Heating, &mut noise, |_, now| {
        states.push(now.position.clone());
        Ok(())
    })?;
    let mut noise = seed.child("cool").host_noise();
    let start = model.start()?.sample(n, &mut noise)?;
    let mut cooled = vec![start.clone()];
    let options = SampleOptions::of(model);
    generate_from(model, start.clone(), &options, &mut noise, |_, now| {
        cooled.push(now.position.clone());
        Ok(())
    })?;
    let add = |panels: &mut Panels, name: String, state: &Tensor| -> Result<()> {
        panels.panel(name, cloud(&rows(state)?));
        Ok(())
    };
    let mut heating = Panels::new("Heating: the walk away from data", COLUMNS);
    for t in (0..=steps).filter(|t| t.is_multiple_of(every) || *t == steps) {
        add(&mut heating, if t == 0 { "data".into() } else { format!("s_{t}") }, &states[t])?;
    }
    add(&mut heating, "start p*".into(), &start)?;
    let mut cooling = Panels::new("Cooling: from the start back to samples", COLUMNS);
    // Counted as in heating, so that panels of both pictures have the same temperature.
    for t in (0..=steps).rev().filter(|t| t.is_multiple_of(every) || *t == steps) {
        add(&mut cooling, format!("s_{t}"), &cooled[steps - t])?;
    }
    if cooled.len() > steps + 1 {
        let extra = cooled.len() - steps - 1;
        add(&mut cooling, format!("{extra} more at T = 1"), &cooled[cooled.len() - 1])?;
    }
    add(&mut cooling, "data".into(), &x)?;
    run.heading(format!("Chains ({figure})"));
    let caption = format!(
        "{n} test points (first panel) while the operator heats them, every {every} of {steps} steps; \
         last panel: draws of the Gaussian that is fitted to s_{steps}, where generation starts."
    );
    run.panels("heating", &heating, &caption)?;
    let caption = format!(
        "{n} chains from the start while the same operator cools, every {every} steps, one common \
         index t for both directions: s_{steps} is the start, s_0 the sample. Last panel: test points."
    );
    run.panels("cooling", &cooling, &caption)
}

/// Data, samples, the means of their last step and the start, side by side.
pub(super) fn samples(run: &mut Run<'_>, scored: &Scored, shown: usize) -> Result<()> {
    let mut panels = Panels::new("Samples beside data", COLUMNS);
    for (name, set) in [
        ("data", &scored.test),
        ("samples", &scored.samples),
        ("their means", &scored.means),
        ("start p*", &scored.start),
    ] {
        panels.panel(name, cloud(&head(set, shown)));
    }
    run.heading("Samples");
    run.panels(
        "samples",
        &panels,
        "Test points; the last states of chains; the means that those were drawn around, without the \
         noise of the last step; where the chains started.",
    )
}

/// Score and bound over epochs.
pub(in crate::walkback) fn training_curve(
    run: &mut Run<'_>,
    trained: &Trained,
    name: &str,
) -> Result<()> {
    let curve = &trained.curve;
    if curve.is_empty() {
        return Ok(());
    }
    let mut plot = Plot::new("Training", "epoch", "nats");
    let mut line = |name: &str, f: &dyn Fn(&EpochScores) -> Option<f64>| {
        let points = curve.iter().filter_map(|at| Some((at.epoch as f64, f(at)?)));
        plot.series(Series::line(name, points));
    };
    line("bound, train", &|at| at.bound_train);
    line("bound, validation", &|at| at.bound_validation);
    let caption = "Lower bound of one path an example, with the statistics of the batch where layers \
                   are normalised, so no strict bound there.";
    run.plot(&format!("bound{name}"), &plot, caption)?;
    let mut plot = Plot::new("Training", "epoch", "nats");
    let mut line = |name: &str, f: &dyn Fn(&EpochScores) -> f64| {
        plot.series(Series::line(name, curve.iter().map(|at| (at.epoch as f64, f(at)))));
    };
    line("walkback score, train", &|at| at.score_train);
    line("walkback score, validation", &|at| at.score_validation);
    let caption = "What training raises: log densities of the steps back and of the end, without -ln q, \
                   so no bound.";
    run.plot(&format!("score{name}"), &plot, caption)
}
