//! Tables and sentences of the joint energy models of digits.

use candle_core::{Device, Tensor};

use super::{
    colour::key,
    digits::{DigitSettings, Evaluated, Found, RefinedDigits},
    evaluate::SCORES,
    methods::Method,
    refine::pairs,
};
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
    vera::seeds::{all, mean},
};

type Methods = [(String, Method)];

/// `found` has all seeds of a method, then those of the next.
pub(super) fn report(
    run: &mut Run<'_>,
    settings: &DigitSettings,
    methods: &Methods,
    found: &[Found],
) -> Result<()> {
    let groups: Vec<&[Found]> = found.chunks(settings.seeds).collect();
    run.paragraph(format!(
        "{} training digits in [-1, 1], {} test digits, {} epochs in batches of {}; the last epoch \
         counts. The energy has hidden layers of {:?}, the generator three of {} and a tanh, d = {}, \
         k = {}. Persistent chains: {} steps with coefficients 1 and 0.01. Published numbers are of \
         photographs and do not compare.",
        settings.train_images,
        settings.test_images,
        settings.epochs,
        settings.batch_size,
        settings.hidden,
        settings.generator_width,
        settings.latent,
        settings.proposals,
        settings.chain_steps,
    ));
    classes(run, methods, &groups);
    if run.request.scale != Scale::Smoke {
        sentences(run, methods, &groups);
    }
    outliers(run, methods, &groups);
    refined(run, settings, methods, &groups)
}

/// Of the trainings that did not diverge.
fn values(group: &[Found], of: impl Fn(&Evaluated) -> f64) -> Vec<f64> {
    group.iter().filter_map(|found| found.evaluated.as_ref()).map(of).collect()
}

/// Mean milliseconds of an update.
fn each(group: &[Found]) -> f64 {
    mean(&group.iter().map(|found| found.outcome.each()).collect::<Vec<_>>())
}

fn accuracies(group: &[Found]) -> Vec<f64> {
    values(group, |found| 100.0 * found.accuracy[0])
}

fn diverged(group: &[Found]) -> usize {
    group.iter().filter(|found| found.outcome.diverged.is_some()).count()
}

fn classes(run: &mut Run<'_>, methods: &Methods, groups: &[&[Found]]) {
    run.heading("Classes");
    let names = ["method", "accuracy, %", "calibration error", "ms an update", "diverged"];
    let align = |at: usize| if at == 0 { Align::Left } else { Align::Right };
    let mut table = Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))));
    let mut numbers = Vec::new();
    for ((name, _), group) in methods.iter().zip(groups) {
        let accuracies = accuracies(group);
        let calibrations = values(group, |found| found.calibration);
        table.row([
            name.clone(),
            all(&accuracies),
            all(&calibrations),
            format_number(each(group)),
            format!("{} of {}", diverged(group), group.len()),
        ]);
        let key = name.replace([' ', ','], "_");
        run.metric(Metric::new(format!("milliseconds_{key}"), each(group), "ms"));
        run.metric(Metric::new(format!("diverged_{key}"), diverged(group) as f64, ""));
        if accuracies.is_empty() {
            continue;
        }
        let error = mean(&values(group, |found| 100.0 * found.accuracy[1]));
        let metric = Metric::new(format!("accuracy_{key}"), mean(&accuracies), "%");
        run.metric(metric.std_error(error).n(accuracies.len()));
        run.metric(Metric::new(format!("calibration_error_{key}"), mean(&calibrations), ""));
        numbers.extend(accuracies.into_iter().chain(calibrations));
    }
    finite_check(run, "accuracies and calibration errors", &numbers);
    run.table(table);
}

/// What section 5.1 and Table 3 lead one to expect, as found.
fn sentences(run: &mut Run<'_>, methods: &Methods, groups: &[&[Found]]) {
    let find = |wanted: &dyn Fn(&Method) -> bool| {
        methods.iter().zip(groups).find(|((_, method), _)| wanted(method)).map(|(_, g)| *g)
    };
    let alpha = |value: f64| {
        find(&move |m| matches!(m, Method::Vera(c) if (c.class_weight - value).abs() < 1e-9))
    };
    let accuracy = |group: &[Found]| mean(&accuracies(group));
    let whole = |group: &[Found]| diverged(group) == 0;
    let classifier = find(&|m| matches!(m, Method::Classifier(_)));
    if let (Some(game), Some(classifier)) = (alpha(100.0).filter(|g| whole(g)), classifier) {
        let gap = accuracy(classifier) - accuracy(game);
        run.paragraph(format!(
            "VERA with alpha 100 is {} points of accuracy below the classifier (published on CIFAR-10: \
             2.6).",
            format_number(gap)
        ));
    }
    let both = [alpha(100.0), alpha(1.0)].map(|group| group.filter(|group| whole(group)));
    if let [Some(large), Some(one)] = both {
        let gap = accuracy(large) - accuracy(one);
        run.paragraph(format!(
            "Alpha 1 is {} points below alpha 100 (published on CIFAR-10: 17.1).",
            format_number(gap)
        ));
    }
    for ((name, method), group) in methods.iter().zip(groups) {
        let (Method::Pcd(_), Some(game)) = (method, alpha(100.0)) else { continue };
        run.paragraph(format!(
            "{name}: an update takes {} times one of VERA, {} of {} trainings diverged; of VERA with \
             alpha 100 {} of {}.",
            format_number(each(group) / each(game)),
            diverged(group),
            group.len(),
            diverged(game),
            game.len()
        ));
    }
    let Some(game) = alpha(100.0) else { return };
    let areas = values(game, |found| area(found, "uniform noise", 0));
    run.check(Check::new(
        "alpha 100: the density tells digits from uniform noise, area above 0.95 in every seed",
        whole(game) && areas.iter().all(|area| *area > 0.95),
        all(&areas),
    ));
}

fn area(found: &Evaluated, set: &str, score: usize) -> f64 {
    let separation = found.separations.iter().find(|separation| separation.set == set);
    separation.and_then(|s| s.areas.get(score).copied().flatten()).unwrap_or(f64::NAN)
}

fn outliers(run: &mut Run<'_>, methods: &Methods, groups: &[&[Found]]) {
    run.heading("Outliers");
    run.paragraph(
        "Area under the receiver operating characteristic, test digits being the positives: by the log \
         density f, by the largest class probability, by minus the length of the gradient of f. Means \
         over seeds. The constant of f of a classifier without a density is free as well, so that it \
         stands beside.",
    );
    let first = groups.iter().flat_map(|group| *group).find_map(|found| found.evaluated.as_ref());
    let Some(first) = first else { return };
    let sets: Vec<&str> = first.separations.iter().map(|s| s.set.as_str()).collect();
    let mut columns = vec![("method".to_owned(), Align::Left), ("score".to_owned(), Align::Left)];
    columns.extend(sets.iter().map(|set| ((*set).to_owned(), Align::Right)));
    let mut table = Table::new(columns);
    for ((name, _), group) in methods.iter().zip(groups) {
        if diverged(group) == group.len() {
            continue;
        }
        for (at, score) in SCORES.iter().enumerate() {
            let mut row = vec![name.clone(), (*score).to_owned()];
            for set in &sets {
                let found = mean(&values(group, |found| area(found, set, at)));
                row.push(format!("{found:.3}"));
                let set = set.replace(' ', "_");
                let metric =
                    format!("auroc_{set}_{}_{}", key(score), name.replace([' ', ','], "_"));
                run.metric(Metric::new(metric, found, "").n(group.len()));
            }
            table.row(row);
        }
    }
    run.table(table);
}

fn refined(
    run: &mut Run<'_>,
    settings: &DigitSettings,
    methods: &Methods,
    groups: &[&[Found]],
) -> Result<()> {
    run.heading("Refinement");
    run.paragraph(format!(
        "{} Metropolis-adjusted Langevin chains over (z, e) on f(g(z) + sigma e), {} steps from fresh \
         samples, the step size adapted to an acceptance of 0.57 on other chains and frozen. Feature \
         distances are Frechet distances of the digit network `a`, equal numbers of images (no FID). \
         Without a prior, as in the paper, the chains sample no model. The first seed.",
        settings.refinement.samples, settings.refinement.steps
    ));
    let names = [
        "method",
        "prior",
        "f before",
        "f after",
        "acceptance",
        "step size",
        "real",
        "raw",
        "refined",
    ];
    let align = |at: usize| if at < 2 { Align::Left } else { Align::Right };
    let mut table = Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))));
    let mut plot = Plot::new("Gain of the chains", "step", "mean f above its start, nats");
    let (mut sheets, mut words) = (Vec::new(), Vec::new());
    for ((name, _), group) in methods.iter().zip(groups) {
        let Some(found) = &group[0].refined else { continue };
        rows(run, &mut table, name, found);
        let start = found.densities[0][0];
        let points = found.densities[0].iter().enumerate();
        plot.series(Series::line(name.clone(), points.map(|(step, f)| (step as f64, *f - start))));
        words.push(change(name, found));
        sheets.push((name, found));
    }
    run.table(table);
    if sheets.is_empty() {
        return Ok(());
    }
    run.paragraph(words.join(" "));
    run.plot("refinement", &plot, "Without prior, the first seed.")?;
    for (name, found) in sheets {
        let all = Tensor::from_slice(&found.sheet, (2, settings.shown, 784), &Device::Cpu)?;
        let columns = settings.shown.min(20);
        let shown = pairs(&all.get(0)?, &all.get(1)?, columns)?;
        let sheet = Sheet { columns, ..Sheet::new(1, 28, 28) };
        let file = format!("refined-{}", name.replace([' ', ','], "-").to_lowercase());
        let caption =
            format!("{name}: samples, and below each row the same after the chains without prior.");
        run.sheet(&file, &sheet, &shown, &caption)?;
    }
    Ok(())
}

fn rows(run: &mut Run<'_>, table: &mut Table, name: &str, found: &RefinedDigits) {
    let [real, raw, refined @ ..] = found.distances;
    for (at, prior) in ["none (paper)", "Gaussian"].iter().enumerate() {
        let densities = &found.densities[at];
        let [before, after] = [densities[0], densities[densities.len() - 1]];
        table.row([
            name.to_owned(),
            (*prior).to_owned(),
            format_number(before),
            format_number(after),
            format!("{:.3}", found.acceptances[at]),
            format_number(found.step_sizes[at]),
            format_number(real),
            format_number(raw),
            format_number(refined[at]),
        ]);
        let key = |what: &str| {
            let prior = if at == 0 { "" } else { "_with_prior" };
            format!("{what}{prior}_{}", name.replace([' ', ','], "_"))
        };
        run.metric(Metric::new(key("refined_gain"), after - before, "nats"));
        run.metric(Metric::new(key("refined_acceptance"), found.acceptances[at], ""));
        run.metric(Metric::new(key("feature_distance_refined"), refined[at], ""));
    }
    let metric = format!("feature_distance_raw_{}", name.replace([' ', ','], "_"));
    run.metric(Metric::new(metric, raw, ""));
}

/// Did the chains help?
fn change(name: &str, found: &RefinedDigits) -> String {
    let [_, raw, refined, _] = found.distances;
    let word = if refined <= raw { "falls" } else { "rises" };
    format!(
        "{name}: the distance of refined samples {word} from {} to {}.",
        format_number(raw),
        format_number(refined)
    )
}
