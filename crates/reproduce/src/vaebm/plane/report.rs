//! Tables, pictures and checks.

use candle_core::{DType, Device, Tensor};
use chains_core::density::{LogDensity, Sample};
use datasets::toys::Gaussians;
use vaebm::plane::Grid;

use super::{
    AutoencoderFound,
    autoencoder::Autoencoder,
    energy::EnergyFound,
    measure::{PICTURE, Points, mean_and_error, picture},
    modes::Hits,
    settings::PlaneSettings,
};
use crate::{
    error::Result,
    limits::{beside, finite_check},
    plots::{Panels, Plot, Series},
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
    training::took,
};

/// Mean log-likelihood of the truth: `-(ln 25 + 1 + ln 2 pi + 2 ln sigma)`.
const TRUTH: f64 = -1.1005;
/// The share of exact samples within three deviations, `1 - exp(-4.5)`.
const SHARE: f64 = 0.98889;
/// Means of the paper: truth, autoencoder, product.
const PUBLISHED: [f64; 3] = [-1.10, -2.97, -1.50];
/// How much the product must gain, and how far it may pass the truth, nats.
const GAIN: f64 = 0.5;
const ABOVE: f64 = 0.02;

/// What there is to report.
pub(super) struct Measured<'a> {
    pub(super) points: &'a Points,
    pub(super) autoencoder: &'a Autoencoder,
    pub(super) alone: &'a AutoencoderFound,
    pub(super) energies: &'a [EnergyFound],
}

/// Log-likelihoods of the product, one a point, nats.
fn product(alone: &AutoencoderFound, found: &EnergyFound) -> Vec<f64> {
    let log_z = found.partitions.monte_carlo.0;
    alone.log_p.iter().zip(&found.energies).map(|(p, energy)| p - energy - log_z).collect()
}

fn right(name: &str) -> (String, Align) {
    (name.to_owned(), Align::Right)
}

fn left(name: &str) -> (String, Align) {
    (name.to_owned(), Align::Left)
}

pub(super) fn write(run: &mut Run<'_>, settings: &PlaneSettings, all: &Measured<'_>) -> Result<()> {
    introduce(run, settings, all);
    likelihoods(run, settings, all)?;
    partitions(run, all);
    modes(run, settings, all)?;
    curves(run, all)
}

fn introduce(run: &mut Run<'_>, settings: &PlaneSettings, all: &Measured<'_>) {
    let words = match run.request.scale {
        Scale::Smoke => {
            "A few updates of narrow networks: this shows that the path works. No number \
                         is claimed at this scale."
                .to_owned()
        }
        _ => format!(
            "25 Gaussians of deviation 0.0839 at {{-2, .., 2}}^2: the paper prints neither spacing nor \
             deviation, but the latter follows from the likelihood of its truth. Networks of four \
             layers of {} units and {} latent numbers as published; everything else is our choice. \
             The energy is trained by {} updates with chains of {} steps of size {} on the paper's \
             potential, {} % of which go on from a buffer of {}, noise of pixels included; as a control the \
             same energy by {} updates with weighted samples of the autoencoder, which have no error of \
             chains. Both begin at zero energy with a first layer {} times as steep as usual: otherwise the \
             energy learns offsets of whole Gaussians long before the gaps between them, chains seldom \
             cross gaps, and the offsets run away. Measured are averages of weights (decay {}).",
            settings.width,
            settings.latent,
            settings.energy_updates,
            settings.chain_steps,
            settings.step_size,
            100.0 * settings.replay,
            settings.buffer,
            settings.control_updates,
            settings.energy_first_layer,
            settings.energy_average,
        ),
    };
    run.paragraph(words);
    run.paragraph(format!("Autoencoder. {}", all.autoencoder.sentence));
    for found in all.energies {
        let made = found.looks.last().map_or(0, |look| look.update);
        let best = found.looks.iter().max_by(|a, b| a.gain.total_cmp(&b.gain));
        let best = best.map_or(0, |look| look.update);
        run.paragraph(format!(
            "{}. {} Of {} planned; the network after {best} gained most and is the one measured.",
            found.negative.name(),
            took(made, found.seconds),
            settings.updates(found.negative),
        ));
    }
}

fn likelihoods(run: &mut Run<'_>, settings: &PlaneSettings, all: &Measured<'_>) -> Result<()> {
    run.heading("Likelihoods");
    let may = run.request.scale != Scale::Smoke;
    let [everywhere, truth] = all.points.truth()?;
    let mut rows = vec![("truth".to_owned(), "truth", mean_and_error(&truth), Some(PUBLISHED[0]))];
    let last = all.alone.likelihoods.last().copied().unwrap_or((0, f64::NAN, f64::NAN));
    let name = format!("autoencoder, {} draws", last.0);
    rows.push((name, "autoencoder", (last.1, last.2), Some(PUBLISHED[1])));
    for found in all.energies {
        let values = mean_and_error(&product(all.alone, found));
        let published = (found.negative == super::Negative::Chains).then_some(PUBLISHED[2]);
        rows.push((found.negative.name().to_owned(), found.negative.key(), values, published));
    }
    let mut table =
        Table::new([left("model"), right("mean log-likelihood, nats"), right("published")]);
    for (name, key, (mean, error), published) in &rows {
        let theirs = published.map(|v| format!("{v:.2}")).unwrap_or_default();
        table.row([name.clone(), format!("{mean:.3} ± {error:.3}"), theirs]);
        let metric = Metric::new(format!("log_likelihood_{key}"), *mean, "nats")
            .std_error(*error)
            .n(settings.likelihood_points);
        run.metric(published.map_or(metric.clone(), |theirs| beside(metric, theirs, may)));
    }
    run.table(table);
    run.paragraph(format!(
        "All means over the same {} points (published: 100,000 points). The log-likelihood of the \
         product is that of the autoencoder minus energy and ln Z, the latter by Monte Carlo.",
        settings.likelihood_points
    ));
    let mut table = Table::new([right("draws of the posterior"), right("autoencoder, nats")]);
    for (draws, mean, error) in &all.alone.likelihoods {
        table.row([draws.to_string(), format!("{mean:.3} ± {error:.3}")]);
    }
    run.table(table);
    run.paragraph(format!(
        "Means grow with the draws. By {} kernels at draws of the prior instead, the mean is {:.3}.",
        settings.kernels.min(20_000),
        all.alone.by_kernels
    ));
    let values: Vec<f64> = rows.iter().map(|(_, _, (mean, _), _)| *mean).collect();
    finite_check(run, "log-likelihoods", &values);
    if run.request.scale == Scale::Smoke {
        return Ok(());
    }
    run.check(Check::close(
        format!("the truth on {} points is its closed form", everywhere.len()),
        mean_and_error(&everywhere).0,
        TRUTH,
        0.03,
    ));
    let [truth, alone, chains] = [values[0], values[1], values[2]];
    run.check(Check::at_most(
        "the product gains half a nat on the autoencoder",
        alone + GAIN,
        chains,
    ));
    for (value, found) in values[2..].iter().zip(all.energies) {
        let name = format!("{}: not above the truth", found.negative.name());
        run.check(Check::at_most(name, *value, truth + ABOVE));
    }
    Ok(())
}

fn partitions(run: &mut Run<'_>, all: &Measured<'_>) {
    run.heading("Partition functions");
    let mut table = Table::new([
        left("model"),
        right("ln Z, Monte Carlo"),
        right("grid, kernels"),
        right("grid, posterior draws"),
        right("integral of p, kernels"),
        right("integral of p, posterior draws"),
        right("share of samples that count"),
    ]);
    for found in all.energies {
        let p = &found.partitions;
        table.row([
            found.negative.name().to_owned(),
            format!("{:.4} ± {:.4}", p.monte_carlo.0, p.monte_carlo.1),
            format!("{:.4}", p.kernels.0),
            format!("{:.4}", p.posterior.0),
            format!("{:.4}", p.kernels.1),
            format!("{:.4}", p.posterior.1),
            format!("{:.3}", p.effective),
        ]);
        let key = found.negative.key();
        let metric = Metric::new(format!("log_partition_{key}"), p.monte_carlo.0, "nats");
        run.metric(metric.std_error(p.monte_carlo.1));
        if run.request.scale != Scale::Smoke {
            let name = found.negative.name();
            run.check(Check::close(
                format!("{name}: the integral of p is one"),
                p.kernels.1,
                1.0,
                0.01,
            ));
            // Kernels are five times fewer than samples, posterior draws a hundred a node.
            run.check(Check::close(
                format!("{name}: ln Z on the grid is that of Monte Carlo"),
                p.kernels.0,
                p.monte_carlo.0,
                0.02,
            ));
        }
    }
    run.table(table);
    run.paragraph(
        "Monte Carlo: the mean of exp(-E) over samples of the autoencoder. Grids: the rectangle rule, \
         the autoencoder's density from kernels at draws of the prior, or from draws of the posterior \
         at every node, which find a little too little where p is small.",
    );
}

fn modes(run: &mut Run<'_>, settings: &PlaneSettings, all: &Measured<'_>) -> Result<()> {
    run.heading("Samples");
    let mut noise = run.request.stream().child("truth").host_noise();
    let truth = Hits::of(&Gaussians::twenty_five().sample(settings.samples, &mut noise)?)?;
    let mut rows: Vec<(String, String, &Hits)> = vec![
        ("truth".into(), "truth".into(), &truth),
        ("autoencoder".into(), "autoencoder".into(), &all.alone.hits),
    ];
    for found in all.energies {
        let (name, key) = (found.negative.name(), found.negative.key());
        let steps = settings.test_steps;
        rows.push((
            format!("{name}: chains of {steps} steps"),
            format!("{key}_chains"),
            &found.chained,
        ));
        rows.push((format!("{name}: drawn again"), format!("{key}_resampled"), &found.resampled));
    }
    let mut table = Table::new([
        left("samples"),
        right("Gaussians covered"),
        right("within 3 deviations, %"),
        right("smallest share of a Gaussian, %"),
        right("largest, %"),
    ]);
    for (name, key, hits) in &rows {
        let ((share, error), [low, high]) = (hits.share(), hits.extremes());
        table.row([
            name.clone(),
            hits.modes().to_string(),
            format!("{:.2} ± {:.2}", 100.0 * share, 100.0 * error),
            format_number(100.0 * low),
            format_number(100.0 * high),
        ]);
        run.metric(Metric::new(format!("modes_{key}"), hits.modes() as f64, "").n(hits.n));
        run.metric(Metric::new(format!("share_{key}"), share, "").std_error(error).n(hits.n));
    }
    run.table(table);
    run.paragraph(format!(
        "{} samples each; a Gaussian is covered by 20 of 10,000 within three deviations. Of the truth \
         {:.2} % are there, 4 % at each. Chains begin at fresh noise. \"Drawn again\": samples of the \
         autoencoder by their weights under the product, without chains.",
        settings.samples,
        100.0 * SHARE
    ));
    let mut panels = Panels::new("Samples", 2);
    panels.panel("truth", points(&truth)).panel("autoencoder", points(&all.alone.hits));
    for found in all.energies {
        panels.panel(found.negative.name(), points(&found.chained));
    }
    run.panels("samples", &panels, "As Figure 4: samples of the product by chains.")?;
    densities(run, all)?;
    if let (Scale::Quick | Scale::Paper, Some(found)) = (run.request.scale, all.energies.first()) {
        let [product, alone] = [&found.chained, &all.alone.hits];
        let covered = product.modes();
        run.check(Check::new(
            "the product's chains cover all Gaussians",
            covered == 25,
            format!("{covered} of 25"),
        ));
        // "Clearly": a tenth of all samples, twenty times the error of a share.
        run.check(Check::at_most(
            "more of the product's samples are within three deviations, by a tenth of all",
            alone.share().0 + 0.1,
            product.share().0,
        ));
    }
    Ok(())
}

fn points(hits: &Hits) -> Vec<(f64, f64)> {
    hits.shown.iter().map(|[x, y]| (f64::from(*x), f64::from(*y))).collect()
}

/// Densities of truth, autoencoder and products.
fn densities(run: &mut Run<'_>, all: &Measured<'_>) -> Result<()> {
    let nodes = Grid::new([-3.0, -3.0], 6.0, PICTURE)?.points()?;
    let truth = Gaussians::twenty_five().log_prob(&nodes.to_dtype(DType::F64)?)?.exp()?;
    let mut pixels = picture(&truth.to_vec1::<f64>()?);
    if let Some(found) = all.energies.first() {
        pixels.extend_from_slice(&found.pictures[1]);
    }
    let mut names = vec!["truth", "autoencoder"];
    for found in all.energies {
        pixels.extend_from_slice(&found.pictures[0]);
        names.push(found.negative.name());
    }
    let n = pixels.len() / (PICTURE * PICTURE);
    let sheet = Sheet { columns: n, scale: 2, ..Sheet::new(1, PICTURE, PICTURE) };
    let images = Tensor::from_vec(pixels, (n, PICTURE * PICTURE), &Device::Cpu)?;
    let caption = format!("Densities on [-3, 3]^2, from the left: {}.", names.join("; "));
    run.sheet("densities", &sheet, &images, &caption)
}

fn curves(run: &mut Run<'_>, all: &Measured<'_>) -> Result<()> {
    run.heading("Training");
    let mut plot = Plot::new("Autoencoder", "update", "negative bound, nats");
    let curve = all.autoencoder.curve.iter();
    plot.series(Series::line("bound", curve.map(|(update, loss)| (*update as f64, *loss))));
    run.plot("bound", &plot, "Means of the negative bound between records.")?;
    let mut plot = Plot::new("Energies", "update", "mean E of data minus negatives, nats");
    for found in all.energies {
        let points =
            found.looks.iter().map(|look| (look.update as f64, look.data - look.negatives));
        plot.series(Series::line(found.negative.name(), points));
    }
    run.plot("energies", &plot, "Means between records. Near zero the two are not told apart.")?;
    let mut plot = Plot::new("Gain of the product on the autoencoder", "update", "nats");
    for found in all.energies {
        let points = found.looks.iter().map(|look| (look.update as f64, look.gain.max(-1.0)));
        plot.series(Series::line(found.negative.name(), points));
    }
    run.plot(
        "gain",
        &plot,
        "Minus the mean energy minus ln Z, on points of their own. Each network is taken where it gained \
         most; a training ends once it is a nat below, and losses are cut off at -1.",
    )?;
    let mut table = Table::new([
        left("model"),
        right("update"),
        right("energy of data"),
        right("of negatives"),
        right("fall over a chain"),
        right("drift over noise"),
        right("rms of latent noise"),
        right("samples that count"),
        right("gain, nats"),
    ]);
    for found in all.energies {
        let every = (found.looks.len() / 4).max(1);
        for look in found.looks.iter().rev().step_by(every).collect::<Vec<_>>().into_iter().rev() {
            let chains = found.negative == super::Negative::Chains;
            let of = |is: bool, value: f64| if is { format_number(value) } else { String::new() };
            table.row([
                found.negative.name().to_owned(),
                look.update.to_string(),
                format_number(look.data),
                format_number(look.negatives),
                of(chains, look.fall),
                of(chains, look.drift),
                of(chains, look.latent_rms),
                of(!chains, look.effective),
                format_number(look.gain),
            ]);
        }
    }
    run.table(table);
    Ok(())
}
