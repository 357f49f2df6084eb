//! The scores of rows of features, and what all scores share.

use std::{collections::BTreeMap, time::Instant};

use eval_metrics::{
    Bandwidth, KidBlocks, MmdOptions, Moments, Real, energy_distance, expected_coverage, kid,
    median_distance, mmd, nearest_accuracy, prdc,
};
use ndarray::ArrayView2;
use serde_json::Value;

use super::{
    extractors::Features,
    frechet,
    input::Statistics,
    plan::Score,
    scored::Scored,
    settings::{Boundary, Settings},
    side::Side,
};
use crate::{
    error::{Error, Result},
    report::format_number,
    results::Metric,
};

/// Rows of a subset of `kid`, and the fewest that make its scores and those of `prdc` useful.
const USUAL_ROWS: usize = 1000;
/// Rows of both sides beyond which `mmd` draws no divisions unless asked to.
const PERMUTED_ROWS: usize = 10_000;
/// Drawn divisions of fewer rows.
const PERMUTATIONS: usize = 1000;

/// What the scores of one command share.
pub(super) struct Context<'a> {
    pub(super) features: Features,
    pub(super) settings: &'a Settings,
    pub(super) seed: u64,
    /// Generated examples.
    pub(super) n: Option<usize>,
    /// Settings of every metric.
    pub(super) common: BTreeMap<String, Value>,
}

impl Context<'_> {
    pub(super) fn name(&self, score: Score) -> &'static str {
        score.name(self.features)
    }

    /// A number under the score's own name.
    pub(super) fn metric(&self, score: Score, value: f64, unit: &str) -> Metric {
        self.named(self.name(score), value, unit)
    }

    /// A number under another name.
    pub(super) fn named(&self, name: &str, value: f64, unit: &str) -> Metric {
        let mut metric = Metric::new(name, value, unit);
        metric.n = self.n;
        metric.settings.clone_from(&self.common);
        metric
    }

    /// What a score said against its input.
    pub(super) fn refuse(&self, score: Score, error: &eval_metrics::Error) -> Error {
        Error::Usage(format!("--metric {}: {error}", self.name(score)))
    }
}

/// A side: rows that were computed now, or moments that were stored.
pub(super) enum Half<'a, T> {
    Rows(Box<Side<T>>),
    Statistics(&'a Statistics),
}

impl<T> Half<'_, T> {
    pub(super) fn rows(&self) -> Option<ArrayView2<'_, T>> {
        match self {
            Self::Rows(side) => side.rows.as_ref().map(|rows| rows.view()),
            Self::Statistics(_) => None,
        }
    }

    pub(super) fn moments(&self) -> Option<&Moments> {
        match self {
            Self::Rows(side) => side.moments.as_ref(),
            Self::Statistics(statistics) => Some(&statistics.moments),
        }
    }
}

/// One score of two sides.
///
/// # Errors
/// [`Error::Usage`] with what the score says against its input.
pub(super) fn score<T: Real>(
    context: &Context<'_>,
    score: Score,
    real: &Half<'_, T>,
    fake: &Half<'_, T>,
) -> Result<Vec<Scored>> {
    let started = Instant::now();
    let mut scored = if score == Score::Frechet {
        vec![frechet::score(context, real, fake)?]
    } else {
        let (Some(real), Some(fake)) = (real.rows(), fake.rows()) else {
            return Err(Error::Usage(format!("{} needs rows", context.name(score))));
        };
        let found = match score {
            Score::Kid => kernel(context, real, fake),
            Score::Prdc => balls(context, real, fake),
            Score::Mmd => discrepancy(context, real, fake),
            Score::Energy => energy(context, real, fake),
            _ => neighbours(context, real, fake),
        };
        found.map_err(|error| context.refuse(score, &error))?
    };
    timed(&mut scored, started);
    Ok(scored)
}

/// Writes the time since `started` into the settings.
pub(super) fn timed(scored: &mut [Scored], started: Instant) {
    let seconds = (started.elapsed().as_secs_f64() * 1e3).round() / 1e3;
    for scored in scored {
        scored.metric.settings.insert("seconds".into(), seconds.into());
    }
}

type Found = eval_metrics::Result<Vec<Scored>>;

fn kernel<T: Real>(
    context: &Context<'_>,
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Found {
    let settings = context.settings;
    let smaller = real.nrows().min(fake.nrows());
    let blocks = match settings.subset_size {
        None if smaller <= USUAL_ROWS => KidBlocks::Whole,
        size => KidBlocks::Subsets {
            count: settings.subsets,
            size: size.unwrap_or(USUAL_ROWS),
            seed: context.seed,
        },
    };
    let found = kid(real, fake, blocks)?;
    let mut scored = Scored::new(context.metric(Score::Kid, found.value, ""));
    match blocks {
        KidBlocks::Whole => {
            scored.metric = scored.metric.setting("subsets", "all rows at once");
            scored.remark = "all rows at once".into();
        }
        KidBlocks::Subsets { count, size, .. } => {
            scored.metric = scored.metric.setting("subsets", count).setting("subset_size", size);
            scored.remark = format!("± over {count} subsets of {size}, no standard error");
        }
    }
    if let Some(spread) = found.std_dev {
        scored = scored.spread(spread, "population standard deviation over overlapping subsets");
    }
    Ok(vec![scored.note(few(context, Score::Kid, smaller))])
}

fn balls<T: Real>(
    context: &Context<'_>,
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Found {
    let (k, boundary) = (context.settings.k, context.settings.boundary);
    let (edge, name) = match boundary {
        Boundary::Open => (eval_metrics::Boundary::Open, "open"),
        Boundary::Closed => (eval_metrics::Boundary::Closed, "closed"),
    };
    let found = prdc(real, fake, k, edge)?;
    let perfect = expected_coverage(found.n_real, found.n_fake, k);
    let one = |metric: &str, value: f64| {
        let metric = context.named(metric, value, "").setting("k", k).setting("boundary", name);
        Scored::new(metric).remark(format!("k = {k}, {name} balls"))
    };
    let mut scored = vec![
        one("precision", found.precision),
        one("recall", found.recall),
        one("density", found.density),
        one("coverage", found.coverage),
    ];
    // Equal distributions have a mean density of one, and this coverage.
    scored[2].metric.settings.insert("of_equal_distributions".into(), 1.into());
    scored[3].metric.settings.insert("of_equal_distributions".into(), perfect.into());
    scored[3].remark += &format!(", {} for equal distributions", format_number(perfect));
    let smaller = found.n_real.min(found.n_fake);
    let (fewer, unequal) = (few(context, Score::Prdc, smaller), found.n_real != found.n_fake);
    let unequal =
        unequal.then(|| "prdc: compare only at equal numbers of rows on both sides".into());
    Ok(scored.into_iter().map(|s| s.note(fewer.clone()).note(unequal.clone())).collect())
}

fn discrepancy<T: Real>(
    context: &Context<'_>,
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Found {
    let settings = context.settings;
    let (h, rule) = match settings.bandwidth {
        Some(h) => (h, "given"),
        None => (median_distance(real)?, "median distance within the reference"),
    };
    let pooled = real.nrows() + fake.nrows();
    let permutations =
        settings.permutations.unwrap_or(if pooled <= PERMUTED_ROWS { PERMUTATIONS } else { 0 });
    let bandwidth = if settings.mixture { Bandwidth::FixedMixture(h) } else { Bandwidth::Fixed(h) };
    let found = mmd(real, fake, &MmdOptions { bandwidth, permutations, seed: context.seed })?;
    let mut metric = context
        .metric(Score::Mmd, found.value, "")
        .setting("estimate", "unbiased, squared")
        .setting("biased", found.biased)
        .setting("kernel", if settings.mixture { "mixture of five Gaussians" } else { "Gaussian" })
        .setting("bandwidth", h)
        .setting("bandwidth_rule", rule)
        .setting("permutations", permutations);
    let mut remark = format!("bandwidth {} ({rule})", format_number(h));
    if let Some(p) = found.p_value {
        metric = metric.setting("p_value", p);
        remark += &format!(", p = {} of {permutations} permutations", format_number(p));
    }
    Ok(vec![Scored::new(metric).remark(remark)])
}

fn energy<T: Real>(
    context: &Context<'_>,
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Found {
    let found = energy_distance(real, fake)?;
    let metric = context.metric(Score::Energy, found.value, "").setting("estimate", "unbiased");
    Ok(vec![Scored::new(metric)])
}

fn neighbours<T: Real>(
    context: &Context<'_>,
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Found {
    let found = nearest_accuracy(real, fake)?;
    let metric = context
        .metric(Score::Nearest, found.value, "")
        .setting("real", found.real)
        .setting("fake", found.fake);
    let [real, fake] = [found.real, found.fake].map(format_number);
    Ok(vec![
        Scored::new(metric).remark(format!("0.5 is best; among real {real}, among fake {fake}")),
    ])
}

/// A word on too few rows.
fn few(context: &Context<'_>, score: Score, n: usize) -> Option<String> {
    (n < USUAL_ROWS).then(|| {
        format!("{}: {n} rows on one side, at least {USUAL_ROWS} are useful", context.name(score))
    })
}
