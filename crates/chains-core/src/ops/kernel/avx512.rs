//! The microkernel for AVX-512: a tile of 8 rows and three vectors in 24 registers.

use std::{arch::x86_64::*, hint::black_box};

use super::driver::{LANES, Micro, ROWS, Tile, VECTORS};

/// Inner indices between the fetch of the right operand and its use.
const AHEAD: usize = 8;

/// Proof that the processor has AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

impl Micro for Avx512 {
    unsafe fn tile(self, tile: &Tile<'_>, out: *mut f32, out_stride: usize) {
        tile.check();
        // SAFETY: `self` proves the instruction set, `check` the lengths of the operands, and the
        // caller vouches for `out`.
        unsafe {
            match tile.cols.div_ceil(LANES) {
                1 => by_rows::<1>(tile, out, out_stride),
                2 => by_rows::<2>(tile, out, out_stride),
                _ => by_rows::<VECTORS>(tile, out, out_stride),
            }
        }
    }

    fn transpose(self, src: &[f32], src_stride: usize, dst: &mut [f32], dst_stride: usize) {
        assert!(src.len() >= (LANES - 1) * src_stride + LANES, "source of a transpose");
        assert!(dst_stride >= LANES, "rows of a transpose overlap");
        assert!(dst.len() >= (LANES - 1) * dst_stride + LANES, "target of a transpose");
        // SAFETY: `self` proves the instruction set and the assertions bound both blocks.
        unsafe { transpose(src.as_ptr(), src_stride, dst.as_mut_ptr(), dst_stride) }
    }
}

/// # Safety
/// As for [`tile`].
#[target_feature(enable = "avx512f")]
unsafe fn by_rows<const V: usize>(t: &Tile<'_>, out: *mut f32, out_stride: usize) {
    // SAFETY: the caller's promise, and the number of rows is the one of the tile.
    unsafe {
        match t.rows {
            1 => tile::<1, V>(t, out, out_stride),
            2 => tile::<2, V>(t, out, out_stride),
            3 => tile::<3, V>(t, out, out_stride),
            4 => tile::<4, V>(t, out, out_stride),
            5 => tile::<5, V>(t, out, out_stride),
            6 => tile::<6, V>(t, out, out_stride),
            7 => tile::<7, V>(t, out, out_stride),
            _ => tile::<ROWS, V>(t, out, out_stride),
        }
    }
}

/// # Safety
/// AVX-512; `t` passed its check and has `R` rows and `V` vectors; `out` as for [`Micro::tile`].
#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize, const V: usize>(t: &Tile<'_>, out: *mut f32, out_stride: usize) {
    let last = t.cols - (V - 1) * LANES;
    let mask = (u16::MAX >> (LANES - last)) as __mmask16;
    let (lhs, stride) = (t.lhs.as_ptr(), t.lhs_stride);
    let (rhs, rhs_stride) = (t.rhs.as_ptr(), t.rhs_stride);
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // Hidden from the compiler, which would rather form the addresses anew for every inner index.
    let rows: [*const f32; R] = std::array::from_fn(|i| black_box(lhs.wrapping_add(i * stride)));
    let mut step = |p: usize| {
        // SAFETY: `p < depth`, which `Tile::check` bounded in both operands.
        unsafe {
            let row = rhs.add(p * rhs_stride);
            let mut rhs = [_mm512_setzero_ps(); V];
            for (v, rhs) in rhs.iter_mut().enumerate() {
                *rhs = _mm512_loadu_ps(row.add(v * LANES));
            }
            for (lhs, sums) in rows.iter().zip(&mut sums) {
                let x = _mm512_set1_ps(*lhs.add(p));
                for (sum, rhs) in sums.iter_mut().zip(rhs) {
                    *sum = _mm512_fmadd_ps(x, rhs, *sum);
                }
            }
        }
    };
    let whole = t.depth / LANES * LANES;
    // The result is fetched shortly before it is needed: the first cache is small.
    let first = (whole / LANES).saturating_sub(R + 3);
    for start in (0..whole).step_by(LANES) {
        if t.last {
            for row in rows {
                let ahead = row.wrapping_add(R * stride + start);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            }
        }
        let row = (start / LANES).wrapping_sub(first);
        if row < R {
            let at = out.wrapping_add(row * out_stride);
            for v in 0..V {
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(v * LANES).cast());
            }
        }
        for p in start..start + LANES {
            for v in 0..V {
                let ahead = rhs.wrapping_add((p + AHEAD) * rhs_stride + v * LANES);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            step(p);
        }
    }
    for p in whole..t.depth {
        step(p);
    }
    // SAFETY: the mask keeps every access inside the tile, which the caller owns.
    unsafe { store(sums, mask, (out, out_stride), t.accumulate) }
}

/// Writes a tile, or adds it to what is there.
///
/// # Safety
/// AVX-512; `out` valid for reads and writes of `R` rows, `stride` apart, of `V` vectors, the last of
/// which has the lanes of `mask`.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store<const R: usize, const V: usize>(
    sums: [[__m512; V]; R],
    mask: __mmask16,
    (out, stride): (*mut f32, usize),
    accumulate: bool,
) {
    for (i, sums) in sums.into_iter().enumerate() {
        for (v, mut sum) in sums.into_iter().enumerate() {
            let mask = if v + 1 == V { mask } else { u16::MAX };
            // SAFETY: the caller's promise.
            unsafe {
                let at = out.add(i * stride + v * LANES);
                if accumulate {
                    sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), sum);
                }
                _mm512_mask_storeu_ps(at, mask, sum);
            }
        }
    }
}

/// # Safety
/// AVX-512; 16 rows of 16 elements at either pointer and stride.
#[target_feature(enable = "avx512f")]
unsafe fn transpose(src: *const f32, src_stride: usize, dst: *mut f32, dst_stride: usize) {
    // Quarter `q` of `rows[i]` is columns `4 i..4 i + 4` of source row `4 q + r`, so that only the
    // transposes of 4 x 4 inside the quarters are left.
    for i in 0..4 {
        let mut rows = [_mm512_setzero_ps(); 4];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: row `4 q + r` and column `4 i + 3` are below 16.
            let quarter = |q: usize| unsafe { src.add((4 * q + r) * src_stride + 4 * i) };
            // SAFETY: as above.
            unsafe {
                let low = _mm512_castps128_ps512(_mm_loadu_ps(quarter(0)));
                let low = _mm512_insertf32x4::<1>(low, _mm_loadu_ps(quarter(1)));
                let low = _mm512_insertf32x4::<2>(low, _mm_loadu_ps(quarter(2)));
                *row = _mm512_insertf32x4::<3>(low, _mm_loadu_ps(quarter(3)));
            }
        }
        let [a, b, c, d] = rows;
        let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let (ef, gh) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        let columns = [
            _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd),
            _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd),
            _mm512_shuffle_ps::<0b01_00_01_00>(ef, gh),
            _mm512_shuffle_ps::<0b11_10_11_10>(ef, gh),
        ];
        for (j, column) in columns.into_iter().enumerate() {
            // Lane `4 q + r` comes from source row `4 q + r`.
            // SAFETY: row `4 i + j` is below 16.
            unsafe { _mm512_storeu_ps(dst.add((4 * i + j) * dst_stride), column) };
        }
    }
}
