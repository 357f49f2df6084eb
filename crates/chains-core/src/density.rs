//! What a density answers: energies, normalised log densities, samples.

use candle_core::{Tensor, Var};

use crate::{
    autograd::value_and_gradients,
    error::{Error, Result},
    noise::Noise,
};

/// An unnormalised density `exp(-energy)`; low energy is likely.
pub trait Energy {
    /// `(b, ..)` -> `(b,)`, in nats.
    ///
    /// # Errors
    /// If `x` has not the shape that the model documents.
    fn energy(&self, x: &Tensor) -> Result<Tensor>;

    /// Energy `(b,)` and its gradient in `x`, of the shape of `x`, both detached.
    ///
    /// The default differentiates [`Energy::energy`]; override it when you know better.
    ///
    /// # Errors
    /// As [`Energy::energy`].
    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        value_and_grad(x, |x| self.energy(x))
    }
}

impl<E: Energy + ?Sized> Energy for &E {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        (**self).energy(x)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        (**self).energy_and_grad(x)
    }
}

/// A normalised log density in nats.
pub trait LogDensity {
    /// `(b, ..)` -> `(b,)`.
    ///
    /// # Errors
    /// If `x` has not the documented shape.
    fn log_prob(&self, x: &Tensor) -> Result<Tensor>;

    /// The score, the gradient of the log density in `x`, by automatic differentiation.
    ///
    /// # Errors
    /// As [`LogDensity::log_prob`].
    fn score(&self, x: &Tensor) -> Result<Tensor> {
        Ok(value_and_grad(x, |x| self.log_prob(x))?.1)
    }
}

/// A distribution that can be sampled.
pub trait Sample {
    /// `n` independent samples, `(n, ..event)`. A distribution that is itself a batch of `b`
    /// conditionals gives `(n * b, ..event)`, the conditionals varying fastest.
    ///
    /// # Errors
    /// If the device cannot hold the samples.
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor>;
}

/// `f(x)` and the gradient of its sum in `x`, detached. Rows must not interact.
///
/// # Shapes
/// `x`: `(b, ..)`; the value `(b,)`.
///
/// # Errors
/// Those of `f`; [`Error::Shape`] for another value.
pub fn value_and_grad(
    x: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Tensor, Tensor)> {
    let x = Var::from_tensor(&x.detach())?;
    let (value, grads) = value_and_gradients(|| f(x.as_tensor()))?;
    if value.rank() != 1 || value.dim(0)? != x.dim(0)? {
        return Err(Error::Shape {
            what: "density value",
            expected: format!("({},)", x.dim(0)?),
            got: value.dims().to_vec(),
        });
    }
    let grad = match grads.get(x.as_tensor()) {
        Some(grad) => grad.detach(),
        // A constant function: the graph does not reach `x`.
        None => x.as_tensor().zeros_like()?,
    };
    Ok((value, grad))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    struct Quadratic;
    impl Energy for Quadratic {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok((x.sqr()?.sum(1)? * 0.5)?)
        }
    }
    struct Flat;
    impl LogDensity for Flat {
        fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
            Ok(Tensor::zeros(x.dim(0)?, x.dtype(), x.device())?)
        }
    }

    #[test]
    fn gradient_of_a_quadratic_is_its_argument() -> Result<()> {
        let x = Tensor::new(&[[1.0_f32, -2.0], [3.0, 0.5]], &Device::Cpu)?;
        let (energy, grad) = Quadratic.energy_and_grad(&x)?;
        assert_eq!(energy.to_vec1::<f32>()?, [2.5, 4.625]);
        assert_eq!(grad.to_vec2::<f32>()?, x.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn score_of_a_constant_is_zero() -> Result<()> {
        let x = Tensor::new(&[[1.0_f32, -2.0]], &Device::Cpu)?;
        assert_eq!(Flat.score(&x)?.to_vec2::<f32>()?, [[0.0, 0.0]]);
        Ok(())
    }
}
