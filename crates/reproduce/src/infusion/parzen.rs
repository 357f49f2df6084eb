//! Table 1: the Parzen estimate of final means, of one-step means, and of the prior.

use candle_core::Tensor;
use eval_metrics::{log_grid, parzen, select_bandwidth};
use infusion::InfusionModel;
use ndarray::Array2;

use super::{pictures::Means, settings::SampleSettings};
use crate::{
    arrays::{rows, score},
    error::Result,
    images::Images,
    limits::{beside, compares},
    report::{Align, Table, format_with_error},
    request::Scale,
    results::{Check, Metric},
    run::Run,
};

/// The printed window.
const PUBLISHED_WINDOW: f64 = 0.17;

/// Table 1.
const PUBLISHED: [(&str, &str); 7] = [
    ("DBM, published", "138 ± 2"),
    ("Stacked CAE, published", "121 ± 1.6"),
    ("Deep GSN, published", "214 ± 1.1"),
    ("Diffusion, published", "220 ± 1.9"),
    ("GAN, published", "225 ± 2"),
    ("GMMN + AE, published", "282 ± 2"),
    ("Infusion, published", "312 ± 1.7"),
];

/// The images that windows are scored and chosen on.
struct Scored {
    test: Array2<f32>,
    validation: Array2<f32>,
}

/// Scores the means of a model at the published window and at one chosen on validation images.
pub(super) fn parzen_rows(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    means: &Means,
    settings: &SampleSettings,
) -> Result<()> {
    let Means { samples, one_step, prior } = means;
    let size = settings.parzen_images;
    let scored = Scored {
        test: rows(&images.scaled(&images.test, size, model.device())?)?,
        validation: rows(&images.scaled(&images.validation, size.min(1000), model.device())?)?,
    };
    run.heading("Parzen estimate (Table 1)");
    run.paragraph(
        "Gaussian windows on generated means; test pixels are integer / 256 without noise, as \
         published. The published column has 10,000 samples of a model trained on 50,000 images. A \
         window chosen on validation images stands beside the published one.",
    );
    let mut table =
        Table::new([("Centres", Align::Left), ("window", Align::Right), ("nats", Align::Right)]);
    for (name, value) in PUBLISHED {
        table.row([name, "", value]);
    }
    let mut scores = Vec::new();
    for (name, centres) in [("samples", samples), ("one_step", one_step), ("prior", prior)] {
        scores.push(one(run, images, &scored, (name, centres), settings, &mut table)?);
    }
    run.table(table);
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "Parzen: samples above one-step means above the prior",
            scores[0] > scores[1] && scores[1] > scores[2],
            format!("{:.1}, {:.1}, {:.1}", scores[0], scores[1], scores[2]),
        ));
    }
    Ok(())
}

/// Scores one set of centres `(n, D)` at both windows; the score at the window of the settings.
fn one(
    run: &mut Run<'_>,
    images: &Images,
    scored: &Scored,
    (name, centres): (&str, &Tensor),
    settings: &SampleSettings,
    table: &mut Table,
) -> Result<f64> {
    let centres = rows(centres)?;
    let grid = score(log_grid(0.02, 1.0, 17))?;
    let chosen = score(select_bandwidth(centres.view(), scored.validation.view(), &grid))?;
    let mut add = |suffix: &str, bandwidth: f64| -> Result<Metric> {
        let found = score(parzen(centres.view(), scored.test.view(), bandwidth))?;
        table.row([
            format!("ours, {}", name.replace('_', " ")),
            format!("{bandwidth:.3}"),
            format_with_error(found.mean, found.std_error),
        ]);
        Ok(Metric::new(format!("parzen_{name}{suffix}"), found.mean, "nats")
            .std_error(found.std_error)
            .n(found.n)
            .setting("window", bandwidth)
            .setting("centres", found.centres)
            .setting("training_images", images.train.len()))
    };
    let metric = add("", settings.parzen_bandwidth)?;
    let mean = metric.value;
    // Another window is another score.
    let same = (settings.parzen_bandwidth - PUBLISHED_WINDOW).abs() < 1e-9;
    let may = name == "samples" && same && compares(run, images);
    run.metric(beside(metric, 312.0, may));
    let chosen_metric = add("_chosen_window", chosen.bandwidth)?;
    run.metric(chosen_metric.setting("window_at_edge_of_grid", chosen.at_edge));
    Ok(mean)
}
