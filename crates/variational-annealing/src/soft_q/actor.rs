//! What acts, and episodes of it.

use std::f64::consts::TAU;

use candle_core::{Device, Tensor};
use chains_core::{Noise, Result, host, ops};

use super::{ACTIONS, OBSERVED, agent::SoftQ, policy::Policy, q_function::repeated};
use crate::swimmer::Swimmer;

/// Time between two actions, s.
const PERIOD: f64 = 0.05;

/// Gives actions.
pub trait Actor {
    /// Actions of `n` swimmers, in `[-1, 1]`.
    ///
    /// # Shapes
    /// `seen`: `(n, 13)`, f32, at step `step` of their episodes; the result `(n, 2)`.
    ///
    /// # Errors
    /// Of the networks.
    fn act(&self, seen: &Tensor, step: usize, noise: &mut dyn Noise) -> Result<Tensor>;
}

/// Uniform actions.
#[derive(Clone, Copy, Debug)]
pub struct RandomActions;

impl Actor for RandomActions {
    fn act(&self, seen: &Tensor, _: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let shape = (seen.dim(0)?, ACTIONS);
        Ok(noise.uniform(&shape.into(), seen.dtype(), seen.device())?.affine(2.0, -1.0)?)
    }
}

/// `a1 = sin(2 pi t / period)`, `a2 = sin(2 pi t / period - lag)`, whatever is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gait {
    /// T, s.
    pub period: f64,
    /// What the second motor lags by, rad.
    pub lag: f64,
}

impl Gait {
    /// The action of a step.
    pub fn at(&self, step: usize) -> [f64; ACTIONS] {
        let phase = TAU * (PERIOD * step as f64) / self.period;
        [phase.sin(), (phase - self.lag).sin()]
    }
}

impl Actor for Gait {
    fn act(&self, seen: &Tensor, step: usize, _: &mut dyn Noise) -> Result<Tensor> {
        let action = host::tensor_like(self.at(step).to_vec(), (1, ACTIONS), seen)?;
        Ok(action.broadcast_as((seen.dim(0)?, ACTIONS))?.contiguous()?)
    }
}

/// Draws of a policy, squashed.
pub struct Sampled<'a>(pub &'a dyn Policy);

impl Actor for Sampled<'_> {
    fn act(&self, seen: &Tensor, _: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        ops::tanh(&self.0.draw(seen, noise)?)
    }
}

/// Of several draws of a learner's policy the one with the highest Q.
pub struct Greedy<'a> {
    /// Policy and Q.
    pub learner: &'a SoftQ,
    /// Draws.
    pub draws: usize,
}

impl Actor for Greedy<'_> {
    fn act(&self, seen: &Tensor, _: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let n = seen.dim(0)?;
        let h = self.learner.policy().draw(&repeated(seen, self.draws)?, noise)?;
        let actions = ops::tanh(&h)?;
        let best = self.learner.q().of_particles(seen, &actions)?.argmax(1)?;
        let first =
            Tensor::arange_step(0, (n * self.draws) as u32, self.draws as u32, seen.device())?;
        Ok(actions.index_select(&(best + first)?, 0)?)
    }
}

/// One swimmer from its reset to the end of its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Sum of the rewards.
    pub sum: f64,
    /// Way of the centre of mass along x, m.
    pub way: f64,
    /// The swimmer at the start and after every action.
    pub states: Vec<Swimmer>,
}

/// Lets an actor swim `n` times for `path` actions, all at the same time.
///
/// # Errors
/// Of actor and swimmer.
pub fn episodes(
    actor: &dyn Actor,
    [n, path]: [usize; 2],
    device: &Device,
    noise: &mut dyn Noise,
) -> Result<Vec<Episode>> {
    let mut swimmers = (0..n).map(|_| Swimmer::reset(noise)).collect::<Result<Vec<_>>>()?;
    let begin = |swimmer: &Swimmer| Episode { sum: 0.0, way: 0.0, states: vec![*swimmer] };
    let mut episodes: Vec<Episode> = swimmers.iter().map(begin).collect();
    for step in 0..path {
        let actions = actor.act(&observed(&swimmers, device)?, step, noise)?;
        let actions = host::rows(&actions)?;
        for ((swimmer, episode), action) in swimmers.iter_mut().zip(&mut episodes).zip(actions) {
            episode.sum += swimmer.step([action[0], action[1]])?;
            episode.states.push(*swimmer);
        }
    }
    for (swimmer, episode) in swimmers.iter().zip(&mut episodes) {
        episode.way = swimmer.centre()[0] - episode.states[0].centre()[0];
    }
    Ok(episodes)
}

/// What swimmers see, `(n, 13)`, f32.
fn observed(swimmers: &[Swimmer], device: &Device) -> Result<Tensor> {
    let seen = swimmers.iter().flat_map(Swimmer::observation).map(|value| value as f32);
    Ok(Tensor::from_vec(seen.collect::<Vec<_>>(), (swimmers.len(), OBSERVED), device)?)
}
