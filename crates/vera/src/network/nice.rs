//! NICE: additive couplings with an exact log density and an exact inverse.

use std::f64::consts::PI;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use chains_core::{
    Noise, Result,
    density::{LogDensity, Sample},
    nn::{Linear, LinearInit},
    tangent::Signal,
};

use super::EnergyNetwork;

/// Four additive couplings between even and odd coordinates, a diagonal scale, a standard normal base
/// (Dinh, Krueger, Bengio 2014, as Table 2 has it).
///
/// With `a` the even and `b` the odd coordinates: `b += m1(a)`, `a += m2(b)`, `b += m3(a)`,
/// `a += m4(b)`, `y = (a, b) exp(s)` and `log p = ln N(y; 0, I) + sum s`. Each `m` has softplus between
/// its dense layers. The published file has `layers` = 4 hidden layers of 1000; the paper says 5.
#[derive(Clone, Debug)]
pub struct Nice {
    dim: usize,
    couplings: Vec<Vec<Linear>>,
    scales: Tensor,
}

impl Nice {
    /// Asks `vb` for `nice{1..4}.dense{1..}.weight` and `.bias`, and `scale.scales`, `(1, dim)`, begun
    /// at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(dim: usize, hidden: usize, layers: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let half = dim / 2;
        let one = |k: usize| -> Result<Vec<Linear>> {
            let vb = vb.pp(format!("nice{k}"));
            let dense = |i: usize| {
                let input = if i == 0 { half } else { hidden };
                let output = if i == layers { half } else { hidden };
                let vb = vb.pp(format!("dense{}", i + 1));
                Linear::new(input, output, true, LinearInit::FanIn, vb)
            };
            (0..=layers).map(dense).collect()
        };
        let couplings = (1..=4).map(one).collect::<Result<_>>()?;
        let scales = vb.pp("scale").get_with_hints((1, dim), "scales", Init::Const(0.0))?;
        Ok(Self { dim, couplings, scales })
    }

    fn shift<S: Signal>(layers: &[Linear], x: &S) -> Result<S> {
        let mut h = layers[0].forward(x)?;
        for layer in &layers[1..] {
            h = layer.forward(&h.softplus()?)?;
        }
        Ok(h)
    }

    /// The even and the odd coordinates.
    pub(crate) fn halves<S: Signal>(&self, x: &S) -> Result<[S; 2]> {
        let half = self.dim / 2;
        let pairs = x.reshape_event(&[half, 2])?;
        let part = |at| pairs.narrow(2, at, 1)?.reshape_event(&[half]);
        Ok([part(0)?, part(1)?])
    }

    /// `y` before the scale, `(b, dim)`: even coordinates first.
    fn coupled<S: Signal>(&self, x: &S) -> Result<S> {
        let [mut a, mut b] = self.halves(x)?;
        for (k, layers) in self.couplings.iter().enumerate() {
            if k % 2 == 0 {
                b = b.add(&Self::shift(layers, &a)?)?;
            } else {
                a = a.add(&Self::shift(layers, &b)?)?;
            }
        }
        S::cat(&[&a, &b], 1)
    }

    /// `y`, `(b, dim)`, standard normal under the model.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for another input.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.coupled(x)?.broadcast_mul(&self.scales.exp()?)?)
    }

    /// `x` of `y`, `(b, dim)`, the inverse of [`Nice::forward`].
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for another input.
    pub fn inverse(&self, y: &Tensor) -> Result<Tensor> {
        let half = self.dim / 2;
        let y = y.broadcast_mul(&self.scales.neg()?.exp()?)?;
        let (mut a, mut b) = (y.narrow(1, 0, half)?, y.narrow(1, half, half)?);
        for (k, layers) in self.couplings.iter().enumerate().rev() {
            if k % 2 == 0 {
                b = (b - Self::shift(layers, &a.contiguous()?)?)?;
            } else {
                a = (a - Self::shift(layers, &b.contiguous()?)?)?;
            }
        }
        self.woven(&a, &b)
    }

    /// Even and odd coordinates, each `(b, dim / 2)`, in their places.
    pub(crate) fn woven(&self, even: &Tensor, odd: &Tensor) -> Result<Tensor> {
        let pairs = Tensor::cat(&[&even.unsqueeze(2)?, &odd.unsqueeze(2)?], 2)?;
        Ok(pairs.reshape(((), self.dim))?)
    }

    /// The layers of the four couplings.
    pub(crate) fn couplings(&self) -> &[Vec<Linear>] {
        &self.couplings
    }

    /// `s`, `(1, dim)`, even coordinates first.
    pub(crate) fn scales(&self) -> &Tensor {
        &self.scales
    }

    /// `sum s`, a scalar: the log determinant of the map.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn log_determinant(&self) -> Result<Tensor> {
        Ok(self.scales.sum_all()?)
    }
}

impl EnergyNetwork for Nice {
    fn logits<S: Signal>(&self, x: &S, _masks: &[Tensor]) -> Result<S> {
        let y = self.coupled(x)?.scaled(&self.scales.exp()?)?;
        let square = y.square()?.sum_last()?.affine(-0.5, 0.0)?;
        let constant = self.log_determinant()?;
        let constant = constant.affine(1.0, -0.5 * self.dim as f64 * (2.0 * PI).ln())?;
        square.shifted(&constant.reshape(1)?)?.reshape_event(&[1])
    }

    fn is_normalised(&self) -> bool {
        true
    }
}

impl LogDensity for Nice {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        self.log_density(x, &[])
    }
}

impl Sample for Nice {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let (dtype, device) = (self.scales.dtype(), self.scales.device());
        self.inverse(&noise.normal(&(n, self.dim).into(), dtype, device)?)
    }
}
