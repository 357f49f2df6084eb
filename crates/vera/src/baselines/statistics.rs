//! The network that tells pairs of a sample and its latent from pairs of strangers.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Noise, Result,
    nn::{Linear, LinearInit},
    ops,
};

use crate::config::SLOPE;

/// `T(x, z)`: dense layers with leaky ReLUs of slope 0.2 on `(x, z)` side by side, one output.
#[derive(Clone, Debug)]
pub struct StatisticsNet {
    layers: Vec<Linear>,
}

impl StatisticsNet {
    /// Asks `vb` for `layers.<i>.weight` and `.bias`; `dim` and `latent` are the numbers in a sample
    /// and in its latent.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new([dim, latent]: [usize; 2], hidden: &[usize], vb: VarBuilder<'_>) -> Result<Self> {
        let widths = [&[dim + latent], hidden, &[1]].concat();
        let layer = |(i, pair): (usize, &[usize])| {
            Linear::new(pair[0], pair[1], true, LinearInit::FanIn, vb.pp("layers").pp(i))
        };
        Ok(Self { layers: widths.windows(2).enumerate().map(layer).collect::<Result<_>>()? })
    }

    /// `(b, ..event)` and `(b, d)` -> `(b,)`, the logit of belonging together.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if the operands do not fit.
    pub fn forward(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let b = x.dims().first().copied().unwrap_or(0);
        let flat = ops::reshape(x, (b, x.elem_count() / b.max(1)))?;
        let mut h = Tensor::cat(&[&flat, z], 1)?;
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                h = ops::leaky_relu(&h, SLOPE)?;
            }
            h = layer.forward(&h)?;
        }
        ops::reshape(&h, b)
    }
}

/// The classification loss of true pairs, nats: minus a bound on the mutual information of sample and
/// latent in its Jensen-Shannon form, `ln 2` for a network that knows nothing.
///
/// Mean over `2 b` pairs of the cross-entropy of `T`: `(x_i, z_i)` belong together, `(x_i, z_order(i))`
/// do not.
///
/// # Shapes
/// `x`: `(b, ..event)`; `z`: `(b, d)`; `order`: `(b,)`, u32.
///
/// # Errors
/// [`chains_core::Error::Shape`] if the operands do not fit.
pub fn information_loss(
    network: &StatisticsNet,
    x: &Tensor,
    z: &Tensor,
    order: &Tensor,
) -> Result<Tensor> {
    let b = x.dims().first().copied().unwrap_or(0);
    let latents = Tensor::cat(&[z, &z.index_select(order, 0)?], 0)?;
    let logits = network.forward(&Tensor::cat(&[x, x], 0)?, &latents)?;
    // -ln sigmoid(t) = softplus(-t), -ln(1 - sigmoid(t)) = softplus(t).
    let [own, other] = [logits.narrow(0, 0, b)?.neg()?, logits.narrow(0, b, b)?];
    Ok(ops::softplus(&Tensor::cat(&[own, other], 0)?)?.mean_all()?)
}

/// A random order of `n`, `(n,)`, u32.
///
/// # Errors
/// If the device cannot hold it.
pub fn permutation(n: usize, noise: &mut dyn Noise, device: &Device) -> Result<Tensor> {
    let keys: Vec<f64> = noise.uniform(&n.into(), DType::F64, &Device::Cpu)?.to_vec1()?;
    let mut order: Vec<u32> = (0_u32..).take(n).collect();
    order.sort_by(|i, j| keys[*i as usize].total_cmp(&keys[*j as usize]));
    Ok(Tensor::new(order, device)?)
}
