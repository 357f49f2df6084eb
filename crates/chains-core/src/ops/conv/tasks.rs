//! How a convolution is cut into tasks, and the memory that a task works in.

use std::{cell::RefCell, ops::Range};

use super::{
    geometry::Geometry,
    patches::{Patches, Run, SLACK},
};
use crate::ops::kernel::{fresh_pieces, patch_kernel};

/// Buffers of a thread, kept so that no page is touched for the first time in every call.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) phases: Vec<f32>,
    pub(super) columns: Vec<f32>,
    pub(super) tile: Vec<f32>,
    pub(super) turned: Vec<f32>,
    pub(super) runs: Vec<Run>,
    pub(super) bases: Vec<usize>,
    pub(super) pieces: Vec<Piece>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    /// Lends the buffers of this thread; `f` must not wait for other tasks.
    pub(super) fn with(f: impl FnOnce(&mut Self)) {
        SCRATCH.with_borrow_mut(f);
    }
}

/// The first `len` values of a buffer from a cache line on, so that no vector crosses two.
pub(super) fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    const LINE: usize = 64;
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0.0);
    }
    let start = buffer.as_ptr().align_offset(LINE).min(LINE);
    &mut buffer[start..start + len]
}

/// How the work is cut: a task has `group` images and, of a few images, `part` channels.
pub(super) struct Tasks {
    pub(super) group: usize,
    pub(super) part: usize,
}

impl Tasks {
    /// `channels` of the result that may be divided.
    pub(super) fn new(g: &Geometry, channels: usize) -> Self {
        let group = (512 / g.positions()).clamp(1, g.batch.div_ceil(8));
        let work = g.batch * g.map[0] * g.depth() * g.positions();
        let part = if g.batch < 4 && work > 1 << 22 { channels.div_ceil(4) } else { channels };
        Self { group, part }
    }

    /// The result `(batch, channels, len)`, from `f(first image, first channel, result)` for pieces
    /// that hold zeros.
    pub(super) fn run(
        &self,
        [batch, channels, len]: [usize; 3],
        f: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Vec<f32> {
        // A part below the whole comes with single images only, see `new`.
        let piece = if self.part < channels { self.part } else { self.group * channels };
        let sizes = [self.group * channels * len, piece * len];
        fresh_pieces(batch * channels * len, sizes, |[i, j], out| {
            f(i * self.group, j * self.part, out);
        })
    }
}

/// How the maps of a convolution are computed, see [`super::forward`].
pub(super) struct Plan {
    /// Without copies of patches.
    pub(super) in_place: bool,
    /// Images of a task.
    pub(super) group: usize,
    /// Channels of a task.
    pub(super) part: usize,
}

/// Bytes of weights that stay in the second-level cache.
const RESIDENT: usize = 1 << 19;
/// Channels that a pointwise convolution reads where they lie: each is in lines of the cache of its
/// own, of which no other tap reads.
const FEW_CHANNELS: usize = 96;
/// Idle products with a vector of patches that are worth less than its copy.
const FEW_IDLE: usize = 3;
/// Products with a vector of patches that take as long as its copy from afar.
const COPY: f64 = 16.0;
/// Tasks that keep a few threads busy.
const TASKS: usize = 8;

impl Plan {
    pub(super) fn new(g: &Geometry, patches: &Patches) -> Self {
        let ([o, ..], positions) = (g.map, g.positions());
        // Products with lanes of no map, in units of the products of a vector with one weight.
        let (_, walked) = patches.walk();
        let idle = (walked.next_multiple_of(SLACK) - positions) * o;
        let in_place = patch_kernel()
            && 4 * o * g.depth() <= 2 * RESIDENT
            && (g.taps() > 1 || g.image[0] <= FEW_CHANNELS)
            && idle <= FEW_IDLE * positions;
        let Tasks { group, part } =
            if in_place { Tasks::new(g, g.map[0]) } else { Self::balanced(g) };
        Self { in_place, group, part }
    }

    /// The cut that costs least: idle lanes, copies made again for each part, weights that come from
    /// afar, threads without work.
    fn balanced(g: &Geometry) -> Tasks {
        let (o, positions) = (g.map[0], g.positions());
        let work = g.batch * o * g.depth() * positions;
        let wanted = (work >> 20).clamp(1, TASKS);
        let (mut least, mut best) = (f64::INFINITY, Tasks { group: 1, part: o });
        for group in (0..usize::BITS).map(|bit| 1 << bit).take_while(|group| *group < 2 * g.batch) {
            let groups = g.batch.div_ceil(group);
            let parts = wanted.div_ceil(groups).min(o / 64).max(1);
            let part = o.div_ceil(parts).next_multiple_of(8).min(o);
            let tasks = groups * o.div_ceil(part);
            let lanes = (group * positions).next_multiple_of(SLACK) as f64;
            let mut cost = lanes / (group * positions) as f64 + COPY / part as f64;
            if 4 * part * g.depth() > RESIDENT {
                cost += 6.0 / lanes.min(288.0);
            }
            cost *= (wanted as f64 / tasks as f64).max(1.0);
            cost *= (groups * group) as f64 / g.batch as f64;
            if cost < least {
                (least, best) = (cost, Tasks { group, part });
            }
        }
        best
    }
}

/// Consecutive positions of a panel within one image.
pub(super) struct Piece {
    pub(super) image: usize,
    /// Position in the panel.
    pub(super) lane: usize,
    pub(super) len: usize,
}

/// The pieces of a panel of maps of so many positions, each with its first position in the map.
pub(super) fn pieces(
    panel: Range<usize>,
    positions: usize,
) -> impl Iterator<Item = (usize, Piece)> {
    let start = panel.start;
    (panel.start / positions..panel.end.div_ceil(positions)).map(move |image| {
        let from = panel.start.max(image * positions);
        let to = panel.end.min((image + 1) * positions);
        (from - image * positions, Piece { image, lane: from - start, len: to - from })
    })
}

pub(super) fn panels(total: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(size).map(move |from| from..total.min(from + size))
}
