//! Chains as pictures: test images that are heated, noise that is cooled.

use candle_core::Tensor;
use walkback::{Statistics, WalkbackModel, heat};

use super::{super::generation::BLOCK, samples::Drawn};
use crate::{
    arrays::spread,
    error::Result,
    images::Images,
    results::{Check, Metric},
    run::Run,
};

/// Columns of a picture, at most.
const MOST_COLUMNS: usize = 16;

/// At most [`MOST_COLUMNS`] of `0..len`, evenly spread, the first and the last among them.
pub(super) fn selection(len: usize) -> Vec<usize> {
    let n = len.min(MOST_COLUMNS);
    (0..n).map(|i| i * (len - 1) / (n - 1).max(1)).collect()
}

/// Some states of the first chains of a batch.
pub(super) struct Columns {
    chains: usize,
    selection: Vec<usize>,
    states: Vec<Tensor>,
    /// Has every state, shown or not, been a number?
    finite: bool,
}

impl Columns {
    /// Of `len` states, of so many chains.
    pub(super) fn new(len: usize, chains: usize) -> Self {
        Self { chains, selection: selection(len), states: Vec::new(), finite: true }
    }

    /// State `t` of all chains, `(n, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub(super) fn push(&mut self, t: usize, states: &Tensor) -> candle_core::Result<()> {
        let sum = states.sum_all()?.to_scalar::<f32>()?;
        self.finite &= sum.is_finite();
        if self.selection.contains(&t) {
            let chains = self.chains.min(states.dim(0)?);
            self.states.push(states.narrow(0, 0, chains)?.contiguous()?);
        }
        Ok(())
    }

    fn show(&self, run: &mut Run<'_>, name: &str, images: &Images, caption: &str) -> Result<()> {
        run.check(Check::new(
            format!("every state of the {name} chains is a number"),
            self.finite,
            format!("{} states of each shown", self.states.len()),
        ));
        let steps = self.selection.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        run.chains(name, images.event(), &self.states, &format!("{caption} States {steps}."))
    }
}

/// The first test images and what heating makes of them.
pub(super) fn heating(
    run: &mut Run<'_>,
    images: &Images,
    model: &WalkbackModel,
    chains: usize,
) -> Result<()> {
    let seed = run.request.stream().child("heating-chains");
    let n = images.test.len().min(BLOCK);
    let x = images.first(&images.test, n, seed.child("test"), model.device())?;
    let mut columns = Columns::new(model.config().network.steps + 1, chains);
    columns.push(0, &x)?;
    let mut noise = seed.host_noise();
    let end = heat(model, &x, Statistics::Batch, &mut noise, |step, generated| {
        Ok(columns.push(step + 1, &generated.position)?)
    })?;
    run.metric(Metric::new("pixel_deviation_heated", spread(&end.position)?, "of [0, 1]").n(n));
    run.metric(Metric::new("pixel_mean_heated", mean(&end.position)?, "of [0, 1]").n(n));
    run.heading("Heating chains");
    let caption = "Each row a test image walking away from the data.";
    columns.show(run, "heating", images, caption)
}

/// The chains of samples, from their start.
pub(super) fn cooling(
    run: &mut Run<'_>,
    images: &Images,
    model: &WalkbackModel,
    drawn: &Drawn,
) -> Result<()> {
    let n = drawn.starts.dim(0)?;
    run.metric(Metric::new("pixel_deviation_start", spread(&drawn.starts)?, "of [0, 1]").n(n));
    run.metric(Metric::new("pixel_mean_start", mean(&drawn.starts)?, "of [0, 1]").n(n));
    run.heading("Cooling chains");
    if !model.config().operator.has_density() {
        run.paragraph(
            "The start is noise around 0.5 of standard deviation 2, clipped to [0, 1], as in the \
             published code; it is not fitted to where heating ends, and after the hottest steps \
             hardly any noise is added: the variety of the samples is that of the start.",
        );
    }
    let caption = "Each row a chain of a sample: the noise it starts from, then states while it \
                   cools and stays at temperature 1.";
    drawn.columns.show(run, "cooling", images, caption)
}

fn mean(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.mean_all()?.to_scalar::<f32>()?))
}
