//! Chains on a linear-Gaussian transition, whose laws are known.

mod blocks;
mod estimate;
mod kernel;

use candle_core::{DType, Device, Tensor};

use super::{Schedule, Step, TransitionOperator};
use crate::{Error, Result, dist::DiagGaussian};

/// `x' = factor x + sqrt(temperature) spread e`.
#[derive(Clone, Debug)]
struct LinearGaussian {
    factor: f64,
    spread: f64,
    /// Transition that fails.
    broken_at: Option<usize>,
}

impl TransitionOperator for LinearGaussian {
    type Dist = DiagGaussian;

    fn conditional(&self, x: &Tensor, at: Step) -> Result<DiagGaussian> {
        if self.broken_at == Some(at.index) {
            return Err(Error::NonFinite { what: "mean", step: at.index });
        }
        let variance = self.spread * self.spread * at.temperature;
        DiagGaussian::new((x * self.factor)?, x.ones_like()?.affine(variance, 0.0)?)
    }
}

const OPERATOR: LinearGaussian = LinearGaussian { factor: 0.8, spread: 0.5, broken_at: None };

fn filled(value: f64, shape: (usize, usize)) -> Result<Tensor> {
    Ok(Tensor::full(value, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
}

/// A temperature of its own for every step, for ever.
struct Heating;

impl Schedule for Heating {
    fn at(&self, index: usize) -> Step {
        Step { index, temperature: (index + 1) as f64 }
    }

    fn len(&self) -> Option<usize> {
        None
    }
}
