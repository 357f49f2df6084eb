//! The leaves of the network, and what a pass through it carries.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    ParamStore, Result,
    nn::{
        BatchNorm, BatchNormMoments, Conv2dConfig, WeightNormConfig, WeightNormConv2d,
        fan_in_uniform,
    },
    ops::{self, NormActivation},
};

/// The part of a batch in the running moments of NVAE.
pub const MOMENTUM: f64 = 0.05;

/// Where layers take their tensors from.
#[derive(Clone)]
pub(crate) struct Build<'a> {
    pub(crate) vb: VarBuilder<'a>,
    /// Kernels are normalised as soon as they are there, for a network whose weights stand still.
    pub(crate) fixed: bool,
    /// Cells have squeeze and excitation.
    pub(crate) squeeze: bool,
}

impl Build<'_> {
    pub(crate) fn pp(&self, name: impl ToString) -> Self {
        Self { vb: self.vb.pp(name), ..self.clone() }
    }
}

/// Whose moments the batch norms of a pass use, and what the pass met on its way: the input of the
/// regularisation and of the running moments.
#[derive(Clone, Debug)]
pub struct Pass {
    moments: BatchNormMoments,
    names: Vec<String>,
    gains: Vec<Tensor>,
    kernels: Vec<Tensor>,
}

impl Pass {
    /// Each batch has its own moments; kernels, gains and moments are noted.
    pub fn training() -> Self {
        Self::of(BatchNormMoments::batch())
    }

    /// Running moments; nothing is noted.
    pub fn evaluation() -> Self {
        Self::of(BatchNormMoments::Running)
    }

    fn of(moments: BatchNormMoments) -> Self {
        Self { moments, names: Vec::new(), gains: Vec::new(), kernels: Vec::new() }
    }

    /// Is it one of training?
    pub fn is_training(&self) -> bool {
        !matches!(self.moments, BatchNormMoments::Running)
    }

    /// The kernels of all convolutions met, as they were applied; none in evaluation.
    pub fn kernels(&self) -> &[Tensor] {
        &self.kernels
    }

    /// The gains of all batch norms met, `(channels,)` each; none in evaluation.
    pub fn gains(&self) -> &[Tensor] {
        &self.gains
    }

    /// The same without kernels and gains, which have graphs.
    pub(crate) fn moments_only(self) -> Self {
        Self { gains: Vec::new(), kernels: Vec::new(), ..self }
    }

    /// Moves the running moments of `store` by [`MOMENTUM`] towards those that the pass found.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] if the store is of another network.
    pub fn follow(&self, store: &ParamStore) -> Result<()> {
        for (name, found) in self.names.iter().zip(self.moments.found()) {
            BatchNorm::follow_by(store, name, found, MOMENTUM)?;
        }
        Ok(())
    }
}

/// Any of the convolutions.
#[derive(Clone, Debug)]
pub(crate) enum Conv {
    Normed(WeightNormConv2d),
    /// Without norm and bias.
    Plain {
        kernel: Tensor,
        padding: usize,
        depthwise: bool,
    },
}

impl Conv {
    pub(crate) fn normed(config: WeightNormConfig, build: &Build<'_>) -> Result<Self> {
        let layer = WeightNormConv2d::new(config, build.vb.clone())?;
        Ok(Self::Normed(if build.fixed { layer.normalised()? } else { layer }))
    }

    /// Weight norm and bias, 1x1.
    pub(crate) fn pointwise(input: usize, output: usize, build: &Build<'_>) -> Result<Self> {
        let conv = Conv2dConfig { input, output, kernel: 1, stride: 1, padding: 0 };
        Self::normed(WeightNormConfig::biased(conv), build)
    }

    /// Weight norm and bias, 3x3.
    pub(crate) fn same3(input: usize, output: usize, build: &Build<'_>) -> Result<Self> {
        Self::normed(WeightNormConfig::biased(Conv2dConfig::same3(input, output)), build)
    }

    /// Without norm and bias; `depthwise` is of `output` channels.
    pub(crate) fn plain(
        [input, output, kernel]: [usize; 3],
        depthwise: bool,
        build: &Build<'_>,
    ) -> Result<Self> {
        let group = if depthwise { 1 } else { input };
        let (shape, init) =
            ((output, group, kernel, kernel), fan_in_uniform(group * kernel * kernel));
        let weight = build.vb.get_with_hints(shape, "weight", init)?;
        Ok(Self::Plain { kernel: weight, padding: kernel / 2, depthwise })
    }

    pub(crate) fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        match self {
            Self::Normed(layer) if pass.is_training() => {
                // Once for the pass and for the regularisation.
                let layer = layer.normalised()?;
                pass.kernels.push(layer.kernel()?);
                layer.forward(x)
            }
            Self::Normed(layer) => layer.forward(x),
            Self::Plain { kernel, padding, depthwise } => {
                if pass.is_training() {
                    pass.kernels.push(kernel.clone());
                }
                convolve(x, (kernel, None), *padding, *depthwise)
            }
        }
    }
}

fn convolve(
    x: &Tensor,
    (kernel, bias): (&Tensor, Option<&Tensor>),
    padding: usize,
    depthwise: bool,
) -> Result<Tensor> {
    if depthwise {
        return ops::depthwise_conv2d(x, kernel, bias, 1, padding);
    }
    ops::conv2d(x, kernel, bias, 1, padding)
}

/// A plain convolution with the batch norm behind it, and possibly one before it, in evaluation: one
/// convolution with a bias.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    kernel: Tensor,
    bias: Tensor,
    padding: usize,
    depthwise: bool,
}

impl Folded {
    /// None for a convolution with weight norm. A norm before it must be of a kernel 1x1: zeros around an
    /// image are not normalised.
    pub(crate) fn new(before: Option<&Norm>, conv: &Conv, after: &Norm) -> Result<Option<Self>> {
        let Conv::Plain { kernel, padding, depthwise } = conv else { return Ok(None) };
        let [scale, shift] = after.running_affine()?;
        let (mut folded, mut bias) = (kernel.clone(), shift);
        if let Some(before) = before {
            let [inner, moved] = before.running_affine()?;
            let constant = kernel.flatten_from(1)?.matmul(&moved.unsqueeze(1)?)?.squeeze(1)?;
            bias = (bias + constant.mul(&scale)?)?;
            folded = folded.broadcast_mul(&inner.reshape((1, inner.elem_count(), 1, 1))?)?;
        }
        let kernel = folded.broadcast_mul(&scale.reshape((scale.elem_count(), 1, 1, 1))?)?;
        Ok(Some(Self { kernel, bias, padding: *padding, depthwise: *depthwise }))
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        convolve(x, (&self.kernel, Some(&self.bias)), self.padding, self.depthwise)
    }
}

/// A batch norm that knows its name.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    inner: BatchNorm,
    name: String,
}

impl Norm {
    pub(crate) fn new(channels: usize, build: &Build<'_>) -> Result<Self> {
        let inner = BatchNorm::new(channels, false, build.vb.clone())?;
        Ok(Self { inner, name: build.vb.prefix() })
    }

    /// `copies` pixels of the map that the layer stands for are one of `x`: a map that is doubled by
    /// nearest neighbours only behind the norm has the same moments, but counts four times.
    pub(crate) fn forward(&self, x: &Tensor, copies: usize, pass: &mut Pass) -> Result<Tensor> {
        self.activated(x, copies, pass, NormActivation::None)
    }

    /// With a swish behind it.
    pub(crate) fn swish(&self, x: &Tensor, copies: usize, pass: &mut Pass) -> Result<Tensor> {
        self.activated(x, copies, pass, NormActivation::Swish)
    }

    fn activated(
        &self,
        x: &Tensor,
        copies: usize,
        pass: &mut Pass,
        activation: NormActivation,
    ) -> Result<Tensor> {
        let y = self.inner.activated(x, &mut pass.moments, activation)?;
        if let BatchNormMoments::Batch(found) = &mut pass.moments {
            pass.names.push(self.name.clone());
            pass.gains.push(self.inner.weight().clone());
            if let Some((_, count)) = found.last_mut() {
                *count *= copies;
            }
        }
        Ok(y)
    }

    /// Scale and shift of evaluation, see [`BatchNorm::running_affine`].
    pub(crate) fn running_affine(&self) -> Result<[Tensor; 2]> {
        self.inner.running_affine()
    }
}
