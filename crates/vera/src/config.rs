//! Plain configuration structs; presets cite the paper's tables or the published commands.

mod network;
#[cfg(test)]
mod tests;
mod train;

use chains_core::{Error, Result, config::positive};
use serde::{Deserialize, Serialize};

pub use self::{
    network::{EnergyConfig, GeneratorActivation, GeneratorConfig, Output, SLOPE},
    train::{Entropy, HmcConfig, HmcGradient, TrainConfig},
};
pub(crate) use network::halvings;

/// Both networks and what the generator's noise and posterior begin with: all that a checkpoint
/// carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The log density `f`.
    pub energy: EnergyConfig,
    /// The generator.
    pub generator: GeneratorConfig,
    /// Least and greatest `sigma`; 0.01 and 0.3 in the published code.
    pub sigma_range: [f64; 2],
    /// `sigma` at the beginning; 0.01 in the published code.
    pub initial_sigma: f64,
    /// Standard deviations of the approximate posterior at the beginning; 0.1 in the published code.
    pub initial_eta: f64,
}

impl ModelConfig {
    /// These networks with the published constants of `sigma` and `eta`.
    pub fn of(energy: EnergyConfig, generator: GeneratorConfig) -> Self {
        let sigma_range = [0.01, 0.3];
        Self { energy, generator, sigma_range, initial_sigma: 0.01, initial_eta: 0.1 }
    }

    /// The toy densities of Figure 1: networks of 100 units, two latent variables.
    pub fn toy() -> Self {
        Self::of(
            EnergyConfig::Mlp { dim: 2, hidden: vec![100, 100], outputs: 1, weight_norm: false },
            GeneratorConfig::toy(100),
        )
    }

    /// Table 10: a mixture of 100 Gaussians, the generator of the toys.
    pub fn mixture() -> Self {
        Self::of(EnergyConfig::Mixture { dim: 2, components: 100 }, GeneratorConfig::toy(100))
    }

    /// Table 2: NICE on MNIST, four hidden layers of 1000 in a coupling as the code has it; the
    /// generator with three layers of 500, as the code has it (the paper says two).
    pub fn nice_mnist() -> Self {
        Self::of(
            EnergyConfig::Nice { dim: 784, hidden: 1000, layers: 4 },
            GeneratorConfig::softplus(100, 500, 784),
        )
    }

    /// Section 5.3, StackedMNIST: DCGAN of width 64 on images of side 64, 100 latent variables.
    pub fn stacked_mnist() -> Self {
        Self::of(
            EnergyConfig::Dcgan { side: 64, channels: 3, width: 64, outputs: 1 },
            GeneratorConfig::Dcgan { latent: 100, side: 64, channels: 3, width: 64 },
        )
    }

    /// Table 3: the wide residual network 28-10 with dropout 0.3 and the residual generator of width
    /// 256, as the published command has them.
    pub fn jem(classes: usize) -> Self {
        Self::of(
            EnergyConfig::WideResNet {
                depth: 28,
                widening: 10,
                channels: 3,
                outputs: classes,
                dropout: 0.3,
            },
            GeneratorConfig::ResNet { latent: 128, channels: 3, width: 256, output: Output::Tanh },
        )
    }

    /// Table 6: tables of `dim` columns and `classes` classes; `latent` is 10 for HEPMASS, else 128. For
    /// MNIST see [`ModelConfig::tabular_mnist`].
    pub fn tabular(dim: usize, classes: usize, latent: usize) -> Self {
        Self::of(
            EnergyConfig::Mlp {
                dim,
                hidden: vec![1000, 500, 500, 250, 250, 250],
                outputs: classes,
                weight_norm: false,
            },
            GeneratorConfig::softplus(latent, 500, dim),
        )
    }

    /// Table 6, MNIST as a table of pixels in `[-1, 1]`: hidden layers with weight normalisation, a
    /// generator with a tanh, 128 latent variables.
    pub fn tabular_mnist() -> Self {
        let mut config = Self::tabular(784, 10, 128);
        if let EnergyConfig::Mlp { weight_norm, .. } = &mut config.energy {
            *weight_norm = true;
        }
        if let GeneratorConfig::Mlp { output, .. } = &mut config.generator {
            *output = Output::Tanh;
        }
        config
    }

    /// Checks ranges, and that both networks are of the same events.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.energy.validate()?;
        self.generator.validate()?;
        let [energy, generator] = [self.energy.event(), self.generator.event()];
        let dim = |event: &[usize]| event.iter().product::<usize>();
        let same = energy == generator || (energy.len() == 1 && dim(&energy) == dim(&generator));
        if !same {
            let reason = format!("generates {generator:?}, the energy is of {energy:?}");
            return Err(Error::Config { field: "generator", reason });
        }
        sigma_range(self.sigma_range)?;
        positive("initial_sigma", self.initial_sigma)?;
        positive("initial_eta", self.initial_eta)
    }
}

/// Is it a range of standard deviations?
pub(crate) fn sigma_range([low, high]: [f64; 2]) -> Result<()> {
    positive("sigma_range", low)?;
    positive("sigma_range", high)?;
    if low > high {
        let reason = format!("{low} is above {high}");
        return Err(Error::Config { field: "sigma_range", reason });
    }
    Ok(())
}
