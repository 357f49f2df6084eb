//! Table 5: how many of the thousand modes of StackedMNIST the autoencoder and the product reach.

mod settings;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};
use chains_core::Seed;
use datasets::{ImageSet, StackedMnist};
use eval_metrics::{ModeCoverage, mode_coverage};

use self::settings::StackedSettings;
use super::digits::{
    base::{base, product},
    data::{Digits, SIDE, unframed},
    energy::train_energy,
    health::{checks, curves},
    samples::{draw, means},
};
use crate::{
    arrays::score,
    data::{self, usage},
    digits::{self, Judge},
    error::{Error, Result},
    metrics::stacked::{CELLS, cell_counts, cells, check_real, coverage},
    registry::Experiment,
    report::{Align, Table, format_number},
    request::Scale,
    results::Metric,
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
    training::took,
};

/// Table 5, on a part of MNIST.
pub(super) const STACKED_MNIST: Experiment = Experiment {
    id: "stacked-mnist",
    anchor: "Table 5, on 10,000 digits",
    title: "Modes of StackedMNIST that an autoencoder reaches, and its product with an energy",
    headline: false,
    data: "MNIST (part of the repository)",
    time: ["3 s", "9 min", "35 min"],
    settings: |request| settings_table(&StackedSettings::resolve(request)?),
    ready: |request| {
        StackedSettings::resolve(request)?;
        digits::ready(&request.root)
    },
    run,
};

/// Framed stacked images of these digits, evenly and independently drawn.
fn stacked(digits: &ImageSet, n: usize, seed: Seed) -> Result<ImageSet> {
    let digits = digits.padded(SIDE).map_err(usage)?;
    let name = format!("{n} stacked of {}", digits.name);
    let set = StackedMnist::new(digits, n, seed).map_err(usage)?;
    let indices: Vec<usize> = (0..n).collect();
    let found = set.images(&indices);
    let shape = [found.channels, found.height, found.width];
    // A thousand labels do not fit into its bytes.
    ImageSet::new(&name, found.images, Vec::new(), shape).map_err(usage)
}

/// The sets of a run.
struct Sets {
    examples: Digits,
    /// Of test digits, `(n, 3, 28, 28)` in `[0, 1]`.
    real: Tensor,
    /// Frequencies of the triples of the training digits.
    reference: Vec<u64>,
}

impl Sets {
    fn load(run: &Run<'_>, settings: &StackedSettings) -> Result<Self> {
        let files = data::mnist(run.request)?;
        let (train, all) = (settings.digits, settings.digits + settings.validation_images);
        if all > files.train.len() {
            let (name, len) = (&files.train.name, files.train.len());
            return Err(Error::Usage(format!("`{name}` has {len} images, not {all}")));
        }
        let seed = run.request.stream().child("stacked");
        let digits = files.train.range(0..train);
        let real = stacked(&files.test, settings.samples, seed.child("real"))?;
        let indices: Vec<usize> = (0..real.len()).collect();
        let shape = (real.len(), 3, SIDE, SIDE);
        let pixels = real.gather(&indices).into_iter().map(|level| f32::from(level) / 255.0);
        let x = Tensor::from_vec(pixels.collect::<Vec<_>>(), shape, &Device::Cpu)?;
        Ok(Self {
            examples: Digits {
                train: stacked(&digits, settings.triples, seed.child("train"))?,
                validation: stacked(
                    &files.train.range(train..all),
                    settings.validation_images,
                    seed.child("validation"),
                )?,
                flip: false,
            },
            real: unframed(&x)?,
            reference: cell_counts(&digits),
        })
    }
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = StackedSettings::resolve(run.request)?;
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    describe(run, &settings);
    let sets = Sets::load(run, &settings)?;
    let base = base(run, &sets.examples, "", &settings.autoencoder())?;
    run.heading("Energy");
    let recipe = settings.energy();
    let names = (&base.model, base.name.as_str());
    let trained = train_energy(run, &sets.examples, names, &recipe, "train-energy")?;
    run.paragraph(took(trained.updates, trained.seconds));
    curves(run, "vaebm", &trained.curve)?;
    let model = product(run, &base, trained.last(&run.request.device)?, &recipe)?;
    model.save(&run.dir().checkpoints().join("model"))?;
    let seed = run.request.stream().child("generate");
    let decoder = base.model.decoder()?;
    let plain = means(&decoder, settings.samples, seed, run.observer()?)?;
    let chains = model.config().chains;
    let drawn = draw(&model, settings.samples, chains, seed, run.observer()?)?;
    checks(run, "vaebm", trained.followed(), &drawn.health);
    let fall = drawn.health.energy_start - drawn.health.energy_end;
    run.metric(Metric::new("energy_fall", fall, "nats"));
    run.metric(Metric::new("drift_to_noise", drawn.health.drift_to_noise, ""));
    run.heading("Samples");
    let all = [
        ("real stacked test digits", "real", &sets.real),
        ("autoencoder", "autoencoder", &plain),
        ("vaebm", "vaebm", &drawn.images),
    ];
    for (name, file, x) in &all {
        let shown = x.narrow(0, 0, settings.shown)?;
        let sheet = Sheet { columns: 20, ..Sheet::new(3, 28, 28) };
        run.sheet(file, &sheet, &shown, &format!("{name}."))?;
    }
    run.paragraph(format!(
        "Samples of both models begin at the same noise, position by position. Along the {} steps of the \
         chains the energy falls by {} nats on average; displacement by gradients over that by noise is {}.",
        chains.steps,
        format_number(fall),
        format_number(drawn.health.drift_to_noise),
    ));
    table(run, &judge, &all, &sets.reference)
}

fn describe(run: &mut Run<'_>, settings: &StackedSettings) {
    let StackedSettings { digits, triples, energy_width, updates, samples, .. } = settings;
    let (autoencoder, energy) = (&settings.autoencoder_training, &settings.energy_training);
    let short = match run.request.scale {
        Scale::Quick => {
            " Everything is shortened to minutes; at `paper` there are 20,000 images, 16 epochs, 120 \
             updates and 5,000 samples."
        }
        _ => "",
    };
    run.paragraph(format!(
        "{triples} images of three of the first {digits} training digits, drawn evenly, in a black frame of \
         32x32. A small hierarchical autoencoder, {} epochs; an energy of width {energy_width}, {updates} \
         updates with chains of {} steps of {} in the noise space, {} potential. {samples} samples of each, the \
         decoder's means, after {} steps for the product, are classified plane by plane by the repository's \
         digit network `a`. Modes are different triples; the divergence is of their frequencies from those of \
         the training digits, or from evenly spread ones, beside what a perfect sampler has with as many \
         images. The paper says neither networks nor settings nor the number of samples of its own 1,000 \
         modes and divergence of 0.087: with 5,000 samples a perfect sampler of evenly spread triples reaches \
         993 modes and a divergence of 0.105, so that neither number could be met.{short}",
        autoencoder.epochs,
        energy.chains.steps,
        energy.chains.step_size,
        energy.potential,
        energy.test_steps,
    ));
}

/// Bytes of images in `[0, 1]`.
fn bytes(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_device(&Device::Cpu)?.affine(255.0, 0.5)?.clamp(0.0, 255.0)?.to_dtype(DType::U8)?)
}

/// The paper's modes and divergence.
fn published(name: &str) -> [Option<f64>; 2] {
    if name == "vaebm" { [Some(1_000.0), Some(0.087)] } else { [None, None] }
}

fn table(
    run: &mut Run<'_>,
    judge: &Judge,
    all: &[(&str, &str, &Tensor)],
    reference: &[u64],
) -> Result<()> {
    let names = [
        "Images",
        "modes",
        "perfect",
        "paper",
        "with 5 hits",
        "divergence from digits",
        "perfect",
        "divergence from even",
        "perfect",
        "paper",
    ];
    let align = |at: usize| if at == 0 { Align::Left } else { Align::Right };
    let mut table = Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))));
    for (name, _, x) in all {
        let x = x.to_device(&Device::Cpu)?;
        let seen =
            cells(run, judge, x.dims()[0], |block| bytes(&x.narrow(0, block[0], block.len())?))?;
        let theirs = published(name);
        let found = coverage(run, judge, (name, &seen), reference, theirs)?;
        let even = score(mode_coverage(&seen, CELLS))?;
        let ModeCoverage { modes, modes_with_5_hits, kl, perfect, n, .. } = &found;
        let [their_modes, their_divergence] =
            theirs.map(|value| value.map(format_number).unwrap_or_default());
        table.row([
            (*name).to_owned(),
            modes.to_string(),
            format!("{:.1}", perfect.modes),
            their_modes,
            modes_with_5_hits.to_string(),
            format!("{kl:.4}"),
            format!("{:.4} ± {:.4}", perfect.kl, perfect.kl_std_dev),
            format!("{:.4}", even.kl),
            format!("{:.4} ± {:.4}", even.perfect.kl, even.perfect.kl_std_dev),
            their_divergence,
        ]);
        let metric =
            Metric::new(format!("divergence_even_{}", name.replace(' ', "_")), even.kl, "nats");
        run.metric(metric.n(*n).setting("perfect", even.perfect.kl));
        if name.starts_with("real") {
            check_real(run, &found);
        }
    }
    run.table(table);
    Ok(())
}
