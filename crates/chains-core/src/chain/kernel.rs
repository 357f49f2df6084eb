//! Kernels as pure step functions, and the iterator that runs them.

use candle_core::Tensor;

use super::Step;
use crate::{
    error::{Error, Result},
    host,
    noise::{HostNoise, Noise},
    seed::Seed,
};

/// A Markov kernel on a batch of chains. The leading axis numbers chains.
pub trait Kernel {
    /// What the next step needs; documented at each kernel.
    type State: Clone;
    /// What a person debugging would ask for.
    type Info;

    /// The state of chains that begin at `position`, `(b, ..event)`.
    ///
    /// # Errors
    /// If the model cannot be evaluated there.
    fn init(&self, position: Tensor) -> Result<Self::State>;

    /// One step. The new position is detached.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn step(
        &self,
        state: &Self::State,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(Self::State, Self::Info)>;

    /// Where the chains are, `(b, ..event)`.
    fn position<'a>(&self, state: &'a Self::State) -> &'a Tensor;

    /// The same state at another position of the same shape, for clamping.
    ///
    /// # Errors
    /// If the model cannot be evaluated there.
    fn moved(&self, _state: Self::State, position: Tensor) -> Result<Self::State> {
        self.init(position)
    }
}

/// When which transition runs.
pub trait Schedule {
    /// The transition after `index` steps.
    fn at(&self, index: usize) -> Step;
    /// Number of steps; `None` goes on for ever.
    fn len(&self) -> Option<usize>;
    /// Is there no step at all?
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// One element of a chain.
#[derive(Clone, Debug)]
pub struct Draw<S, I> {
    /// Steps made before this one.
    pub index: usize,
    /// The state after the step.
    pub state: S,
    /// What the step tells.
    pub info: I,
}

/// The chains that start at `start`, as an iterator over their steps.
///
/// Thinning is `step_by`, burn-in `skip`, an early stop `take_while`. After an error the iterator
/// ends. The start itself is not yielded.
///
/// # Errors
/// If the kernel cannot begin at `start`.
pub fn chain<'a, K: Kernel>(
    kernel: &'a K,
    start: Tensor,
    schedule: &'a dyn Schedule,
    noise: &'a mut dyn Noise,
) -> Result<Chain<'a, K>> {
    Ok(Chain { state: Some(kernel.init(start)?), kernel, schedule, noise, index: 0 })
}

/// See [`chain`].
pub struct Chain<'a, K: Kernel> {
    kernel: &'a K,
    schedule: &'a dyn Schedule,
    noise: &'a mut dyn Noise,
    /// `None` after an error.
    state: Option<K::State>,
    index: usize,
}

impl<K: Kernel> Iterator for Chain<'_, K> {
    type Item = Result<Draw<K::State, K::Info>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.schedule.len().is_some_and(|len| self.index >= len) {
            return None;
        }
        let state = self.state.take()?;
        let index = self.index;
        self.index += 1;
        match self.kernel.step(&state, self.schedule.at(index), self.noise) {
            Ok((state, info)) => {
                self.state = Some(state.clone());
                Some(Ok(Draw { index, state, info }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// The contract of every kernel, for tests: shape and type kept, input untouched, the same noise
/// gives the same bits, one chain of four steps equals two of two with the state carried over, the
/// result is detached and finite.
///
/// # Errors
/// [`Error::Config`] naming the promise that is broken, or an error of the kernel.
pub fn check_kernel<K: Kernel>(kernel: &K, start: &Tensor, seed: Seed) -> Result<()> {
    let run = |state: &K::State, from: usize, to: usize, noise: &mut HostNoise| {
        let mut state = state.clone();
        for index in from..to {
            state = kernel.step(&state, Step::at(index), noise)?.0;
        }
        Ok::<_, Error>(state)
    };
    let ensure = |holds: bool, promise: &str| {
        if holds {
            return Ok(());
        }
        Err(Error::Config { field: "kernel", reason: format!("broken promise: {promise}") })
    };
    let before = host::values(start)?;
    let init = kernel.init(start.clone())?;
    let mut noise = seed.host_noise();
    let whole = run(&init, 0, 4, &mut noise)?;
    let position = kernel.position(&whole);
    ensure(position.dims() == start.dims(), "the shape is kept")?;
    ensure(position.dtype() == start.dtype(), "the type is kept")?;
    ensure(!position.track_op(), "the result is detached")?;
    ensure(host::values(position)?.iter().all(|x| x.is_finite()), "the result is finite")?;
    ensure(host::values(start)? == before, "the input is untouched")?;
    let again = run(&init, 0, 4, &mut seed.host_noise())?;
    ensure(
        host::values(kernel.position(&again))? == host::values(position)?,
        "the same noise gives the same bits",
    )?;
    let mut noise = seed.host_noise();
    let half = run(&init, 0, 2, &mut noise)?;
    let carried = run(&half, 2, 4, &mut HostNoise::restore(&noise.state()))?;
    ensure(
        host::values(kernel.position(&carried))? == host::values(position)?,
        "two halves make the whole",
    )
}
