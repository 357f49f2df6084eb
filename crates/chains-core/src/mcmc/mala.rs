//! The Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996).

use candle_core::Tensor;

use super::{
    adapt::StepSized,
    metropolis::{accept, column, count, finite_rows, opposite, select, sum_events},
};
use crate::{
    chain::{Kernel, Step},
    density::Energy,
    error::{Error, Result},
    noise::Noise,
};

/// Langevin steps that are accepted or rejected, exact for `exp(-energy / temperature)`, a step size
/// for each chain.
///
/// With `t` the step size, `g` the gradient of the energy and `T` the temperature a step proposes
/// `x' = x - t g(x) + sqrt(2 t T) N(0, I)`, the step of [`Langevin`](super::Langevin) with
/// `noise_scale = sqrt(2 t)`, and accepts with probability `min(1, A)`,
///
/// `ln A = (energy(x) - energy(x')) / T + ln N(x; x' - t g(x'), 2 t T) - ln N(x'; x - t g(x), 2 t T)`,
///
/// the densities over all numbers of an event (VERA, the sampler in latent space, where `t` is tau and
/// `-energy` is log h). A step costs one gradient, at the proposal, as the first is known from the step
/// before. A proposal with an energy, gradient or position that is not finite is rejected and told in
/// [`MalaInfo::non_finite`].
///
/// The law of the chains is invariant for any step size that does not depend on where they have been;
/// for step sizes that adapt see [`Adapted`](super::Adapted).
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use chains_core::{Result, Seed, chain::{StepSchedule, chain}, density::Energy, mcmc::Mala};
/// struct Normal;
/// impl Energy for Normal {
///     fn energy(&self, x: &Tensor) -> Result<Tensor> {
///         Ok((x.sqr()?.sum(1)? * 0.5)?)
///     }
/// }
/// let (kernel, schedule) = (Mala::new(Normal, 0.5)?, StepSchedule { len: 20 });
/// let start = Tensor::zeros((100, 2), DType::F32, &Device::Cpu)?;
/// let mut noise = Seed::new(0).host_noise();
/// let last = chain(&kernel, start, &schedule, &mut noise)?.last().unwrap()?;
/// assert!(last.info.acceptance()? > 0.5);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mala<E> {
    energy: E,
    step_size: f64,
}

/// The state of [`Mala`].
#[derive(Clone, Debug)]
pub struct MalaState {
    /// Where the chains are, `(b, ..event)`, detached.
    pub position: Tensor,
    /// Energy there, `(b,)`; the next acceptance needs it.
    pub energy: Tensor,
    /// Gradient of the energy there, `(b, ..event)`; the next proposal begins with it.
    pub grad: Tensor,
    /// Step size of every chain, `(b,)`, the coefficient of the gradient.
    pub step_size: Tensor,
}

/// What a step of [`Mala`] tells, of every chain.
#[derive(Clone, Debug)]
pub struct MalaInfo {
    /// One where the proposal was accepted, `(b,)`, u8.
    pub accepted: Tensor,
    /// `ln A`, `(b,)`, nats; minus infinity where the proposal is not finite.
    pub log_ratio: Tensor,
    /// One where the proposal was rejected because it is not finite, `(b,)`, u8.
    pub non_finite: Tensor,
}

impl MalaInfo {
    /// Share of the chains that accepted.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn acceptance(&self) -> Result<f64> {
        Ok(count(&self.accepted)? as f64 / self.accepted.elem_count() as f64)
    }

    /// Number of the chains whose proposal is not finite.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn non_finite_count(&self) -> Result<usize> {
        count(&self.non_finite)
    }
}

impl<E: Energy> Mala<E> {
    /// A kernel whose chains begin with equal step sizes.
    ///
    /// # Errors
    /// [`Error::Config`] for a step size that is not positive and finite.
    pub fn new(energy: E, step_size: f64) -> Result<Self> {
        if !(step_size > 0.0 && step_size.is_finite()) {
            let reason = format!("{step_size} is not a positive number");
            return Err(Error::Config { field: "step_size", reason });
        }
        Ok(Self { energy, step_size })
    }

    fn at(&self, position: Tensor, step_size: Tensor) -> Result<MalaState> {
        let position = position.detach();
        let (energy, grad) = self.energy.energy_and_grad(&position)?;
        Ok(MalaState { position, energy, grad, step_size })
    }
}

impl<E: Energy> Kernel for Mala<E> {
    type State = MalaState;
    type Info = MalaInfo;

    fn init(&self, position: Tensor) -> Result<MalaState> {
        let b = position.dims().first().copied().unwrap_or(0);
        let ones = Tensor::ones(b, position.dtype(), position.device())?;
        self.at(position, (ones * self.step_size)?)
    }

    fn step(
        &self,
        state: &MalaState,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(MalaState, MalaInfo)> {
        let MalaState { position, energy, grad, step_size } = state;
        let t = at.temperature;
        if !(t > 0.0 && t.is_finite()) {
            let reason = format!("{t} is not a positive number");
            return Err(Error::Config { field: "temperature", reason });
        }
        if step_size.dims() != position.dims().get(..1).unwrap_or_default() {
            let expected = "one for each chain, (b,)".into();
            let got = step_size.dims().to_vec();
            return Err(Error::Shape { what: "step sizes", expected, got });
        }
        let size = column(step_size, position)?;
        let kicks = noise.normal(position.shape(), position.dtype(), position.device())?;
        let spread = (&size * (2.0 * t))?.sqrt()?;
        let drift = grad.broadcast_mul(&size)?;
        let proposal = ((position - drift)? + kicks.broadcast_mul(&spread)?)?;
        let end = self.at(proposal, step_size.clone())?;
        // In units of the spread the way forward is `kicks` and the way back `back - kicks`. The
        // difference of their halved squares, multiplied out, loses no digits to a small step.
        let back = (grad + &end.grad)?.broadcast_mul(&(size * (0.5 / t))?.sqrt()?)?;
        let proposals = sum_events(&(&back * (kicks - (&back * 0.5)?)?)?)?;
        let log_ratio = (((energy - &end.energy)? * (1.0 / t))? + proposals)?;
        let finite = finite_rows(&[&end.energy, &end.position, &end.grad])?;
        let never = log_ratio.ones_like()?.affine(0.0, f64::NEG_INFINITY)?;
        let log_ratio = finite.where_cond(&log_ratio, &never)?;
        let accepted = accept(&log_ratio, noise)?;
        let next = MalaState {
            position: select(&accepted, &end.position, position)?,
            energy: select(&accepted, &end.energy, energy)?,
            grad: select(&accepted, &end.grad, grad)?,
            step_size: step_size.clone(),
        };
        Ok((next, MalaInfo { accepted, log_ratio, non_finite: opposite(&finite)? }))
    }

    fn position<'a>(&self, state: &'a MalaState) -> &'a Tensor {
        &state.position
    }

    fn moved(&self, state: MalaState, position: Tensor) -> Result<MalaState> {
        self.at(position, state.step_size)
    }
}

impl<E: Energy> StepSized for Mala<E> {
    fn step_size<'a>(&self, state: &'a MalaState) -> &'a Tensor {
        &state.step_size
    }

    fn with_step_size(&self, state: MalaState, step_size: Tensor) -> MalaState {
        MalaState { step_size, ..state }
    }

    fn accepted<'a>(&self, info: &'a MalaInfo) -> &'a Tensor {
        &info.accepted
    }
}
