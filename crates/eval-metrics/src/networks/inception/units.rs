//! The parts of the network with their weights.

use candle_core::Tensor;
use chains_core::{Result, ops};

use super::layout::{Layout, Shape};

/// Added to the variance in every batch norm.
const EPS: f64 = 1e-3;

/// A part of the network with its weights.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Unit(Unit),
    Chain(Vec<Node>),
    Branches(Vec<Node>),
    Max { stride: usize, padding: usize },
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
    /// `folded` multiplies the scale of batch norm into the weight before it.
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
            Layout::Chain(parts) => Self::Chain(all(parts)?),
            Layout::Branches(parts) => Self::Branches(all(parts)?),
            Layout::Max { stride, padding } => Self::Max { stride: *stride, padding: *padding },
            Layout::Average => Self::Average,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unit(unit) => unit.forward(x),
            Self::Chain(parts) => parts.iter().try_fold(x.clone(), |x, part| part.forward(&x)),
            Self::Branches(parts) => {
                let parts = parts.iter().map(|part| part.forward(x)).collect::<Result<Vec<_>>>()?;
                Ok(Tensor::cat(&parts, 1)?)
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
        let leaf = |leaf: &str| tensor(&format!("{unit}.{leaf}"));
        let deviation = (leaf("bn.running_var")? + EPS)?.sqrt()?;
        let scale = (leaf("bn.weight")? / deviation)?;
        let shift = (leaf("bn.bias")? - (leaf("bn.running_mean")? * &scale)?)?;
        let weight = leaf("conv.weight")?;
        let (stride, padding) = (shape.stride, shape.padding);
        let out = shape.channels[1];
        if folded {
            let weight = weight.broadcast_mul(&scale.reshape((out, 1, 1, 1))?)?;
            return Ok(Self { weight, shift, scale: None, stride, padding });
        }
        let [scale, shift] = [scale, shift].map(|t| t.reshape((1, out, 1, 1)));
        Ok(Self { weight, shift: shift?, scale: Some(scale?), stride, padding })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Some(scale) = &self.scale else {
            let bias = Some(&self.shift);
            return ops::conv2d_relu(x, &self.weight, bias, self.stride, self.padding);
        };
        let y = ops::conv2d(x, &self.weight, None, self.stride, self.padding)?;
        ops::relu(&y.broadcast_mul(scale)?.broadcast_add(&self.shift)?)
    }
}
