//! StackedMNIST: modes of real stacked digits as the networks see them.

use candle_core::{Device, Tensor};
use chains_core::train::Event;
use datasets::{ImageSet, StackedMnist};
use eval_metrics::{
    ModeCoverage, ModeReference, mode_coverage, mode_coverage_against,
    networks::{FeatureExtractor, stacked_digits},
};

use crate::{
    digits::Judge,
    error::{Error, Result},
    images::blocks,
    limits::beside,
    report::{Align, Table},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Triples of digits.
pub(crate) const CELLS: usize = 1000;
/// Stacked images that are classified together.
const BLOCK: usize = 250;
/// Standard deviations of the divergence that a perfect sampler may be off.
const DEVIATIONS: f64 = 5.0;

/// Counts modes of the first `sizes` stacked images of `digits`, by their labels and by the networks.
pub(super) fn run(
    run: &mut Run<'_>,
    judges: &[Judge],
    digits: &ImageSet,
    sizes: &[usize],
) -> Result<()> {
    let Some(largest) = sizes.last().copied() else { return Ok(()) };
    let seed = run.request.stream().child("stacked");
    let set = StackedMnist::new(digits.clone(), largest, seed)
        .map_err(|error| Error::Usage(error.to_string()))?;
    let labels: Vec<usize> = (0..largest).map(|at| usize::from(set.label(at))).collect();
    let mut seen = vec![("labels".to_owned(), String::new(), labels.clone())];
    for judge in judges {
        let cells = classify(run, judge, &set)?;
        let id = judge.classifier.id().to_owned();
        seen.push((format!("network {}", judge.label), id, cells));
    }
    describe(run, &seen, digits);
    let reference = cell_counts(digits);
    let mut table = table();
    for &n in sizes {
        for (who, id, cells) in &seen {
            let uniform = score(mode_coverage(&cells[..n], CELLS))?;
            let own = score(mode_coverage_against(&cells[..n], &reference));
            let wrong = cells[..n].iter().zip(&labels).filter(|(a, b)| a != b).count();
            row(&mut table, who, &uniform, wrong);
            metrics(run, who, id, &uniform);
            // A wrong answer may lie in a cell that the digits cannot reach.
            if let Ok(own) = own {
                row(&mut table, who, &own, wrong);
                metrics(run, who, id, &own);
                check(run, who, &own);
            }
        }
    }
    run.table(table);
    show(run, &set)
}

fn classify(run: &mut Run<'_>, judge: &Judge, set: &StackedMnist) -> Result<Vec<usize>> {
    cells(run, judge, set.len(), |indices| {
        let found = set.images(indices);
        let shape = (indices.len(), 3, found.height, found.width);
        Ok(Tensor::from_vec(found.images, shape, &Device::Cpu)?)
    })
}

/// The cells that the network puts `n` stacked images into; `images` gives bytes `(b, 3, 28, 28)` or
/// `(b, 3, 32, 32)` of those with these numbers.
///
/// # Errors
/// Of the network, of the observer and of `images`.
pub(crate) fn cells(
    run: &mut Run<'_>,
    judge: &Judge,
    n: usize,
    images: impl Fn(&[usize]) -> Result<Tensor>,
) -> Result<Vec<usize>> {
    let device = &run.request.device;
    let observer = run.observer()?;
    observer.observe(&Event::Started { stage: "classify", step: 0, total: Some(n) })?;
    let mut cells = Vec::with_capacity(n);
    for block in blocks(n, BLOCK) {
        cells.extend(stacked_digits(&judge.classifier, &images(&block)?.to_device(device)?)?);
        observer.observe(&Event::Scalars { step: cells.len(), values: &[] })?;
    }
    observer.observe(&Event::Finished { step: n })?;
    Ok(cells)
}

/// Modes of `cells` and their divergence from `reference`, see [`cell_counts`], as metrics
/// `modes_NAME` and `divergence_NAME`; `published` are the paper's two numbers.
///
/// # Errors
/// [`Error::Usage`] for no cells.
pub(crate) fn coverage(
    run: &mut Run<'_>,
    judge: &Judge,
    (name, cells): (&str, &[usize]),
    reference: &[u64],
    published: [Option<f64>; 2],
) -> Result<ModeCoverage> {
    let found = score(mode_coverage_against(cells, reference))?;
    let ModeCoverage { modes, kl, perfect, n, .. } = &found;
    let may = run.request.scale != Scale::Smoke;
    for (what, value, unit, perfect, theirs) in [
        ("modes", *modes as f64, "", perfect.modes, published[0]),
        ("divergence", *kl, "nats", perfect.kl, published[1]),
    ] {
        let metric = Metric::new(format!("{what}_{}", name.replace(' ', "_")), value, unit)
            .n(*n)
            .setting("extractor", judge.classifier.id())
            .setting("perfect", perfect);
        run.metric(theirs.map_or(metric.clone(), |theirs| beside(metric, theirs, may)));
    }
    Ok(found)
}

/// Checks that real stacked digits, as the network sees them, are almost a perfect sampler.
pub(crate) fn check_real(run: &mut Run<'_>, found: &ModeCoverage) {
    if run.request.scale != Scale::Smoke {
        run.check(Check::at_most(
            "real stacked digits reach nearly all modes that a perfect sampler does",
            found.perfect.modes - 10.0,
            found.modes as f64,
        ));
    }
}

/// Triples of digits in every cell: what stacked images of these digits are drawn from.
pub(crate) fn cell_counts(digits: &ImageSet) -> Vec<u64> {
    let mut counts = [0_u64; 10];
    digits.labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    let of = |cell: usize| counts[cell / 100] * counts[cell / 10 % 10] * counts[cell % 10];
    (0..CELLS).map(of).collect()
}

fn describe(run: &mut Run<'_>, seen: &[(String, String, Vec<usize>)], digits: &ImageSet) {
    run.heading("Modes of StackedMNIST");
    let labels = &seen[0].2;
    let shares = seen[1..].iter().map(|(who, _, cells)| {
        let wrong = cells.iter().zip(labels).filter(|(a, b)| a != b).count();
        format!("{:.2} % by {who}", 100.0 * wrong as f64 / labels.len() as f64)
    });
    run.paragraph(format!(
        "Three of the digits of `{}`, drawn evenly, in the channels of an image: a real sampler. Beside \
         its modes and divergence stand those that a perfect sampler of the reference has with as \
         many images. The reference is uniform over the 1,000 cells, as papers have it, or the \
         digits' own frequencies: digits are not equally frequent, which alone adds to the uniform \
         divergence. Images put into a wrong cell: {}.",
        digits.name,
        shares.collect::<Vec<_>>().join(", ")
    ));
}

fn table() -> Table {
    let names = [
        "Cells by",
        "reference",
        "n",
        "modes",
        "perfect",
        "with 2 hits",
        "with 5",
        "divergence",
        "perfect",
        "in a wrong cell",
    ];
    let align = |at: usize| if at < 2 { Align::Left } else { Align::Right };
    Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))))
}

fn row(table: &mut Table, who: &str, found: &ModeCoverage, wrong: usize) {
    let ModeCoverage { modes, modes_with_2_hits, modes_with_5_hits, kl, perfect, n, .. } = found;
    table.row([
        who.to_owned(),
        reference(found).to_owned(),
        n.to_string(),
        modes.to_string(),
        format!("{:.2}", perfect.modes),
        modes_with_2_hits.to_string(),
        modes_with_5_hits.to_string(),
        format!("{kl:.4}"),
        format!("{:.4} ± {:.4}", perfect.kl, perfect.kl_std_dev),
        wrong.to_string(),
    ]);
}

fn reference(found: &ModeCoverage) -> &'static str {
    match found.reference {
        ModeReference::Uniform => "uniform",
        ModeReference::Empirical => "digits",
    }
}

fn metrics(run: &mut Run<'_>, who: &str, id: &str, found: &ModeCoverage) {
    let ModeCoverage { modes, modes_with_2_hits, modes_with_5_hits, kl, perfect, n, cells, .. } =
        found;
    let metric = |name: &str, value: f64, unit: &str| {
        let metric = Metric::new(name, value, unit)
            .n(*n)
            .setting("cells", *cells)
            .setting("cells_by", who)
            .setting("reference", reference(found));
        if id.is_empty() { metric } else { metric.setting("extractor", id) }
    };
    run.metric(
        metric("modes", *modes as f64, "")
            .setting("perfect", perfect.modes)
            .setting("with_2_hits", *modes_with_2_hits)
            .setting("with_5_hits", *modes_with_5_hits),
    );
    run.metric(
        metric("modes-divergence", *kl, "nats")
            .setting("perfect", perfect.kl)
            .setting("perfect_std_dev", perfect.kl_std_dev),
    );
}

/// Real stacked digits are a perfect sampler of their own frequencies.
fn check(run: &mut Run<'_>, who: &str, found: &ModeCoverage) {
    if run.request.scale == Scale::Smoke {
        return;
    }
    let ModeCoverage { kl, perfect, n, .. } = found;
    run.check(Check::new(
        format!("stacked digits diverge like a perfect sampler, {who}, n = {n}"),
        (kl - perfect.kl).abs() <= DEVIATIONS * perfect.kl_std_dev,
        format!("{kl:.4}, perfect {:.4} ± {:.4}", perfect.kl, perfect.kl_std_dev),
    ));
}

fn show(run: &mut Run<'_>, set: &StackedMnist) -> Result<()> {
    let indices: Vec<usize> = (0..set.len().min(40)).collect();
    let found = set.images(&indices);
    let pixels: Vec<f32> = found.images.iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
    let shape = (indices.len(), 3, found.height, found.width);
    let images = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
    let sheet = Sheet { columns: 20, ..Sheet::new(3, found.height, found.width) };
    run.sheet("stacked", &sheet, &images, "Real stacked digits.")
}

fn score<T>(found: eval_metrics::Result<T>) -> Result<T> {
    found.map_err(|error| Error::Usage(format!("modes: {error}")))
}
