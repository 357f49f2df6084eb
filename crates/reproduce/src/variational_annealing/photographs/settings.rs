//! Sizes of a training on photographs.

use serde::{Deserialize, Serialize};
use variational_annealing::{
    AnnealTerm, DenoiserConfig, GanConfig, GenWidth, Objective, Schedule, TrainConfig,
    config::{ConvLayer, DiscriminatorConfig, GeneratorConfig},
};

use crate::{
    error::Result,
    limits::{at_least, bad},
    request::{Request, Scale},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PhotographSettings {
    /// The first images of the training file.
    pub(super) train_images: usize,
    pub(super) networks: GanConfig,
    pub(super) training: TrainConfig,
    /// Iterations whose means are a point of the curves; a state is saved at their end.
    pub(super) follow_every: usize,
    /// Samples on a sheet.
    pub(super) shown: usize,
}

/// Seconds, at 32 pixels.
pub(super) fn tiny() -> GanConfig {
    GanConfig {
        discriminator: DiscriminatorConfig {
            event: [3, 32, 32],
            layers: [4, 4, 8, 8].map(ConvLayer::k4s2).to_vec(),
            batch_norm: true,
        },
        generator: GeneratorConfig {
            latent: 8,
            first: [8, 4, 4],
            layers: [8, 4, 3].map(ConvLayer::k4s2).to_vec(),
        },
        denoiser: DenoiserConfig { features: 32, hidden: vec![16], batch_norm: true },
    }
}

impl PhotographSettings {
    fn defaults(scale: Scale) -> Self {
        let networks = match scale {
            Scale::Smoke => tiny(),
            Scale::Quick => GanConfig::cifar10_of(GenWidth::Table2048, 3),
            Scale::Paper => GanConfig::cifar10(),
        };
        let training = TrainConfig::cifar10(Objective::Jsd)
            .annealed(AnnealTerm::Score, Schedule::sine(scale.pick(1.0, 1.0, 1.0)));
        Self {
            train_images: scale.pick(40, 50_000, 50_000),
            networks,
            training: TrainConfig {
                iterations: scale.pick(6, 900, training.iterations),
                batch_size: scale.pick(8, 64, training.batch_size),
                denoiser_warm_up: scale.pick(
                    1,
                    training.denoiser_warm_up,
                    training.denoiser_warm_up,
                ),
                ..training
            },
            follow_every: scale.pick(3, 50, 1_000),
            shown: scale.pick(8, 60, 100),
        }
    }

    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// For what cannot be run, before any file is touched.
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let mut settings: Self = request.settings(&Self::defaults(request.scale))?;
        let training = &settings.training;
        if training.objective == Objective::WGanGp {
            // The penalty is of single rows.
            settings.networks = settings.networks.without_critic_norm();
        }
        settings.networks.validate()?;
        training.validate()?;
        let rows = training.batch_size * training.critic_steps;
        at_least(&[
            ("train_images", settings.train_images, rows),
            ("training.iterations", training.iterations, 1),
            ("follow_every", settings.follow_every, 1),
            ("shown", settings.shown, 1),
        ])?;
        if !training.iterations.is_multiple_of(settings.follow_every) {
            return bad("training.iterations", "must be a multiple of follow_every");
        }
        if settings.networks.discriminator.event != [3, 32, 32] {
            return bad("networks.discriminator.event", "must be [3, 32, 32]");
        }
        Ok(settings)
    }
}
