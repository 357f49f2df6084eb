//! What the comparison found, in tables, curves and sentences.

use super::{
    super::seeds::{mean, mean_error},
    benchmark::{Choice, Outcome, ROWS},
    fit::Fitted,
    settings::{Settings, TABLE_6, published},
};
use crate::{
    error::Result,
    limits::{beside, finite_check},
    plots::{Plot, Series},
    report::{Align, Cell, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
};

/// Sets on which the game is expected to beat the supervised classifier on most.
const EXPECTED: [&str; 4] = ["optdigits", "penbased", "satimage", "letter"];
const SUPERVISED: usize = 0;
const VAT: usize = 1;
const JEM: usize = 3;
const VERA: usize = 4;

pub(super) fn write(run: &mut Run<'_>, settings: &Settings, outcomes: &[Outcome]) -> Result<()> {
    introduction(run, settings, outcomes);
    for (what, words, of) in PARTS {
        run.heading(format!("Accuracy on {words} rows, %"));
        accuracies(run, outcomes, what, of);
    }
    choices(run, outcomes);
    costs(run, outcomes);
    sentences(run, outcomes);
    checks(run, outcomes);
    run.heading("Curves");
    for outcome in outcomes {
        curves(run, outcome)?;
    }
    quoted(run);
    Ok(())
}

type Of = fn(&Fitted) -> f64;
const PARTS: [(&str, &str, Of); 2] =
    [("validation", "validation", Fitted::validation), ("test", "test", Fitted::test)];

/// Accuracies of the seeds in per cent.
fn percents(row: &[Fitted], of: Of) -> Vec<f64> {
    row.iter().map(|fitted| 100.0 * of(fitted)).collect()
}

/// The mean, and in brackets every seed.
fn words(values: &[f64]) -> String {
    let each: Vec<String> = values.iter().map(|v| format!("{v:.1}")).collect();
    if values.len() < 2 {
        return each.concat();
    }
    format!("{:.1} ({})", mean(values), each.join(", "))
}

fn introduction(run: &mut Run<'_>, settings: &Settings, outcomes: &[Outcome]) {
    let updates = outcomes.iter().map(|outcome| outcome.recipe.updates);
    let (least, most) = (updates.clone().min().unwrap_or(0), updates.max().unwrap_or(0));
    let updates = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let first = run.request.seed.wrapping_add(1);
    let seeds = match settings.seeds {
        1 => format!("of seed {first}"),
        n => {
            let last = run.request.seed.wrapping_add(n as u64);
            format!("then over seeds {first} to {last} (each in brackets)")
        }
    };
    run.paragraph(format!(
        "{} labels of every class are known, all other training rows are used without theirs. The rows are \
         split once (numpy's shuffle, seed 1234): a tenth to test, a tenth of the rest to validate; columns \
         are standardised by the training rows. Every number is the mean of the last five of {} looks over \
         {updates} updates, the same for all methods, {seeds}; a \
         seed decides which labels are known, the initial networks and all noise.",
        settings.labels_per_class, settings.looks
    ));
    run.paragraph(format!(
        "eps of VAT, and beta of VAT and VERA each, are the best on validation with seed {} and then used \
         with the other seeds; MEG and JEM, whose loss differs from VERA's in its samples alone, take VERA's \
         beta. The paper reports accuracy on validation rows. A training diverges when its loss is no number \
         or beyond 1e8; its number is then that of the last looks before.",
        run.request.seed
    ));
}

fn accuracies(run: &mut Run<'_>, outcomes: &[Outcome], what: &str, of: Of) {
    let sets = outcomes.iter().map(|outcome| (outcome.parts.name.clone(), Align::Right));
    let columns = std::iter::once(("method".to_owned(), Align::Left)).chain(sets);
    let mut table = Table::new(columns);
    for (index, name) in ROWS.iter().enumerate() {
        let mut cells = vec![Cell::from(*name)];
        for outcome in outcomes {
            let (set, values) = (&outcome.parts.name, percents(&outcome.rows[index], of));
            let key = name.to_lowercase().replace(' ', "_");
            let mut metric =
                Metric::new(format!("accuracy_{what}_{set}_{key}"), mean(&values), "%");
            if let Some(error) = mean_error(&values) {
                metric = metric.std_error(error);
            }
            if let (Some(theirs), "validation") = (published(run.request, set, index), what) {
                metric = beside(metric, theirs, true);
            }
            if metric.value.is_finite() {
                run.metric(metric.n(values.len()));
            }
            let text = words(&values);
            cells.push(if index == VERA { Cell::bold(text) } else { text.into() });
        }
        table.row(cells);
    }
    run.table(table);
}

/// What was tried on the root seed.
fn choices(run: &mut Run<'_>, outcomes: &[Outcome]) {
    let tried = |outcome: &Outcome| outcome.vat.tried.len() > 1 || outcome.vera.tried.len() > 1;
    if !outcomes.iter().any(tried) {
        return;
    }
    run.heading("Settings chosen on validation");
    let columns = ["set", "VERA", "accuracy, %", "VAT", "accuracy, %"];
    let aligned =
        columns.map(|name| (name, if name == "set" { Align::Left } else { Align::Right }));
    let mut table = Table::new(aligned);
    for outcome in outcomes {
        let vera =
            column(&outcome.vera, |a, b| (a - b).abs() < 1e-12, |beta| format!("beta {beta}"));
        let vat = column(
            &outcome.vat,
            |a, b| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12),
            |[radius, beta]| format!("eps {radius}, beta {beta}"),
        );
        for row in 0..vera.len().max(vat.len()) {
            let name = if row == 0 { outcome.parts.name.clone() } else { String::new() };
            let mut cells = vec![Cell::from(name)];
            for half in [&vera, &vat] {
                cells.extend(half.get(row).cloned().unwrap_or_default());
            }
            table.row(cells);
        }
    }
    run.table(table);
}

/// Candidates with their accuracies, the chosen one bold.
fn column<T: Copy>(
    choice: &Choice<T>,
    same: impl Fn(&T, &T) -> bool,
    name: impl Fn(T) -> String,
) -> Vec<[Cell; 2]> {
    let row = |(candidate, accuracy): &(T, Option<f64>)| {
        let accuracy = accuracy.map(|a| format!("{:.1}", 100.0 * a)).unwrap_or_default();
        let both = [name(*candidate), accuracy];
        if same(candidate, &choice.best) { both.map(Cell::bold) } else { both.map(Cell::from) }
    };
    choice.tried.iter().map(row).collect()
}

fn costs(run: &mut Run<'_>, outcomes: &[Outcome]) {
    run.heading("Time and divergence");
    let columns = ["method", "ms an update", "diverged", "at update"];
    let mut table =
        Table::new(columns.map(|c| (c, if c == "method" { Align::Left } else { Align::Right })));
    for (index, name) in ROWS.iter().enumerate() {
        let all: Vec<&Fitted> = outcomes.iter().flat_map(|outcome| &outcome.rows[index]).collect();
        let seconds: f64 = all.iter().map(|fitted| fitted.seconds).sum();
        let updates: usize = all.iter().map(|fitted| fitted.updates).sum();
        let mut gone: Vec<usize> = all.iter().filter_map(|fitted| fitted.diverged).collect();
        gone.sort_unstable();
        let at = match (gone.first(), gone.last()) {
            (Some(first), Some(last)) if first < last => format!("{first} to {last}"),
            (Some(only), _) => only.to_string(),
            _ => String::new(),
        };
        let share = format!("{} of {}", gone.len(), all.len());
        let cost = format_number(1e3 * seconds / updates.max(1) as f64);
        table.row([(*name).to_owned(), cost, share, at]);
    }
    run.table(table);
    let diverged = |outcome: &Outcome| {
        outcome.rows[JEM].iter().filter(|fitted| fitted.diverged.is_some()).count()
    };
    let all: usize = outcomes.iter().map(|outcome| outcome.rows[JEM].len()).sum();
    let count: usize = outcomes.iter().map(diverged).sum();
    run.metric(Metric::new("diverged_jem", count as f64, "trainings").n(all));
    run.paragraph(format!(
        "JEM, by persistent chains with steps and noise that do not match, failed on two of the paper's four \
         sets; here {count} of {all} trainings diverge."
    ));
}

/// VERA and VAT beside each other, as found.
fn sentences(run: &mut Run<'_>, outcomes: &[Outcome]) {
    if run.request.scale == Scale::Smoke {
        return;
    }
    run.heading("VERA, VAT and the supervised classifier");
    for outcome in outcomes {
        let of = |row: usize| percents(&outcome.rows[row], Fitted::validation);
        let (supervised, vat, vera) = (of(SUPERVISED), of(VAT), of(VERA));
        let [a, b, c] = [&vera, &vat, &supervised].map(|values| mean(values));
        let order = if a > b { "above" } else { "not above" };
        let gain = a - c;
        let every = vera.iter().zip(&vat).filter(|(vera, vat)| vera > vat).count();
        run.paragraph(format!(
            "{}: VERA {a:.1} is {order} VAT {b:.1} (VERA is ahead with {every} of {} seeds), and {:.1} points \
             {} the supervised classifier's {c:.1}.",
            outcome.parts.name,
            vera.len(),
            gain.abs(),
            if gain >= 0.0 { "above" } else { "below" }
        ));
    }
}

fn checks(run: &mut Run<'_>, outcomes: &[Outcome]) {
    let values: Vec<f64> = outcomes
        .iter()
        .flat_map(|outcome| outcome.rows.iter().flatten())
        .flat_map(|fitted| [fitted.validation(), fitted.test()])
        .collect();
    finite_check(run, "accuracies", &values);
    let steady = outcomes.iter().flat_map(|outcome| {
        let rows = outcome.rows.iter().enumerate().filter(|(row, _)| *row != JEM);
        rows.flat_map(|(_, row)| row)
    });
    let (mut broken, mut all) = (0, 0);
    for fitted in steady {
        (broken, all) = (broken + usize::from(fitted.diverged.is_some()), all + 1);
    }
    let name = "no training diverges, those by persistent chains (JEM) aside";
    run.check(Check::new(name, broken == 0, format!("{broken} of {all} did")));
    if run.request.scale != Scale::Quick {
        return;
    }
    let mut found = Vec::new();
    for outcome in outcomes.iter().filter(|o| EXPECTED.contains(&o.parts.name.as_str())) {
        let of = |row: usize| mean(&percents(&outcome.rows[row], Fitted::validation));
        found.push((outcome.parts.name.clone(), of(VERA), of(SUPERVISED)));
    }
    if found.len() < 3 {
        return;
    }
    let wins = found.iter().filter(|(_, vera, supervised)| vera > supervised).count();
    let detail = found.iter().map(|(set, a, b)| format!("{set} {a:.1} against {b:.1}"));
    run.check(Check::new(
        "VERA is above the supervised classifier on three sets of optdigits, penbased, satimage, letter",
        wins >= 3,
        detail.collect::<Vec<_>>().join("; "),
    ));
}

/// Validation accuracy over updates, the first reported seed of every method.
fn curves(run: &mut Run<'_>, outcome: &Outcome) -> Result<()> {
    let set = &outcome.parts.name;
    let mut plot = Plot::new(format!("{set}: accuracy on validation rows"), "update", "%");
    for (name, row) in ROWS.iter().zip(&outcome.rows) {
        let looks = row.first().into_iter().flat_map(|fitted| &fitted.looks);
        let points = looks.filter_map(|l| Some((l.update as f64, 100.0 * l.validation?)));
        plot.series(Series::line(*name, points));
    }
    run.plot(&format!("curves-{set}"), &plot, "The first of the reported seeds.")
}

/// Table 6 as printed.
fn quoted(run: &mut Run<'_>) {
    run.heading("Published (Table 6), accuracy on validation rows, %");
    let sets = TABLE_6.iter().map(|(set, _)| (set.to_uppercase(), Align::Right));
    let mut table = Table::new(std::iter::once(("method".to_owned(), Align::Left)).chain(sets));
    for (index, name) in ROWS.iter().enumerate() {
        let values = TABLE_6.iter().map(|(_, column)| format!("{:.1}", column[index]));
        table.row(std::iter::once((*name).to_owned()).chain(values));
    }
    run.table(table);
    if run.request.scale != Scale::Paper {
        run.paragraph(
            "The paper's sets are other ones, larger, and trained longer by larger networks: the table \
             stands here for the order of its rows. At paper scale they are trained on; MNIST is in \
             the repository, the others are read from --data.",
        );
    }
}
