//! Pooling over square windows of any size and stride, with padding that never counts.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use super::{Padding, build_rows, fused, slice, with_values};
use crate::{
    autograd::apply1,
    error::{Error, Result},
    host,
};

/// Maxima over windows of `kernel` x `kernel` pixels, `stride` apart.
///
/// Window `(i, j)` begins at row `i stride - rows` and column `j stride - columns` of the image;
/// what of it lies outside is left out. A side of the result is `(h + 2 rows - kernel) / stride + 1`,
/// rounded down. The gradient goes to the first of equal maxima, row by row; NaN wins.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, oh, ow)`.
///
/// # Errors
/// [`Error::Shape`] for another rank, a kernel or stride of zero, a padding that is not below the
/// kernel, or an empty result.
pub fn max_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    let window = Window::new("max_pool2d", x, [kernel, stride], padding.into())?;
    if fused(&[x]) {
        return Ok(apply1(MaxPool(window), &x.contiguous()?)?);
    }
    let mut taps = window.taps(x, f64::NEG_INFINITY)?.into_iter();
    let first = taps.next().unwrap_or_else(|| x.clone());
    Ok(taps.try_fold(first, |best, tap| {
        let beats = (tap.gt(&best)? + tap.ne(&tap)?)?;
        beats.where_cond(&tap, &best)
    })?)
}

/// Means over windows of `kernel` x `kernel` pixels, `stride` apart, of the pixels that lie in the
/// image: padding is not counted, as in TensorFlow and unlike PyTorch's default.
///
/// Windows are those of [`max_pool2d`].
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, oh, ow)`.
///
/// # Errors
/// As [`max_pool2d`].
pub fn avg_pool2d(
    x: &Tensor,
    kernel: usize,
    stride: usize,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    let window = Window::new("avg_pool2d", x, [kernel, stride], padding.into())?;
    if fused(&[x]) {
        return Ok(apply1(AvgPool(window), &x.contiguous()?)?);
    }
    let mut taps = window.taps(x, 0.0)?.into_iter();
    let first = taps.next().unwrap_or_else(|| x.clone());
    let sum = taps.try_fold(first, |sum, tap| sum + tap)?;
    let [rows, columns] = [0, 1].map(|axis| window.counts(axis));
    let counts: Vec<f64> = rows.iter().flat_map(|n| columns.iter().map(move |m| n * m)).collect();
    let counts = Tensor::from_vec(counts, &window.map[..], &Device::Cpu)?.to_dtype(x.dtype())?;
    Ok(sum.broadcast_div(&counts.to_device(x.device())?)?)
}

/// Where windows lie.
#[derive(Clone, Copy, Debug)]
struct Window {
    image: [usize; 2],
    map: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
}

impl Window {
    fn new(
        what: &'static str,
        x: &Tensor,
        [kernel, stride]: [usize; 2],
        Padding { rows, columns }: Padding,
    ) -> Result<Self> {
        let misfit = |expected: String| Error::Shape { what, expected, got: x.dims().to_vec() };
        let (.., h, w) = x.dims4().map_err(|_| misfit("(b, c, h, w)".into()))?;
        if kernel == 0 || stride == 0 || rows >= kernel || columns >= kernel {
            return Err(misfit(format!(
                "a kernel and a stride above 0 and a padding below the kernel, not kernel {kernel}, \
                 stride {stride}, padding [{rows}, {columns}], for any (b, c, h, w)"
            )));
        }
        let side = |n: usize, padding: usize| {
            (n + 2 * padding).checked_sub(kernel).map_or(0, |room| room / stride + 1)
        };
        let map = [side(h, rows), side(w, columns)];
        if x.elem_count() == 0 || map.contains(&0) {
            return Err(misfit(format!(
                "(b, c, h, w) that a window of {kernel} with padding [{rows}, {columns}] fits into"
            )));
        }
        Ok(Self { image: [h, w], map, kernel, stride, padding: [rows, columns] })
    }

    /// The rows (axis 0) or columns (axis 1) of the image in window `at`; never none.
    #[inline(always)]
    fn span(&self, axis: usize, at: usize) -> Range<usize> {
        let (start, padding) = (at * self.stride, self.padding[axis]);
        let end = (start + self.kernel).saturating_sub(padding);
        start.saturating_sub(padding)..end.min(self.image[axis])
    }

    /// How many rows or columns of the image each window has.
    fn counts(&self, axis: usize) -> Vec<f64> {
        (0..self.map[axis]).map(|at| self.span(axis, at).len() as f64).collect()
    }

    /// Pixel `(u, v)` of every window for every `(u, v)` in order, `fill` outside of the image.
    fn taps(&self, x: &Tensor, fill: f64) -> candle_core::Result<Vec<Tensor>> {
        let mut padded = x.contiguous()?;
        let mut places = Vec::new();
        for axis in [0, 1] {
            let mut dims = padded.dims().to_vec();
            dims[axis + 2] = self.padding[axis];
            if self.padding[axis] > 0 {
                let border = host::full(fill, &dims.into(), x.dtype(), x.device())?;
                padded = Tensor::cat(&[&border, &padded, &border], axis + 2)?;
            }
            let tap = |u: usize| {
                let places = (0..self.map[axis]).map(|i| (i * self.stride + u) as u32);
                Tensor::from_iter(places, x.device())
            };
            places.push((0..self.kernel).map(tap).collect::<candle_core::Result<Vec<_>>>()?);
        }
        let mut taps = Vec::new();
        for rows in &places[0] {
            let rows = padded.index_select(rows, 2)?;
            for columns in &places[1] {
                taps.push(rows.index_select(columns, 3)?);
            }
        }
        Ok(taps)
    }

    fn image_len(&self) -> usize {
        self.image[0] * self.image[1]
    }

    fn map_len(&self) -> usize {
        self.map[0] * self.map[1]
    }

    /// Reduces every window of a plane by `join`, rows before columns.
    #[inline(always)]
    fn reduce(&self, x: &[f32], start: f32, join: impl Fn(f32, f32) -> f32, out: &mut [f32]) {
        let ([_, w], [_, ow], left) = (self.image, self.map, self.padding[1]);
        // The reduced rows of a window, with the padding on either side and room for a whole step
        // behind the last tap.
        let mut line = vec![start; w + 2 * left + self.stride];
        for (i, out) in out.chunks_exact_mut(ow).enumerate() {
            let rows = self.span(0, i);
            let inner = &mut line[left..left + w];
            let mut rows = x[rows.start * w..rows.end * w].chunks_exact(w);
            match (rows.next(), rows.next(), rows.next()) {
                (Some(a), Some(b), Some(c)) => {
                    let abc = a.iter().zip(b).zip(c);
                    inner.iter_mut().zip(abc).for_each(|(y, ((a, b), c))| {
                        *y = join(join(*a, *b), *c);
                    });
                }
                (Some(a), Some(b), None) => {
                    inner.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = join(*a, *b));
                }
                (first, ..) => inner.copy_from_slice(first.unwrap_or_default()),
            }
            for row in rows {
                inner.iter_mut().zip(row).for_each(|(a, b)| *a = join(*a, *b));
            }
            for v in 0..self.kernel {
                let taps = &line[v..];
                let step = |(y, x): (&mut f32, f32)| *y = if v == 0 { x } else { join(*y, x) };
                match self.stride {
                    1 => out.iter_mut().zip(taps.iter().copied()).for_each(step),
                    // Whole pairs, which are taken apart in vectors.
                    2 => out.iter_mut().zip(taps.chunks_exact(2).map(|p| p[0])).for_each(step),
                    s => out.iter_mut().zip(taps.iter().step_by(s).copied()).for_each(step),
                }
            }
        }
    }

    /// The mean over every window of a plane.
    #[inline(always)]
    fn means(&self, x: &[f32], columns: &[f32], out: &mut [f32]) {
        self.reduce(x, 0.0, |a, b| a + b, out);
        for (i, out) in out.chunks_exact_mut(self.map[1]).enumerate() {
            let rows = self.span(0, i).len() as f32;
            out.iter_mut().zip(columns).for_each(|(y, columns)| *y /= rows * columns);
        }
    }

    /// Adds to every pixel of a plane its share in the gradients of its windows' means.
    #[inline(always)]
    fn share(&self, grads: &[f32], columns: &[f32], out: &mut [f32]) {
        let ([_, w], [_, ow], left) = (self.image, self.map, self.padding[1]);
        let mut line = vec![0.0; w + 2 * left];
        for (i, grads) in grads.chunks_exact(ow).enumerate() {
            let rows = self.span(0, i);
            line.fill(0.0);
            for v in 0..self.kernel {
                let taps = line[v..].iter_mut().step_by(self.stride);
                for (sum, (g, columns)) in taps.zip(grads.iter().zip(columns)) {
                    *sum += g / (rows.len() as f32 * columns);
                }
            }
            for row in out[rows.start * w..rows.end * w].chunks_exact_mut(w) {
                row.iter_mut().zip(&line[left..]).for_each(|(y, x)| *y += x);
            }
        }
    }

    /// Adds every gradient to the first of its window's maxima.
    fn credit_first_maxima(&self, x: &[f32], grads: &[f32], out: &mut [f32]) {
        let (w, ow) = (self.image[1], self.map[1]);
        for (at, g) in grads.iter().enumerate() {
            let (rows, columns) = (self.span(0, at / ow), self.span(1, at % ow));
            let pixels = rows.flat_map(|row| columns.clone().map(move |column| row * w + column));
            if let Some(best) = pixels.reduce(|a, b| if beats(x[b], x[a]) { b } else { a }) {
                out[best] += g;
            }
        }
    }

    fn column_counts(&self) -> Vec<f32> {
        self.counts(1).into_iter().map(|n| n as f32).collect()
    }

    fn result(&self, values: Vec<f32>, layout: &Layout) -> (CpuStorage, Shape) {
        let dims = layout.dims();
        (CpuStorage::F32(values), (dims[0], dims[1], self.map[0], self.map[1]).into())
    }
}

/// Is `b` to be preferred to `a`, which comes first?
#[inline(always)]
fn beats(b: f32, a: f32) -> bool {
    b > a || (b.is_nan() && !a.is_nan())
}

/// Calls `f(index, result)` for every plane of `len` values.
#[inline(always)]
fn planes(count: usize, len: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    build_rows(
        count * len,
        len,
        #[inline(always)]
        |start, out| {
            for (i, out) in out.chunks_exact_mut(len).enumerate() {
                f(start / len + i, out);
            }
        },
    )
}

struct MaxPool(Window);

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (window, xs) = (&self.0, slice(x, lx)?);
        let len = window.image_len();
        let y = planes(
            xs.len() / len,
            window.map_len(),
            #[inline(always)]
            |plane, out| {
                // A NaN for a NaN is the same value as with `beats`, in fewer instructions.
                let best = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
                window.reduce(&xs[plane * len..(plane + 1) * len], f32::NEG_INFINITY, best, out);
            },
        );
        Ok(window.result(y, lx))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (window, [len, small]) = (&self.0, [self.0.image_len(), self.0.map_len()]);
        let gx = with_values([x, grad], |[xs, gs]| {
            Ok(planes(xs.len() / len, len, |plane, out| {
                let x = &xs[plane * len..(plane + 1) * len];
                window.credit_first_maxima(x, &gs[plane * small..(plane + 1) * small], out);
            }))
        })?;
        Tensor::from_vec(gx, x.shape(), x.device()).map(Some)
    }
}

struct AvgPool(Window);

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (window, xs, columns) = (&self.0, slice(x, lx)?, self.0.column_counts());
        let len = window.image_len();
        let y = planes(
            xs.len() / len,
            window.map_len(),
            #[inline(always)]
            |plane, out| window.means(&xs[plane * len..(plane + 1) * len], &columns, out),
        );
        Ok(window.result(y, lx))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (window, columns) = (&self.0, self.0.column_counts());
        let [len, small] = [window.image_len(), window.map_len()];
        let gx = with_values([grad], |[gs]| {
            Ok(planes(
                gs.len() / small,
                len,
                #[inline(always)]
                |plane, out| window.share(&gs[plane * small..(plane + 1) * small], &columns, out),
            ))
        })?;
        Tensor::from_vec(gx, x.shape(), x.device()).map(Some)
    }
}
