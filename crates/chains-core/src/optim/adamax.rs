//! Adamax.

use std::collections::BTreeMap;

use candle_core::{Tensor, backprop::GradStore};
use serde::{Deserialize, Serialize};

use super::{
    adam::AdamConfig,
    moments::{Moments, Names},
};
use crate::{
    error::{Error, Result},
    ops::{AdamaxStep, adamax_steps},
    params::ParamStore,
};

/// Constants of Adamax.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamaxConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the largest gradient.
    pub beta2: f64,
    /// Added to the size of every gradient.
    pub eps: f64,
    /// Times the parameter, added to its gradient.
    pub weight_decay: f64,
}

impl AdamaxConfig {
    /// The constants of NVAE (its section 4 and published code): 0.9, 0.999, 1e-3, decay 3e-4.
    pub const fn nvae() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-3, weight_decay: 3e-4 }
    }

    /// Checks ranges: those of [`AdamConfig::validate`], and that the decay of weights is not negative.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let Self { beta1, beta2, eps, weight_decay } = *self;
        AdamConfig { beta1, beta2, eps }.validate()?;
        if weight_decay.is_finite() && weight_decay >= 0.0 {
            return Ok(());
        }
        let reason = format!("{weight_decay} must not be negative");
        Err(Error::Config { field: "weight_decay", reason })
    }
}

/// Names in a saved state.
const NAMES: Names =
    Names { optimiser: "adamax", keys: ["m", "u"], words: ["first moment", "largest gradient"] };

/// Adamax (Kingma and Ba 2015, Algorithm 2) with coupled weight decay, its state kept by parameter name.
///
/// With the gradient `g` of parameter `p`: `g = g + decay p`, `m = beta1 m + (1 - beta1) g`,
/// `u = max(beta2 u, |g| + eps)`, `p = p - rate / (1 - beta1^step) m / u`. A parameter without a
/// gradient is left alone.
pub struct Adamax {
    config: AdamaxConfig,
    steps: u64,
    moments: Moments,
}

impl Adamax {
    /// Adamax before its first step.
    pub fn new(config: AdamaxConfig) -> Self {
        Self { config, steps: 0, moments: Moments::default() }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every trainable variable of `store` against its gradient.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter.
    pub fn step(
        &mut self,
        store: &ParamStore,
        grads: &GradStore,
        learning_rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        let AdamaxConfig { beta1, beta2, eps, weight_decay } = self.config;
        let count = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let step_size = learning_rate / (1.0 - beta1.powi(count));
        let step = AdamaxStep { beta1, beta2, step_size, eps, weight_decay };
        let mut all = Vec::new();
        for (name, var) in store.trainable() {
            let Some(grad) = grads.get(var.as_tensor()) else { continue };
            let moments = self.moments.of(name, &var)?.clone();
            all.push((grad.clone(), var, moments));
        }
        adamax_steps(&all, step)
    }

    /// The state under `adamax.m.<name>` and `adamax.u.<name>`; with [`Adamax::steps`] all of it.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.moments.tensors(&NAMES)
    }

    /// Takes a state written by [`Adamax::tensors`] for the variables of `store`; names without the
    /// prefix `adamax.` are not looked at.
    ///
    /// # Errors
    /// [`Error::Config`] for a moment without its parameter, partner or shape.
    pub fn restore(
        config: AdamaxConfig,
        steps: u64,
        tensors: &BTreeMap<String, Tensor>,
        store: &ParamStore,
    ) -> Result<Self> {
        let moments = Moments::restore(&NAMES, tensors, store)?;
        Ok(Self { config, steps, moments })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::Init;

    use super::*;
    use crate::seed::Seed;

    fn store(value: f64) -> Result<ParamStore> {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        store.builder().get_with_hints(2, "x", Init::Const(value))?;
        Ok(store)
    }

    /// Steps down `scale x^2 / 2`.
    fn run(store: &ParamStore, adamax: &mut Adamax, scales: &[f64]) -> Result<Vec<f32>> {
        for scale in scales {
            let x = store.builder().get(2, "x")?;
            let loss = (x.sqr()? * (0.5 * scale))?.sum_all()?;
            adamax.step(store, &loss.backward()?, 0.01)?;
        }
        Ok(store.get("x").unwrap().to_vec1()?)
    }

    #[test]
    fn the_first_step_has_the_known_value() -> Result<()> {
        // Parameter 1, gradient 0.5.
        let got = run(&store(1.0)?, &mut Adamax::new(AdamaxConfig::nvae()), &[0.5])?;
        assert!((f64::from(got[0]) - 0.990_020).abs() < 1e-6, "{got:?}");
        Ok(())
    }

    #[test]
    fn steps_follow_algorithm_2() -> Result<()> {
        // The second gradient is smaller, so that the largest one stays but for its decay.
        let scales = [1.0, 0.1, 2.0];
        let got = run(&store(2.0)?, &mut Adamax::new(AdamaxConfig::nvae()), &scales)?;
        let (mut x, mut m, mut u) = (2.0_f64, 0.0, 0.0_f64);
        for (t, scale) in (1..).zip(scales) {
            let g = scale * x + 3e-4 * x;
            m = 0.9 * m + 0.1 * g;
            u = (0.999 * u).max(g.abs() + 1e-3);
            x -= 0.01 / (1.0 - 0.9_f64.powi(t)) * m / u;
        }
        assert!((f64::from(got[0]) - x).abs() < 1e-6, "{got:?} {x}");
        Ok(())
    }

    #[test]
    fn a_restored_state_goes_on_with_the_same_bits() -> Result<()> {
        let (a, mut adamax) = (store(2.0)?, Adamax::new(AdamaxConfig::nvae()));
        run(&a, &mut adamax, &[1.0, 2.0])?;
        let tensors = adamax.tensors().into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
        let b = store(0.0)?;
        b.get("x").unwrap().set(&a.get("x").unwrap().as_tensor().copy()?)?;
        let config = AdamaxConfig::nvae();
        let mut other = Adamax::restore(config, adamax.steps(), &tensors, &b)?;
        assert_eq!(run(&a, &mut adamax, &[1.0; 3])?, run(&b, &mut other, &[1.0; 3])?);
        Ok(())
    }

    #[test]
    fn a_state_that_does_not_fit_is_named_and_a_parameter_without_gradient_stays() -> Result<()> {
        let (a, mut adamax) = (store(2.0)?, Adamax::new(AdamaxConfig::nvae()));
        a.builder().get_with_hints(1, "y", Init::Const(5.0))?;
        run(&a, &mut adamax, &[1.0])?;
        assert_eq!(a.get("y").unwrap().to_vec1::<f32>()?, [5.0]);
        let good: BTreeMap<_, _> = adamax.tensors().into_iter().collect();
        assert_eq!(good.len(), 2);
        let without = |name: &str| {
            let mut tensors = good.clone();
            tensors.remove(name);
            tensors
        };
        let mut short = good.clone();
        short.insert("adamax.u.x".into(), Tensor::zeros(3, DType::F32, &Device::Cpu)?);
        let mut stranger = good.clone();
        for name in ["adamax.m.z", "adamax.u.z"] {
            stranger.insert(name.into(), Tensor::zeros(2, DType::F32, &Device::Cpu)?);
        }
        for (tensors, words) in [
            (without("adamax.u.x"), "`x` has no largest gradient"),
            (without("adamax.m.x"), "`x` has no first moment"),
            (stranger, "`z` is no parameter"),
            (short, "moments of `x` are not [2]"),
        ] {
            let result = Adamax::restore(AdamaxConfig::nvae(), 1, &tensors, &a);
            let message = result.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(words), "{words}: {message:?}");
        }
        Ok(())
    }
}
