//! One layer: an affine map and what follows it.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{Conv2d, ConvTranspose2d, Linear, LinearInit, MomentSource, Norm, NormKind},
    ops,
};

#[derive(Clone, Debug)]
pub(super) enum Map {
    Dense(Linear),
    Halving(Conv2d),
    Doubling(ConvTranspose2d),
}

pub(super) fn dense(
    [input, output]: [usize; 2],
    bias: bool,
    stdev: f64,
    vb: VarBuilder<'_>,
) -> Result<Map> {
    Linear::new(input, output, bias, LinearInit::Normal(stdev), vb).map(Map::Dense)
}

/// Without a bias: a norm follows.
pub(super) fn halving([input, output]: [usize; 2], stdev: f64, vb: VarBuilder<'_>) -> Result<Map> {
    Conv2d::halving(input, output, false, stdev, vb).map(Map::Halving)
}

pub(super) fn doubling(
    [input, output]: [usize; 2],
    bias: bool,
    stdev: f64,
    vb: VarBuilder<'_>,
) -> Result<Map> {
    ConvTranspose2d::doubling(input, output, bias, stdev, vb).map(Map::Doubling)
}

/// A layer of the network.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Where its tensors are.
    name: String,
    map: Map,
    /// Shape of an example at its input.
    input: Vec<usize>,
    norm: Option<Norm>,
    /// Of the activation where there is no norm, which brings its own.
    slope: Option<f64>,
}

impl Stage {
    pub(super) fn normalised(name: String, map: Map, input: Vec<usize>, norm: Norm) -> Self {
        Self { name, map, input, norm: Some(norm), slope: None }
    }

    pub(super) fn plain(name: String, map: Map, input: Vec<usize>, slope: Option<f64>) -> Self {
        Self { name, map, input, norm: None, slope }
    }

    /// The whole layer.
    pub(super) fn forward(&self, h: &Tensor, step: usize, source: MomentSource) -> Result<Tensor> {
        self.finish(&self.affine(h)?, step, source)
    }

    /// The affine map; examples of any shape with as many elements.
    pub(crate) fn affine(&self, h: &Tensor) -> Result<Tensor> {
        let shape: Vec<usize> = [&h.dims()[..1], &self.input].concat();
        let h = if h.dims() == shape { h.clone() } else { ops::reshape(h, shape)? };
        match &self.map {
            Map::Dense(map) => map.forward(&h),
            Map::Halving(map) => map.forward(&h),
            Map::Doubling(map) => map.forward(&h),
        }
    }

    /// Norm and activation.
    pub(crate) fn finish(&self, y: &Tensor, step: usize, source: MomentSource) -> Result<Tensor> {
        match (&self.norm, self.slope) {
            (Some(norm), _) => norm.forward(y, step, source),
            (None, Some(slope)) if slope > 0.0 => ops::leaky_relu(y, slope),
            (None, Some(_)) => ops::relu(y),
            (None, None) => Ok(y.clone()),
        }
    }

    /// Its batch norm, if it has one, whose moments can be stored.
    pub(crate) fn batch_norm(&self) -> Option<&Norm> {
        self.norm.as_ref().filter(|norm| norm.config().kind == NormKind::Batch)
    }

    /// Where its tensors are.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Elements of an example at its input.
    pub(crate) fn width(&self) -> usize {
        self.input.iter().product()
    }
}
