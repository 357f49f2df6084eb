//! The table of all rows, their sheets, checks and the order that was found.

use vaebm::config::Negatives;

use super::{
    rows::Outcome,
    settings::{AblationSettings, Row},
};
use crate::{
    data,
    digit_scores::{Seen, of_network},
    digits::{self, classifier_score, mnist_fid},
    error::Result,
    limits::finite_check,
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

pub(super) fn describe(run: &mut Run<'_>, settings: &AblationSettings) {
    let AblationSettings { energy_width, updates, energy_updates, samples, .. } = settings;
    let (energy, pixels) = (&settings.energy_training, &settings.pixel_training);
    let short = match run.request.scale {
        Scale::Quick => format!(
            " Everything is shortened to minutes: the published trainings are of 25,000 to 100,000 updates, \
             and at `paper` here of 500 (e of 200), with 32 chains on pixels, 10,000 of them in the buffer, \
             150 steps at the end and 2,000 samples. Orders of rows after {updates} updates say little."
        ),
        _ => String::new(),
    };
    run.paragraph(format!(
        "Rows a to e of Table 4, and e with steps of the decoder down the energy (appendix C). All begin with \
         one autoencoder and train energies of width {energy_width}, b to d by {updates} updates and e by \
         {energy_updates}, batches of {} ({} on pixels). Rows b and c: gradients of energies on pixels, {} steps \
         of {} in training and {} for samples, clipped to {}, noise of {}, a buffer of {} chains of which a share \
         of {} begins anew. Row d: a critic with spectral norms (without the batch norm of the paper's) at {}, \
         the decoder at {}, steps in turn, samples of the decoder beside digits with noise of {}. Row e: chains \
         of {} steps of {} in the noise space, {} potential, at {}, {} steps for samples; the energy is trained \
         on {} of the ends. {samples} samples of each row; the pictures of rows with a decoder are its \
         means.{short}",
        energy.batch_size,
        settings.pixel_batch,
        pixels.chains.steps,
        pixels.chains.step_size,
        pixels.test_steps,
        pixels.chains.clip,
        pixels.chains.noise_scale,
        pixels.capacity,
        pixels.restart,
        settings.critic_rate,
        settings.decoder_rate,
        settings.data_noise,
        energy.chains.steps,
        energy.chains.step_size,
        energy.potential,
        energy.learning_rate,
        energy.test_steps,
        match energy.negatives {
            Negatives::Sample => "samples",
            Negatives::Mean => "decoder's means",
        },
    ));
}

/// The sheet of a row, and what broke.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn sheet(
    run: &mut Run<'_>,
    settings: &AblationSettings,
    outcome: &Outcome,
) -> Result<()> {
    if let Some(reason) = &outcome.broken {
        run.paragraph(format!(
            "This row broke: {reason}. Its last saved state is that after {} updates.",
            outcome.updates
        ));
    }
    let Some(images) = &outcome.images else {
        run.paragraph("It has no samples.");
        return Ok(());
    };
    let shown = images.narrow(0, 0, settings.shown)?;
    let name = format!("samples-{}", outcome.row.name().replace('_', "-"));
    let caption = format!("Samples, {}, after {} updates.", outcome.row.title(), outcome.updates);
    run.sheet(&name, &Sheet::of(&shown)?, &shown, &caption)
}

/// Distance and score of a set by one network.
#[derive(Clone, Copy)]
struct Scores {
    fid: f64,
    score: f64,
}

/// The table, metrics, checks and orders.
///
/// # Errors
/// Of the digit networks.
pub(super) fn report(run: &mut Run<'_>, outcomes: &[Outcome]) -> Result<()> {
    run.heading("All rows");
    let sets: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| Some((outcome.row.name(), outcome.images.as_ref()?)))
        .collect();
    let followed: Vec<f64> = outcomes.iter().flat_map(|o| o.followed.iter().copied()).collect();
    finite_check(run, "losses and energies", &followed);
    run.check(Check::new(
        "every row has samples",
        sets.len() == outcomes.len(),
        format!("{} of {}", sets.len(), outcomes.len()),
    ));
    if sets.is_empty() {
        return Ok(());
    }
    let judges = digits::open(&run.request.root, &run.request.device)?;
    let test = &data::mnist(run.request)?.test;
    let most = sets.iter().map(|(_, images)| images.dims()[0]).min().unwrap_or(0);
    let n = most.min(test.len() / 2);
    let mut scores = Vec::new();
    for judge in &judges {
        let seen = of_network(run, judge, test, n, &sets)?;
        scores.push((judge.label.clone(), record(run, &seen)?));
    }
    table(run, outcomes, &scores);
    run.paragraph(format!(
        "mnist-fid is the Frechet distance of the features of two digit networks between {n} images and {n} \
         test digits, the classifier score the inception-score formula on their answers; they do not compare \
         with FID and inception score of CIFAR-10, the paper's. Distances of fewer than 2,000 images are \
         biased upwards, that of real digits (the floor) alike."
    ));
    for (label, scores) in &scores {
        check(run, label, scores);
        order(run, label, scores);
    }
    Ok(())
}

type Found = (String, Scores);

/// Metrics of real digits and of the rows that have samples, in their order.
fn record(run: &mut Run<'_>, (reference, seen): &Seen<'_>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (name, view) in seen {
        let mut fid = mnist_fid(view, reference)?.setting("reference", "mnist-test");
        let mut score = classifier_score(view)?;
        found.push(((*name).to_owned(), Scores { fid: fid.value, score: score.value }));
        fid.name = format!("mnist_fid_{name}");
        score.name = format!("classifier_score_{name}");
        run.metric(fid);
        run.metric(score);
    }
    Ok(found)
}

fn table(run: &mut Run<'_>, outcomes: &[Outcome], scores: &[(String, Vec<Found>)]) {
    let mut columns = vec![("Row".to_owned(), Align::Left)];
    let right = |name: String| (name, Align::Right);
    for label in scores.iter().map(|(label, _)| label) {
        columns.push(right(format!("mnist-fid {label}")));
        columns.push(right(format!("score {label}")));
    }
    for name in ["updates", "training, s", "samples, s", "paper: FID", "paper: IS"] {
        columns.push(right(name.into()));
    }
    let mut table = Table::new(columns.iter().map(|(name, align)| (name.as_str(), *align)));
    let of = |name: &str| -> Vec<String> {
        let cells = |(_, found): &(String, Vec<Found>)| {
            let own = found.iter().find(|(set, _)| set == name);
            let cell = |value: Option<f64>| value.map(format_number).unwrap_or("none".into());
            [cell(own.map(|(_, s)| s.fid)), cell(own.map(|(_, s)| s.score))]
        };
        scores.iter().flat_map(cells).collect()
    };
    let none = std::iter::repeat_n(String::new(), 5);
    table.row(std::iter::once("real digits".to_owned()).chain(of("real")).chain(none));
    for outcome in outcomes {
        let Outcome { row, updates, seconds: [training, samples], broken, .. } = outcome;
        let [fid, is] = row.published();
        let made = if broken.is_some() { format!("{updates}, broke") } else { updates.to_string() };
        let rest = [
            made,
            format!("{training:.0}"),
            format!("{samples:.0}"),
            format_number(fid),
            format_number(is),
        ];
        table.row(std::iter::once(row.title().to_owned()).chain(of(row.name())).chain(rest));
        let metric = Metric::new(format!("seconds_{}", row.name()), training + samples, "s");
        run.metric(metric.setting("training", *training).setting("updates", *updates));
    }
    run.table(table);
}

/// Real digits come first.
fn check(run: &mut Run<'_>, label: &str, scores: &[Found]) {
    let [(_, real), rows @ ..] = scores else { return };
    if run.request.scale == Scale::Smoke {
        return;
    }
    let least = rows.iter().map(|(_, row)| row.fid).fold(f64::INFINITY, f64::min);
    run.check(Check::at_most(
        format!("mnist-fid, network {label}: the floor is below every row"),
        real.fid,
        least,
    ));
}

/// The paper's orders, and whether they came out.
fn order(run: &mut Run<'_>, label: &str, scores: &[Found]) {
    if run.request.scale == Scale::Smoke {
        return;
    }
    let of = |row: Row| Some(scores.iter().find(|(name, _)| name == row.name())?.1.fid);
    let expected = [
        (Row::PixelsNvae, Row::Pixels, "c is better than b"),
        (Row::Vaebm, Row::Nvae, "e is better than a"),
        (Row::Vaebm, Row::PixelsNvae, "e is better than c"),
        (Row::Vaebm, Row::Wgan, "e is better than d"),
        (Row::Vaebm, Row::VaebmDecoder, "steps of the decoder do not improve e"),
    ];
    let sentences: Vec<String> = expected
        .into_iter()
        .filter_map(|(better, worse, words)| {
            let (better, worse) = (of(better)?, of(worse)?);
            let so = if better < worse { "as here" } else { "not so here" };
            let [better, worse] = [better, worse].map(format_number);
            Some(format!("{words}, {so} ({better} and {worse})"))
        })
        .collect();
    if !sentences.is_empty() {
        run.paragraph(format!(
            "In the paper, by FID, as found here by mnist-fid of network {label}: {}.",
            sentences.join("; ")
        ));
    }
}
