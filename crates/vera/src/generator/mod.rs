//! Generators with a latent variable and output noise.

mod dcgan;
mod linear;
mod mlp;
mod resnet;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{Noise, Result, host, nn::BatchNormMoments, ops, params::ParamStore};

pub use self::{
    dcgan::DcganGenerator, linear::LinearGenerator, mlp::MlpGenerator, resnet::ResNetGenerator,
};
use crate::config::GeneratorConfig;

/// The mean `g(z)` of a generator.
pub trait GeneratorNetwork {
    /// `(b, d)` -> `(b, ..event)`.
    ///
    /// Batch norms use, and fill in, `moments`.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if `z` does not fit.
    fn mean(&self, z: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor>;

    /// `d`.
    fn latent(&self) -> usize;

    /// Names of the batch norms under the network's own name, in the order in which they are met.
    fn norms(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `q(x | z) = N(g(z), sigma^2 I)`, `q(z) = N(0, I)`.
#[derive(Clone, Debug)]
pub struct Generator<G> {
    /// `g`.
    pub network: G,
    /// `ln sigma`, `(1,)`.
    pub log_sigma: Tensor,
}

/// Samples of a generator with what they were made of; the first axis numbers samples.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// `z`, `(b, d)`.
    pub latent: Tensor,
    /// `x = g(z) + sigma e`, with a graph if the generator has one.
    pub x: Tensor,
    /// The moments that batch norms found or used.
    pub moments: BatchNormMoments,
}

impl<G: GeneratorNetwork> Generator<G> {
    /// `n` samples; batch norms use `moments`.
    ///
    /// # Errors
    /// Of the network.
    pub fn draw(
        &self,
        n: usize,
        mut moments: BatchNormMoments,
        noise: &mut dyn Noise,
    ) -> Result<Drawn> {
        let (dtype, device) = (self.log_sigma.dtype(), self.log_sigma.device());
        let latent = noise.normal(&(n, self.network.latent()).into(), dtype, device)?;
        let mean = self.network.mean(&latent, &mut moments)?;
        let e = noise.normal(mean.shape(), dtype, device)?;
        Ok(Drawn { latent, x: self.noisy(&mean, &e)?, moments })
    }

    /// `mean + sigma e`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn noisy(&self, mean: &Tensor, e: &Tensor) -> Result<Tensor> {
        ops::add(mean, &e.broadcast_mul(&self.log_sigma.exp()?)?)
    }

    /// `sigma` on the host.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sigma(&self) -> Result<f64> {
        Ok(host::values(&self.log_sigma)?.first().map_or(f64::NAN, |s| s.exp()))
    }
}

/// Any of the generators of the paper.
#[derive(Clone, Debug)]
pub enum GeneratorNet {
    /// See [`LinearGenerator`].
    Linear(LinearGenerator),
    /// See [`MlpGenerator`].
    Mlp(MlpGenerator),
    /// See [`DcganGenerator`].
    Dcgan(DcganGenerator),
    /// See [`ResNetGenerator`].
    ResNet(ResNetGenerator),
}

impl GeneratorNet {
    /// The network of a configuration, its variables asked of `vb`.
    ///
    /// # Errors
    /// If the configuration is invalid or the builder holds tensors of other shapes.
    pub fn new(config: &GeneratorConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        Ok(match config {
            GeneratorConfig::Linear { latent, dim } => {
                Self::Linear(LinearGenerator::new(*latent, *dim, vb)?)
            }
            GeneratorConfig::Mlp { latent, width, layers, dim, activation, output } => Self::Mlp(
                MlpGenerator::new([*latent, *width, *layers, *dim], *activation, *output, vb)?,
            ),
            GeneratorConfig::Dcgan { latent, side, channels, width } => {
                Self::Dcgan(DcganGenerator::new(*latent, *side, [*channels, *width], vb)?)
            }
            GeneratorConfig::ResNet { latent, channels, width, output } => {
                Self::ResNet(ResNetGenerator::new([*latent, *channels, *width], *output, vb)?)
            }
        })
    }
}

impl GeneratorNetwork for GeneratorNet {
    fn mean(&self, z: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        match self {
            Self::Linear(net) => net.mean(z, moments),
            Self::Mlp(net) => net.mean(z, moments),
            Self::Dcgan(net) => net.mean(z, moments),
            Self::ResNet(net) => net.mean(z, moments),
        }
    }

    fn latent(&self) -> usize {
        match self {
            Self::Linear(net) => net.latent(),
            Self::Mlp(net) => net.latent(),
            Self::Dcgan(net) => net.latent(),
            Self::ResNet(net) => net.latent(),
        }
    }

    fn norms(&self) -> Vec<String> {
        match self {
            Self::Linear(net) => net.norms(),
            Self::Mlp(net) => net.norms(),
            Self::Dcgan(net) => net.norms(),
            Self::ResNet(net) => net.norms(),
        }
    }
}

/// Moves the running moments of the batch norms of a generator named `prefix` towards what a pass
/// found.
pub(crate) fn follow_moments(
    network: &impl GeneratorNetwork,
    store: &ParamStore,
    prefix: &str,
    moments: &BatchNormMoments,
) -> Result<()> {
    for (name, found) in network.norms().iter().zip(moments.found()) {
        chains_core::nn::BatchNorm::follow(store, &format!("{prefix}.{name}"), found)?;
    }
    Ok(())
}
