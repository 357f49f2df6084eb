//! The critic.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{BatchNorm, BatchNormMoments, Conv2d, Conv2dConfig, Linear, LinearInit},
    ops::NormActivation,
    tangent::Signal,
};

use super::{LEAKY, STDEV, norm};
use crate::config::{DiscriminatorConfig, SLOPE};

/// See [`DiscriminatorConfig`].
#[derive(Clone, Debug)]
pub struct Discriminator {
    convolutions: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    last: Linear,
    features: usize,
}

/// What a critic says of images.
#[derive(Clone, Debug)]
pub struct Criticised<S = Tensor> {
    /// The logits, `(b,)`.
    pub logit: S,
    /// The feature before the last leaky ReLU, `(b, F)`.
    pub feature: S,
}

impl Discriminator {
    /// Asks `vb` for `convolutions.<i>` (`weight`, `bias`), `norms.<i>` (`weight`, `bias`, running moments;
    /// of the second convolution on, the last without `weight`) and `last` (`weight`, `bias`).
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for a layer that does not fit; if the builder holds tensors of other
    /// shapes.
    pub fn new(config: &DiscriminatorConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let features = config.feature()?.iter().product();
        let (mut convolutions, mut norms) = (Vec::new(), Vec::new());
        let mut input = config.event[0];
        for (i, layer) in config.layers.iter().enumerate() {
            let conv = Conv2dConfig {
                input,
                output: layer.output,
                kernel: layer.kernel,
                stride: layer.stride,
                padding: layer.padding,
            };
            convolutions.push(Conv2d::new(conv, true, STDEV, vb.pp("convolutions").pp(i))?);
            if config.batch_norm && i > 0 {
                let last = i + 1 == config.layers.len();
                let activation = if last { NormActivation::None } else { LEAKY };
                let config = norm(layer.output, !last, activation);
                norms.push(BatchNorm::configured(config, vb.pp("norms").pp(i - 1))?);
            }
            input = layer.output;
        }
        let last = Linear::new(features, 1, true, LinearInit::Normal(STDEV), vb.pp("last"))?;
        Ok(Self { convolutions, norms, last, features })
    }

    /// Is there batch norm, so that the rows of a batch interact?
    pub fn normalised(&self) -> bool {
        !self.norms.is_empty()
    }

    /// `(b, c, h, w)` -> logits and features.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for other images.
    pub fn forward(&self, x: &Tensor, moments: &mut BatchNormMoments) -> Result<Criticised> {
        if !self.normalised() {
            return self.plain(x);
        }
        let mut h = self.convolutions[0].forward(x)?.leaky_relu(SLOPE)?;
        for (convolution, norm) in self.convolutions[1..].iter().zip(&self.norms) {
            h = norm.forward(&convolution.forward(&h)?, moments)?;
        }
        self.head(&h)
    }

    /// As [`Discriminator::forward`] without batch norm, of values with or without tangents.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] if there is batch norm.
    pub fn plain<S: Signal>(&self, x: &S) -> Result<Criticised<S>> {
        if self.normalised() {
            let reason = "with batch norm rows interact; the penalty is of single rows".into();
            return Err(chains_core::Error::Config { field: "discriminator.batch_norm", reason });
        }
        let mut h = self.convolutions[0].forward(x)?;
        for convolution in &self.convolutions[1..] {
            h = convolution.forward(&h.leaky_relu(SLOPE)?)?;
        }
        self.head(&h)
    }

    fn head<S: Signal>(&self, h: &S) -> Result<Criticised<S>> {
        let feature = h.reshape_event(&[self.features])?;
        let logit = self.last.forward(&feature.leaky_relu(SLOPE)?)?.reshape_event(&[])?;
        Ok(Criticised { logit, feature })
    }
}
