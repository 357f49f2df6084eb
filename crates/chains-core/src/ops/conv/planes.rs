//! Planes spread over threads, and on each the widest vectors of the machine.

use pulp::{Simd, WithSimd};

use crate::ops::kernel::fresh;

/// Work on planes with vectors.
pub(super) trait Work: Sync {
    /// Writes the results of the planes from `first` on.
    fn run<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]);
}

/// The results of so many planes, `len` values each; a task and a call of the work are of `cut` planes.
pub(super) fn tasks(work: &impl Work, [planes, len]: [usize; 2], cut: [usize; 2]) -> Vec<f32> {
    fresh(planes * len, cut.map(|planes| planes * len), |start, out| {
        pulp::Arch::new().dispatch(Task { work, first: start / len, out });
    })
}

struct Task<'a, W> {
    work: &'a W,
    first: usize,
    out: &'a mut [f32],
}

impl<W: Work> WithSimd for Task<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.work.run(simd, self.first, self.out);
    }
}
