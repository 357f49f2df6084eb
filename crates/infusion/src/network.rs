//! The network of the transition operator: hidden layers with per-step batch norm, two heads.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Error, Noise, Result,
    dist::DiagGaussian,
    nn::{ConvTranspose2d, Linear, LinearInit, Statistics, StepNorm, StepNormConfig},
    ops::{self, BatchMoments},
};

use crate::config::{Architecture, NetworkConfig};

/// Standard deviation of initial convolution weights, as in the code of the generator of Salimans
/// et al. 2016.
const CONV_STDEV: f64 = 0.05;

#[derive(Clone, Debug)]
enum Layer {
    Dense(Linear),
    Deconv(ConvTranspose2d),
}

impl Layer {
    fn forward(&self, x: &Tensor, known: Option<&Vec<Tensor>>) -> Result<Tensor> {
        match (self, known) {
            (Self::Dense(layer), Some(value)) => layer.forward_known(x, value),
            (Self::Dense(layer), None) => layer.forward(x),
            (Self::Deconv(layer), _) => layer.forward(x),
        }
    }
}

#[derive(Clone, Debug)]
struct Hidden {
    layer: Layer,
    norm: StepNorm,
    /// Event shape after the layer, if it is not flat.
    reshape: Option<[usize; 3]>,
}

/// Reads a state and a step, gives the Gaussian of the next state.
///
/// Tensors are `hidden.<i>.weight`, `hidden.<i>.norms.<step>.*`, `mean_head.*`, `variance_head.*`.
/// Layers in front of a batch norm have no bias, whose gradient would be zero.
#[derive(Clone, Debug)]
pub struct OperatorNetwork {
    hidden: Vec<Hidden>,
    mean_head: Layer,
    variance_head: Layer,
    config: NetworkConfig,
}

impl OperatorNetwork {
    /// Asks `vb` for every tensor.
    ///
    /// # Errors
    /// If the configuration is invalid or the builder holds tensors of other shapes.
    pub fn new(config: &NetworkConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        let mut hidden = Vec::new();
        let head = |name: &str| vb.pp(name);
        let at = |index: usize| vb.pp("hidden").pp(index);
        let norm = |channels, vb| {
            let (steps, eps) = (config.steps, config.norm_eps.into());
            StepNorm::new(StepNormConfig { steps, channels, eps, relu: true }, vb)
        };
        let dense = |input, output, bias, vb| {
            Linear::new(input, output, bias, LinearInit::GlorotUniform, vb).map(Layer::Dense)
        };
        let deconv = |input, output, bias, vb| {
            ConvTranspose2d::doubling(input, output, bias, CONV_STDEV, vb).map(Layer::Deconv)
        };
        let dim = config.dim();
        let (mean_head, variance_head) = match &config.architecture {
            Architecture::Mlp { hidden: widths } => {
                let mut input = dim;
                for (index, &width) in widths.iter().enumerate() {
                    let layer = dense(input, width, false, at(index))?;
                    hidden.push(Hidden { layer, norm: norm(width, at(index))?, reshape: None });
                    input = width;
                }
                let head = |name| dense(input, dim, true, head(name));
                (head("mean_head")?, head("variance_head")?)
            }
            Architecture::Deconv { widths } => {
                let units = widths[0] * 16;
                let layer = dense(dim, units, false, at(0))?;
                let reshape = Some([widths[0], 4, 4]);
                hidden.push(Hidden { layer, norm: norm(units, at(0))?, reshape });
                for (index, pair) in widths.windows(2).enumerate() {
                    let layer = deconv(pair[0], pair[1], false, at(index + 1))?;
                    let norm = norm(pair[1], at(index + 1))?;
                    hidden.push(Hidden { layer, norm, reshape: None });
                }
                let last = widths[widths.len() - 1];
                let head = |name| deconv(last, config.event[0], true, head(name));
                (head("mean_head")?, head("variance_head")?)
            }
        };
        Ok(Self { hidden, mean_head, variance_head, config: config.clone() })
    }

    /// Runs states of several steps through the network, each step normalised by itself. Steps count
    /// from 0.
    ///
    /// `known` is [`Pass::values`] of an earlier pass over the same states without a graph: affine
    /// maps then only record the graph. By layer, in any number of consecutive parts of rows. Empty:
    /// everything is computed.
    ///
    /// # Shapes
    /// `z`: `(steps.len(), b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another input.
    pub fn pass(
        &self,
        z: &Tensor,
        steps: &[usize],
        statistics: Statistics,
        known: &[Vec<Tensor>],
    ) -> Result<Pass> {
        let (g, b) = match z.dims() {
            [g, b, d] if *d == self.config.dim() && *g == steps.len() => (*g, *b),
            got => {
                return Err(Error::Shape {
                    what: "state of the infusion chain",
                    expected: format!("({}, b, {})", steps.len(), self.config.dim()),
                    got: got.to_vec(),
                });
            }
        };
        let mut h = z.clone();
        let layers = self.hidden.len();
        let mut values = Vec::with_capacity(layers + 2);
        let mut moments = Vec::with_capacity(layers);
        for (index, hidden) in self.hidden.iter().enumerate() {
            let mut y = hidden.layer.forward(&h, known.get(index))?;
            values.push(y.clone());
            if let Layer::Deconv(_) = hidden.layer {
                y = ops::reshape(&y, [&[g, b], &y.dims()[1..]].concat())?;
            }
            let (y, used) = hidden.norm.forward(&y, steps, statistics)?;
            moments.push(used);
            h = match (&hidden.layer, hidden.reshape) {
                (Layer::Deconv(_), _) => ops::reshape(&y, [&[g * b], &y.dims()[2..]].concat())?,
                (Layer::Dense(_), Some([c, h, w])) => ops::reshape(&y, (g * b, c, h, w))?,
                (Layer::Dense(_), None) => y,
            };
        }
        for (index, head) in [&self.mean_head, &self.variance_head].into_iter().enumerate() {
            let y = head.forward(&h, known.get(layers + index))?;
            values.push(match head {
                Layer::Dense(_) => y,
                Layer::Deconv(_) => ops::reshape(&y, (g, b, self.config.dim()))?,
            });
        }
        Ok(Pass { values, moments })
    }

    /// The Gaussians of a pass, `(steps.len() * b, D)`; see [`heads`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn conditional(&self, pass: &Pass, floor: f64) -> Result<DiagGaussian> {
        let [mean, variance] = pass.heads()?;
        heads(&mean.flatten(0, 1)?, &variance.flatten(0, 1)?, self.config.variance_scale, floor)
    }

    /// The next state of an infusion chain, drawn from the mixture of the Gaussians of a pass over one step
    /// and, at this rate, of one of this variance around `x`, each dimension for itself; detached.
    ///
    /// # Shapes
    /// `x` and the result: `(b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another target.
    pub(crate) fn infused(
        &self,
        pass: &Pass,
        rate: f64,
        (x, variance): (&Tensor, f64),
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let [mean, wide] = pass.heads()?;
        let raw = [&mean.flatten(0, 1)?, &wide.flatten(0, 1)?];
        let squash = [self.config.variance_scale, self.config.variance_floor];
        ops::squashed_mixture_draw(rate, raw, squash, (x, variance), noise)
    }

    /// The log density of `x` under the Gaussians of a pass.
    ///
    /// # Shapes
    /// `x`: `(steps.len(), b, D)`, or `(b, D)` for the same target at every step; the result
    /// `(steps.len(), b)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another target.
    pub fn log_prob(&self, pass: &Pass, x: &Tensor, floor: f64) -> Result<Tensor> {
        let [mean, variance] = pass.heads()?;
        ops::sigmoid_gaussian_log_prob(x, mean, variance, [self.config.variance_scale, floor])
    }

    /// The configuration.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }
}

/// One pass through the network.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The result of every affine map: hidden layers and both heads, `(steps, b, units)`; maps between
    /// them `(steps * b, c, h, w)`.
    pub values: Vec<Tensor>,
    /// The moments that normalised each hidden layer, `(steps, units)`.
    pub moments: Vec<BatchMoments>,
}

impl Pass {
    /// The raw values of mean and variance head.
    fn heads(&self) -> Result<[&Tensor; 2]> {
        match self.values.as_slice() {
            [.., mean, variance] => Ok([mean, variance]),
            _ => Err(Error::Config { field: "values", reason: "an empty pass".into() }),
        }
    }
}

/// `N(sigmoid(raw_mean), scale * sigmoid(raw_variance) + floor)` (paper, section 4).
///
/// # Shapes
/// All `(b, D)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn heads(
    raw_mean: &Tensor,
    raw_variance: &Tensor,
    scale: f64,
    floor: f64,
) -> Result<DiagGaussian> {
    let variance = ops::scaled_sigmoid(raw_variance, scale, floor)?;
    DiagGaussian::new(ops::sigmoid(raw_mean)?, variance)
}
