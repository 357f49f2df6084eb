//! Convolutional layers.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use super::fan_in_uniform;
use crate::{error::Result, ops::upsample2_conv2d, tangent::Signal};

/// A convolution with a square kernel and the same zeros on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub input: usize,
    /// Channels of the result.
    pub output: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Pixels between two places of the kernel.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
}

impl Conv2dConfig {
    /// Kernel 3, stride 1, padding 1: the sides of a map stay as they are.
    pub const fn same3(input: usize, output: usize) -> Self {
        Self { input, output, kernel: 3, stride: 1, padding: 1 }
    }

    /// `sqrt(2 / (input kernel^2))`, the standard deviation of weights by which a layer behind a
    /// ReLU keeps the second moment of its input (He and others 2015, equation 10).
    pub fn he_stdev(&self) -> f64 {
        (2.0 / (self.input * self.kernel * self.kernel) as f64).sqrt()
    }
}

/// A 2-D convolution with a square kernel.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Asks `vb` for `weight`, `(output, input, kernel, kernel)`, begun as a normal with standard
    /// deviation `stdev`, and, if wanted, `bias`, `(output,)`, begun at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(config: Conv2dConfig, bias: bool, stdev: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Self::begun(config, bias, [Init::Randn { mean: 0.0, stdev }, Init::Const(0.0)], vb)
    }

    /// As [`Conv2d::new`], weight and bias begun as PyTorch does, see [`fan_in_uniform`].
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn fan_in(config: Conv2dConfig, bias: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let Conv2dConfig { input, kernel, .. } = config;
        let init = fan_in_uniform(input * kernel * kernel);
        Self::begun(config, bias, [init, init], vb)
    }

    /// As [`Conv2d::new`], the weight uniform with limit `gain sqrt(6 / (fan_in + fan_out))` (Glorot
    /// and Bengio 2010, equation 16, times a gain).
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn glorot(config: Conv2dConfig, bias: bool, gain: f64, vb: VarBuilder<'_>) -> Result<Self> {
        let Conv2dConfig { input, output, kernel, .. } = config;
        let limit = gain * (6.0 / ((input + output) * kernel * kernel) as f64).sqrt();
        let init = Init::Uniform { lo: -limit, up: limit };
        Self::begun(config, bias, [init, Init::Const(0.0)], vb)
    }

    fn begun(
        config: Conv2dConfig,
        bias: bool,
        [weights, biases]: [Init; 2],
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let Conv2dConfig { input, output, kernel, stride, padding } = config;
        let weight = vb.get_with_hints((output, input, kernel, kernel), "weight", weights)?;
        let bias = if bias { Some(vb.get_with_hints(output, "bias", biases)?) } else { None };
        Ok(Self { weight, bias, stride, padding })
    }

    /// The layer that halves height and width, rounding up: kernel 5, stride 2, padding 2.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn halving(
        input: usize,
        output: usize,
        bias: bool,
        stdev: f64,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let config = Conv2dConfig { input, output, kernel: 5, stride: 2, padding: 2 };
        Self::new(config, bias, stdev, vb)
    }

    /// `(b, input, h, w)` -> `(b, output, oh, ow)`, with the sides of [`conv2d`](crate::ops::conv2d).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another input, or if the result would be empty.
    pub fn forward<S: Signal>(&self, x: &S) -> Result<S> {
        x.conv2d(&self.weight, self.bias.as_ref(), self.stride, self.padding)
    }
}

impl Conv2d {
    /// The layer behind a doubling of the resolution by nearest neighbours, see
    /// [`upsample2_conv2d`]; of kernel 3, stride 1 and padding 1 only.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another input, [`crate::Error::Config`] for another layer.
    pub fn forward_upsampled(&self, x: &Tensor) -> Result<Tensor> {
        if (self.stride, self.padding) != (1, 1) {
            let reason = "must have stride 1 and padding 1 behind a doubling".into();
            return Err(crate::Error::Config { field: "convolution", reason });
        }
        upsample2_conv2d(x, &self.weight, self.bias.as_ref())
    }
}

/// A transposed 2-D convolution with a square kernel.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
}

impl ConvTranspose2d {
    /// The layer that doubles height and width: kernel 5, stride 2, padding 2, output padding 1.
    ///
    /// Asks `vb` for `weight`, `(input, output, 5, 5)`, begun as a normal with standard deviation
    /// `stdev`, and, if wanted, `bias`, `(output,)`, begun at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn doubling(
        input: usize,
        output: usize,
        bias: bool,
        stdev: f64,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let hint = Init::Randn { mean: 0.0, stdev };
        let weight = vb.get_with_hints((input, output, 5, 5), "weight", hint)?;
        let bias =
            if bias { Some(vb.get_with_hints(output, "bias", Init::Const(0.0))?) } else { None };
        Ok(Self { weight, bias, stride: 2, padding: 2, output_padding: 1 })
    }

    /// The layer of any kernel, stride and padding without output padding: `weight`,
    /// `(input, output, kernel, kernel)`, begun as a normal with standard deviation `stdev`, and, if
    /// wanted, `bias`, `(output,)`, begun at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(config: Conv2dConfig, bias: bool, stdev: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Self::begun(config, bias, [Init::Randn { mean: 0.0, stdev }, Init::Const(0.0)], vb)
    }

    /// As [`ConvTranspose2d::new`], weight and bias begun as PyTorch does (its fan-in of a transposed
    /// convolution is `output kernel^2`).
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn fan_in(config: Conv2dConfig, bias: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let Conv2dConfig { output, kernel, .. } = config;
        let init = fan_in_uniform(output * kernel * kernel);
        Self::begun(config, bias, [init, init], vb)
    }

    fn begun(
        config: Conv2dConfig,
        bias: bool,
        [weights, biases]: [Init; 2],
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let Conv2dConfig { input, output, kernel, stride, padding } = config;
        let weight = vb.get_with_hints((input, output, kernel, kernel), "weight", weights)?;
        let bias = if bias { Some(vb.get_with_hints(output, "bias", biases)?) } else { None };
        Ok(Self { weight, bias, stride, padding, output_padding: 0 })
    }

    /// `(b, input, h, w)` -> `(b, output, oh, ow)`, with the sides of
    /// [`conv_transpose2d`](crate::ops::conv_transpose2d).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another input.
    pub fn forward<S: Signal>(&self, x: &S) -> Result<S> {
        let sides = [self.stride, self.padding, self.output_padding];
        x.conv_transpose2d(&self.weight, self.bias.as_ref(), sides)
    }
}
