//! Activations: functions of one argument with a derivative in closed form.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda::{self, reaches};
use super::{
    build, fused,
    math::{self, exp_m1, ln_1p, logistic},
    on_cuda, slice, with_values,
};
use crate::{autograd::apply1, error::Result};

/// `max(x, 0)`, any shape; the gradient at 0 is 0, and NaN stays NaN.
///
/// # Errors
/// Of the tensor library.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Relu));
    if !fused(&[x]) {
        return Ok(x.le(0.0)?.where_cond(&x.zeros_like()?, x)?);
    }
    apply(
        x,
        "relu",
        #[inline(always)]
        |x| if x <= 0.0 { 0.0 } else { x },
        #[inline(always)]
        |_, y, g| if y <= 0.0 { 0.0 } else { g },
    )
}

/// The exponential function, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn exp(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Exp));
    if !fused(&[x]) {
        return Ok(x.exp()?);
    }
    apply(
        x,
        "exp",
        math::exp,
        #[inline(always)]
        |_, y, g| g * y,
    )
}

/// The logistic function `1 / (1 + exp(-x))`, any shape; exact at saturation.
///
/// # Errors
/// Of the tensor library.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Sigmoid));
    if !fused(&[x]) {
        return Ok(candle_nn::ops::sigmoid(x)?);
    }
    apply(
        x,
        "sigmoid",
        logistic,
        #[inline(always)]
        |_, y, g| g * y * (1.0 - y),
    )
}

/// `scale * sigmoid(x) + shift`, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn scaled_sigmoid(x: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::ScaledSigmoid([scale, shift])));
    if !fused(&[x]) {
        return Ok(candle_nn::ops::sigmoid(x)?.affine(scale, shift)?);
    }
    let (scale, shift) = (scale as f32, shift as f32);
    let inverse = 1.0 / scale;
    apply(
        x,
        "scaled_sigmoid",
        #[inline(always)]
        move |x| scale * logistic(x) + shift,
        #[inline(always)]
        move |_, y, g| {
            let part = y - shift;
            g * part * (1.0 - part * inverse)
        },
    )
}

/// `x` if positive, else `slope * x`, any shape; the gradient at 0 is `slope`.
///
/// # Errors
/// Of the tensor library.
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::LeakyRelu(slope)));
    if !fused(&[x]) {
        return Ok(x.gt(0.0)?.where_cond(x, &(x * slope)?)?);
    }
    let slope = slope as f32;
    apply(
        x,
        "leaky_relu",
        #[inline(always)]
        move |x| if x > 0.0 { x } else { slope * x },
        #[inline(always)]
        move |x, _, g| if x > 0.0 { g } else { slope * g },
    )
}

/// `ln(1 + exp(x))`, any shape, without overflow.
///
/// # Errors
/// Of the tensor library.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Softplus));
    if !fused(&[x]) {
        return super::log_add_exp(x, &x.zeros_like()?);
    }
    apply(
        x,
        "softplus",
        // NaN stays: the second term has it.
        #[inline(always)]
        |x| x.max(0.0) + ln_1p(math::exp(-x.abs())),
        #[inline(always)]
        |x, _, g| g * logistic(x),
    )
}

/// `x / (1 + exp(-x))`, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Silu));
    if !fused(&[x]) {
        return Ok((x * candle_nn::ops::sigmoid(x)?)?);
    }
    apply(
        x,
        "silu",
        silu_value,
        #[inline(always)]
        |x, _, g| g * silu_slope(x),
    )
}

/// `x` if positive, else `scale * (exp(x) - 1)`, any shape; the gradient at 0 is `scale`.
///
/// # Errors
/// Of the tensor library.
pub fn elu(x: &Tensor, scale: f64) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Elu(scale)));
    if !fused(&[x]) {
        // Bounded above, so that the branch not taken has a finite gradient.
        let below = ((x.minimum(0.0)?.exp()? - 1.0)? * scale)?;
        return Ok(x.gt(0.0)?.where_cond(x, &below)?);
    }
    let scale = scale as f32;
    apply(
        x,
        "elu",
        #[inline(always)]
        move |x| if x > 0.0 { x } else { scale * exp_m1(if x > 0.0 { 0.0 } else { x }) },
        #[inline(always)]
        move |x, _, g| if x > 0.0 { g } else { g * scale * math::exp(x) },
    )
}

/// The hyperbolic tangent, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Tanh));
    if !fused(&[x]) {
        return Ok(x.tanh()?);
    }
    apply(
        x,
        "tanh",
        tangent,
        #[inline(always)]
        |_, y, g| g * (1.0 - y) * (1.0 + y),
    )
}

/// `bound tanh(x / bound)`, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn soft_clamp(x: &Tensor, bound: f64) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::SoftClamp(bound)));
    if !fused(&[x]) {
        return Ok(((x / bound)?.tanh()? * bound)?);
    }
    let (bound, inverse) = (bound as f32, 1.0 / bound as f32);
    apply(
        x,
        "soft_clamp",
        #[inline(always)]
        move |x| bound * tangent(x * inverse),
        #[inline(always)]
        move |_, y, g| {
            let y = y * inverse;
            g * (1.0 - y) * (1.0 + y)
        },
    )
}

/// `exp(bound tanh(x / bound)) + floor`, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn soft_clamped_exp(x: &Tensor, bound: f64, floor: f64) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::SoftClampedExp([bound, floor])));
    if !fused(&[x]) {
        return Ok((((x / bound)?.tanh()? * bound)?.exp()? + floor)?);
    }
    let (bound, inverse, floor) = (bound as f32, 1.0 / bound as f32, floor as f32);
    apply(
        x,
        "soft_clamped_exp",
        #[inline(always)]
        move |x| math::exp(bound * tangent(x * inverse)) + floor,
        // One minus the square of the tangent, without the difference.
        #[inline(always)]
        move |x, y, g| {
            let part = math::exp(-2.0 * (x * inverse).abs());
            g * (y - floor) * (4.0 * part / ((1.0 + part) * (1.0 + part)))
        },
    )
}

/// `x^2`, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn square(x: &Tensor) -> Result<Tensor> {
    on_cuda!([], reaches(x) => cuda::activation(x, cuda::Activation::Square));
    if !fused(&[x]) {
        return Ok(x.sqr()?);
    }
    apply(
        x,
        "square",
        #[inline(always)]
        |x| x * x,
        #[inline(always)]
        |x, _, g| 2.0 * x * g,
    )
}

/// The hyperbolic tangent.
#[inline(always)]
fn tangent(x: f32) -> f32 {
    let part = exp_m1(-2.0 * x.abs());
    (-part / (2.0 + part)).copysign(x)
}

/// The value of [`silu`].
#[inline(always)]
pub(super) fn silu_value(x: f32) -> f32 {
    x / (1.0 + math::exp(-x))
}

/// The derivative of [`silu_value`].
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let gate = logistic(x);
    gate * (1.0 + x * (1.0 - gate))
}

/// A function and the gradient of its argument, from argument, value and gradient of the value.
struct Activation<V, G> {
    name: &'static str,
    value: V,
    gradient: G,
}

fn apply(
    x: &Tensor,
    name: &'static str,
    value: impl Fn(f32) -> f32 + Send + Sync + 'static,
    gradient: impl Fn(f32, f32, f32) -> f32 + Send + Sync + 'static,
) -> Result<Tensor> {
    Ok(apply1(Activation { name, value, gradient }, &x.contiguous()?)?)
}

impl<V, G> CustomOp1 for Activation<V, G>
where
    V: Fn(f32) -> f32 + Send + Sync,
    G: Fn(f32, f32, f32) -> f32 + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, lx)?;
        let y = build(
            x.len(),
            #[inline(always)]
            |start, out| {
                for (y, x) in out.iter_mut().zip(&x[start..]) {
                    *y = (self.value)(*x);
                }
            },
        );
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let values = with_values([x, y, grad], |[xs, ys, gs]| {
            Ok(build(
                xs.len(),
                #[inline(always)]
                |start, out| {
                    let operands = xs[start..].iter().zip(ys[start..].iter().zip(&gs[start..]));
                    for (gx, (x, (y, g))) in out.iter_mut().zip(operands) {
                        *gx = (self.gradient)(*x, *y, *g);
                    }
                },
            ))
        })?;
        Ok(Some(Tensor::from_vec(values, x.shape(), x.device())?))
    }
}
