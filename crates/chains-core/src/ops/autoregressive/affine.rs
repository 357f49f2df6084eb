//! One affine autoregressive step, with its log determinant.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

use crate::{
    autograd::apply2,
    error::{Error, Result},
    ops::{fused, math::exp, simd::vectorised, slice, with_values},
};

/// `u_i = (x_i - m_i) exp(-a_i)`, in reverse order, and the log determinant so far, less `sum_i a_i`.
///
/// The log scale `a` is clipped to a range in the value, but not in the gradient, which passes as if
/// it were not (the documented default of TensorFlow Probability's masked autoregressive template).
///
/// # Shapes
/// Feature-major. `state`: `(d + 1, b)`, `x` and below it the log determinant; `raw`: `(2 d, b)`, rows
/// `m_1, a_1, m_2, a_2, ..`; the result is a state again, `u_d, .., u_1` and the log determinant.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn autoregressive_affine(state: &Tensor, raw: &Tensor, clip: [f64; 2]) -> Result<Tensor> {
    let fits = match (state.dims(), raw.dims()) {
        ([rows, b], [heads, also]) => *rows > 0 && *heads == 2 * (rows - 1) && b == also,
        _ => false,
    };
    if !fits {
        return Err(Error::Shape {
            what: "shift and log scale of an autoregressive step",
            expected: format!("(2 d, b) for a state (d + 1, b) = {:?}", state.dims()),
            got: raw.dims().to_vec(),
        });
    }
    if fused(&[state, raw]) {
        let op = Affine { clip: clip.map(|end| end as f32) };
        return Ok(apply2(op, [&state.contiguous()?, &raw.contiguous()?])?);
    }
    let (rows, b) = state.dims2()?;
    let d = rows - 1;
    let heads = raw.reshape((d, 2, b))?;
    let (shift, scale) = (heads.narrow(1, 0, 1)?.squeeze(1)?, heads.narrow(1, 1, 1)?.squeeze(1)?);
    let clipped = scale.detach().clamp(clip[0], clip[1])?;
    let scale = (&scale + (clipped - scale.detach())?)?;
    let u = (state.narrow(0, 0, d)? - shift)?.mul(&scale.neg()?.exp()?)?;
    let order: Vec<u32> = (0..d as u32).rev().collect();
    let u = u.contiguous()?.index_select(&Tensor::from_vec(order, d, state.device())?, 0)?;
    let determinant = (state.narrow(0, d, 1)? - scale.sum_keepdim(0)?)?;
    Ok(Tensor::cat(&[u, determinant], 0)?)
}

struct Affine {
    clip: [f32; 2],
}

impl Affine {
    #[inline(always)]
    fn clipped(&self, a: f32) -> f32 {
        // Comparisons and not `clamp`, for NaN.
        let a = if a < self.clip[0] { self.clip[0] } else { a };
        if a > self.clip[1] { self.clip[1] } else { a }
    }
}

impl CustomOp2 for Affine {
    fn name(&self) -> &'static str {
        "autoregressive_affine"
    }

    fn cpu_fwd(
        &self,
        state: &CpuStorage,
        ls: &Layout,
        raw: &CpuStorage,
        lr: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, b) = ls.shape().dims2()?;
        let (state, raw, d) = (slice(state, ls)?, slice(raw, lr)?, rows - 1);
        let mut out = vec![0.0; rows * b];
        let (us, determinant) = out.split_at_mut(d * b);
        determinant.copy_from_slice(&state[d * b..]);
        vectorised(
            #[inline(always)]
            || {
                for i in 0..d {
                    let (x, heads) = (&state[i * b..][..b], &raw[2 * i * b..][..2 * b]);
                    let (m, a) = heads.split_at(b);
                    let u = &mut us[(d - 1 - i) * b..][..b];
                    for (j, u) in u.iter_mut().enumerate() {
                        let a = self.clipped(a[j]);
                        *u = (x[j] - m[j]) * exp(-a);
                        determinant[j] -= a;
                    }
                }
            },
        );
        Ok((CpuStorage::F32(out), (rows, b).into()))
    }

    fn bwd(
        &self,
        state: &Tensor,
        raw: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (rows, b) = state.dims2()?;
        let d = rows - 1;
        let (mut gs, mut gr) = (vec![0.0; rows * b], vec![0.0; 2 * d * b]);
        with_values([raw, y, grad], |[raw, ys, grads]| {
            let of_determinant = &grads[d * b..];
            gs[d * b..].copy_from_slice(of_determinant);
            vectorised(
                #[inline(always)]
                || {
                    for i in 0..d {
                        let back = (d - 1 - i) * b;
                        let (g, u, a) =
                            (&grads[back..][..b], &ys[back..][..b], &raw[(2 * i + 1) * b..][..b]);
                        let gx = &mut gs[i * b..][..b];
                        let (gm, ga) = gr[2 * i * b..][..2 * b].split_at_mut(b);
                        for j in 0..b {
                            gx[j] = g[j] * exp(-self.clipped(a[j]));
                            gm[j] = -gx[j];
                            ga[j] = -g[j] * u[j] - of_determinant[j];
                        }
                    }
                },
            );
            Ok(())
        })?;
        let make = |values: Vec<f32>, of: &Tensor| {
            of.track_op().then(|| Tensor::from_vec(values, of.shape(), of.device())).transpose()
        };
        Ok((make(gs, state)?, make(gr, raw)?))
    }
}
