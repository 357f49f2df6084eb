//! Batch normalisation with parameters and statistics of its own for every step of a chain.

use candle_core::{Device, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::{
    error::{Error, Result},
    host,
    ops::{self, BatchMoments, Eps, NormActivation, NormOptions},
};

/// Which moments normalise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch itself: examples interact.
    Batch,
    /// The stored ones: examples are independent.
    Running,
}

/// Constants of a [`StepNorm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepNormConfig {
    /// Number of steps with parameters of their own.
    pub steps: usize,
    /// Channels, or units of a dense layer.
    pub channels: usize,
    /// The small number that keeps the result finite.
    pub eps: Eps,
    /// Apply a ReLU afterwards.
    pub relu: bool,
}

/// `y = weight_t (x - mean_t) / deviation_t + bias_t`, with `t` the chain's step and the deviation of
/// [`Eps`].
///
/// Variables are `norms.<step>.weight` (begun at 1), `.bias` (0), `.running_mean` (0) and
/// `.running_var` (1), each `(channels,)`; variances are population variances. A step beyond the
/// last uses the last.
#[derive(Clone, Debug)]
pub struct StepNorm {
    config: StepNormConfig,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl StepNorm {
    /// Asks `vb` for the variables of every step.
    ///
    /// # Errors
    /// If there is no step, or the builder holds tensors of other shapes.
    pub fn new(config: StepNormConfig, vb: VarBuilder<'_>) -> Result<Self> {
        if config.steps == 0 {
            return Err(Error::Config { field: "steps", reason: "must be at least 1".into() });
        }
        let steps = (0..config.steps)
            .map(|step| {
                let vb = vb.pp("norms").pp(step);
                let get =
                    |name, value| vb.get_with_hints(config.channels, name, Init::Const(value));
                Ok(Step {
                    weight: get("weight", 1.0)?,
                    bias: get("bias", 0.0)?,
                    running_mean: get("running_mean", 0.0)?.detach(),
                    running_var: get("running_var", 1.0)?.detach(),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { config, steps })
    }

    /// Normalises states of several steps at once, each group by itself. Step numbers begin at 0.
    ///
    /// Returns the moments that were used: the batch's, detached, or the stored ones.
    ///
    /// # Shapes
    /// `x`: `(steps.len(), b, channels, ..space)`; the result has the same shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` does not fit.
    pub fn forward(
        &self,
        x: &Tensor,
        steps: &[usize],
        statistics: Statistics,
    ) -> Result<(Tensor, BatchMoments)> {
        if x.dims().first() != Some(&steps.len()) {
            return Err(Error::Shape {
                what: "per-step batch norm",
                expected: format!("({}, b, {}, ..)", steps.len(), self.config.channels),
                got: x.dims().to_vec(),
            });
        }
        let stack = |f: fn(&Step) -> &Tensor| -> Result<Tensor> {
            let parts: Vec<_> = steps.iter().map(|step| f(self.at(*step))).collect();
            ops::stack(&parts)
        };
        let parameters = [&stack(|s| &s.weight)?, &stack(|s| &s.bias)?];
        let activation = NormActivation::relu(self.config.relu);
        if statistics == Statistics::Batch {
            return ops::batch_normalise(x, parameters, self.config.eps, activation);
        }
        let moments = BatchMoments {
            mean: stack(|s| &s.running_mean)?,
            variance: stack(|s| &s.running_var)?,
        };
        let options = NormOptions { batch: false, activation };
        let y = ops::normalise(x, &moments, parameters, self.config.eps, options)?;
        Ok((y, moments))
    }

    fn at(&self, step: usize) -> &Step {
        &self.steps[step.min(self.steps.len() - 1)]
    }

    /// The layer's constants.
    pub fn config(&self) -> &StepNormConfig {
        &self.config
    }
}

/// Exact moments of a data set from the moments of its batches, for one layer and all steps.
///
/// Mean of means, and mean of variances plus variance of means, all weighted by batch size, so that
/// batches of any sizes give what one pass over the whole set would give.
#[derive(Clone, Debug, Default)]
pub struct MomentAverage {
    steps: Vec<StepSums>,
}

#[derive(Clone, Debug, Default)]
struct StepSums {
    count: f64,
    mean: Vec<f64>,
    /// Sum of squared deviations from the mean.
    scatter: Vec<f64>,
}

impl MomentAverage {
    /// Adds the moments `(1, channels)` of one batch of `count` elements at `step`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of channels changes.
    pub fn push(&mut self, step: usize, moments: &BatchMoments, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let (mean, variance) = (host::values(&moments.mean)?, host::values(&moments.variance)?);
        if self.steps.len() <= step {
            self.steps.resize_with(step + 1, StepSums::default);
        }
        let sums = &mut self.steps[step];
        if sums.count <= 0.0 {
            sums.mean = vec![0.0; mean.len()];
            sums.scatter = vec![0.0; mean.len()];
        }
        for (values, tensor) in [(&mean, &moments.mean), (&variance, &moments.variance)] {
            if values.len() != sums.mean.len() {
                return Err(Error::Shape {
                    what: "batch moments",
                    expected: format!("(1, {})", sums.mean.len()),
                    got: tensor.dims().to_vec(),
                });
            }
        }
        let total = sums.count + count as f64;
        let share = count as f64 / total;
        for (i, (m, v)) in mean.iter().zip(&variance).enumerate() {
            let delta = m - sums.mean[i];
            sums.mean[i] += share * delta;
            // Chan, Golub, LeVeque 1983: pairwise update of the sum of squares.
            sums.scatter[i] += v * count as f64 + delta * delta * sums.count * share;
        }
        sums.count = total;
        Ok(())
    }

    /// Mean and population variance of a step, if anything was added for it.
    pub fn moments(&self, step: usize) -> Option<(Vec<f64>, Vec<f64>)> {
        let sums = self.steps.get(step).filter(|sums| sums.count > 0.0)?;
        let variance = sums.scatter.iter().map(|s| s / sums.count).collect();
        Some((sums.mean.clone(), variance))
    }

    /// Writes the moments into the `running_*` variables that `variable` finds by step and name.
    ///
    /// # Errors
    /// If a step has no moments or a variable is missing.
    pub fn store(&self, variable: impl Fn(usize, &str) -> Option<Var>) -> Result<()> {
        for step in 0..self.steps.len() {
            let Some((mean, var)) = self.moments(step) else { continue };
            for (name, values) in [("running_mean", mean), ("running_var", var)] {
                let Some(variable) = variable(step, name) else {
                    let reason = format!("no variable norms.{step}.{name}");
                    return Err(Error::Config { field: "norms", reason });
                };
                let values = Tensor::from_vec(values, variable.shape(), &Device::Cpu)?;
                variable.set(&values.to_dtype(variable.dtype())?.to_device(variable.device())?)?;
            }
        }
        Ok(())
    }
}
