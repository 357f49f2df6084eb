//! Samples of Gaussians and of the mixture of two, and the price of the mixture.

use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    build, fused,
    gaussian::{density, row_sums},
    log_add_exp::{log_add_exp, value},
    math::logistic,
    on_cuda, scaled_sigmoid, sigmoid, with_values,
};
use crate::{
    error::{Error, Result},
    host,
    noise::Noise,
};

/// `mean + sqrt(variance) e`, differentiable in mean and variance.
///
/// # Shapes
/// All three and the result: the same; `e` is standard normal.
///
/// # Errors
/// If the shapes differ.
pub fn gaussian_draw(mean: &Tensor, variance: &Tensor, e: &Tensor) -> Result<Tensor> {
    let operands = [mean, variance, e];
    let same = operands.iter().all(|t| t.dims() == e.dims());
    let constant = same && !operands.iter().any(|t| t.track_op());
    on_cuda!(operands, constant => cuda::gaussian_draw(operands));
    if !constant || !fused(&operands) {
        return Ok((mean + variance.sqrt()?.mul(e)?)?);
    }
    let values = with_values(operands, |[means, variances, es]| {
        Ok(build(
            es.len(),
            #[inline(always)]
            |start, out| {
                let operands = [means, variances, es].map(|v| &v[start..start + out.len()]);
                for (i, out) in out.iter_mut().enumerate() {
                    let [mean, variance, e] = operands.map(|values| values[i]);
                    *out = mean + variance.sqrt() * e;
                }
            },
        ))
    })?;
    Ok(Tensor::from_vec(values, e.shape(), e.device())?)
}

/// Where `u < rate` the sample `mean + sqrt(variance) e` of the spike, elsewhere that of the base;
/// detached.
///
/// # Shapes
/// `base` and `spike`: mean and variance; `u`: uniform, `e`: standard normal; all the same shape.
///
/// # Errors
/// If the shapes differ.
pub fn mixture_draw(
    rate: f64,
    base: [&Tensor; 2],
    spike: [&Tensor; 2],
    u: &Tensor,
    e: &Tensor,
) -> Result<Tensor> {
    let operands = [base[0], base[1], spike[0], spike[1], u, e];
    let same = operands.iter().all(|t| t.dims() == e.dims());
    on_cuda!(operands, same => cuda::mixture_draw(rate, operands));
    if !same || !fused(&operands) {
        let one = |[mean, variance]: [&Tensor; 2]| -> Result<Tensor> {
            Ok((mean + variance.sqrt()?.mul(e)?)?)
        };
        return Ok(u.lt(rate)?.where_cond(&one(spike)?, &one(base)?)?.detach());
    }
    let rate = rate as f32;
    let values = with_values(operands, |[bm, bv, sm, sv, us, es]| {
        Ok(build(
            es.len(),
            #[inline(always)]
            |start, out| {
                // Slices of one length, so that no index needs a check.
                let [bm, bv, sm, sv, us, es] =
                    [bm, bv, sm, sv, us, es].map(|values| &values[start..start + out.len()]);
                for (i, out) in out.iter_mut().enumerate() {
                    let infused = us[i] < rate;
                    let mean = if infused { sm[i] } else { bm[i] };
                    let variance = if infused { sv[i] } else { bv[i] };
                    *out = mean + variance.sqrt() * es[i];
                }
            },
        ))
    })?;
    Ok(Tensor::from_vec(values, e.shape(), e.device())?)
}

/// One draw for each element of `(1 - rate) N(sigmoid(a), scale sigmoid(b) + floor) + rate N(target,
/// variance)`, detached: [`mixture_draw`] with the base of two squashed heads, without the tensors in between.
///
/// Draws uniform numbers, unless the rate is 0, then normal ones; [`crate::noise::DeviceNoise`] computes both
/// in place on CUDA.
///
/// # Shapes
/// `a`, `b`, `target` and the result: the same.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ; [`Error::Config`] unless the rate is a probability and the variance
/// not negative.
pub fn squashed_mixture_draw(
    rate: f64,
    [a, b]: [&Tensor; 2],
    [scale, floor]: [f64; 2],
    (target, variance): (&Tensor, f64),
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    let (shape, dtype, device) = (a.shape(), a.dtype(), a.device());
    for (what, x) in [("raw variance", b), ("target of the heads", target)] {
        if x.dims() != a.dims() {
            let (expected, got) = (format!("{:?}", a.dims()), x.dims().to_vec());
            return Err(Error::Shape { what, expected, got });
        }
    }
    for (field, value, fits) in
        [("rate", rate, (0.0..=1.0).contains(&rate)), ("variance", variance, variance >= 0.0)]
    {
        if !fits {
            return Err(Error::Config { field, reason: format!("{value} is none") });
        }
    }
    // Kernels know the rate in f32.
    let infuses = rate as f32 > 0.0;
    #[cfg(feature = "cuda")]
    if cuda::applies(&[a, b, target])
        && let Some(at) = noise.in_place(if infuses { 2 } else { 1 })
    {
        let numbers = [scale, floor, rate, variance.sqrt()];
        return Ok(crate::noise::cuda::squashed_mixture([a, b, target], numbers, at)?);
    }
    let u = if infuses { Some(noise.uniform(shape, dtype, device)?) } else { None };
    let e = noise.normal(shape, dtype, device)?;
    if !fused(&[a, b, target, &e]) {
        let (mean, wide) = (sigmoid(&a.detach())?, scaled_sigmoid(&b.detach(), scale, floor)?);
        let Some(u) = u else { return gaussian_draw(&mean, &wide, &e) };
        let narrow = host::full(variance, shape, dtype, device)?;
        return mixture_draw(rate, [&mean, &wide], [target, &narrow], &u, &e);
    }
    let [rate, scale, floor, variance] = [rate, scale, floor, variance].map(|number| number as f32);
    // Without decisions their place is taken by numbers that are never looked at.
    let operands = [a, b, target, u.as_ref().unwrap_or(&e), &e];
    let values = with_values(operands, |operands| {
        Ok(build(
            shape.elem_count(),
            #[inline(always)]
            |start, out| {
                let [a, b, xs, us, es] = operands.map(|values| &values[start..start + out.len()]);
                for (i, out) in out.iter_mut().enumerate() {
                    let taken = infuses && us[i] < rate;
                    let (own, wide) = (logistic(a[i]), scale * logistic(b[i]) + floor);
                    let mean = if taken { xs[i] } else { own };
                    let variance = if taken { variance } else { wide };
                    *out = mean + variance.sqrt() * es[i];
                }
            },
        ))
    })?;
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// `-sum ln(1 - rate + rate spike(z) / base(z))` over all axes but the first: the log density of the
/// base minus that of the mixture, in nats, for `0 < rate < 1`.
///
/// From the difference of two densities, whose size may be far beyond the ratio's, and never above
/// `-ln(1 - rate)` for an element. Accumulated in f64.
///
/// # Shapes
/// `z`, and mean and variance of both Gaussians: `(b, ..event)`; the result `(b,)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn mixture_log_ratio(
    rate: f64,
    base: [&Tensor; 2],
    spike: [&Tensor; 2],
    z: &Tensor,
) -> Result<Tensor> {
    let operands = [z, base[0], base[1], spike[0], spike[1]];
    let same = operands.iter().all(|t| t.dims() == z.dims()) && z.rank() > 0;
    let constant = same && !operands.iter().any(|t| t.track_op());
    on_cuda!(operands, constant => cuda::mixture_log_ratio(rate, operands));
    if !constant || !fused(&operands) {
        let [base, spike] =
            [base, spike].map(|[mean, variance]| super::gaussian_log_density(z, mean, variance));
        let infused = (spike? - base?)?.affine(1.0, rate.ln())?;
        let own = infused.zeros_like()?.affine(1.0, (-rate).ln_1p())?;
        let ratio = log_add_exp(&own, &infused)?.neg()?;
        return Ok(if ratio.rank() > 1 { ratio.flatten_from(1)?.sum(1)? } else { ratio });
    }
    let (own, taken) = ((-rate).ln_1p() as f32, rate.ln() as f32);
    let b = z.dim(0)?;
    let sums = with_values(operands, |operands| {
        Ok(row_sums(
            [b, z.elem_count() / b.max(1)],
            operands,
            #[inline(always)]
            |[z, base, base_variance, spike, spike_variance]| {
                let base = density([z, base, base_variance]);
                -value(own, density([z, spike, spike_variance]) - base + taken)
            },
        ))
    })?;
    Ok(Tensor::from_vec(sums, b, z.device())?)
}
