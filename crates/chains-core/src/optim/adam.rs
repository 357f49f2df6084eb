//! Adam.

mod regularised;

use std::collections::BTreeMap;

use candle_core::{Tensor, Var, backprop::GradStore};
use serde::{Deserialize, Serialize};

use super::moments::{Moments, Names};
use crate::{
    config::positive,
    error::{Error, Result},
    ops::{AdamStep, adam_steps},
    params::ParamStore,
};

pub use regularised::{MomentClip, Regularisation};

/// Constants of Adam; no weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl AdamConfig {
    /// The defaults of Kingma and Ba 2015, Algorithm 1: 0.9, 0.999, 1e-8.
    pub const fn standard() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }

    /// Checks ranges: decays from 0 to below 1, `eps` above 0, without which an entry whose gradients are
    /// all zero is no number.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                let reason = format!("{value} is not from 0 to below 1");
                return Err(Error::Config { field, reason });
            }
        }
        positive("eps", self.eps)
    }
}

/// Names in a saved state.
const NAMES: Names =
    Names { optimiser: "adam", keys: ["m", "v"], words: ["first moment", "second moment"] };

/// Adam (Kingma and Ba 2015, Algorithm 1), in place, its moments kept by parameter name.
///
/// A parameter without a gradient is left alone, its moments too.
pub struct Adam {
    config: AdamConfig,
    steps: u64,
    moments: Moments,
}

impl Adam {
    /// Adam before its first step.
    pub fn new(config: AdamConfig) -> Self {
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
        self.apply(store, grads, learning_rate, false, plain)
    }

    /// [`Adam::step`] that takes entries of gradients that are not a number as zero.
    ///
    /// # Errors
    /// As [`Adam::step`].
    pub fn step_without_nan(
        &mut self,
        store: &ParamStore,
        grads: &GradStore,
        learning_rate: f64,
    ) -> Result<()> {
        self.apply(store, grads, learning_rate, true, plain)
    }

    fn apply(
        &mut self,
        store: &ParamStore,
        grads: &GradStore,
        learning_rate: f64,
        nan_as_zero: bool,
        shape: impl Fn(&Tensor, &Var, &Var) -> Result<Tensor>,
    ) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config;
        let count = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let constants = AdamStep {
            beta1,
            beta2,
            step_size: learning_rate / (1.0 - beta1.powi(count)),
            correction: 1.0 - beta2.powi(count),
            eps,
            nan_as_zero,
        };
        let mut all = Vec::new();
        for (name, var) in store.trainable() {
            let Some(grad) = grads.get(var.as_tensor()) else { continue };
            let moments = self.moments.of(name, &var)?.clone();
            all.push((shape(grad, &var, &moments[1])?, var, moments));
        }
        adam_steps(&all, constants)
    }

    /// The moments under `adam.m.<name>` and `adam.v.<name>`; with [`Adam::steps`] the whole state.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.moments.tensors(&NAMES)
    }

    /// [`Adam::tensors`] of one of several optimisers, under its own name: `<who>.adam.m.<name>`.
    pub fn tensors_of<'a>(&'a self, who: &'a str) -> impl Iterator<Item = (String, Tensor)> + 'a {
        self.tensors().into_iter().map(move |(name, tensor)| (format!("{who}.{name}"), tensor))
    }

    /// As [`Adam::restore`] from what [`Adam::tensors_of`] wrote under the same name, among others.
    ///
    /// # Errors
    /// As there.
    pub fn restore_of(
        who: &str,
        config: AdamConfig,
        steps: u64,
        tensors: &BTreeMap<String, Tensor>,
        store: &ParamStore,
    ) -> Result<Self> {
        let prefix = format!("{who}.");
        let own = tensors.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone()))
        });
        Self::restore(config, steps, &own.collect(), store)
    }

    /// Takes a state written by [`Adam::tensors`] for the variables of `store`; names without the
    /// prefix `adam.` are not looked at.
    ///
    /// # Errors
    /// [`Error::Config`] for a moment without its parameter, partner or shape.
    pub fn restore(
        config: AdamConfig,
        steps: u64,
        tensors: &BTreeMap<String, Tensor>,
        store: &ParamStore,
    ) -> Result<Self> {
        let moments = Moments::restore(&NAMES, tensors, store)?;
        Ok(Self { config, steps, moments })
    }
}

/// The gradient as it is.
fn plain(grad: &Tensor, _: &Var, _: &Var) -> Result<Tensor> {
    Ok(grad.clone())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::Init;

    use super::*;
    use crate::seed::Seed;

    fn quadratic(store: &ParamStore, adam: &mut Adam, steps: usize) -> Result<Vec<f32>> {
        for _ in 0..steps {
            let x = store.builder().get(2, "x")?;
            let loss = (x.sqr()? * 0.5)?.sum_all()?;
            adam.step(store, &loss.backward()?, 0.1)?;
        }
        Ok(store.get("x").unwrap().to_vec1()?)
    }

    fn store() -> Result<ParamStore> {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        store.builder().get_with_hints(2, "x", Init::Const(2.0))?;
        Ok(store)
    }

    #[test]
    fn steps_follow_algorithm_1() -> Result<()> {
        let (store, mut adam) = (store()?, Adam::new(AdamConfig::standard()));
        let got = quadratic(&store, &mut adam, 3)?;
        // The same recursion in f64.
        let (mut x, mut m, mut v) = (2.0_f64, 0.0, 0.0);
        for t in 1..=3 {
            m = 0.9 * m + 0.1 * x;
            v = 0.999 * v + 0.001 * x * x;
            let (mh, vh) = (m / (1.0 - 0.9_f64.powi(t)), v / (1.0 - 0.999_f64.powi(t)));
            x -= 0.1 * mh / (vh.sqrt() + 1e-8);
        }
        assert!((f64::from(got[0]) - x).abs() < 1e-6, "{got:?} {x}");
        // The first step of Adam has the size of the learning rate.
        assert!(
            (quadratic(&self::store()?, &mut Adam::new(AdamConfig::standard()), 1)?[0] - 1.9).abs()
                < 1e-6
        );
        Ok(())
    }

    #[test]
    fn constants_out_of_range_are_refused_by_name() {
        let base = AdamConfig::standard();
        base.validate().unwrap();
        AdamConfig { beta1: 0.0, beta2: 0.0, ..base }.validate().unwrap();
        for (config, field) in [
            (AdamConfig { beta1: 1.0, ..base }, "beta1"),
            (AdamConfig { beta1: f64::NAN, ..base }, "beta1"),
            (AdamConfig { beta2: -0.1, ..base }, "beta2"),
            (AdamConfig { beta2: 1.5, ..base }, "beta2"),
            (AdamConfig { eps: 0.0, ..base }, "eps"),
            (AdamConfig { eps: f64::INFINITY, ..base }, "eps"),
        ] {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(&format!("`{field}`")), "{field}: {message}");
        }
    }

    #[test]
    fn a_gradient_that_is_not_a_number_moves_nothing_if_asked_to() -> Result<()> {
        let (store, mut adam) = (store()?, Adam::new(AdamConfig::standard()));
        let x = store.builder().get(2, "x")?;
        let weights = Tensor::new(&[1.0_f32, f32::NAN], &Device::Cpu)?;
        let grads = x.mul(&weights)?.sum_all()?.backward()?;
        adam.step_without_nan(&store, &grads, 0.1)?;
        let got: Vec<f32> = store.get("x").unwrap().to_vec1()?;
        assert!((got[0] - 1.9).abs() < 1e-6);
        assert_eq!(got[1].to_bits(), 2.0_f32.to_bits());
        adam.step(&store, &grads, 0.1)?;
        assert!(store.get("x").unwrap().to_vec1::<f32>()?[1].is_nan());
        Ok(())
    }

    #[test]
    fn a_restored_state_goes_on_with_the_same_bits() -> Result<()> {
        let (a, mut adam) = (store()?, Adam::new(AdamConfig::standard()));
        quadratic(&a, &mut adam, 2)?;
        let tensors = adam.tensors().into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
        let b = store()?;
        b.get("x").unwrap().set(&a.get("x").unwrap().as_tensor().copy()?)?;
        let mut other = Adam::restore(AdamConfig::standard(), adam.steps(), &tensors, &b)?;
        assert_eq!(quadratic(&a, &mut adam, 3)?, quadratic(&b, &mut other, 3)?);
        Ok(())
    }

    #[test]
    fn a_state_that_does_not_fit_is_named() -> Result<()> {
        let (a, mut adam) = (store()?, Adam::new(AdamConfig::standard()));
        quadratic(&a, &mut adam, 1)?;
        let good: BTreeMap<_, _> = adam.tensors().into_iter().collect();
        let without = |name: &str| {
            let mut tensors = good.clone();
            tensors.remove(name);
            tensors
        };
        let mut short = good.clone();
        short.insert("adam.v.x".into(), Tensor::zeros(3, DType::F32, &Device::Cpu)?);
        let mut stranger = good.clone();
        for name in ["adam.m.y", "adam.v.y"] {
            stranger.insert(name.into(), Tensor::zeros(2, DType::F32, &Device::Cpu)?);
        }
        for (tensors, words) in [
            (without("adam.v.x"), "`x` has no second moment"),
            (stranger, "`y` is no parameter"),
            (short, "moments of `x` are not [2]"),
            (without("adam.m.x"), "`x` has no first moment"),
        ] {
            let result = Adam::restore(AdamConfig::standard(), 1, &tensors, &a);
            let message = result.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(words), "{words}: {message:?}");
        }
        Ok(())
    }

    #[test]
    fn a_parameter_without_gradient_stays() -> Result<()> {
        let store = store()?;
        store.builder().get_with_hints(1, "y", Init::Const(5.0))?;
        let mut adam = Adam::new(AdamConfig::standard());
        quadratic(&store, &mut adam, 2)?;
        assert_eq!(store.get("y").unwrap().to_vec1::<f32>()?, [5.0]);
        assert_eq!(adam.tensors().len(), 2);
        Ok(())
    }
}
