//! The discretised mixture of logistics of the original NVAE (Salimans and others 2017, PixelCNN++,
//! section 2.1, with a mixture's weights per pixel and colours one after the other).

use candle_core::{DType, Shape, Tensor};
use chains_core::{Noise, Result, ops};

/// Least logarithm of a logistic's scale.
const LEAST: f64 = -7.0;
/// Below this level in `[-1, 1]` the mass reaches to minus infinity.
const LEFT: f64 = -0.999;
/// Above this level the mass reaches to infinity, in the published program. Of 8 bits that is the level
/// 254, too: probabilities add up to more than one.
pub const OFFICIAL_EDGE: f64 = 0.99;
/// The same for the last level alone.
pub const EXACT_EDGE: f64 = 0.999;
/// Mass below which the density in the middle stands for it.
const SMALL: f64 = 1e-5;
/// What probabilities are kept above before a logarithm.
const TINY: f64 = 1e-12;

/// A law of the levels of RGB images, in `[-1, 1]`.
///
/// `100 = 10 + 3 (10 + 10 + 10)` channels for ten components: weights, then for each colour means,
/// logarithms of scales and coefficients `c = tanh(..)` by which the means of green and blue follow the
/// colours before them: `m_G + c_0 R`, `m_B + c_1 R + c_2 G`.
#[derive(Clone, Debug)]
pub struct LogisticMixture {
    /// `(b, k, h, w)`.
    logits: Tensor,
    /// `(b, 3, k, h, w)`.
    means: Tensor,
    /// `(b, 3, k, h, w)`.
    log_scales: Tensor,
    /// `(b, 3, k, h, w)`.
    coefficients: Tensor,
    levels: f64,
    edge: f64,
}

impl LogisticMixture {
    /// From the result of a decoder, of 2^`bits` levels, with the edge of the published program.
    ///
    /// # Shapes
    /// `raw`: `(b, 10 k, h, w)`.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn new(raw: &Tensor, components: usize, bits: u32) -> Result<Self> {
        let (b, _, h, w) = raw.dims4()?;
        let k = components;
        let logits = raw.narrow(1, 0, k)?.contiguous()?;
        let rest = raw.narrow(1, k, 9 * k)?.contiguous()?.reshape((b, 3, 3 * k, h, w))?;
        let part = |at: usize| rest.narrow(2, at * k, k)?.contiguous();
        Ok(Self {
            logits,
            means: part(0)?,
            log_scales: part(1)?.maximum(LEAST)?,
            coefficients: ops::tanh(&part(2)?)?,
            levels: f64::from(2_u32.pow(bits.min(16)) - 1),
            edge: OFFICIAL_EDGE,
        })
    }

    /// The same with another edge, see [`OFFICIAL_EDGE`] and [`EXACT_EDGE`].
    #[must_use]
    pub fn with_edge(self, edge: f64) -> Self {
        Self { edge, ..self }
    }

    /// The logarithm of the probability of every pixel.
    ///
    /// # Shapes
    /// `y`: `(b, 3, h, w)` in `[-1, 1]`; the result `(b, h, w)`.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn log_density(&self, y: &Tensor) -> Result<Tensor> {
        let colours = self.log_mass(y)?.sum(1)?;
        let highest = self.logits.detach().max_keepdim(1)?;
        let shifted = self.logits.broadcast_sub(&highest)?;
        let log_weights = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?;
        let terms = (colours + log_weights)?;
        let highest = terms.detach().max_keepdim(1)?;
        let sum = terms.broadcast_sub(&highest)?.exp()?.sum(1)?.log()?;
        Ok((sum + highest.squeeze(1)?)?)
    }

    /// Of every component and colour, `(b, 3, k, h, w)`.
    fn log_mass(&self, y: &Tensor) -> Result<Tensor> {
        let y = y.unsqueeze(2)?.broadcast_as(self.means.shape())?.contiguous()?;
        let centred = (&y - self.shifted_means(&y)?)?;
        let inverse = self.log_scales.neg()?.exp()?;
        let delta = 1.0 / self.levels;
        let [upper, lower] = [delta, -delta];
        let upper = ((&centred + upper)? * &inverse)?;
        let lower = ((&centred + lower)? * &inverse)?;
        let middle = (&centred * &inverse)?;
        let mass = (ops::sigmoid(&upper)? - ops::sigmoid(&lower)?)?;
        // ln sigmoid(v) = v - softplus(v), ln(1 - sigmoid(v)) = -softplus(v).
        let left = (&upper - ops::softplus(&upper)?)?;
        let right = ops::softplus(&lower)?.neg()?;
        let softplus = ops::softplus(&middle)?;
        let density = ((&middle - &self.log_scales)? - (softplus * 2.0)?)?;
        let density = (density - (self.levels / 2.0).ln())?;
        let within = mass.gt(SMALL)?.where_cond(&mass.maximum(TINY)?.log()?, &density)?;
        let within = y.gt(self.edge)?.where_cond(&right, &within)?;
        Ok(y.lt(LEFT)?.where_cond(&left, &within)?)
    }

    /// The means of green and blue given the colours before them, `(b, 3, k, h, w)`.
    fn shifted_means(&self, y: &Tensor) -> Result<Tensor> {
        let colour = |t: &Tensor, at: usize| t.narrow(1, at, 1);
        let [c0, c1, c2] = [0, 1, 2].map(|at| colour(&self.coefficients, at));
        let (red, green) = (colour(y, 0)?, colour(y, 1)?);
        let of_green = (colour(&self.means, 1)? + (c0? * &red)?)?;
        let of_blue = ((colour(&self.means, 2)? + (c1? * &red)?)? + (c2? * &green)?)?;
        Ok(Tensor::cat(&[&colour(&self.means, 0)?, &of_green, &of_blue], 1)?)
    }

    /// Of a component chosen for every pixel, `(b, k, h, w)` of zeros and ones: means, logarithms of scales
    /// and coefficients, `(b, 3, h, w)`.
    fn chosen(&self, choice: &Tensor) -> Result<[Tensor; 3]> {
        let choice = choice.unsqueeze(1)?;
        let of = |t: &Tensor| t.broadcast_mul(&choice)?.sum(2);
        Ok([of(&self.means)?, of(&self.log_scales)?, of(&self.coefficients)?])
    }

    /// One where a score is the greatest of its pixel.
    fn greatest(scores: &Tensor) -> Result<Tensor> {
        Ok(scores.broadcast_eq(&scores.max_keepdim(1)?)?.to_dtype(scores.dtype())?)
    }

    /// The colours one after the other from location and spread, clamped to `[-1, 1]`.
    fn colours([means, spread, coefficients]: [&Tensor; 3]) -> Result<Tensor> {
        let of = |t: &Tensor, at: usize| t.narrow(1, at, 1);
        let at = |mean: Tensor, colour: usize| -> Result<Tensor> {
            Ok((mean + of(spread, colour)?)?.clamp(-1.0, 1.0)?)
        };
        let red = at(of(means, 0)?, 0)?;
        let green = at((of(means, 1)? + (of(coefficients, 0)? * &red)?)?, 1)?;
        let blue = (of(means, 2)? + (of(coefficients, 1)? * &red)?)?;
        let blue = at((blue + (of(coefficients, 2)? * &green)?)?, 2)?;
        Ok(Tensor::cat(&[&red, &green, &blue], 1)?)
    }

    /// The location of the component of the greatest weight, `(b, 3, h, w)` in `[-1, 1]`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn mode(&self) -> Result<Tensor> {
        let [means, _, coefficients] = self.chosen(&Self::greatest(&self.logits)?)?;
        Self::colours([&means, &means.zeros_like()?, &coefficients])
    }

    /// A draw in `[-1, 1]`: a component by Gumbel noise, then logistic noise, colour after colour.
    ///
    /// # Shapes
    /// `(b, 3, h, w)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sample(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        let mut uniform = |shape: &Shape, dtype: DType| -> Result<Tensor> {
            let u = noise.uniform(shape, dtype, self.logits.device())?;
            // As in the published program away from both ends.
            Ok(u.affine(1.0 - 2e-5, 1e-5)?)
        };
        let dtype = self.logits.dtype();
        let gumbel = uniform(self.logits.shape(), dtype)?.log()?.neg()?.log()?.neg()?;
        let [means, log_scales, coefficients] =
            self.chosen(&Self::greatest(&(&self.logits + gumbel)?)?)?;
        let u = uniform(means.shape(), dtype)?;
        let logit = (u.log()? - u.affine(-1.0, 1.0)?.log()?)?;
        Self::colours([&means, &(log_scales.exp()? * logit)?, &coefficients])
    }
}

#[cfg(test)]
mod tests;
