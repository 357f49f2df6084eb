//! The microkernel in plain Rust: what the tests put behind the driver besides the real one.

use super::driver::{LANES, Micro, Tile};

/// Needs nothing of the processor.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

impl Micro for Scalar {
    unsafe fn tile(self, tile: &Tile<'_>, out: *mut f32, out_stride: usize) {
        tile.check();
        for i in 0..tile.rows {
            for j in 0..tile.cols {
                let lhs = &tile.lhs[i * tile.lhs_stride..][..tile.depth];
                let rhs = tile.rhs[j..].iter().step_by(tile.rhs_stride);
                let sum = lhs.iter().zip(rhs).fold(0.0, |sum, (x, y)| sum + x * y);
                // SAFETY: inside the tile, which the caller owns.
                let out = unsafe { &mut *out.add(i * out_stride + j) };
                *out = if tile.accumulate { *out + sum } else { sum };
            }
        }
    }

    fn transpose(self, src: &[f32], src_stride: usize, dst: &mut [f32], dst_stride: usize) {
        for i in 0..LANES {
            for j in 0..LANES {
                dst[j * dst_stride + i] = src[i * src_stride + j];
            }
        }
    }
}
