//! A diagonal Gaussian before the squash.

use std::{collections::BTreeMap, f64::consts::TAU, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{Noise, Result, Seed, autograd::value_and_gradients, host, ops};

use super::{LogTarget, Policy, PolicyStep, PolicyTerms, Trained};
use crate::{
    mlp::Mlp,
    soft_q::{ACTIONS, OBSERVED, config::GaussianConfig},
};

/// Middle and half the range of the log deviation, which stays within (-5, 2): ours.
const LOG_DEVIATION: [f64; 2] = [-1.5, 3.5];

/// `h = mean(s) + deviation(s) e` with `e ~ N(0, I)`: its entropy is exact and its gradient
/// reparametrised, as in soft actor-critic (Haarnoja and others 2018) with the temperature fixed.
///
/// One network gives both; log deviations are squashed to (-5, 2).
pub struct GaussianPolicy {
    network: Trained,
}

impl GaussianPolicy {
    /// With initial parameters from `seed`, named `layers.<i>.*`.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new(config: GaussianConfig, seed: Seed, device: &Device) -> Result<Self> {
        let widths = [&[OBSERVED], &config.hidden[..], &[2 * ACTIONS]].concat();
        Ok(Self { network: Trained::new(&widths, config.adam, seed, device)? })
    }

    /// Mean and log deviation of `h`, `(n, 2)` each, without a graph.
    ///
    /// # Errors
    /// Of the network.
    pub fn law(&self, states: &Tensor) -> Result<[Tensor; 2]> {
        law(&self.network.frozen, states)
    }
}

fn law(network: &Mlp, states: &Tensor) -> Result<[Tensor; 2]> {
    let out = network.forward(states)?;
    let [middle, half] = LOG_DEVIATION;
    let raw = out.narrow(1, ACTIONS, ACTIONS)?.contiguous()?;
    Ok([out.narrow(1, 0, ACTIONS)?.contiguous()?, ops::tanh(&raw)?.affine(half, middle)?])
}

/// Draws and their log densities.
fn drawn(network: &Mlp, states: &Tensor, noise: &mut dyn Noise) -> Result<[Tensor; 2]> {
    let [mean, log_deviation] = law(network, states)?;
    let e = noise.normal(mean.shape(), mean.dtype(), mean.device())?;
    let h = (mean + ops::exp(&log_deviation)?.mul(&e)?)?;
    // The density at mean + deviation e in terms of e.
    let constant = 0.5 * TAU.ln();
    let each = (e.sqr()?.affine(-0.5, -constant)? - log_deviation)?;
    Ok([h, each.sum(1)?])
}

impl Policy for GaussianPolicy {
    fn draw(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let [h, _] = drawn(&self.network.frozen, states, noise)?;
        Ok(h)
    }

    fn propose(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Option<(Tensor, Tensor)>> {
        let [h, log_prob] = drawn(&self.network.frozen, states, noise)?;
        Ok(Some((h, log_prob)))
    }

    fn update(
        &mut self,
        states: &Tensor,
        target: LogTarget<'_>,
        step: PolicyStep,
        noise: &mut dyn Noise,
    ) -> Result<PolicyTerms> {
        let (weights, mut terms) = (step.weights()?, PolicyTerms::new());
        let (loss, grads) = value_and_gradients(|| {
            let [h, log_prob] = drawn(&self.network.live, states, noise)?;
            let (log_prob, log_target) = (log_prob.mean_all()?, target(states, &h)?.mean_all()?);
            terms.extend([
                ("log_prob", host::scalar(&log_prob)?),
                ("log_target", host::scalar(&log_target)?),
            ]);
            Ok(((log_prob * weights.c_q)? - (log_target * weights.c_u)?)?)
        })?;
        host::finite(&loss, "policy loss", step.update)?;
        self.network.step(&grads, step.rate)?;
        Ok(terms)
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.network.store.tensors()
    }

    fn assign(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.network.store.assign(path, tensors)
    }

    fn moments(&self) -> (Vec<(String, Tensor)>, Vec<u64>) {
        self.network.moments()
    }

    fn restore(&mut self, moments: &BTreeMap<String, Tensor>, counters: &[u64]) -> Result<()> {
        self.network.restore(moments, counters)
    }
}
