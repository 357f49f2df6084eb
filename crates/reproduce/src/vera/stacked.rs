//! Section 5.3: how many of the thousand modes of StackedMNIST a generator reaches.

mod settings;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};
use chains_core::{HostNoise, nn::BatchNormMoments};
use datasets::{ImageSet, StackedMnist, scale_symmetric};
use eval_metrics::ModeCoverage;
use vera::VeraModel;

use self::settings::{HMC, StackedSettings, resolve};
use super::game::{Examples, Trained, train};
use crate::{
    data::{self, usage},
    digits::{self, Judge},
    error::{Error, Result},
    images::blocks,
    limits::finite_check,
    metrics::stacked::{cell_counts, cells, check_real, coverage},
    registry::Experiment,
    report::{Align, Table, format_number},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// Section 5.3: modes of StackedMNIST.
pub(super) const STACKED_MNIST: Experiment = Experiment {
    id: "stacked-mnist",
    anchor: "Section 5.3",
    title: "Modes of StackedMNIST with and without the entropy",
    headline: false,
    data: "MNIST (part of the repository)",
    time: ["3 s", "9 min", "2 weeks"],
    settings: |request| settings_table(&resolve(request)?),
    ready: |request| digits::ready(&request.root),
    run,
};

/// Stacked digits to train on.
struct Stacked {
    set: StackedMnist,
    digest: String,
    side: usize,
}

impl Stacked {
    fn new(digits: &ImageSet, settings: &StackedSettings, n: usize, run: &Run<'_>) -> Result<Self> {
        let digits = settings.sized(digits)?;
        let seed = run.request.stream().child("stacked");
        let digest = format!("{n} of {}", digits.digest());
        let set = StackedMnist::new(digits, n, seed).map_err(usage)?;
        Ok(Self { set, digest, side: settings.side })
    }

    fn tensor(&self, indices: &[usize]) -> Result<Tensor> {
        let pixels = scale_symmetric(&self.set.images(indices).images);
        Ok(Tensor::from_vec(pixels, (indices.len(), 3, self.side, self.side), &Device::Cpu)?)
    }
}

impl Examples for Stacked {
    fn count(&self) -> usize {
        self.set.len()
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn batch(
        &self,
        indices: &[usize],
        _: &mut HostNoise,
        device: &Device,
    ) -> Result<(Tensor, Option<Tensor>)> {
        Ok((self.tensor(indices)?.to_device(device)?, None))
    }
}

/// Bytes `(n, 3, 32, 32)` or `(n, 3, 28, 28)` that the digit networks take, of images in `[-1, 1]`.
///
/// Enlarged digits are read at the places of their own pixels, which undoes the enlargement.
fn bytes(x: &Tensor) -> Result<Tensor> {
    let (n, channels, side, _) = x.dims4()?;
    let pixels = x.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let byte = |value: f32| (127.5 * (value + 1.0)).round() as u8;
    if side != 64 {
        let pixels: Vec<u8> = pixels.into_iter().map(byte).collect();
        return Ok(Tensor::from_vec(pixels, (n, channels, side, side), &Device::Cpu)?);
    }
    let mut out = Vec::with_capacity(n * channels * 28 * 28);
    let taps: Vec<(usize, f32)> = (0..28)
        .map(|i| {
            let at = (i as f32 + 0.5) * 64.0 / 28.0 - 0.5;
            (at as usize, at.fract())
        })
        .collect();
    for plane in pixels.chunks_exact(64 * 64) {
        for (y, down) in &taps {
            for (x, right) in &taps {
                let across =
                    |y: usize| plane[64 * y + x] * (1.0 - right) + plane[64 * y + x + 1] * right;
                out.push(byte(across(*y) * (1.0 - down) + across(y + 1) * down));
            }
        }
    }
    Ok(Tensor::from_vec(out, (n, channels, 28, 28), &Device::Cpu)?)
}

/// Samples in batches of the size of training, whose batch norms they see; `(n, 3, side, side)`.
fn samples(model: &VeraModel, n: usize, batch: usize, noise: &mut HostNoise) -> Result<Tensor> {
    let blocks = (0..n.div_ceil(batch)).map(|_| {
        let drawn = model.generator().draw(batch, BatchNormMoments::batch(), noise)?;
        Ok(drawn.x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
    });
    Ok(Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 0)?.narrow(0, 0, n)?)
}

/// What was reached.
struct Reached {
    name: String,
    cells: Vec<usize>,
}

fn classify(run: &mut Run<'_>, judge: &Judge, name: &str, x: &Tensor) -> Result<Reached> {
    let found =
        cells(run, judge, x.dims()[0], |block| bytes(&x.narrow(0, block[0], block.len())?))?;
    Ok(Reached { name: name.into(), cells: found })
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let files = data::mnist(run.request)?;
    let judges = digits::open(&run.request.root, &run.request.device)?;
    let Some(judge) = judges.first() else {
        return Err(Error::Missing("there is no digit network".into()));
    };
    let data = Stacked::new(&files.train, &settings, settings.triples, run)?;
    describe(run, &settings, &files.train);
    let reference = cell_counts(&files.train);
    let mut rows = Vec::new();
    let real = Stacked::new(&files.test, &settings, settings.samples, run)?;
    let mut seen = Vec::with_capacity(settings.samples);
    for block in blocks(settings.samples, 1_000) {
        seen.push(real.tensor(&block)?);
    }
    let seen = Tensor::cat(&seen, 0)?;
    let reached = classify(run, judge, "real stacked test digits", &seen)?;
    rows.push((reached, None));
    show(run, &settings, "real", &seen, "Real stacked digits of the test file.")?;
    drop(seen);
    for weight in &settings.entropy_weights {
        let recipe = settings.recipe(*weight);
        let name = format!("lambda {}", format_number(*weight));
        let trained = train(run, &data, &recipe, &format!("train-lambda-{weight}"))?;
        trained.model.save(&run.dir().checkpoints().join(format!("lambda-{weight}")))?;
        let mut noise = run.request.stream().child("samples").host_noise();
        let x = samples(&trained.model, settings.samples, settings.batch_size, &mut noise)?;
        let caption = format!("Samples, {name}, after {} updates.", trained.updates);
        show(run, &settings, &format!("lambda-{weight}"), &x, &caption)?;
        trained.plot(run, &format!("curve-{weight}"), &format!("StackedMNIST, {name}"))?;
        rows.push((classify(run, judge, &name, &x)?, Some((*weight, trained))));
    }
    table(run, &settings, judge, &rows, &reference)
}

fn describe(run: &mut Run<'_>, settings: &StackedSettings, digits: &ImageSet) {
    let StackedSettings { side, width, latent, proposals, triples, samples, .. } = settings;
    let how = if *side == 64 { "enlarged to 64x64" } else { "in a black frame of 32x32" };
    let estimate = match settings.entropy.as_str() {
        HMC => "Hamiltonian chains of the published lengths, with the exact gradient".to_owned(),
        _ => format!("importance sampling with k = {proposals}"),
    };
    let few = if *proposals == 20 { "" } else { " (20 in the paper)" };
    let sigma = match settings.initial_sigma {
        // The published beginning.
        0.01 => String::new(),
        sigma => format!(
            " With the entropy sigma begins at {sigma}: from the published 0.01 it takes thousands of \
             updates to where it rests."
        ),
    };
    let penalty = match settings.gradient_penalty {
        // The published one of the other experiments.
        0.1 => String::new(),
        gamma => format!(
            " gamma is {gamma}: with the 0.1 of the other experiments networks of width 16 draw one image \
             or a few after a thousand updates."
        ),
    };
    run.paragraph(format!(
        "{triples} images of three of the digits of `{}`, {how}. DCGAN networks of base width {width} \
         (64 at 64x64 in the paper), {latent} latent variables; the entropy's gradient by {estimate}{few}. \
         {samples} samples are classified plane by plane by the repository's digit network `a`; the \
         divergence is of their cells from the digits' own frequencies. Beside stand the values of a \
         perfect sampler, and real triples of test digits seen through the same network. Weight of the \
         entropy and penalty are not in the paper for this experiment.{penalty}{sigma}",
        digits.name
    ));
}

fn show(
    run: &mut Run<'_>,
    settings: &StackedSettings,
    name: &str,
    x: &Tensor,
    caption: &str,
) -> Result<()> {
    let side = settings.side;
    let shown = x.narrow(0, 0, settings.shown.min(x.dims()[0]))?.affine(0.5, 0.5)?;
    let sheet = Sheet { columns: 20, ..Sheet::new(3, side, side) };
    run.sheet(name, &sheet, &shown, caption)
}

type Row = (Reached, Option<(f64, Trained)>);

fn table(
    run: &mut Run<'_>,
    settings: &StackedSettings,
    judge: &Judge,
    rows: &[Row],
    reference: &[u64],
) -> Result<()> {
    let names = [
        "images",
        "modes",
        "perfect",
        "published",
        "with 5 hits",
        "divergence",
        "perfect",
        "sigma",
    ];
    let align = |at: usize| if at == 0 { Align::Left } else { Align::Right };
    let mut table = Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))));
    let (mut losses, mut sentences) = (Vec::new(), Vec::new());
    for (Reached { name, cells }, trained) in rows {
        let theirs = trained.as_ref().and_then(|(weight, _)| settings.published(*weight));
        let found = coverage(run, judge, (name, cells), reference, [theirs, None])?;
        let ModeCoverage { modes, modes_with_5_hits, kl, perfect, .. } = &found;
        let sigma = trained.as_ref().map(|(_, trained)| trained.model.generator().sigma());
        table.row([
            name.clone(),
            modes.to_string(),
            format!("{:.1}", perfect.modes),
            theirs.map(|v| v.to_string()).unwrap_or_default(),
            modes_with_5_hits.to_string(),
            format!("{kl:.4}"),
            format!("{:.4} ± {:.4}", perfect.kl, perfect.kl_std_dev),
            sigma.transpose()?.map(format_number).unwrap_or_default(),
        ]);
        match trained {
            Some((_, trained)) => {
                losses.extend(trained.curve.iter().map(|epoch| epoch.loss));
                sentences.push(format!("{name}: {modes} of 1,000 modes. {}", trained.sentence()));
            }
            None => check_real(run, &found),
        }
    }
    finite_check(run, "losses", &losses);
    run.table(table);
    run.paragraph(sentences.join(" "));
    Ok(())
}
