//! Lower bound, importance sampling and Parzen window of one model, beside what they should exceed.

use candle_core::Tensor;
use chains_core::{
    Seed,
    chain::{LogWeights, PathBlocks, PathSummary},
    noise,
    train::{Event, Observer},
};
use eval_metrics::{bits_per_dim, log_grid, parzen, select_bandwidth};
use walkback::{
    EstimateOptions, IsotropicPaths, PathEstimate, Statistics, WalkbackChain, WalkbackModel,
    Weighting, estimate,
};

use super::{super::super::training::Trained, Settings};
use crate::{
    arrays::{rows, score},
    error::Result,
    images::Images,
    limits::finite_check,
    repeats::{Repeated, repeated},
    report::{Align, Table, format_number, format_with_error},
    request::Scale,
    results::{Check, Metric},
    run::Run,
};

/// Rows of a network call.
const ROWS: usize = 1000;
/// Paths for each validation image when the isotropic variance is chosen.
const SEARCH_CHAINS: usize = 50;

/// The estimates of `x` with frozen statistics.
///
/// # Errors
/// Of the estimator or the observer.
pub(crate) fn frozen_estimate(
    model: &WalkbackModel,
    x: &Tensor,
    options: &EstimateOptions,
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<PathEstimate> {
    with_chain(model, |chain| {
        let total = 1000;
        observer.observe(&Event::Started { stage: "likelihood", step: 0, total: Some(total) })?;
        let mut noise = noise::of_device(seed, model.device());
        let found = estimate(chain, x, options, &mut *noise, &mut |share| {
            let step = (share * total as f64) as usize;
            observer.observe(&Event::Scalars { step, values: &[] })
        })?;
        observer.observe(&Event::Finished { step: total })?;
        Ok(found)
    })
}

/// The heated and cooled chains with their own frozen statistics.
fn with_chain<T>(
    model: &WalkbackModel,
    then: impl FnOnce(&WalkbackChain<'_, walkback::Operator<'_>>) -> Result<T>,
) -> Result<T> {
    let (heat, cool) = (model.operator(Statistics::Heating), model.operator(Statistics::Cooling));
    let (start, heating) = (model.start()?, model.heating(0));
    then(&WalkbackChain { heat: &heat, cool: &cool, start: &start, heating })
}

/// The bound of the test images beside the factorial Gaussian of the training images, which is
/// returned.
pub(super) fn lower_bound(
    run: &mut Run<'_>,
    images: &Images,
    trained: &Trained,
    settings: &Settings,
) -> Result<f64> {
    let seed = run.request.stream().child("eval");
    let model = &trained.model;
    let x =
        images.first(&images.test, settings.bound_images, seed.child("test"), model.device())?;
    let options = EstimateOptions {
        variants: vec![Weighting::Plain, Weighting::Entropy],
        ..EstimateOptions::new(settings.bound_chains)
    };
    let found = frozen_estimate(model, &x, &options, seed.child("bound"), run.observer()?)?;
    let [bound, entropy] = [0, 1].map(|variant| PathSummary::of(&found.weights[variant]));
    finite_check(run, "the test bounds", &[bound.lower_bound, entropy.lower_bound]);
    let (n, dim) = (bound.examples, x.dim(1)?);
    let mut record = |name: &str, value: f64, se: f64, unit: &str| {
        let metric = Metric::new(name, value, unit).std_error(se).n(n);
        let metric = metric.setting("k", bound.chains).setting("statistics", "frozen");
        run.metric(metric.setting("pixels", dim).setting("updates", trained.updates));
    };
    record("lower_bound_test", bound.lower_bound, bound.lower_bound_se, "nats");
    record("lower_bound_by_entropy_test", entropy.lower_bound, entropy.lower_bound_se, "nats");
    if !images.pooled {
        let bits = score(bits_per_dim(bound.lower_bound, dim))?;
        let se = bound.lower_bound_se / dim as f64 / std::f64::consts::LN_2;
        record("bits_per_dim_test", bits, se, "bits per dimension");
    }
    let floor = settings.train.variance_floor;
    let closed = trained.moments.log_prob(&x, [floor, f64::INFINITY])?;
    let baseline = closed.iter().sum::<f64>() / closed.len() as f64;
    run.metric(
        Metric::new("factorial_gaussian_test", baseline, "nats")
            .n(n)
            .setting("of", "moments of the training images, on the same test images")
            .setting("variance_floor", floor),
    );
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "the test bound is above the factorial Gaussian on the same images",
            bound.lower_bound > baseline,
            format!("{:.1} against {baseline:.1}", bound.lower_bound),
        ));
        // The same walks: only the noise of ln q tells the two apart.
        let [gap, error] = paired(&found.weights[0], &found.weights[1]);
        run.check(Check::new(
            "the bound with the entropy of the walk is the same bound",
            gap.abs() <= 4.0 * error,
            format!("{gap:.2} apart on the same walks, standard error {error:.2}"),
        ));
    }
    Ok(baseline)
}

/// Mean over examples of the difference of two bounds of the same walks, and its standard error.
fn paired(a: &[LogWeights], b: &[LogWeights]) -> [f64; 2] {
    let n = a.len() as f64;
    let gaps = || a.iter().zip(b).map(|(a, b)| a.lower_bound() - b.lower_bound());
    let mean = gaps().sum::<f64>() / n;
    let scatter = gaps().map(|gap| (gap - mean).powi(2)).sum::<f64>();
    [mean, (scatter / (n - 1.0) / n).sqrt()]
}

/// The estimates with one number of paths: of the model's own last factor, and of the isotropic one.
struct Row {
    chains: usize,
    own: Repeated,
    isotropic: Repeated,
}

/// Estimates of the same images with more and more paths, each with paths of its own.
pub(super) fn importance_sampling(
    run: &mut Run<'_>,
    images: &Images,
    model: &WalkbackModel,
    settings: &Settings,
    baseline: f64,
) -> Result<()> {
    let seed = run.request.stream().child("eval");
    let x = images.first(&images.test, settings.is_images, seed.child("test"), model.device())?;
    let variance = isotropic_variance(run, images, model, settings)?;
    let mut found = Vec::new();
    for &chains in &settings.is_chains {
        let variants = vec![Weighting::Plain, Weighting::Isotropic(variance)];
        let options = EstimateOptions { chains, rows: ROWS, variants };
        let seed = seed.child("is").child("test").indexed(chains as u64);
        let repeats = repeated(settings.is_repeats, |repeat| {
            let seed = seed.indexed(repeat);
            Ok(frozen_estimate(model, &x, &options, seed, run.observer()?)?.weights)
        })?;
        let [own, isotropic] = [repeats[0], repeats[1]];
        let metric = |name: &str, Repeated { summary, spread }: &Repeated| {
            let metric = Metric::new(name, summary.importance_sampling, "nats")
                .std_error(summary.importance_sampling_se)
                .n(summary.examples)
                .setting("k", chains)
                .setting("repeats", settings.is_repeats)
                .setting("effective_sample_size", summary.effective_sample_size);
            match *spread {
                Some(spread) => metric.setting("std_over_repeats", spread),
                None => metric,
            }
        };
        run.metric(metric("importance_sampling_test", &own));
        run.metric(
            metric("importance_sampling_isotropic_test", &isotropic)
                .setting("output_variance", variance)
                .setting("output_variance_rule", "best estimate of validation images"),
        );
        found.push(Row { chains, own, isotropic });
    }
    checks(run, &found);
    table(run, &found, baseline);
    Ok(())
}

/// The isotropic variance of the last factor with the best importance-sampling estimate of validation
/// images.
fn isotropic_variance(
    run: &mut Run<'_>,
    images: &Images,
    model: &WalkbackModel,
    settings: &Settings,
) -> Result<f64> {
    let seed = run.request.stream().child("eval");
    let n = settings.is_images;
    let x = images.first(
        &images.validation,
        n.min(images.validation.len()),
        seed.child("validation"),
        model.device(),
    )?;
    let chains = settings.is_chains.last().map_or(1, |k| SEARCH_CHAINS.min(*k));
    let blocks = PathBlocks { chains, rows: ROWS };
    with_chain(model, |chain| {
        let mut noise = noise::of_device(seed.child("isotropic"), model.device());
        let paths = IsotropicPaths::run(chain, &x, blocks, &mut *noise, &mut |_| Ok(()))?;
        Ok(paths.best_sampling_variance()?)
    })
}

/// What must hold whatever the model is worth, up to the errors of paths drawn afresh.
fn checks(run: &mut Run<'_>, found: &[Row]) {
    let all: Vec<f64> = found
        .iter()
        .flat_map(|row| [&row.own, &row.isotropic])
        .map(|found| found.summary.importance_sampling)
        .collect();
    finite_check(run, "the importance-sampling estimates", &all);
    if run.request.scale == Scale::Smoke {
        return;
    }
    for pair in found.windows(2) {
        let [few, many] = [&pair[0], &pair[1]];
        let [a, b] = [few, many].map(|row| row.own.summary.importance_sampling);
        run.check(Check::new(
            format!(
                "the estimate with {} paths is not below that with {}",
                many.chains, few.chains
            ),
            b >= a,
            format!("{b:.1} against {a:.1}"),
        ));
    }
    // The paths of the two are different ones: not Jensen's inequality of one set of numbers.
    let several = found.iter().find(|row| row.chains > 1);
    if let (Some(few), Some(last)) = (several, found.last())
        && few.chains < last.chains
    {
        run.check(Check::at_most(
            format!(
                "the bound by {} paths is not above the estimate with {}",
                last.chains, few.chains
            ),
            round(last.own.summary.lower_bound),
            round(few.own.summary.importance_sampling),
        ));
    }
}

/// To the tenths of a nat that checks show.
fn round(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

/// Test rows that the infusion paper's Table 2 prints; the numbers of this paper are in no source.
const COMPARED: [[&str; 4]; 5] = [
    ["VAE-50 (AIS), published", "", "991.4", ""],
    ["GAN-50 (AIS), published", "", "627.3", ""],
    ["GMMN-50 (AIS), published", "", "593.5", ""],
    ["infusion (bound), published", "", "1350.6", ""],
    ["infusion (IS), published", "20000", "1836.3", ""],
];

fn table(run: &mut Run<'_>, found: &[Row], baseline: f64) {
    run.heading("Log likelihood of test digits, nats");
    run.paragraph(
        "The importance-sampling estimate (IS) grows with the number of paths k; the effective sample \
         size (ESS) says how many of them count. Neither the supplement nor the published code has \
         numbers of its own for this experiment; the rows above ours are those of the infusion paper, \
         measured on its own models. The factorial Gaussian has the moments of the training digits: a \
         bound below it would say that the chain has learnt nothing.",
    );
    let repeated = found.iter().any(|row| row.own.spread.is_some());
    let last = repeated.then_some("deviation over repetitions");
    let columns = ["Model", "k", "test", "ESS"].into_iter().chain(last);
    let align = |c| if c == "Model" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|c| (c, align(c))));
    for row in COMPARED {
        table.row(row);
    }
    table.row(["factorial Gaussian", "", &format!("{baseline:.1}"), ""]);
    if let Some(Row { chains, own, .. }) = found.last() {
        let value = format_with_error(own.summary.lower_bound, own.summary.lower_bound_se);
        table.row(["ours (bound)", &chains.to_string(), &value, ""]);
    }
    for Row { chains, own, isotropic } in found {
        for (name, Repeated { summary, spread }) in
            [("ours (IS)", own), ("ours, isotropic output (IS)", isotropic)]
        {
            let mut cells = vec![
                name.to_owned(),
                chains.to_string(),
                format_with_error(summary.importance_sampling, summary.importance_sampling_se),
                format!("{:.1}", summary.effective_sample_size),
            ];
            cells.extend(spread.map(format_number));
            table.row(cells);
        }
    }
    run.table(table);
}

/// Gaussian windows on means `(n, D)`, the window chosen on validation digits.
pub(super) fn parzen_window(run: &mut Run<'_>, images: &Images, means: &Tensor) -> Result<()> {
    let device = means.device();
    let centres = rows(means)?;
    let of = |set: &datasets::ImageSet| -> Result<_> {
        rows(&images.scaled(set, set.len().min(1000), device)?)
    };
    let grid = score(log_grid(0.02, 1.0, 17))?;
    let chosen = score(select_bandwidth(centres.view(), of(&images.validation)?.view(), &grid))?;
    let found = score(parzen(centres.view(), of(&images.test)?.view(), chosen.bandwidth))?;
    run.metric(
        Metric::new("parzen_test", found.mean, "nats")
            .std_error(found.std_error)
            .n(found.n)
            .setting("window", chosen.bandwidth)
            .setting("window_rule", "best on validation digits")
            .setting("centres", found.centres),
    );
    Ok(())
}
