//! Generator and critic.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use chains_core::{Error, Noise, Result, ops};

use super::UganConfig;
use crate::mlp::Mlp;

/// `(b, c)` before `(b, d)`, if there is a context.
fn behind(context: Option<&Tensor>, c: usize, x: &Tensor) -> Result<Tensor> {
    let b = x.dims().first().copied().unwrap_or(0);
    match context {
        None if c == 0 => Ok(x.clone()),
        Some(context) if c > 0 && context.dims() == [b, c] => Ok(Tensor::cat(&[context, x], 1)?),
        other => Err(Error::Shape {
            what: "context",
            expected: if c == 0 { "none".into() } else { format!("({b}, {c})") },
            got: other.map_or(Vec::new(), |context| context.dims().to_vec()),
        }),
    }
}

/// `x = G(context, z)` with `z ~ N(0, I)`.
#[derive(Clone, Debug)]
pub struct Generator {
    network: Mlp,
    /// Location and scale of every coordinate.
    output: Option<[Tensor; 2]>,
    latent: usize,
    context: usize,
}

impl Generator {
    /// Asks `vb` for `layers.<l>.{weight, bias}` and, with an output scale, `loc` and `scale`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(config: &UganConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (latent, context, d) = (config.latent, config.flow.context, config.flow.dim);
        let widths = [&[context + latent][..], &config.generator, &[d]].concat();
        let get = |name, value| vb.get_with_hints(d, name, Init::Const(value));
        let output = match config.output_scale {
            Some(scale) => Some([get("loc", 0.0)?, get("scale", scale)?]),
            None => None,
        };
        Ok(Self { network: Mlp::new(&widths, config.slope, &vb)?, output, latent, context })
    }

    /// `(b, latent)`, with context `(b, c)`, to `(b, d)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn forward(&self, z: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let y = self.network.forward(&behind(context, self.context, z)?)?;
        match &self.output {
            Some([loc, scale]) => Ok(y.broadcast_mul(scale)?.broadcast_add(loc)?),
            None => Ok(y),
        }
    }

    /// Noise for `n` samples, `(n, latent)`.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn latent(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let like = self.network.layers[0].weight();
        noise.normal(&(n, self.latent).into(), like.dtype(), like.device())
    }

    /// `n` samples, `(n, d)`; with a context `(n, c)` one for each of its rows.
    ///
    /// # Errors
    /// As [`Generator::forward`].
    pub fn sample(
        &self,
        context: Option<&Tensor>,
        n: usize,
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        self.forward(&self.latent(n, noise)?, context)
    }
}

/// The critic's logit, which estimates `log q(x | context) - log nu(x | context)`.
#[derive(Clone, Debug)]
pub struct Critic {
    network: Mlp,
    context: usize,
}

impl Critic {
    /// Asks `vb` for `layers.<l>.{weight, bias}`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(config: &UganConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (context, d) = (config.flow.context, config.flow.dim);
        let widths = [&[context + d][..], &config.critic, &[1]].concat();
        Ok(Self { network: Mlp::new(&widths, config.slope, &vb)?, context })
    }

    /// `(b, d)`, with context `(b, c)`, to `(b,)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn logit(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let d = self.network.forward(&behind(context, self.context, x)?)?;
        let b = d.dims()[0];
        ops::reshape(&d, b)
    }
}
