//! The two towers of cells and combiners.

use candle_core::Tensor;
use chains_core::{Result, ops};

use super::{
    cell::{Cell, Scale},
    layers::{Build, Conv, Pass},
};
use crate::config::NvaeConfig;

/// Channels inside a cell of the decoder for each channel outside.
const DECODER_EXPANSION: usize = 6;
/// The same behind the towers.
const POST_EXPANSION: usize = 3;

/// What stands at an index of the encoder's tower.
#[derive(Clone, Debug)]
enum EncoderStep {
    Cell(Box<Cell>),
    /// The map is kept for the decoder, with the layer that will join the decoder's state to it.
    Keep(Conv),
}

/// From an image to the features of all groups.
#[derive(Clone, Debug)]
pub(crate) struct EncoderTower {
    stem: Conv,
    before: Vec<Cell>,
    steps: Vec<EncoderStep>,
    /// Of the first group.
    last: Conv,
}

/// What the decoder asks of the encoder, in the order of generation.
#[derive(Clone, Debug)]
pub(crate) struct Features<'a> {
    /// Of the first group.
    pub(crate) first: Tensor,
    /// Of the others: the map and the layer that the decoder's state goes through.
    pub(crate) kept: Vec<(Tensor, &'a Conv)>,
}

impl EncoderTower {
    pub(crate) fn new(config: &NvaeConfig, build: &Build<'_>) -> Result<Self> {
        let mut width = config.encoder_width;
        let stem = Conv::same3(config.channels, width, &build.pp("stem"))?;
        let mut before = Vec::new();
        for _ in 0..config.pre_blocks {
            for cell in 1..=config.pre_cells {
                let build = build.pp("pre_process").pp(before.len());
                let scale = if cell == config.pre_cells { Scale::Down } else { Scale::Same };
                before.push(Cell::encoder(width, scale, &build)?);
            }
            width *= 2;
        }
        let mut steps = Vec::new();
        let scales = config.groups.len();
        if !config.is_vanilla() {
            for (scale, groups) in config.groups.iter().enumerate() {
                let last = scale + 1 == scales;
                let state = config.decoder_width * config.scaling(scale);
                for group in 0..*groups {
                    for _ in 0..config.encoder_cells {
                        let build = build.pp("enc_tower").pp(steps.len());
                        let cell = Cell::encoder(width, Scale::Same, &build)?;
                        steps.push(EncoderStep::Cell(Box::new(cell)));
                    }
                    if !(last && group + 1 == *groups) {
                        let build = build.pp("enc_tower").pp(steps.len()).pp("conv");
                        steps.push(EncoderStep::Keep(Conv::pointwise(state, width, &build)?));
                    }
                }
                if !last {
                    let build = build.pp("enc_tower").pp(steps.len());
                    let cell = Cell::encoder(width, Scale::Down, &build)?;
                    steps.push(EncoderStep::Cell(Box::new(cell)));
                    width *= 2;
                }
            }
        }
        let last = Conv::pointwise(width, width, &build.pp("enc0").pp(1))?;
        Ok(Self { stem, before, steps, last })
    }

    /// `y` in `[-1, 1]`, `(b, c, h, w)`.
    pub(crate) fn forward(&self, y: &Tensor, pass: &mut Pass) -> Result<Features<'_>> {
        let mut s = self.stem.forward(y, pass)?;
        for cell in &self.before {
            s = cell.forward(&s, pass)?;
        }
        let mut kept = Vec::new();
        for step in &self.steps {
            match step {
                EncoderStep::Cell(cell) => s = cell.forward(&s, pass)?,
                EncoderStep::Keep(conv) => kept.push((s.clone(), conv)),
            }
        }
        kept.reverse();
        let first = ops::elu(&self.last.forward(&ops::elu(&s, 1.0)?, pass)?, 1.0)?;
        Ok(Features { first, kept })
    }
}

/// What stands at an index of the decoder's tower.
#[derive(Clone, Debug)]
enum DecoderStep {
    Cell(Box<Cell>),
    /// The next group of latent variables joins the state.
    Combine(Conv),
}

/// From latent variables to the raw parameters of the pixels.
#[derive(Clone, Debug)]
pub(crate) struct DecoderTower {
    /// The state before the first group, `(c, h, w)`.
    begin: Tensor,
    steps: Vec<DecoderStep>,
    /// The only layer of a model of one group.
    vanilla: Option<Conv>,
    behind: Vec<Cell>,
    head: Conv,
}

impl DecoderTower {
    pub(crate) fn new(config: &NvaeConfig, build: &Build<'_>) -> Result<Self> {
        let scales = config.groups.len();
        let lowest = config.scaling(scales - 1);
        let mut width = config.decoder_width * lowest;
        let side = config.side / lowest;
        let uniform = candle_nn::Init::Uniform { lo: 0.0, up: 1.0 };
        let begin = build.vb.get_with_hints((width, side, side), "prior_ftr0", uniform)?;
        let mut steps = Vec::new();
        let mut vanilla = None;
        if config.is_vanilla() {
            vanilla = Some(Conv::pointwise(config.latent, width, &build.pp("stem_decoder"))?);
        } else {
            for (at, scale) in config.scales_up().enumerate() {
                for group in 0..config.groups[scale] {
                    let cells = if at + group == 0 { 0 } else { config.decoder_cells };
                    for _ in 0..cells {
                        let build = build.pp("dec_tower").pp(steps.len());
                        let cell = Cell::decoder(width, DECODER_EXPANSION, Scale::Same, &build)?;
                        steps.push(DecoderStep::Cell(Box::new(cell)));
                    }
                    let build = build.pp("dec_tower").pp(steps.len()).pp("conv");
                    let conv = Conv::pointwise(width + config.latent, width, &build)?;
                    steps.push(DecoderStep::Combine(conv));
                }
                if at + 1 < scales {
                    let build = build.pp("dec_tower").pp(steps.len());
                    let cell = Cell::decoder(width, DECODER_EXPANSION, Scale::Up, &build)?;
                    steps.push(DecoderStep::Cell(Box::new(cell)));
                    width /= 2;
                }
            }
        }
        let mut behind = Vec::new();
        for _ in 0..config.post_blocks {
            for cell in 0..config.post_cells {
                let build = build.pp("post_process").pp(behind.len());
                let scale = if cell == 0 { Scale::Up } else { Scale::Same };
                behind.push(Cell::decoder(width, POST_EXPANSION, scale, &build)?);
                if cell == 0 {
                    width /= 2;
                }
            }
        }
        let build = build.pp("image_conditional").pp(1);
        let head = Conv::same3(width, config.head_channels(), &build)?;
        Ok(Self { begin, steps, vanilla, behind, head })
    }

    /// The raw parameters of the pixels of `b` images, `(b, head channels, h, w)`; `next(k, state)` gives
    /// the group `k`.
    pub(crate) fn forward(
        &self,
        b: usize,
        pass: &mut Pass,
        mut next: impl FnMut(usize, &Tensor, &mut Pass) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let shape = [&[b], self.begin.dims()].concat();
        let mut s = self.begin.broadcast_as(shape)?.contiguous()?;
        let mut group = 0;
        for step in &self.steps {
            s = match step {
                DecoderStep::Cell(cell) => cell.forward(&s, pass)?,
                DecoderStep::Combine(conv) => {
                    let z = next(group, &s, pass)?;
                    group += 1;
                    conv.forward(&ops::join_channels(&[s, z])?, pass)?
                }
            };
        }
        if let Some(conv) = &self.vanilla {
            let z = next(0, &s, pass)?;
            s = conv.forward(&z, pass)?;
        }
        for cell in &self.behind {
            s = cell.forward(&s, pass)?;
        }
        self.head.forward(&ops::elu(&s, 1.0)?, pass)
    }
}
