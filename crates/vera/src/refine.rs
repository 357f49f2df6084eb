//! Refinement of samples by chains in the space of latents and output noise (appendix B.7.1).

use candle_core::Tensor;
use chains_core::{Error, Result, density::Energy, nn::BatchNormMoments};
use serde::{Deserialize, Serialize};

use crate::{
    generator::{Generator, GeneratorNetwork},
    network::EnergyNetwork,
};

/// What the chains' target has besides `f(g(z) + sigma e)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentPrior {
    /// Nothing, as in the paper: not a sampler of the model, and improper where `f` does not fall.
    None,
    /// `-(|z|^2 + |e|^2) / 2`.
    Gaussian,
}

/// `-ln h(z, e)` with `ln h = f(g(z) + sigma e)`, for MALA on positions `(b, d + D)`: latents, then
/// noise.
pub struct LatentEnergy<'a, E, G> {
    /// The energy network.
    pub energy: &'a E,
    /// The generator.
    pub generator: &'a Generator<G>,
    /// Shape of an example.
    pub event: &'a [usize],
    /// What the target has besides.
    pub prior: LatentPrior,
    /// What batch norms use; in the published code each batch its own, by which chains interact.
    pub moments: BatchNormMoments,
}

impl<E: EnergyNetwork, G: GeneratorNetwork> LatentEnergy<'_, E, G> {
    /// The images of positions, `(b, ..event)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the positions do not fit.
    pub fn examples(&self, position: &Tensor) -> Result<Tensor> {
        let (d, width) = (self.generator.network.latent(), self.event.iter().product::<usize>());
        if position.rank() != 2 || position.dims()[1] != d + width {
            let (expected, got) = (format!("(b, {})", d + width), position.dims().to_vec());
            return Err(Error::Shape { what: "latent position", expected, got });
        }
        let b = position.dims()[0];
        let z = position.narrow(1, 0, d)?.contiguous()?;
        let e = position.narrow(1, d, width)?.contiguous()?;
        let e = e.reshape([&[b], self.event].concat())?;
        self.generator.noisy(&self.generator.network.mean(&z, &mut self.moments.clone())?, &e)
    }
}

impl<E: EnergyNetwork, G: GeneratorNetwork> Energy for LatentEnergy<'_, E, G> {
    fn energy(&self, position: &Tensor) -> Result<Tensor> {
        let energy = self.energy.log_density(&self.examples(position)?, &[])?.neg()?;
        match self.prior {
            LatentPrior::None => Ok(energy),
            LatentPrior::Gaussian => Ok((energy + (position.sqr()?.sum(1)? * 0.5)?)?),
        }
    }
}
