//! Samples at a low temperature, and chains that begin there.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use vaebm::{
    ChainConfig, JointNoise, NoiseDecoder, VaebmModel, nvae::Pass, run_chains, train::readjust,
};

use super::{
    super::digits::data::{judged_images, unframed},
    model::{open, usual},
};
use crate::{
    arrays::mean_square,
    digits::{self, View, classifier_score, mnist_fid},
    error::Result,
    limits::{at_least, bad},
    report::{Align, Table, format_number},
    request::Request,
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// Images on a sheet.
const SHOWN: usize = 50;
/// Rows of a pass.
const BATCH: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TemperatureSettings {
    /// The folder of the model; empty: a tiny one that is not trained.
    pub(super) model: String,
    /// What the deviations of the priors are multiplied by; 0.7 in the paper.
    temperature: f64,
    /// Passes by which the moments of the batch norms are moved; 500 in the published code.
    rounds: usize,
    /// Images of each pass; 16 there.
    batch: usize,
    /// Samples.
    samples: usize,
}

pub(super) fn resolve(request: &Request) -> Result<TemperatureSettings> {
    let scale = request.scale;
    let settings = request.settings(&TemperatureSettings {
        model: usual(request),
        temperature: 0.7,
        rounds: scale.pick(2, 500, 500),
        batch: scale.pick(4, 16, 16),
        samples: scale.pick(4, 300, 2_000),
    })?;
    at_least(&[
        ("rounds", settings.rounds, 1),
        ("batch", settings.batch, 2),
        ("samples", settings.samples, 2),
    ])?;
    if !(settings.temperature > 0.0 && settings.temperature.is_finite()) {
        return bad("temperature", "must be positive");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = open(run, &settings.model)?;
    let t = settings.temperature;
    run.paragraph(format!(
        "Appendix E: draw from the autoencoder at temperature {t} with the moments of its batch norms \
         moved to such samples ({} passes of {}), put the moments back, encode the samples, write their \
         posterior means as noise at temperature 1, begin chains there. A deterministic map leads back \
         from that noise to the images.",
        settings.rounds, settings.batch,
    ));
    let rows = rows(run, &model, &settings)?;
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    let test = judged_images(run.request)?.test;
    let n = settings.samples.min(test.len() / 2);
    let [reference, floor] = digits::halves(&test, n)?;
    let reference = View::of_set(&judge, &reference, run.observer()?)?;
    let columns = ["Images", "mnist-fid", "classifier score"];
    let align = |name| if name == "Images" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|name| (name, align(name))));
    let floor = View::of_set(&judge, &floor, run.observer()?)?;
    let mut add = |run: &mut Run<'_>, name: &str, view: &View| -> Result<()> {
        let [fid, score] = [mnist_fid(view, &reference)?.value, classifier_score(view)?.value];
        table.row([name.to_owned(), format_number(fid), format!("{score:.2}")]);
        let key = name.replace([' ', ','], "_").replace("__", "_");
        run.metric(Metric::new(format!("mnist_fid_{key}"), fid, "").n(n));
        Ok(())
    };
    add(run, "real digits", &floor)?;
    for (name, images) in &rows.images {
        let view = View::of_floats(&judge, &images.narrow(0, 0, n)?, run.observer()?)?;
        add(run, name, &view)?;
    }
    run.table(table);
    run.paragraph(
        "Low temperatures trade variety for likeness: a sheet may look better while its distance grows.",
    );
    for (at, (name, images)) in rows.images.iter().enumerate() {
        let shown = images.narrow(0, 0, SHOWN.min(images.dims()[0]))?;
        let sheet = Sheet { columns: 10, ..Sheet::new(1, 28, 28) };
        run.sheet(&format!("{}-{}", at, name.replace([' ', ','], "-")), &sheet, &shown, name)?;
    }
    checks(run, &rows);
    Ok(())
}

struct Rows {
    /// Sets of `(n, 1, 28, 28)` and what they are.
    images: Vec<(String, Tensor)>,
    /// Largest difference of an image to what its noise decodes to.
    round_trip: f64,
    /// Root mean square of the noise of latent groups and of pixels.
    rms: [f64; 2],
    /// Mean energies at the start and the end of the chains.
    energies: [f64; 2],
    /// Largest change of a running moment between before and after.
    moments: f64,
}

fn rows(run: &mut Run<'_>, model: &VaebmModel, settings: &TemperatureSettings) -> Result<Rows> {
    let (autoencoder, stream) = (model.autoencoder(), run.request.stream());
    let (n, t) = (settings.samples, settings.temperature);
    let draw = |temperature: f64| -> Result<Tensor> {
        // The same noise at every temperature.
        let mut noise = stream.child("generate").host_noise();
        let mut all = Vec::new();
        for start in (0..n).step_by(BATCH) {
            all.push(autoencoder.sample(BATCH.min(n - start), temperature, true, &mut noise)?);
        }
        Ok(Tensor::cat(&all, 0)?)
    };
    let before = autoencoder.statistics()?;
    let (full, low) = (draw(1.0)?, draw(t)?);
    let rounds = [settings.rounds, settings.batch];
    readjust(autoencoder, t, rounds, &mut stream.child("readjust").host_noise())?;
    let adjusted = draw(t)?;
    autoencoder.set_statistics(&before)?;
    let mut moments = 0.0_f64;
    for ((_, a), (_, b)) in autoencoder.statistics()?.iter().zip(&before) {
        moments =
            moments.max(f64::from((a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?));
    }
    let noise = encoded(model, &adjusted)?;
    let decoded = model.space().decoder().decode(&noise)?;
    let back = decoded.raw.affine(0.5, 0.5)?;
    let gap = (&back - &adjusted)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    let latents: Vec<Tensor> =
        noise.latents.iter().map(Tensor::flatten_all).collect::<candle_core::Result<_>>()?;
    let rms = |x: &Tensor| -> Result<f64> { Ok(mean_square(x, &x.zeros_like()?)?.sqrt()) };
    let rms = [rms(&Tensor::cat(&latents, 0)?)?, rms(&noise.pixels)?];
    let (ended, energies) = chains(run, model, &noise)?;
    let named = |name: &str, x: &Tensor| Ok::<_, crate::Error>((name.to_owned(), unframed(x)?));
    Ok(Rows {
        images: vec![
            named("temperature 1", &full)?,
            named(&format!("temperature {t}"), &low)?,
            named(&format!("temperature {t}, moments moved"), &adjusted)?,
            named("decoded means of their noise", &decoded.mean_image()?)?,
            named("after chains", &ended)?,
        ],
        round_trip: f64::from(gap),
        rms,
        energies,
        moments,
    })
}

/// The noise of images at temperature 1, by the means of their posteriors.
fn encoded(model: &VaebmModel, images: &Tensor) -> Result<JointNoise> {
    let network = model.space().decoder().network();
    let mut parts = Vec::new();
    let n = images.dims()[0];
    for start in (0..n).step_by(BATCH) {
        let x = images.narrow(0, start, BATCH.min(n - start))?.contiguous()?;
        let zeros: Vec<Tensor> = network
            .draw_latents(x.dims()[0], &mut chains_core::Seed::new(0).host_noise())?
            .iter()
            .map(Tensor::zeros_like)
            .collect::<candle_core::Result<_>>()?;
        let inferred = network.infer(&x, &zeros, &mut Pass::evaluation())?;
        parts.push(inferred.joint_noise(&x)?.flat()?);
    }
    Ok(JointNoise::from_flat(&Tensor::cat(&parts, 0)?, model.space().shapes())?)
}

/// Chains of samples from there: means at the end, energies at both ends.
fn chains(run: &Run<'_>, model: &VaebmModel, start: &JointNoise) -> Result<(Tensor, [f64; 2])> {
    let flat = start.flat()?;
    let n = flat.dims()[0];
    let mut noise = run.request.stream().child("chains").host_noise();
    let config: ChainConfig = model.config().chains;
    let (mut images, mut energies) = (Vec::new(), [0.0; 2]);
    for at in (0..n).step_by(BATCH) {
        let b = BATCH.min(n - at);
        let part = JointNoise::from_flat(&flat.narrow(0, at, b)?, model.space().shapes())?;
        let ended = run_chains(model.space(), &config, &part, &mut noise, |_, _| Ok(()))?;
        let health = ended.health;
        for (sum, energy) in energies.iter_mut().zip([health.energy_start, health.energy_end]) {
            *sum += energy * b as f64 / n as f64;
        }
        images.push(ended.decoded.mean_image()?);
    }
    Ok((Tensor::cat(&images, 0)?, energies))
}

fn checks(run: &mut Run<'_>, rows: &Rows) {
    let Rows { round_trip, rms, energies, moments, .. } = rows;
    run.check(Check::new(
        "decoding the noise of an image gives the image",
        *round_trip < 1e-3,
        format!("off by at most {round_trip:.1e}"),
    ));
    run.check(Check::new(
        "the moments of the batch norms are put back",
        *moments == 0.0,
        format!("off by at most {moments:.1e}"),
    ));
    run.metric(Metric::new("round_trip_error", *round_trip, ""));
    run.metric(Metric::new("latent_noise_rms", rms[0], ""));
    run.metric(Metric::new("pixel_noise_rms", rms[1], ""));
    let [first, last] = energies;
    run.paragraph(format!(
        "The noise of the encoded samples has root mean square {:.3} in latent groups and {:.3} in pixels, where \
         the model's own has 1: chains begin away from where noise lives and drift back to it. Their mean \
         energy goes from {} to {} nats.",
        rms[0],
        rms[1],
        format_number(*first),
        format_number(*last),
    ));
}
