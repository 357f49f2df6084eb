//! Generation as a loop that shows every step.

use candle_core::Tensor;

use super::{GenerationInfo, GenerationState, Kernel, Schedule, chain};
use crate::{
    dist::Law,
    error::{Error, Result},
    noise::Noise,
};

/// One step of generated chains.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The drawn states, `(n, D)`: for likelihood-type scores.
    pub position: Tensor,
    /// The means they were drawn around, `(n, D)`: for pictures and Parzen windows.
    pub mean: Tensor,
}

/// Runs generating chains from `start`; `visit` sees every step, from 0, and the last one is
/// returned. Memory does not grow with the number of steps.
///
/// # Errors
/// Of the kernel and of `visit`; [`Error::Config`] if there is no step.
pub fn generate<K, D>(
    kernel: &K,
    start: Tensor,
    schedule: &dyn Schedule,
    noise: &mut dyn Noise,
    mut visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated>
where
    K: Kernel<State = GenerationState, Info = GenerationInfo<D>>,
    D: Law,
{
    let mut last = None;
    for draw in chain(kernel, start, schedule, noise)? {
        let draw = draw?;
        let mean = draw.info.conditional.centre()?;
        let generated = Generated { position: draw.state.position, mean };
        visit(draw.index, &generated)?;
        last = Some(generated);
    }
    last.ok_or_else(|| Error::Config { field: "steps", reason: "must be at least 1".into() })
}
