//! Figures 16 and 17: the training digits that are nearest to samples.

use candle_core::{Device, Tensor};
use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};

use super::{
    super::digits::{data::Digits, samples::draw},
    model::{open, usual},
};
use crate::{
    arrays::{rows, score},
    data,
    digits::{self, View},
    error::Result,
    limits::{at_least, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// Training digits beside a sample.
const NEAR: usize = 5;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CopySettings {
    /// The folder of the model; empty: a tiny one that is not trained.
    pub(super) model: String,
    /// The first digits of the training file: those that the model was trained on.
    train_images: usize,
    /// Samples whose distances are measured, and as many test digits.
    samples: usize,
    /// Samples on the sheet.
    shown: usize,
}

pub(super) fn resolve(request: &Request) -> Result<CopySettings> {
    let scale = request.scale;
    let settings = request.settings(&CopySettings {
        model: usual(request),
        train_images: scale.pick(40, 9_000, 9_000),
        samples: scale.pick(6, 500, 2_000),
        shown: scale.pick(3, 10, 10),
    })?;
    at_least(&[
        ("train_images", settings.train_images, NEAR),
        ("shown", settings.shown, 1),
        ("samples", settings.samples, settings.shown.max(2)),
    ])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

/// Rows to compare: pixels in `[0, 1]`, or features.
struct Rows {
    samples: Array2<f32>,
    test: Array2<f32>,
    train: Array2<f32>,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = open(run, &settings.model)?;
    let n = settings.samples;
    let seed = run.request.stream().child("generate");
    let samples = draw(&model, n, model.config().chains, seed, run.observer()?)?.images;
    let files = data::mnist(run.request)?;
    // As the model saw them; the frame is empty and adds nothing to a distance.
    let digits = Digits::load(run.request, settings.train_images, 0)?;
    let train = files.train.range(0..digits.train.len());
    let test = files.test.range(0..n.min(files.test.len()));
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    let pixels = |set: &datasets::ImageSet| -> Result<Array2<f32>> {
        let all: Vec<usize> = (0..set.len()).collect();
        let levels = set.gather(&all).into_iter().map(|level| f32::from(level) / 255.0).collect();
        rows(&Tensor::from_vec(levels, (set.len(), set.pixels()), &Device::Cpu)?)
    };
    let by_pixels = Rows {
        samples: rows(&samples.flatten_from(1)?.to_device(&Device::Cpu)?)?,
        test: pixels(&test)?,
        train: pixels(&train)?,
    };
    let observer = run.observer()?;
    let by_features = Rows {
        samples: View::of_floats(&judge, &samples, observer)?.features,
        test: View::of_set(&judge, &test, observer)?.features,
        train: View::of_set(&judge, &train, observer)?.features,
    };
    run.paragraph(format!(
        "{n} samples and {} test digits beside the {} digits that the model was trained on: distances of \
         pixels in [0, 1], and of the 128 features of network a.",
        test.len(),
        train.len()
    ));
    sheet(run, &settings, &by_pixels, &by_features)?;
    let mut table = Table::new([
        ("Nearest training digit", Align::Left),
        ("samples, median", Align::Right),
        ("least", Align::Right),
        ("test digits, median", Align::Right),
        ("least", Align::Right),
    ]);
    for (name, of) in [("pixels", &by_pixels), ("features", &by_features)] {
        distances(run, &mut table, name, of)?;
    }
    run.table(table);
    Ok(())
}

/// Indices of the rows of `train` nearest to `query`, the nearest first.
fn nearest(query: ArrayView1<'_, f32>, train: &Array2<f32>) -> Vec<usize> {
    let square = |row: ArrayView1<'_, f32>| -> f64 {
        row.iter().zip(query).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let mut all: Vec<(f64, usize)> =
        train.outer_iter().enumerate().map(|(at, row)| (square(row), at)).collect();
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(NEAR).map(|(_, at)| at).collect()
}

/// A sample in front of its five nearest digits by pixels, then by features.
fn sheet(
    run: &mut Run<'_>,
    settings: &CopySettings,
    by_pixels: &Rows,
    by_features: &Rows,
) -> Result<()> {
    let mut images: Vec<f32> = Vec::new();
    for i in 0..settings.shown {
        images.extend(by_pixels.samples.row(i));
        for of in [by_pixels, by_features] {
            for at in nearest(of.samples.row(i), &of.train) {
                images.extend(by_pixels.train.row(at));
            }
        }
    }
    let columns = 1 + 2 * NEAR;
    let shape = (settings.shown * columns, 1, 28, 28);
    let images = Tensor::from_vec(images, shape, &Device::Cpu)?;
    let sheet = Sheet { columns, lead: 1, ..Sheet::new(1, 28, 28) };
    let caption = format!(
        "A sample, the {NEAR} training digits nearest to it by pixels, the {NEAR} nearest by features."
    );
    run.sheet("neighbours", &sheet, &images, &caption)
}

fn distances(run: &mut Run<'_>, table: &mut Table, name: &str, of: &Rows) -> Result<()> {
    let lengths = |queries: &Array2<f32>| -> Result<Vec<f64>> {
        let found = score(eval_metrics::nearest(queries.view(), of.train.view()))?;
        let mut lengths: Vec<f64> =
            found.squared_distances.iter().map(|square| square.sqrt()).collect();
        lengths.sort_unstable_by(f64::total_cmp);
        Ok(lengths)
    };
    let [samples, test] = [lengths(&of.samples)?, lengths(&of.test)?];
    let median = |values: &[f64]| values[values.len() / 2];
    table.row(
        [name.to_owned()]
            .into_iter()
            .chain([median(&samples), samples[0], median(&test), test[0]].map(format_number)),
    );
    for (who, values) in [("samples", &samples), ("test", &test)] {
        run.metric(
            Metric::new(format!("nearest_{name}_{who}"), median(values), "").n(values.len()),
        );
    }
    let mut plot = Plot::new(format!("Nearest training digit, {name}"), "distance", "share below");
    for (who, values) in [("samples", &samples), ("test digits", &test)] {
        let n = values.len() as f64;
        let points = values.iter().enumerate().map(|(i, v)| (*v, (i + 1) as f64 / n));
        plot.series(Series::line(who, points));
    }
    run.plot(&format!("distances-{name}"), &plot, "Distribution functions of the distances.")?;
    finite_check(run, &format!("distances of {name}"), &samples);
    if run.request.scale != Scale::Smoke && name == "pixels" {
        run.check(Check::new(
            "samples are no copies of training digits",
            median(&samples) > 0.5 * median(&test) && samples[0] > 0.0,
            format!("median {:.2}, test digits {:.2}", median(&samples), median(&test)),
        ));
    }
    Ok(())
}
