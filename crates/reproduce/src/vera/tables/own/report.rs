//! What a user reads of a training on their own table.

use std::path::Path;

use datasets::Table as Rows;
use eval_metrics::{Bootstrap, Calibration, calibration::calibration_from_logits};
use ndarray::Axis;

use super::{
    Trained,
    prepare::{Own, Use},
    settings::OwnSettings,
};
use crate::{
    arrays::score,
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Cell, Table, format_number, format_with_error},
    results::Metric,
    run::Run,
};

/// Classes of which the confusions still fit a page.
const MOST_CLASSES: usize = 20;
/// Rows that are listed as unlikely.
const UNLIKELY: usize = 10;

pub(super) fn write(
    run: &mut Run<'_>,
    settings: &OwnSettings,
    own: &Own,
    trained: &[Trained],
) -> Result<()> {
    let held = own.rows(Use::HeldOut);
    rows(run, own);
    let finite: Vec<f64> =
        trained.iter().flat_map(|t| t.scores.log_density.iter().copied()).collect();
    finite_check(run, "log densities of all rows", &finite);
    if held.is_empty() {
        run.paragraph(
            "No labelled row was held out, so nothing can be said of how well the model classifies new \
             rows. Label more rows, or raise held_out.",
        );
    } else {
        comparison(run, settings, own, trained, &held)?;
    }
    if let Some(vera) = trained.first() {
        unlikely(run, own, vera);
    }
    curves(run, trained)?;
    files(run);
    Ok(())
}

/// How many rows of every class there are, and what they are used for.
fn rows(run: &mut Run<'_>, own: &Own) {
    let table = &own.table;
    let constant = match own.constant.as_slice() {
        [] => String::new(),
        names => {
            format!(" Columns that are the same in all rows are left out: {}.", names.join(", "))
        }
    };
    run.paragraph(format!(
        "{} rows of {} features; column {} has {} classes. Features are standardised by the rows that are \
         trained on.{constant}",
        table.len(),
        table.dim(),
        own.card.label,
        table.classes.len()
    ));
    let columns = ["class", "rows", "label used", "label not used", "held out"];
    let mut counts =
        Table::new(columns.map(|c| (c, if c == "class" { Align::Left } else { Align::Right })));
    let count = |label: Option<u32>, wanted: Option<Use>| {
        let of = |&i: &usize| {
            table.labels[i] == label && wanted.is_none_or(|wanted| own.uses[i] == wanted)
        };
        (0..table.len()).filter(of).count().to_string()
    };
    let names = table.classes.iter().enumerate().map(|(k, name)| (Some(k as u32), name.as_str()));
    let none = table.labels.iter().any(Option::is_none).then_some((None, "(no label)"));
    for (label, name) in names.chain(none) {
        let uses = [None, Some(Use::Labelled), Some(Use::Unlabelled), Some(Use::HeldOut)];
        let cells = uses.map(|wanted| count(label, wanted));
        counts.row(std::iter::once(name.to_owned()).chain(cells));
    }
    run.table(counts);
    run.paragraph(
        "VERA learns from the labels that are used and from all other rows without theirs; the supervised \
         classifier from the former alone. Held-out rows are seen by neither.",
    );
}

/// Accuracy and calibration on held-out rows.
fn comparison(
    run: &mut Run<'_>,
    settings: &OwnSettings,
    own: &Own,
    trained: &[Trained],
    held: &[usize],
) -> Result<()> {
    run.heading(format!("On {} held-out rows", held.len()));
    let labels = labels(&own.table, held);
    let names = ["classifier", "accuracy, %", "ECE, %", "log loss, nats", "diverged at"];
    let mut table =
        Table::new(names.map(|n| (n, if n == "classifier" { Align::Left } else { Align::Right })));
    let mut plot = Plot::new("Reliability", "mean confidence", "accuracy");
    plot.series(Series::line("calibrated", [(0.0, 0.0), (1.0, 1.0)]));
    let mut found = Vec::new();
    for (index, Trained { name, fitted, scores }) in trained.iter().enumerate() {
        let logits = scores.logits.select(Axis(0), held);
        let bootstrap = Bootstrap { resamples: 1_000, level: 0.95, seed: run.request.seed };
        let of = score(calibration_from_logits(logits.view(), &labels, settings.bins, bootstrap))?;
        let error = (of.accuracy * (1.0 - of.accuracy) / of.n as f64).sqrt();
        metrics(run, &of, error, if index == 0 { "" } else { "_supervised" });
        let loss = of
            .nll_std_error
            .map_or_else(|| format_number(of.nll), |error| format_with_error(of.nll, error));
        table.row([
            (*name).to_owned(),
            format_with_error(100.0 * of.accuracy, 100.0 * error),
            format!("{:.1}", 100.0 * of.ece),
            loss,
            fitted.diverged.map(|at| at.to_string()).unwrap_or_default(),
        ]);
        let answers = scores.answers();
        let pairs: Vec<(f64, bool)> = held
            .iter()
            .zip(&labels)
            .map(|(&i, &label)| (answers[i].1, answers[i].0 == label as usize))
            .collect();
        plot.series(Series::line(*name, reliability(&pairs, settings.bins)));
        found.push(of);
    }
    run.table(table);
    if let [vera, supervised] = found.as_slice() {
        sentence(run, own, vera, supervised);
    }
    run.plot(
        "reliability",
        &plot,
        &format!(
            "Held-out rows in {} bins of equal width by the probability of the answer (empty bins are left \
             out). Below the diagonal a classifier is too sure of itself.",
            settings.bins
        ),
    )?;
    if let (Some(vera), true) = (trained.first(), own.table.classes.len() <= MOST_CLASSES) {
        confusions(run, own, vera, held);
    }
    Ok(())
}

fn labels(table: &Rows, held: &[usize]) -> Vec<u32> {
    held.iter().map(|&i| table.labels[i].unwrap_or(0)).collect()
}

fn metrics(run: &mut Run<'_>, of: &Calibration, error: f64, suffix: &str) {
    let rows = of.n;
    run.metric(
        Metric::new(format!("accuracy{suffix}"), of.accuracy, "share").std_error(error).n(rows),
    );
    run.metric(
        Metric::new(format!("ece{suffix}"), of.ece, "share")
            .n(rows)
            .setting("bins", of.bins)
            .setting("interval_low", of.ece_interval.0)
            .setting("interval_high", of.ece_interval.1),
    );
}

/// Does the energy help, as found?
fn sentence(run: &mut Run<'_>, own: &Own, vera: &Calibration, supervised: &Calibration) {
    let gap = 100.0 * (vera.accuracy - supervised.accuracy);
    // Of two shares on the same rows; no allowance is made for rows on which both agree.
    let variance = |of: &Calibration| of.accuracy * (1.0 - of.accuracy) / of.n as f64;
    let error = 100.0 * (variance(vera) + variance(supervised)).sqrt();
    let words = if gap.abs() <= 2.0 * error {
        "within what chance explains on so few held-out rows"
    } else if gap > 0.0 {
        "more than chance explains: the rows without labels help"
    } else {
        "more than chance explains: use the supervised model, train longer (updates), or try another \
         class_entropy_weight"
    };
    let counts = own.rows(Use::Labelled).len();
    run.paragraph(format!(
        "From {counts} labels VERA is {:.1} points of accuracy {} the supervised classifier, {words}.",
        gap.abs(),
        if gap >= 0.0 { "above" } else { "below" }
    ));
}

/// Mean confidence and accuracy of bins that are not empty.
fn reliability(answers: &[(f64, bool)], bins: usize) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0, 0.0); bins];
    for (confidence, right) in answers {
        // Bin b holds confidences in (b / bins, (b + 1) / bins].
        let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        let sum = &mut sums[bin];
        *sum = (sum.0 + 1.0, sum.1 + confidence, sum.2 + f64::from(*right));
    }
    let filled = sums.into_iter().filter(|(n, ..)| *n > 0.0);
    filled.map(|(n, confidence, right)| (confidence / n, right / n)).collect()
}

/// Rows are labels, columns answers; zeros are left blank.
fn confusions(run: &mut Run<'_>, own: &Own, vera: &Trained, held: &[usize]) {
    let (classes, answers) = (&own.table.classes, vera.scores.answers());
    let mut counts = vec![vec![0_usize; classes.len()]; classes.len()];
    for (&i, label) in held.iter().zip(labels(&own.table, held)) {
        counts[label as usize][answers[i].0] += 1;
    }
    run.heading("Confusions of VERA on held-out rows");
    let header = std::iter::once("is / said".to_owned()).chain(classes.iter().cloned());
    let mut table = Table::new(header.map(|name| (name, Align::Right)));
    for (k, row) in counts.iter().enumerate() {
        let cell = |(said, count): (usize, &usize)| match *count {
            0 => Cell::default(),
            count if said == k => Cell::from(count.to_string()),
            count => Cell::bold(count.to_string()),
        };
        let first = std::iter::once(Cell::from(classes[k].as_str()));
        table.row(first.chain(row.iter().enumerate().map(cell)));
    }
    run.table(table);
}

/// The rows that fit the model least: errors of measurement, or something new.
fn unlikely(run: &mut Run<'_>, own: &Own, vera: &Trained) {
    let density = &vera.scores.log_density;
    let mut order: Vec<usize> = (0..density.len()).collect();
    order.sort_by(|a, b| density[*a].total_cmp(&density[*b]));
    run.heading("The least likely rows");
    run.paragraph(
        "Rows by the log density of VERA, up to a constant that is the same for all: the lowest are the \
         likeliest outliers. Only differences mean something.",
    );
    let columns = ["row", "log density", "label", "predicted", "probability"];
    let mut table = Table::new(columns.map(|name| (name, Align::Right)));
    let answers = vera.scores.answers();
    for &i in order.iter().take(UNLIKELY) {
        let (class, probability) = answers[i];
        let label = own.table.labels[i].map(|label| own.table.classes[label as usize].clone());
        table.row([
            (i + 1).to_string(),
            format!("{:.2}", density[i]),
            label.unwrap_or_default(),
            own.table.classes[class].clone(),
            format!("{probability:.3}"),
        ]);
    }
    run.table(table);
}

fn curves(run: &mut Run<'_>, trained: &[Trained]) -> Result<()> {
    run.heading("Training");
    let mut plot = Plot::new("Accuracy on held-out rows", "update", "%");
    for Trained { name, fitted, .. } in trained {
        let points =
            fitted.looks.iter().filter_map(|l| Some((l.update as f64, 100.0 * l.validation?)));
        let points: Vec<_> = points.collect();
        if points.is_empty() {
            return Ok(());
        }
        plot.series(Series::line(*name, points));
    }
    run.plot("curves", &plot, "The models are those of the last update; none was chosen by this.")
}

/// What lies in the run directory, and what to do with it.
fn files(run: &mut Run<'_>) {
    run.heading("Files");
    let model = run.dir().checkpoints().join("model");
    let shown = |path: &Path| path.display().to_string();
    run.paragraph(format!(
        "predictions.csv has every row of the file with its use, its label, the predicted class, the \
         probability of every class and the log density. The model is in checkpoints/model, with what it \
         needs to read other tables of the same columns in table.json; the supervised classifier is in \
         checkpoints/supervised. To score new rows: cargo xtask evaluate {0} --data NEW.csv --scores \
         SCORES.csv. To have the model invent rows: cargo xtask sample {0} --out ROWS.csv.",
        shown(&model)
    ));
}

#[cfg(test)]
mod tests {
    use super::reliability;

    #[test]
    fn bins_have_their_means_and_empty_ones_are_left_out() {
        let answers = [(0.5, true), (0.45, false), (1.0, true), (0.95, false)];
        let found = reliability(&answers, 2);
        assert_eq!(found.len(), 2);
        assert!((found[0].0 - 0.475).abs() < 1e-12 && (found[0].1 - 0.5).abs() < 1e-12);
        assert!((found[1].0 - 0.975).abs() < 1e-12 && (found[1].1 - 0.5).abs() < 1e-12);
        assert_eq!(reliability(&answers, 10).len(), 2);
    }
}
