//! The energies between the start and the posterior.

use std::cell::RefCell;

use candle_core::{Shape, Tensor};
use chains_core::{
    Noise, Result,
    density::Energy,
    host,
    mcmc::{HmcState, select},
    ops::gaussian_log_prob,
};

use super::DecoderModel;

/// A block of chains: for each what it is conditioned on and where it starts.
pub(super) struct Path<'a> {
    pub(super) model: DecoderModel<'a>,
    /// `(b, d)`.
    pub(super) data: Tensor,
    /// Of the data's elements, for Gaussian observations.
    pub(super) variances: Option<Tensor>,
    /// Mean and variance of the proposal, `(b, z)`; none for the prior.
    pub(super) proposal: Option<(Tensor, Tensor)>,
}

/// What an energy of the path is made of, at a position.
#[derive(Clone)]
pub(super) struct Parts {
    /// Negative log density of the start but for a constant, `(b,)`.
    start: Tensor,
    /// Its gradient, `(b, z)`.
    start_grad: Tensor,
    /// `-log (p(z) p(x | z) / start(z))`, `(b,)`.
    ratio: Tensor,
    /// Its gradient, `(b, z)`.
    ratio_grad: Tensor,
}

impl Path<'_> {
    /// A draw of the start.
    pub(super) fn draw(&self, width: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let shape = Shape::from((self.data.dim(0)?, width));
        let e = noise.normal(&shape, self.data.dtype(), self.data.device())?;
        match &self.proposal {
            None => Ok(e),
            Some((mean, variance)) => Ok(((e * variance.sqrt()?)? + mean)?),
        }
    }

    pub(super) fn parts(&self, position: &Tensor) -> Result<Parts> {
        let (start, start_grad) = match &self.proposal {
            None => (position.sqr()?, position.clone()),
            Some((mean, variance)) => {
                let centred = (position - mean)?;
                (centred.sqr()?.div(variance)?, centred.div(variance)?)
            }
        };
        let (ratio, ratio_grad) = Ratio(self).energy_and_grad(position)?;
        Ok(Parts { start: (start.sum(1)? * 0.5)?, start_grad, ratio, ratio_grad })
    }
}

/// `log (start(z) / (p(z) p(x | z)))`.
struct Ratio<'a>(&'a Path<'a>);

impl Energy for Ratio<'_> {
    fn energy(&self, z: &Tensor) -> Result<Tensor> {
        let Path { model, data, variances, proposal } = self.0;
        let log_likelihood = model.log_likelihood_with(z, data, variances.as_ref())?;
        let Some((mean, variance)) = proposal else { return Ok(log_likelihood.neg()?) };
        let prior = gaussian_log_prob(z, &z.zeros_like()?, &z.ones_like()?)?;
        let log_ratio = (log_likelihood + prior)?;
        Ok((gaussian_log_prob(z, mean, variance)? - log_ratio)?)
    }
}

impl Parts {
    /// `log (p(z) p(x | z) / start(z))` on the host.
    pub(super) fn log_ratios(&self) -> Result<Vec<f64>> {
        host::vector(&self.ratio.neg()?)
    }

    /// Energy and gradient at inverse temperature `beta`.
    fn at(&self, beta: f64) -> Result<(Tensor, Tensor)> {
        let energy = (&self.start + (&self.ratio * beta)?)?;
        let grad = (&self.start_grad + (&self.ratio_grad * beta)?)?;
        Ok((energy, grad))
    }

    /// Chains at that inverse temperature, without an evaluation of the decoder.
    pub(super) fn state(&self, position: Tensor, beta: f64, step_size: Tensor) -> Result<HmcState> {
        let (energy, grad) = self.at(beta)?;
        Ok(HmcState { position, energy, grad, step_size })
    }

    /// Those of `proposal` where it was accepted.
    pub(super) fn moved(&self, accepted: &Tensor, proposal: &Self) -> Result<Self> {
        let pick = |there, here| select(accepted, there, here);
        Ok(Self {
            start: pick(&proposal.start, &self.start)?,
            start_grad: pick(&proposal.start_grad, &self.start_grad)?,
            ratio: pick(&proposal.ratio, &self.ratio)?,
            ratio_grad: pick(&proposal.ratio_grad, &self.ratio_grad)?,
        })
    }
}

/// The energy of the path at one inverse temperature.
pub(super) struct Tempered<'a> {
    pub(super) path: &'a Path<'a>,
    pub(super) beta: f64,
    /// Of the last position evaluated, where a trajectory ends: the next temperature needs them.
    pub(super) last: RefCell<Option<Parts>>,
}

impl Energy for Tempered<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_grad(x)?.0)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let parts = self.path.parts(x)?;
        let found = parts.at(self.beta)?;
        *self.last.borrow_mut() = Some(parts);
        Ok(found)
    }
}
