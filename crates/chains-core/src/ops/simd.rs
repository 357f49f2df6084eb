//! Loops compiled for the widest vectors of the machine that runs them.

/// Runs `f` compiled for the best instruction set that the processor has.
///
/// What `f` calls takes part only if it is inlined: mark it `#[inline(always)]`. `f` has to change
/// what it borrows; it is called once.
#[inline(always)]
pub fn vectorised(f: impl FnMut()) {
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

/// The sum of a function of the elements, in as many partial sums as the widest vectors have lanes.
#[inline(always)]
pub(super) fn lane_sum<const N: usize>(operands: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    const LANES: usize = 16;
    let len = operands[0].len();
    let operands = operands.map(|values| &values[..len]);
    let mut lanes = [0_f32; LANES];
    let whole = len - len % LANES;
    for at in (0..whole).step_by(LANES) {
        let runs = operands.map(|values| &values[at..at + LANES]);
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane += f(runs.map(|run| run[i]));
        }
    }
    let rest: f32 = (whole..len).map(|i| f(operands.map(|values| values[i]))).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The largest of some numbers; a NaN among them is left out.
#[inline(always)]
pub(super) fn lane_max(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut runs = values.chunks_exact(LANES);
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for run in &mut runs {
        lanes.iter_mut().zip(run).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    lanes.iter().chain(runs.remainder()).copied().fold(f32::NEG_INFINITY, larger)
}
