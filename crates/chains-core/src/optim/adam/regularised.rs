//! Steps with coupled weight decay and gradients clipped by their own second moment.

use candle_core::{Tensor, Var, backprop::GradStore};
use serde::{Deserialize, Serialize};

use super::{Adam, ParamStore, Result};

/// The bound of an entry of a gradient: `factor sqrt(v / (1 - beta2^s)) + slack`, with its second
/// moment `v` after the `s` steps made so far (published code of VAEBM).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MomentClip {
    /// Deviations that an entry may have.
    pub factor: f64,
    /// What it may have besides, so that a moment near zero does not stop a parameter.
    pub slack: f64,
}

impl MomentClip {
    /// Three deviations and 0.1 (published code of VAEBM).
    pub const fn published() -> Self {
        Self { factor: 3.0, slack: 0.1 }
    }
}

/// What is done to a gradient before Adam sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regularisation {
    /// Coupled decay: `weight_decay` times the parameter is added to the clipped gradient, and moments
    /// contain it.
    pub weight_decay: f64,
    /// Entries of the gradient, without the decay, are brought into their bounds; never at the first
    /// step.
    pub clip: Option<MomentClip>,
}

impl Adam {
    /// [`Adam::step`] on gradients that are clipped and then get their decay.
    ///
    /// # Errors
    /// As [`Adam::step`].
    pub fn step_regularised(
        &mut self,
        store: &ParamStore,
        grads: &GradStore,
        learning_rate: f64,
        regularisation: &Regularisation,
    ) -> Result<()> {
        let done = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let correction = 1.0 - self.config.beta2.powi(done);
        let Regularisation { weight_decay, clip } = *regularisation;
        self.apply(store, grads, learning_rate, false, |grad, var, v| {
            let mut grad = grad.detach();
            if let (Some(clip), true) = (clip, done > 0) {
                grad = clipped(&grad, v, correction, clip)?;
            }
            if weight_decay > 0.0 {
                grad = (grad + (var.as_detached_tensor() * weight_decay)?)?;
            }
            Ok(grad)
        })
    }
}

fn clipped(grad: &Tensor, v: &Var, correction: f64, clip: MomentClip) -> Result<Tensor> {
    let root = (v.as_detached_tensor() / correction)?.sqrt()?;
    let bound = root.affine(clip.factor, clip.slack)?;
    Ok(grad.minimum(&bound)?.maximum(&bound.neg()?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::Init;

    use super::*;
    use crate::{optim::AdamConfig, seed::Seed};

    fn store(value: f64, dtype: DType) -> Result<ParamStore> {
        let store = ParamStore::new(Seed::new(0), dtype, &Device::Cpu);
        store.builder().get_with_hints(3, "x", Init::Const(value))?;
        Ok(store)
    }

    /// Gradients of `sum g x`.
    fn gradient(store: &ParamStore, g: [f64; 3]) -> Result<GradStore> {
        let x = store.builder().get(3, "x")?;
        let g = Tensor::new(&g, &Device::Cpu)?.to_dtype(x.dtype())?;
        Ok(x.mul(&g)?.sum_all()?.backward()?)
    }

    /// The first moment, from which the gradients that Adam saw can be told.
    fn first_moment(adam: &Adam) -> Result<Vec<f64>> {
        let (_, m) = &adam.tensors()[0];
        Ok(m.to_dtype(DType::F64)?.to_vec1()?)
    }

    #[test]
    fn entries_beyond_three_deviations_and_a_tenth_are_brought_back() -> Result<()> {
        // The oracle of the published clip: 0.2 once, then bound 3 * 0.2 + 0.1.
        let config = AdamConfig { beta1: 0.99, ..AdamConfig::standard() };
        let options = Regularisation { weight_decay: 0.0, clip: Some(MomentClip::published()) };
        let (store, mut adam) = (store(0.0, DType::F64)?, Adam::new(config));
        adam.step_regularised(&store, &gradient(&store, [0.2, 0.2, 0.2])?, 0.01, &options)?;
        let before = first_moment(&adam)?;
        adam.step_regularised(&store, &gradient(&store, [5.0, -5.0, 0.3])?, 0.01, &options)?;
        let seen: Vec<f64> = first_moment(&adam)?
            .iter()
            .zip(&before)
            .map(|(after, before)| (after - 0.99 * before) / 0.01)
            .collect();
        for (seen, want) in seen.iter().zip([0.7, -0.7, 0.3]) {
            assert!((seen - want).abs() < 1e-9, "{seen} {want}");
        }
        Ok(())
    }

    #[test]
    fn the_first_step_clips_nothing() -> Result<()> {
        let options = Regularisation { weight_decay: 0.0, clip: Some(MomentClip::published()) };
        let (store, mut adam) = (store(0.0, DType::F64)?, Adam::new(AdamConfig::standard()));
        adam.step_regularised(&store, &gradient(&store, [50.0, -7.0, 0.0])?, 0.01, &options)?;
        for (m, want) in first_moment(&adam)?.iter().zip([5.0, -0.7, 0.0]) {
            assert!((m - want).abs() < 1e-12);
        }
        Ok(())
    }

    #[test]
    fn steps_follow_the_recursion_with_decay_behind_the_clip() -> Result<()> {
        let options = Regularisation { weight_decay: 0.1, clip: Some(MomentClip::published()) };
        let (store, mut adam) = (store(2.0, DType::F64)?, Adam::new(AdamConfig::standard()));
        let (mut x, mut m, mut v) = (2.0_f64, 0.0_f64, 0.0_f64);
        for (t, g) in [0.2, 9.0, -9.0, 0.1].into_iter().enumerate() {
            adam.step_regularised(&store, &gradient(&store, [g; 3])?, 0.05, &options)?;
            let t = i32::try_from(t).unwrap();
            let bound = match t {
                0 => f64::INFINITY,
                _ => 3.0 * (v / (1.0 - 0.999_f64.powi(t))).sqrt() + 0.1,
            };
            let g = g.clamp(-bound, bound) + 0.1 * x;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let step = m / (1.0 - 0.9_f64.powi(t + 1));
            x -= 0.05 * step / ((v / (1.0 - 0.999_f64.powi(t + 1))).sqrt() + 1e-8);
        }
        let got: Vec<f64> = store.get("x").unwrap().to_vec1()?;
        assert!(got.iter().all(|got| (got - x).abs() < 1e-12), "{got:?} {x}");
        Ok(())
    }

    #[test]
    fn without_decay_and_clip_it_is_the_plain_step() -> Result<()> {
        let options = Regularisation { weight_decay: 0.0, clip: None };
        let (a, b) = (store(1.0, DType::F32)?, store(1.0, DType::F32)?);
        let (mut plain, mut other) =
            (Adam::new(AdamConfig::standard()), Adam::new(AdamConfig::standard()));
        for g in [[1.0, -2.0, 0.5], [0.3, 8.0, 0.0]] {
            plain.step(&a, &gradient(&a, g)?, 0.01)?;
            other.step_regularised(&b, &gradient(&b, g)?, 0.01, &options)?;
        }
        let bits = |store: &ParamStore| store.get("x").unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&a), bits(&b));
        Ok(())
    }
}
