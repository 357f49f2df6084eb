//! Layers of the digit network, for training and for use.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Error, Result,
    nn::{Conv2d, Conv2dConfig, Linear, LinearInit},
    ops,
};
use serde::{Deserialize, Serialize};

/// Pixels along a side of an image.
pub(super) const SIDE: usize = 28;
/// No layer needs more, and products of these stay numbers.
const MOST: usize = 4096;

/// Widths of a [`DigitNetwork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigitConfig {
    /// Channels of the two convolutions on 28x28, and of the two on 14x14 pixels.
    pub channels: [usize; 2],
    /// Features.
    pub features: usize,
    /// Logits.
    pub classes: usize,
}

impl DigitConfig {
    /// The network of the shipped weights: 467,818 parameters. Widths of our own choice, not from a
    /// paper.
    pub const fn mnist() -> Self {
        Self { channels: [32, 64], features: 128, classes: 10 }
    }

    /// # Errors
    /// [`Error::Config`] for a width that is zero or above 4096, or fewer than two classes.
    pub fn validate(&self) -> Result<()> {
        for (field, value, least) in [
            ("channels", self.channels[0], 1),
            ("channels", self.channels[1], 1),
            ("features", self.features, 1),
            ("classes", self.classes, 2),
        ] {
            if !(least..=MOST).contains(&value) {
                let reason = format!("{value} is not from {least} to {MOST}");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
    }

    /// Values of an image behind the convolutions.
    fn flat(&self) -> usize {
        self.channels[1] * (SIDE / 4) * (SIDE / 4)
    }

    fn convolutions(&self) -> [Conv2dConfig; 4] {
        let [first, second] = self.channels;
        let pairs = [(1, first), (first, first), (first, second), (second, second)];
        pairs.map(|(input, output)| Conv2dConfig::same3(input, output))
    }

    /// Names and shapes of all tensors.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        for (i, conv) in self.convolutions().iter().enumerate() {
            let Conv2dConfig { input, output, kernel, .. } = *conv;
            shapes.push((format!("convolutions.{i}.weight"), vec![output, input, kernel, kernel]));
            shapes.push((format!("convolutions.{i}.bias"), vec![output]));
        }
        for (name, input, output) in
            [("features", self.flat(), self.features), ("head", self.features, self.classes)]
        {
            shapes.push((format!("{name}.weight"), vec![output, input]));
            shapes.push((format!("{name}.bias"), vec![output]));
        }
        shapes
    }
}

/// The layers, over trainable tensors or frozen ones, as the builder has them.
///
/// `x -> conv, conv, max -> conv, conv, max -> features -> logits`: 3x3 convolutions with padding 1,
/// maxima of 2x2 squares, ReLU behind every layer but the last. There is no dropout here: a training
/// puts it between [`features`](Self::features) and [`logits`](Self::logits).
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use chains_core::{ParamStore, Seed};
/// use eval_metrics::networks::{DigitConfig, DigitNetwork};
///
/// let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
/// let network = DigitNetwork::new(&DigitConfig::mnist(), store.builder())?;
/// assert_eq!(store.count(), 467_818);
/// let x = Tensor::zeros((3, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.logits(&network.features(&x)?)?.dims(), [3, 10]);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DigitNetwork {
    convolutions: Vec<Conv2d>,
    features: Linear,
    head: Linear,
    /// Values of an image behind the convolutions.
    flat: usize,
}

impl DigitNetwork {
    /// Asks `vb` for `convolutions.0` to `.3`, `features` and `head`, each a `weight` and a `bias`.
    /// New weights begin as He and others (2015) begin them, the head's as Glorot and Bengio (2010).
    ///
    /// # Errors
    /// [`Error::Config`] for unusable widths; if the builder holds tensors of other shapes.
    pub fn new(config: &DigitConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        let convolutions = config
            .convolutions()
            .into_iter()
            .enumerate()
            .map(|(i, conv)| Conv2d::new(conv, true, conv.he_stdev(), vb.pp("convolutions").pp(i)))
            .collect::<Result<_>>()?;
        let he = LinearInit::Normal((2.0 / config.flat() as f64).sqrt());
        let (width, classes) = (config.features, config.classes);
        Ok(Self {
            convolutions,
            features: Linear::new(config.flat(), width, true, he, vb.pp("features"))?,
            head: Linear::new(width, classes, true, LinearInit::GlorotUniform, vb.pp("head"))?,
            flat: config.flat(),
        })
    }

    /// Features behind their ReLU.
    ///
    /// # Shapes
    /// `x`: `(b, 1, 28, 28)`, pixels in `[0, 1]`; the result `(b, features)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for other images.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        let b = match *x.dims() {
            [b, 1, SIDE, SIDE] => b,
            _ => {
                let expected = "(b, 1, 28, 28)".into();
                return Err(Error::Shape { what: "digits", expected, got: x.dims().to_vec() });
            }
        };
        let mut h = x.clone();
        for (i, layer) in self.convolutions.iter().enumerate() {
            h = ops::relu(&layer.forward(&h)?)?;
            if i % 2 == 1 {
                h = ops::max_pool2(&h)?;
            }
        }
        ops::relu(&self.features.forward(&ops::reshape(&h, (b, self.flat))?)?)
    }

    /// Logits of features: `(b, features)` -> `(b, classes)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        self.head.forward(features)
    }
}

/// Bytes as the network takes them: divided by 255, the central 28x28 of 32x32 pixels.
///
/// # Shapes
/// `images`: `(b, c, 28, 28)` or `(b, c, 32, 32)`; the result `(b, c, 28, 28)`, f32.
///
/// # Errors
/// [`Error::Shape`] for other images.
pub fn scaled_digits(images: &Tensor) -> Result<Tensor> {
    let margin = match *images.dims() {
        [_, _, SIDE, SIDE] => 0,
        [_, _, 32, 32] => 2,
        _ => {
            let expected = "(b, c, 28, 28) or (b, c, 32, 32)".into();
            return Err(Error::Shape { what: "digits", expected, got: images.dims().to_vec() });
        }
    };
    let centre = images.narrow(2, margin, SIDE)?.narrow(3, margin, SIDE)?;
    Ok(centre.contiguous()?.to_dtype(DType::F32)?.affine(1.0 / 255.0, 0.0)?)
}
