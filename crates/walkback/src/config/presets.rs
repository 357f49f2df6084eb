//! The networks, operators, chains and trainings of the supplement and of the published scripts.

use chains_core::{
    Result,
    nn::Gains,
    optim::AdamConfig,
    schedule::{LearningRate, Temperatures},
};

use super::{
    Architecture, ChainConfig, DenseInit, DenseNorm, Mixing, ModelConfig, NetworkConfig, NormEps,
    Objective, OperatorConfig, ReconstructionError, StartConfig, TrainConfig, Updates,
};

/// `eps_u` of points of a plane; our choice.
const POINT_FLOOR: f64 = 1e-6;
/// `eps_u` of images; our choice.
const IMAGE_FLOOR: f64 = 1e-4;
/// Slope of the leaky ReLU in the published code; the supplement does not print it.
const LEAKY: f64 = 0.02;

impl NetworkConfig {
    /// Dense layers without normalisation, `N(0, 0.01^2)` weights, leaky slope 0.02.
    pub fn mlp(event: [usize; 3], hidden: Vec<usize>, steps: usize) -> Self {
        Self {
            event,
            architecture: Architecture::Mlp { hidden },
            steps,
            dense_norm: DenseNorm::None,
            dense_gains: Gains::PerStep,
            dense_slope: LEAKY,
            dense_init: DenseInit::Normal { stdev: 0.01 },
            conv_gains: Gains::Shared,
            conv_slope: 0.0,
            norm_eps: NormEps::AddedToStd,
            temp_input: false,
        }
    }

    /// Dense layers with batch norm of every step and ReLU, square matrices orthogonal.
    pub fn normalised_mlp(event: [usize; 3], hidden: Vec<usize>, steps: usize) -> Self {
        Self {
            dense_norm: DenseNorm::Batch,
            dense_slope: 0.0,
            dense_init: DenseInit::Orthogonal { stdev: 0.001 },
            ..Self::mlp(event, hidden, steps)
        }
    }

    /// Convolutions with batch norm and ReLU, shared over steps; dense layers with batch norm of every
    /// step and ReLU.
    pub fn conv(event: [usize; 3], channels: Vec<usize>, hidden: Vec<usize>, steps: usize) -> Self {
        Self {
            architecture: Architecture::Conv { channels, hidden },
            ..Self::normalised_mlp(event, Vec::new(), steps)
        }
    }

    /// MNIST, supplement Table 1 (layer norm and leaky ReLU in the dense layers), K = 30 (section 6).
    /// Not in the table: the slope 0.02, per-step gains in the dense layers alone, how weights begin
    /// (published code).
    pub fn mnist() -> Self {
        Self {
            dense_norm: DenseNorm::Layer,
            dense_slope: LEAKY,
            ..Self::conv([1, 28, 28], vec![16, 32], vec![1024; 4], 30)
        }
    }

    /// CIFAR-10, supplement Table 3, K = 30. Not in the table: as [`NetworkConfig::mnist`].
    pub fn cifar10() -> Self {
        Self::conv([3, 32, 32], vec![64, 128, 256], vec![2048; 4], 30)
    }

    /// SVHN, supplement Table 4, K = 30. Not in the table: per-step gains; weights begin as
    /// `N(0, 0.01^2)` (published code).
    pub fn svhn() -> Self {
        Self {
            dense_init: DenseInit::Normal { stdev: 0.01 },
            ..Self::conv([3, 32, 32], vec![64, 128, 256], vec![1024; 4], 30)
        }
    }

    /// CelebA, supplement Table 2, K = 30. Not in the table: 64x64 pixels; as [`NetworkConfig::svhn`].
    pub fn celeba() -> Self {
        Self { event: [3, 64, 64], ..Self::svhn() }
    }

    /// MNIST for bounds, supplement section 5.1: two layers of 1200 units, batch norm of every step.
    pub fn mnist_mlp(steps: usize) -> Self {
        Self::normalised_mlp([1, 28, 28], vec![1200, 1200], steps)
    }

    /// Spiral and circle, K = 30 (Figure 6); two layers of 4096 units without normalisation
    /// (published code).
    pub fn curve() -> Self {
        Self::mlp([1, 1, 2], vec![4096, 4096], 30)
    }

    /// Mixture of Gaussians: two layers of 256 units, batch norm of every step, K = 30 (published
    /// code).
    pub fn mixture() -> Self {
        Self::normalised_mlp([1, 1, 2], vec![256, 256], 30)
    }
}

impl ModelConfig {
    /// Images without a bound: reconstruction, temperatures doubling, clipped start.
    fn images(network: NetworkConfig, extra_steps: usize) -> Self {
        let chain = ChainConfig::with(2.0, StartConfig::clipped(), extra_steps);
        Self { network, operator: OperatorConfig::reconstruction(), chain }
    }

    /// A Gaussian operator with variance, fitted start, no further steps at temperature 1.
    pub fn gaussian(network: NetworkConfig, [scale, floor]: [f64; 2], factor: f64) -> Self {
        let chain = ChainConfig::with(factor, StartConfig::fitted(), 0);
        Self { network, operator: OperatorConfig::gaussian(scale, floor), chain }
    }

    /// MNIST samples (Figure 2), [`NetworkConfig::mnist`]. Not in the supplement: factor 2 and
    /// c = 1e-5 (published code), 5 further steps (ours).
    pub fn mnist() -> Self {
        Self::images(NetworkConfig::mnist(), 5)
    }

    /// CIFAR-10 samples (Figure 4), [`NetworkConfig::cifar10`]; else as [`ModelConfig::mnist`].
    pub fn cifar10() -> Self {
        Self::images(NetworkConfig::cifar10(), 5)
    }

    /// SVHN samples (Figure 5), [`NetworkConfig::svhn`]; else as [`ModelConfig::mnist`].
    pub fn svhn() -> Self {
        Self::images(NetworkConfig::svhn(), 5)
    }

    /// CelebA samples (Figure 3), [`NetworkConfig::celeba`]. Not in the supplement: as
    /// [`ModelConfig::mnist`], with 10 further steps (published code).
    pub fn celeba() -> Self {
        Self::images(NetworkConfig::celeba(), 10)
    }

    /// LSUN, in the published code alone: as [`ModelConfig::celeba`] with the noise outside of the
    /// mixture.
    pub fn lsun() -> Self {
        let operator = OperatorConfig::Reconstruction { noise: 1e-5, outside: true };
        Self { operator, ..Self::celeba() }
    }

    /// The first recorded command line of bounds on MNIST: K 5, factor 1.5, sigma_0 0.009, equal
    /// weights (published code). Ours: the floor 1e-4.
    pub fn mnist_mlp_short() -> Self {
        Self::gaussian(NetworkConfig::mnist_mlp(5), [0.009, IMAGE_FLOOR], 1.5)
    }

    /// The second one: K 10, factor 2, sigma_0 0.001, weights of the old state 0.9, 0.85, .. Ours: the
    /// floor 1e-4.
    pub fn mnist_mlp_long() -> Self {
        let mut config = Self::gaussian(NetworkConfig::mnist_mlp(10), [0.001, IMAGE_FLOOR], 2.0);
        config.chain.mixing = Mixing { initial: 0.9, increment: -0.05 };
        config
    }

    /// Bits per dimension on CIFAR-10: [`NetworkConfig::cifar10`] with a learned variance and a ladder
    /// from `1 + ceil(ln(variance / u) / ln factor)`, where `variance` is the mean variance of a
    /// dimension of the data and `u = scale ln 2 + floor` that of the operator at the start. The
    /// published code cannot compute them, so scale and factor are the caller's.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] if there is no such ladder.
    pub fn cifar10_bound(scale: f64, factor: f64, variance: f64) -> Result<Self> {
        let u = scale * std::f64::consts::LN_2 + IMAGE_FLOOR;
        let steps = Temperatures::steps_between(factor, u, variance)?;
        let network = NetworkConfig { steps, ..NetworkConfig::cifar10() };
        Ok(Self::gaussian(network, [scale, IMAGE_FLOOR], factor))
    }

    /// Spiral, "swiss roll" in Figure 6: factor 1.1 (caption), sigma_0 0.009 (published code). Ours:
    /// the floor 1e-6.
    pub fn spiral() -> Self {
        Self::gaussian(NetworkConfig::curve(), [0.009, POINT_FLOOR], 1.1)
    }

    /// Circle, Figure 7: as [`ModelConfig::spiral`].
    pub fn circle() -> Self {
        Self::spiral()
    }

    /// Mixture of Gaussians (section 9): factor 1.1, sigma_0 0.05 (published code). Ours: the floor
    /// 1e-6.
    pub fn mixture() -> Self {
        Self::gaussian(NetworkConfig::mixture(), [0.05, POINT_FLOOR], 1.1)
    }
}

impl TrainConfig {
    /// Online updates along the walkback objective, Adam 1e-4 (Tables 1 to 4) with standard constants.
    /// Not in the supplement: batches of 100, squared error and 4000 epochs (published code).
    pub fn images() -> Self {
        Self {
            objective: Objective::Walkback,
            updates: Updates::Online,
            error: ReconstructionError::Squared,
            extra_steps: 0,
            adam: AdamConfig::standard(),
            learning_rate: LearningRate::Constant { value: 1e-4 },
            batch_size: 100,
            epochs: 4000,
        }
    }

    /// SVHN: as [`TrainConfig::images`] with the absolute error (published code).
    pub fn svhn() -> Self {
        Self { error: ReconstructionError::Absolute, ..Self::images() }
    }

    /// The first command line of bounds on MNIST: Adam 1e-5 (published code).
    pub fn mnist_mlp_short() -> Self {
        let learning_rate = LearningRate::Constant { value: 1e-5 };
        Self { learning_rate, ..Self::images() }
    }

    /// Spiral and circle: one accumulated update a walk of 5000 points, Adam 1e-4, 30 epochs
    /// (published code).
    pub fn curve() -> Self {
        Self { updates: Updates::Accumulated, batch_size: 5000, epochs: 30, ..Self::images() }
    }

    /// Mixture of Gaussians: as [`TrainConfig::curve`] with 2500 points (published code).
    pub fn mixture() -> Self {
        Self { batch_size: 2500, ..Self::curve() }
    }
}
