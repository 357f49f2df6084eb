//! What there is to look at of a model of images: walks from data, chains from noise, samples.

use candle_core::Tensor;
use chains_core::Seed;
use walkback::{SampleOptions, Statistics, WalkbackModel, generate_from, heat};

use super::super::{
    examples::{Examples, Split},
    generation::{BLOCK, Ends, in_blocks},
    training::{EpochScores, Trained},
};
use crate::{
    error::Result,
    plots::{Plot, Series},
    run::Run,
};

/// Columns of a sheet of chains.
const COLUMNS: usize = 16;
/// Rows of a sheet of chains.
pub(super) const ROWS: usize = 10;

/// At most [`COLUMNS`] of `n` states, evenly, with the first and the last.
fn shown(n: usize) -> Vec<usize> {
    let columns = COLUMNS.min(n);
    let last = columns.saturating_sub(1).max(1);
    let mut chosen: Vec<usize> = (0..columns).map(|c| (c * (n - 1) + last / 2) / last).collect();
    chosen.dedup();
    chosen
}

/// What normalises this model's walks when they are shown.
pub(super) fn statistics(model: &WalkbackModel, heating: bool) -> Statistics {
    match model.config().operator.has_density() {
        false => Statistics::Batch,
        true if heating => Statistics::Heating,
        true => Statistics::Cooling,
    }
}

/// The walk away from test images, one a row.
pub(in super::super) fn heating(
    run: &mut Run<'_>,
    data: &impl Examples,
    model: &WalkbackModel,
    name: &str,
) -> Result<()> {
    let seed = run.request.stream().child("heating-sheet");
    // The rows that are not shown give the batch its statistics.
    let x = data.first(Split::Test, BLOCK, seed.child("test"), model.device())?;
    let mut states = vec![x.clone()];
    heat(model, &x, statistics(model, true), &mut seed.host_noise(), |_, generated| {
        states.push(generated.position.clone());
        Ok(())
    })?;
    let chosen = shown(states.len());
    let caption = format!(
        "Heating: each row a test image, then the states s_t of its walk, t = {}; the operator is the \
         one that generates, the temperature rises.",
        list(&chosen)
    );
    chain_sheet(run, data.event(), &states, &chosen, (&format!("{name}heating"), &caption))
}

/// Chains from the start, one a row.
pub(in super::super) fn cooling(
    run: &mut Run<'_>,
    event: [usize; 3],
    model: &WalkbackModel,
    options: &SampleOptions,
    name: &str,
) -> Result<()> {
    let seed = run.request.stream().child("cooling-sheet");
    let mut noise = seed.host_noise();
    let start = model.start_of(options.start)?.sample(BLOCK, &mut noise)?;
    let mut states = vec![start.clone()];
    let last = generate_from(model, start, options, &mut noise, |_, generated| {
        states.push(generated.position.clone());
        Ok(())
    })?;
    let mut chosen = shown(states.len());
    let steps = list(&chosen);
    states.push(last.mean);
    chosen.push(states.len() - 1);
    let caption = format!(
        "Cooling: each row a chain from noise after {steps} steps ({} cooling, {} at temperature 1), \
         then its last mean.",
        options.steps, options.extra
    );
    chain_sheet(run, event, &states, &chosen, (&format!("{name}cooling"), &caption))
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn chain_sheet(
    run: &mut Run<'_>,
    event: [usize; 3],
    states: &[Tensor],
    chosen: &[usize],
    (name, caption): (&str, &str),
) -> Result<()> {
    let columns = chosen
        .iter()
        .map(|at| states[*at].narrow(0, 0, ROWS.min(states[*at].dim(0)?)))
        .collect::<candle_core::Result<Vec<_>>>()?;
    run.chains(name, event, &columns, caption)
}

/// Generated images, `(n, D)` each.
pub(in super::super) struct Samples {
    /// Means of the last step.
    pub(in super::super) means: Tensor,
    /// States after the last step.
    pub(in super::super) states: Tensor,
    /// Means of the first step of the same chains.
    pub(in super::super) one_step: Tensor,
    /// Where they start.
    pub(in super::super) noise: Tensor,
}

impl Samples {
    /// `n` chains.
    pub(in super::super) fn generate(
        model: &WalkbackModel,
        n: usize,
        options: &SampleOptions,
        seed: Seed,
    ) -> Result<Self> {
        let mut one_step = Vec::new();
        let ends = in_blocks(model, n, options, seed, |_, step, generated| {
            if step == 1 {
                one_step.push(generated.mean.clone());
            }
            Ok(())
        })?;
        let Ends { starts: noise, states, means } = ends;
        Ok(Self { means, states, one_step: Tensor::cat(&one_step, 0)?, noise })
    }

    /// Means alone.
    pub(in super::super) fn means(
        model: &WalkbackModel,
        n: usize,
        options: &SampleOptions,
        seed: Seed,
    ) -> Result<Tensor> {
        Ok(in_blocks(model, n, options, seed, |_, _, _| Ok(()))?.means)
    }
}

/// The sentence about a model and its training, and its curve.
pub(in super::super) fn training(
    run: &mut Run<'_>,
    trained: &Trained,
    sentence: &str,
    name: &str,
) -> Result<()> {
    run.paragraph(format!("{sentence} {}", trained.sentence()));
    let curve = &trained.curve;
    if curve.len() < 2 {
        return Ok(());
    }
    let line = |name: &str, value: fn(&EpochScores) -> Option<f64>| {
        Series::line(name, curve.iter().filter_map(|e| Some((e.epoch as f64, value(e)?))))
    };
    let bounded = curve[0].bound_validation.is_some();
    let mut plot = if bounded {
        Plot::new("Lower bound during training", "epoch", "nats")
    } else {
        Plot::new("Reconstruction of the steps back", "epoch", "minus squared error of a walk")
    };
    if bounded {
        plot.series(line("bound, training", |e| e.bound_train));
        plot.series(line("bound, validation", |e| e.bound_validation));
    } else {
        plot.series(line("training", |e| Some(e.score_train)));
        plot.series(line("validation", |e| Some(e.score_validation)));
    }
    let caption = if bounded {
        "Bounds with batch statistics, one path an example: examples interact, so these are not strict."
    } else {
        "The walkback score of an operator without a density: minus the reconstruction errors of the \
         K steps of a walk, summed over pixels. It is no bound."
    };
    run.plot(&format!("{name}curve"), &plot, caption)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_even_and_have_both_ends() {
        assert_eq!(shown(1), [0]);
        assert_eq!(shown(4), [0, 1, 2, 3]);
        assert_eq!(shown(31), (0..16).map(|c| 2 * c).collect::<Vec<_>>());
        let many = shown(36);
        assert_eq!((many.len(), many[0], many[15]), (16, 0, 35));
        assert!(many.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
