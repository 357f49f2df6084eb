//! The affine map whose every output reads a prefix of its inputs.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Shape, Tensor};

use crate::{
    autograd::apply3,
    error::{Error, Result},
    ops::{
        fused,
        kernel::{block_product, fresh, transpose},
        relu as relu_of,
        simd::vectorised,
        slice, with_values,
    },
};

/// Rows of a weight that are multiplied at a time.
const TILE: usize = 8;
/// Operations that are worth a task of their own, and most tasks.
const TASK: [usize; 2] = [2_000_000, 24];
/// Lanes of a vector: rows of other lengths are filled up.
const LANES: usize = 16;

/// How many inputs, from the first on, each output of a masked layer reads.
///
/// Sorted degrees make the mask of an autoregressive network such a staircase.
#[derive(Clone, Debug)]
pub struct Prefixes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    inputs: usize,
    /// Of every output, in ascending order.
    ends: Vec<usize>,
    /// Of every input the first output that reads it.
    begins: Vec<usize>,
    /// The mask of the composed path.
    mask: OnceLock<Tensor>,
}

impl Prefixes {
    /// A layer of so many inputs whose output `i` reads the first `ends[i]` of them.
    ///
    /// # Errors
    /// [`Error::Config`] unless `ends` ascend and stay within the inputs.
    pub fn new(inputs: usize, ends: Vec<usize>) -> Result<Self> {
        if !ends.is_sorted() || ends.last().is_some_and(|last| *last > inputs) {
            let reason = format!("{ends:?} must ascend and end at {inputs} or before");
            return Err(Error::Config { field: "prefixes", reason });
        }
        let begins = (0..inputs).map(|p| ends.partition_point(|end| *end <= p)).collect();
        Ok(Self { inner: Arc::new(Inner { inputs, ends, begins, mask: OnceLock::new() }) })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inner.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.inner.ends.len()
    }

    /// How many inputs each output reads, in ascending order.
    pub fn ends(&self) -> &[usize] {
        &self.inner.ends
    }

    /// One where a weight counts and zero elsewhere, `(outputs, inputs)`.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn mask(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let fits = |mask: &&Tensor| mask.dtype() == dtype && mask.device().same_device(device);
        if let Some(mask) = self.inner.mask.get().filter(fits) {
            return Ok(mask.clone());
        }
        let (rows, cols) = (self.outputs(), self.inputs());
        let ends = self.ends().iter();
        let mask = ends.flat_map(|end| (0..cols).map(move |p| if p < *end { 1.0 } else { 0.0 }));
        let mask = Tensor::from_vec(mask.collect::<Vec<f32>>(), (rows, cols), &Device::Cpu)?;
        let mask = mask.to_dtype(dtype)?.to_device(device)?;
        // The first kind is kept, which is the only one of a run.
        self.inner.mask.set(mask.clone()).ok();
        Ok(mask)
    }
}

/// `(weight * mask) x + bias`, followed by `max(., 0)` if `relu`, with the mask of `prefixes`.
///
/// # Shapes
/// Feature-major: `x`: `(in, b)`, further rows are not read; `weight`: `(out, in)`; `bias`: `(out,)`; the result `(out, b)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn prefix_linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    prefixes: &Prefixes,
    relu: bool,
) -> Result<Tensor> {
    let (out, inner) = (prefixes.outputs(), prefixes.inputs());
    let fit = |what, tensor: &Tensor, fits: bool, expected: String| match fits {
        true => Ok(()),
        false => Err(Error::Shape { what, expected, got: tensor.dims().to_vec() }),
    };
    let rows = x.rank() == 2 && x.dims()[0] >= inner;
    fit("input of a masked layer", x, rows, format!("({inner}, b)"))?;
    let same = weight.dims() == [out, inner];
    fit("weight of a masked layer", weight, same, format!("({out}, {inner})"))?;
    fit("bias of a masked layer", bias, bias.dims() == [out], format!("({out},)"))?;
    if !fused(&[x, weight, bias]) {
        let weight = weight.mul(&prefixes.mask(weight.dtype(), weight.device())?)?;
        let y = weight
            .matmul(&x.narrow(0, 0, inner)?.contiguous()?)?
            .broadcast_add(&bias.reshape((out, 1))?)?;
        return if relu { relu_of(&y) } else { Ok(y) };
    }
    let op = PrefixLinear { prefixes: prefixes.clone(), relu };
    Ok(apply3(op, [&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?])?)
}

struct PrefixLinear {
    prefixes: Prefixes,
    relu: bool,
}

impl PrefixLinear {
    fn backward(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        grad: &[f32],
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Inner { ends, begins, .. } = &*self.prefixes.inner;
        let ((out, inner), b) = (weight.dims2()?, x.dim(1)?);
        let device = x.device();
        let gx = match x.track_op() {
            false => None,
            true => Some(with_values([weight], |[weight]| {
                let mut turned = vec![0.0; out * inner];
                transpose(weight, out, (&mut turned, out));
                let range = |p: usize| begins[p]..out;
                let mut gx = banded((&turned, [inner, out]), range, (grad, b), |_, _| ());
                gx.resize(x.elem_count(), 0.0);
                Tensor::from_vec(gx, x.shape(), device)
            })?),
        };
        let gw = match weight.track_op() {
            false => None,
            true => Some(with_values([x], |[x]| {
                let gw = weight_gradient((grad, &x[..inner * b]), ends, [out, inner, b]);
                Tensor::from_vec(gw, (out, inner), device)
            })?),
        };
        let gb = match bias.track_op() {
            false => None,
            true => {
                let sums = grad.chunks(b.max(1)).map(lanes);
                let mut sums: Vec<f32> = sums.collect();
                sums.resize(out, 0.0);
                Some(Tensor::from_vec(sums, out, device)?)
            }
        };
        Ok([gx, gw, gb])
    }
}

/// The sum of a row.
fn lanes(row: &[f32]) -> f32 {
    let mut sum = 0.0;
    vectorised(
        #[inline(always)]
        || sum = crate::ops::simd::lane_sum([row], |[x]| x),
    );
    sum
}

/// `weight x` of rows that count in a range only, the ranges' ends ascending; `finish` gets every row
/// of the result with its number.
fn banded(
    (weight, [rows, inner]): (&[f32], [usize; 2]),
    range: impl Fn(usize) -> Range<usize> + Sync,
    (x, b): (&[f32], usize),
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    if b == 0 {
        return Vec::new();
    }
    fresh(rows * b, [task(rows, inner * b) * b, TILE * b], |start, tile| {
        let first = start / b;
        let count = tile.len() / b;
        let all = range(first).start..range(first + count - 1).end;
        if !all.is_empty() {
            // A copy is small beside what it saves: rows far apart would share sets of the cache.
            let k = all.len();
            let mut packed = vec![0.0; count * k];
            for (r, packed) in packed.chunks_exact_mut(k).enumerate() {
                let own = range(first + r);
                let from = &weight[(first + r) * inner..][own.clone()];
                packed[own.start - all.start..][..own.len()].copy_from_slice(from);
            }
            block_product((tile, b), (&x[all.start * b..], b), (&packed, k), [b, count, k], false);
        }
        for (r, row) in tile.chunks_exact_mut(b).enumerate() {
            finish(first + r, row);
        }
    })
}

/// Rows of a task, for rows of so many multiply-adds.
fn task(rows: usize, each: usize) -> usize {
    let tasks = (rows * each / TASK[0]).clamp(1, TASK[1]);
    rows.div_ceil(tasks).next_multiple_of(TILE)
}

/// `grad x^T` where the mask is one.
fn weight_gradient(
    (grad, x): (&[f32], &[f32]),
    ends: &[usize],
    [out, inner, b]: [usize; 3],
) -> Vec<f32> {
    if b == 0 || inner == 0 {
        return vec![0.0; out * inner];
    }
    let width = inner.next_multiple_of(LANES);
    let mut turned = vec![0.0; b * width];
    transpose(x, inner, (&mut turned, width));
    fresh(out * inner, [task(out, inner * b) * inner, TILE * inner], |start, tile| {
        let first = start / inner;
        let count = tile.len() / inner;
        let most = ends[first + count - 1];
        if most == 0 {
            return;
        }
        let m = most.next_multiple_of(LANES);
        let mut sums = vec![0.0; count * m];
        let grad = &grad[first * b..];
        block_product((&mut sums, m), (&turned, width), (grad, b), [m, count, b], false);
        for (r, (tile, sums)) in tile.chunks_exact_mut(inner).zip(sums.chunks(m)).enumerate() {
            let end = ends[first + r];
            tile[..end].copy_from_slice(&sums[..end]);
        }
    })
}

impl CustomOp3 for PrefixLinear {
    fn name(&self) -> &'static str {
        "prefix_linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((out, inner), b) = (lw.shape().dims2()?, lx.dims()[1]);
        let (x, weight, bias) = (slice(x, lx)?, slice(weight, lw)?, slice(bias, lb)?);
        let ends = self.prefixes.ends();
        let relu = self.relu;
        let y = banded(
            (weight, [out, inner]),
            |row| 0..ends[row],
            (x, b),
            |row, values| {
                let bias = bias[row];
                vectorised(
                    #[inline(always)]
                    || {
                        for y in values.iter_mut() {
                            let sum = *y + bias;
                            *y = if relu && sum <= 0.0 { 0.0 } else { sum };
                        }
                    },
                );
            },
        );
        Ok((CpuStorage::F32(y), (out, b).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let operands = [x, weight, bias];
        let [gx, gw, gb] = with_values([y, grad], |[ys, grads]| {
            if !self.relu {
                return self.backward(operands, grads);
            }
            let mut masked = grads.to_vec();
            vectorised(
                #[inline(always)]
                || {
                    for (g, y) in masked.iter_mut().zip(ys) {
                        *g = if *y <= 0.0 { 0.0 } else { *g };
                    }
                },
            );
            self.backward(operands, &masked)
        })?;
        Ok((gx, gw, gb))
    }
}
