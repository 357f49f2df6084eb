//! New vectors without a serial pass over their memory.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// A vector of `n` elements that `f` writes in parallel tasks of `size`, `step` elements at a time:
/// it gets the index of the first element of a step and the step, zeroed.
///
/// A step is zeroed by the thread that writes it just before it does, and is then in its cache.
pub(crate) fn fresh(
    n: usize,
    [size, step]: [usize; 2],
    f: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let one = |(index, task): (usize, &mut [MaybeUninit<f32>])| {
        for (at, block) in task.chunks_mut(step).enumerate() {
            f(index * size + at * step, zeroed(block));
        }
    };
    let write = |spare: &mut [MaybeUninit<f32>]| {
        if n <= size {
            one((0, spare));
        } else {
            spare.par_chunks_mut(size).enumerate().for_each(one);
        }
    };
    // SAFETY: the steps of all tasks cover the vector, and each is zeroed.
    unsafe { initialised(n, write) }
}

/// As [`fresh`] with steps that are parallel, too; `f` gets the indices of task and step.
pub(crate) fn fresh_pieces(
    n: usize,
    [size, step]: [usize; 2],
    f: impl Fn([usize; 2], &mut [f32]) + Sync,
) -> Vec<f32> {
    let write = |spare: &mut [MaybeUninit<f32>]| {
        spare.par_chunks_mut(size).enumerate().for_each(|(i, task)| {
            let steps = task.par_chunks_mut(step).enumerate();
            steps.for_each(|(j, block)| f([i, j], zeroed(block)));
        });
    };
    // SAFETY: as above.
    unsafe { initialised(n, write) }
}

/// A vector of `n` elements.
///
/// # Safety
/// `write` must initialise all of them, or panic.
pub(super) unsafe fn initialised(
    n: usize,
    write: impl FnOnce(&mut [MaybeUninit<f32>]),
) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    write(&mut out.spare_capacity_mut()[..n]);
    // SAFETY: `n` elements were reserved, and the caller promises that they are written.
    unsafe { out.set_len(n) };
    out
}

fn zeroed(block: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    block.fill(MaybeUninit::new(0.0));
    // SAFETY: every element was just written, and both types have one layout.
    unsafe { &mut *(std::ptr::from_mut(block) as *mut [f32]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zeroed_and_written_once_in_their_place() {
        for (n, size, step) in [(0, 4, 2), (1, 4, 4), (4, 4, 3), (5, 4, 1), (1000, 70, 7)] {
            let got = fresh(n, [size, step], |start, block| {
                assert!(block.iter().all(|x| *x == 0.0) && block.len() <= step);
                block.iter_mut().enumerate().for_each(|(i, x)| *x += (start + i) as f32);
            });
            assert_eq!(got, (0..n).map(|i| i as f32).collect::<Vec<_>>(), "{n} {size}");
        }
    }

    #[test]
    fn pieces_of_tasks_are_written_once_in_their_place() {
        for (n, size, step) in [(0, 4, 2), (10, 4, 3), (12, 4, 4), (7, 100, 2)] {
            let got = fresh_pieces(n, [size, step], |[i, j], block| {
                let start = i * size + j * step;
                block.iter_mut().enumerate().for_each(|(k, x)| *x += (start + k) as f32);
            });
            assert_eq!(got, (0..n).map(|i| i as f32).collect::<Vec<_>>(), "{n} {size} {step}");
        }
    }

    #[test]
    fn a_panic_of_the_writer_leaks_no_uninitialised_vector() {
        let result = std::panic::catch_unwind(|| {
            fresh(100, [10, 10], |start, _| assert!(start != 50, "the writer panics"))
        });
        assert!(result.is_err());
    }
}
