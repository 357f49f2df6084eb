//! What a generator without data is trained towards.

use candle_core::Tensor;
use chains_core::{
    Result,
    density::{Energy, value_and_grad},
};

/// An unnormalised log density `log u(x | context)`.
///
/// Every [`Energy`] is one, `log u = -energy`, without a context. A conditional target implements this
/// trait itself.
pub trait Target {
    /// `log u`, `(b,)`, in nats.
    ///
    /// # Shapes
    /// `x`: `(b, d)`; `context`: `(b, c)` where there is one.
    ///
    /// # Errors
    /// If the operands have not the shapes that the target documents.
    fn log_density(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor>;

    /// `log u`, `(b,)`, and its gradient in `x`, `(b, d)`, both detached.
    ///
    /// The default differentiates [`Target::log_density`]; override it when you know better.
    ///
    /// # Errors
    /// As [`Target::log_density`].
    fn log_density_and_grad(
        &self,
        x: &Tensor,
        context: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        value_and_grad(x, |x| self.log_density(x, context))
    }
}

impl<E: Energy + ?Sized> Target for E {
    fn log_density(&self, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        Ok(self.energy(x)?.neg()?)
    }

    fn log_density_and_grad(&self, x: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (energy, grad) = self.energy_and_grad(x)?;
        Ok((energy.neg()?, grad.neg()?))
    }
}

/// A log density that is a closure of tensor operations: `(b, d)` -> `(b,)`, in nats.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use chains_core::Seed;
/// use variational_annealing::{
///     Schedule,
///     ugan::{LogDensityFn, TrainState, Ugan, UganConfig, UganTraining, update},
/// };
/// // A ring of radius 2, in plain tensor operations.
/// let ring = LogDensityFn(|x: &Tensor| {
///     let radius = (x.sqr()?.sum(1)? + 1e-6)?.sqrt()?;
///     Ok(((radius - 2.0)?.sqr()? * -4.0)?)
/// });
/// let seed = Seed::new(0);
/// let model = Ugan::new(&UganConfig::small(2), seed, &Device::Cpu)?;
/// let training = UganTraining { batch_size: 32, warm_up: 5, ..UganTraining::toy(30) };
/// let mut state = TrainState::new(&model, &training)?;
/// let mut noise = seed.child("train").host_noise();
/// while !state.finished(&training) {
///     let terms = update(&model, &mut state, &training, (&ring, None), &mut noise)?;
///     assert!(terms.objective.is_finite());
/// }
/// let x = model.generator().sample(None, 100, &mut noise)?;
/// assert_eq!(x.dims(), [100, 2]);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LogDensityFn<F>(
    /// `log u`.
    pub F,
);

impl<F: Fn(&Tensor) -> Result<Tensor>> Energy for LogDensityFn<F> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((self.0)(x)?.neg()?)
    }
}
