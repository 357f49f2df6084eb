//! Appendix, stability and speed: time of an update and divergences, VERA beside persistent chains.

use std::time::Instant;

use chains_core::{Seed, nn::BatchNormMoments, noise, schedule::MultiStep};
use datasets::ImageSet;
use serde::{Deserialize, Serialize};
use vera::{
    EnergyNetwork, Entropy, HmcConfig, ModelConfig, TrainConfig, VeraModel,
    baselines::{EnergyLoss, Optimisation, PcdConfig},
};

use super::{
    super::seeds::seeds,
    fit::{Fit, Outcome, batch, networks},
    methods::Method,
};
use crate::{
    error::Result,
    images::{Cut, Images},
    limits::{at_least, bad, finite_check},
    registry::Experiment,
    report::{Align, Table, format_number},
    request::Request,
    results::Metric,
    run::Run,
    run_dir::settings_table,
    training::{Cell, cells, json},
};

/// Section 5.1 and appendix: speed and stability.
pub(in super::super) const STABILITY: Experiment = Experiment {
    id: "stability",
    anchor: "Section 4, speed and stability",
    title: "Time of an update, and divergences at higher rates, beside persistent chains",
    headline: false,
    data: "MNIST (part of the repository)",
    time: ["2 s", "6 min", "1 hour"],
    settings: |request| settings_table(&resolve(request)?),
    ready: |_| Ok(()),
    run,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StabilitySettings {
    train_images: usize,
    /// Hidden layers of the energy, without weight normalisation.
    hidden: Vec<usize>,
    generator_width: usize,
    /// d.
    latent: usize,
    /// k: proposals of the entropy's gradient.
    proposals: Vec<usize>,
    /// Steps of persistent chains.
    chain_steps: Vec<usize>,
    /// Noise on the data of persistent chains.
    data_noise: Vec<f64>,
    /// alpha.
    class_weight: f64,
    /// The rate of the energy; that of generator and posterior is twice it.
    rate: f64,
    /// What rates are multiplied by.
    factors: Vec<f64>,
    /// Updates of a training that may diverge.
    updates: usize,
    batch_size: usize,
    /// Seeds, from the root seed on.
    seeds: usize,
    /// Updates whose time is taken; the median counts.
    timed: usize,
}

fn resolve(request: &Request) -> Result<StabilitySettings> {
    let scale = request.scale;
    let settings = request.settings(&StabilitySettings {
        train_images: scale.pick(64, 8_000, 8_000),
        hidden: scale.pick(vec![16], HALVED.to_vec(), HALVED.to_vec()),
        generator_width: scale.pick(8, 200, 200),
        latent: scale.pick(4, 64, 64),
        proposals: scale.pick(vec![2], vec![5, 20], vec![5, 20]),
        chain_steps: scale.pick(vec![2], vec![20, 40], vec![20, 40]),
        data_noise: vec![0.0, 0.03],
        class_weight: 1.0,
        rate: 3e-4,
        factors: scale.pick(vec![1.0, 10.0], vec![1.0, 3.0, 10.0], vec![1.0, 3.0, 10.0]),
        updates: scale.pick(3, 250, 2_500),
        batch_size: scale.pick(8, 64, 64),
        seeds: scale.pick(1, 5, 5),
        timed: scale.pick(2, 15, 50),
    })?;
    at_least(&[
        ("generator_width", settings.generator_width, 1),
        ("latent", settings.latent, 1),
        ("proposals", settings.proposals.len(), 1),
        ("chain_steps", settings.chain_steps.len(), 1),
        ("factors", settings.factors.len(), 1),
        ("updates", settings.updates, 1),
        ("batch_size", settings.batch_size, 2),
        ("train_images", settings.train_images, settings.batch_size),
        ("seeds", settings.seeds, 1),
        ("timed", settings.timed, 1),
    ])?;
    if settings.factors.iter().any(|factor| !(*factor > 0.0 && factor.is_finite())) {
        return bad("factors", "must be positive");
    }
    Ok(settings)
}

/// Hidden layers of the tables' network with half the widths.
pub(super) const HALVED: [usize; 6] = [500, 250, 250, 125, 125, 125];

impl StabilitySettings {
    fn model(&self) -> ModelConfig {
        networks(&self.hidden, false, [self.latent, self.generator_width])
    }

    fn vera(&self, entropy: Entropy, factor: f64) -> Method {
        let rate = self.rate * factor;
        Method::Vera(TrainConfig {
            entropy,
            class_weight: self.class_weight,
            batch_size: self.batch_size,
            ..TrainConfig::density(1e-4, [rate, 2.0 * rate, 2.0 * rate])
        })
    }

    /// As joint energy models are trained: coefficients 1 and 0.01, Adam with the usual moments.
    fn chains(&self, steps: usize, data_noise: f64, factor: f64) -> Method {
        let optimisation = Optimisation {
            rate: MultiStep::constant(self.rate * factor),
            adam: chains_core::optim::AdamConfig::standard(),
            batch_size: self.batch_size,
        };
        Method::Pcd(PcdConfig {
            step_size: 1.0,
            data_noise,
            loss: EnergyLoss::classes(self.class_weight, 0.0),
            ..PcdConfig::matched(0.01, steps, optimisation)
        })
    }

    /// What is timed: a name and the method.
    fn timed_methods(&self) -> Vec<(String, Method)> {
        let classifier = Optimisation::constant(self.rate, self.batch_size);
        let mut all = vec![("classifier".to_owned(), Method::Classifier(classifier))];
        for k in &self.proposals {
            let entropy = Entropy::ImportanceSampling { samples: *k };
            all.push((format!("VERA, k = {k}"), self.vera(entropy, 1.0)));
        }
        all.push(("VERA-HMC".into(), self.vera(Entropy::Hmc(HmcConfig::published()), 1.0)));
        for steps in &self.chain_steps {
            all.push((format!("PCD, {steps} steps"), self.chains(*steps, 0.0, 1.0)));
        }
        all
    }

    /// What may diverge.
    fn risky_methods(&self, factor: f64) -> Vec<(String, Method)> {
        let k = self.proposals.iter().copied().max().unwrap_or(1);
        let steps = self.chain_steps.iter().copied().min().unwrap_or(1);
        let entropy = Entropy::ImportanceSampling { samples: k };
        let mut all = vec![(format!("VERA, k = {k}"), self.vera(entropy, factor))];
        for noise in &self.data_noise {
            let words = if *noise > 0.0 { noise.to_string() } else { "no".into() };
            let name = format!("PCD, {steps} steps, {words} noise on data");
            all.push((name, self.chains(steps, *noise, factor)));
        }
        all
    }
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let cut = Cut { train: settings.train_images, validation: 0, test: 0, pooled: false };
    let images = Images::mnist(run.request, &cut)?;
    speed(run, &settings, &images.train)?;
    divergences(run, &settings, &images.train)
}

/// Median milliseconds of an update.
fn milliseconds(
    settings: &StabilitySettings,
    set: &ImageSet,
    method: &Method,
    run: &Run<'_>,
) -> Result<f64> {
    let (device, seed) = (&run.request.device, run.request.stream().child("timed"));
    let model = VeraModel::new(settings.model(), seed.child("model"), device)?;
    let mut step = method.begin(&model, seed.child("method"))?;
    let mut noise = noise::of_device(seed.child("noise"), device);
    let indices: Vec<usize> = (0..settings.batch_size).collect();
    let [x, y] = batch(set, &indices, device)?;
    let mut times = Vec::with_capacity(settings.timed);
    // The first makes the optimisers' moments.
    step(&x, &y, &mut *noise)?;
    device.synchronize()?;
    for _ in 0..settings.timed {
        let started = Instant::now();
        step(&x, &y, &mut *noise)?;
        device.synchronize()?;
        times.push(1e3 * started.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn speed(run: &mut Run<'_>, settings: &StabilitySettings, set: &ImageSet) -> Result<()> {
    run.heading("Speed");
    let mut table = Table::new([
        ("method", Align::Left),
        ("ms an update", Align::Right),
        ("times the classifier", Align::Right),
    ]);
    let mut found = Vec::new();
    for (name, method) in settings.timed_methods() {
        let each = milliseconds(settings, set, &method, run)?;
        found.push((name, each));
    }
    let base = found[0].1;
    for (name, each) in &found {
        table.row([name.clone(), format_number(*each), format_number(each / base)]);
        run.metric(Metric::new(format!("milliseconds_{}", name.replace(' ', "_")), *each, "ms"));
    }
    let ratio = ratio(settings, set, run)?;
    run.metric(Metric::new("energy_over_generator", ratio, ""));
    run.paragraph(format!(
        "The same networks for all methods on digits, batches of {}; median of {} updates on one \
         batch. A forward pass of the energy takes {} times one of the generator on as many rows. The \
         paper reports 2.8 times the speed of persistent chains with a network that is far larger \
         than its generator; each step of a chain is a pass forward and back through the energy, each \
         proposal one forward through the generator.",
        settings.batch_size,
        settings.timed,
        format_number(ratio)
    ));
    run.table(table);
    finite_check(run, "times", &found.iter().map(|(_, each)| *each).collect::<Vec<_>>());
    Ok(())
}

/// Time of a pass of the energy over that of the generator.
fn ratio(settings: &StabilitySettings, set: &ImageSet, run: &Run<'_>) -> Result<f64> {
    let device = &run.request.device;
    let model = VeraModel::new(settings.model(), Seed::new(0), device)?;
    let indices: Vec<usize> = (0..settings.batch_size).collect();
    let [x, _] = batch(set, &indices, device)?;
    let mut noise = noise::of_device(Seed::new(1), device);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..settings.timed {
        let started = Instant::now();
        model.energy().logits(&x, &[])?;
        device.synchronize()?;
        times[0].push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let moments = BatchNormMoments::batch();
        model.generator().draw(settings.batch_size, moments, &mut *noise)?;
        device.synchronize()?;
        times[1].push(started.elapsed().as_secs_f64());
    }
    let [energy, generator] = times.map(median);
    Ok(energy / generator)
}

fn divergences(run: &mut Run<'_>, settings: &StabilitySettings, set: &ImageSet) -> Result<()> {
    run.heading("Divergences");
    let seeds = seeds(run.request.seed, settings.seeds);
    let device = run.request.device.clone();
    let digest = set.digest();
    let mut all = Vec::new();
    for factor in &settings.factors {
        for (name, method) in settings.risky_methods(*factor) {
            for seed in &seeds {
                let (name, method) = (name.clone(), method.clone());
                let (model, updates) = (settings.model(), settings.updates);
                let fit = Fit { name, model, method, updates, seed: *seed };
                let key = json(&("stability", &fit, &digest))?;
                let device = &device;
                let work = Box::new(move |ticker: &_| Ok(fit.train(set, device, ticker)?.1));
                all.push(Cell { key, updates, work });
            }
        }
    }
    let found: Vec<Outcome> = cells(run, "train", all)?;
    let names: Vec<String> =
        settings.risky_methods(1.0).into_iter().map(|(name, _)| name).collect();
    let mut columns = vec![("method".to_owned(), Align::Left)];
    for factor in &settings.factors {
        let rate = format_number(factor * settings.rate);
        columns.push((format!("diverged at rate {rate}"), Align::Right));
    }
    columns.push(("first updates".to_owned(), Align::Right));
    let mut table = Table::new(columns);
    let per_factor = names.len() * seeds.len();
    for (at, name) in names.iter().enumerate() {
        let (mut row, mut firsts) = (vec![name.clone()], Vec::new());
        for (factor, outcomes) in settings.factors.iter().zip(found.chunks(per_factor)) {
            let group = &outcomes[at * seeds.len()..(at + 1) * seeds.len()];
            let diverged: Vec<usize> = group.iter().filter_map(|o| o.diverged).collect();
            row.push(format!("{} of {}", diverged.len(), seeds.len()));
            let metric = format!("diverged_{}_at_{factor}", name.replace([' ', ','], "_"));
            run.metric(Metric::new(metric, diverged.len() as f64, "").n(seeds.len()));
            firsts.extend(diverged.into_iter().min().map(|first| first.to_string()));
        }
        row.push(if firsts.is_empty() { "-".into() } else { firsts.join(", ") });
        table.row(row);
    }
    run.paragraph(format!(
        "Trainings of {} updates whose loss was no number, or beyond 1e8, the published bound; {} \
         seeds. Rates of the generator and the posterior are twice those shown; chains have \
         coefficients 1 and 0.01, as joint energy models have them, and Adam with the usual moments. \
         A training that does not diverge within these updates may do so later.",
        settings.updates, settings.seeds
    ));
    run.table(table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::super::PAPER, *};
    use crate::{request::Scale, run::execute};

    fn request(scale: Scale, overrides: &[(&str, &str)], out: &Path) -> Request {
        Request { models: out.join("models"), ..crate::testing::request(scale, overrides) }
    }

    #[test]
    fn times_and_divergences_are_counted_at_smoke() {
        let temp = tempfile::tempdir().unwrap();
        let factors = [("factors", "[1, 1e30]")];
        let request = request(Scale::Smoke, &factors, temp.path());
        let out = temp.path().join("out");
        let results = execute(&request, &PAPER, &STABILITY, &out).unwrap();
        assert!(results.passed(), "{:?}", results.checks);
        for name in ["milliseconds_VERA-HMC", "milliseconds_PCD,_2_steps", "energy_over_generator"]
        {
            assert!(results.metric(name).unwrap().value > 0.0);
        }
        let count = |factor: &str| {
            let names = results.metrics.iter().filter(|m| m.name.starts_with("diverged_"));
            names.filter(|m| m.name.ends_with(factor)).map(|m| m.value).sum::<f64>()
        };
        assert!(count("_at_1") < 0.5);
        assert!(count("_at_1000000000000000000000000000000") >= 1.0, "{:?}", results.metrics);
    }

    #[test]
    fn settings_are_checked_and_medians_are_medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!(median(vec![]).is_nan());
        for (key, value) in [("factors", "[-1]"), ("seeds", "0"), ("proposals", "[]")] {
            let error = resolve(&request(Scale::Quick, &[(key, value)], Path::new("")));
            assert!(error.unwrap_err().to_string().contains(key));
        }
    }
}
