//! Frozen normalisation moments over a whole training set, and the start that belongs to them.

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    chain::{Schedule, Step, TransitionOperator},
    density::Sample,
    dist::Moments,
    nn::MomentAverage,
    ops,
};

use crate::{
    config::StartConfig,
    model::WalkbackModel,
    network::{Stage, Statistics},
};

/// Activations that are kept for all examples, at most, in numbers; beyond, they are computed again.
const KEPT: usize = 1 << 27;

/// Stores the moments of every batch-normalised layer, and the moments of a fitted start.
///
/// Transitions are treated in their order, both directions of each: (t, heating) sees `s_{t-1}`,
/// (t, cooling) sees `s_t`, which is drawn with the moments of (t, heating) just stored. Within a
/// direction layers are treated in their order, so that every layer sees inputs made with stored
/// moments alone. Moments are exact over all rows, whatever `rows`, how many of them are computed at a
/// time. The start is fitted to the `s_K`.
///
/// # Shapes
/// `x`: `(n, D)`, the training set. Its states are kept, and activations up to half a gigabyte.
///
/// # Errors
/// [`chains_core::Error::Config`] if there are no rows or none at a time.
pub fn freeze(
    model: &WalkbackModel,
    x: &Tensor,
    rows: usize,
    noise: &mut dyn Noise,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<()> {
    freeze_keeping(model, x, [rows, KEPT], noise, progress)
}

/// [`freeze`] with so many activations kept.
fn freeze_keeping(
    model: &WalkbackModel,
    x: &Tensor,
    [rows, kept]: [usize; 2],
    noise: &mut dyn Noise,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<()> {
    let mut states = blocks(x, rows)?;
    let heating = model.heating(0);
    let operator = model.operator(Statistics::Heating);
    let steps = heating.len().unwrap_or(0);
    for index in 0..steps {
        let at = heating.at(index);
        gather(model, &states, at, Statistics::Heating, kept)?;
        for state in &mut states {
            *state = operator.conditional(state, at)?.sample(1, noise)?.detach();
        }
        gather(model, &states, at, Statistics::Cooling, kept)?;
        progress((index + 1) as f64 / steps as f64)?;
    }
    fit(model, &states)
}

/// Fits the start to the ends of walks from the rows of `x`, with the moments stored for heating. Does
/// nothing if the start is not fitted.
///
/// # Errors
/// As [`freeze`].
pub fn refit_start(
    model: &WalkbackModel,
    x: &Tensor,
    rows: usize,
    noise: &mut dyn Noise,
) -> Result<()> {
    let (heating, operator) = (model.heating(0), model.operator(Statistics::Heating));
    let mut states = blocks(x, rows)?;
    for state in &mut states {
        for index in 0..heating.len().unwrap_or(0) {
            let law = operator.conditional(state, heating.at(index))?;
            *state = law.sample(1, noise)?.detach();
        }
    }
    fit(model, &states)
}

fn fit(model: &WalkbackModel, ends: &[Tensor]) -> Result<()> {
    let StartConfig::Fitted { .. } = model.config().chain.start else { return Ok(()) };
    let mut moments = Moments::default();
    ends.iter().try_for_each(|end| moments.push(end))?;
    model.set_start(&moments.mean(), &moments.variance())
}

fn blocks(x: &Tensor, rows: usize) -> Result<Vec<Tensor>> {
    let n = x.dims2()?.0;
    if n == 0 || rows == 0 {
        let reason = "examples and rows must be at least 1".into();
        return Err(chains_core::Error::Config { field: "rows", reason });
    }
    let part = |from| Ok(x.narrow(0, from, rows.min(n - from))?.detach());
    (0..n).step_by(rows).map(part).collect()
}

/// Stores the moments of all layers at one transition, seen from one side.
fn gather(
    model: &WalkbackModel,
    states: &[Tensor],
    at: Step,
    statistics: Statistics,
    kept: usize,
) -> Result<()> {
    let network = model.frozen();
    let ([mean, variance], common) = network.routes();
    let entrances: Vec<Tensor> =
        states.iter().map(|s| network.entrance(s, at.temperature)).collect::<Result<_>>()?;
    let mut route = Route { model, at, statistics, kept, base: entrances, from: 0 };
    route.follow(&mean, 0..common)?;
    let mut other = Route { base: route.base.clone(), ..route };
    route.follow(&mean, common..mean.len())?;
    other.follow(&variance, common..variance.len())
}

/// A pass along stages whose moments are stored one after the other.
struct Route<'a> {
    model: &'a WalkbackModel,
    at: Step,
    statistics: Statistics,
    kept: usize,
    /// What enters stage `from`, in blocks.
    base: Vec<Tensor>,
    from: usize,
}

impl Route<'_> {
    fn follow(&mut self, stages: &[&Stage], range: std::ops::Range<usize>) -> Result<()> {
        let rows: usize = self.base.iter().map(|block| block.dims()[0]).sum();
        let source = self.statistics.source();
        let set = usize::from(self.statistics == Statistics::Cooling);
        let index = self.at.index;
        for number in range {
            let Some(norm) = stages[number].batch_norm() else { continue };
            let mut moments = MomentAverage::default();
            for block in &self.base {
                let y = self.before_norm(stages, number, block)?;
                let grouped = y.unsqueeze(0)?;
                moments.push(index, &ops::batch_moments(&grouped)?, y.dims()[0])?;
            }
            let prefix = format!("operator.{}", stages[number].name());
            norm.store_moments(self.model.store(), &prefix, [set, index], &moments)?;
            let next = stages.get(number + 1).map_or(usize::MAX, |stage| stage.width());
            if rows.saturating_mul(next) <= self.kept {
                let finish = |block: &Tensor| {
                    let y = self.before_norm(stages, number, block)?;
                    stages[number].finish(&y, index, source)
                };
                self.base = self.base.iter().map(finish).collect::<Result<_>>()?;
                self.from = number + 1;
            }
        }
        Ok(())
    }

    /// The affine map of stage `number`, from what is kept.
    fn before_norm(&self, stages: &[&Stage], number: usize, block: &Tensor) -> Result<Tensor> {
        let mut h = block.clone();
        for stage in &stages[self.from..number] {
            h = stage.finish(&stage.affine(&h)?, self.at.index, self.statistics.source())?;
        }
        stages[number].affine(&h)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use chains_core::{Seed, nn::Gains};

    use super::*;
    use crate::config::{DenseNorm, ModelConfig, NetworkConfig};

    /// All numbers of a model after its moments were stored.
    fn frozen(network: NetworkConfig, sizes: [usize; 2]) -> Result<Vec<(String, Vec<f32>)>> {
        let config = ModelConfig::gaussian(network, [0.05, 1e-4], 1.5);
        let model = WalkbackModel::new(config, Seed::new(5), &Device::Cpu)?;
        let shape = (20, model.config().network.dim()).into();
        let x = Seed::new(1).host_noise().uniform(&shape, DType::F32, &Device::Cpu)?;
        let mut noise = Seed::new(2).host_noise();
        freeze_keeping(&model, &x, sizes, &mut noise, &mut |_| Ok(()))?;
        let all = model.store().tensors().into_iter();
        all.map(|(name, t)| Ok((name, t.flatten_all()?.to_vec1()?))).collect()
    }

    #[test]
    fn activations_that_are_computed_again_give_the_same_moments() -> Result<()> {
        let conv = NetworkConfig::conv([2, 8, 8], vec![3, 4], vec![10, 10], 2);
        let layer = NetworkConfig { dense_norm: DenseNorm::Layer, ..conv.clone() };
        let gains = NetworkConfig { conv_gains: Gains::None, ..conv.clone() };
        let mlp = NetworkConfig::normalised_mlp([1, 2, 3], vec![12, 12], 2);
        for network in [conv, layer, gains, mlp] {
            // Nothing, the narrow layers, everything.
            for rows in [20, 7] {
                let want = frozen(network.clone(), [rows, KEPT])?;
                for kept in [0, 20 * 12] {
                    assert_eq!(frozen(network.clone(), [rows, kept])?, want);
                }
            }
        }
        Ok(())
    }
}
