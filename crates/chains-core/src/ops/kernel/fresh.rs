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

/// Some rows of a new tensor `(batch, channels, len)`, which one task fills from their beginnings on.
pub(crate) struct Rows<'a> {
    /// The rows of one image after the other.
    images: Vec<&'a mut [MaybeUninit<f32>]>,
    channels: usize,
    len: usize,
    /// Values that each row has so far.
    filled: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn new(images: Vec<&'a mut [MaybeUninit<f32>]>, len: usize) -> Self {
        let channels = images.first().map_or(0, |image| image.len() / len);
        let filled = vec![0; images.len() * channels];
        Self { images, channels, len, filled }
    }

    /// Images of the task.
    pub(crate) fn images(&self) -> usize {
        self.images.len()
    }

    /// Channels of the task.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Fetches the memory that the next `len` values of a row will be written to: a hint.
    pub(crate) fn expect(&self, [image, channel]: [usize; 2], len: usize) {
        let filled = self.filled[image * self.channels + channel];
        let row = &self.images[image][channel * self.len..][..self.len];
        let next = row.get(filled..(filled + len).min(self.len)).unwrap_or_default();
        for line in next.chunks(16) {
            fetch(line);
        }
    }

    /// Appends `f` of every value to a row; panics if it has no room for them.
    #[inline(always)]
    pub(crate) fn append(
        &mut self,
        [image, channel]: [usize; 2],
        values: &[f32],
        f: impl Fn(f32) -> f32,
    ) {
        assert!(channel < self.channels, "a row of the next image");
        let filled = &mut self.filled[image * self.channels + channel];
        let row = &mut self.images[image][channel * self.len..][..self.len];
        let to = &mut row[*filled..*filled + values.len()];
        to.iter_mut().zip(values).for_each(|(y, x)| {
            y.write(f(*x));
        });
        *filled += values.len();
    }
}

/// Fetches memory that is needed soon to the second-level cache: a hint.
#[inline(always)]
pub(crate) fn fetch<T>(line: &[T]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every processor of this architecture, and no access in the language's sense.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// A vector for the shape `(batch, channels, len)` in tasks of so many images and channels; `f` gets
/// the first of either and has to fill its rows.
pub(crate) fn fresh_rows(
    [batch, channels, len]: [usize; 3],
    [group, part]: [usize; 2],
    f: impl Fn(usize, usize, &mut Rows<'_>) + Sync,
) -> Vec<f32> {
    assert!(len > 0, "rows without values");
    let parts = channels.div_ceil(part);
    let write = |spare: &mut [MaybeUninit<f32>]| {
        let mut tasks: Vec<Vec<_>> = Vec::new();
        tasks.resize_with(batch.div_ceil(group) * parts, Vec::new);
        for (image, rows) in spare.chunks_mut(channels * len).enumerate() {
            for (index, rows) in rows.chunks_mut(part * len).enumerate() {
                tasks[image / group * parts + index].push(rows);
            }
        }
        tasks.into_par_iter().with_max_len(1).enumerate().for_each(|(index, images)| {
            let mut rows = Rows::new(images, len);
            f(index / parts * group, index % parts * part, &mut rows);
            assert!(rows.filled.iter().all(|filled| *filled == len), "a row is not full");
        });
    };
    // SAFETY: every row is part of a task, which has filled it from its beginning to its end.
    unsafe { initialised(batch * channels * len, write) }
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
    fn rows_are_filled_piece_by_piece_whatever_the_tasks() {
        let [batch, channels, len] = [5, 7, 10];
        for (group, part) in [(1, 7), (2, 3), (5, 1), (3, 7), (8, 9)] {
            let got = fresh_rows([batch, channels, len], [group, part], |first, channel, rows| {
                for i in 0..rows.images() {
                    for j in 0..rows.channels() {
                        let start = ((first + i) * channels + channel + j) * len;
                        let values: Vec<f32> = (start..start + len).map(|at| at as f32).collect();
                        rows.append([i, j], &values[..4], |x| x + 1.0);
                        rows.append([i, j], &[], |x| x);
                        rows.append([i, j], &values[4..], |x| x + 1.0);
                    }
                }
            });
            let want: Vec<f32> = (1..=batch * channels * len).map(|at| at as f32).collect();
            assert_eq!(got, want, "{group} {part}");
        }
    }

    #[test]
    fn rows_that_are_not_full_or_too_full_are_refused() {
        let fill = |values: usize| {
            std::panic::catch_unwind(|| {
                fresh_rows([2, 1, 3], [1, 1], |_, _, rows| {
                    rows.append([0, 0], &vec![0.0; values], |x| x);
                })
            })
        };
        assert!(fill(2).is_err() && fill(4).is_err());
        assert_eq!(fill(3).unwrap(), [0.0; 6]);
    }

    #[test]
    fn a_panic_of_the_writer_leaks_no_uninitialised_vector() {
        let result = std::panic::catch_unwind(|| {
            fresh(100, [10, 10], |start, _| assert!(start != 50, "the writer panics"))
        });
        assert!(result.is_err());
    }
}
