//! How a convolution is cut into tasks, and the memory that a task works in.

use std::{cell::RefCell, ops::Range};

use super::{geometry::Geometry, patches::Run};
use crate::ops::kernel::fresh_pieces;

/// Buffers of a thread, kept so that no page is touched for the first time in every call.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) phases: Vec<f32>,
    pub(super) columns: Vec<f32>,
    pub(super) tile: Vec<f32>,
    pub(super) turned: Vec<f32>,
    pub(super) runs: Vec<Run>,
    pub(super) bases: Vec<usize>,
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

/// Consecutive positions of a panel within one image.
pub(super) struct Piece {
    pub(super) image: usize,
    /// Position in the map.
    pub(super) at: usize,
    /// Position in the panel.
    pub(super) lane: usize,
    pub(super) len: usize,
}

pub(super) fn pieces(panel: Range<usize>, positions: usize) -> impl Iterator<Item = Piece> {
    let start = panel.start;
    (panel.start / positions..panel.end.div_ceil(positions)).map(move |image| {
        let from = panel.start.max(image * positions);
        let to = panel.end.min((image + 1) * positions);
        Piece { image, at: from - image * positions, lane: from - start, len: to - from }
    })
}

pub(super) fn panels(total: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(size).map(move |from| from..total.min(from + size))
}
