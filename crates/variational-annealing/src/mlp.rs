//! Dense layers with a leaky ReLU between them.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{Linear, LinearInit},
    ops,
};

/// Dense layers with a leaky ReLU between them.
#[derive(Clone, Debug)]
pub(crate) struct Mlp {
    /// In the order of the pass.
    pub(crate) layers: Vec<Linear>,
    slope: f64,
}

impl Mlp {
    /// Asks `vb` for `layers.<i>.weight` and `.bias`: Glorot uniform, biases from zero. `slope` is that below
    /// zero, 0 for a ReLU.
    pub(crate) fn new(widths: &[usize], slope: f64, vb: &VarBuilder<'_>) -> Result<Self> {
        let layer = |(i, pair): (usize, &[usize])| {
            let vb = vb.pp("layers").pp(i);
            Linear::new(pair[0], pair[1], true, LinearInit::GlorotUniform, vb)
        };
        let layers = widths.windows(2).enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, slope })
    }

    /// `(n, first width)` -> `(n, last width)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(&h)?;
            if i + 1 < self.layers.len() {
                h = if self.slope > 0.0 {
                    ops::leaky_relu(&h, self.slope)?
                } else {
                    ops::relu(&h)?
                };
            }
        }
        Ok(h)
    }

    /// The network on `x` and `y` side by side, `(n, d)` and `(n, e)`.
    pub(crate) fn of_pair(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.forward(&Tensor::cat(&[x, y], 1)?)
    }
}
