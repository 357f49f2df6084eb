//! Residual cells.

use candle_core::Tensor;
use chains_core::{
    Result,
    nn::{Conv2dConfig, Linear, LinearInit, WeightNormConfig},
    ops::{self, Span},
};

use super::layers::{Build, Conv, Folded, Norm, Pass};

/// The weight of a cell's branch.
const BRANCH: f64 = 0.1;
/// Hidden units of squeeze and excitation, at least.
const LEAST_HIDDEN: usize = 4;

/// What a cell does with the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Nothing, nor with the channels.
    Same,
    /// Half of it, twice the channels.
    Down,
    /// Twice of it, half the channels.
    Up,
}

/// `skip(x) + 0.1 se(branch(x))`.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    skip: Skip,
    branch: Branch,
    squeeze: Option<Squeeze>,
}

#[derive(Clone, Debug)]
enum Skip {
    Identity,
    Down(FactorisedReduction),
    Up(Conv),
}

#[derive(Clone, Debug)]
enum Branch {
    /// Twice batch norm, swish and 3x3, of the encoder.
    Dense(Box<[(Norm, Conv); 2]>),
    /// The inverted residual of the decoder.
    Inverted(Box<Inverted>),
}

impl Cell {
    /// A cell of the encoder of `channels`, which `Up` is not.
    pub(crate) fn encoder(channels: usize, scale: Scale, build: &Build<'_>) -> Result<Self> {
        let (output, stride) = if scale == Scale::Down { (2 * channels, 2) } else { (channels, 1) };
        let one = |i: usize, input: usize, stride: usize| -> Result<(Norm, Conv)> {
            let build = build.pp("_ops").pp(i);
            let conv = Conv2dConfig { stride, ..Conv2dConfig::same3(input, output) };
            let conv = Conv::normed(WeightNormConfig::biased(conv), &build.pp("conv_0"))?;
            Ok((Norm::new(input, &build.pp("bn_act"))?, conv))
        };
        let skip = match scale {
            Scale::Down => Skip::Down(FactorisedReduction::new(channels, &build.pp("skip"))?),
            _ => Skip::Identity,
        };
        let branch = Branch::Dense(Box::new([one(0, channels, stride)?, one(1, output, 1)?]));
        Ok(Self { skip, branch, squeeze: Squeeze::new(output, build)? })
    }

    /// A cell of the decoder of `channels`, with `expansion` times as many inside, which `Down` is not.
    pub(crate) fn decoder(
        channels: usize,
        expansion: usize,
        scale: Scale,
        build: &Build<'_>,
    ) -> Result<Self> {
        let up = scale == Scale::Up;
        let output = if up { channels / 2 } else { channels };
        let skip = if up {
            let conv = Conv2dConfig { input: channels, output, kernel: 1, stride: 1, padding: 0 };
            let build = build.pp("skip").pp(1);
            Skip::Up(Conv::normed(WeightNormConfig::unbiased(conv), &build)?)
        } else {
            Skip::Identity
        };
        let sizes = [channels, expansion * channels, output];
        let branch = Inverted::new(sizes, up, &build.pp("_ops").pp(0).pp("conv"))?;
        let branch = Branch::Inverted(Box::new(branch));
        Ok(Self { skip, branch, squeeze: Squeeze::new(output, build)? })
    }

    pub(crate) fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let skip = match &self.skip {
            Skip::Identity => x.clone(),
            Skip::Down(reduction) => reduction.forward(&ops::silu(x)?, pass)?,
            // Mixing channels and interpolating commute, and so the mixing is of a fourth of the pixels.
            Skip::Up(conv) => ops::bilinear2(&conv.forward(x, pass)?)?,
        };
        let branch = match &self.branch {
            Branch::Dense(layers) => {
                let mut h = x.clone();
                for (norm, conv) in layers.iter() {
                    h = conv.forward(&norm.swish(&h, 1, pass)?, pass)?;
                }
                h
            }
            Branch::Inverted(branch) => branch.forward(x, pass)?,
        };
        match &self.squeeze {
            Some(squeeze) => ops::add_gated(&skip, &branch, &squeeze.gate(&branch)?, BRANCH),
            None => ops::add(&skip, &(branch * BRANCH)?),
        }
    }
}

/// Four convolutions 1x1 on the four parts of a map with every second row and column, their channels side
/// by side.
#[derive(Clone, Debug)]
pub(crate) struct FactorisedReduction([Conv; 4]);

impl FactorisedReduction {
    /// From `channels` to twice as many.
    pub(crate) fn new(channels: usize, build: &Build<'_>) -> Result<Self> {
        let quarter = 2 * channels / 4;
        let one = |i: usize| {
            let output = if i == 3 { 2 * channels - 3 * quarter } else { quarter };
            let conv = Conv2dConfig { input: channels, output, kernel: 1, stride: 1, padding: 0 };
            Conv::normed(WeightNormConfig::biased(conv), &build.pp(format!("conv_{}", i + 1)))
        };
        Ok(Self([one(0)?, one(1)?, one(2)?, one(3)?]))
    }

    /// `(b, c, h, w)` -> `(b, 2 c, h / 2, w / 2)`: pixels at even rows and columns, at odd ones, at even
    /// rows and odd columns, at odd rows and even columns.
    pub(crate) fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (_, c, h, w) = x.dims4()?;
        let mut parts = Vec::with_capacity(4);
        for (conv, [rows, columns]) in self.0.iter().zip([[0, 0], [1, 1], [0, 1], [1, 0]]) {
            let spans = [Span::new(0, c), Span::halved(rows, h), Span::halved(columns, w)];
            parts.push(conv.forward(&ops::part(x, spans)?, pass)?);
        }
        ops::join_channels(&parts)
    }
}

/// Batch norm, 1x1 to the hidden channels, batch norm and swish, depthwise 5x5, batch norm and swish,
/// 1x1, batch norm; with nearest neighbours before all of it for twice the resolution.
#[derive(Clone, Debug)]
struct Inverted {
    norms: [Norm; 4],
    convs: [Conv; 3],
    /// The convolutions with their norms, in evaluation of a network that stands still.
    folded: Option<[Folded; 3]>,
    up: bool,
}

impl Inverted {
    fn new([input, hidden, output]: [usize; 3], up: bool, build: &Build<'_>) -> Result<Self> {
        // The doubling has an index of its own in the published names.
        let at = |i: usize| build.pp(i + usize::from(up));
        let convs = [
            Conv::plain([input, hidden, 1], false, &at(1).pp("conv").pp(0))?,
            Conv::plain([hidden, hidden, 5], true, &at(2).pp("conv").pp(0))?,
            Conv::plain([hidden, output, 1], false, &at(3))?,
        ];
        let norms = [
            Norm::new(input, &at(0).pp("bn"))?,
            Norm::new(hidden, &at(1).pp("conv").pp(1))?,
            Norm::new(hidden, &at(2).pp("conv").pp(1))?,
            Norm::new(output, &at(4).pp("bn"))?,
        ];
        let mut folded = None;
        if build.fixed {
            let all = [
                Folded::new(Some(&norms[0]), &convs[0], &norms[1])?,
                Folded::new(None, &convs[1], &norms[2])?,
                Folded::new(None, &convs[2], &norms[3])?,
            ];
            if let [Some(a), Some(b), Some(c)] = all {
                folded = Some([a, b, c]);
            }
        }
        Ok(Self { norms, convs, folded, up })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let [before, first, second, after] = &self.norms;
        let [expand, depthwise, reduce] = &self.convs;
        // What is pixel by pixel gives the same before the doubling, on a fourth of the pixels.
        let copies = if self.up { 4 } else { 1 };
        if let Some([expand, depthwise, reduce]) =
            self.folded.as_ref().filter(|_| !pass.is_training())
        {
            let h = ops::silu(&expand.forward(x)?)?;
            let h = if self.up { ops::upsample2(&h)? } else { h };
            return reduce.forward(&ops::silu(&depthwise.forward(&h)?)?);
        }
        let h = expand.forward(&before.forward(x, copies, pass)?, pass)?;
        let h = first.swish(&h, copies, pass)?;
        let h = if self.up { ops::upsample2(&h)? } else { h };
        let h = second.swish(&depthwise.forward(&h, pass)?, 1, pass)?;
        after.forward(&reduce.forward(&h, pass)?, 1, pass)
    }
}

/// Squeeze and excitation: every channel times a gate that sees the means of all channels.
#[derive(Clone, Debug)]
struct Squeeze {
    down: Linear,
    up: Linear,
}

impl Squeeze {
    /// None if cells have none.
    fn new(channels: usize, build: &Build<'_>) -> Result<Option<Self>> {
        if !build.squeeze {
            return Ok(None);
        }
        let hidden = (channels / 16).max(LEAST_HIDDEN);
        let vb = build.vb.pp("se").pp("se");
        let down = Linear::new(channels, hidden, true, LinearInit::FanIn, vb.pp(0))?;
        let up = Linear::new(hidden, channels, true, LinearInit::FanIn, vb.pp(2))?;
        Ok(Some(Self { down, up }))
    }

    /// `(b, c, h, w)` -> `(b, c)`.
    fn gate(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = ops::relu(&self.down.forward(&ops::channel_means(x)?)?)?;
        ops::sigmoid(&self.up.forward(&hidden)?)
    }
}

#[cfg(test)]
mod tests;
