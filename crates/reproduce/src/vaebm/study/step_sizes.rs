//! Figure 5: chains on images and latent variables, with one step size for all.

use candle_core::Tensor;
use chains_core::{
    chain::{StepSchedule, chain},
    density::Energy,
    mcmc::Langevin,
    train::{Event, Observer},
};
use serde::{Deserialize, Serialize};
use vaebm::{ChainConfig, DataSpace, NoiseDecoder, VaebmModel, run_chains};

use super::{
    super::digits::data::{judged_images, unframed},
    model::{open, usual},
};
use crate::{
    digits::{self, Judge, View, classifier_score, mnist_fid},
    error::Result,
    images::blocks,
    limits::at_least,
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// Chains that run together.
const BATCH: usize = 50;
/// Chains on a sheet.
const SHOWN: usize = 50;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StepSettings {
    /// The folder of the model; empty: a tiny one that is not trained.
    pub(super) model: String,
    /// Chains of each kind.
    chains: usize,
    steps: usize,
    /// Steps on images and latent variables.
    step_sizes: Vec<f64>,
}

pub(super) fn resolve(request: &Request) -> Result<StepSettings> {
    let scale = request.scale;
    let settings = request.settings(&StepSettings {
        model: usual(request),
        chains: scale.pick(4, 500, 5_000),
        steps: scale.pick(2, 10, 10),
        step_sizes: vec![8e-4, 8e-5, 8e-6],
    })?;
    at_least(&[
        ("chains", settings.chains, 2),
        ("steps", settings.steps, 1),
        ("step_sizes", settings.step_sizes.len(), 1),
    ])?;
    if settings.step_sizes.iter().any(|size| !(*size > 0.0 && size.is_finite())) {
        return crate::limits::bad("step_sizes", "must be positive");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

/// Where chains ended.
struct Ends {
    /// The decoder's means, `(n, 1, 28, 28)`.
    means: Tensor,
    /// The images themselves.
    images: Tensor,
    /// Mean energies of the images at the start and at the end.
    energies: [f64; 2],
    /// Chains with a number that is none.
    lost: usize,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = open(run, &settings.model)?;
    let own = model.config().chains.step_size;
    run.paragraph(format!(
        "{} chains of {} steps from samples of the autoencoder, the same for all rows. In the noise space every \
         coordinate has deviation one; on images and latent variables themselves a step of {own} there is \
         one of {own} times the variance of a coordinate, which no single step size is for all. The \
         paper shows that none of its three gives good samples of CIFAR-10.",
        settings.chains, settings.steps,
    ));
    let chains = ChainConfig { steps: settings.steps, ..model.config().chains };
    let mut all = vec![(
        "start".to_owned(),
        noise_chains(run, &model, &settings, ChainConfig { steps: 0, ..chains })?,
    )];
    all.push((format!("noise, {own}"), noise_chains(run, &model, &settings, chains)?));
    for size in &settings.step_sizes {
        let ends = direct_chains(run, &model, &settings, *size)?;
        all.push((format!("images and latents, {size}"), ends));
    }
    table(run, &all)?;
    for (at, (name, ends)) in all.iter().enumerate() {
        let n = SHOWN.min(settings.chains);
        let both = [&ends.means, &ends.images].map(|x| x.narrow(0, 0, n));
        let [means, images] = both;
        let sheet = Sheet { columns: 10, ..Sheet::new(1, 28, 28) };
        let caption = format!("{name}: the decoder's means.");
        run.sheet(&format!("{at}-means"), &sheet, &means?, &caption)?;
        let caption = format!("{name}: the images themselves, with the noise of their pixels.");
        run.sheet(&format!("{at}-images"), &sheet, &images?, &caption)?;
    }
    Ok(())
}

fn noise_chains(
    run: &mut Run<'_>,
    model: &VaebmModel,
    settings: &StepSettings,
    chains: ChainConfig,
) -> Result<Ends> {
    let space = model.space();
    let seed = run.request.stream().child("generate");
    gather(settings.chains, run.observer()?, |index, n| {
        let mut noise = seed.indexed(index).host_noise();
        let start = space.decoder().draw_noise(n, &mut noise)?;
        let ended = run_chains(space, &chains, &start, &mut noise, |_, _| Ok(()))?;
        let health = ended.health;
        Ok(Ends {
            means: unframed(&ended.decoded.mean_image()?)?,
            images: unframed(&ended.decoded.image)?,
            energies: [health.energy_start, health.energy_end],
            lost: health.non_finite,
        })
    })
}

fn direct_chains(
    run: &mut Run<'_>,
    model: &VaebmModel,
    settings: &StepSettings,
    size: f64,
) -> Result<Ends> {
    let space = DataSpace::new(model.space().decoder(), model.space().image_energy());
    let seed = run.request.stream().child("generate");
    let energy = |images: &Tensor| -> Result<Tensor> {
        Ok(model.space().image_energy().energy(images)?.detach())
    };
    let mean =
        |values: &Tensor| -> Result<f64> { Ok(f64::from(values.mean_all()?.to_scalar::<f32>()?)) };
    gather(settings.chains, run.observer()?, |index, n| {
        let mut noise = seed.indexed(index).host_noise();
        let start = model.space().decoder().draw_noise(n, &mut noise)?;
        let start = space.of_noise(&start)?;
        let kernel = Langevin::new(&space, 0.5 * size, size.sqrt())?;
        let mut last = start.clone();
        for draw in
            chain(&kernel, start.clone(), &StepSchedule { len: settings.steps }, &mut noise)?
        {
            last = draw?.state.position;
        }
        let (before, [means, images]) = (space.images(&start)?, space.images(&last)?);
        let after = energy(&images)?;
        // Zero for a finite number, NaN for any other.
        let rows = ((&last * 0.0)?.sum(1)? + (&after * 0.0)?)?;
        let finite = rows.eq(0.0)?.to_dtype(candle_core::DType::U32)?.sum_all()?;
        Ok(Ends {
            means: unframed(&means)?,
            images: unframed(&images)?,
            energies: [mean(&energy(&before[1])?)?, mean(&after)?],
            lost: n - finite.to_scalar::<u32>()? as usize,
        })
    })
}

/// Batch after batch.
fn gather(
    n: usize,
    observer: &mut dyn Observer,
    mut of: impl FnMut(u64, usize) -> Result<Ends>,
) -> Result<Ends> {
    observer.observe(&Event::Started { stage: "chains", step: 0, total: Some(n) })?;
    let (mut means, mut images) = (Vec::new(), Vec::new());
    let (mut energies, mut lost, mut done) = ([0.0; 2], 0, 0);
    for (index, block) in blocks(n, BATCH).enumerate() {
        let b = block.len();
        let ends = of(index as u64, b)?;
        means.push(ends.means);
        images.push(ends.images);
        for (sum, energy) in energies.iter_mut().zip(ends.energies) {
            *sum += energy * b as f64 / n as f64;
        }
        lost += ends.lost;
        done += b;
        observer.observe(&Event::Scalars { step: done, values: &[] })?;
    }
    observer.observe(&Event::Finished { step: n })?;
    let (means, images) = (Tensor::cat(&means, 0)?, Tensor::cat(&images, 0)?);
    Ok(Ends { means, images, energies, lost })
}

fn table(run: &mut Run<'_>, all: &[(String, Ends)]) -> Result<()> {
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    let n = all[0].1.means.dims()[0];
    let test = judged_images(run.request)?.test;
    let [reference, floor] = digits::halves(&test, n)?;
    let reference = View::of_set(&judge, &reference, run.observer()?)?;
    let columns = ["Chains", "E, start", "E, end", "mnist-fid", "classifier score", "lost"];
    let align = |name| if name == "Chains" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|name| (name, align(name))));
    let floor = View::of_set(&judge, &floor, run.observer()?)?;
    let real = scores(&floor, &reference)?;
    let cells = [String::new(), String::new(), format_number(real[0]), format!("{:.2}", real[1])];
    table.row(["real digits".to_owned()].into_iter().chain(cells).chain([String::new()]));
    for (at, (name, ends)) in all.iter().enumerate() {
        let [fid, score] = fid_of(run, &judge, ends, &reference)?;
        table.row([
            name.clone(),
            format_number(ends.energies[0]),
            format_number(ends.energies[1]),
            format_number(fid),
            format!("{score:.2}"),
            ends.lost.to_string(),
        ]);
        let key = match at {
            0 => "start".to_owned(),
            1 => "noise".to_owned(),
            _ => name.replace("images and latents, ", "direct_"),
        };
        run.metric(Metric::new(format!("mnist_fid_{key}"), fid, "").n(n));
        run.metric(Metric::new(format!("energy_end_{key}"), ends.energies[1], "nats").n(n));
        run.metric(Metric::new(format!("lost_{key}"), ends.lost as f64, "chains").n(n));
    }
    run.table(table);
    run.paragraph(format!(
        "Energies are of the images, with the noise of their pixels; mnist-fid and classifier score, by \
         network a, of the decoder's means of {n} chains beside {n} test digits. Lost chains hold a \
         number that is none; their rows count as they are."
    ));
    let lost = all[1].1.lost;
    run.check(Check::new("no chain on noise is lost", lost == 0, format!("{lost} are")));
    if run.request.scale != Scale::Smoke {
        let [first, last] = all[1].1.energies;
        let detail = format!("from {} to {}", format_number(first), format_number(last));
        run.check(Check::new("the energy falls along chains on noise", last < first, detail));
    }
    Ok(())
}

/// Of a broken row there are no scores.
fn fid_of(run: &mut Run<'_>, judge: &Judge, ends: &Ends, reference: &View) -> Result<[f64; 2]> {
    if ends.lost > 0 {
        return Ok([f64::NAN; 2]);
    }
    scores(&View::of_floats(judge, &ends.means, run.observer()?)?, reference)
}

fn scores(view: &View, reference: &View) -> Result<[f64; 2]> {
    Ok([mnist_fid(view, reference)?.value, classifier_score(view)?.value])
}
