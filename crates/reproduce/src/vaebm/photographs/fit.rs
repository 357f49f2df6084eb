//! Both stages on a set of photographs, and what comes out of them.

use std::f64::consts::LN_2;

use candle_core::Tensor;
use vaebm::{ChainConfig, VaebmModel};

use super::{set::Photographs, settings::PhotographSettings};
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Scale,
    results::Metric,
    run::Run,
    sheet::Sheet,
    training::{json, took},
    vaebm::digits::{
        autoencoder::{NvaeEpoch, TrainedNvae, train_autoencoder},
        data::{Digits, batch, whole},
        energy::train_energy,
        health::{checks, curves},
        samples::{Drawn, draw_kept, watch_kept},
    },
};

/// Steps from one column of the sheet of chains to the next.
const EVERY: usize = 2;
/// Images in a row of a sheet.
const COLUMNS: usize = 10;

pub(super) fn run(run: &mut Run<'_>, set: Photographs) -> Result<()> {
    let settings = PhotographSettings::resolve(run.request, set)?;
    let images = set.images(run.request, settings.train_images, settings.validation_images)?;
    describe(run, set, &settings);
    let recipe = settings.first();
    run.heading("Autoencoder");
    let trained = train_autoencoder(run, &images, &recipe)?;
    autoencoder(run, &settings, &trained)?;
    run.heading("Energy");
    let base = (&trained.model, json(&recipe)?);
    let second = settings.second();
    let energy = train_energy(run, &images, (base.0, &base.1), &second, "train-energy")?;
    run.paragraph(took(energy.updates, energy.seconds));
    let taken = Metric::new("energy_updates", energy.end as f64, "updates");
    run.metric(taken.setting("planned", settings.updates));
    curves(run, "vaebm", &energy.curve)?;
    let train = &settings.energy_training;
    let network = energy.last(&run.request.device)?;
    let model = VaebmModel::new(trained.model, network, train.test_chains(), train.potential)?;
    model.save(&run.dir().checkpoints().join("model"))?;
    run.heading("Samples");
    let [alone, product] = samples(run, &settings, &images, &model)?;
    chains(run, &settings, &model)?;
    health(run, &settings, [&alone, &product]);
    checks(run, "vaebm", energy.followed(), &product.health);
    Ok(())
}

fn describe(run: &mut Run<'_>, set: Photographs, settings: &PhotographSettings) {
    let train = &settings.energy_training;
    let size = match run.request.scale {
        Scale::Smoke => {
            run.paragraph(
                "Synthetic images and a few updates of tiny networks: this shows that the path works. \
                 No number is claimed at this scale.",
            );
            return;
        }
        Scale::Quick => {
            "a small autoencoder and the published energy at an eighth of its width, both trained for \
             minutes instead of days: what comes out is a blur, and an energy that has begun to move \
             it. No score of the paper is within reach at this scale"
        }
        Scale::Paper => "the published networks and trainings",
    };
    run.paragraph(format!(
        "{}: {} images, half of them mirrored, levels / 255; {size}. The energy is trained by {} updates \
         of {} images at rate {}, and as many chains of {} steps of {}, {} potential. Pictures are the \
         decoder's means, clamped.",
        set.collection().description(),
        settings.train_images,
        settings.updates,
        train.batch_size,
        train.learning_rate,
        train.chains.steps,
        train.chains.step_size,
        train.potential,
    ));
    run.paragraph(format!(
        "The paper reports of 50,000 samples (30,000 of CelebA-HQ): {}. Scores of this run can be taken \
         with `sample` and `evaluate`.",
        set.scores()
    ));
}

/// Curves and the bound of the first stage.
fn autoencoder(
    run: &mut Run<'_>,
    settings: &PhotographSettings,
    trained: &TrainedNvae,
) -> Result<()> {
    let TrainedNvae { curve, seconds, updates, .. } = trained;
    run.paragraph(took(*updates, *seconds));
    let line = |name: &str, of: fn(&NvaeEpoch) -> f64| {
        Series::line(name, curve.iter().map(|point| (point.epoch as f64, of(point))))
    };
    let mut plot = Plot::new("The autoencoder", "epoch", "nats of an image");
    plot.series(line("minus the bound", |point| point.reconstruction + point.divergence));
    let validation = curve.iter().filter_map(|p| Some((p.epoch as f64, p.validation?)));
    plot.series(Series::line("minus the bound, validation", validation));
    run.plot("autoencoder", &plot, "Means over epochs; densities of pixels in [-1, 1].")?;
    let losses: Vec<f64> = curve.iter().map(|point| point.loss).collect();
    finite_check(run, "losses of the autoencoder", &losses);
    if let Some(last) = curve.last() {
        run.metric(Metric::new("divergence_autoencoder", last.divergence, "nats"));
    }
    if let Some(bound) = curve.last().and_then(|point| point.validation) {
        let n = settings.followed.min(settings.validation_images);
        run.metric(Metric::new("negative_bound_autoencoder", bound, "nats").n(n));
        run.metric(Metric::new("bits_per_dim_autoencoder", bits(settings, bound), "bits").n(n));
        run.paragraph(format!(
            "Minus the bound of {n} validation images, one draw: {} nats, or {:.3} bits per dimension \
             with the density taken as constant over a level: a continuous model, for comparison only.",
            format_number(bound),
            bits(settings, bound)
        ));
    }
    Ok(())
}

/// `(-ln p - D ln w) / (D ln 2)` of pixels in `[-1, 1]`, whose levels are `w` apart.
fn bits(settings: &PhotographSettings, bound: f64) -> f64 {
    let d = settings.autoencoder.event().iter().product::<usize>() as f64;
    (bound - d * level_width(settings.autoencoder.bits).ln()) / (d * LN_2)
}

/// `2 / (2^bits - 1)`: from one of `2^bits` levels in `[-1, 1]` to the next.
fn level_width(bits: u32) -> f64 {
    2.0 / f64::from((1_u32 << bits) - 1)
}

/// Rows of both, position by position from the same noise; real images beside them.
fn samples(
    run: &mut Run<'_>,
    settings: &PhotographSettings,
    images: &Digits,
    model: &VaebmModel,
) -> Result<[Drawn; 2]> {
    let seed = run.request.stream().child("generate");
    let chains = model.config().chains;
    let none = ChainConfig { steps: 0, ..chains };
    let n = settings.shown;
    let alone = draw_kept(model, n, (none, whole), seed, run.observer()?)?;
    let product = draw_kept(model, n, (chains, whole), seed, run.observer()?)?;
    let columns = COLUMNS.min(n);
    let sheet = Sheet { columns, ..Sheet::of(&alone.images)? };
    let shown = columns.min(images.train.len());
    let device = &run.request.device;
    let real = batch(&images.train, &(0..shown).collect::<Vec<_>>(), None, device)?;
    run.sheet("data", &sheet, &real, "Training images.")?;
    let mut rows = Vec::new();
    for at in (0..n).step_by(columns) {
        let width = columns.min(n - at);
        rows.push(alone.images.narrow(0, at, width)?);
        rows.push(product.images.narrow(0, at, width)?);
    }
    let pairs = Tensor::cat(&rows, 0)?;
    let caption = format!(
        "Rows in pairs: samples of the autoencoder, and below each of them the same noise after {} steps \
         on the product.",
        chains.steps
    );
    run.sheet("samples", &sheet, &pairs, &caption)?;
    // What the chains moved is small: shown about grey.
    let moved = ((&product.images - &alone.images)? * 4.0)?;
    let moved = (moved + 0.5)?.narrow(0, 0, columns)?.clamp(0.0, 1.0)?;
    run.sheet(
        "moved",
        &sheet,
        &moved,
        "How the chains moved the first row: four times the difference, about grey.",
    )?;
    Ok([alone, product])
}

fn chains(run: &mut Run<'_>, settings: &PhotographSettings, model: &VaebmModel) -> Result<()> {
    let seed = run.request.stream().child("generate");
    let watched = watch_kept(model, settings.chains, (model.config().chains, whole), EVERY, seed)?;
    let steps: Vec<String> = watched.steps.iter().map(usize::to_string).collect();
    let caption = format!("Chains, one a row, after {} steps.", steps.join(", "));
    run.chains("chains", model.config().autoencoder.event(), &watched.images, &caption)?;
    let energies: Vec<String> = watched.energies.iter().map(|e| format_number(*e)).collect();
    run.paragraph(format!("Their mean energies: {} nats.", energies.join(", ")));
    Ok(())
}

fn health(run: &mut Run<'_>, settings: &PhotographSettings, drawn: [&Drawn; 2]) {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("samples of".to_owned(), Align::Left),
        right("steps"),
        right("fall of E"),
        right("drift / noise"),
        right("latent rms"),
        right("clamped pixels"),
    ]);
    let steps = [0, settings.energy_training.test_steps];
    for ((name, steps), Drawn { health, .. }) in
        ["autoencoder", "product"].into_iter().zip(steps).zip(drawn)
    {
        let fall = health.energy_start - health.energy_end;
        table.row([
            name.to_owned(),
            steps.to_string(),
            format_number(fall),
            format_number(health.drift_to_noise),
            format!("{:.4}", health.latent_rms),
            format!("{:.4}", health.clamped_share),
        ]);
        run.metric(Metric::new(format!("energy_fall_{name}"), fall, "nats"));
        run.metric(Metric::new(format!("latent_rms_{name}"), health.latent_rms, ""));
    }
    run.table(table);
    run.paragraph(
        "Healthy chains have a latent rms of 0.9 to 1.1; where drift over noise is far below one, a \
         chain is noise alone.",
    );
}

#[cfg(test)]
mod tests {
    use super::level_width;

    #[test]
    fn fewer_bits_have_wider_levels() {
        for (bits, steps) in [(8, 255.0), (5, 31.0), (1, 1.0)] {
            assert!((level_width(bits) - 2.0 / steps).abs() < 1e-15, "{bits}");
        }
    }
}
