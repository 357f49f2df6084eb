//! Parts of maps.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{build_rows, fused, on_cuda, slice, with_values};
use crate::{
    autograd::apply1,
    error::{Error, Result},
};

/// Indices of an axis: `len` of them from `start` on, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub start: usize,
    /// How many.
    pub len: usize,
    /// From one to the next, at least 1.
    pub step: usize,
}

impl Span {
    /// `len` indices from `start` on.
    pub const fn new(start: usize, len: usize) -> Self {
        Self { start, len, step: 1 }
    }

    /// Every second index of an axis of `len` from `start` on.
    pub const fn halved(start: usize, len: usize) -> Self {
        Self { start, len: len.saturating_sub(start).div_ceil(2), step: 2 }
    }

    fn end(self) -> usize {
        if self.len == 0 { self.start } else { self.start + (self.len - 1) * self.step + 1 }
    }
}

/// The values of a map at some channels, rows and columns.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, ..)` with the lengths of the three spans.
///
/// # Errors
/// [`Error::Shape`] for another rank, or if a span is not inside of its axis.
pub fn part(x: &Tensor, spans: [Span; 3]) -> Result<Tensor> {
    let inside = |(span, len): (&Span, &usize)| span.step > 0 && span.end() <= *len;
    if x.rank() != 4 || !spans.iter().zip(&x.dims()[1..]).all(inside) {
        let (expected, got) = (format!("(b, c, h, w) around {spans:?}"), x.dims().to_vec());
        return Err(Error::Shape { what: "part", expected, got });
    }
    on_cuda!([x] => cuda::part(x, spans));
    if fused(&[x]) {
        return Ok(apply1(Part(spans), &x.contiguous()?)?);
    }
    let mut y = x.clone();
    for (axis, span) in (1..).zip(spans) {
        if span.step == 1 {
            y = y.narrow(axis, span.start, span.len)?;
            continue;
        }
        let indices: Vec<u32> =
            (0..span.len).map(|i| (span.start + i * span.step) as u32).collect();
        let indices = Tensor::from_vec(indices, span.len, x.device())?;
        y = y.contiguous()?.index_select(&indices, axis)?;
    }
    Ok(y.contiguous()?)
}

struct Part([Span; 3]);

impl Part {
    /// Calls `f` with a row of the part and the row of the whole from its first column on; an image's
    /// part and whole are given.
    #[inline(always)]
    fn rows<'a, 'b>(
        &self,
        [h, w]: [usize; 2],
    ) -> impl Iterator<Item = (usize, usize)> + use<'a, 'b> {
        let [channels, rows, columns] = self.0;
        (0..channels.len * rows.len).map(move |at| {
            let channel = channels.start + at / rows.len * channels.step;
            let row = rows.start + at % rows.len * rows.step;
            (at * columns.len, (channel * h + row) * w + columns.start)
        })
    }
}

impl CustomOp1 for Part {
    fn name(&self) -> &'static str {
        "part"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = lx.shape().dims4()?;
        let [channels, rows, columns] = self.0;
        let (whole, len) = (c * h * w, channels.len * rows.len * columns.len);
        let xs = slice(x, lx)?;
        let values = build_rows(
            b * len,
            len,
            #[inline(always)]
            |start, out| {
                let first = start / len.max(1);
                for (i, out) in out.chunks_exact_mut(len).enumerate() {
                    let xs = &xs[(first + i) * whole..][..whole];
                    for (to, from) in self.rows([h, w]) {
                        let to = &mut out[to..to + columns.len];
                        if columns.step == 1 {
                            to.copy_from_slice(&xs[from..from + columns.len]);
                        } else {
                            let from = xs[from..].iter().step_by(columns.step);
                            to.iter_mut().zip(from).for_each(|(y, x)| *y = *x);
                        }
                    }
                }
            },
        );
        Ok((CpuStorage::F32(values), (b, channels.len, rows.len, columns.len).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, c, h, w) = x.dims4()?;
        let [channels, rows, columns] = self.0;
        let (whole, len) = (c * h * w, channels.len * rows.len * columns.len);
        let values = with_values([grad], |[grads]| {
            Ok(build_rows(
                x.elem_count(),
                whole,
                #[inline(always)]
                |start, out| {
                    let first = start / whole.max(1);
                    for (i, out) in out.chunks_exact_mut(whole).enumerate() {
                        let grads = &grads[(first + i) * len..][..len];
                        for (from, to) in self.rows([h, w]) {
                            let from = &grads[from..from + columns.len];
                            if columns.step == 1 {
                                out[to..to + columns.len].copy_from_slice(from);
                            } else {
                                let to = out[to..].iter_mut().step_by(columns.step);
                                to.zip(from).for_each(|(y, g)| *y = *g);
                            }
                        }
                    }
                },
            ))
        })?;
        Tensor::from_vec(values, x.shape(), x.device()).map(Some)
    }
}
