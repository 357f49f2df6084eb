//! Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011, Figure 2) with unit mass.

use candle_core::Tensor;

use super::metropolis::{accept, column, count, finite_rows, opposite, select, sum_events};
use crate::{
    chain::{Kernel, Step},
    density::Energy,
    error::{Error, Result},
    noise::Noise,
};

/// Hamiltonian Monte Carlo on `exp(-energy / temperature)`, unit mass, a step size for each chain.
///
/// A step draws a momentum `p ~ N(0, I)`, follows [`leapfrog`] for `leapfrog_steps` steps and accepts
/// where it ends with probability `min(1, exp(-dH))`, `H = energy / temperature + |p|^2 / 2`. It costs
/// that many gradients, as the first is known from the step before. An end with an energy, gradient or
/// position that is not finite is rejected and told in [`HmcInfo::non_finite`].
///
/// The law of the chains is invariant for any step size that does not depend on where they have been;
/// for step sizes that adapt see [`Adapted`](super::Adapted).
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use chains_core::{Result, Seed, chain::{StepSchedule, chain}, density::Energy, mcmc::Hmc};
/// struct Normal;
/// impl Energy for Normal {
///     fn energy(&self, x: &Tensor) -> Result<Tensor> {
///         Ok((x.sqr()?.sum(1)? * 0.5)?)
///     }
/// }
/// let (kernel, schedule) = (Hmc::new(Normal, 10, 0.3)?, StepSchedule { len: 5 });
/// let start = Tensor::zeros((100, 2), DType::F32, &Device::Cpu)?;
/// let mut noise = Seed::new(0).host_noise();
/// let last = chain(&kernel, start, &schedule, &mut noise)?.last().unwrap()?;
/// assert_eq!(last.state.position.dims(), [100, 2]);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hmc<E> {
    energy: E,
    leapfrog_steps: usize,
    step_size: f64,
}

/// The state of [`Hmc`].
#[derive(Clone, Debug)]
pub struct HmcState {
    /// Where the chains are, `(b, ..event)`, detached.
    pub position: Tensor,
    /// Energy there, `(b,)`; the next acceptance needs it.
    pub energy: Tensor,
    /// Gradient of the energy there, `(b, ..event)`; the next trajectory begins with it.
    pub grad: Tensor,
    /// Step size of every chain, `(b,)`, the `e` of [`leapfrog`].
    pub step_size: Tensor,
}

/// What a step of [`Hmc`] tells, of every chain.
#[derive(Clone, Debug)]
pub struct HmcInfo {
    /// One where the proposal was accepted, `(b,)`, u8.
    pub accepted: Tensor,
    /// `H` at the end of the trajectory minus that at its beginning, `(b,)`, nats.
    pub energy_error: Tensor,
    /// One where the proposal was rejected because it is not finite, `(b,)`, u8.
    pub non_finite: Tensor,
}

impl HmcInfo {
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

impl<E: Energy> Hmc<E> {
    /// A kernel whose chains begin with equal step sizes.
    ///
    /// # Errors
    /// [`Error::Config`] for no leapfrog steps, or a step size that is not positive and finite.
    pub fn new(energy: E, leapfrog_steps: usize, step_size: f64) -> Result<Self> {
        if leapfrog_steps == 0 {
            let reason = "must be one or more".into();
            return Err(Error::Config { field: "leapfrog_steps", reason });
        }
        if !(step_size > 0.0 && step_size.is_finite()) {
            let reason = format!("{step_size} is not a positive number");
            return Err(Error::Config { field: "step_size", reason });
        }
        Ok(Self { energy, leapfrog_steps, step_size })
    }

    fn at(&self, position: Tensor, step_size: Tensor) -> Result<HmcState> {
        let position = position.detach();
        let (energy, grad) = self.energy.energy_and_grad(&position)?;
        Ok(HmcState { position, energy, grad, step_size })
    }
}

impl<E: Energy> Kernel for Hmc<E> {
    type State = HmcState;
    type Info = HmcInfo;

    fn init(&self, position: Tensor) -> Result<HmcState> {
        let b = position.dims().first().copied().unwrap_or(0);
        let ones = Tensor::ones(b, position.dtype(), position.device())?;
        self.at(position, (ones * self.step_size)?)
    }

    fn step(
        &self,
        state: &HmcState,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(HmcState, HmcInfo)> {
        let HmcState { position, step_size, .. } = state;
        if !(at.temperature > 0.0 && at.temperature.is_finite()) {
            let reason = format!("{} is not a positive number", at.temperature);
            return Err(Error::Config { field: "temperature", reason });
        }
        let momentum = noise.normal(position.shape(), position.dtype(), position.device())?;
        let target = AtTemperature { energy: &self.energy, inverse: 1.0 / at.temperature };
        let start = Phase {
            position: position.clone(),
            momentum,
            energy: (&state.energy * target.inverse)?,
            grad: (&state.grad * target.inverse)?,
        };
        let end = leapfrog(&target, &start, step_size, self.leapfrog_steps)?;
        let kinetic = end.kinetic()?;
        let energy_error = ((&end.energy + &kinetic)? - (&start.energy + start.kinetic()?)?)?;
        let finite = finite_rows(&[&end.energy, &kinetic, &end.position, &end.grad])?;
        let never = energy_error.ones_like()?.affine(0.0, f64::NEG_INFINITY)?;
        let log_ratio = finite.where_cond(&energy_error.neg()?, &never)?;
        let accepted = accept(&log_ratio, noise)?;
        let next = HmcState {
            position: select(&accepted, &end.position, position)?,
            energy: select(&accepted, &(&end.energy * at.temperature)?, &state.energy)?,
            grad: select(&accepted, &(&end.grad * at.temperature)?, &state.grad)?,
            step_size: step_size.clone(),
        };
        Ok((next, HmcInfo { accepted, energy_error, non_finite: opposite(&finite)? }))
    }

    fn position<'a>(&self, state: &'a HmcState) -> &'a Tensor {
        &state.position
    }

    fn moved(&self, state: HmcState, position: Tensor) -> Result<HmcState> {
        self.at(position, state.step_size)
    }
}

/// The energy divided by a temperature.
struct AtTemperature<'a, E> {
    energy: &'a E,
    inverse: f64,
}

impl<E: Energy> Energy for AtTemperature<'_, E> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((self.energy.energy(x)? * self.inverse)?)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (energy, grad) = self.energy.energy_and_grad(x)?;
        Ok(((energy * self.inverse)?, (grad * self.inverse)?))
    }
}

/// A point of phase space, for every chain.
#[derive(Clone, Debug)]
pub struct Phase {
    /// `x`, `(b, ..event)`.
    pub position: Tensor,
    /// `p`, `(b, ..event)`.
    pub momentum: Tensor,
    /// The energy at `x`, `(b,)`.
    pub energy: Tensor,
    /// Its gradient, `(b, ..event)`.
    pub grad: Tensor,
}

impl Phase {
    /// `|p|^2 / 2`, `(b,)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn kinetic(&self) -> Result<Tensor> {
        Ok((sum_events(&self.momentum.sqr()?)? * 0.5)?)
    }
}

/// The leapfrog integrator of `H = energy(x) + |p|^2 / 2` with step sizes `e`.
///
/// `p <- p - e/2 g(x)`, then `steps` times `x <- x + e p` and `p <- p - e g(x)`, the last of them
/// halved; `g` is the gradient of the energy. Reversible (with `-p` for `p` the way leads back) and
/// volume preserving, with an error of `H` of order `e^2`. The energy is evaluated once in each
/// step, the last time at the position that is returned.
///
/// # Shapes
/// `step_size`: `(b,)`.
///
/// # Errors
/// If the energy cannot be evaluated, or the shapes differ.
pub fn leapfrog<E: Energy>(
    energy: &E,
    start: &Phase,
    step_size: &Tensor,
    steps: usize,
) -> Result<Phase> {
    let mut phase = start.clone();
    let b = start.position.dims().first().copied().unwrap_or(0);
    if step_size.dims() != [b] {
        return Err(Error::Shape {
            what: "step sizes",
            expected: format!("({b},)"),
            got: step_size.dims().to_vec(),
        });
    }
    let whole = column(step_size, &phase.position)?;
    let half = (&whole * 0.5)?;
    let kick =
        |momentum: &Tensor, grad: &Tensor, size: &Tensor| momentum - grad.broadcast_mul(size)?;
    for step in 0..steps {
        let size = if step == 0 { &half } else { &whole };
        phase.momentum = kick(&phase.momentum, &phase.grad, size)?;
        phase.position = (&phase.position + phase.momentum.broadcast_mul(&whole)?)?;
        (phase.energy, phase.grad) = energy.energy_and_grad(&phase.position)?;
    }
    if steps > 0 {
        phase.momentum = kick(&phase.momentum, &phase.grad, &half)?;
    }
    Ok(phase)
}
