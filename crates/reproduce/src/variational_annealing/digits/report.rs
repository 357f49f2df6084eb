//! The grid in words, pictures and numbers.

use candle_core::{Device, Tensor};
use variational_annealing::{AnnealTerm, Objective, anneal::SIGN_CONVENTION};

use super::{
    NETWORK,
    cell::{GanCell, Outcome, Shared, name},
    settings::{GridSettings, TERMS, meaning},
};
use crate::{
    error::Result,
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    seeds::{all as listed, mean},
    sheet::Sheet,
};

/// The iterations of the full size.
const FULL: usize = 3_000;
/// What a shorter training may leave of the untrained generator's distance; a fifth is the gate of the
/// full size.
const SHORT: f64 = 0.75;

pub(super) fn describe(run: &mut Run<'_>, settings: &GridSettings) {
    let GridSettings { train_images, iterations, batch_size, samples, .. } = settings;
    if run.request.scale == Scale::Smoke {
        run.paragraph("A few updates: no number is claimed at this scale.");
    }
    let few = if *iterations < FULL {
        format!(
            " These are {iterations} of the {FULL} iterations of the full size: differences between columns at \
             this length say little."
        )
    } else {
        String::new()
    };
    let part = if settings.terms.len() < TERMS.len() || settings.seeds < 2 {
        " `--scale paper` has every column and two seeds."
    } else {
        ""
    };
    let columns: Vec<&str> = settings.terms.iter().map(|name| meaning(name)).collect();
    let columns = columns.join("; ");
    run.paragraph(format!(
        "A convolutional critic with a feature of 576 numbers, its denoiser, a generator of 64 latent \
         variables: {train_images} digits, {iterations} iterations of {batch_size} for every cell of the \
         grid, the networks and sizes being ours (the paper's images are CIFAR-10 and faces).{few} Columns: \
         {columns}.{part} All cells of a seed begin with the same \
         weights and see the same images in the same order. The Wasserstein critic has no batch norm, and \
         its features are standardised for the denoiser."
    ));
    run.paragraph(format!(
        "Signs: {SIGN_CONVENTION}. Weights are per element: of 576 features, so that a weight of 1 is \
         beta = 1.0017. Weights and temperatures of every cell in time are in `annealing.json`. {samples} \
         samples of the generator with its running moments, cut to bytes, are scored by the repository's \
         digit network `{NETWORK}` against as many test digits."
    ));
}

pub(super) fn sheets(run: &mut Run<'_>, all: &[(&GanCell, &Outcome)]) -> Result<()> {
    run.heading("Samples");
    for (cell, outcome) in all {
        let [c, h, w] = cell.networks.discriminator.event;
        let pixels: Vec<f32> = outcome.pictures.iter().map(|b| f32::from(*b) / 255.0).collect();
        let n = pixels.len() / (c * h * w);
        let x = Tensor::from_vec(pixels, (n, c, h, w), &Device::Cpu)?;
        let sheet = Sheet { columns: 10.min(n.max(1)), ..Sheet::new(c, h, w) };
        let clean =
            |c: char| if c.is_ascii_alphanumeric() || c == '+' || c == '-' { c } else { '_' };
        let file: String = cell.label().chars().map(clean).collect();
        run.sheet(&file, &sheet, &x, &format!("{}.", cell.label()))?;
    }
    Ok(())
}

/// Cells that differ in their seed only.
fn groups<'a>(all: &[(&'a GanCell, &'a Outcome)]) -> Vec<Vec<(&'a GanCell, &'a Outcome)>> {
    let mut groups: Vec<Vec<(&GanCell, &Outcome)>> = Vec::new();
    for (cell, outcome) in all {
        let same = |group: &&mut Vec<(&GanCell, &Outcome)>| {
            let first = group[0].0;
            first.term == cell.term && first.train.objective == cell.train.objective
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push((cell, outcome)),
            None => groups.push(vec![(cell, outcome)]),
        }
    }
    groups
}

pub(super) fn table(
    run: &mut Run<'_>,
    settings: &GridSettings,
    shared: &Shared,
    all: &[(&GanCell, &Outcome)],
) -> Result<()> {
    run.heading("Scores");
    let right = |name: &str| (name.to_owned(), Align::Right);
    let left = |name: &str| (name.to_owned(), Align::Left);
    let columns = ["mnist-fid", "classifier score", "precision", "coverage", "s / 100 it."];
    let mut table =
        Table::new([left("objective"), left("term")].into_iter().chain(columns.map(right)));
    let real = shared.scores(&shared.floor)?;
    let of = |name: &str| real.iter().find(|m| m.name == name).map_or(f64::NAN, |m| m.value);
    table.row([
        "real digits".to_owned(),
        String::new(),
        format_number(of("mnist-fid")),
        format!("{:.3}", of("classifier-score")),
        format!("{:.3}", of("precision")),
        format!("{:.3}", of("coverage")),
        String::new(),
    ]);
    for mut metric in real {
        metric.name = format!("{} real", metric.name);
        run.metric(metric);
    }
    for group in groups(all) {
        let first = group[0].0;
        let values = |name: &str| group.iter().map(|(_, o)| o.value(name)).collect::<Vec<_>>();
        let untrained = first.iterations == 0;
        let row = if untrained { "" } else { name(first.train.objective) };
        let per = group.iter().map(|(c, o)| 100.0 * o.seconds / c.iterations.max(1) as f64);
        let per = mean(&per.collect::<Vec<_>>());
        table.row([
            row.to_owned(),
            first.term.clone(),
            listed(&values("mnist-fid")),
            format!("{:.3}", mean(&values("classifier-score"))),
            format!("{:.3}", mean(&values("precision"))),
            format!("{:.3}", mean(&values("coverage"))),
            if untrained { String::new() } else { format!("{per:.1}") },
        ]);
        for (cell, outcome) in group {
            for metric in &outcome.metrics {
                let name = format!("{} {}", metric.name, cell.label());
                run.metric(Metric { name, ..metric.clone() });
            }
        }
    }
    run.table(table);
    pace(run, settings, all);
    Ok(())
}

/// What the numbers are means of, and what the full size takes.
fn pace(run: &mut Run<'_>, settings: &GridSettings, all: &[(&GanCell, &Outcome)]) {
    let seeds = settings.seeds;
    let trained = || all.iter().filter(|(cell, _)| cell.iterations > 0);
    let (spent, iterations) = trained().fold((0.0, 0), |(seconds, iterations), (cell, outcome)| {
        (seconds + outcome.seconds, iterations + cell.iterations)
    });
    let full = spent / iterations.max(1) as f64 * FULL as f64 / 60.0;
    run.paragraph(format!(
        "At the pace of this run {FULL} iterations of a cell take {full:.1} minutes on average, on a processor of one thread. \
         Means over {seeds} seeds, of the distance every seed in brackets. The last column is the time of \
         a cell, on a processor while others run. The term's effect is reported, not judged: its weights \
         are within 0.2 % of no annealing in the mathematical sense."
    ));
}

/// The gates of the full size; shorter trainings are only on their way there.
pub(super) fn checks(run: &mut Run<'_>, settings: &GridSettings, all: &[(&GanCell, &Outcome)]) {
    let fid = "mnist-fid";
    let untrained = |seed: u64| {
        let found = all.iter().find(|(cell, _)| cell.iterations == 0 && cell.seed == seed);
        found.map_or(f64::NAN, |(_, outcome)| outcome.value(fid))
    };
    let trained = || all.iter().filter(|(cell, _)| cell.iterations > 0);
    let ratio = |(cell, outcome): &(&GanCell, &Outcome)| {
        (outcome.value(fid) / untrained(cell.seed), cell.label())
    };
    let worst = trained().map(ratio).max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((worst, label)) = worst {
        let (most, size) =
            if settings.iterations < FULL { (SHORT, ", shortened training") } else { (0.2, "") };
        let name =
            format!("mnist-fid of every run over that of its untrained generator ({label}{size})");
        run.check(Check::at_most(name, worst, most));
    }
    if settings.iterations < FULL {
        return;
    }
    let plain = trained().filter(|(cell, _)| {
        cell.train.objective == Objective::Jsd && cell.train.term == AnnealTerm::Off
    });
    for (cell, outcome) in plain {
        let name = format!("coverage of {} is above one half", cell.label());
        run.check(Check::at_most(name, 0.5, outcome.value("coverage")));
    }
}
