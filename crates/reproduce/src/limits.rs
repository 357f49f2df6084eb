//! What settings may be, checked before anything is touched, and where a paper's numbers may stand
//! beside ours.

use crate::{
    error::{Error, Result},
    images::Images,
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
};

/// The error of an unusable value: what to set, and to what.
pub(crate) fn bad<T>(key: &str, reason: &str) -> Result<T> {
    Err(Error::Usage(format!("--set {key}: {reason}")))
}

/// Refuses the first value, given as key, value and least value, that is too small.
pub(crate) fn at_least(values: &[(&str, usize, usize)]) -> Result<()> {
    match values.iter().find(|(_, value, least)| value < least) {
        Some((key, _, least)) => bad(key, &format!("must be at least {least}")),
        None => Ok(()),
    }
}

/// Refuses overrides of keys that the experiment decides itself: they would have no effect.
pub(crate) fn refuse(request: &Request, keys: &[&str], decided_by: &str) -> Result<()> {
    // `objective.kind` is within `objective`.
    let whole = |key: &str| key.split('.').next().is_some_and(|first| keys.contains(&first));
    match request.overrides.iter().find(|(key, _)| whole(key)) {
        Some((key, _)) => bad(key, &format!("has no effect here; {decided_by}")),
        None => Ok(()),
    }
}

/// May the paper's numbers of MNIST stand beside those of these images? Means of 2x2 pixels have
/// another density, and `smoke` measures nothing.
pub(crate) fn compares(run: &Run<'_>, images: &Images) -> bool {
    run.request.scale != Scale::Smoke && !images.pooled
}

/// With the paper's number, if it may stand there.
pub(crate) fn beside(metric: Metric, published: f64, may: bool) -> Metric {
    if may { metric.published(published) } else { metric }
}

/// The check that holds at every scale: every bound is a number.
pub(crate) fn finite_check(run: &mut Run<'_>, what: &str, bounds: &[f64]) {
    let broken = bounds.iter().filter(|bound| !bound.is_finite()).count();
    let detail = format!("{broken} of {} are not", bounds.len());
    run.check(Check::new(format!("{what} are finite"), broken == 0, detail));
}
