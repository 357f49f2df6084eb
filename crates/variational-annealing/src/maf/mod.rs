//! The masked autoregressive flow: a density that is cheap to evaluate.
//!
//! G. Papamakarios, T. Pavlakou, I. Murray, *Masked Autoregressive Flow for Density Estimation*, NeurIPS
//! 2017; M. Germain, K. Gregor, I. Murray, H. Larochelle, *MADE*, ICML 2015.

mod made;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Error, Noise, Result,
    density::{LogDensity, Sample},
    ops::autoregressive_affine,
};
use serde::{Deserialize, Serialize};

pub use self::made::Made;

/// Sizes of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MafConfig {
    /// Dimension `D` of what is modelled.
    pub dim: usize,
    /// Dimension `C` of what it is conditioned on; 0 for none.
    pub context: usize,
    /// Number `K` of blocks.
    pub blocks: usize,
    /// Widths of the hidden layers of every block.
    pub hidden: Vec<usize>,
    /// The range of log scales, in the value and not in the gradient: [-5, 3], a documented default of
    /// TensorFlow Probability.
    pub log_scale: [f64; 2],
}

impl MafConfig {
    /// `blocks` blocks with these hidden layers, without context. The paper: 8 x \[512, 512\] for
    /// two-dimensional targets and logistic regression, 4 x \[512, 512\] for control (supplement).
    pub fn new(dim: usize, blocks: usize, hidden: &[usize]) -> Self {
        Self { dim, context: 0, blocks, hidden: hidden.to_vec(), log_scale: [-5.0, 3.0] }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, reason: &str| Err(Error::Config { field, reason: reason.into() });
        if self.dim == 0 {
            return bad("dim", "must be at least 1");
        }
        if self.hidden.is_empty() || self.hidden.contains(&0) {
            return bad("hidden", "must be one width or more, none of them 0");
        }
        let [low, high] = self.log_scale;
        if !(low <= high && low.is_finite() && high.is_finite()) {
            return bad("log_scale", "must be a finite range");
        }
        Ok(())
    }
}

/// `K` affine autoregressive blocks, each followed by a reversal of the order:
///
/// `log nu(x) = log N(v; 0, I) - sum over blocks of sum_i a_i`, where block 1 reads `x`, every other
/// block what the one before it gave, and `v` is what the last gives.
///
/// Evaluation is one pass and differentiable in `x`, in the context and in the weights; a sample costs
/// `D` dependent steps in each block. Parameters are `blocks.<k>.layers.<l>.{weight, bias}` of dense
/// shape; what the masks cut off has no influence and gets no gradient.
///
/// # Example
/// ```
/// use candle_core::{DType, Device};
/// use chains_core::{ParamStore, Seed, density::{LogDensity, Sample}};
/// use variational_annealing::{Maf, MafConfig};
/// let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
/// let flow = Maf::new(&MafConfig::new(3, 2, &[16, 16]), store.builder())?;
/// let x = flow.sample(5, &mut Seed::new(1).host_noise())?;
/// assert_eq!(flow.log_prob(&x)?.dims(), [5]);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Maf {
    config: MafConfig,
    blocks: Vec<Made>,
}

impl Maf {
    /// Asks `vb` for the parameters. Hidden layers begin Glorot uniform; weights of the last layer of a
    /// block at 0.01 of that and biases at zero, near the identity (reconstruction).
    ///
    /// # Errors
    /// For an invalid configuration, or if the builder holds tensors of other shapes.
    pub fn new(config: &MafConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        let block = |k: usize| Made::new(config, vb.pp("blocks").pp(k));
        let blocks = (0..config.blocks).map(block).collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), blocks })
    }

    /// The configuration.
    pub fn config(&self) -> &MafConfig {
        &self.config
    }

    /// The blocks, that which reads `x` first.
    pub fn blocks(&self) -> &[Made] {
        &self.blocks
    }

    /// What the flow makes of `x`, and the log determinant of the map.
    ///
    /// # Shapes
    /// `x`: `(b, D)`; `context`: `(b, C)`, with a flow that has one; the results `(b, D)` and `(b,)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn to_noise(&self, x: &Tensor, context: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (v, determinant) = self.pass(x, context)?;
        Ok((v.t()?.contiguous()?, determinant))
    }

    /// [`Maf::to_noise`] with the first result `(D, b)`.
    fn pass(&self, x: &Tensor, context: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (b, d) = (x.dims().first().copied().unwrap_or(0), self.config.dim);
        self.check("point of a flow", x, [b, d])?;
        let context = self.context(context, b)?;
        let x = x.t()?.contiguous()?;
        let zero = Tensor::zeros((1, b), x.dtype(), x.device())?;
        let mut state = Tensor::cat(&[x, zero], 0)?;
        for block in &self.blocks {
            let raw = block.heads(&state, context.as_ref())?;
            state = autoregressive_affine(&state, &raw, self.config.log_scale)?;
        }
        Ok((state.narrow(0, 0, d)?, state.narrow(0, d, 1)?.squeeze(0)?))
    }

    /// The point that the flow maps to `v`, the inverse of [`Maf::to_noise`]; detached.
    ///
    /// # Shapes
    /// `v`: `(b, D)`; `context`: `(b, C)`; the result `(b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn from_noise(&self, v: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let (b, d) = (v.dims().first().copied().unwrap_or(0), self.config.dim);
        self.check("noise of a flow", v, [b, d])?;
        let context = self.context(context, b)?;
        let reversed: Vec<u32> = (0..d as u32).rev().collect();
        let reversed = Tensor::from_vec(reversed, d, v.device())?;
        let mut x = v.detach().t()?.contiguous()?;
        for block in self.blocks.iter().rev() {
            x = block.inverse(&x.index_select(&reversed, 0)?, context.as_ref())?;
        }
        Ok(x.t()?.contiguous()?)
    }

    /// `log nu(x | context)`, `(b,)`, in nats.
    ///
    /// # Shapes
    /// `x`: `(b, D)`; `context`: `(b, C)`, with a flow that has one.
    ///
    /// # Errors
    /// [`Error::Shape`] if the operands do not fit.
    pub fn log_prob_given(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let (v, determinant) = self.pass(x, context)?;
        let constant = -0.5 * self.config.dim as f64 * (2.0 * std::f64::consts::PI).ln();
        Ok((v.sqr()?.sum(0)?.affine(-0.5, constant)? + determinant)?)
    }

    /// One sample for every row of `context`, `(b, C)`; the result `(b, D)`, detached.
    ///
    /// # Errors
    /// [`Error::Shape`] if the context does not fit.
    pub fn sample_given(&self, context: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let b = context.dims().first().copied().unwrap_or(0);
        self.from_noise(&self.base(b, noise)?, Some(context))
    }

    fn base(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let like = self.blocks.first().map(Made::like);
        let (dtype, device) = like.map_or_else(
            || (candle_core::DType::F32, candle_core::Device::Cpu),
            |tensor| (tensor.dtype(), tensor.device().clone()),
        );
        noise.normal(&(n, self.config.dim).into(), dtype, &device)
    }

    fn check(&self, what: &'static str, x: &Tensor, [b, d]: [usize; 2]) -> Result<()> {
        if x.dims() == [b, d] {
            return Ok(());
        }
        Err(Error::Shape { what, expected: format!("(b, {d})"), got: x.dims().to_vec() })
    }

    /// The context feature-major.
    fn context(&self, context: Option<&Tensor>, b: usize) -> Result<Option<Tensor>> {
        let c = self.config.context;
        match context {
            None if c == 0 => Ok(None),
            Some(context) if c > 0 && context.dims() == [b, c] => {
                Ok(Some(context.t()?.contiguous()?))
            }
            other => Err(Error::Shape {
                what: "context of a flow",
                expected: if c == 0 { "none".into() } else { format!("({b}, {c})") },
                got: other.map_or(Vec::new(), |context| context.dims().to_vec()),
            }),
        }
    }
}

impl LogDensity for Maf {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        self.log_prob_given(x, None)
    }
}

impl Sample for Maf {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        self.from_noise(&self.base(n, noise)?, None)
    }
}
