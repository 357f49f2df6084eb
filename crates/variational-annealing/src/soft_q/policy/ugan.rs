//! A conditional U-GAN as policy.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{Error, Noise, Result, Seed};

use super::{LogTarget, Policy, PolicyStep, PolicyTerms, counted};
use crate::{
    anneal::{Annealing, Reg, Schedule},
    soft_q::config::UganPolicyConfig,
    ugan::{Target, TrainState, Ugan, UganTraining, update},
};

/// `h = G(s, xi)` trained on `log u(h | s)` by a U-GAN whose networks see the state: critic `d(s, h)`, proposal
/// `nu(h | s)` (section 3 of the supplement's appendix J; how the three are conditioned is a reconstruction).
///
/// Acts with the last weights of the generator, not with their average.
pub struct UganPolicy {
    config: UganPolicyConfig,
    model: Ugan,
    state: TrainState,
}

impl UganPolicy {
    /// With initial parameters from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] for an invalid configuration.
    pub fn new(config: UganPolicyConfig, seed: Seed, device: &Device) -> Result<Self> {
        let model = Ugan::new(&config.networks, seed, device)?;
        let state = TrainState::new(&model, &config.training)?;
        Ok(Self { config, model, state })
    }

    /// Generator, critic and proposal.
    pub fn model(&self) -> &Ugan {
        &self.model
    }
}

/// `log u` as the U-GAN asks for it.
struct OfState<'a>(LogTarget<'a>);

impl Target for OfState<'_> {
    fn log_density(&self, h: &Tensor, states: Option<&Tensor>) -> Result<Tensor> {
        match states {
            Some(states) => (self.0)(states, h),
            None => {
                let (expected, got) = ("(b, 13)".into(), Vec::new());
                Err(Error::Shape { what: "states of a policy", expected, got })
            }
        }
    }
}

impl Policy for UganPolicy {
    fn draw(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let generator = self.model.generator();
        let z = generator.latent(states.dim(0)?, noise)?;
        generator.forward(&z, Some(states))
    }

    fn propose(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Option<(Tensor, Tensor)>> {
        let flow = self.model.flow();
        let h = flow.sample_given(states, noise)?;
        let log_prob = flow.log_prob_given(&h, Some(states))?;
        Ok(Some((h, log_prob)))
    }

    fn update(
        &mut self,
        states: &Tensor,
        target: LogTarget<'_>,
        step: PolicyStep,
        noise: &mut dyn Noise,
    ) -> Result<PolicyTerms> {
        let annealing = Annealing { reg: Reg::Entropy, schedule: Schedule::constant(step.lambda) };
        let [generator_rate, critic_rate, flow_rate] = [step.rate; 3];
        let own = self.config.training.clone();
        let training = UganTraining { annealing, generator_rate, critic_rate, flow_rate, ..own };
        let target = OfState(target);
        let terms =
            update(&self.model, &mut self.state, &training, (&target, Some(states)), noise)?;
        Ok(vec![
            ("critic_loss", terms.critic_loss),
            ("proposal_nll", terms.proposal_nll),
            ("objective", terms.objective),
            ("gradient_norm", terms.gradient_norm),
        ])
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.model.tensors()
    }

    fn assign(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.model.assign(path, tensors)
    }

    fn moments(&self) -> (Vec<(String, Tensor)>, Vec<u64>) {
        let (tensors, [generator, critic, flow]) = self.state.tensors();
        (tensors, vec![generator, critic, flow, self.state.iteration as u64])
    }

    fn restore(&mut self, moments: &BTreeMap<String, Tensor>, counters: &[u64]) -> Result<()> {
        let [generator, critic, flow, iteration] = counted(counters)?;
        let from = (moments, [generator, critic, flow]);
        let of = (&self.model, &self.config.training);
        self.state = TrainState::restore(of, from, usize::try_from(iteration).unwrap_or(0))?;
        Ok(())
    }
}
