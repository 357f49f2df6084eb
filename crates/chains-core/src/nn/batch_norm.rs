//! Batch normalisation with PyTorch's names, and whose moments it uses.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::{
    error::{Error, Result},
    ops::{self, BatchMoments, NormActivation, NormOptions},
    params::ParamStore,
};

/// Added to the variance, PyTorch's default.
const EPS: f64 = 1e-5;
/// Weight of a batch in the running moments, PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// Which moments the batch norms of one forward pass use, one entry for each layer in the order in
/// which they are met.
#[derive(Clone, Debug)]
pub enum BatchNormMoments {
    /// Those of each layer's own input; what was found is kept here, with the number of elements
    /// behind each.
    Batch(Vec<(BatchMoments, usize)>),
    /// Those found in an earlier pass over another batch, as constants; the number counts layers.
    Fixed(Vec<(BatchMoments, usize)>, usize),
    /// The running ones of evaluation.
    Running,
}

impl BatchNormMoments {
    /// Each batch its own, none found yet.
    pub fn batch() -> Self {
        Self::Batch(Vec::new())
    }

    /// The same as constants for another pass; running moments stay what they are.
    #[must_use]
    pub fn fixed(self) -> Self {
        match self {
            Self::Batch(found) | Self::Fixed(found, _) => Self::Fixed(found, 0),
            Self::Running => Self::Running,
        }
    }

    /// What the pass found.
    pub fn found(&self) -> &[(BatchMoments, usize)] {
        match self {
            Self::Batch(found) | Self::Fixed(found, _) => found,
            Self::Running => &[],
        }
    }
}

/// What a [`BatchNorm`] is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Channels of the input.
    pub channels: usize,
    /// Added to the variance; 1e-5 in PyTorch.
    pub eps: f64,
    /// Is there a gain for every channel? Without one it is 1 and no parameter.
    pub gain: bool,
    /// What follows.
    pub activation: NormActivation,
}

/// `y = weight (x - mean) / sqrt(variance + eps) + bias` for every channel.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running: BatchMoments,
    eps: f64,
    activation: NormActivation,
}

impl BatchNorm {
    /// Asks `vb` for `weight` (begun at 1), `bias` (0), `running_mean` (0) and `running_var` (1), each
    /// `(channels,)`; with `relu` a ReLU follows.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(channels: usize, relu: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let activation = NormActivation::relu(relu);
        Self::configured(BatchNormConfig { channels, eps: EPS, gain: true, activation }, vb)
    }

    /// As [`BatchNorm::new`] of other choices; without gain there is no `weight`.
    ///
    /// # Errors
    /// As there.
    pub fn configured(config: BatchNormConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let BatchNormConfig { channels, eps, gain, activation } = config;
        let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
        // Views: they show what is stored later, too.
        let stored = |name, value| get(name, value)?.detach().reshape((1, channels));
        let running = BatchMoments {
            mean: stored("running_mean", 0.0)?,
            variance: stored("running_var", 1.0)?,
        };
        let weight = match gain {
            true => get("weight", 1.0)?,
            false => Tensor::ones(channels, vb.dtype(), vb.device())?,
        };
        Ok(Self { weight, bias: get("bias", 0.0)?, running, eps, activation })
    }

    /// The gains, `(channels,)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Scale and shift, `(channels,)` each, of the layer in evaluation, as running moments and parameters
    /// are now: what is folded into a convolution beside the layer.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn running_affine(&self) -> Result<[Tensor; 2]> {
        let moment = |t: &Tensor| t.reshape(self.weight.shape());
        let deviation = (moment(&self.running.variance)? + self.eps)?.sqrt()?;
        let scale = self.weight.div(&deviation)?;
        let shift = (&self.bias - scale.mul(&moment(&self.running.mean)?)?)?;
        Ok([scale, shift])
    }

    /// `(b, channels, ..space)` -> the same shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` does not fit, [`Error::Config`] if fixed moments are those of a pass
    /// with fewer layers.
    pub fn forward(&self, x: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        self.activated(x, moments, self.activation)
    }

    /// As [`BatchNorm::forward`] with another activation in the place of its own.
    ///
    /// # Errors
    /// As there.
    pub fn activated(
        &self,
        x: &Tensor,
        moments: &mut BatchNormMoments,
        activation: NormActivation,
    ) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        if x.rank() < 2 || x.dims()[1] != channels {
            let (expected, got) = (format!("(b, {channels}, ..)"), x.dims().to_vec());
            return Err(Error::Shape { what: "batch norm", expected, got });
        }
        let grouped = ops::reshape(x, [&[1], x.dims()].concat())?;
        let used = match moments {
            BatchNormMoments::Batch(found) => {
                let here = ops::batch_moments(&grouped)?;
                found.push((here.clone(), x.elem_count() / channels));
                here
            }
            BatchNormMoments::Fixed(found, next) => {
                let Some((here, _)) = found.get(*next) else {
                    let reason = format!("moments of {} layers, more are asked for", found.len());
                    return Err(Error::Config { field: "batch norm", reason });
                };
                *next += 1;
                here.clone()
            }
            BatchNormMoments::Running => self.running.clone(),
        };
        let row = |t: &Tensor| ops::reshape(t, (1, channels));
        let batch = matches!(moments, BatchNormMoments::Batch(_));
        let options = NormOptions { batch, activation };
        let gains = [&row(&self.weight)?, &row(&self.bias)?];
        ops::reshape(&ops::normalise(&grouped, &used, gains, self.eps, options)?, x.shape().clone())
    }

    /// Moves the running moments of the layer that was built at `prefix` of `store` a tenth of the way
    /// to those of a batch of `count` elements a channel; the variance unbiased, as PyTorch has it.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such layer.
    pub fn follow(store: &ParamStore, prefix: &str, found: &(BatchMoments, usize)) -> Result<()> {
        Self::follow_by(store, prefix, found, MOMENTUM)
    }

    /// As [`BatchNorm::follow`], by another part of the way than a tenth: PyTorch's momentum.
    ///
    /// # Errors
    /// As [`BatchNorm::follow`].
    pub fn follow_by(
        store: &ParamStore,
        prefix: &str,
        (moments, count): &(BatchMoments, usize),
        momentum: f64,
    ) -> Result<()> {
        let unbiased = *count as f64 / count.saturating_sub(1).max(1) as f64;
        for (leaf, now, scale) in
            [("running_mean", &moments.mean, 1.0), ("running_var", &moments.variance, unbiased)]
        {
            let Some(var) = store.get(&format!("{prefix}.{leaf}")) else {
                let reason = format!("no variable {prefix}.{leaf}");
                return Err(Error::Config { field: "batch norm", reason });
            };
            ops::follow(&var, &now.reshape(var.shape())?, [1.0 - momentum, momentum * scale])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::{
        Seed,
        testing::{assert_close, normal, values},
    };

    fn store() -> ParamStore {
        ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu)
    }

    #[test]
    fn without_a_gain_there_is_none_to_train_and_eps_and_slope_are_as_configured() -> Result<()> {
        let store = store();
        let activation = NormActivation::LeakyRelu(0.2);
        let config = BatchNormConfig { channels: 3, eps: 0.5, gain: false, activation };
        let norm = BatchNorm::configured(config, store.builder().pp("bn"))?;
        let names: Vec<_> = store.all().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["bn.bias", "bn.running_mean", "bn.running_var"]);
        let x = normal("x", (40, 3));
        let y = norm.forward(&x, &mut BatchNormMoments::batch())?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(0)? + 0.5)?.sqrt()?;
        let want: Vec<f64> = values(&centred.broadcast_div(&deviation)?);
        let want: Vec<f64> = want.iter().map(|y| if *y > 0.0 { *y } else { 0.2 * y }).collect();
        assert_close("leaky", &values(&y), &want, 1e-7);
        Ok(())
    }

    #[test]
    fn a_batch_is_standardised_and_fixed_moments_are_those_of_another_batch() -> Result<()> {
        let store = store();
        let norm = BatchNorm::new(3, false, store.builder().pp("bn"))?;
        let (x, other) = (normal("x", (40, 3, 2)), normal("other", (7, 3, 2)));
        let mut moments = BatchNormMoments::batch();
        let y = norm.forward(&x, &mut moments)?;
        let wide = |t: &Tensor| t.reshape((1, 3, 1));
        let mean = x.mean((0, 2))?;
        let variance = x.broadcast_sub(&wide(&mean)?)?.sqr()?.mean((0, 2))?;
        let with = |t: &Tensor| -> Result<Tensor> {
            let deviation = wide(&(&variance + EPS)?)?.sqrt()?;
            Ok(t.broadcast_sub(&wide(&mean)?)?.broadcast_div(&deviation)?)
        };
        assert_close("batch", &values(&y), &values(&with(&x)?), 1e-12);
        assert_eq!(moments.found()[0].1, 80);
        let mut fixed = moments.fixed();
        let y = norm.forward(&other, &mut fixed)?;
        assert_close("fixed", &values(&y), &values(&with(&other)?), 1e-12);
        let message = norm.forward(&other, &mut fixed).unwrap_err().to_string();
        assert!(message.contains("1 layers"), "{message}");
        Ok(())
    }

    #[test]
    fn running_moments_go_a_tenth_of_the_way_and_are_unbiased() -> Result<()> {
        let store = store();
        let norm = BatchNorm::new(2, true, store.builder().pp("bn"))?;
        let x = normal("x", (5, 2));
        let mut moments = BatchNormMoments::batch();
        norm.forward(&x, &mut moments)?;
        BatchNorm::follow(&store, "bn", &moments.found()[0])?;
        let mean = x.mean(0)?;
        let variance = (x.broadcast_sub(&mean)?.sqr()?.sum(0)? / 4.0)?;
        let get = |name: &str| values(store.get(name).unwrap().as_tensor());
        assert_close("mean", &get("bn.running_mean"), &values(&(mean * 0.1)?), 1e-12);
        let want = ((variance * 0.1)? + 0.9)?;
        assert_close("variance", &get("bn.running_var"), &values(&want), 1e-12);
        // The layer sees what is stored.
        let y = norm.forward(&x, &mut BatchNormMoments::Running)?;
        let mean = store.get("bn.running_mean").unwrap().as_detached_tensor();
        let var = store.get("bn.running_var").unwrap().as_detached_tensor();
        let want = x.broadcast_sub(&mean)?.broadcast_div(&(var + EPS)?.sqrt()?)?.relu()?;
        assert_close("evaluation", &values(&y), &values(&want), 1e-12);
        let [scale, shift] = norm.running_affine()?;
        let folded = x.broadcast_mul(&scale)?.broadcast_add(&shift)?.relu()?;
        assert_close("affine", &values(&folded), &values(&want), 1e-12);
        assert!(BatchNorm::follow(&store, "other", &moments.found()[0]).is_err());
        Ok(())
    }
}
