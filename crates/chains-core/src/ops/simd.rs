//! Loops compiled for the widest vectors of the machine that runs them.

/// Runs `f` compiled for the best instruction set that the processor has.
///
/// What `f` calls takes part only if it is inlined: mark it `#[inline(always)]`. `f` has to change
/// what it borrows; it is called once.
#[inline(always)]
pub(super) fn vectorised(f: impl FnMut()) {
    pulp::Arch::new().dispatch(Vectorised(f));
}

// A closure handed to `pulp` itself is called through a function that is not always inlined.
struct Vectorised<F>(F);

impl<F: FnMut()> pulp::WithSimd for Vectorised<F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(mut self, _: S) {
        (self.0)();
    }
}
