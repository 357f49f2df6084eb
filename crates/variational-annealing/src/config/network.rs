//! The three networks.

use chains_core::{Error, Result, config::event_dim};
use serde::{Deserialize, Serialize};

/// Of every leaky ReLU (released code of the paper).
pub const SLOPE: f64 = 0.2;

/// Layers of a network, at most.
const MOST_LAYERS: usize = 64;

/// A convolution with a square kernel, or a transposed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvLayer {
    /// Channels of the result.
    pub output: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Pixels between two places of the kernel; of a transposed convolution, in the result.
    pub stride: usize,
    /// Zeros around the input; of a transposed convolution, cut off the result.
    pub padding: usize,
}

impl ConvLayer {
    /// Kernel 4, stride 2, padding 1: halves the sides of a map, transposed doubles them.
    pub const fn k4s2(output: usize) -> Self {
        Self { output, kernel: 4, stride: 2, padding: 1 }
    }

    /// Kernel 3, stride 1, padding 1: sides stay.
    pub const fn k3s1(output: usize) -> Self {
        Self { output, kernel: 3, stride: 1, padding: 1 }
    }

    /// `(h + 2 p - k) / s + 1`, if the kernel fits.
    fn convolved(&self, side: usize) -> Option<usize> {
        let room = (side + 2 * self.padding).checked_sub(self.kernel)?;
        Some(room.checked_div(self.stride)? + 1)
    }

    /// `(h - 1) s - 2 p + k`, if anything is left.
    fn transposed(&self, side: usize) -> Option<usize> {
        let full = (side.checked_sub(1)?).checked_mul(self.stride)?.checked_add(self.kernel)?;
        full.checked_sub(2 * self.padding).filter(|side| *side > 0 && self.stride > 0)
    }
}

/// Shapes `(c, h, w)` of the maps behind every layer.
fn shapes(
    input: [usize; 3],
    layers: &[ConvLayer],
    side: impl Fn(&ConvLayer, usize) -> Option<usize>,
    field: &'static str,
) -> Result<Vec<[usize; 3]>> {
    event_dim(input)?;
    if layers.is_empty() || layers.len() > MOST_LAYERS {
        let reason = format!("{} layers, 1 to {MOST_LAYERS} are possible", layers.len());
        return Err(Error::Config { field, reason });
    }
    let [mut h, mut w] = [input[1], input[2]];
    let mut all = Vec::with_capacity(layers.len());
    for layer in layers {
        let (Some(height), Some(width)) = (side(layer, h), side(layer, w)) else {
            let reason = format!("{layer:?} does not fit a map of {h} x {w}");
            return Err(Error::Config { field, reason });
        };
        (h, w) = (height, width);
        event_dim([layer.output, h, w])?;
        all.push([layer.output, h, w]);
    }
    Ok(all)
}

/// A critic of images: convolutions, of which the last gives the feature, a leaky ReLU and one logit.
///
/// With batch norm the first convolution has none, and the last has one without gain, so that every
/// feature has unit variance in a batch; the feature is its result, before the leaky ReLU (released
/// code; Table S1 of the supplement prints a norm at the first convolution, too).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// Shape of an image, `(c, h, w)`.
    pub event: [usize; 3],
    /// The convolutions.
    pub layers: Vec<ConvLayer>,
    /// Batch norm; without it the critic is linear in pieces, for the gradient penalty.
    pub batch_norm: bool,
}

impl DiscriminatorConfig {
    /// Table S1: 3x32x32 to a feature of 512x2x2.
    pub fn cifar10() -> Self {
        let halving = [64, 128, 256, 512].map(ConvLayer::k4s2);
        let layers = [&[ConvLayer::k3s1(32)], &halving[..]].concat();
        Self { event: [3, 32, 32], layers, batch_norm: true }
    }

    /// Table S2: 3x128x128 to a feature of 512x2x2. Where its batch norms are is not said; as in
    /// [`DiscriminatorConfig::cifar10`] (a reconstruction).
    pub fn celeba() -> Self {
        let layers = [16, 32, 64, 128, 256, 512].map(ConvLayer::k4s2).to_vec();
        Self { event: [3, 128, 128], layers, batch_norm: true }
    }

    /// Ours, for digits: 1x28x28 to a feature of 64x3x3.
    pub fn mnist() -> Self {
        let [first, second, last] = [32, 64, 64].map(ConvLayer::k4s2);
        let layers = vec![first, second, ConvLayer::k3s1(64), last];
        Self { event: [1, 28, 28], layers, batch_norm: true }
    }

    /// Shapes behind every convolution; the last is that of the feature.
    ///
    /// # Errors
    /// [`Error::Config`] if a layer does not fit.
    pub fn shapes(&self) -> Result<Vec<[usize; 3]>> {
        shapes(self.event, &self.layers, ConvLayer::convolved, "discriminator")
    }

    /// Shape of the feature, `(c, h, w)`.
    ///
    /// # Errors
    /// As [`DiscriminatorConfig::shapes`].
    pub fn feature(&self) -> Result<[usize; 3]> {
        let last = self.shapes()?.last().copied();
        last.ok_or_else(|| Error::Config { field: "discriminator", reason: "no layers".into() })
    }
}

/// Units of the first layer of the CIFAR-10 generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenWidth {
    /// 8192 = 512x4x4, as in the code base that the paper builds on.
    Code8192,
    /// 2048 = 128x4x4, as Table S1 prints it.
    Table2048,
}

/// A generator of images: a dense layer, transposed convolutions, batch norm and ReLU behind all but the
/// last, which has a tanh and no norm (Table S1 prints "ReLU, BN" there, which cannot give `[-1, 1]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Latent variables, uniform in `[-1, 1]`.
    pub latent: usize,
    /// The map that the dense layer's result is read as, `(c, h, w)`.
    pub first: [usize; 3],
    /// The transposed convolutions; the last gives the image.
    pub layers: Vec<ConvLayer>,
}

impl GeneratorConfig {
    /// Table S1, or the code base's width.
    pub fn cifar10(width: GenWidth) -> Self {
        let channels = match width {
            GenWidth::Code8192 => 512,
            GenWidth::Table2048 => 128,
        };
        let doubling = [256, 128, 64].map(ConvLayer::k4s2);
        let layers = [&doubling[..], &[ConvLayer::k3s1(3)]].concat();
        Self { latent: 128, first: [channels, 4, 4], layers }
    }

    /// Table S2.
    pub fn celeba() -> Self {
        let layers = [256, 128, 64, 32, 3].map(ConvLayer::k4s2).to_vec();
        Self { latent: 128, first: [128, 4, 4], layers }
    }

    /// Ours, for digits.
    pub fn mnist() -> Self {
        let layers = [32, 1].map(ConvLayer::k4s2).to_vec();
        Self { latent: 64, first: [64, 7, 7], layers }
    }

    /// Shapes behind every transposed convolution; the last is that of an image.
    ///
    /// # Errors
    /// [`Error::Config`] if a layer does not fit.
    pub fn shapes(&self) -> Result<Vec<[usize; 3]>> {
        shapes(self.first, &self.layers, ConvLayer::transposed, "generator")
    }
}

/// The denoising autoencoder of features: dense hidden layers, then a dense layer to a feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenoiserConfig {
    /// `F`, numbers of a feature.
    pub features: usize,
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Batch norm before the leaky ReLU of each.
    pub batch_norm: bool,
}

impl DenoiserConfig {
    /// Hidden layers of 2048 units for features of 2048: 9 in released code, 6 in Table S1; 3 are ours,
    /// for a processor without accelerator.
    pub fn wide(hidden: usize) -> Self {
        Self { features: 2048, hidden: vec![2048; hidden], batch_norm: true }
    }

    /// Ours, for digits: 576, 256, 256, 576.
    pub fn mnist() -> Self {
        Self { features: 576, hidden: vec![256, 256], batch_norm: true }
    }

    /// Ours, for points of the plane: no batch norm, so that the map is one function of a point.
    pub fn plane(hidden: Vec<usize>) -> Self {
        Self { features: 2, hidden, batch_norm: false }
    }

    /// # Errors
    /// [`Error::Config`] for a layer without units, or too many.
    pub fn validate(&self) -> Result<()> {
        let widths = self.hidden.iter().chain([&self.features]);
        if self.hidden.len() > MOST_LAYERS {
            let reason = format!("{} hidden layers, {MOST_LAYERS} at most", self.hidden.len());
            return Err(Error::Config { field: "denoiser.hidden", reason });
        }
        for width in widths {
            event_dim([*width, 1, 1])?;
        }
        Ok(())
    }
}

/// The three networks of a variationally annealed GAN: all that a checkpoint carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanConfig {
    /// The critic.
    pub discriminator: DiscriminatorConfig,
    /// The generator.
    pub generator: GeneratorConfig,
    /// The denoiser of features.
    pub denoiser: DenoiserConfig,
}

impl GanConfig {
    /// CIFAR-10 as released code has it: the wide generator, nine hidden layers in the denoiser.
    pub fn cifar10() -> Self {
        Self::cifar10_of(GenWidth::Code8192, 9)
    }

    /// CIFAR-10 as Table S1 prints it: the narrow generator, six hidden layers in the denoiser.
    pub fn cifar10_table() -> Self {
        Self::cifar10_of(GenWidth::Table2048, 6)
    }

    /// CIFAR-10 with another width of the generator and number of the denoiser's hidden layers.
    pub fn cifar10_of(width: GenWidth, hidden: usize) -> Self {
        Self {
            discriminator: DiscriminatorConfig::cifar10(),
            generator: GeneratorConfig::cifar10(width),
            denoiser: DenoiserConfig::wide(hidden),
        }
    }

    /// CelebA at 128x128, Table S2; the denoiser of [`GanConfig::cifar10`] (a reconstruction).
    pub fn celeba() -> Self {
        Self {
            discriminator: DiscriminatorConfig::celeba(),
            generator: GeneratorConfig::celeba(),
            denoiser: DenoiserConfig::wide(9),
        }
    }

    /// Ours, for digits.
    pub fn mnist() -> Self {
        Self {
            discriminator: DiscriminatorConfig::mnist(),
            generator: GeneratorConfig::mnist(),
            denoiser: DenoiserConfig::mnist(),
        }
    }

    /// The same with a critic for the gradient penalty, without batch norm. Released code keeps the norms
    /// and leaves them out of the penalty, which is then that of another function; this is a
    /// reconstruction.
    #[must_use]
    pub fn without_critic_norm(mut self) -> Self {
        self.discriminator.batch_norm = false;
        self
    }

    /// Checks every layer, and that the networks fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.denoiser.validate()?;
        event_dim([self.generator.latent, 1, 1])?;
        let features = event_dim(self.discriminator.feature()?)?;
        if features != self.denoiser.features {
            let reason = format!("{features} are the critic's");
            return Err(Error::Config { field: "denoiser.features", reason });
        }
        let image = self.generator.shapes()?.last().copied();
        if image != Some(self.discriminator.event) {
            let reason = format!("gives {image:?}, not {:?}", self.discriminator.event);
            return Err(Error::Config { field: "generator.layers", reason });
        }
        Ok(())
    }
}
