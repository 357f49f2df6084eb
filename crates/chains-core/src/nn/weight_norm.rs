//! Convolutions whose kernels have a length of their own, learnt by its logarithm.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use super::{Conv2dConfig, fan_in_uniform};
use crate::{
    error::{Error, Result},
    ops,
    tangent::Signal,
};

/// Added to the length that a kernel is divided by.
const EPS: f64 = 1e-5;
/// Added to the length of which the logarithm begins.
const BEGUN: f64 = 0.01;
/// Deviations that one deviation of the data becomes a part of in [`WeightNormConv2d::initialise`].
const DEVIATIONS: f64 = 5.0;

/// What a [`WeightNormConv2d`] is beside its sizes.
#[derive(Clone, Debug)]
pub struct WeightNormConfig {
    /// Sizes; a depthwise layer has as many outputs as inputs.
    pub conv: Conv2dConfig,
    /// A bias is added.
    pub bias: bool,
    /// Every channel has a kernel of its own.
    pub depthwise: bool,
    /// Of the weight's shape, multiplied with it before the norm: autoregressive layers.
    pub mask: Option<Tensor>,
    /// What the lengths begin as a multiple of, 1 but for layers that are to begin small.
    pub gain: f64,
}

impl WeightNormConfig {
    /// A layer with a bias and neither mask nor gain.
    pub const fn biased(conv: Conv2dConfig) -> Self {
        Self { conv, bias: true, depthwise: false, mask: None, gain: 1.0 }
    }

    /// The same without a bias.
    pub const fn unbiased(conv: Conv2dConfig) -> Self {
        Self { conv, bias: false, depthwise: false, mask: None, gain: 1.0 }
    }
}

/// A convolution with the kernel `exp(g) w / (|w| + 1e-5)`, the length `|w|` taken for each output
/// channel on its own (Salimans and Kingma 2016, equation 2, with the logarithm of the length as the
/// parameter, as in NVAE).
#[derive(Clone, Debug)]
pub struct WeightNormConv2d {
    kernel: Kernel,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    depthwise: bool,
}

#[derive(Clone, Debug)]
enum Kernel {
    Stored { weight: Tensor, log_norm: Tensor, mask: Option<Tensor> },
    Normalised(Tensor),
}

impl WeightNormConv2d {
    /// Asks `vb` for `weight`, `(output, input, k, k)` or depthwise `(output, 1, k, k)`, and, if wanted,
    /// `bias`, `(output,)`, begun as PyTorch does (see [`fan_in_uniform`]), and for `log_weight_norm`,
    /// `(output, 1, 1, 1)`, begun at `ln(|w| + 0.01) + ln gain`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes, [`Error::Shape`] for a mask of another shape,
    /// [`Error::Config`] for a depthwise layer that changes the number of channels.
    pub fn new(config: WeightNormConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let WeightNormConfig { conv, bias, depthwise, mask, gain } = config;
        let Conv2dConfig { input, output, kernel, stride, padding } = conv;
        if depthwise && input != output {
            let reason = format!("a depthwise layer from {input} to {output} channels");
            return Err(Error::Config { field: "convolution", reason });
        }
        let group = if depthwise { 1 } else { input };
        let init = fan_in_uniform(group * kernel * kernel);
        let weight = vb.get_with_hints((output, group, kernel, kernel), "weight", init)?;
        if let Some(mask) = mask.as_ref().filter(|mask| mask.dims() != weight.dims()) {
            let (expected, got) = (format!("{:?}", weight.dims()), mask.dims().to_vec());
            return Err(Error::Shape { what: "mask of a convolution", expected, got });
        }
        let begun = vb.contains_tensor("log_weight_norm");
        let log_norm = vb.get_with_hints((output, 1, 1, 1), "log_weight_norm", Init::Const(0.0))?;
        if !begun {
            let length = ops::lengths(&masked(&weight.detach(), mask.as_ref())?)?;
            // In place, so that a frozen view that asks first leaves the same values behind.
            let value = (length + BEGUN)?.log()?.affine(1.0, gain.ln())?;
            log_norm.slice_set(&value, 0, 0)?;
        }
        let bias = if bias { Some(vb.get_with_hints(output, "bias", init)?) } else { None };
        let kernel = Kernel::Stored { weight, log_norm, mask };
        Ok(Self { kernel, bias, stride, padding, depthwise })
    }

    /// The normalised kernel, of the shape of the weight.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn kernel(&self) -> Result<Tensor> {
        match &self.kernel {
            Kernel::Normalised(kernel) => Ok(kernel.clone()),
            Kernel::Stored { weight, log_norm, mask } => {
                let weight = masked(weight, mask.as_ref())?;
                ops::of_length(&weight, log_norm, EPS)
            }
        }
    }

    /// The layer with its kernel as it is now, which does not follow later changes of the parameters.
    ///
    /// Of trainable tensors it still has gradients: a network normalises once for several passes of one
    /// update. Of frozen ones a chain normalises once for all its steps.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn normalised(&self) -> Result<Self> {
        Ok(Self { kernel: Kernel::Normalised(self.kernel()?), ..self.clone() })
    }

    /// `(b, input, h, w)` -> `(b, output, oh, ow)`, with the sides of [`conv2d`](crate::ops::conv2d).
    ///
    /// # Errors
    /// [`Error::Shape`] for another input.
    pub fn forward<S: Signal>(&self, x: &S) -> Result<S> {
        self.convolve(x, &self.kernel()?, self.bias.as_ref())
    }

    /// Sets lengths and bias so that every channel of the result has mean 0 and deviation 0.2 on `x`
    /// (the mean stays without a bias), and gives the result: a network calls it layer by layer, once,
    /// with a large batch.
    ///
    /// With mean `m` and unbiased deviation `s` of the convolution by `w / (|w| + 1e-5)`, taken over batch
    /// and positions, `bias = -m / (5 s + 1e-5)` and `g = -ln(5 s + 1e-5)`.
    ///
    /// # Shapes
    /// As [`WeightNormConv2d::forward`].
    ///
    /// # Errors
    /// [`Error::Shape`] for another input, [`Error::Config`] for a layer that is normalised already or of
    /// frozen tensors.
    pub fn initialise(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, log_norm, mask) = match &self.kernel {
            Kernel::Stored { weight, log_norm, mask } if log_norm.is_variable() => {
                (weight.detach(), log_norm, mask)
            }
            _ => {
                let reason = "a frozen or normalised layer cannot be initialised".into();
                return Err(Error::Config { field: "convolution", reason });
            }
        };
        let weight = masked(&weight, mask.as_ref())?;
        let unit = weight.broadcast_div(&(ops::lengths(&weight)? + EPS)?)?;
        let y = self.convolve(&x.detach(), &unit, None)?;
        let moments = ops::batch_moments(&y.unsqueeze(0)?)?;
        let (channels, all) = (y.dims()[1], y.elem_count());
        let n = (all / channels) as f64;
        let deviation = (moments.variance * (n / (n - 1.0).max(1.0)))?.sqrt()?;
        let scale = deviation.affine(DEVIATIONS, EPS)?;
        log_norm.slice_set(&scale.log()?.neg()?.reshape((channels, 1, 1, 1))?, 0, 0)?;
        if let Some(bias) = &self.bias {
            bias.slice_set(&moments.mean.neg()?.div(&scale)?.reshape(channels)?, 0, 0)?;
        }
        Ok(self.forward(&x.detach())?.detach())
    }

    fn convolve<S: Signal>(&self, x: &S, kernel: &Tensor, bias: Option<&Tensor>) -> Result<S> {
        if self.depthwise {
            return x.depthwise_conv2d(kernel, bias, self.stride, self.padding);
        }
        x.conv2d(kernel, bias, self.stride, self.padding)
    }
}

fn masked(weight: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    Ok(match mask {
        Some(mask) => weight.mul(mask)?,
        None => weight.clone(),
    })
}

#[cfg(test)]
mod tests;
