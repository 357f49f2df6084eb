//! The infusion chain `q(z_0, .., z_{T-1} | x)` and its log weight.

use candle_core::Tensor;
pub use chains_core::chain::PathWeights;
use chains_core::{
    Error, Noise, Result,
    chain::{Step, TransitionOperator},
    density::LogDensity,
    dist::{DiagGaussian, DimensionMixture},
    host,
};

use crate::{config::ChainConfig, model::Prior};

/// The proposal that infuses a target into an operator's own chain (paper, section 2.3.1).
///
/// `z_0 ~ (1 - alpha_0) p0 + alpha_0 N(x, s)`, `z_t ~ (1 - alpha_t) p_t(. | z_{t-1}) +
/// alpha_t N(x, s)` for t = 1 .. T-1, per dimension; step T only predicts `x`.
#[derive(Clone, Copy)]
pub struct InfusionChain<'a, O> {
    /// The model's transitions.
    pub operator: &'a O,
    /// The model's start.
    pub prior: &'a Prior,
    /// Rates and constants.
    pub config: &'a ChainConfig,
    /// T.
    pub steps: usize,
}

/// One visited step of a path: what the model said and where the chain went.
pub struct Visit<'a> {
    /// t, from 0 (the prior) to T (the prediction of the target).
    pub t: usize,
    /// The model's law of this state: the prior, or `p_t(. | z_{t-1})`.
    pub conditional: &'a DiagGaussian,
    /// The proposal and the state drawn from it; at t = T there is none.
    pub drawn: Option<(&'a DimensionMixture, &'a Tensor)>,
}

impl<O: TransitionOperator<Dist = DiagGaussian>> InfusionChain<'_, O> {
    /// The law of `z_t` given the model's law `base` of it and [`InfusionChain::spike`].
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have one shape.
    pub fn proposal(
        &self,
        t: usize,
        base: DiagGaussian,
        spike: DiagGaussian,
    ) -> Result<DimensionMixture> {
        DimensionMixture::new(self.config.rate.at(t), base, spike, self.config.masks)
    }

    /// The narrow Gaussian at the target, `(b, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn spike(&self, x: &Tensor) -> Result<DiagGaussian> {
        let variance = x.zeros_like()?.affine(1.0, self.config.target_variance)?;
        DiagGaussian::new(x.clone(), variance)
    }

    /// Walks one path for each row of `x` and shows every step to `visit`. With `detach` no gradient
    /// flows along the chain; without it states are reparameterised, masks being constants.
    ///
    /// # Shapes
    /// `x`: `(b, D)`.
    ///
    /// # Errors
    /// Of the operator, or of `visit`.
    pub fn walk(
        &self,
        x: &Tensor,
        noise: &mut dyn Noise,
        detach: bool,
        mut visit: impl FnMut(Visit<'_>) -> Result<()>,
    ) -> Result<()> {
        if x.rank() != 2 {
            let got = x.dims().to_vec();
            return Err(Error::Shape { what: "target", expected: "(b, D)".into(), got });
        }
        let mut base = self.prior.batch(x.dim(0)?)?;
        let spike = self.spike(x)?;
        for t in 0..self.steps {
            let proposal = self.proposal(t, base, spike.clone())?;
            let z = proposal.draw(noise)?;
            let z = if detach { z.detach() } else { z };
            let conditional = proposal.base();
            visit(Visit { t, conditional, drawn: Some((&proposal, &z)) })?;
            base = self.operator.conditional(&z, Step::at(t))?;
        }
        visit(Visit { t: self.steps, conditional: &base, drawn: None })
    }

    /// The states `z_0 .. z_{T-1}`, detached, each `(b, D)`; the operator is called T times.
    ///
    /// # Errors
    /// As [`InfusionChain::walk`].
    pub fn states(&self, x: &Tensor, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        let mut states = Vec::with_capacity(self.steps);
        self.walk(x, noise, true, |visit| {
            states.extend(visit.drawn.map(|(_, z)| z.clone()));
            Ok(())
        })?;
        Ok(states)
    }

    /// `ln p(path, x) - ln q(path | x)` of one path for each row, equation 3 before the mean, as a
    /// differentiable `(b,)` in the states' type.
    ///
    /// # Errors
    /// As [`InfusionChain::walk`].
    pub fn log_weight(&self, x: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let mut sum = x.zeros_like()?.sum(1)?;
        self.walk(x, noise, false, |visit| {
            let term = match visit.drawn {
                Some((proposal, z)) => proposal.log_ratio(z)?,
                None => visit.conditional.log_prob(x)?,
            };
            sum = (&sum + term)?;
            Ok(())
        })?;
        Ok(sum)
    }

    /// The same log weights in f64 on the host, without a graph. `output_variance` replaces the
    /// variance of the last factor (the isotropic variant of Table 2); `None` keeps the model's.
    ///
    /// # Errors
    /// As [`InfusionChain::walk`].
    pub fn log_weights(
        &self,
        x: &Tensor,
        output_variance: &[Option<f64>],
        noise: &mut dyn Noise,
    ) -> Result<PathWeights> {
        let mut ratios = vec![0.0; x.dim(0)?];
        let mut weights = Vec::new();
        let mut residual = Vec::new();
        self.walk(x, noise, true, |visit| {
            if let Some((proposal, z)) = visit.drawn {
                if proposal.rate() > 0.0 {
                    let terms = host::values(&proposal.log_ratio(z)?)?;
                    ratios.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
                return Ok(());
            }
            let last = visit.conditional;
            residual = host::values(&(x - last.mean())?.sqr()?.mean(1)?)?;
            for variance in output_variance {
                let terms = match variance {
                    None => last.log_prob(x)?,
                    Some(variance) => {
                        let variance = x.zeros_like()?.affine(1.0, *variance)?;
                        DiagGaussian::new(last.mean().clone(), variance)?.log_prob(x)?
                    }
                };
                let terms = host::values(&terms)?;
                weights.push(ratios.iter().zip(terms).map(|(r, term)| r + term).collect());
            }
            Ok(())
        })?;
        Ok(PathWeights { weights, residual })
    }
}
