//! The Frechet distance, whatever it is called on its features.

use eval_metrics::{
    Frechet, FrechetOptions, Moments, Real, frechet_distance, frechet_distance_of_rows,
    frechet_extrapolated, subset_sizes,
};
use ndarray::Axis;

use super::{
    extractors::Features,
    input::Statistics,
    plan::Score,
    scored::Scored,
    scores::{Context, Half},
    side::Side,
};
use crate::{
    error::{Error, Result},
    report::format_number,
};

/// Rows above which a distance is usually compared, by kind of features.
fn useful(features: Features) -> usize {
    match features {
        Features::Inception => 10_000,
        Features::Mnist => 5_000,
        Features::None => 0,
    }
}

/// The distance between the Gaussians fitted to the two sides.
pub(super) fn score<T: Real>(
    context: &Context<'_>,
    real: &Half<'_, T>,
    fake: &Half<'_, T>,
) -> Result<Scored> {
    let wrap = |error| context.refuse(Score::Frechet, &error);
    let found = match (real.rows(), fake.rows()) {
        (Some(a), Some(b)) if a.nrows().min(b.nrows()) < a.ncols() => {
            frechet_distance_of_rows(a, b, &FrechetOptions::default()).map_err(wrap)?
        }
        _ => frechet_distance(moments(real)?, moments(fake)?, &FrechetOptions::default())
            .map_err(wrap)?,
    };
    let metric = context
        .metric(Score::Frechet, found.value, "")
        .setting("mean_part", found.mean_part)
        .setting("trace_real", found.trace_real)
        .setting("trace_fake", found.trace_fake)
        .setting("route", format!("{:?}", found.route));
    let mut scored = Scored::new(metric).remark(format!("d = {}", found.width));
    if context.settings.floor
        && let Some((value, n)) = floor(real).map_err(wrap)?
    {
        scored.metric = scored.metric.setting("floor", value).setting("floor_n", n);
        let value = format_number(value);
        scored.remark += &format!(", {value} between halves of the reference ({n} each)");
    }
    if let Some(count) = context.settings.extrapolate {
        scored = extrapolated(context, scored, (real, fake), count)?;
    }
    Ok(scored.note(rank(context, &found)).note(few(context, &found)))
}

/// Adds the distance of infinitely many rows, by a line through `count` sizes of subsets.
fn extrapolated<T: Real>(
    context: &Context<'_>,
    mut scored: Scored,
    (real, fake): (&Half<'_, T>, &Half<'_, T>),
    count: usize,
) -> Result<Scored> {
    let (Some(real), Some(fake)) = (real.rows(), fake.rows()) else {
        return Err(Error::Usage(
            "--set extrapolate: needs all rows of both sides, statistics have none".into(),
        ));
    };
    let options = FrechetOptions::default();
    let line = subset_sizes(real.nrows().min(fake.nrows()), count)
        .and_then(|sizes| frechet_extrapolated(real, fake, &sizes, context.seed, &options))
        .map_err(|error| context.refuse(Score::Frechet, &error))?;
    scored.metric = scored
        .metric
        .setting("extrapolated", line.value)
        .setting("extrapolated_slope", line.slope)
        .setting("extrapolated_residual", line.residual)
        .setting("extrapolated_sizes", count);
    scored.remark += &format!(", {} for infinitely many rows", format_number(line.value));
    Ok(scored)
}

fn moments<'a, T>(half: &'a Half<'_, T>) -> Result<&'a Moments> {
    half.moments().ok_or_else(|| Error::Usage("a side has neither rows nor moments".into()))
}

/// The distance between two random halves of the rows, and how many each has at least; none for
/// fewer than two.
pub(super) fn halves<T: Real>(side: &Side<T>) -> eval_metrics::Result<Option<(f64, usize)>> {
    let n = side.n / 2;
    let options = FrechetOptions::default();
    if let Some([first, second]) = &side.halves {
        return Ok(Some((frechet_distance(first, second, &options)?.value, n)));
    }
    match &side.rows {
        Some(rows) if n > 1 => {
            let [first, second] = [true, false].map(|half| {
                let members: Vec<usize> =
                    (0..side.n).filter(|&row| side.split[row] == half).collect();
                rows.select(Axis(0), &members)
            });
            Ok(Some((frechet_distance_of_rows(first.view(), second.view(), &options)?.value, n)))
        }
        _ => Ok(None),
    }
}

/// What a perfect model would score at best: the distance within the reference.
fn floor<T: Real>(real: &Half<'_, T>) -> eval_metrics::Result<Option<(f64, usize)>> {
    match real {
        Half::Rows(side) => halves(side),
        Half::Statistics(statistics) => Ok(stored_floor(statistics)),
    }
}

fn stored_floor(statistics: &Statistics) -> Option<(f64, usize)> {
    let note = |key: &str| statistics.stored.notes.get(key);
    let value: f64 = note("floor")?.parse().ok()?;
    Some((value, note("floor_n")?.parse().ok()?)).filter(|(value, _)| value.is_finite())
}

/// A word on covariances that have not full rank.
fn rank(context: &Context<'_>, found: &Frechet) -> Option<String> {
    let n = found.n_real.min(found.n_fake);
    (n <= found.width).then(|| {
        format!(
            "{}: {n} rows do not fill a covariance of {} features; the distance is exact for these \
             rows, and far above that of more",
            context.name(Score::Frechet),
            found.width
        )
    })
}

/// A word on the bias of few rows.
fn few(context: &Context<'_>, found: &Frechet) -> Option<String> {
    let n = found.n_real.min(found.n_fake);
    let useful = useful(context.features);
    (n < useful).then(|| {
        format!(
            "{}: {n} rows on one side, at least {useful} are usual; few rows raise it, so compare \
             only at equal numbers",
            context.name(Score::Frechet)
        )
    })
}
