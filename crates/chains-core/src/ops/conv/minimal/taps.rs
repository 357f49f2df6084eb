//! The transforms of the taps.

use pulp::{Simd, WithSimd};

use super::{
    LANES,
    scheme::{folded, got, put, sums},
};
use crate::ops::kernel::{strips, transpose};

/// Taps of a kernel.
pub(super) const TAPS: usize = 16;
/// Values of the taps of a vector of channels.
pub(super) const VECTORS: usize = TAPS * LANES;

/// Matrices of so many columns, one for each product: cut into strips of columns, each of which holds its
/// rows one after the other.
pub(super) struct Columns {
    /// Where the strip of every vector begins, its width, and the place of the vector in it.
    places: Vec<[usize; 3]>,
    width: usize,
}

impl Columns {
    /// Of `width` columns, whole vectors.
    pub(super) fn new(width: usize) -> Self {
        let mut places = Vec::with_capacity(width / LANES);
        for strip in strips(width) {
            let vectors = strip.clone().step_by(LANES);
            places.extend(vectors.map(|at| [strip.start, strip.len(), at - strip.start]));
        }
        Self { places, width }
    }

    /// Values of a matrix of so many rows.
    pub(super) fn len(&self, rows: usize) -> usize {
        rows * self.width
    }

    /// Where a matrix of so many rows holds this vector of a row.
    fn place(&self, rows: usize, row: usize, vector: usize) -> usize {
        let [start, width, at] = self.places[vector];
        start * rows + row * width + at
    }

    /// Writes the factors of taps, [`VECTORS`] of each of [`LANES`] rows, to all matrices, of so many rows
    /// each; those of phase `i` and the first row to the row and vector `to[i]`.
    pub(super) fn store(&self, taps: &[f32], out: &mut [f32], rows: usize, to: [[usize; 2]; 4]) {
        let mut starts = [[0; 2]; 4];
        for (start, [row, vector]) in starts.iter_mut().zip(to) {
            *start = [self.place(rows, row, vector), self.places[vector][1]];
        }
        let product = self.len(rows);
        pulp::Arch::new().dispatch(Store { taps, out, starts, product });
    }
}

/// What sums over the products give to the taps: [`LANES`] rows of taps from vectors of channels, phase
/// `i` of product `p` at `starts[i] + p * product`.
pub(super) fn fold(sums: &[f32], starts: [usize; 4], product: usize) -> [f32; VECTORS] {
    let (mut vectors, mut rows) = ([0.0; VECTORS], [0.0; VECTORS]);
    pulp::Arch::new().dispatch(Fold { sums, starts, product, vectors: &mut vectors });
    transpose(&vectors, TAPS, (&mut rows, TAPS));
    rows
}

/// The first tap of a phase; the others are 2 and 8 behind it.
const FIRST: [usize; 4] = [0, 1, 4, 5];

struct Store<'a> {
    taps: &'a [f32],
    out: &'a mut [f32],
    /// Of each phase: where its first row begins, and how far the rows are apart.
    starts: [[usize; 2]; 4],
    product: usize,
}

impl WithSimd for Store<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let step = LANES / S::F32_LANES;
        let (taps, out) = (S::as_simd_f32s(self.taps).0, S::as_mut_simd_f32s(self.out).0);
        let product = self.product / S::F32_LANES;
        for (row, taps) in taps.chunks_exact(TAPS * step).enumerate() {
            for (first, [start, apart]) in FIRST.into_iter().zip(self.starts) {
                let to = (start + row * apart) / S::F32_LANES;
                for v in 0..step {
                    let at = first * step + v;
                    let g =
                        [taps[at], taps[at + 2 * step], taps[at + 8 * step], taps[at + 10 * step]];
                    put(out, to + v, product, sums(simd, g));
                }
            }
        }
    }
}

struct Fold<'a> {
    sums: &'a [f32],
    starts: [usize; 4],
    product: usize,
    vectors: &'a mut [f32],
}

impl WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let step = LANES / S::F32_LANES;
        let (sums, taps) = (S::as_simd_f32s(self.sums).0, S::as_mut_simd_f32s(self.vectors).0);
        let product = self.product / S::F32_LANES;
        for (first, start) in FIRST.into_iter().zip(self.starts) {
            for v in 0..step {
                let m = got(sums, start / S::F32_LANES + v, product);
                let at = first * step + v;
                let values = folded(simd, m);
                for (tap, value) in [0, 2, 8, 10].into_iter().zip(values) {
                    taps[at + tap * step] = value;
                }
            }
        }
    }
}

const _: () = assert!(TAPS == LANES);
