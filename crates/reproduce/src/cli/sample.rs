//! `sample`.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use chains_core::{
    Seed,
    chain::{Half, half_mask},
};
use image::RgbImage;

use super::{
    models::{Chains, Model, Source, input, positive, writable},
    print,
};
use crate::{
    error::Result,
    observers::Progress,
    sheet::{Sheet, read_mask, read_png, save_png},
};

/// The largest value of a pixel as the models see it: integer / 256.
const WHITE: f64 = 255.0 / 256.0;
/// What the masked input shows where nothing is known.
const UNKNOWN: f32 = 0.5;
/// Completions in a row of the sheet, beside the masked input.
const BESIDE: usize = 9;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// How many samples. Default: 64; 10 with --chain; 9 with --inpaint
    #[arg(long, value_name = "N", value_parser = positive)]
    n: Option<usize>,
    /// Steps of a chain. Default for infusion training: twice the steps it was trained with, as the
    /// paper shows its MNIST model (T = 15) after 30 steps in Figure 4. For walkback: its cooling
    /// steps, then the rest at temperature 1; by default as its config.json says
    #[arg(long, value_name = "N", value_parser = positive)]
    steps: Option<usize>,
    /// Root of all randomness
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The sheet to write
    #[arg(long, value_name = "FILE.png", default_value = "samples.png")]
    out: PathBuf,
    /// Show chains, one in a row, one step in a column, instead of their ends
    #[arg(long, conflicts_with = "inpaint")]
    chain: bool,
    /// Complete this picture, which must have the model's size: the sheet shows what is known,
    /// grey elsewhere, and beside it the completions
    #[arg(long, value_name = "FILE.png", requires = "mask")]
    inpaint: Option<PathBuf>,
    /// What is known and kept: top, bottom, left or right half, or the white of a picture
    #[arg(long, value_name = "top|bottom|left|right|FILE.png", requires = "inpaint")]
    mask: Option<String>,
}

pub(super) fn run(args: Args) -> Result<u8> {
    writable("--out", &args.out)?;
    let model = args.source.open()?;
    save_png(&picture(&args, &model)?, &args.out)?;
    print(&args.out.display().to_string());
    Ok(0)
}

/// The means of the last step, as the paper shows them.
fn picture(args: &Args, model: &Model) -> Result<RgbImage> {
    let [channels, height, width] = model.event();
    let steps = args.steps.unwrap_or(model.shown_steps());
    let seed = Seed::new(args.seed).child("generate");
    let mut chains = Chains { model, steps, seed, known: None };
    let sheet = Sheet::new(channels, height, width);
    let mut progress = Progress::stderr();
    if args.chain {
        let mut means = vec![Vec::new(); steps];
        chains.run(args.n.unwrap_or(10), &mut progress, |step, mean| means[step].push(mean))?;
        let means =
            means.iter().map(|blocks| Tensor::cat(blocks, 0)).collect::<Result<Vec<_>, _>>()?;
        return sheet.render_chains(&means);
    }
    if let (Some(path), Some(mask)) = (&args.inpaint, &args.mask) {
        let pixels = read_png(path, channels, height, width).map_err(input)?;
        let mask = read_known(mask, model.event())?;
        let d = pixels.len();
        let known = (Tensor::from_vec(pixels.clone(), (1, d), model.device())? * WHITE)?;
        let flags = mask.iter().map(|known| u8::from(*known)).collect();
        chains.known = Some((known, Tensor::from_vec(flags, (1, d), model.device())?));
        let found = chains.run(args.n.unwrap_or(BESIDE), &mut progress, |_, _| ())?;
        let masked = pixels.iter().zip(&mask).map(|(v, known)| if *known { *v } else { UNKNOWN });
        return completions(&sheet, masked.collect(), &found);
    }
    let n = args.n.unwrap_or(64);
    let columns = (n as f64).sqrt().ceil() as usize;
    let means = chains.run(n, &mut progress, |_, _| ())?;
    Sheet { columns, ..sheet }.render_tensor(&means)
}

/// For every number of an example, is it known?
fn read_known(mask: &str, event: [usize; 3]) -> Result<Vec<bool>> {
    let [channels, height, width] = event;
    let half = match mask {
        "top" => Half::Top,
        "bottom" => Half::Bottom,
        "left" => Half::Left,
        "right" => Half::Right,
        file => {
            return Ok(read_mask(Path::new(file), height, width).map_err(input)?.repeat(channels));
        }
    };
    Ok(half_mask(half, event).into_iter().map(|known| known != 0).collect())
}

/// Rows of the masked input and its completions; white is white again, so that what is known has
/// the very pixels of the input file.
fn completions(sheet: &Sheet, masked: Vec<f32>, found: &Tensor) -> Result<RgbImage> {
    let (n, d) = found.dims2()?;
    let found = (found / WHITE)?.flatten_all()?.to_vec1::<f32>()?;
    let rows = found.chunks(BESIDE * d).flat_map(|row| [masked.as_slice(), row]);
    let images = rows.flatten().copied().collect::<Vec<_>>();
    Sheet { columns: 1 + n.min(BESIDE), lead: 1, ..sheet.clone() }.render(&images)
}
