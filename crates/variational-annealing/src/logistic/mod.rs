//! Bayesian logistic regression: the posterior over weights and prior precision.

mod map;
mod predict;
#[cfg(test)]
mod tests;

use candle_core::{Device, Tensor};
use chains_core::{Error, Result, density::Energy, ops};

pub use self::{
    map::map_estimate,
    predict::{Prediction, predict},
};

/// The posterior of `theta = (w, eta)`, `eta = log alpha`, as an energy:
///
/// `log u = sum_n log sigmoid(y_n w.x_n) + (d/2) eta - e^eta |w|^2 / 2 + a0 eta - b0 e^eta`
///
/// with `w | alpha ~ N(0, I / alpha)`, `alpha ~ Gamma(a0, rate b0)`; the Jacobian of `alpha = e^eta` is in
/// it, constants are not. The prior is that of the SVGD paper's experiment (Liu and Wang, NeurIPS
/// 2016), `a0 = 1`, `b0 = 0.01`. `eta` is clamped to \[-10, 10\] inside of the exponential; the
/// derivative is that of the exponential at the clamped value (reconstruction).
///
/// Value and gradient are closed forms: two products with the data for each, whatever the number of
/// points. `(b, d + 1)` to `(b,)`.
#[derive(Clone, Debug)]
pub struct LogisticPosterior {
    /// `y_n x_n`, `(n, d)`.
    signed: Tensor,
    /// Its transpose.
    turned: Tensor,
    d: usize,
    shape: f64,
    rate: f64,
}

/// The range of `eta` inside of the exponential.
const ETA: f64 = 10.0;

impl LogisticPosterior {
    /// The posterior given inputs, the constant 1 among them, and labels of either sign.
    ///
    /// # Shapes
    /// `inputs`: `(n, d)`, f32 or f64, `n` may be 0; `labels`: `n` numbers, +1 or -1.
    ///
    /// # Errors
    /// [`Error::Shape`] if the numbers differ; [`Error::Config`] for another label.
    pub fn new(inputs: &Tensor, labels: &[f64]) -> Result<Self> {
        let (n, d) = inputs.dims2()?;
        if n != labels.len() {
            let (expected, got) = (format!("({n},)"), vec![labels.len()]);
            return Err(Error::Shape { what: "labels", expected, got });
        }
        if labels.iter().any(|label| (label.abs() - 1.0).abs() > 0.0) {
            return Err(Error::Config { field: "labels", reason: "must be +1 or -1".into() });
        }
        let signs = Tensor::from_slice(labels, (n, 1), &Device::Cpu)?;
        let signs = signs.to_dtype(inputs.dtype())?.to_device(inputs.device())?;
        let signed = inputs.detach().broadcast_mul(&signs)?;
        let turned = signed.t()?.contiguous()?;
        Ok(Self { signed, turned, d, shape: 1.0, rate: 0.01 })
    }

    /// The same with another prior of the precision, `Gamma(shape, rate)`.
    ///
    /// # Errors
    /// [`Error::Config`] unless both are positive.
    pub fn with_prior(self, shape: f64, rate: f64) -> Result<Self> {
        chains_core::config::positive("shape", shape)?;
        chains_core::config::positive("rate", rate)?;
        Ok(Self { shape, rate, ..self })
    }

    /// Dimension of `theta`, `d + 1`.
    pub fn dim(&self) -> usize {
        self.d + 1
    }

    fn parts(&self, theta: &Tensor) -> Result<(Tensor, Tensor)> {
        if theta.rank() != 2 || theta.dims()[1] != self.d + 1 {
            let (expected, got) = (format!("(b, {})", self.d + 1), theta.dims().to_vec());
            return Err(Error::Shape { what: "weights of a logistic regression", expected, got });
        }
        Ok((theta.narrow(1, 0, self.d)?.contiguous()?, theta.narrow(1, self.d, 1)?))
    }

    /// `sum_n log(1 + exp(-t_n))`, `(b, 1)`.
    fn misfit(&self, margins: &Tensor) -> Result<Tensor> {
        let (b, n) = margins.dims2()?;
        if n == 0 {
            return Ok(Tensor::zeros((b, 1), margins.dtype(), margins.device())?);
        }
        Ok(ops::softplus(&margins.neg()?)?.sum_keepdim(1)?)
    }

    /// `t_n = y_n w.x_n`, `(b, n)`.
    fn margins(&self, w: &Tensor) -> Result<Tensor> {
        if self.signed.dims()[0] == 0 {
            return Ok(Tensor::zeros((w.dims()[0], 0), w.dtype(), w.device())?);
        }
        ops::linear(w, &self.signed, None)
    }

    /// The energy from the misfit, `|w|^2`, `eta` and `alpha`, all `(b, 1)`.
    fn sum(&self, misfit: &Tensor, [square, eta, alpha]: [&Tensor; 3]) -> Result<Tensor> {
        let drift = 0.5 * self.d as f64 + self.shape;
        let prior = ((square * 0.5)? + self.rate)?.mul(alpha)?;
        Ok(((misfit + prior)? - (eta * drift)?)?.squeeze(1)?)
    }
}

/// `exp` of the clamped value, whose gradient passes the clamp.
fn precision(eta: &Tensor) -> Result<Tensor> {
    let clamped = eta.detach().clamp(-ETA, ETA)?;
    Ok((eta + (clamped - eta.detach())?)?.exp()?)
}

impl Energy for LogisticPosterior {
    fn energy(&self, theta: &Tensor) -> Result<Tensor> {
        let (w, eta) = self.parts(theta)?;
        let square = w.sqr()?.sum_keepdim(1)?;
        self.sum(&self.misfit(&self.margins(&w)?)?, [&square, &eta, &precision(&eta)?])
    }

    fn energy_and_grad(&self, theta: &Tensor) -> Result<(Tensor, Tensor)> {
        let (w, eta) = self.parts(&theta.detach())?;
        let (margins, alpha) = (self.margins(&w)?, precision(&eta)?);
        let square = w.sqr()?.sum_keepdim(1)?;
        let energy = self.sum(&self.misfit(&margins)?, [&square, &eta, &alpha])?;
        let pull = w.broadcast_mul(&alpha)?;
        let of_w = match margins.elem_count() {
            0 => pull,
            _ => (pull - ops::linear(&ops::sigmoid(&margins.neg()?)?, &self.turned, None)?)?,
        };
        let drift = 0.5 * self.d as f64 + self.shape;
        let of_eta = (((square * 0.5)? + self.rate)?.mul(&alpha)? - drift)?;
        Ok((energy, Tensor::cat(&[of_w, of_eta], 1)?))
    }
}
