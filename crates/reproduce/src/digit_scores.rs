//! What the shipped digit networks make of generated means.

use candle_core::Tensor;
use datasets::ImageSet;

use crate::{
    data,
    digits::{self, Judge, View, classifier_score, mnist_fid},
    error::Result,
    images::Images,
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::Check,
    run::Run,
};

/// Do the networks take these images?
pub(crate) fn apply(event: [usize; 3]) -> bool {
    event == [1, 28, 28]
}

/// Are the networks there, if they take images of `event`?
///
/// # Errors
/// As [`digits::ready`].
pub(crate) fn ready(request: &Request, event: [usize; 3]) -> Result<()> {
    if apply(event) { digits::ready(&request.root) } else { Ok(()) }
}

/// The scores of one set by one network.
struct Scores {
    fid: f64,
    score: f64,
}

/// Means `(n, D)` and their name.
pub(crate) type Set<'a> = (&'a str, &'a Tensor);

/// Scores sets of means, the best first, beside real digits, and checks their order; `beside` are
/// further sets that no order is expected of.
///
/// Reference and floor are of the test file, which neither the model nor the networks have seen, `n`
/// digits each, see [`digits::halves`]; `n` is the number of means, at most half of that file.
pub(crate) fn digit_scores(
    run: &mut Run<'_>,
    images: &Images,
    sets: &[Set<'_>],
    beside: &[Set<'_>],
) -> Result<()> {
    if !apply(images.event()) {
        let [_, h, w] = images.event();
        run.paragraph(format!("The digit networks take 28x28 pixels: no scores of {h}x{w}."));
        return Ok(());
    }
    let judges = digits::open(&run.request.root, &run.request.device)?;
    let test = &data::mnist(run.request)?.test;
    let all: Vec<Set<'_>> = sets.iter().chain(beside).copied().collect();
    let most = all.iter().map(|(_, means)| means.dims()[0]).min().unwrap_or(0);
    let n = most.min(test.len() / 2);
    run.heading("Digit networks");
    run.paragraph(format!(
        "Two networks trained on the 60,000 training digits (`reproduce metrics`). mnist-fid is the \
         Frechet distance of their features between {n} images and {n} test digits; that of {n} other \
         test digits is the floor. The classifier score is the \
         inception-score formula on their answers, in one split, at most 10; real digits are its \
         ceiling. Both compare within this repository and this network only."
    ));
    let columns = ["Images", "network", "mnist-fid", "classifier score", "confidence"];
    let align = |name| if name == "Images" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|name| (name, align(name))));
    let mut found = Vec::new();
    for judge in &judges {
        let seen = of_network(run, judge, test, n, &all)?;
        found.push((judge.label.as_str(), record(run, &mut table, &judge.label, &seen)?));
    }
    run.table(table);
    if run.request.scale != Scale::Smoke {
        for (label, scores) in found {
            check(run, label, sets, &scores[..=sets.len()]);
        }
    }
    Ok(())
}

/// The reference, then real digits and the sets under their names.
pub(crate) type Seen<'a> = (View, Vec<(&'a str, View)>);

/// What one network sees of `n` images of every set, of a reference of as many test digits, and of as
/// many others, whose distance is the floor.
///
/// # Errors
/// As [`digits::halves`] and [`View::of_floats`].
pub(crate) fn of_network<'a>(
    run: &mut Run<'_>,
    judge: &Judge,
    test: &ImageSet,
    n: usize,
    sets: &[Set<'a>],
) -> Result<Seen<'a>> {
    let observer = run.observer()?;
    let [reference, floor] = digits::halves(test, n)?;
    let (reference, floor) =
        (View::of_set(judge, &reference, observer)?, View::of_set(judge, &floor, observer)?);
    let mut seen = vec![("real", floor)];
    for (name, means) in sets {
        seen.push((name, View::of_floats(judge, &means.narrow(0, 0, n)?, observer)?));
    }
    Ok((reference, seen))
}

/// Metrics and rows; the scores in the order of the sets.
fn record(
    run: &mut Run<'_>,
    table: &mut Table,
    label: &str,
    (reference, seen): &Seen<'_>,
) -> Result<Vec<Scores>> {
    let mut scores = Vec::new();
    for (name, view) in seen {
        let mut fid = mnist_fid(view, reference)?.setting("reference", "mnist-test");
        let mut score = classifier_score(view)?;
        let confidence = view.confidence();
        table.row([
            name.replace('_', " "),
            label.to_owned(),
            format_number(fid.value),
            format!("{:.3}", score.value),
            format!("{confidence:.4}"),
        ]);
        scores.push(Scores { fid: fid.value, score: score.value });
        fid.name = format!("mnist_fid_{name}");
        score.name = format!("classifier_score_{name}");
        run.metric(fid);
        run.metric(score);
        run.metric(view.metric(format!("classifier_confidence_{name}"), confidence, "share"));
    }
    Ok(scores)
}

/// Real digits come first, the samples second, all else behind.
fn check(run: &mut Run<'_>, label: &str, sets: &[Set<'_>], scores: &[Scores]) {
    let [real, samples, others @ ..] = scores else { return };
    let names: Vec<_> = sets[1..].iter().map(|(name, _)| name.replace('_', " ")).collect();
    let behind =
        if names.is_empty() { String::new() } else { format!(", then {}", names.join(" and ")) };
    let listed = |value: fn(&Scores) -> f64| {
        scores.iter().map(|of| format_number(value(of))).collect::<Vec<_>>().join(", ")
    };
    run.check(Check::new(
        format!("mnist-fid, network {label}: real digits, then samples{behind}"),
        real.fid < samples.fid && others.iter().all(|other| samples.fid < other.fid),
        listed(|of| of.fid),
    ));
    run.check(Check::new(
        format!("classifier score, network {label}: real digits, then samples{behind}"),
        real.score > samples.score && others.iter().all(|other| samples.score > other.score),
        listed(|of| of.score),
    ));
}
