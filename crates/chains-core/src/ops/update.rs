//! The optimiser's arithmetic, in place.

use candle_core::{Tensor, Var};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::{GRAIN, for_blocks, fused, on_cuda, simd::vectorised, with_values, with_values_mut};
use crate::error::{Error, Result};

/// The constants of one Adam step (Kingma and Ba 2015, Algorithm 1), bias corrections included.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// `learning_rate / (1 - beta1^step)`.
    pub step_size: f64,
    /// `1 - beta2^step`.
    pub correction: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// Take entries of the gradient that are not a number as zero.
    pub nan_as_zero: bool,
}

/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `parameter -= step_size m / (sqrt(v / correction) + eps)`, all in place.
///
/// # Shapes
/// All four: the same.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn adam_step(parameter: &Var, grad: &Tensor, m: &Var, v: &Var, step: AdamStep) -> Result<()> {
    for (what, dims) in
        [("gradient", grad.dims()), ("first moment", m.dims()), ("second moment", v.dims())]
    {
        if dims != parameter.dims() {
            let expected = format!("{:?}, that of the parameter", parameter.dims());
            return Err(Error::Shape { what, expected, got: dims.to_vec() });
        }
    }
    let operands = [parameter.as_tensor(), grad, m.as_tensor(), v.as_tensor()];
    on_cuda!(operands => cuda::adam(&[(parameter, grad, [m, v])], step));
    if fused(&operands) {
        with_values_mut(parameter, |parameter| {
            with_values_mut(m, |m| {
                with_values_mut(v, |v| {
                    with_values([grad], |[grad]| {
                        if step.nan_as_zero {
                            step.run::<true>(parameter, grad, m, v);
                        } else {
                            step.run::<false>(parameter, grad, m, v);
                        }
                        Ok(())
                    })
                })
            })
        })?;
        return Ok(());
    }
    let clean = if step.nan_as_zero {
        grad.eq(grad)?.where_cond(grad, &grad.zeros_like()?)?
    } else {
        grad.clone()
    };
    let grad = &clean;
    let new_m = ((m.as_tensor() * step.beta1)? + (grad * (1.0 - step.beta1))?)?;
    let new_v = ((v.as_tensor() * step.beta2)? + (grad.sqr()? * (1.0 - step.beta2))?)?;
    let scale = ((&new_v / step.correction)?.sqrt()? + step.eps)?;
    let new = (parameter.as_tensor() - ((&new_m * step.step_size)? / scale)?)?;
    m.set(&new_m.detach())?;
    v.set(&new_v.detach())?;
    parameter.set(&new.detach())?;
    Ok(())
}

/// [`adam_step`] of many parameters, on CUDA in a few launches: gradient, parameter, both moments.
///
/// # Errors
/// As [`adam_step`].
pub fn adam_steps(all: &[(Tensor, Var, [Var; 2])], step: AdamStep) -> Result<()> {
    on_cuda!(every(all), fits(all) => cuda::adam(&quadruples(all), step));
    all.iter().try_for_each(|(grad, var, [m, v])| adam_step(var, grad, m, v, step))
}

/// [`adamax_step`] of many parameters, as [`adam_steps`].
///
/// # Errors
/// As [`adamax_step`].
pub fn adamax_steps(all: &[(Tensor, Var, [Var; 2])], step: AdamaxStep) -> Result<()> {
    on_cuda!(every(all), fits(all) => cuda::adamax(&quadruples(all), step));
    all.iter().try_for_each(|(grad, var, [m, u])| adamax_step(var, grad, m, u, step))
}

/// All tensors of a step.
#[cfg(feature = "cuda")]
fn every(all: &[(Tensor, Var, [Var; 2])]) -> Vec<&Tensor> {
    let mut every = Vec::with_capacity(4 * all.len());
    for (grad, var, [m, v]) in all {
        every.extend([grad, var.as_tensor(), m.as_tensor(), v.as_tensor()]);
    }
    every
}

/// Are all of one shape, of which there is an error otherwise?
#[cfg(feature = "cuda")]
fn fits(all: &[(Tensor, Var, [Var; 2])]) -> bool {
    let one = |(grad, var, pair): &(Tensor, Var, [Var; 2])| {
        [grad, pair[0].as_tensor(), pair[1].as_tensor()].iter().all(|t| t.dims() == var.dims())
    };
    !all.is_empty() && all.iter().all(one)
}

#[cfg(feature = "cuda")]
fn quadruples(all: &[(Tensor, Var, [Var; 2])]) -> Vec<(&Var, &Tensor, [&Var; 2])> {
    all.iter().map(|(grad, var, [m, v])| (var, grad, [m, v])).collect()
}

/// The constants of one step of Adamax (Kingma and Ba 2015, Algorithm 2), bias correction included, with
/// coupled weight decay.
#[derive(Clone, Copy, Debug)]
pub struct AdamaxStep {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the largest gradient.
    pub beta2: f64,
    /// `learning_rate / (1 - beta1^step)`.
    pub step_size: f64,
    /// Added to the size of every gradient.
    pub eps: f64,
    /// Times the parameter, added to its gradient.
    pub weight_decay: f64,
}

/// With `g = gradient + weight_decay parameter`: `m = beta1 m + (1 - beta1) g`,
/// `u = max(beta2 u, |g| + eps)`, `parameter -= step_size m / u`, all in place.
///
/// # Shapes
/// All four: the same.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn adamax_step(
    parameter: &Var,
    grad: &Tensor,
    m: &Var,
    u: &Var,
    step: AdamaxStep,
) -> Result<()> {
    for (what, dims) in
        [("gradient", grad.dims()), ("first moment", m.dims()), ("largest gradient", u.dims())]
    {
        if dims != parameter.dims() {
            let expected = format!("{:?}, that of the parameter", parameter.dims());
            return Err(Error::Shape { what, expected, got: dims.to_vec() });
        }
    }
    let operands = [parameter.as_tensor(), grad, m.as_tensor(), u.as_tensor()];
    on_cuda!(operands => cuda::adamax(&[(parameter, grad, [m, u])], step));
    if fused(&operands) {
        with_values_mut(parameter, |parameter| {
            with_values_mut(m, |m| {
                with_values_mut(u, |u| {
                    with_values([grad], |[grad]| {
                        step.run(parameter, grad, m, u);
                        Ok(())
                    })
                })
            })
        })?;
        return Ok(());
    }
    let p = parameter.as_detached_tensor();
    let grad = (grad.detach() + (&p * step.weight_decay)?)?;
    m.set(&((m.as_detached_tensor() * step.beta1)? + (&grad * (1.0 - step.beta1))?)?)?;
    let largest = (u.as_detached_tensor() * step.beta2)?.maximum(&(grad.abs()? + step.eps)?)?;
    let moved = ((m.as_detached_tensor() * step.step_size)? / &largest)?;
    u.set(&largest)?;
    Ok(parameter.set(&(p - moved)?)?)
}

impl AdamaxStep {
    /// One pass over parameter, gradient and both moments.
    fn run(&self, parameter: &mut [f32], grad: &[f32], m: &mut [f32], u: &mut [f32]) {
        let (keep, take) = (self.beta1 as f32, (1.0 - self.beta1) as f32);
        let (beta2, size) = (self.beta2 as f32, self.step_size as f32);
        let (eps, decay) = (self.eps as f32, self.weight_decay as f32);
        let moments = m.par_chunks_mut(GRAIN).zip(u.par_chunks_mut(GRAIN));
        let constant = grad.par_chunks(GRAIN);
        parameter.par_chunks_mut(GRAIN).zip(constant).zip(moments).for_each(
            |((parameter, grad), (m, u))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let moments = m.iter_mut().zip(u.iter_mut());
                        for ((p, g), (m, u)) in parameter.iter_mut().zip(grad).zip(moments) {
                            let g = g + decay * *p;
                            *m = keep * *m + take * g;
                            let (kept, here) = (beta2 * *u, g.abs() + eps);
                            *u = if kept > here { kept } else { here };
                            *p -= size * *m / *u;
                        }
                    },
                );
            },
        );
    }
}

/// `average = decay average + (1 - decay) value`, in place.
///
/// # Shapes
/// Both: the same.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn running_average(average: &Var, value: &Tensor, decay: f64) -> Result<()> {
    if average.dims() != value.dims() {
        let expected = format!("{:?}, that of the average", average.dims());
        return Err(Error::Shape { what: "value", expected, got: value.dims().to_vec() });
    }
    follow(average, value, [decay, 1.0 - decay])
}

/// `average = keep average + take value`, in place, of one shape.
pub(crate) fn follow(average: &Var, value: &Tensor, [keep, take]: [f64; 2]) -> Result<()> {
    if fused(&[average.as_tensor(), value]) {
        let (keep, take) = (keep as f32, take as f32);
        with_values_mut(average, |average| {
            with_values([value], |[values]| {
                for_blocks(
                    average,
                    #[inline(always)]
                    |start, average| {
                        for (average, value) in average.iter_mut().zip(&values[start..]) {
                            *average = keep * *average + take * value;
                        }
                    },
                );
                Ok(())
            })
        })?;
        return Ok(());
    }
    let new = ((average.as_tensor() * keep)? + (value * take)?)?;
    Ok(average.set(&new.detach())?)
}

impl AdamStep {
    /// One pass over parameter, gradient and both moments.
    fn run<const NAN_AS_ZERO: bool>(
        &self,
        parameter: &mut [f32],
        grad: &[f32],
        m: &mut [f32],
        v: &mut [f32],
    ) {
        let decays = [self.beta1, self.beta2].map(|beta| (beta as f32, (1.0 - beta) as f32));
        let [(keep1, take1), (keep2, take2)] = decays;
        let (size, eps) = (self.step_size as f32, self.eps as f32);
        let inverse = (1.0 / self.correction) as f32;
        let moments = m.par_chunks_mut(GRAIN).zip(v.par_chunks_mut(GRAIN));
        let constant = grad.par_chunks(GRAIN);
        parameter.par_chunks_mut(GRAIN).zip(constant).zip(moments).for_each(
            |((parameter, grad), (m, v))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let moments = m.iter_mut().zip(v.iter_mut());
                        for ((p, g), (m, v)) in parameter.iter_mut().zip(grad).zip(moments) {
                            let g = if NAN_AS_ZERO && g.is_nan() { 0.0 } else { *g };
                            *m = keep1 * *m + take1 * g;
                            *v = keep2 * *v + take2 * (g * g);
                            *p -= size * *m / ((*v * inverse).sqrt() + eps);
                        }
                    },
                );
            },
        );
    }
}
