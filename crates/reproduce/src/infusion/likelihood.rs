//! Table 2: lower bound and importance-sampling estimates of test and training images.

use candle_core::Tensor;
use chains_core::chain::{LogWeights, PathSummary};
use eval_metrics::{bits_per_dim, log_grid};
use infusion::{EstimateOptions, rate_zero_log_prob};

use super::{estimates::frozen_estimate, settings::LikelihoodSettings, training::Trained};
use crate::{
    arrays::score,
    error::Result,
    images::Images,
    limits::{beside, compares, finite_check},
    repeats::repeated,
    report::{Align, Table, format_with_error},
    request::Scale,
    results::{Check, Metric},
    run::Run,
};

/// Chains for each validation image when the isotropic output variance is chosen.
const SEARCH_CHAINS: usize = 50;
/// Variances that are tried for it, from 1e-4 to 1e-1.
const SEARCH_POINTS: usize = 16;

/// Measures, checks and tabulates everything about the likelihood of one model.
pub(super) fn likelihood(
    run: &mut Run<'_>,
    images: &Images,
    trained: &Trained,
    settings: &LikelihoodSettings,
) -> Result<()> {
    let bound = lower_bound(run, images, trained, settings)?;
    let variance = if settings.isotropic {
        Some(isotropic_variance(run, images, trained, settings)?)
    } else {
        None
    };
    let seed = run.request.stream().child("eval");
    let mut splits = Vec::new();
    for (split, set, n) in [
        ("test", &images.test, settings.is_images),
        ("train", &images.train, settings.is_train_images),
    ] {
        let x = images.first(set, n.min(set.len()), seed.child(split), trained.model.device())?;
        let rows = estimates(run, trained, &x, settings, variance, split)?;
        report_estimates(run, images, split, settings, variance, &rows);
        splits.push(rows);
    }
    checks(run, &splits[0]);
    table(run, &bound, &splits[0], &splits[1]);
    Ok(())
}

/// The bound of the test images, and the closed form of rate 0 on the same ones.
fn lower_bound(
    run: &mut Run<'_>,
    images: &Images,
    trained: &Trained,
    settings: &LikelihoodSettings,
) -> Result<PathSummary> {
    let seed = run.request.stream().child("eval");
    let model = &trained.model;
    let n = settings.bound_images.min(images.test.len());
    let x = images.first(&images.test, n, seed.child("test"), model.device())?;
    let options = EstimateOptions::new(settings.bound_chains);
    let found = frozen_estimate(model, &x, &options, seed.child("bound"), run.observer()?)?;
    let bound = PathSummary::of(&found.weights[0]);
    finite_check(run, "the test bounds", &[bound.lower_bound]);
    let metric = Metric::new("lower_bound_test", bound.lower_bound, "nats")
        .std_error(bound.lower_bound_se)
        .n(bound.examples)
        .setting("k", bound.chains)
        .setting("training_images", images.train.len())
        .setting("updates", trained.updates)
        .setting("statistics", "frozen");
    run.metric(beside(metric, 1350.598, compares(run, images)));
    if !images.pooled {
        let dim = x.dim(1)?;
        let value = score(bits_per_dim(bound.lower_bound, dim))?;
        let error = bound.lower_bound_se / (dim as f64 * std::f64::consts::LN_2);
        let metric = Metric::new("bits_per_dim_test", value, "bits per dimension");
        let metric = metric.std_error(error).n(bound.examples);
        run.metric(metric.setting("k", bound.chains));
    }
    let network = &model.config().network;
    let (floor, scale) = (network.variance_floor, network.variance_scale);
    let closed = rate_zero_log_prob(&trained.moments, &x, floor, scale)?;
    let closed = closed.iter().sum::<f64>() / closed.len() as f64;
    run.metric(
        Metric::new("rate_zero_closed_form_test", closed, "nats")
            .n(n)
            .setting("of", "the factorial Gaussian of the training images, on the same images"),
    );
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "the test bound is above the closed form of rate 0 on the same images",
            bound.lower_bound > closed,
            format!("{:.1} against {closed:.1}", bound.lower_bound),
        ));
    }
    Ok(bound)
}

/// The variance of an isotropic last factor with the highest importance-sampling estimate of
/// validation images. The paper does not say how it chose its own.
fn isotropic_variance(
    run: &mut Run<'_>,
    images: &Images,
    trained: &Trained,
    settings: &LikelihoodSettings,
) -> Result<f64> {
    let seed = run.request.stream().child("eval");
    let model = &trained.model;
    let n = settings.is_images.min(images.validation.len());
    let x = images.first(&images.validation, n, seed.child("validation"), model.device())?;
    let grid = score(log_grid(1e-4, 1e-1, SEARCH_POINTS))?;
    let options = EstimateOptions {
        output_variances: grid.iter().copied().map(Some).collect(),
        ..EstimateOptions::new(settings.search_chains())
    };
    let found = frozen_estimate(model, &x, &options, seed.child("isotropic"), run.observer()?)?;
    let estimate = |weights: &Vec<LogWeights>| PathSummary::of(weights).importance_sampling;
    let best = grid
        .iter()
        .zip(found.weights.iter().map(estimate))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(f64::NAN, |(variance, _)| *variance);
    Ok(best)
}

impl LikelihoodSettings {
    fn search_chains(&self) -> usize {
        self.is_chains.last().copied().unwrap_or(1).min(SEARCH_CHAINS)
    }
}

/// The estimates with one number of chains.
struct Row {
    /// k.
    chains: usize,
    /// Of the model's own output variance, then of the isotropic one where it was asked for; means
    /// over repetitions, with standard errors over examples.
    summaries: Vec<PathSummary>,
    /// Standard deviation of the importance-sampling estimates over repetitions, what Table 2 calls
    /// +-; none without repetitions.
    spread: Vec<Option<f64>>,
}

fn estimates(
    run: &mut Run<'_>,
    trained: &Trained,
    x: &Tensor,
    settings: &LikelihoodSettings,
    isotropic: Option<f64>,
    split: &str,
) -> Result<Vec<Row>> {
    let seed = run.request.stream().child("eval").child("is").child(split);
    let variances: Vec<_> = std::iter::once(None).chain(isotropic.map(Some)).collect();
    let one = |run: &mut Run<'_>, chains: usize| -> Result<Row> {
        let options =
            EstimateOptions { output_variances: variances.clone(), ..EstimateOptions::new(chains) };
        let found = repeated(settings.is_repeats, |repeat| {
            let seed = seed.indexed(chains as u64).indexed(repeat);
            Ok(frozen_estimate(&trained.model, x, &options, seed, run.observer()?)?.weights)
        })?;
        let (summaries, spread) = found.iter().map(|r| (r.summary, r.spread)).unzip();
        Ok(Row { chains, summaries, spread })
    };
    settings.is_chains.iter().map(|chains| one(run, *chains)).collect()
}

fn report_estimates(
    run: &mut Run<'_>,
    images: &Images,
    split: &str,
    settings: &LikelihoodSettings,
    isotropic: Option<f64>,
    rows: &[Row],
) {
    let may = compares(run, images);
    let published = |test: f64, train: f64| if split == "test" { test } else { train };
    let last = rows.last().map_or(0, |row| row.chains);
    let pixels = images.event().iter().product::<usize>();
    for row in rows {
        let metric = |name: &str, variant: usize, published: f64| {
            let summary = &row.summaries[variant];
            let mut metric =
                Metric::new(format!("{name}_{split}"), summary.importance_sampling, "nats")
                    .std_error(summary.importance_sampling_se)
                    .n(summary.examples)
                    .setting("k", row.chains)
                    .setting("pixels", pixels)
                    .setting("repeats", settings.is_repeats)
                    .setting("effective_sample_size", round(summary.effective_sample_size));
            if let Some(spread) = row.spread[variant] {
                metric = metric.setting("std_over_repeats", round(spread));
            }
            // Table 2 has k = 20,000; it stands beside our largest k only.
            beside(metric, published, may && row.chains == last)
        };
        run.metric(metric("importance_sampling", 0, published(1836.27, 1837.560)));
        if let Some(variance) = isotropic {
            let metric = metric("importance_sampling_isotropic", 1, published(413.297, 450.695));
            let metric = metric.setting("output_variance", variance);
            run.metric(metric.setting("output_variance_rule", "best on validation images"));
        }
    }
    if let (Some(row), "train") = (rows.last(), split) {
        let metric = Metric::new("lower_bound_train", row.summaries[0].lower_bound, "nats")
            .std_error(row.summaries[0].lower_bound_se)
            .n(row.summaries[0].examples)
            .setting("k", row.chains)
            .setting("pixels", pixels);
        run.metric(beside(metric, 1230.305, may));
    }
}

/// What must hold whatever the model is worth; the chains of every row are its own.
fn checks(run: &mut Run<'_>, rows: &[Row]) {
    let all: Vec<f64> =
        rows.iter().flat_map(|r| &r.summaries).map(|s| s.importance_sampling).collect();
    finite_check(run, "the importance-sampling estimates", &all);
    if run.request.scale == Scale::Smoke {
        return;
    }
    for pair in rows.windows(2) {
        run.check(Check::new(
            format!(
                "the estimate with {} chains is not below that with {}",
                pair[1].chains, pair[0].chains
            ),
            pair[1].summaries[0].importance_sampling >= pair[0].summaries[0].importance_sampling,
            format!(
                "{:.1} against {:.1}",
                pair[1].summaries[0].importance_sampling, pair[0].summaries[0].importance_sampling
            ),
        ));
    }
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.chains > 1) {
        // Within one set of chains this is Jensen's inequality and cannot fail.
        let Some(other) = rows.iter().enumerate().rev().find(|(other, _)| *other != index) else {
            continue;
        };
        run.check(Check::at_most(
            format!(
                "lower bound of {} other chains <= importance-sampling estimate of {}",
                other.1.chains, row.chains
            ),
            round(other.1.summaries[0].lower_bound),
            round(row.summaries[0].importance_sampling),
        ));
    }
    if let Some(Row { summaries, .. }) = rows.last()
        && let [own, isotropic] = summaries.as_slice()
    {
        run.check(Check::new(
            "the isotropic output is below the learned one",
            isotropic.importance_sampling < own.importance_sampling,
            format!("{:.1} against {:.1}", isotropic.importance_sampling, own.importance_sampling),
        ));
    }
}

fn table(run: &mut Run<'_>, bound: &PathSummary, test: &[Row], train: &[Row]) {
    run.heading("Log likelihood, nats (Table 2)");
    run.paragraph(
        "The importance-sampling estimate (IS) keeps growing with the number of chains k, because \
         single chains dominate it: the effective sample size (ESS, of the test images) says how many \
         of the k chains count. Numbers with different k do not compare. Published: k = 20,000 on \
         1,000 test and 100 training images; ± is the standard deviation over ten repetitions; ours \
         is the standard error over images, which is larger. In the published table the training \
         bound lies below the test bound, as printed.",
    );
    if test.iter().any(|row| row.summaries.len() > 1) {
        run.paragraph(format!(
            "Isotropic: the last factor has one variance for all pixels. The paper does not say how \
             its own was chosen; ours has the highest importance-sampling estimate of validation \
             images among {SEARCH_POINTS} values from 1e-4 to 1e-1."
        ));
    }
    let columns = ["Model", "k", "test", "ESS", "train"];
    let mut table =
        Table::new(columns.map(|c| (c, if c == "Model" { Align::Left } else { Align::Right })));
    for [model, k, test, train] in PUBLISHED {
        table.row([*model, *k, *test, "", *train]);
    }
    table.row([
        format!("ours (bound), {} test images", bound.examples),
        bound.chains.to_string(),
        format_with_error(bound.lower_bound, bound.lower_bound_se),
        String::new(),
        String::new(),
    ]);
    let is = |s: &PathSummary| format_with_error(s.importance_sampling, s.importance_sampling_se);
    let lb = |s: &PathSummary| format_with_error(s.lower_bound, s.lower_bound_se);
    let ess = |s: &PathSummary| format!("{:.1}", s.effective_sample_size);
    let last = test.last().map_or(0, |row| row.chains);
    for (test, train) in test.iter().zip(train) {
        let k = test.chains.to_string();
        let (a, b) = (&test.summaries[0], &train.summaries[0]);
        let n = format!("{} and {} images", a.examples, b.examples);
        if test.chains == last {
            table.row([format!("ours (bound), {n}"), k.clone(), lb(a), String::new(), lb(b)]);
        }
        table.row([format!("ours (IS), {n}"), k.clone(), is(a), ess(a), is(b)]);
        if let (Some(a), Some(b)) = (test.summaries.get(1), train.summaries.get(1)) {
            table.row([format!("ours, isotropic (IS), {n}"), k, is(a), ess(a), is(b)]);
        }
    }
    run.table(table);
}

/// Table 2: model, k, test, train.
const PUBLISHED: &[[&str; 4]] = &[
    ["VAE-50 (AIS), published", "", "991.435 ± 6.477", "1272.586 ± 6.759"],
    ["GAN-50 (AIS), published", "", "627.297 ± 8.813", "620.498 ± 31.012"],
    ["GMMN-50 (AIS), published", "", "593.472 ± 8.591", "571.803 ± 30.864"],
    ["VAE-10 (AIS), published", "", "705.375 ± 7.411", "780.196 ± 19.147"],
    ["GAN-10 (AIS), published", "", "328.772 ± 5.538", "318.948 ± 22.544"],
    ["GMMN-10 (AIS), published", "", "346.679 ± 5.860", "345.176 ± 19.893"],
    ["Infusion, isotropic (IS), published", "20000", "413.297 ± 0.460", "450.695 ± 1.617"],
    ["Infusion (IS), published", "20000", "1836.27 ± 0.551", "1837.560 ± 1.074"],
    ["Infusion (bound), published", "20000", "1350.598 ± 0.079", "1230.305 ± 0.532"],
];

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
