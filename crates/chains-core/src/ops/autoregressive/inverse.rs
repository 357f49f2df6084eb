//! Solving an autoregressive step for its input, every unit evaluated once.

use candle_core::Tensor;
use rayon::prelude::*;

use super::Prefixes;
use crate::{
    error::{Error, Result},
    ops::{fused, kernel::block_product, math::exp, simd::vectorised, with_values},
};

/// Examples that a task solves together.
const WIDTH: usize = 128;
/// Room behind them: rows at a power of two from one another would share a few sets of the cache.
const STRIDE: usize = WIDTH + 16;

/// A masked layer: `(weight * mask) x + bias`.
#[derive(Clone, Debug)]
pub struct PrefixLayer {
    /// `(out, in)`.
    pub weight: Tensor,
    /// `(out,)`.
    pub bias: Tensor,
    /// The mask.
    pub prefixes: Prefixes,
}

/// The `x` with `u_i = (x_i - m_i) exp(-a_i)` for `i = 1..d`, where `m_i` and the clipped `a_i` come
/// from a network of masked layers that reads the context and `x_1 .. x_(i-1)`.
///
/// All layers but the last are followed by a ReLU; the last gives rows `m_1, a_1, m_2, a_2, ..`. On the
/// host every unit is evaluated once, as soon as its inputs exist, examples are spread over threads;
/// elsewhere the network runs once for each coordinate. No gradients.
///
/// # Shapes
/// Feature-major. `u` and the result: `(d, b)`; `context`: `(c, b)`, the inputs before `x`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit; [`Error::Config`] if a head reads its own coordinate.
pub fn autoregressive_inverse(
    u: &Tensor,
    context: Option<&Tensor>,
    layers: &[PrefixLayer],
    clip: [f64; 2],
) -> Result<Tensor> {
    let (d, b) = u.dims2()?;
    let c = context.map_or(Ok(0), |context| context.dim(0))?;
    check((u, context), layers, [c, d])?;
    let mut operands: Vec<&Tensor> = vec![u];
    operands.extend(context);
    operands.extend(layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]));
    if !fused(&operands) {
        return by_passes((u, context), layers, clip);
    }
    let held: Vec<Tensor> = operands[1..]
        .iter()
        .map(|tensor| Ok(tensor.detach().contiguous()?))
        .collect::<Result<_>>()?;
    let guards: Vec<_> = held.iter().map(Tensor::storage_and_layout).collect();
    let values: Vec<&[f32]> = guards
        .iter()
        .map(|(storage, layout)| crate::ops::host(storage, layout))
        .collect::<candle_core::Result<_>>()?;
    let (context, weights) = values.split_at(usize::from(context.is_some()));
    let network: Vec<Layer<'_>> = layers
        .iter()
        .zip(weights.chunks_exact(2))
        .map(|(layer, pair)| Layer { weight: pair[0], bias: pair[1], prefixes: &layer.prefixes })
        .collect();
    let context = context.first().copied().unwrap_or_default();
    let clip = clip.map(|end| end as f32);
    let x = with_values([&u.detach()], |[u]| {
        let one = |start: usize| {
            let columns = start..b.min(start + WIDTH);
            let gather = |rows: &[f32], to: &mut [f32]| {
                for (row, to) in rows.chunks_exact(b).zip(to.chunks_exact_mut(STRIDE)) {
                    to[..columns.len()].copy_from_slice(&row[columns.clone()]);
                }
            };
            let mut inputs = vec![0.0; (c + d) * STRIDE];
            gather(context, &mut inputs);
            gather(u, &mut inputs[c * STRIDE..]);
            solve(&network, inputs, [c, d, columns.len().next_multiple_of(16)], clip)
        };
        let starts: Vec<usize> = (0..b).step_by(WIDTH).collect();
        let parts: Vec<Vec<f32>> = starts.par_iter().with_max_len(1).map(|at| one(*at)).collect();
        let mut x = vec![0.0; d * b];
        for (start, part) in starts.iter().zip(&parts) {
            let rows = x.chunks_exact_mut(b).zip(part[c * STRIDE..].chunks_exact(STRIDE));
            for (row, part) in rows {
                let to = &mut row[*start..b.min(start + WIDTH)];
                to.copy_from_slice(&part[..to.len()]);
            }
        }
        Ok(x)
    })?;
    Ok(Tensor::from_vec(x, (d, b), u.device())?)
}

fn check(
    (u, context): (&Tensor, Option<&Tensor>),
    layers: &[PrefixLayer],
    [c, d]: [usize; 2],
) -> Result<()> {
    if let Some(context) = context
        && context.dims() != [c, u.dims()[1]]
    {
        let (expected, got) = (format!("(c, {})", u.dims()[1]), context.dims().to_vec());
        return Err(Error::Shape { what: "context of a flow", expected, got });
    }
    let mut width = c + d;
    for layer in layers {
        let dims = [layer.prefixes.outputs(), layer.prefixes.inputs()];
        if layer.weight.dims() != dims || layer.bias.dims() != [dims[0]] || dims[1] != width {
            let (expected, got) = (format!("({}, {width})", dims[0]), layer.weight.dims().to_vec());
            return Err(Error::Shape { what: "layer of a flow", expected, got });
        }
        width = dims[0];
    }
    if layers.is_empty() || width != 2 * d {
        let expected = format!("a last layer of {} outputs", 2 * d);
        return Err(Error::Shape { what: "layers of a flow", expected, got: vec![width] });
    }
    let heads = layers.last().map_or(&[][..], |layer| layer.prefixes.ends());
    if heads.chunks(2).any(|pair| pair.first() != pair.last()) {
        let reason = "shift and log scale of a coordinate must read the same units".into();
        return Err(Error::Config { field: "prefixes", reason });
    }
    // How many inputs a unit depends on, layer by layer.
    let mut depth: Vec<usize> = (1..=c + d).collect();
    for layer in layers {
        let reach = |end: &usize| if *end == 0 { 0 } else { depth[end - 1] };
        depth = layer.prefixes.ends().iter().map(reach).collect();
    }
    match depth.iter().enumerate().find(|(row, reach)| **reach > c + row / 2) {
        Some((row, _)) => Err(Error::Config {
            field: "prefixes",
            reason: format!("the head of coordinate {} reads that coordinate", row / 2),
        }),
        None => Ok(()),
    }
}

struct Layer<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    prefixes: &'a Prefixes,
}

impl Layer<'_> {
    /// Rows `first..` of the layer as far as they read no more than `known` inputs; returns their end.
    fn advance(
        &self,
        (below, above): (&[f32], &mut [f32]),
        first: usize,
        known: usize,
        width: usize,
    ) -> usize {
        let ends = self.prefixes.ends();
        let mut start = first;
        while let Some(&reads) = ends.get(start).filter(|end| **end <= known) {
            let stop = start + ends[start..].partition_point(|end| *end == reads);
            self.rows((below, &mut above[start * STRIDE..]), start..stop, reads, width);
            for row in above.chunks_exact_mut(STRIDE).take(stop).skip(start) {
                row[..width].iter_mut().for_each(|x| *x = if *x <= 0.0 { 0.0 } else { *x });
            }
            start = stop;
        }
        start
    }

    /// The affine map of rows that read the same prefix, into the first rows of `out`.
    fn rows(
        &self,
        (below, out): (&[f32], &mut [f32]),
        rows: std::ops::Range<usize>,
        reads: usize,
        width: usize,
    ) {
        for (row, bias) in out.chunks_exact_mut(STRIDE).zip(&self.bias[rows.clone()]) {
            row[..width].fill(*bias);
        }
        if reads > 0 {
            let inner = self.prefixes.inputs();
            let weight = &self.weight[rows.start * inner..];
            let (shape, out) = ([width, rows.len(), reads], (out, STRIDE));
            block_product(out, (below, STRIDE), (weight, inner), shape, true);
        }
    }
}

/// Replaces `u` by `x` behind the context, coordinate by coordinate.
fn solve(
    network: &[Layer<'_>],
    mut inputs: Vec<f32>,
    [c, d, width]: [usize; 3],
    clip: [f32; 2],
) -> Vec<f32> {
    let Some((heads, hidden)) = network.split_last() else { return inputs };
    let mut units: Vec<Vec<f32>> =
        hidden.iter().map(|layer| vec![0.0; layer.prefixes.outputs() * STRIDE]).collect();
    let mut done = vec![0; hidden.len()];
    let mut head = vec![0.0; 2 * STRIDE];
    for i in 0..d {
        let mut known = c + i;
        for (l, layer) in hidden.iter().enumerate() {
            let (below, above) = units.split_at_mut(l);
            let below = below.last().unwrap_or(&inputs);
            done[l] = layer.advance((below, &mut above[0]), done[l], known, width);
            known = done[l];
        }
        let below = units.last().unwrap_or(&inputs);
        heads.rows((below, &mut head), 2 * i..2 * i + 2, heads.prefixes.ends()[2 * i + 1], width);
        let (shift, scale) = head.split_at(STRIDE);
        let x = &mut inputs[(c + i) * STRIDE..][..width];
        vectorised(
            #[inline(always)]
            || {
                for (x, (m, a)) in x.iter_mut().zip(shift.iter().zip(scale)) {
                    let a = if *a < clip[0] { clip[0] } else { *a };
                    let a = if a > clip[1] { clip[1] } else { a };
                    *x = x.mul_add(exp(a), *m);
                }
            },
        );
    }
    inputs
}

/// The same with one pass of the whole network for each coordinate.
fn by_passes(
    (u, context): (&Tensor, Option<&Tensor>),
    layers: &[PrefixLayer],
    clip: [f64; 2],
) -> Result<Tensor> {
    let (d, b) = u.dims2()?;
    let mut rows: Vec<Tensor> =
        (0..d).map(|_| Ok(Tensor::zeros((1, b), u.dtype(), u.device())?)).collect::<Result<_>>()?;
    for i in 0..d {
        let mut h = Tensor::cat(&rows, 0)?;
        if let Some(context) = context {
            h = Tensor::cat(&[context, &h], 0)?;
        }
        for (l, layer) in layers.iter().enumerate() {
            let relu = l + 1 < layers.len();
            let (weight, bias) = (layer.weight.detach(), layer.bias.detach());
            h = super::prefix_linear(&h, &weight, &bias, &layer.prefixes, relu)?;
        }
        let scale = h.narrow(0, 2 * i + 1, 1)?.clamp(clip[0], clip[1])?.exp()?;
        rows[i] = (u.narrow(0, i, 1)?.mul(&scale)? + h.narrow(0, 2 * i, 1)?)?;
    }
    Ok(Tensor::cat(&rows, 0)?.detach())
}
