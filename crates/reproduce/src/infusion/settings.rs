//! Settings of the experiments: flat, one key of `--set key=value` each. The range of the variance head
//! while training, the small number of norms and Adam's constants are the paper's and have no key.

mod objective;

use chains_core::{
    dist::Masks,
    optim::AdamConfig,
    schedule::{InfusionRate, LearningRate},
};
use infusion::{
    Architecture, ChainConfig, ModelConfig, NetworkConfig, Objective, SampleOptions, TrainConfig,
};
use serde::{Deserialize, Serialize};

use super::training::Recipe;
use crate::{
    error::{Error, Result},
    images::{Cut, Images},
    request::Scale,
};

/// Training of one model on MNIST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Training images, the first of the training file.
    pub train_images: usize,
    /// Validation images, behind the first 50,000 of the training file.
    pub validation_images: usize,
    /// Test images, the first of the test file.
    pub test_images: usize,
    /// Average 2x2 blocks to 14x14 pixels.
    pub pooled: bool,
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// T.
    pub steps: usize,
    /// alpha_0.
    pub rate: f64,
    /// omega.
    pub rate_increment: f64,
    /// Use the published code's index of the rate.
    pub rate_code_shift: bool,
    /// Variance of the narrow Gaussian at the target.
    pub target_variance: f64,
    /// Added to the per-dimension variance of the prior.
    pub prior_floor: f64,
    /// Infuse all channels of a pixel together, with their joint density, as the published code draws
    /// them; the same for one channel.
    pub shared_masks: bool,
    /// `denoising`, `denoising-per-step`, `lower-bound`, `lower-bound-detached`,
    /// `lower-bound-detached-weighted`, or the table that `config.toml` has.
    #[serde(deserialize_with = "objective::named")]
    pub objective: Objective,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in an update.
    pub batch_size: usize,
    /// Highest rate of Adam.
    pub learning_rate: f64,
    /// Rate at the end; equal to `learning_rate` for a constant one, else half a cosine.
    pub last_learning_rate: f64,
    /// Updates until the highest rate, where the rate is not constant.
    pub warmup: usize,
    /// Images of each split whose bound is followed over epochs.
    pub followed: usize,
    /// Keep the epoch with the best validation bound.
    pub select: bool,
    /// Decay of the exponential average of weights that is scored and kept; 0 for the raw weights.
    /// Not in the paper.
    pub weight_average: f64,
    /// Begin with head biases that give the training moments instead of zeros. Not in the paper.
    pub data_biases: bool,
    /// Training images in the frozen statistics.
    pub statistics_images: usize,
    /// Collect the frozen statistics on the model's own chain instead of infused ones.
    pub statistics_on_model_chain: bool,
    /// Variance floor of generated chains, the published code's being 1e-5; 0 for the model's own.
    pub sampling_floor: f64,
}

impl TrainSettings {
    /// The paper's MNIST model as the published code trains it.
    pub fn paper() -> Self {
        Self {
            train_images: 50_000,
            validation_images: 10_000,
            test_images: 10_000,
            pooled: false,
            hidden: vec![1200, 1200],
            steps: 15,
            rate: 0.0,
            rate_increment: 0.01,
            rate_code_shift: false,
            target_variance: 1e-4,
            prior_floor: 1e-5,
            shared_masks: false,
            objective: Objective::Denoising,
            epochs: 1500,
            batch_size: 512,
            learning_rate: 1e-3,
            last_learning_rate: 1e-3,
            warmup: 0,
            followed: 1000,
            select: true,
            weight_average: 0.0,
            data_biases: false,
            statistics_images: 50_000,
            statistics_on_model_chain: false,
            sampling_floor: 0.0,
        }
    }

    /// The model of the small experiments: 20,000 digits, width 400. At a higher rate than the
    /// paper's code and with a cosine, it learns in minutes what the constant rate needs hours for.
    pub fn small() -> Self {
        Self {
            train_images: 20_000,
            validation_images: 1_000,
            test_images: 1_000,
            hidden: vec![400, 400],
            epochs: 12,
            batch_size: 128,
            learning_rate: 3e-3,
            last_learning_rate: 1e-5,
            warmup: 100,
            followed: 500,
            statistics_images: 10_000,
            ..Self::paper()
        }
    }

    /// Seconds of work, numbers without meaning.
    pub fn smoke() -> Self {
        Self {
            train_images: 200,
            validation_images: 50,
            test_images: 50,
            pooled: true,
            hidden: vec![32, 32],
            steps: 5,
            rate_increment: 0.1,
            epochs: 2,
            batch_size: 50,
            warmup: 1,
            followed: 50,
            statistics_images: 200,
            ..Self::small()
        }
    }

    /// The headline at `quick`: all 50,000 digits, a smaller network and a decaying rate.
    pub fn headline() -> Self {
        Self {
            hidden: vec![600, 600],
            epochs: 10,
            batch_size: 128,
            learning_rate: 3e-3,
            last_learning_rate: 1e-6,
            warmup: 200,
            ..Self::paper()
        }
    }

    /// The settings of experiments that train one small model.
    pub fn of_scale(scale: Scale) -> Self {
        match scale {
            Scale::Smoke => Self::smoke(),
            Scale::Quick => Self::small(),
            Scale::Paper => Self::paper(),
        }
    }

    /// Which images.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that no training can run with.
    pub fn cut(&self) -> Result<Cut> {
        let bad = |key: &str, reason: &str| Err(Error::Usage(format!("--set {key}: {reason}")));
        for (key, value) in [
            ("validation_images", self.validation_images),
            ("test_images", self.test_images),
            ("steps", self.steps),
            ("epochs", self.epochs),
            ("statistics_images", self.statistics_images),
        ] {
            if value == 0 {
                return bad(key, "must be at least 1");
            }
        }
        if self.batch_size < 2 || self.batch_size > self.train_images {
            return bad("batch_size", "must be at least 2 and at most train_images");
        }
        if self.hidden.contains(&0) {
            return bad("hidden", "a layer has no unit");
        }
        if !self.sampling_floor.is_finite() || self.sampling_floor < 0.0 {
            return bad("sampling_floor", "must be a variance, or 0 for the model's own floor");
        }
        Ok(Cut {
            train: self.train_images,
            validation: self.validation_images,
            test: self.test_images,
            pooled: self.pooled,
        })
    }

    /// The model for events of this shape.
    pub fn model(&self, event: [usize; 3]) -> ModelConfig {
        let architecture = Architecture::Mlp { hidden: self.hidden.clone() };
        let rate = InfusionRate {
            initial: self.rate,
            increment: self.rate_increment,
            code_shift: self.rate_code_shift,
        };
        ModelConfig {
            network: NetworkConfig::with(event, architecture, self.steps),
            chain: ChainConfig {
                rate,
                target_variance: self.target_variance,
                prior_floor: self.prior_floor,
                masks: if self.shared_masks {
                    Masks::PerPixel { channels: event[0] }
                } else {
                    Masks::PerDimension
                },
            },
        }
    }

    /// How chains of so many steps are generated.
    pub(super) fn sampling(&self, steps: usize) -> SampleOptions {
        let floor = self.sampling_floor;
        let variance_floor = (floor > 0.0).then_some(floor);
        SampleOptions { variance_floor, ..SampleOptions::new(steps) }
    }

    /// Objective and optimiser.
    pub fn train(&self) -> TrainConfig {
        let (value, last) = (self.learning_rate, self.last_learning_rate);
        let learning_rate = if (value - last).abs() < f64::EPSILON {
            LearningRate::Constant { value }
        } else {
            LearningRate::Cosine { value, last, warmup: self.warmup }
        };
        TrainConfig {
            objective: self.objective,
            adam: AdamConfig::standard(),
            learning_rate,
            batch_size: self.batch_size,
            epochs: self.epochs,
        }
    }

    /// What every model of an experiment that trains several has seen.
    pub(super) fn sentence(&self, images: &Images) -> String {
        let [_, h, w] = images.event();
        let (n, test) = (images.train.len(), images.test.len());
        let updates = self.epochs * (n / self.batch_size);
        let biases = if self.data_biases {
            " Head biases begin at the training moments, which the paper's do not: a short training \
             moves the variance of hardly ever lit pixels too slowly."
        } else {
            ""
        };
        format!(
            "Every model: hidden layers {:?}, {n} training images of {h}x{w}, {updates} updates in \
             batches of {} ({} epochs), scored on {test} test images.{biases}",
            self.hidden, self.batch_size, self.epochs
        )
    }

    /// The recipe for events of this shape.
    pub fn recipe(&self, event: [usize; 3]) -> Recipe {
        Recipe {
            model: self.model(event),
            train: self.train(),
            followed: self.followed,
            select: self.select,
            weight_average: self.weight_average,
            data_biases: self.data_biases,
            statistics: self.statistics_images,
            statistics_on_model_chain: self.statistics_on_model_chain,
            snapshots: false,
        }
    }
}

/// How much work the likelihood estimates are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodSettings {
    /// Test images in the lower bound.
    pub bound_images: usize,
    /// Chains for each in the lower bound.
    pub bound_chains: usize,
    /// Test images in the importance-sampling estimate.
    pub is_images: usize,
    /// Training images in it.
    pub is_train_images: usize,
    /// Numbers of chains whose estimates are reported, ascending.
    pub is_chains: Vec<usize>,
    /// Repetitions of the importance-sampling estimate with fresh chains.
    pub is_repeats: usize,
    /// Also the isotropic output variance of Table 2.
    pub isotropic: bool,
}

impl LikelihoodSettings {
    /// Table 2: k = 20,000 on 1,000 test and 100 training images, ten repetitions.
    pub fn paper() -> Self {
        Self {
            bound_images: 10_000,
            bound_chains: 20,
            is_images: 1_000,
            is_train_images: 100,
            is_chains: vec![1, 10, 100, 1_000, 20_000],
            is_repeats: 10,
            isotropic: true,
        }
    }

    /// A few minutes.
    pub fn quick() -> Self {
        Self {
            bound_images: 1_000,
            is_images: 200,
            is_chains: vec![1, 10, 100, 1_000],
            is_repeats: 1,
            ..Self::paper()
        }
    }

    /// Seconds.
    pub fn smoke() -> Self {
        Self {
            bound_images: 20,
            bound_chains: 2,
            is_images: 10,
            is_train_images: 5,
            is_chains: vec![1, 5],
            ..Self::quick()
        }
    }
}

/// How pictures and the Parzen estimate are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleSettings {
    /// Steps of a generated chain; more than T keeps the last normalisation.
    pub sample_steps: usize,
    /// Generated means in the Parzen window.
    pub parzen_samples: usize,
    /// Test images it scores.
    pub parzen_images: usize,
    /// Window; Table 1 has 0.17.
    pub parzen_bandwidth: f64,
}

impl SampleSettings {
    /// The settings of a scale.
    pub fn of_scale(scale: Scale) -> Self {
        scale.pick(Self::smoke(), Self::quick(), Self::paper())
    }

    /// Table 1 and Figure 4: 10,000 samples, window 0.17, 30 steps for the pictures.
    pub fn paper() -> Self {
        Self {
            sample_steps: 30,
            parzen_samples: 10_000,
            parzen_images: 10_000,
            parzen_bandwidth: 0.17,
        }
    }

    /// A minute.
    pub fn quick() -> Self {
        Self { parzen_samples: 2_000, parzen_images: 1_000, ..Self::paper() }
    }

    /// Seconds.
    pub fn smoke() -> Self {
        Self { sample_steps: 8, parzen_samples: 100, parzen_images: 50, ..Self::paper() }
    }
}
