//! What real digits, and images that are none, score with the shipped networks.

use candle_core::{Device, Tensor};
use datasets::{ImageSet, Mnist};
use serde::{Deserialize, Serialize};

use super::{
    accuracy::{self, Found, accuracies},
    anchors::{Set, anchors},
    settings::{cut, whole},
    stacked,
};
use crate::{
    digits::{self, Judge, View, classifier_score, kid, mnist_fid, prdc},
    error::{Error, Result},
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// How many times nearer other real digits must be than any anchor.
const NEARER: f64 = 10.0;
/// Images of a set on the sheet.
const SHOWN: usize = 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FloorSettings {
    /// Images in either set of a comparison of real digits.
    sizes: Vec<usize>,
    /// Images of an anchor, and in its reference.
    anchor_images: usize,
    /// Test images that are classified.
    test_images: usize,
    /// Stacked images whose modes are counted.
    stacked: Vec<usize>,
}

fn resolve(request: &Request) -> Result<FloorSettings> {
    let all = FloorSettings {
        sizes: vec![5_000, 10_000],
        anchor_images: 5_000,
        test_images: 10_000,
        stacked: vec![10_000, 26_000],
    };
    let smoke =
        FloorSettings { sizes: vec![50], anchor_images: 50, test_images: 100, stacked: vec![20] };
    let settings: FloorSettings = request.settings(&request.scale.pick(smoke, all.clone(), all))?;
    let FloorSettings { sizes, anchor_images, test_images, stacked } = &settings;
    let bad = |key: &str, reason: &str| Err(Error::Usage(format!("--set {key}: {reason}")));
    // Five neighbours and the image itself.
    for (key, least) in [
        ("sizes", sizes.iter().min()),
        ("anchor_images", Some(anchor_images)),
        ("test_images", Some(test_images)),
    ] {
        if least.is_none_or(|n| *n < 6) {
            return bad(key, "must be at least 6");
        }
    }
    if stacked.contains(&0) || !stacked.is_sorted_by(|a, b| a < b) {
        return bad("stacked", "must be a list of ascending numbers from 1, such as [10000]");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    Real::of(request, &resolve(request)?)?;
    digits::ready(&request.root)
}

/// The real digits.
struct Real {
    /// Training digits: the reference.
    first: ImageSet,
    /// As many other ones.
    second: ImageSet,
    /// All training digits but the reference, the second ones first.
    rest: ImageSet,
    /// The test file.
    test: ImageSet,
}

impl Real {
    fn of(request: &Request, settings: &FloorSettings) -> Result<Self> {
        let all = whole(request)?;
        let Mnist { train, test } = all.as_ref();
        let largest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or(0);
        let n = largest(&settings.sizes).max(settings.anchor_images);
        if 2 * n > train.len() {
            return Err(Error::Usage(format!(
                "--set sizes, anchor_images: twice {n} images were asked for, `{}` has {}",
                train.name,
                train.len()
            )));
        }
        let order = digits::order(train.len());
        Ok(Self {
            first: train.select(&order[..n]),
            second: train.select(&order[n..2 * n]),
            rest: train.select(&order[n..]),
            test: cut(test, settings.test_images, "test_images")?,
        })
    }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let request = run.request;
    let settings = resolve(request)?;
    let real = Real::of(request, &settings)?;
    let judges = digits::open(&request.root, &request.device)?;
    let found = accuracies(run, &judges, &real.test)?;
    accuracy::report(run, &real.test, &found)?;
    if request.scale != Scale::Smoke {
        accuracy::checks(run, &found);
    }
    let seed = request.stream().child("anchors");
    let moved = real.rest.range(0..settings.anchor_images);
    let anchors = anchors(&moved, &real.rest, seed)?;
    let mut rows = Vec::new();
    for (judge, found) in judges.iter().zip(&found) {
        rows.extend(compared(run, &settings, &real, judge, (found, &anchors))?);
    }
    floors(run, &rows);
    show(run, &moved, &anchors)?;
    stacked::run(run, &judges, &real.test, &settings.stacked)
}

/// What a set of images is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Real digits in random order.
    Real,
    /// Real digits in the order of their file.
    File,
    /// No model should score like these.
    Anchor,
}

/// One set of images against a reference, as one network sees them.
struct Row {
    images: &'static str,
    reference: &'static str,
    kind: Kind,
    network: String,
    fid: Metric,
    kid: Metric,
    prdc: [Metric; 4],
    score: Metric,
    confidence: f64,
}

impl Row {
    fn of(
        network: &str,
        kind: Kind,
        (images, samples): (&'static str, &View),
        (reference, real): (&'static str, &View),
    ) -> Result<Self> {
        let named =
            |metric: Metric| metric.setting("images", images).setting("reference", reference);
        Ok(Self {
            images,
            reference,
            kind,
            network: network.to_owned(),
            fid: named(mnist_fid(samples, real)?),
            kid: named(kid(samples, real)?),
            prdc: prdc(samples, real)?.map(named),
            score: classifier_score(samples)?.setting("images", images),
            confidence: samples.confidence(),
        })
    }
}

const FIRST: &str = "training digits";
const SECOND: &str = "other training digits";
const TEST: &str = "test digits";
const OTHER: &str = "other test digits";
const FILE: [&str; 2] = ["first of the test file", "next of the test file"];

fn compared(
    run: &mut Run<'_>,
    settings: &FloorSettings,
    real: &Real,
    judge: &Judge,
    (found, anchors): (&Found, &[Set]),
) -> Result<Vec<Row>> {
    let mut view = |images: &ImageSet| View::of_set(judge, images, run.observer()?);
    let (first, second, test) = (view(&real.first)?, view(&real.second)?, &found.view);
    let first_of = |view: &View, n: usize| view.select(&(0..n).collect::<Vec<_>>());
    let order = digits::order(test.len());
    let mut rows = Vec::new();
    let mut add = |samples: (&'static str, &View), real: (&'static str, &View), kind| {
        Row::of(&judge.label, kind, samples, real).map(|row| rows.push(row))
    };
    for &n in &settings.sizes {
        let reference = first_of(&first, n);
        add((SECOND, &first_of(&second, n)), (FIRST, &reference), Kind::Real)?;
        if n <= test.len() {
            add((TEST, &test.select(&order[..n])), (FIRST, &reference), Kind::Real)?;
        }
        if 2 * n <= test.len() {
            let (half, other) = (test.select(&order[..n]), test.select(&order[n..2 * n]));
            add((OTHER, &other), (TEST, &half), Kind::Real)?;
            let file: Vec<usize> = (0..2 * n).collect();
            let (half, other) = (test.select(&file[..n]), test.select(&file[n..]));
            add((FILE[1], &other), (FILE[0], &half), Kind::File)?;
        }
    }
    let reference = first_of(&first, settings.anchor_images);
    for anchor in anchors {
        add((anchor.name, &view(&anchor.images)?), (FIRST, &reference), Kind::Anchor)?;
    }
    Ok(rows)
}

/// The table, the metrics and the checks.
fn floors(run: &mut Run<'_>, rows: &[Row]) {
    run.heading("Floors and anchors");
    run.paragraph(
        "Two disjoint sets of real digits are as near as a perfect model could come with as many \
         samples; distances of fewer images are larger, so compare equal numbers only. The networks \
         were trained on the training digits. All sets are in random order but for one row: the \
         halves of the test file were written by different people, so its first images are no \
         reference. The anchors are other training digits blurred (means of 3x3 pixels) or with the \
         pixels of every image shuffled, digits 3 only, and uniform noise. Precision alone takes \
         shuffled pixels for digits: their features are inside the widest balls of real ones.",
    );
    let names = [
        "Images",
        "reference",
        "n",
        "network",
        "mnist-fid",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "classifier-score",
        "confidence",
    ];
    let align = |at: usize| if at < 2 { Align::Left } else { Align::Right };
    let columns = names.iter().enumerate().map(|(at, name)| (*name, align(at)));
    let mut table = Table::new(columns);
    for row in rows {
        let n = row.fid.n.unwrap_or(0);
        let scores = row.prdc.iter().map(|metric| format!("{:.3}", metric.value));
        let cells = [row.images.to_owned(), row.reference.to_owned(), n.to_string()]
            .into_iter()
            .chain([row.network.clone(), format_number(row.fid.value)])
            .chain([format_number(row.kid.value)])
            .chain(scores)
            .chain([format!("{:.3}", row.score.value), format!("{:.4}", row.confidence)]);
        table.row(cells);
        for metric in [&row.fid, &row.kid].into_iter().chain(&row.prdc).chain([&row.score]) {
            run.metric(metric.clone());
        }
    }
    run.table(table);
    if run.request.scale != Scale::Smoke {
        checks(run, rows);
    }
}

fn checks(run: &mut Run<'_>, rows: &[Row]) {
    let mut networks: Vec<&str> = rows.iter().map(|row| row.network.as_str()).collect();
    networks.dedup();
    for network in networks {
        let of =
            |kind: Kind| rows.iter().filter(move |row| row.network == network && row.kind == kind);
        let furthest = of(Kind::Real).map(|row| row.fid.value).fold(0.0, f64::max);
        let nearest = of(Kind::Anchor).min_by(|a, b| a.fid.value.total_cmp(&b.fid.value));
        if let Some(nearest) = nearest {
            run.check(Check::new(
                format!("network {network}: every anchor is ten times as far as other real digits"),
                nearest.fid.value > NEARER * furthest,
                format!(
                    "real at most {}, nearest anchor ({}) {}",
                    format_number(furthest),
                    nearest.images,
                    format_number(nearest.fid.value)
                ),
            ));
        }
        let lowest = of(Kind::Real).map(|row| row.score.value).fold(f64::INFINITY, f64::min);
        let highest = of(Kind::Anchor).max_by(|a, b| a.score.value.total_cmp(&b.score.value));
        if let Some(highest) = highest {
            run.check(Check::new(
                format!("network {network}: real digits have the highest classifier score"),
                lowest > highest.score.value,
                format!("{lowest:.3}, {} {:.3}", highest.images, highest.score.value),
            ));
        }
    }
}

/// A row of images for every set.
fn show(run: &mut Run<'_>, real: &ImageSet, anchors: &[Set]) -> Result<()> {
    let mut pixels = Vec::new();
    let columns = anchors.iter().map(|set| set.images.len()).chain([real.len(), SHOWN]).min();
    let columns = columns.unwrap_or(SHOWN);
    for set in std::iter::once(real).chain(anchors.iter().map(|set| &set.images)) {
        let shown = set.images[..columns * set.pixels()].iter();
        pixels.extend(shown.map(|pixel| f32::from(*pixel) / 255.0));
    }
    let n = pixels.len() / real.pixels();
    let images = Tensor::from_vec(pixels, (n, real.pixels()), &Device::Cpu)?;
    let sheet = Sheet { columns, ..Sheet::new(real.channels, real.height, real.width) };
    let names: Vec<_> = anchors.iter().map(|set| set.name).collect();
    let caption = format!("Rows: real digits, {}.", names.join(", "));
    run.sheet("anchors", &sheet, &images, &caption)
}
