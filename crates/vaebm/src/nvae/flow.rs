//! Autoregressive flows behind the posteriors.

use candle_core::{Device, Tensor};
use chains_core::{
    Result,
    nn::{Conv2dConfig, WeightNormConfig},
    ops,
};

use super::layers::{Build, Conv, Pass};

/// Hidden channels for each channel of a group.
const HIDDEN: usize = 6;
/// What the lengths of the last kernels begin as a multiple of.
const GAIN: f64 = 0.1;

/// Pairs of autoregressive cells, each `z - a(z)` with `a` blind for `z` at and behind its own place: the
/// log-determinant is zero. The second cell of a pair goes through the pixels in the other direction.
#[derive(Clone, Debug)]
pub(crate) struct Flow(Vec<AutoregressiveCell>);

impl Flow {
    /// The pairs numbered `pairs`, of groups with `channels`.
    pub(crate) fn new(
        channels: usize,
        pairs: std::ops::Range<usize>,
        build: &Build<'_>,
    ) -> Result<Self> {
        let mut cells = Vec::new();
        for pair in pairs {
            for (name, mirrored) in [("cell1", false), ("cell2", true)] {
                let build = build.pp(pair).pp(name);
                cells.push(AutoregressiveCell::new(channels, mirrored, &build)?);
            }
        }
        Ok(Self(cells))
    }

    pub(crate) fn forward(&self, z: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut z = z.clone();
        for cell in &self.0 {
            z = (&z - cell.shift(&z, pass)?)?;
        }
        Ok(z)
    }
}

#[derive(Clone, Debug)]
struct AutoregressiveCell {
    first: Conv,
    depthwise: Conv,
    last: Conv,
}

impl AutoregressiveCell {
    fn new(channels: usize, mirrored: bool, build: &Build<'_>) -> Result<Self> {
        let hidden = HIDDEN * channels;
        let layer = |[input, output, kernel]: [usize; 3], name: [&str; 2], own: Own| {
            let conv = Conv2dConfig { input, output, kernel, stride: 1, padding: kernel / 2 };
            let mask = mask([input, output, kernel], own, mirrored);
            let group = if own == Own::Depthwise { 1 } else { input };
            let mask = Tensor::from_vec(mask, (output, group, kernel, kernel), &Device::Cpu)?;
            let mask = mask.to_dtype(build.vb.dtype())?.to_device(build.vb.device())?;
            let last = kernel == 1;
            let config = WeightNormConfig {
                conv,
                bias: last,
                depthwise: own == Own::Depthwise,
                mask: Some(mask),
                gain: if last { GAIN } else { 1.0 },
            };
            Conv::normed(config, &build.pp(name[0]).pp(name[1]))
        };
        Ok(Self {
            first: layer([channels, hidden, 3], ["conv.convz", "0"], Own::Hidden)?,
            depthwise: layer([hidden, hidden, 5], ["conv.convz", "2"], Own::Depthwise)?,
            last: layer([hidden, channels, 1], ["mu", "conv_0"], Own::Seen)?,
        })
    }

    fn shift(&self, z: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let h = ops::elu(&self.first.forward(z, pass)?, 1.0)?;
        let h = ops::elu(&self.depthwise.forward(&h, pass)?, 1.0)?;
        // Twice, as published.
        self.last.forward(&ops::elu(&h, 1.0)?, pass)
    }
}

/// What an output channel sees of its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Channels before its own.
    Hidden,
    /// Its own channel, too.
    Seen,
    /// Its own channel, the only one of a depthwise layer.
    Depthwise,
}

/// The mask of a kernel, `(output, input or 1, k, k)`: all rows above the centre, of its row all columns
/// before it, and of the centre what the order of the channels allows; turned by half a circle if
/// mirrored.
fn mask([input, output, kernel]: [usize; 3], own: Own, mirrored: bool) -> Vec<f32> {
    let group = if own == Own::Depthwise { 1 } else { input };
    let centre = kernel * kernel / 2;
    let mut mask = Vec::with_capacity(output * group * kernel * kernel);
    for o in 0..output {
        for i in 0..group {
            for at in 0..kernel * kernel {
                let at = if mirrored { kernel * kernel - 1 - at } else { at };
                let seen = match own {
                    _ if at != centre => at < centre,
                    Own::Depthwise => true,
                    _ => sees([i, o], [input, output], own == Own::Seen),
                };
                mask.push(f32::from(u8::from(seen)));
            }
        }
    }
    mask
}

/// May output channel `o` see input channel `i` of its own place?
fn sees([i, o]: [usize; 2], [input, output]: [usize; 2], own: bool) -> bool {
    // Both belong to a channel of the narrower side.
    let narrow = input.min(output);
    let [i, o] = [i * narrow / input, o * narrow / output];
    i < o || own && i == o
}

#[cfg(test)]
mod tests;
