//! Seconds of samples by the number of steps.

use std::time::Instant;

use candle_core::Tensor;
use chains_core::density::Energy;
use serde::{Deserialize, Serialize};
use vaebm::{ChainConfig, NoiseDecoder, VaebmModel};

use super::model::{open, usual};
use crate::{
    error::Result,
    limits::{at_least, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Request,
    results::Metric,
    run::Run,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SpeedSettings {
    /// The folder of the model; empty: a tiny one that is not trained.
    pub(super) model: String,
    samples: usize,
    /// Numbers of steps, the first being 0.
    steps: Vec<usize>,
    /// Passes of decoder and energy that are timed; the shortest counts.
    passes: usize,
}

pub(super) fn resolve(request: &Request) -> Result<SpeedSettings> {
    let scale = request.scale;
    let settings = request.settings(&SpeedSettings {
        model: usual(request),
        samples: scale.pick(4, 50, 50),
        steps: scale.pick(vec![0, 2], vec![0, 4, 16, 64], vec![0, 4, 16, 64]),
        passes: scale.pick(1, 5, 5),
    })?;
    at_least(&[
        ("samples", settings.samples, 1),
        ("steps", settings.steps.len(), 2),
        ("passes", settings.passes, 1),
    ])?;
    if settings.steps[0] != 0 || settings.steps[1..].contains(&0) {
        return crate::limits::bad("steps", "must be 0 and then larger numbers");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = open(run, &settings.model)?;
    let n = settings.samples;
    run.paragraph(format!(
        "{n} samples at once, networks loaded and warm. The paper needs 8.79 s for 50 samples of CIFAR-10 \
         by 16 steps on a Titan RTX, where NCSN needs 107.9 s."
    ));
    let [decoder, energy] = forward(&model, &settings)?;
    let mut times = Vec::new();
    for steps in &settings.steps {
        let chains = ChainConfig { steps: *steps, ..model.config().chains };
        let started = Instant::now();
        for ended in model.sample_stream(n, n, chains, run.request.stream().child("generate"))? {
            sum(&ended?.decoded.mean_image()?)?;
        }
        times.push(started.elapsed().as_secs_f64());
    }
    table(run, &settings, &times, [decoder, energy]);
    let mut plot = Plot::new("Time of samples", "steps", "seconds");
    let points = settings.steps.iter().zip(&times).map(|(steps, t)| (*steps as f64, *t));
    plot.series(Series::line(format!("{n} samples"), points));
    run.plot("time", &plot, "A chain costs the same every step.")?;
    finite_check(run, "times", &times);
    Ok(())
}

/// Reads a number of the result: nothing is left undone when the clock stops.
fn sum(x: &Tensor) -> Result<f32> {
    Ok(x.sum_all()?.to_scalar()?)
}

/// Shortest seconds of a pass through the decoder and through the energy, no gradients.
fn forward(model: &VaebmModel, settings: &SpeedSettings) -> Result<[f64; 2]> {
    let space = model.space();
    let mut noise = chains_core::Seed::new(0).host_noise();
    let at = space.decoder().draw_noise(settings.samples, &mut noise)?;
    let mut best = [f64::INFINITY; 2];
    for _ in 0..settings.passes {
        let started = Instant::now();
        let image = space.decoder().decode(&at)?.image;
        sum(&image)?;
        let middle = Instant::now();
        sum(&space.image_energy().energy(&image)?)?;
        best[0] = best[0].min((middle - started).as_secs_f64());
        best[1] = best[1].min(middle.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn table(run: &mut Run<'_>, settings: &SpeedSettings, times: &[f64], [decoder, energy]: [f64; 2]) {
    let columns = ["steps", "seconds", "ms of a step", "times the autoencoder's", "by passes"];
    let mut table = Table::new(columns.map(|name| (name, Align::Right)));
    let plain = times[0];
    for (steps, seconds) in settings.steps.iter().zip(times) {
        let each = match steps {
            0 => "-".to_owned(),
            steps => format_number(1e3 * (seconds - plain) / *steps as f64),
        };
        // Start and end are decoded and scored; a gradient costs a pass back of about one pass forth.
        let expected = 1.0 + 2.0 * *steps as f64 * (decoder + energy) / plain.max(1e-12);
        table.row([
            steps.to_string(),
            format_number(*seconds),
            each,
            format!("{:.1}", seconds / plain),
            format!("{expected:.1}"),
        ]);
        run.metric(
            Metric::new(format!("seconds_{steps}_steps"), *seconds, "s").n(settings.samples),
        );
    }
    run.table(table);
    let (first, last) = (settings.steps[1], settings.steps[settings.steps.len() - 1]);
    let each = |at: usize| (times[at] - plain) / settings.steps[at] as f64;
    run.paragraph(format!(
        "One pass of {} noises through the decoder takes {} ms, of the images through the energy {} ms. \
         The last column is 1 + 2 K (decoder + energy) / (time without steps), a step being a pass forth and \
         one back. A step among {last} costs {:.2} of a step among {first}; in linear time it is 1.",
        settings.samples,
        format_number(1e3 * decoder),
        format_number(1e3 * energy),
        each(settings.steps.len() - 1) / each(1),
    ));
}
