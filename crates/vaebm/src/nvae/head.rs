//! The law of the pixels given the latent variables.

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    ops::{self, Span},
};

use super::{
    halves,
    logistic::LogisticMixture,
    normal::{SoftNormal, soft_clamp, sum_event},
};
use crate::config::Head;

/// Least raw logarithm of the deviation in the Langevin potential of the official program.
const SCORED: f64 = -2.0;

/// A law of images of a batch. Images are in `[0, 1]`; densities are those of `y = 2 x - 1`, without the
/// factor of the scale.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// A Gaussian of continuous pixels.
    Gaussian {
        /// What pixels are drawn from and trained with.
        law: SoftNormal,
        /// `exp(max(c(s), -2)) + floor`, the deviation that the official program scores chains with.
        floored_scale: Tensor,
    },
    /// Discretised logistics of RGB levels.
    LogisticMixture(LogisticMixture),
    /// Logits of binary pixels.
    Bernoulli(Tensor),
}

impl Pixels {
    /// From the result of the decoder, of 2^`bits` levels.
    pub(crate) fn new(raw: &Tensor, head: Head, bits: u32) -> Result<Self> {
        match head {
            Head::Gaussian { floor } => {
                let [mean, log_scale] = halves(raw)?;
                let law = SoftNormal::with_floor(&mean, &log_scale, floor)?;
                let scored = ops::exp(&soft_clamp(&log_scale)?.maximum(SCORED)?)?;
                Ok(Self::Gaussian { law, floored_scale: (scored + floor)? })
            }
            Head::LogisticMixture { components } => {
                Ok(Self::LogisticMixture(LogisticMixture::new(raw, components, bits)?))
            }
            Head::Bernoulli => Ok(Self::Bernoulli(raw.clone())),
        }
    }

    /// `log p(x|z)` of images in `[0, 1]` without the outermost `margin` pixels, `(b,)`.
    ///
    /// # Errors
    /// If the image has another shape or the margin leaves nothing.
    pub fn log_prob(&self, x: &Tensor, margin: usize) -> Result<Tensor> {
        let inner = |t: &Tensor| inner(t, margin);
        match self {
            Self::Gaussian { law, .. } => {
                let law = SoftNormal { mean: inner(&law.mean)?, scale: inner(&law.scale)? };
                law.log_prob(&inner(&x.affine(2.0, -1.0)?)?)
            }
            Self::LogisticMixture(mixture) => {
                sum_event(&inner(&mixture.log_density(&x.affine(2.0, -1.0)?)?.unsqueeze(1)?)?)
            }
            Self::Bernoulli(logits) => {
                // ln sigmoid(l) x + ln sigmoid(-l) (1 - x) = l x - ln(1 + exp(l)).
                let logits = inner(logits)?;
                sum_event(&logits.mul(&inner(x)?)?.sub(&ops::softplus(&logits)?)?)
            }
        }
    }

    /// The mean image; that of the Gaussian may leave `[0, 1]`. Of a mixture it is the location of the
    /// component of the greatest weight.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn mean(&self) -> Result<Tensor> {
        match self {
            Self::Gaussian { law, .. } => Ok(law.mean.affine(0.5, 0.5)?),
            Self::LogisticMixture(mixture) => Ok(mixture.mode()?.affine(0.5, 0.5)?),
            Self::Bernoulli(logits) => ops::sigmoid(logits),
        }
    }

    /// Images in `[0, 1]` drawn from the law.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sample(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        match self {
            Self::Gaussian { law, .. } => {
                let e = noise.normal(law.mean.shape(), law.mean.dtype(), law.mean.device())?;
                Ok(law.sample(&e)?.clamp(-1.0, 1.0)?.affine(0.5, 0.5)?)
            }
            Self::LogisticMixture(mixture) => Ok(mixture.sample(noise)?.affine(0.5, 0.5)?),
            Self::Bernoulli(logits) => {
                let u = noise.uniform(logits.shape(), logits.dtype(), logits.device())?;
                Ok(u.lt(&ops::sigmoid(logits)?)?.to_dtype(logits.dtype())?)
            }
        }
    }
}

/// Without the outermost pixels.
fn inner(x: &Tensor, margin: usize) -> Result<Tensor> {
    if margin == 0 {
        return Ok(x.clone());
    }
    let (_, c, h, w) = x.dims4()?;
    let [rows, columns] = [h, w].map(|n| n.saturating_sub(2 * margin));
    ops::part(x, [Span::new(0, c), Span::new(margin, rows), Span::new(margin, columns)])
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use chains_core::Seed;

    use super::*;

    fn normal(label: &str, shape: &[usize]) -> Tensor {
        let mut noise = Seed::new(0).child(label).host_noise();
        noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
    }

    fn scalar(x: &Tensor) -> f64 {
        x.sum_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_gaussian_has_its_density_and_a_floor_for_scores() -> Result<()> {
        let raw = (normal("raw", &[2, 6, 4, 4]) * 3.0)?;
        let pixels = Pixels::new(&raw, Head::Gaussian { floor: 0.01 }, 8)?;
        let x = normal("x", &[2, 3, 4, 4]);
        let Pixels::Gaussian { law, floored_scale } = &pixels else { panic!("another law") };
        let (m, s, scored) = (&law.mean, &law.scale, floored_scale);
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let [raws, ms, ss, scored] = [&raw, m, s, scored].map(flat);
        let mut sum = 0.0;
        for (at, x) in flat(&x).iter().enumerate() {
            let (image, place) = (at / 48, at % 48);
            let clamp = |v: f64| 5.0 * (v / 5.0).tanh();
            let c = clamp(raws[image * 96 + 48 + place]);
            let (mean, scale) = (clamp(raws[image * 96 + place]), c.exp() + 0.01);
            assert!((ms[at] - mean).abs() < 1e-12 && (ss[at] - scale).abs() < 1e-12 * scale);
            assert!((scored[at] - c.max(-2.0).exp() - 0.01).abs() < 1e-12 * scored[at]);
            assert!(scored[at] > 0.145_335);
            let e = (2.0 * x - 1.0 - mean) / scale;
            sum -= 0.5 * e * e + 0.5 * (2.0 * std::f64::consts::PI).ln() + scale.ln();
        }
        assert!((scalar(&pixels.log_prob(&x, 0)?) - sum).abs() < 1e-9 * sum.abs());
        // A margin leaves the inner pixels.
        let [m, s, x4] = [m, s, &x].map(|t| t.narrow(2, 1, 2).unwrap().narrow(3, 1, 2).unwrap());
        let inner = SoftNormal { mean: m.contiguous()?, scale: s.contiguous()? };
        let want = scalar(&inner.log_density(&x4.contiguous()?.affine(2.0, -1.0)?)?);
        assert!((scalar(&pixels.log_prob(&x, 1)?) - want).abs() < 1e-9 * want.abs());
        Ok(())
    }

    #[test]
    fn binary_pixels_have_probabilities_that_sum_to_one() -> Result<()> {
        let logits = (normal("raw", &[1, 1, 1, 3]) * 4.0)?;
        let pixels = Pixels::new(&logits, Head::Bernoulli, 1)?;
        let mut total = 0.0;
        for code in 0..8_u8 {
            let bits: Vec<f64> = (0..3).map(|bit| f64::from(code >> bit & 1)).collect();
            let x = Tensor::from_vec(bits, (1, 1, 1, 3), &Device::Cpu)?;
            total += scalar(&pixels.log_prob(&x, 0)?).exp();
        }
        assert!((total - 1.0).abs() < 1e-12, "{total}");
        let mut noise = Seed::new(3).host_noise();
        let many = Pixels::Bernoulli(Tensor::full(1.0, (1, 1, 100, 100), &Device::Cpu)?);
        let mean = scalar(&many.sample(&mut noise)?) / 1e4;
        let p = 1.0 / (1.0 + (-1.0_f64).exp());
        assert!((mean - p).abs() < 5.0 * (p * (1.0 - p) / 1e4).sqrt(), "{mean}");
        Ok(())
    }
}
