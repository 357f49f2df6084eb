//! `sample`.

use std::path::{Path, PathBuf};

use ::vaebm::VaebmModel;
use candle_core::Tensor;
use chains_core::{
    Seed,
    chain::{Half, half_mask},
};
use image::RgbImage;

use super::{
    device,
    models::{Chains, Model, Opened, Source, input, positive, writable},
    print, vaebm, variational_annealing,
    vera::Vera,
};
use crate::{
    error::{Error, Result},
    observers::Progress,
    results::write_atomic,
    sheet::{Sheet, read_mask, read_png, save_png},
    vera::csv_line,
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
    /// steps, then the rest at temperature 1; by default as its config.json says. For VAEBM: as its
    /// config.json says; 0 shows the autoencoder, from the same noise position by position
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Root of all randomness
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The sheet to write; of models of tables (vera) a .csv file
    #[arg(long, value_name = "FILE.png", default_value = "samples.png")]
    out: PathBuf,
    /// Show chains, one in a row, one step in a column, instead of their ends; of VAEBM every few steps
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
    match args.source.open(&device(&args.source.device)?)? {
        Opened::Chain(model) => save_png(&picture(&args, &model)?, &args.out)?,
        Opened::Vera(vera) => generated(&args, &vera)?,
        Opened::Gan(model) => {
            refuse_chains(&args, "variational-annealing")?;
            let (n, seed) = (args.n.unwrap_or(64), Seed::new(args.seed).child("generate"));
            save_png(&variational_annealing::sheet(&model, n, seed)?, &args.out)?;
        }
        Opened::Vaebm(model) => save_png(&refined(&args, &model)?, &args.out)?,
    }
    print(&args.out.display().to_string());
    Ok(0)
}

/// Samples of an autoencoder after steps on its energy, or their chains.
fn refined(args: &Args, model: &VaebmModel) -> Result<RgbImage> {
    if args.inpaint.is_some() {
        return Err(Error::Usage(
            "--inpaint: this model is one of vaebm, its chains cannot be told what is known".into(),
        ));
    }
    let [channels, height, width] = vaebm::event(model);
    let (chains, sheet) = (vaebm::chains(model, args.steps), Sheet::new(channels, height, width));
    let seed = Seed::new(args.seed).child("generate");
    if args.chain {
        let n = args.n.unwrap_or(10);
        return sheet.render_chains(&vaebm::watched(model, n, chains, seed)?);
    }
    let n = args.n.unwrap_or(64);
    let mut pixels = Vec::new();
    vaebm::samples(model, n, chains, seed, &mut Progress::stderr(), |x| {
        pixels.extend(x.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    })?;
    let columns = (n as f64).sqrt().ceil() as usize;
    Sheet { columns, ..sheet }.render(&pixels)
}

/// Samples of the generator as a sheet, of tables as a CSV file. Those of a flow are its exact ones; its
/// generator's go to a second file.
fn generated(args: &Args, vera: &Vera) -> Result<()> {
    refuse_chains(args, "vera")?;
    let (n, seed) = (args.n.unwrap_or(64), Seed::new(args.seed).child("generate"));
    let generated = vera.generated(n, seed.child("generator"))?;
    match vera.exact(n, seed)? {
        None => write(vera, &generated, &args.out),
        Some(exact) => {
            write(vera, &exact, &args.out)?;
            let stem = args.out.file_stem().unwrap_or_default().to_string_lossy();
            let ending = args.out.extension().unwrap_or_default().to_string_lossy();
            let second = args.out.with_file_name(format!("{stem}-generator.{ending}"));
            write(vera, &generated, &second)?;
            print(&second.display().to_string());
            Ok(())
        }
    }
}

/// Refuses what a generator cannot do.
fn refuse_chains(args: &Args, method: &str) -> Result<()> {
    let refused = [
        ("--steps", args.steps.is_some(), "its generator runs no chain"),
        ("--chain", args.chain, "its generator runs no chain"),
        ("--inpaint", args.inpaint.is_some(), "its generator cannot be told what is known"),
    ];
    match refused.iter().find(|(_, given, _)| *given) {
        Some((option, _, reason)) => {
            Err(Error::Usage(format!("{option}: this model is one of {method}, {reason}")))
        }
        None => Ok(()),
    }
}

/// A sheet of images, or a table.
fn write(vera: &Vera, x: &Tensor, path: &Path) -> Result<()> {
    let csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    match vera.image() {
        None if !csv => Err(Error::Usage(format!(
            "--out {}: this model is of tables; name a .csv file",
            path.display()
        ))),
        Some([channels, height, width]) if !csv => {
            let columns = (x.dims()[0] as f64).sqrt().ceil() as usize;
            let images = vera.pixels().shown(&x.flatten_from(1)?)?;
            let sheet = Sheet { columns, ..Sheet::new(channels, height, width) };
            save_png(&sheet.render_tensor(&images)?, path)
        }
        _ => {
            let mut text = csv_line(&vera.columns());
            for row in vera.rows(x)? {
                let cells: Vec<String> = row.iter().map(|v| format!("{v:.6}")).collect();
                text += &csv_line(&cells);
            }
            write_atomic(path, text.as_bytes())
        }
    }
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
