//! Langevin steps without an accept step: SGLD, persistent chains, short runs.

use candle_core::Tensor;

use super::metropolis::{count, finite_rows, opposite, select};
use crate::{
    chain::{Kernel, Step},
    density::Energy,
    error::{Error, Result},
    noise::Noise,
};

/// Unadjusted Langevin steps on an energy, with two coefficients that need not match.
///
/// `x' = x - step_size grad(x) + noise_scale sqrt(temperature) N(0, I)`, `grad` the gradient of the
/// energy (VERA, equation 16, where `step_size = noise_scale^2 / 2`; joint energy models take 1 and
/// 0.01). A step costs one gradient and nothing is computed at the last position. Every position is
/// moved to, finite or not: [`LangevinInfo::non_finite`] tells.
///
/// For a matched pair the law tends to `exp(-energy / temperature)` as the step goes to zero. On a
/// quadratic energy of variance `v` the chain settles at
/// `noise_scale^2 temperature / (2 step_size - step_size^2 / v)`, with a matched pair at
/// `temperature v / (1 - noise_scale^2 / (4 v))`, and has no law at all from `step_size = 2 v` on.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use chains_core::{Result, Seed, chain::{StepSchedule, chain}, density::Energy, mcmc::Langevin};
/// struct Normal;
/// impl Energy for Normal {
///     fn energy(&self, x: &Tensor) -> Result<Tensor> {
///         Ok((x.sqr()?.sum(1)? * 0.5)?)
///     }
/// }
/// let (kernel, schedule) = (Langevin::matched(Normal, 0.1)?, StepSchedule { len: 20 });
/// let start = Tensor::zeros((100, 2), DType::F32, &Device::Cpu)?;
/// let mut noise = Seed::new(0).host_noise();
/// let last = chain(&kernel, start, &schedule, &mut noise)?.last().unwrap()?;
/// assert_eq!(last.info.non_finite_count()?, 0);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Langevin<E> {
    energy: E,
    step_size: f64,
    noise_scale: f64,
    range: Option<(f64, f64)>,
}

/// The state of [`Langevin`].
#[derive(Clone, Debug)]
pub struct LangevinState {
    /// Where the chains are, `(b, ..event)`, detached.
    pub position: Tensor,
}

/// What a step of [`Langevin`] tells, of every chain.
#[derive(Clone, Debug)]
pub struct LangevinInfo {
    /// Energy at the position that was left, `(b,)`.
    pub energy: Tensor,
    /// Gradient of the energy there, `(b, ..event)`.
    pub grad: Tensor,
    /// One where that energy, its gradient or the new position is not finite, `(b,)`, u8.
    pub non_finite: Tensor,
}

impl LangevinInfo {
    /// Number of the chains that are not finite.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn non_finite_count(&self) -> Result<usize> {
        count(&self.non_finite)
    }
}

impl<E: Energy> Langevin<E> {
    /// A kernel with the coefficients of the gradient and of the noise as its formula writes them.
    ///
    /// A `noise_scale` of zero is gradient descent.
    ///
    /// # Errors
    /// [`Error::Config`] for a step size that is not positive and finite, or a noise scale that is
    /// negative or not finite.
    pub fn new(energy: E, step_size: f64, noise_scale: f64) -> Result<Self> {
        if !(step_size > 0.0 && step_size.is_finite()) {
            let reason = format!("{step_size} is not a positive number");
            return Err(Error::Config { field: "step_size", reason });
        }
        if !(noise_scale >= 0.0 && noise_scale.is_finite()) {
            let reason = format!("{noise_scale} is not zero or a positive number");
            return Err(Error::Config { field: "noise_scale", reason });
        }
        Ok(Self { energy, step_size, noise_scale, range: None })
    }

    /// The kernel of Langevin's diffusion: `step_size = noise_scale^2 / 2`.
    ///
    /// # Errors
    /// [`Error::Config`] for a noise scale that is not positive and finite.
    pub fn matched(energy: E, noise_scale: f64) -> Result<Self> {
        let step_size = 0.5 * noise_scale * noise_scale;
        if !(noise_scale > 0.0 && step_size > 0.0 && step_size.is_finite()) {
            let reason = format!("{noise_scale} is not a positive number with a finite square");
            return Err(Error::Config { field: "noise_scale", reason });
        }
        Self::new(energy, step_size, noise_scale)
    }

    /// The kernel that puts every number of a new position back into `[low, high]`, for pixels. Rows
    /// that are not finite are left as they are.
    ///
    /// # Errors
    /// [`Error::Config`] unless `low < high` and both are finite.
    pub fn clamped(self, low: f64, high: f64) -> Result<Self> {
        if !(low < high && low.is_finite() && high.is_finite()) {
            let reason = format!("[{low}, {high}] must be finite and not empty");
            return Err(Error::Config { field: "range", reason });
        }
        Ok(Self { range: Some((low, high)), ..self })
    }
}

impl<E: Energy> Kernel for Langevin<E> {
    type State = LangevinState;
    type Info = LangevinInfo;

    fn init(&self, position: Tensor) -> Result<LangevinState> {
        Ok(LangevinState { position: position.detach() })
    }

    /// As the formula has it; a temperature of zero is gradient descent.
    fn step(
        &self,
        state: &LangevinState,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(LangevinState, LangevinInfo)> {
        let position = &state.position;
        if !(at.temperature >= 0.0 && at.temperature.is_finite()) {
            let reason = format!("{} is not zero or a positive number", at.temperature);
            return Err(Error::Config { field: "temperature", reason });
        }
        let scale = self.noise_scale * at.temperature.sqrt();
        let kicks = noise.normal(position.shape(), position.dtype(), position.device())?;
        let (energy, grad) = self.energy.energy_and_grad(position)?;
        let moved = ((position - (&grad * self.step_size)?)? + (kicks * scale)?)?.detach();
        let finite = finite_rows(&[&energy, &grad, &moved])?;
        let position = match self.range {
            // Not every device's clamp keeps NaN.
            Some((low, high)) => select(&finite, &moved.clamp(low, high)?, &moved)?,
            None => moved,
        };
        let info = LangevinInfo { energy, grad, non_finite: opposite(&finite)? };
        Ok((LangevinState { position }, info))
    }

    fn position<'a>(&self, state: &'a LangevinState) -> &'a Tensor {
        &state.position
    }
}
