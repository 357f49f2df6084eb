//! Plain configuration structs; one preset for every network of the paper.

use chains_core::{
    Error, Result,
    config::{LARGEST_CHAIN, LARGEST_NETWORK, LARGEST_WIDTH, event_dim, positive},
    dist::Masks,
    optim::AdamConfig,
    schedule::{InfusionRate, LearningRate},
};
use serde::{Deserialize, Serialize};

/// The layers between input and heads. Every hidden layer is followed by per-step batch norm and a
/// ReLU; both heads are of the kind of the last layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Architecture {
    /// Dense layers of these widths, dense heads.
    Mlp {
        /// Units of the hidden layers.
        hidden: Vec<usize>,
    },
    /// One dense layer to `(widths[0], 4, 4)`, then transposed convolutions 5x5 with stride 2 to
    /// `widths[1..]`, each doubling the side; the heads double it once more.
    Deconv {
        /// Channels of the maps.
        widths: Vec<usize>,
    },
}

/// The network of the transition operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Channels, height and width of an example.
    pub event: [usize; 3],
    /// Hidden layers.
    pub architecture: Architecture,
    /// T: transitions with normalisation parameters of their own.
    pub steps: usize,
    /// beta: the variance head is `variance_scale * sigmoid(raw) + variance_floor`.
    pub variance_scale: f64,
    /// epsilon of the variance head.
    pub variance_floor: f64,
    /// Added to the variance in batch norm.
    pub norm_eps: f64,
}

impl NetworkConfig {
    /// MNIST, paper section 4: two layers of 1200 units, T = 15, beta 0.1, epsilon 1e-4.
    /// Not in the paper: `norm_eps` 1e-4 (published code).
    pub fn mnist() -> Self {
        Self::with([1, 28, 28], Architecture::Mlp { hidden: vec![1200, 1200] }, 15)
    }

    /// Toronto Face Database, section 4: the MNIST network on 48x48 pixels. Not in the paper: as
    /// [`NetworkConfig::mnist`].
    pub fn tfd() -> Self {
        Self::with([1, 48, 48], Architecture::Mlp { hidden: vec![1200, 1200] }, 15)
    }

    /// CIFAR-10, section 4: the generator of Salimans et al. 2016, T = 20. Not in the paper: where
    /// the "three transposed convolutions" end; here the third one is doubled into the two heads.
    pub fn cifar10() -> Self {
        Self::with([3, 32, 32], Architecture::Deconv { widths: vec![512, 256, 128] }, 20)
    }

    /// CelebA, section 4: one more transposed convolution, T = 15. Not in the paper: 64x64 pixels.
    pub fn celeba() -> Self {
        Self::with([3, 64, 64], Architecture::Deconv { widths: vec![512, 256, 128, 64] }, 15)
    }

    /// The paper's constants around another shape.
    pub fn with(event: [usize; 3], architecture: Architecture, steps: usize) -> Self {
        Self {
            event,
            architecture,
            steps,
            variance_scale: 0.1,
            variance_floor: 1e-4,
            norm_eps: 1e-4,
        }
    }

    /// D = channels * height * width.
    pub fn dim(&self) -> usize {
        self.event.iter().product()
    }

    /// The numbers in all tensors, biases of hidden layers aside: weights, and four numbers a unit
    /// and step. Widths and steps within their limits cannot overflow it.
    fn size(&self) -> u128 {
        let wide = |n: usize| n as u128;
        let (dim, steps) = (wide(self.dim()), wide(self.steps));
        let layer = |weights: u128, units: u128| weights + 4 * units * steps;
        match &self.architecture {
            Architecture::Mlp { hidden } => {
                let (mut size, mut input) = (0_u128, dim);
                for width in hidden.iter().map(|width| wide(*width)) {
                    size += layer(input * width, width);
                    input = width;
                }
                size + 2 * (input + 1) * dim
            }
            Architecture::Deconv { widths } => {
                let end = |width: Option<&usize>| width.map_or(0, |width| wide(*width));
                let units = 16 * end(widths.first());
                let mut size = layer(dim * units, units);
                for pair in widths.windows(2) {
                    let (from, to) = (wide(pair[0]), wide(pair[1]));
                    size += layer(25 * from * to, to);
                }
                size + 2 * (25 * end(widths.last()) + 1) * wide(self.event[0])
            }
        }
    }

    /// A foreign file may say anything, so sizes are bounded too: see
    /// [`chains_core::config::LARGEST_NETWORK`] and its neighbours.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, reason: String| Err(Error::Config { field, reason });
        event_dim(self.event)?;
        if self.steps == 0 {
            return bad("steps", "must be at least 1".into());
        }
        if self.steps > LARGEST_CHAIN {
            return bad("steps", format!("{} are more than {LARGEST_CHAIN}", self.steps));
        }
        for (field, value) in [
            ("variance_scale", self.variance_scale),
            ("variance_floor", self.variance_floor),
            ("norm_eps", self.norm_eps),
        ] {
            positive(field, value)?;
        }
        let within = |width: &usize| (1..=LARGEST_WIDTH).contains(width);
        match &self.architecture {
            Architecture::Mlp { hidden } if !hidden.iter().all(within) => {
                return bad("hidden", format!("a layer has not 1 to {LARGEST_WIDTH} units"));
            }
            Architecture::Deconv { widths } if widths.is_empty() || !widths.iter().all(within) => {
                let reason =
                    format!("needs at least one map, each with 1 to {LARGEST_WIDTH} channels");
                return bad("widths", reason);
            }
            Architecture::Deconv { widths } => self.check_side(widths.len())?,
            Architecture::Mlp { .. } => {}
        }
        if self.size() > LARGEST_NETWORK {
            let reason = format!("a network of more than {LARGEST_NETWORK} numbers");
            return bad("architecture", reason);
        }
        Ok(())
    }

    /// Do so many doublings of 4 pixels give the sides of the event?
    fn check_side(&self, doublings: usize) -> Result<()> {
        let [_, h, w] = self.event;
        let factor = u32::try_from(doublings).ok().and_then(|n| 1_usize.checked_shl(n));
        let side = factor.and_then(|factor| factor.checked_mul(4));
        if side.is_some_and(|side| [h, w] == [side, side]) {
            return Ok(());
        }
        let reason = format!("{doublings} doublings of 4 x 4 do not give the event's {h} x {w}");
        Err(Error::Config { field: "widths", reason })
    }
}

/// The infusion chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// alpha_t, the probability with which a dimension of `z_t` takes the target's value.
    pub rate: InfusionRate,
    /// Variance of the narrow Gaussian at the target. Not in the paper; 1e-4 in the published code.
    pub target_variance: f64,
    /// Added to the per-dimension variance of the prior. Not in the paper; 1e-5 in the code.
    pub prior_floor: f64,
    /// Which dimensions share a decision.
    pub masks: Masks,
}

impl ChainConfig {
    /// Section 4: alpha_0 = 0, omega = 0.01 (all sets but CIFAR-10).
    pub fn paper() -> Self {
        Self::increasing(0.01)
    }

    /// Section 4: alpha_0 = 0, omega = 0.02 (CIFAR-10).
    pub fn cifar10() -> Self {
        Self::increasing(0.02)
    }

    /// alpha_0 = 0 with this omega.
    pub fn increasing(increment: f64) -> Self {
        Self::with(InfusionRate::increasing(0.0, increment))
    }

    /// The constants of the published code around a schedule.
    pub fn with(rate: InfusionRate) -> Self {
        Self { rate, target_variance: 1e-4, prior_floor: 1e-5, masks: Masks::PerDimension }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.rate.validate()?;
        for (field, value) in
            [("target_variance", self.target_variance), ("prior_floor", self.prior_floor)]
        {
            positive(field, value)?;
        }
        Ok(())
    }
}

/// What a checkpoint carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The operator's network.
    pub network: NetworkConfig,
    /// The chain it was trained on, which the likelihood estimators need.
    pub chain: ChainConfig,
}

impl ModelConfig {
    /// MNIST and TFD, CIFAR-10, CelebA: see [`NetworkConfig`] and [`ChainConfig`].
    pub fn mnist() -> Self {
        Self { network: NetworkConfig::mnist(), chain: ChainConfig::paper() }
    }

    /// See [`NetworkConfig::tfd`].
    pub fn tfd() -> Self {
        Self { network: NetworkConfig::tfd(), chain: ChainConfig::paper() }
    }

    /// See [`NetworkConfig::cifar10`].
    pub fn cifar10() -> Self {
        Self { network: NetworkConfig::cifar10(), chain: ChainConfig::cifar10() }
    }

    /// See [`NetworkConfig::celeba`].
    pub fn celeba() -> Self {
        Self { network: NetworkConfig::celeba(), chain: ChainConfig::paper() }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.network.validate()?;
        self.chain.validate()?;
        if let Masks::PerPixel { channels } = self.chain.masks
            && channels != self.network.event[0]
        {
            let reason = format!("{channels}, the event has {}", self.network.event[0]);
            return Err(Error::Config { field: "channels", reason });
        }
        Ok(())
    }
}

/// What training maximises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Objective {
    /// Section 2.3.2 as the published code has it: `sum_t (t/T) ln p_t(x | z_{t-1})`, states
    /// detached, one optimiser step for all t.
    Denoising,
    /// Section 2.3.2 as printed: one optimiser step after every t, its rate scaled by t/T.
    DenoisingPerStep,
    /// Section 2.4.1 as an unbiased gradient of the bound: masks fixed, states reparameterised,
    /// back-propagation through the whole chain.
    LowerBound,
    /// The literal reading of section 2.4.1: `sum_t ln p_t(z_t | z_{t-1})` with detached states and
    /// no proposal term; not the gradient of the bound.
    LowerBoundDetached {
        /// Weight step t by t/T.
        weighted: bool,
    },
}

/// How the operator is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What is maximised.
    pub objective: Objective,
    /// Adam's constants.
    pub adam: AdamConfig,
    /// Rate over the whole training.
    pub learning_rate: LearningRate,
    /// Examples in an update.
    pub batch_size: usize,
    /// Passes over the training set.
    pub epochs: usize,
}

impl TrainConfig {
    /// Not in the paper; the published code: Adam 1e-3 with standard constants, batches of 512,
    /// 1500 epochs.
    pub fn published() -> Self {
        Self {
            objective: Objective::Denoising,
            adam: AdamConfig::standard(),
            learning_rate: LearningRate::Constant { value: 1e-3 },
            batch_size: 512,
            epochs: 1500,
        }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.learning_rate.validate()?;
        if self.batch_size < 2 {
            let reason = "batch statistics need at least 2".into();
            return Err(Error::Config { field: "batch_size", reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_papers() {
        // Typed again from section 4 of the paper and from the published code.
        let mnist = ModelConfig::mnist();
        assert_eq!(mnist.network.architecture, Architecture::Mlp { hidden: vec![1200, 1200] });
        assert_eq!((mnist.network.event, mnist.network.steps), ([1, 28, 28], 15));
        assert_eq!(mnist.chain.rate, InfusionRate::increasing(0.0, 0.01));
        assert_eq!(ModelConfig::tfd().network.event, [1, 48, 48]);
        let cifar = ModelConfig::cifar10();
        assert_eq!((cifar.network.event, cifar.network.steps), ([3, 32, 32], 20));
        assert_eq!(cifar.chain.rate, InfusionRate::increasing(0.0, 0.02));
        let celeba = ModelConfig::celeba();
        assert_eq!((celeba.network.event, celeba.network.steps), ([3, 64, 64], 15));
        for config in [mnist, ModelConfig::tfd(), cifar, celeba] {
            config.validate().unwrap();
            let constants = [config.network.variance_scale, config.network.variance_floor];
            assert_eq!(format!("{constants:?}"), "[0.1, 0.0001]");
            let constants = [config.chain.target_variance, config.chain.prior_floor];
            assert_eq!(format!("{constants:?}"), "[0.0001, 1e-5]");
        }
        let train = TrainConfig::published();
        assert_eq!((train.batch_size, train.epochs), (512, 1500));
        assert_eq!(train.learning_rate, LearningRate::Constant { value: 1e-3 });
    }

    #[test]
    fn bad_fields_are_named() {
        let mut config = ModelConfig::cifar10();
        config.network.event = [3, 28, 28];
        assert!(config.validate().unwrap_err().to_string().contains("widths"));
        let mut config = ModelConfig::mnist();
        config.chain.masks = Masks::PerPixel { channels: 3 };
        assert!(config.validate().unwrap_err().to_string().contains("channels"));
        config = ModelConfig::mnist();
        config.network.variance_floor = 0.0;
        assert!(config.validate().unwrap_err().to_string().contains("variance_floor"));
        let text = serde_json::to_string(&ModelConfig::mnist()).unwrap();
        let unknown = text.replacen("\"steps\"", "\"stepz\"", 1);
        assert!(serde_json::from_str::<ModelConfig>(&unknown).is_err());
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), ModelConfig::mnist());
    }

    #[test]
    fn sizes_are_those_of_the_papers_networks_with_four_numbers_a_unit_and_step() {
        // Weights and biases of all layers without those in front of a norm, counted by hand; a norm
        // has gain, shift, mean and variance of every unit and step.
        for (network, weights, units) in [
            (NetworkConfig::mnist(), 4_263_968, 2400 * 15),
            (NetworkConfig::tfd(), 9_739_008, 2400 * 15),
            (NetworkConfig::cifar10(), 29_281_030, (8192 + 256 + 128) * 20),
            (NetworkConfig::celeba(), 104_973_702, (8192 + 256 + 128 + 64) * 15),
        ] {
            assert_eq!(network.size(), weights + 4 * units);
        }
    }
}
