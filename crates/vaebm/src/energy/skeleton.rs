//! The residual network of Table 7 over any kind of convolution.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Error, Result,
    nn::{Conv2dConfig, Linear, LinearInit},
    ops,
};

use crate::config::ConvEnergyConfig;

/// What the published code divides swish by.
const SWISH_SCALE: f64 = 1.0 / 1.1;

/// `v sigmoid(v) / 1.1`; the paper says swish, the published code divides.
fn activation(x: &Tensor) -> Result<Tensor> {
    Ok((ops::silu(x)? * SWISH_SCALE)?)
}

/// Convolution, residual blocks, sum over positions, linear layer.
#[derive(Clone, Debug)]
pub(crate) struct Skeleton<L> {
    channels: usize,
    first: L,
    blocks: Vec<Block<L>>,
    last: Linear,
}

/// `a(pool(conv(a(conv(x))) + skip(x)))`; no activation comes first, as the input has one.
#[derive(Clone, Debug)]
struct Block<L> {
    convolutions: [L; 2],
    /// There if the number of channels changes or the resolution is halved.
    skip: Option<L>,
    down: bool,
}

impl<L> Block<L> {
    fn layers(&self) -> impl Iterator<Item = &L> {
        self.convolutions.iter().chain(&self.skip)
    }
}

impl<L> Skeleton<L> {
    /// Asks `make` for the layers by their sizes, whether they have a bias, and where their tensors
    /// are: `conv1`, `blocks.{i}.conv1`, `.conv2`, `.skip.0`; and `vb` for `linear`.
    pub(crate) fn new(
        config: &ConvEnergyConfig,
        vb: &VarBuilder<'_>,
        make: impl Fn(Conv2dConfig, bool, VarBuilder<'_>) -> Result<L>,
    ) -> Result<Self> {
        let three = |input, output, vb| make(Conv2dConfig::same3(input, output), true, vb);
        let first = three(config.channels, config.width, vb.pp("conv1"))?;
        let (mut input, mut blocks) = (config.width, Vec::new());
        for (i, block) in config.blocks.iter().enumerate() {
            let (vb, output) = (vb.pp("blocks").pp(i), block.output);
            let convolutions =
                [three(input, output, vb.pp("conv1"))?, three(output, output, vb.pp("conv2"))?];
            let one = Conv2dConfig { input, output, kernel: 1, stride: 1, padding: 0 };
            let skip = if input != output || block.down {
                Some(make(one, false, vb.pp("skip").pp(0))?)
            } else {
                None
            };
            blocks.push(Block { convolutions, skip, down: block.down });
            input = output;
        }
        let last = Linear::new(input, 1, true, LinearInit::FanIn, vb.pp("linear"))?;
        Ok(Self { channels: config.channels, first, blocks, last })
    }

    /// Every convolution in the order of construction.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &L> {
        [&self.first].into_iter().chain(self.blocks.iter().flat_map(Block::layers))
    }

    /// The same network of other layers, made in the order of construction.
    pub(crate) fn map<M>(&self, mut f: impl FnMut(&L) -> Result<M>) -> Result<Skeleton<M>> {
        let first = f(&self.first)?;
        let blocks = self.blocks.iter().map(|block| {
            let [a, b] = &block.convolutions;
            let convolutions = [f(a)?, f(b)?];
            let skip = block.skip.as_ref().map(&mut f).transpose()?;
            Ok(Block { convolutions, skip, down: block.down })
        });
        let blocks = blocks.collect::<Result<_>>()?;
        Ok(Skeleton { channels: self.channels, first, blocks, last: self.last.clone() })
    }

    /// `(b, channels, h, w)` -> `(b,)`, each convolution applied by `apply`.
    pub(crate) fn pass(
        &self,
        x: &Tensor,
        apply: impl Fn(&L, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if x.rank() != 4 || x.dims()[1] != self.channels {
            let (expected, got) = (format!("(b, {}, h, w)", self.channels), x.dims().to_vec());
            return Err(Error::Shape { what: "image of an energy", expected, got });
        }
        let mut h = activation(&apply(&self.first, x)?)?;
        for block in &self.blocks {
            let [first, second] = &block.convolutions;
            let branch = apply(second, &activation(&apply(first, &h)?)?)?;
            let mut sum = match &block.skip {
                Some(skip) => ops::add(&branch, &apply(skip, &h)?)?,
                None => ops::add(&branch, &h)?,
            };
            if block.down {
                sum = ops::avg_pool2(&sum)?;
            }
            h = activation(&sum)?;
        }
        let features = h.flatten_from(2)?.sum(2)?;
        Ok(self.last.forward(&features)?.squeeze(1)?)
    }
}
