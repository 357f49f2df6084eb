//! The proposal as the critic meets it: the flow, with a wide Gaussian beside it.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    density::{Sample, value_and_grad},
};
use serde::{Deserialize, Serialize};

use crate::maf::Maf;

/// A wide Gaussian about the generator's samples as a part of the proposal.
///
/// The generator's gradient is exact for any proposal that covers it, but a flow has tails that fall as
/// exponentials of its blocks multiply: where the generator steps out of it, `log nu` outweighs the
/// target, and the generator runs away. The Gaussian bounds the density from below wherever the
/// generator is (a defensive mixture, as in importance sampling: Hesterberg 1995). Ours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defence {
    /// Its share of the proposal's samples.
    pub share: f64,
    /// Its standard deviations, in those of the generator's samples.
    pub widening: f64,
}

impl Defence {
    /// A tenth, twice as wide.
    pub const fn standard() -> Self {
        Self { share: 0.1, widening: 2.0 }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if !(self.share > 0.0 && self.share < 1.0) {
            let reason = format!("{} must be between 0 and 1", self.share);
            return Err(Error::Config { field: "defence.share", reason });
        }
        chains_core::config::positive("defence.widening", self.widening)
    }
}

/// Standard deviations are not taken for less.
const LEAST: f64 = 1e-3;
/// Shares of a point's density that count as none: their gradients may overflow.
const NONE: f64 = 1e-12;

/// `nu(x) = (1 - share) flow(x) + share N(x; m, diag s^2)`, or the flow alone.
#[derive(Clone, Debug)]
pub struct Proposal<'a> {
    flow: &'a Maf,
    wide: Option<Wide>,
}

#[derive(Clone, Debug)]
struct Wide {
    share: f64,
    /// `(1, d)`.
    mean: Tensor,
    deviation: Tensor,
}

impl<'a> Proposal<'a> {
    /// The flow, defended by a Gaussian about `x`, `(b, d)`, if there is a defence.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn around(flow: &'a Maf, defence: Option<Defence>, x: &Tensor) -> Result<Self> {
        let Some(Defence { share, widening }) = defence else {
            return Ok(Self { flow, wide: None });
        };
        let mean = x.detach().mean_keepdim(0)?;
        let square = x.detach().broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?;
        let deviation = (square.sqrt()?.maximum(LEAST)? * widening)?;
        Ok(Self { flow, wide: Some(Wide { share, mean, deviation }) })
    }

    /// `n` samples, `(n, d)`, of which the first are the Gaussian's; with a context `(n, c)` one for
    /// each of its rows. The Gaussian has `share` of them to the nearest whole number, of which
    /// [`Proposal::log_density_and_grad`] knows nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] if the context does not fit.
    pub fn sample(
        &self,
        n: usize,
        context: Option<&Tensor>,
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let wide = self.wide.as_ref();
        let k = wide.map_or(0, |wide| ((wide.share * n as f64).round() as usize).min(n));
        let rest = match context {
            Some(context) => self.flow.sample_given(&context.narrow(0, k, n - k)?, noise)?,
            None => self.flow.sample(n - k, noise)?,
        };
        match wide.filter(|_| k > 0) {
            None => Ok(rest),
            Some(Wide { mean, deviation, .. }) => {
                let shape = (k, mean.dims()[1]).into();
                let e = noise.normal(&shape, mean.dtype(), mean.device())?;
                let own = e.broadcast_mul(deviation)?.broadcast_add(mean)?;
                Ok(Tensor::cat(&[own, rest], 0)?)
            }
        }
    }

    /// `log nu`, `(b,)`, and its gradient in `x`, `(b, d)`, both detached.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn log_density_and_grad(
        &self,
        x: &Tensor,
        context: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (log_flow, flow_grad) = value_and_grad(x, |x| self.flow.log_prob_given(x, context))?;
        let Some(Wide { share, mean, deviation }) = &self.wide else {
            return Ok((log_flow, flow_grad));
        };
        let x = x.detach();
        let scaled = x.broadcast_sub(mean)?.broadcast_div(deviation)?;
        let constant = 0.5 * (2.0 * std::f64::consts::PI).ln() * x.dim(1)? as f64;
        let volume = deviation.log()?.sum_all()?;
        let log_wide = (scaled.sqr()?.sum(1)? * -0.5)?.broadcast_sub(&volume)?;
        let log_wide = (log_wide + (share.ln() - constant))?;
        let log_flow = (log_flow + (1.0 - share).ln())?;
        // A flow that overflows has no density there.
        let finite = (&log_flow * 0.0)?.eq(0.0)?;
        let log_flow = finite.where_cond(&log_flow, &(&log_wide - 1e3)?)?;
        let total = chains_core::ops::log_add_exp(&log_flow, &log_wide)?;
        let of_flow = (log_flow - &total)?.exp()?.unsqueeze(1)?;
        let counts = of_flow.ge(NONE)?.broadcast_as(flow_grad.shape())?;
        let pull = flow_grad.broadcast_mul(&of_flow)?;
        let pull = counts.where_cond(&pull, &pull.zeros_like()?)?;
        let of_wide = of_flow.affine(-1.0, 1.0)?;
        let wide_grad = scaled.broadcast_div(deviation)?.neg()?.broadcast_mul(&of_wide)?;
        Ok((total.detach(), (pull + wide_grad)?.detach()))
    }
}
