//! Normalisation whose parameters are shared or of a step of a chain, and whose moments are stored by
//! step and by direction of the walk.

use candle_core::{Tensor, Var};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use super::MomentAverage;
use crate::{
    error::{Error, Result},
    ops::{self, BatchMoments, Eps, NormActivation, NormOptions},
    params::ParamStore,
};

/// Over what a [`Norm`] takes its moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Over the batch and all positions, for every channel.
    Batch,
    /// Over the units of a row, for every example.
    Layer,
}

/// Who has which gain and shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gains {
    /// Every step its own.
    PerStep,
    /// All steps the same.
    Shared,
    /// There is none: gain one and shift zero.
    None,
}

/// Constants of a [`Norm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormConfig {
    /// Over what moments are taken.
    pub kind: NormKind,
    /// Who has which gain and shift.
    pub gains: Gains,
    /// Standard deviation of the initial gains around one.
    pub gain_stdev: f64,
    /// Steps of the chain.
    pub steps: usize,
    /// Channels, or units of a dense layer.
    pub channels: usize,
    /// The small number that keeps the result finite.
    pub eps: Eps,
    /// Slope below zero of the leaky ReLU that follows; 0 is a ReLU, `None` is nothing.
    pub slope: Option<f64>,
    /// Names of the directions whose moments a batch norm stores, such as `heat` and `cool`.
    pub sets: &'static [&'static str],
}

/// Which moments a batch norm uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentSource {
    /// Those of the batch itself: examples interact.
    Batch,
    /// The stored ones of that direction, by its place in [`NormConfig::sets`].
    Set(usize),
}

/// `y = leaky(weight (x - mean) / deviation + bias)` with the deviation of [`Eps`].
///
/// Variables are `norms.<step>.weight` (begun near 1) and `.bias` (0), or `norm.weight` and
/// `norm.bias` if shared, and for a batch norm `<set>.<step>.running_mean` (0) and `.running_var` (1);
/// each `(channels,)`. A step beyond the last uses the last.
#[derive(Clone, Debug)]
pub struct Norm {
    config: NormConfig,
    /// One if shared or constant.
    gains: Vec<[Tensor; 2]>,
    /// By set and step, mean and variance `(1, channels)`.
    moments: Vec<Vec<BatchMoments>>,
}

impl Norm {
    /// Asks `vb` for the variables of every step.
    ///
    /// # Errors
    /// If there is no step, or the builder holds tensors of other shapes.
    pub fn new(config: NormConfig, vb: VarBuilder<'_>) -> Result<Self> {
        if config.steps == 0 {
            return Err(Error::Config { field: "steps", reason: "must be at least 1".into() });
        }
        let c = config.channels;
        let pair = |vb: VarBuilder<'_>| -> Result<[Tensor; 2]> {
            let spread = Init::Randn { mean: 1.0, stdev: config.gain_stdev };
            let init = if config.gain_stdev > 0.0 { spread } else { Init::Const(1.0) };
            let weight = vb.get_with_hints(c, "weight", init)?;
            Ok([weight, vb.get_with_hints(c, "bias", Init::Const(0.0))?])
        };
        let gains = match config.gains {
            Gains::PerStep => (0..config.steps)
                .map(|step| pair(vb.pp("norms").pp(step)))
                .collect::<Result<Vec<_>>>()?,
            Gains::Shared => vec![pair(vb.pp("norm"))?],
            Gains::None => {
                let ones = Tensor::ones(c, vb.dtype(), vb.device())?;
                vec![[ones.clone(), ones.zeros_like()?]]
            }
        };
        let sets = if config.kind == NormKind::Batch { config.sets } else { &[] };
        let one = |set: &str, step: usize| -> Result<BatchMoments> {
            let vb = vb.pp(set).pp(step);
            let get = |name, value| -> Result<Tensor> {
                let stored = vb.get_with_hints(c, name, Init::Const(value))?;
                // A view: it shows what is stored later, too.
                Ok(stored.detach().reshape((1, c))?)
            };
            Ok(BatchMoments { mean: get("running_mean", 0.0)?, variance: get("running_var", 1.0)? })
        };
        let moments = sets
            .iter()
            .map(|set| (0..config.steps).map(|step| one(set, step)).collect())
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { config, gains, moments })
    }

    /// Normalises with the parameters of `step`, from 0.
    ///
    /// # Shapes
    /// `x`: `(b, channels, ..space)`, for a layer norm `(b, channels)`; the result has the same shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` does not fit; [`Error::Config`] for a direction that is not stored.
    pub fn forward(&self, x: &Tensor, step: usize, source: MomentSource) -> Result<Tensor> {
        let c = self.config.channels;
        let fits = match self.config.kind {
            NormKind::Batch => x.rank() >= 2 && x.dims()[1] == c,
            NormKind::Layer => x.rank() == 2 && x.dims()[1] == c,
        };
        if !fits {
            let (expected, got) = (format!("(b, {c}, ..)"), x.dims().to_vec());
            return Err(Error::Shape { what: "normalised layer", expected, got });
        }
        let [gain, shift] = &self.gains[step.min(self.gains.len() - 1)];
        let y = match self.config.kind {
            NormKind::Layer => ops::layer_norm(x, Some(gain), Some(shift), self.config.eps)?,
            NormKind::Batch => self.batch(x, [gain, shift], step, source)?,
        };
        match self.config.slope {
            Some(slope) if slope > 0.0 => ops::leaky_relu(&y, slope),
            Some(_) if self.config.kind == NormKind::Layer => ops::relu(&y),
            _ => Ok(y),
        }
    }

    fn batch(
        &self,
        x: &Tensor,
        gains: [&Tensor; 2],
        step: usize,
        source: MomentSource,
    ) -> Result<Tensor> {
        let grouped = ops::reshape(x, [&[1], x.dims()].concat())?;
        let moments = match source {
            MomentSource::Batch => ops::batch_moments(&grouped)?,
            MomentSource::Set(set) => match self.moments.get(set) {
                Some(steps) => steps[step.min(steps.len() - 1)].clone(),
                None => {
                    let reason = format!("direction {set} of {}", self.moments.len());
                    return Err(Error::Config { field: "statistics", reason });
                }
            },
        };
        let row = |t: &Tensor| ops::reshape(t, (1, self.config.channels));
        let [gain, shift] = gains.map(row);
        let relu = self.config.slope.is_some_and(|slope| slope <= 0.0);
        let activation = NormActivation::relu(relu);
        let options = NormOptions { batch: source == MomentSource::Batch, activation };
        let y = ops::normalise(&grouped, &moments, [&gain?, &shift?], self.config.eps, options)?;
        ops::reshape(&y, x.shape().clone())
    }

    /// The layer's constants.
    pub fn config(&self) -> &NormConfig {
        &self.config
    }

    /// Writes gathered moments of `step` of the direction `set` into the variables of a layer that was
    /// built at `prefix` of `store`.
    ///
    /// # Errors
    /// [`Error::Config`] if the direction is not stored there or nothing was gathered.
    pub fn store_moments(
        &self,
        store: &ParamStore,
        prefix: &str,
        [set, step]: [usize; 2],
        gathered: &MomentAverage,
    ) -> Result<()> {
        let name = self.config.sets.get(set).copied().unwrap_or_default();
        if gathered.moments(step).is_none() {
            let reason = format!("no moments were gathered for {prefix}.{name}.{step}");
            return Err(Error::Config { field: "statistics", reason });
        }
        let variable = |at: usize, leaf: &str| -> Option<Var> {
            store.get(&format!("{prefix}.{name}.{at}.{leaf}"))
        };
        gathered.store(variable)
    }
}

#[cfg(test)]
mod tests;
