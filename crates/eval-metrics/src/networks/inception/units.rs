//! The parts of the network with their weights.

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, ops};

use super::layout::{Layout, Shape};

/// Added to the variance in every batch norm.
const EPS: f64 = 1e-3;

/// A part of the network with its weights.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Unit(Unit),
    /// The mean pool and a pointwise unit after it, in the other order: both are linear, and a mean of
    /// constants is the constant. The pool then has the channels of the result, a fraction of those
    /// of the input.
    Averaged(Unit),
    Chain(Vec<Node>),
    Branches(Vec<Node>),
    Max {
        stride: usize,
        padding: usize,
    },
    Average,
}

/// A convolution with its batch norm and ReLU.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    weight: Tensor,
    /// What batch norm adds after its scale, `(1, out, 1, 1)` if `scale` is there.
    shift: Tensor,
    /// What it multiplies by, unless that is part of the weight.
    scale: Option<Tensor>,
    stride: usize,
    padding: [usize; 2],
}

impl Node {
    /// `folded` multiplies the scale of batch norm into the weight before it; without, every layer is
    /// computed as it is defined.
    pub(super) fn new(
        stage: &str,
        layout: &Layout,
        tensor: &impl Fn(&str) -> Result<Tensor>,
        folded: bool,
    ) -> Result<Self> {
        let all = |parts: &[Layout]| {
            parts.iter().map(|part| Self::new(stage, part, tensor, folded)).collect::<Result<_>>()
        };
        Ok(match layout {
            Layout::Unit(shape) => Self::Unit(Unit::new(stage, shape, tensor, folded)?),
            Layout::Chain(parts) => match parts.as_slice() {
                [Layout::Average, Layout::Unit(shape)] if folded && shape.is_pointwise() => {
                    Self::Averaged(Unit::new(stage, shape, tensor, folded)?)
                }
                parts => Self::Chain(all(parts)?),
            },
            Layout::Branches(parts) => Self::Branches(all(parts)?),
            Layout::Max { stride, padding } => Self::Max { stride: *stride, padding: *padding },
            Layout::Average => Self::Average,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unit(unit) => unit.forward(x),
            Self::Averaged(unit) => ops::relu(&ops::avg_pool2d(&unit.affine(x)?, 3, 1, 1)?),
            Self::Chain(parts) => parts.iter().try_fold(x.clone(), |x, part| part.forward(&x)),
            Self::Branches(parts) => {
                let parts = parts.iter().map(|part| part.forward(x)).collect::<Result<Vec<_>>>()?;
                ops::join_channels(&parts)
            }
            Self::Max { stride, padding } => ops::max_pool2d(x, 3, *stride, *padding),
            Self::Average => ops::avg_pool2d(x, 3, 1, 1),
        }
    }
}

impl Unit {
    fn new(
        stage: &str,
        shape: &Shape,
        tensor: &impl Fn(&str) -> Result<Tensor>,
        folded: bool,
    ) -> Result<Self> {
        let unit = shape.path(stage);
        let weight = tensor(&format!("{unit}.conv.weight"))?;
        // On the host: not every device has f64.
        let wide = |leaf: &str| -> Result<Tensor> {
            let tensor = tensor(&format!("{unit}.{leaf}"))?.to_device(&Device::Cpu)?;
            Ok(tensor.to_dtype(DType::F64)?)
        };
        let deviation = (wide("bn.running_var")? + EPS)?.sqrt()?;
        let scale = (wide("bn.weight")? / deviation)?;
        let shift = (wide("bn.bias")? - (wide("bn.running_mean")? * &scale)?)?;
        let narrow = |t: Tensor| t.to_dtype(DType::F32)?.to_device(weight.device());
        let (scale, shift) = (narrow(scale)?, narrow(shift)?);
        let (stride, padding) = (shape.stride, shape.padding);
        let out = shape.channels[1];
        if folded {
            let weight = weight.broadcast_mul(&scale.reshape((out, 1, 1, 1))?)?;
            return Ok(Self { weight, shift, scale: None, stride, padding });
        }
        let [scale, shift] = [scale, shift].map(|t| t.reshape((1, out, 1, 1)));
        Ok(Self { weight, shift: shift?, scale: Some(scale?), stride, padding })
    }

    /// Without the ReLU.
    fn affine(&self, x: &Tensor) -> Result<Tensor> {
        let Some(scale) = &self.scale else {
            return ops::conv2d(x, &self.weight, Some(&self.shift), self.stride, self.padding);
        };
        let y = ops::conv2d(x, &self.weight, None, self.stride, self.padding)?;
        Ok(y.broadcast_mul(scale)?.broadcast_add(&self.shift)?)
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.scale.is_some() {
            return ops::relu(&self.affine(x)?);
        }
        ops::conv2d_relu(x, &self.weight, Some(&self.shift), self.stride, self.padding)
    }
}
