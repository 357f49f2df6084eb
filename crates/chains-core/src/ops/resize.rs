//! Doubling and halving of maps.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{build_rows, fused, on_cuda, pool::max_pool2d, slice, with_values};
use crate::{
    autograd::apply1,
    error::{Error, Result},
};

/// Every pixel four times, in a square: nearest-neighbour upsampling by two.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, 2 h, 2 w)`.
///
/// # Errors
/// [`Error::Shape`] for another rank.
pub fn upsample2(x: &Tensor) -> Result<Tensor> {
    let [b, c, h, w] = axes("upsample2", x)?;
    on_cuda!([x] => cuda::double(x));
    if fused(&[x]) {
        return Ok(apply1(Upsample, &x.contiguous()?)?);
    }
    let wide = x.reshape((b, c, h, 1, w, 1))?.broadcast_as((b, c, h, 2, w, 2))?;
    Ok(wide.contiguous()?.reshape((b, c, 2 * h, 2 * w))?)
}

/// Means of squares of four pixels; the last row or column of an odd side is left out.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, h / 2, w / 2)`.
///
/// # Errors
/// [`Error::Shape`] for another rank or if the result would be empty.
pub fn avg_pool2(x: &Tensor) -> Result<Tensor> {
    let halves = halves("avg_pool2", x)?;
    on_cuda!([x] => cuda::average_squares(x));
    if fused(&[x]) {
        return Ok(apply1(AvgPool, &x.contiguous()?)?);
    }
    Ok(squares(x, halves)?.mean((3, 5))?)
}

/// Maxima of squares of four pixels; the last row or column of an odd side is left out.
///
/// The gradient goes to the first of equal maxima, row by row; NaN wins.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, h / 2, w / 2)`.
///
/// # Errors
/// [`Error::Shape`] for another rank or if the result would be empty.
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    halves("max_pool2", x)?;
    if fused(&[x]) {
        return Ok(apply1(MaxPool, &x.contiguous()?)?);
    }
    max_pool2d(x, 2, 2, 0)
}

fn axes(what: &'static str, x: &Tensor) -> Result<[usize; 4]> {
    let expected = || "(b, c, h, w)".to_string();
    let (b, c, h, w) = x.dims4().map_err(|_| {
        let got = x.dims().to_vec();
        Error::Shape { what, expected: expected(), got }
    })?;
    Ok([b, c, h, w])
}

fn halves(what: &'static str, x: &Tensor) -> Result<[usize; 4]> {
    let [b, c, h, w] = axes(what, x)?;
    if h < 2 || w < 2 {
        let expected = "(b, c, h, w) with two rows and columns at least".to_string();
        return Err(Error::Shape { what, expected, got: x.dims().to_vec() });
    }
    Ok([b, c, h / 2, w / 2])
}

/// `(b, c, h / 2, 2, w / 2, 2)`.
fn squares(x: &Tensor, [b, c, h, w]: [usize; 4]) -> Result<Tensor> {
    let even = x.narrow(2, 0, 2 * h)?.narrow(3, 0, 2 * w)?.contiguous()?;
    Ok(even.reshape((b, c, h, 2, w, 2))?)
}

/// Calls `f(values, result)` for every plane, of as many values as given.
fn planes(
    values: &[f32],
    [input, output]: [usize; 2],
    f: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    build_rows(
        values.len() / input * output,
        output,
        #[inline(always)]
        |start, out| {
            let values = values[start / output * input..].chunks_exact(input);
            for (out, values) in out.chunks_exact_mut(output).zip(values) {
                f(values, out);
            }
        },
    )
}

/// `scale` times every small pixel into its square of the large plane, whose odd rest is zero.
#[inline(always)]
fn spread(values: &[f32], [w, large_w]: [usize; 2], scale: f32, out: &mut [f32]) {
    for (row, out) in values.chunks_exact(w).zip(out.chunks_exact_mut(2 * large_w)) {
        let (upper, lower) = out.split_at_mut(large_w);
        for (pair, value) in upper.chunks_exact_mut(2).zip(row) {
            pair[0] = scale * value;
            pair[1] = scale * value;
        }
        lower.copy_from_slice(upper);
    }
}

/// `scale` times the sum of every square.
#[inline(always)]
fn gather(values: &[f32], [w, large_w]: [usize; 2], scale: f32, out: &mut [f32]) {
    for (out, rows) in out.chunks_exact_mut(w).zip(values.chunks_exact(2 * large_w)) {
        let (upper, lower) = rows.split_at(large_w);
        let squares = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for (out, (a, b)) in out.iter_mut().zip(squares) {
            *out = scale * ((a[0] + a[1]) + (b[0] + b[1]));
        }
    }
}

fn tensor(values: Vec<f32>, like: &Tensor) -> candle_core::Result<Option<Tensor>> {
    Tensor::from_vec(values, like.shape(), like.device()).map(Some)
}

struct Upsample;

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = lx.shape().dims4()?;
        let y = if h * w == 0 {
            Vec::new()
        } else {
            planes(slice(x, lx)?, [h * w, 4 * h * w], |x, y| spread(x, [w, 2 * w], 1.0, y))
        };
        Ok((CpuStorage::F32(y), (b, c, 2 * h, 2 * w).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        if h * w == 0 {
            return Ok(None);
        }
        let gx = with_values([grad], |[gs]| {
            Ok(planes(gs, [4 * h * w, h * w], |g, out| gather(g, [w, 2 * w], 1.0, out)))
        })?;
        tensor(gx, x)
    }
}

struct AvgPool;

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = lx.shape().dims4()?;
        let sides = [h * w, (h / 2) * (w / 2)];
        let y = planes(slice(x, lx)?, sides, |x, y| gather(x, [w / 2, w], 0.25, y));
        Ok((CpuStorage::F32(y), (b, c, h / 2, w / 2).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        let gx = with_values([grad], |[gs]| {
            let sides = [(h / 2) * (w / 2), h * w];
            Ok(planes(gs, sides, |g, out| spread(g, [w / 2, w], 0.25, out)))
        })?;
        tensor(gx, x)
    }
}

struct MaxPool;

/// Is `b` to be preferred to `a`, which comes first?
#[inline(always)]
fn beats(b: f32, a: f32) -> bool {
    b > a || (b.is_nan() && !a.is_nan())
}

/// The gradient of every square to the first of its maxima, row by row, in a plane of zeros.
#[inline(always)]
fn to_first_maxima(x: &[f32], grads: &[f32], w: usize, out: &mut [f32]) {
    let rows = x.chunks_exact(2 * w).zip(grads.chunks_exact(w / 2));
    for (out, (x, grads)) in out.chunks_exact_mut(2 * w).zip(rows) {
        let ((upper, lower), (out_upper, out_lower)) = (x.split_at(w), out.split_at_mut(w));
        let squares = upper.chunks_exact(2).zip(lower.chunks_exact(2)).zip(grads);
        let outs = out_upper.chunks_exact_mut(2).zip(out_lower.chunks_exact_mut(2));
        for ((out_a, out_b), ((a, b), g)) in outs.zip(squares) {
            let (second, fourth) = (beats(a[1], a[0]), beats(b[1], b[0]));
            let high = if second { a[1] } else { a[0] };
            let below = beats(if fourth { b[1] } else { b[0] }, high);
            out_a[0] = if !below && !second { *g } else { 0.0 };
            out_a[1] = if !below && second { *g } else { 0.0 };
            out_b[0] = if below && !fourth { *g } else { 0.0 };
            out_b[1] = if below && fourth { *g } else { 0.0 };
        }
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = lx.shape().dims4()?;
        let y = planes(slice(x, lx)?, [h * w, (h / 2) * (w / 2)], |x, y| {
            for (y, rows) in y.chunks_exact_mut(w / 2).zip(x.chunks_exact(2 * w)) {
                let (upper, lower) = rows.split_at(w);
                let squares = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                for (y, (a, b)) in y.iter_mut().zip(squares) {
                    let best = |a: f32, b: f32| if beats(b, a) { b } else { a };
                    *y = best(best(a[0], a[1]), best(b[0], b[1]));
                }
            }
        });
        Ok((CpuStorage::F32(y), (b, c, h / 2, w / 2).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        let (len, small) = (h * w, (h / 2) * (w / 2));
        let gx = with_values([x, grad], |[xs, gs]| {
            Ok(build_rows(
                xs.len(),
                len,
                #[inline(always)]
                |start, out| {
                    let (xs, gs) = (&xs[start..], &gs[start / len * small..]);
                    let operands = xs.chunks_exact(len).zip(gs.chunks_exact(small));
                    for (out, (x, g)) in out.chunks_exact_mut(len).zip(operands) {
                        to_first_maxima(x, g, w, out);
                    }
                },
            ))
        })?;
        tensor(gx, x)
    }
}
