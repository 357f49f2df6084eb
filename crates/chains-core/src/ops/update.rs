//! The optimiser's arithmetic, in place.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor, Var};
use rayon::prelude::*;

use super::{GRAIN, fused, slice};
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
    if fused(&[parameter.as_tensor(), grad, m.as_tensor(), v.as_tensor()]) {
        let grad = grad.contiguous()?;
        m.inplace_op2(&grad, &Decay { beta: step.beta1, square: false })?;
        v.inplace_op2(&grad, &Decay { beta: step.beta2, square: true })?;
        parameter.inplace_op3(m.as_tensor(), v.as_tensor(), &Descend(step))?;
        return Ok(());
    }
    let new_m = ((m.as_tensor() * step.beta1)? + (grad * (1.0 - step.beta1))?)?;
    let new_v = ((v.as_tensor() * step.beta2)? + (grad.sqr()? * (1.0 - step.beta2))?)?;
    let scale = ((&new_v / step.correction)?.sqrt()? + step.eps)?;
    let new = (parameter.as_tensor() - ((&new_m * step.step_size)? / scale)?)?;
    m.set(&new_m.detach())?;
    v.set(&new_v.detach())?;
    parameter.set(&new.detach())?;
    Ok(())
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
    if fused(&[average.as_tensor(), value]) {
        let op = Decay { beta: decay, square: false };
        return Ok(average.inplace_op2(&value.contiguous()?, &op)?);
    }
    let new = ((average.as_tensor() * decay)? + (value * (1.0 - decay))?)?;
    Ok(average.set(&new.detach())?)
}

fn slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("in-place op: the target must be contiguous f32"),
    }
}

/// A running average of the gradient or of its square.
struct Decay {
    beta: f64,
    square: bool,
}

impl InplaceOp2 for Decay {
    fn name(&self) -> &'static str {
        "decay"
    }

    fn cpu_fwd(
        &self,
        m: &mut CpuStorage,
        lm: &Layout,
        grad: &CpuStorage,
        lg: &Layout,
    ) -> candle_core::Result<()> {
        let (m, grad) = (slice_mut(m, lm)?, slice(grad, lg)?);
        let (keep, take, square) = (self.beta as f32, (1.0 - self.beta) as f32, self.square);
        m.par_chunks_mut(GRAIN).zip(grad.par_chunks(GRAIN)).for_each(|(m, grad)| {
            for (m, g) in m.iter_mut().zip(grad) {
                *m = keep * *m + take * if square { g * g } else { *g };
            }
        });
        Ok(())
    }
}

struct Descend(AdamStep);

impl InplaceOp3 for Descend {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        lp: &Layout,
        m: &CpuStorage,
        lm: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> candle_core::Result<()> {
        let (parameter, m, v) = (slice_mut(parameter, lp)?, slice(m, lm)?, slice(v, lv)?);
        let (size, eps) = (self.0.step_size as f32, self.0.eps as f32);
        let inverse = (1.0 / self.0.correction) as f32;
        let moments = m.par_chunks(GRAIN).zip(v.par_chunks(GRAIN));
        parameter.par_chunks_mut(GRAIN).zip(moments).for_each(|(parameter, (m, v))| {
            for (p, (m, v)) in parameter.iter_mut().zip(m.iter().zip(v)) {
                *p -= size * m / ((v * inverse).sqrt() + eps);
            }
        });
        Ok(())
    }
}
