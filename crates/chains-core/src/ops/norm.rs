//! Batch normalisation.

mod eps;
mod passes;
mod tasks;

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

pub use self::eps::Eps;
use self::{
    passes::{Passes, moments},
    tasks::spread,
};
#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    activation::{leaky_relu, relu, silu},
    fused, on_cuda, slice, with_values,
};
use crate::{
    autograd::apply3,
    error::{Error, Result},
};

/// Mean and population variance of every channel of every group.
#[derive(Clone, Debug)]
pub struct BatchMoments {
    /// `(g, c)`.
    pub mean: Tensor,
    /// `(g, c)`, population variance (divided by the count).
    pub variance: Tensor,
}

/// Moments over the batch and all positions, detached.
///
/// # Shapes
/// `x`: `(g, b, c, ..space)`, groups being normalised separately; the moments `(g, c)`.
///
/// # Errors
/// [`Error::Shape`] if `x` has fewer than three axes.
pub fn batch_moments(x: &Tensor) -> Result<BatchMoments> {
    let [g, b, c, s] = axes(x)?;
    on_cuda!([x] => cuda::batch_moments(x, [g, b, c, s]));
    if fused(&[x]) {
        let (mean, variance) = with_values([x], |[xs]| Ok(moments(xs, [g, b, c, s])))?;
        return Ok(BatchMoments {
            mean: Tensor::from_vec(mean, (g, c), x.device())?,
            variance: Tensor::from_vec(variance, (g, c), x.device())?,
        });
    }
    let flat = x.detach().reshape((g, b, c, s))?;
    let mean = flat.mean_keepdim((1, 3))?;
    let variance = flat.broadcast_sub(&mean)?.sqr()?.mean((1, 3))?;
    Ok(BatchMoments { mean: mean.reshape((g, c))?, variance })
}

/// `f(gain (x - mean) / deviation + shift)` with the activation of the options; the deviation is
/// `sqrt(variance + eps)` for a number, see [`Eps`].
///
/// With `batch` the moments must be [`batch_moments`] of this very `x`, and the gradient flows
/// through them; without it they are constants.
///
/// # Shapes
/// `x`: `(g, b, c, ..space)`; `gain`, `shift`: `(g, c)`; the result as `x`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn normalise(
    x: &Tensor,
    moments: &BatchMoments,
    [gain, shift]: [&Tensor; 2],
    eps: impl Into<Eps>,
    options: NormOptions,
) -> Result<Tensor> {
    let eps = eps.into();
    let [g, b, c, s] = axes(x)?;
    for (what, tensor) in [
        ("batch norm gain", gain),
        ("batch norm shift", shift),
        ("batch norm mean", &moments.mean),
        ("batch norm variance", &moments.variance),
    ] {
        if tensor.dims() != [g, c] {
            let got = tensor.dims().to_vec();
            return Err(Error::Shape { what, expected: format!("({g}, {c})"), got });
        }
    }
    let operands = [x, gain, shift, &moments.mean, &moments.variance];
    on_cuda!(operands => cuda::batch_norm(
        x, moments, [gain, shift], eps, options, [g, b, c, s]
    ));
    if fused(&operands) {
        let op = with_values([&moments.mean, &moments.variance], |[mean, variance]| {
            let (scale, pull) = variance.iter().map(|v| eps.scale_and_pull(*v)).unzip();
            Ok(Normalise { mean: mean.to_vec(), scale, pull, axes: [g, b, c, s], options })
        })?;
        let operands = [&x.contiguous()?, &gain.contiguous()?, &shift.contiguous()?];
        return Ok(apply3(op, operands)?);
    }
    let wide = |t: &Tensor| t.reshape((g, 1, c, 1));
    let flat = x.reshape((g, b, c, s))?;
    let (mean, variance) = if options.batch {
        let mean = flat.mean_keepdim((1, 3))?;
        let variance = flat.broadcast_sub(&mean)?.sqr()?.mean_keepdim((1, 3))?;
        (mean, variance)
    } else {
        (wide(&moments.mean.detach())?, wide(&moments.variance.detach())?)
    };
    let y = flat.broadcast_sub(&mean)?.broadcast_div(&eps.deviation(&variance)?)?;
    let y = y.broadcast_mul(&wide(gain)?)?.broadcast_add(&wide(shift)?)?;
    let y = match options.activation {
        NormActivation::None => y,
        NormActivation::Relu => relu(&y)?,
        NormActivation::LeakyRelu(slope) => leaky_relu(&y, slope.into())?,
        NormActivation::Swish => silu(&y)?,
    };
    Ok(y.reshape(x.shape())?)
}

/// [`normalise`] by the batch's own moments, which are returned, detached.
///
/// # Shapes
/// As there.
///
/// # Errors
/// As there.
pub fn batch_normalise(
    x: &Tensor,
    gains: [&Tensor; 2],
    eps: impl Into<Eps>,
    activation: NormActivation,
) -> Result<(Tensor, BatchMoments)> {
    let (eps, options) = (eps.into(), NormOptions { batch: true, activation });
    #[cfg(feature = "cuda")]
    {
        let [g, b, c, s] = axes(x)?;
        let fits = s == 1 && gains.iter().all(|gain| gain.dims() == [g, c]);
        if fits && cuda::applies(&[x, gains[0], gains[1]]) {
            return cuda::batch_normalise(x, gains, eps, options, [g, b, c, s]);
        }
    }
    let moments = batch_moments(x)?;
    Ok((normalise(x, &moments, gains, eps, options)?, moments))
}

/// Variants of [`normalise`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormOptions {
    /// The moments are those of the input itself.
    pub batch: bool,
    /// What follows.
    pub activation: NormActivation,
}

/// What follows a normalisation in the same pass over memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormActivation {
    /// Nothing.
    None,
    /// `max(y, 0)`.
    Relu,
    /// `y` if positive, else this slope times `y`.
    LeakyRelu(f32),
    /// `y / (1 + exp(-y))`.
    Swish,
}

impl NormActivation {
    /// A ReLU, or nothing.
    pub const fn relu(wanted: bool) -> Self {
        if wanted { Self::Relu } else { Self::None }
    }
}

/// `(g, b, c, s)` with `s` the product of the space axes.
fn axes(x: &Tensor) -> Result<[usize; 4]> {
    match x.dims() {
        [g, b, c, space @ ..] => Ok([*g, *b, *c, space.iter().product()]),
        got => Err(Error::Shape {
            what: "batch norm",
            expected: "(g, b, c, ..space)".into(),
            got: got.to_vec(),
        }),
    }
}

struct Normalise {
    mean: Vec<f32>,
    /// One over the deviation.
    scale: Vec<f32>,
    /// See [`Eps::scale_and_pull`].
    pull: Vec<f32>,
    axes: [usize; 4],
    options: NormOptions,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gain: &CpuStorage,
        lg: &Layout,
        shift: &CpuStorage,
        ls: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (xs, gain, shift) = (slice(x, lx)?, slice(gain, lg)?, slice(shift, ls)?);
        let out = self.passes(gain, shift).forward(xs);
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [g, _, c, _] = self.axes;
        let (gx, gg, gs) = with_values([x, gain, shift, grad], |[xs, gain, shift, grads]| {
            Ok(self.passes(gain, shift).backward(xs, grads, x.track_op()))
        })?;
        let gx = gx.map(|gx| Tensor::from_vec(gx, x.shape(), x.device())).transpose()?;
        let make = |values: Vec<f32>, of: &Tensor| {
            of.track_op().then(|| Tensor::from_vec(values, (g, c), x.device())).transpose()
        };
        Ok((gx, make(gg, gain)?, make(gs, shift)?))
    }
}

impl Normalise {
    fn passes<'a>(&'a self, gain: &'a [f32], shift: &'a [f32]) -> Passes<'a> {
        let operands: [&[f32]; 5] = [&self.mean, &self.scale, &self.pull, gain, shift];
        let [mean, scale, pull, gain, shift] = operands.map(|values| spread(values, self.axes));
        Passes { mean, scale, pull, gain, shift, axes: self.axes, options: self.options }
    }
}
