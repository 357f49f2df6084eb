//! Tasks of batch norm: which channels a task owns, and where they are.

use std::{borrow::Cow, iter::Sum, ops::Range};

/// Elements of a row that are a task where a channel has few of them.
const TILE: usize = 256;
/// Positions up to which a channel has few of them: loops then go along the row, with sums and constants
/// for every element of it.
const FEW: usize = 16;

/// Axes `(g, b, c, s)` as the loops see them, and how many elements of a row are one channel: 1 but for
/// maps of few positions, whose elements are taken for channels.
pub(super) fn folded([g, b, c, s]: [usize; 4]) -> ([usize; 4], usize) {
    if s > 1 && s <= FEW { ([g, b, c * s, 1], s) } else { ([g, b, c, s], 1) }
}

/// The values of channels for every element that is taken for one.
pub(super) fn spread(values: &[f32], axes: [usize; 4]) -> Cow<'_, [f32]> {
    match folded(axes).1 {
        1 => Cow::Borrowed(values),
        fold => values.iter().flat_map(|value| std::iter::repeat_n(*value, fold)).collect(),
    }
}

/// Every run of `fold` sums becomes that of the channel.
#[inline(always)]
pub(super) fn fold_sums<T: Copy + Sum>(sums: &mut [T], fold: usize) {
    if fold > 1 {
        for run in sums.chunks_exact_mut(fold) {
            let sum = run.iter().copied().sum();
            run.fill(sum);
        }
    }
}

/// A group and a range of its channels.
#[derive(Clone, Copy)]
pub(super) struct Task {
    group: usize,
    from: usize,
    to: usize,
}

impl Task {
    /// All tasks of `(g, b, c, s)`, in the order of their channels.
    pub(super) fn all([g, _, c, s]: [usize; 4], fold: usize) -> Vec<Self> {
        let tile = if s == 1 { tile(fold) } else { 1 };
        let tiles = |group| {
            (0..c).step_by(tile).map(move |from| Self { group, from, to: c.min(from + tile) })
        };
        (0..g).flat_map(tiles).collect()
    }

    pub(super) fn channels(self) -> usize {
        self.to - self.from
    }

    /// Its channels among those of all groups.
    pub(super) fn constants(self, c: usize) -> Range<usize> {
        self.group * c + self.from..self.group * c + self.to
    }

    /// Its runs of `values`, an example each.
    pub(super) fn runs(
        self,
        [_, b, c, s]: [usize; 4],
        values: &[f32],
    ) -> impl Iterator<Item = &[f32]> {
        (0..b).map(move |row| {
            let start = ((self.group * b + row) * c + self.from) * s;
            &values[start..start + self.channels() * s]
        })
    }
}

/// [`TILE`] in whole channels.
fn tile(fold: usize) -> usize {
    TILE / fold * fold
}

/// The runs of every task, to be written, in the order of [`Task::all`].
pub(super) fn runs_mut(
    [_, b, c, s]: [usize; 4],
    fold: usize,
    out: &mut [f32],
) -> Vec<Vec<&mut [f32]>> {
    let tile = if s == 1 { tile(fold) } else { s };
    let each = (c * s).div_ceil(tile);
    let mut runs: Vec<Vec<&mut [f32]>> = Vec::new();
    for (row, values) in out.chunks_exact_mut(c * s).enumerate() {
        if row % b == 0 {
            runs.resize_with(runs.len() + each, || Vec::with_capacity(b));
        }
        let at = row / b * each;
        for (task, run) in runs[at..].iter_mut().zip(values.chunks_mut(tile)) {
            task.push(run);
        }
    }
    runs
}
