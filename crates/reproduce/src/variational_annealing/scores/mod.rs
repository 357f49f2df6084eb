//! Figure 2: Langevin chains along two scores of one denoiser, on the banana.

mod picture;
mod settings;

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    HostNoise, Noise, Seed, density::Sample, host, noise, schedule::LearningRate, train::Event,
};
use datasets::toys::Banana;
use eval_metrics::{Bandwidth, MmdOptions, mmd};
use variational_annealing::{
    Annealing, DenoiserConfig, ScoreModel,
    score::{LangevinConfig, langevin},
};

use self::settings::ScoreSettings;
use crate::{
    arrays::{rows, score},
    error::Result,
    registry::Experiment,
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    training::took,
};

/// Figure 2: scores of a denoiser.
pub(super) const SCORE_ESTIMATORS: Experiment = Experiment {
    id: "score-estimators",
    anchor: "Figure 2",
    title: "Langevin chains along the score of a denoiser and along its residual score",
    headline: true,
    data: "none",
    time: ["1 s", "2 min", "10 min"],
    settings: |request| settings_table(&ScoreSettings::resolve(request)?),
    ready: |_| Ok(()),
    run,
};

/// Updates between two signs of life.
const TICK: usize = 250;
/// Bandwidth of the discrepancy.
const BANDWIDTH: f64 = 1.0;
/// Twice what the discrepancy of two exact sets of two thousand points stays below.
const FLOOR: f64 = 0.003;

/// The ends of chains, or exact samples.
struct Cloud {
    /// In tables and captions.
    name: &'static str,
    /// In files and metrics.
    id: &'static str,
    points: Tensor,
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = ScoreSettings::resolve(run.request)?;
    let seed = run.request.stream().child("scores");
    describe(run, &settings);
    let device = run.request.device.clone();
    let model = train(run, &settings, seed, &device)?;
    let n = settings.chains;
    let exact = |stream: &str| smoothed(n, settings.sigma, &mut seed.child(stream).host_noise());
    let reference = exact("reference")?;
    let scale = 1.0 / settings.sigma.powi(4);
    let chains = |score: &dyn Fn(&Tensor) -> Result<Tensor, chains_core::Error>| {
        let mut noise = noise::of_device(seed.child("chains"), &device);
        let start = (noise.normal(&(n, 2).into(), DType::F32, &device)? * 2.0)?;
        let (step_size, steps) = (settings.step_size, settings.steps);
        let config = LangevinConfig { step_size, steps, annealing: Annealing::none() };
        let ends = langevin(score, &config, &start, &mut *noise)?;
        Ok::<_, crate::error::Error>(ends.to_device(&Device::Cpu)?)
    };
    let clouds = [
        Cloud { name: "exact smoothed density", id: "exact", points: exact("floor")? },
        Cloud {
            name: "score of the denoiser",
            id: "denoiser",
            points: chains(&|x| model.score(x))?,
        },
        Cloud { name: "residual score", id: "residual", points: chains(&|x| model.residual(x))? },
        Cloud {
            name: "residual score / sigma^4",
            id: "residual_scaled",
            points: chains(&|x| Ok((model.residual(x)? * scale)?))?,
        },
    ];
    for cloud in &clouds {
        picture::draw(run, cloud.id, cloud.name, &cloud.points)?;
    }
    judge(run, &settings, &clouds, &reference)
}

fn describe(run: &mut Run<'_>, settings: &ScoreSettings) {
    run.paragraph(format!(
        "A denoiser of points of the banana, with corruption sigma = {} (the paper's), gives two fields: \
         the score (phi(x) - x) / sigma^2, which at the optimum is that of the banana smoothed by the \
         corruption, and the residual score -grad |phi(x) - x|^2, differentiated through phi. Chains \
         x + h s(x) + sqrt(2 h) e of {} steps of {} begin at N(0, 4 I); step size, number of steps and the \
         network are not in the paper. The residual score is of the order of sigma^4, so that chains also \
         follow it divided by that.",
        settings.sigma, settings.steps, settings.step_size
    ));
    if run.request.scale == Scale::Smoke {
        run.paragraph("A few updates: no number is claimed at this scale.");
    }
}

/// Exact points of the banana with the corruption added, `(n, 2)`.
fn smoothed(n: usize, sigma: f64, noise: &mut HostNoise) -> Result<Tensor> {
    let x = Banana::default().sample(n, noise)?;
    let draw = noise.normal(x.shape(), x.dtype(), x.device())?;
    Ok((x + (draw * sigma)?)?)
}

fn train(
    run: &mut Run<'_>,
    settings: &ScoreSettings,
    seed: Seed,
    device: &Device,
) -> Result<ScoreModel> {
    let config = DenoiserConfig::plane(settings.hidden.clone());
    let mut model = ScoreModel::new(&config, settings.sigma, seed.child("model"), device)?;
    let mut data = seed.child("data").host_noise();
    let mut noise = noise::of_device(seed.child("noise"), device);
    let rate = LearningRate::Cosine { value: settings.rate, last: 0.01 * settings.rate, warmup: 0 };
    let (updates, started) = (settings.updates, Instant::now());
    let observer = run.observer()?;
    observer.observe(&Event::Started { stage: "denoiser", step: 0, total: Some(updates) })?;
    let mut loss = 0.0;
    for update in 0..updates {
        let x = Banana::default().sample(settings.batch_size, &mut data)?.to_device(device)?;
        loss = model.update(&x, rate.at(update, updates), &mut *noise)?;
        if (update + 1).is_multiple_of(TICK) {
            observer.observe(&Event::Scalars { step: update + 1, values: &[("loss", loss)] })?;
        }
    }
    observer.observe(&Event::Finished { step: updates })?;
    run.paragraph(took(updates, started.elapsed().as_secs_f64()));
    run.metric(Metric::new("denoising_loss", loss, "").n(settings.batch_size));
    Ok(model)
}

/// What is measured of a cloud: means, variances, squared discrepancy.
struct Measured {
    mean: [f64; 2],
    variance: [f64; 2],
    discrepancy: f64,
}

fn measure(points: &Tensor, reference: &Tensor) -> Result<Measured> {
    let two = |x: Tensor| -> Result<[f64; 2]> {
        let values = host::values(&x)?;
        Ok([values[0], values[1]])
    };
    let mean = points.mean_keepdim(0)?;
    let variance = points.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?;
    let options = MmdOptions { bandwidth: Bandwidth::Fixed(BANDWIDTH), permutations: 0, seed: 0 };
    let (real, fake) = (rows(reference)?, rows(points)?);
    let discrepancy = score(mmd(real.view(), fake.view(), &options))?.value;
    Ok(Measured { mean: two(mean)?, variance: two(variance)?, discrepancy })
}

fn judge(
    run: &mut Run<'_>,
    settings: &ScoreSettings,
    clouds: &[Cloud; 4],
    reference: &Tensor,
) -> Result<()> {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("points of".to_owned(), Align::Left),
        right("mean"),
        right("variance x1"),
        right("variance x2"),
        right("MMD^2"),
    ]);
    let mut found = Vec::new();
    for Cloud { name, id, points } in clouds {
        let measured = measure(points, reference)?;
        let [m1, m2] = measured.mean.map(|m| format!("{m:.2}"));
        let [v1, v2] = measured.variance.map(|v| format!("{v:.2}"));
        let mmd = format_number(measured.discrepancy);
        table.row([(*name).to_owned(), format!("({m1}, {m2})"), v1, v2, mmd]);
        let metric =
            |what: &str, value| Metric::new(format!("{what}_{id}"), value, "").n(settings.chains);
        run.metric(metric("mmd", measured.discrepancy).setting("bandwidth", BANDWIDTH));
        for (axis, variance) in ["x1", "x2"].into_iter().zip(measured.variance) {
            run.metric(metric(&format!("variance_{axis}"), variance));
        }
        found.push(measured);
    }
    run.table(table);
    let [v1, v2] = settings.variances();
    run.paragraph(format!(
        "{} points each against as many exact ones of the smoothed banana, whose variances are {v1:.2} and \
         {v2:.2} in closed form; the squared discrepancy is unbiased, with a Gaussian kernel of width \
         {BANDWIDTH}. The first row is its floor.",
        settings.chains
    ));
    let [_, denoiser, residual, scaled] = found.as_slice() else { return Ok(()) };
    let finite = found.iter().all(|m| m.discrepancy.is_finite());
    run.check(Check::new("discrepancies are finite", finite, ""));
    if run.request.scale == Scale::Smoke {
        return Ok(());
    }
    for (axis, got, want) in [("x1", denoiser.variance[0], v1), ("x2", denoiser.variance[1], v2)] {
        let name = format!("variance of {axis} along the denoiser's score, within a quarter");
        run.check(Check::close(name, got, want, 0.25 * want));
    }
    let name = "MMD^2 along the denoiser's score is near the floor";
    run.check(Check::at_most(name, denoiser.discrepancy, FLOOR));
    for (name, other) in
        [("the residual score", residual), ("the residual score / sigma^4", scaled)]
    {
        let name = format!("MMD^2 along {name} is beyond the floor");
        run.check(Check::at_most(name, FLOOR, other.discrepancy));
    }
    Ok(())
}
