//! What both stages and their measurement are made of.

use chains_core::{optim::AdamConfig, schedule::LearningRate};
use serde::{Deserialize, Serialize};
use vaebm::{ChainConfig, EnergyConfig, EnergyTrainConfig, ReplayConfig, plane::PlaneConfig};

use crate::{
    error::Result,
    limits::{at_least, bad},
    request::Request,
};

/// Hidden layers of all networks (section 5.2).
pub(super) const HIDDEN: usize = 3;

/// Where the negative phase comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Negative {
    /// Langevin chains on the noise, as in the paper.
    Chains,
    /// Samples of the autoencoder, weighted: no error of chains, for energies of the plane only.
    Importance,
}

impl Negative {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Chains => "langevin",
            Self::Importance => "importance",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Chains => "VAEBM, Langevin",
            Self::Importance => "VAEBM, importance sampling",
        }
    }
}

/// Everything of the experiment. Sizes of the networks are published, the rest is not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlaneSettings {
    /// Units of all hidden layers.
    pub(super) width: usize,
    /// Latent numbers.
    pub(super) latent: usize,
    /// Added to the decoder's standard deviation.
    pub(super) scale_floor: f64,
    /// Updates in which the weight of the divergence grows to one. Without any the posterior falls onto
    /// the prior at once, and the autoencoder stays one Gaussian for all points.
    pub(super) kl_warmup: usize,
    /// Updates of the autoencoder.
    pub(super) autoencoder_updates: usize,
    /// First rate of its Adam; a cosine leads to a tenth.
    pub(super) autoencoder_rate: f64,
    /// Points in an update of either stage, and chains.
    pub(super) batch_size: usize,
    /// Updates of the energy by chains.
    pub(super) energy_updates: usize,
    /// Updates of the energy of the control.
    pub(super) control_updates: usize,
    /// First rate of Adam by chains.
    pub(super) energy_rate: f64,
    /// First rate of the control, which may be larger: its negatives are exact.
    pub(super) control_rate: f64,
    /// Last rate of both, where half a cosine leads.
    pub(super) last_energy_rate: f64,
    /// First moment of its Adam.
    pub(super) energy_beta1: f64,
    /// Times the usual initial weights and biases of the energy's first layer. With the usual ones the
    /// energy learns offsets of whole Gaussians long before the gaps between them, and chains, which cross
    /// gaps slowly, do not hold offsets in check.
    pub(super) energy_first_layer: f64,
    /// Decay of the average of the energy's weights, which is what is measured: with some hundred chains
    /// the offsets go up and down.
    pub(super) energy_average: f64,
    /// Steps of a chain in training, K.
    pub(super) chain_steps: usize,
    /// eta.
    pub(super) step_size: f64,
    /// Chains in the buffer. As many as points in an update: every chain goes on in every update, so that
    /// the buffer follows the energy as fast as it can.
    pub(super) buffer: usize,
    /// How often a chain begins there in the end.
    pub(super) replay: f64,
    /// Updates until then.
    pub(super) replay_ramp: usize,
    /// Keep all noise of a chain in the buffer, not its latent part alone.
    pub(super) replay_pixels: bool,
    /// Steps of the chains that samples are made by.
    pub(super) test_steps: usize,
    /// Samples of the autoencoder in an update of the control.
    pub(super) importance_samples: usize,
    /// Points on which the truth is estimated.
    pub(super) test_points: usize,
    /// The first of them: points on which all likelihoods are.
    pub(super) likelihood_points: usize,
    /// Most draws of the posterior for a point.
    pub(super) draws: usize,
    /// Samples in which modes are counted.
    pub(super) samples: usize,
    /// Samples of the Monte-Carlo estimate of the partition function.
    pub(super) partition_samples: usize,
    /// Kernels of the autoencoder's density on a grid.
    pub(super) kernels: usize,
    /// Side of a cell of the grid.
    pub(super) grid_step: f64,
    /// Times at which the training is recorded.
    pub(super) looks: usize,
}

impl PlaneSettings {
    /// Of a command line.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] naming the key.
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let settings = request.settings(&Self {
            width: scale.pick(16, 256, 256),
            latent: scale.pick(2, 20, 20),
            scale_floor: 0.05,
            kl_warmup: scale.pick(10, 500, 500),
            autoencoder_updates: scale.pick(40, 6_000, 10_000),
            autoencoder_rate: 1e-3,
            batch_size: scale.pick(32, 256, 256),
            energy_updates: scale.pick(20, 2_500, 4_000),
            control_updates: scale.pick(20, 1_500, 4_000),
            energy_rate: 2e-4,
            control_rate: 5e-4,
            last_energy_rate: 1e-5,
            energy_beta1: 0.9,
            energy_first_layer: 24.0,
            energy_average: 0.99,
            chain_steps: scale.pick(3, 20, 20),
            step_size: 2e-3,
            buffer: scale.pick(32, 256, 256),
            replay: 0.98,
            replay_ramp: 0,
            replay_pixels: true,
            test_steps: scale.pick(5, 500, 500),
            importance_samples: scale.pick(64, 4_096, 4_096),
            test_points: scale.pick(200, 20_000, 100_000),
            likelihood_points: scale.pick(20, 1_000, 100_000),
            draws: scale.pick(100, 10_000, 10_000),
            samples: scale.pick(200, 10_000, 10_000),
            partition_samples: scale.pick(2_000, 1_000_000, 4_000_000),
            kernels: scale.pick(2_000, 200_000, 400_000),
            grid_step: scale.pick(0.1, 0.025, 0.025),
            looks: scale.pick(4, 40, 40),
        })?;
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<()> {
        at_least(&[
            ("width", self.width, 1),
            ("latent", self.latent, 1),
            ("autoencoder_updates", self.autoencoder_updates, 1),
            ("batch_size", self.batch_size, 1),
            ("energy_updates", self.energy_updates, 1),
            ("control_updates", self.control_updates, 1),
            ("importance_samples", self.importance_samples, 1),
            ("likelihood_points", self.likelihood_points, 2),
            ("draws", self.draws, 1),
            ("samples", self.samples, 1),
            ("partition_samples", self.partition_samples, 2),
            ("kernels", self.kernels, 1),
            ("looks", self.looks, 1),
        ])?;
        if self.likelihood_points > self.test_points {
            return bad("likelihood_points", "must be at most test_points");
        }
        for (key, value) in [
            ("grid_step", self.grid_step),
            ("autoencoder_rate", self.autoencoder_rate),
            ("control_rate", self.control_rate),
            ("last_energy_rate", self.last_energy_rate),
            ("energy_first_layer", self.energy_first_layer),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return bad(key, "must be positive");
            }
        }
        if !(0.0..1.0).contains(&self.energy_average) {
            return bad("energy_average", "must be at least 0 and below 1");
        }
        self.training().validate()?;
        Ok(())
    }

    pub(super) fn autoencoder(&self) -> PlaneConfig {
        PlaneConfig {
            dim: 2,
            latent: self.latent,
            hidden: vec![self.width; HIDDEN],
            scale_floor: self.scale_floor,
        }
    }

    pub(super) fn energy(&self) -> EnergyConfig {
        EnergyConfig::Mlp { dim: 2, hidden: vec![self.width; HIDDEN] }
    }

    /// The second stage by chains.
    pub(super) fn training(&self) -> EnergyTrainConfig {
        EnergyTrainConfig {
            batch_size: self.batch_size,
            learning_rate: self.energy_rate,
            adam: AdamConfig { beta1: self.energy_beta1, ..AdamConfig::standard() },
            chains: ChainConfig { steps: self.chain_steps, step_size: self.step_size },
            test_steps: self.test_steps,
            replay: Some(ReplayConfig {
                capacity: self.buffer,
                probability: self.replay,
                ramp: self.replay_ramp,
                pixels: self.replay_pixels,
            }),
            ..EnergyTrainConfig::plane()
        }
    }

    /// The rate of Adam in the second stage.
    pub(super) fn rate(&self, negative: Negative) -> LearningRate {
        let value = match negative {
            Negative::Chains => self.energy_rate,
            Negative::Importance => self.control_rate,
        };
        LearningRate::Cosine { value, last: self.last_energy_rate, warmup: 0 }
    }

    pub(super) fn updates(&self, negative: Negative) -> usize {
        match negative {
            Negative::Chains => self.energy_updates,
            Negative::Importance => self.control_updates,
        }
    }
}
