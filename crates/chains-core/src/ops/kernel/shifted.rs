//! Products with patches of images that are read where they lie instead of being copied to columns.
//!
//! Position `16 r + q` of a patch's row `p` is `source[bases[r] + offsets[p] + q]`: runs of a whole
//! vector, which every tap finds at its own offset.

use std::arch::x86_64::*;

use super::{
    avx512::{Avx512, store},
    driver::{LANES, ROWS, VECTORS},
};

/// Patches by run and tap.
#[derive(Clone, Copy)]
pub(crate) struct Patchwork<'a> {
    pub(crate) source: &'a [f32],
    /// Where a run of 16 positions begins.
    pub(crate) bases: &'a [usize],
    /// Where a tap finds the first position, relative to a run's beginning.
    pub(crate) offsets: &'a [usize],
}

impl Patchwork<'_> {
    fn check(&self) {
        let last = |values: &[usize]| values.iter().max().copied();
        let (Some(base), Some(offset)) = (last(self.bases), last(self.offsets)) else {
            panic!("patches without runs or taps");
        };
        assert!(base + offset + LANES <= self.source.len(), "patches beyond the image");
    }
}

/// Does the processor have the instructions for [`patch_product`] and [`patch_sums`]?
pub(crate) fn patch_kernel() -> bool {
    Avx512::detect().is_some()
}

/// `out[j][i] = sum over taps p of weight[j][p] * patches[p][i]`, added to what `out` holds if
/// `accumulate`; false, and nothing done, if the processor lacks AVX-512.
///
/// One thread. `out` has `n` rows, `weight` too; both come with the distance between their rows.
pub(crate) fn patch_product(
    (out, out_stride): (&mut [f32], usize),
    (weight, weight_stride): (&[f32], usize),
    patches: Patchwork<'_>,
    n: usize,
    accumulate: bool,
) -> bool {
    let (m, k) = (LANES * patches.bases.len(), patches.offsets.len());
    if Avx512::detect().is_none() {
        return false;
    }
    patches.check();
    assert!(n > 0 && m <= out_stride, "rows of patches overlap");
    assert!((n - 1) * out_stride + m <= out.len(), "output of {n} x {m}");
    assert!((n - 1) * weight_stride + k <= weight.len(), "weight of {n} x {k}");
    let runs = patches.bases.len();
    let strips = runs.div_ceil(VECTORS);
    for strip in 0..strips {
        let run = runs * strip / strips..runs * (strip + 1) / strips;
        let bases = &patches.bases[run.clone()];
        for j in (0..n).step_by(ROWS) {
            let job = Job {
                source: patches.source.as_ptr(),
                bases,
                offsets: patches.offsets,
                other: weight[j * weight_stride..].as_ptr(),
                stride: weight_stride,
                accumulate,
            };
            let out = out[j * out_stride + run.start * LANES..].as_mut_ptr();
            // SAFETY: the assertions bound every access of these rows and runs; `detect` proved the
            // instruction set.
            unsafe {
                match (bases.len(), n - j) {
                    (1, rows) => by_rows::<1>(&job, rows, (out, out_stride)),
                    (2, rows) => by_rows::<2>(&job, rows, (out, out_stride)),
                    (_, rows) => by_rows::<VECTORS>(&job, rows, (out, out_stride)),
                }
            }
        }
    }
    true
}

/// `out[p][i] += sum over positions of maps[position][i] * patches[p][position]`; false, and nothing
/// done, if the processor lacks AVX-512.
///
/// One thread. `out` has a row for each tap, `maps` one for each position; both come with the distance
/// between their rows, of `m` values, a multiple of 16.
pub(crate) fn patch_sums(
    (out, out_stride): (&mut [f32], usize),
    (maps, maps_stride): (&[f32], usize),
    patches: Patchwork<'_>,
    m: usize,
) -> bool {
    let (n, k) = (patches.offsets.len(), LANES * patches.bases.len());
    if Avx512::detect().is_none() {
        return false;
    }
    patches.check();
    assert!(m > 0 && m.is_multiple_of(LANES) && m <= out_stride, "rows of sums overlap");
    assert!((n - 1) * out_stride + m <= out.len(), "output of {n} x {m}");
    assert!((k - 1) * maps_stride + m <= maps.len(), "maps of {k} x {m}");
    let vectors = m / LANES;
    let strips = vectors.div_ceil(VECTORS);
    for strip in 0..strips {
        let at = vectors * strip / strips..vectors * (strip + 1) / strips;
        for (block, offsets) in patches.offsets.chunks(ROWS).enumerate() {
            let job = Job {
                source: patches.source.as_ptr(),
                bases: patches.bases,
                offsets,
                other: maps[at.start * LANES..].as_ptr(),
                stride: maps_stride,
                accumulate: true,
            };
            let out = out[block * ROWS * out_stride + at.start * LANES..].as_mut_ptr();
            // SAFETY: as in `patch_product`.
            unsafe {
                match at.len() {
                    1 => sums_by_rows::<1>(&job, (out, out_stride)),
                    2 => sums_by_rows::<2>(&job, (out, out_stride)),
                    _ => sums_by_rows::<VECTORS>(&job, (out, out_stride)),
                }
            }
        }
    }
    true
}

/// Calls the tile of so many rows.
macro_rules! with_rows {
    ($rows:expr, $tile:ident, $v:ident, $job:expr, $out:expr) => {
        match $rows {
            1 => $tile::<1, $v>($job, $out),
            2 => $tile::<2, $v>($job, $out),
            3 => $tile::<3, $v>($job, $out),
            4 => $tile::<4, $v>($job, $out),
            5 => $tile::<5, $v>($job, $out),
            6 => $tile::<6, $v>($job, $out),
            7 => $tile::<7, $v>($job, $out),
            _ => $tile::<ROWS, $v>($job, $out),
        }
    };
}

/// What a tile reads.
struct Job<'a> {
    source: *const f32,
    bases: &'a [usize],
    offsets: &'a [usize],
    /// Rows of weights, or of maps.
    other: *const f32,
    stride: usize,
    accumulate: bool,
}

/// # Safety
/// As for [`tile`].
#[target_feature(enable = "avx512f")]
unsafe fn by_rows<const V: usize>(job: &Job<'_>, rows: usize, out: (*mut f32, usize)) {
    // SAFETY: the caller's promise.
    unsafe {
        with_rows!(rows, tile, V, job, out);
    }
}

/// # Safety
/// AVX-512; `V` runs, `R` rows of weights and of `out`, all accesses inside their slices.
#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize, const V: usize>(job: &Job<'_>, out: (*mut f32, usize)) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let bases: [*const f32; V] = std::array::from_fn(|v| job.source.wrapping_add(job.bases[v]));
    // Hidden from the compiler, which would rather form the addresses anew for every tap.
    let rows: [*const f32; R] =
        std::array::from_fn(|i| std::hint::black_box(job.other.wrapping_add(i * job.stride)));
    for (p, offset) in job.offsets.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let patch = bases.map(|base| _mm512_loadu_ps(base.add(*offset)));
            for (row, sums) in rows.iter().zip(&mut sums) {
                let x = _mm512_set1_ps(*row.add(p));
                for (sum, patch) in sums.iter_mut().zip(patch) {
                    *sum = _mm512_fmadd_ps(x, patch, *sum);
                }
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(sums, u16::MAX, out, job.accumulate) }
}

/// # Safety
/// As for [`sums_tile`].
#[target_feature(enable = "avx512f")]
unsafe fn sums_by_rows<const V: usize>(job: &Job<'_>, out: (*mut f32, usize)) {
    // SAFETY: the caller's promise.
    unsafe {
        with_rows!(job.offsets.len(), sums_tile, V, job, out);
    }
}

/// # Safety
/// AVX-512; `R` taps and rows of `out`, `V` vectors in a row of maps and of `out`, all accesses inside
/// their slices.
#[target_feature(enable = "avx512f")]
unsafe fn sums_tile<const R: usize, const V: usize>(job: &Job<'_>, out: (*mut f32, usize)) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let taps: [*const f32; R] =
        std::array::from_fn(|i| std::hint::black_box(job.source.wrapping_add(job.offsets[i])));
    for (r, base) in job.bases.iter().enumerate() {
        for q in 0..LANES {
            // SAFETY: the caller's promise.
            unsafe {
                let row = job.other.add((r * LANES + q) * job.stride);
                let mut maps = [_mm512_setzero_ps(); V];
                for (v, maps) in maps.iter_mut().enumerate() {
                    *maps = _mm512_loadu_ps(row.add(v * LANES));
                }
                for (tap, sums) in taps.iter().zip(&mut sums) {
                    let x = _mm512_set1_ps(*tap.add(base + q));
                    for (sum, maps) in sums.iter_mut().zip(maps) {
                        *sum = _mm512_fmadd_ps(x, maps, *sum);
                    }
                }
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(sums, u16::MAX, out, job.accumulate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source, runs that overlap and taps in no order.
    fn parts(runs: usize, taps: usize) -> (Vec<f32>, Vec<usize>, Vec<usize>) {
        let bases: Vec<usize> = (0..runs).map(|r| r * 37 % 200).collect();
        let offsets: Vec<usize> = (0..taps).map(|p| p * 53 % 301).collect();
        let source = (0..200 + 301 + LANES).map(|i| (i as f32 * 0.37).sin()).collect();
        (source, bases, offsets)
    }

    #[test]
    fn products_and_sums_agree_with_the_definition() {
        for (runs, taps, n) in
            [(1, 1, 1), (2, 9, 8), (3, 5, 17), (6, 25, 64), (7, 3, 3), (8, 30, 9)]
        {
            let (source, bases, offsets) = parts(runs, taps);
            let patches = Patchwork { source: &source, bases: &bases, offsets: &offsets };
            let at = |p: usize, i: usize| source[bases[i / 16] + offsets[p] + i % 16];
            let (m, stride) = (16 * runs, 16 * runs + 3);
            let weight: Vec<f32> = (0..n * (taps + 2)).map(|i| (i as f32 * 0.53).cos()).collect();
            for accumulate in [false, true] {
                let old = if accumulate { 2.0 } else { f32::NAN };
                let mut out = vec![old; n * stride];
                let weight = (&weight[..], taps + 2);
                if !patch_product((&mut out, stride), weight, patches, n, accumulate) {
                    return;
                }
                for (j, row) in out.chunks(stride).enumerate() {
                    for (i, got) in row[..m].iter().enumerate() {
                        let sum: f32 =
                            (0..taps).map(|p| weight.0[j * weight.1 + p] * at(p, i)).sum();
                        let want = sum + if accumulate { 2.0 } else { 0.0 };
                        assert!((got - want).abs() < 1e-4, "{runs} {taps} {n}: {j} {i}");
                    }
                    assert!(row[m..].iter().all(|x| x.to_bits() == old.to_bits()));
                }
            }
            let maps = 16 * n.div_ceil(16);
            let values: Vec<f32> = (0..m * (maps + 1)).map(|i| (i as f32 * 0.29).cos()).collect();
            let mut out = vec![1.0; taps * (maps + 5)];
            assert!(patch_sums((&mut out, maps + 5), (&values, maps + 1), patches, maps));
            for (p, row) in out.chunks(maps + 5).enumerate() {
                for (i, got) in row[..maps].iter().enumerate() {
                    let sum: f32 = (0..m).map(|t| values[t * (maps + 1) + i] * at(p, t)).sum();
                    assert!((got - 1.0 - sum).abs() < 1e-4, "{runs} {taps}: {p} {i}");
                }
                assert_eq!(row[maps..], [1.0; 5]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "patches beyond the image")]
    fn patches_outside_of_the_source_are_refused() {
        if Avx512::detect().is_none() {
            panic!("patches beyond the image: not to be tested here");
        }
        let (source, bases, offsets) = parts(2, 4);
        let patches = Patchwork { source: &source[..150], bases: &bases, offsets: &offsets };
        patch_product((&mut [0.0; 32], 32), (&[0.0; 4], 4), patches, 1, false);
    }
}
