//! How well networks classify digits: accuracy, confusions, and what they miss.

use candle_core::Tensor;
use datasets::ImageSet;
use eval_metrics::Accuracy;

use crate::{
    digits::{Judge, View},
    error::{Error, Result},
    report::{Align, Cell, Table, format_with_error},
    results::Check,
    run::Run,
    sheet::Sheet,
};

/// Missed digits that the sheet has room for.
const SHOWN: usize = 120;
/// Missed digits in a row of it.
const COLUMNS: usize = 20;
/// What a network must reach that is trained on all training digits.
const LEAST: f64 = 0.992;
/// Normal quantile of a 95 per cent interval.
const Z: f64 = 1.959_964;

/// What one network says of labelled digits.
pub(super) struct Found {
    pub(super) label: String,
    pub(super) view: View,
    /// Answers, one for each digit.
    pub(super) classes: Vec<usize>,
    pub(super) accuracy: Accuracy,
}

/// Classifies all digits of a set with every network.
pub(super) fn accuracies(
    run: &mut Run<'_>,
    judges: &[Judge],
    set: &ImageSet,
) -> Result<Vec<Found>> {
    let one = |judge: &Judge| {
        let view = View::of_set(judge, set, run.observer()?)?;
        let accuracy = eval_metrics::accuracy(view.logits.view(), &set.labels)
            .map_err(|error| Error::Usage(format!("accuracy: {error}")))?;
        Ok(Found { label: judge.label.clone(), classes: view.classes(), view, accuracy })
    };
    judges.iter().map(one).collect()
}

/// Metrics, confusion tables, and sheets of the digits that are missed.
pub(super) fn report(run: &mut Run<'_>, set: &ImageSet, found: &[Found]) -> Result<()> {
    run.heading("Accuracy");
    let names = ["Network", "id", "correct", "accuracy, %", "95 % interval (Wilson)"];
    let mut table = Table::new(names.map(|name| (name, Align::Right)));
    for Found { label, view, accuracy, .. } in found {
        let (low, high) = accuracy.wilson_interval(Z);
        let metric = view
            .metric("accuracy", accuracy.value, "share")
            .std_error(accuracy.std_error)
            .setting("interval_low", low)
            .setting("interval_high", high)
            .setting("reference", set.name.as_str());
        let id = metric.settings["extractor"].as_str().unwrap_or_default().to_owned();
        table.row([
            label.clone(),
            id,
            format!("{} of {}", accuracy.correct, accuracy.n),
            format_with_error(100.0 * accuracy.value, 100.0 * accuracy.std_error),
            format!("{:.2} to {:.2}", 100.0 * low, 100.0 * high),
        ]);
        run.metric(metric);
    }
    run.table(table);
    agreement(run, set, found);
    for found in found {
        confusions(run, set, found);
        missed(run, set, found)?;
    }
    Ok(())
}

/// Is every network good enough to score with?
pub(super) fn checks(run: &mut Run<'_>, found: &[Found]) {
    for Found { label, accuracy, .. } in found {
        run.check(Check::new(
            format!("network {label} classifies at least 99.2 % of the test digits"),
            accuracy.value >= LEAST,
            format!("{:.2} % of {}", 100.0 * accuracy.value, accuracy.n),
        ));
    }
}

/// Digits that two networks miss both: independent mistakes would hardly ever meet.
fn agreement(run: &mut Run<'_>, set: &ImageSet, found: &[Found]) {
    let [a, b] = found else { return };
    let wrong = |found: &Found, at: usize| found.classes[at] != usize::from(set.labels[at]);
    let both = (0..set.len()).filter(|at| wrong(a, *at) && wrong(b, *at)).count();
    let apart = a.classes.iter().zip(&b.classes).filter(|(a, b)| a != b).count();
    let by_chance = (1.0 - a.accuracy.value) * (1.0 - b.accuracy.value) * set.len() as f64;
    run.paragraph(format!(
        "The networks miss {both} digits both (independent mistakes: {by_chance:.1}) and disagree on \
         {apart}."
    ));
}

/// Rows are labels, columns answers; zeros are left blank.
fn confusions(run: &mut Run<'_>, set: &ImageSet, found: &Found) {
    let mut counts = [[0_usize; 10]; 10];
    for (label, class) in set.labels.iter().zip(&found.classes) {
        counts[usize::from(*label)][*class] += 1;
    }
    run.heading(format!("Confusions of network {}", found.label));
    let columns = std::iter::once("is / said".to_owned()).chain((0..10).map(|c| c.to_string()));
    let mut table = Table::new(columns.map(|name| (name, Align::Right)));
    for (label, row) in counts.iter().enumerate() {
        let cell = |(class, count): (usize, &usize)| match *count {
            0 => Cell::default(),
            count if class == label => Cell::from(count.to_string()),
            count => Cell::bold(count.to_string()),
        };
        let first = std::iter::once(Cell::from(label.to_string()));
        table.row(first.chain(row.iter().enumerate().map(cell)));
    }
    run.table(table);
}

/// A sheet of missed digits in the order of their labels, and what each was taken for.
fn missed(run: &mut Run<'_>, set: &ImageSet, found: &Found) -> Result<()> {
    let answers = set.labels.iter().zip(&found.classes).enumerate();
    let mut wrong: Vec<(u8, usize, usize)> = answers
        .filter(|(_, (label, class))| usize::from(**label) != **class)
        .map(|(at, (label, class))| (*label, *class, at))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.sort_unstable();
    let total = wrong.len();
    wrong.truncate(SHOWN);
    let indices: Vec<usize> = wrong.iter().map(|(_, _, at)| *at).collect();
    let shape = (indices.len(), set.pixels());
    let pixels: Vec<f32> = set.gather(&indices).iter().map(|v| f32::from(*v) / 255.0).collect();
    let images = Tensor::from_vec(pixels, shape, &candle_core::Device::Cpu)?;
    let sheet = Sheet { columns: COLUMNS, ..Sheet::new(set.channels, set.height, set.width) };
    let rows = wrong.chunks(COLUMNS).map(|row| {
        let pairs = row.iter().map(|(label, class, _)| format!("{label}→{class}"));
        pairs.collect::<Vec<_>>().join(" ")
    });
    let caption = format!(
        "{} of the {total} digits that network {} misses, label → answer row by row: {}.",
        indices.len(),
        found.label,
        rows.collect::<Vec<_>>().join("; ")
    );
    run.sheet(&format!("missed-{}", found.label), &sheet, &images, &caption)
}
