//! Figures 6 and 7: the spiral and the circle.

use walkback::{ModelConfig, TrainConfig};

use super::{
    geometry::{Curve, median},
    pictures,
    scores::{Scored, bound_metrics, frozen_bound, step_deviation, test_points},
    settings::{EVENT, PlaneSettings},
};
use crate::{
    arrays::rows,
    error::Result,
    limits::finite_check,
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    walkback::{
        examples::Points,
        training::{Trained, train},
    },
};

/// How many times nearer to the curve samples must be than the start.
const NEARER: f64 = 3.0;
/// Share of the data's smaller principal variance that samples must have.
const WIDTH: f64 = 0.5;

fn resolve(request: &Request) -> Result<PlaneSettings> {
    let settings: PlaneSettings = request.settings(&PlaneSettings::curve(request.scale))?;
    settings.validate(request, &ModelConfig::spiral(), &TrainConfig::curve())?;
    Ok(settings)
}

pub(super) fn settings(request: &Request, _: Curve) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>, curve: Curve) -> Result<()> {
    let settings = resolve(run.request)?;
    let points = settings.points(curve.name(), run.request)?;
    run.paragraph(settings.train.sentence(EVENT));
    run.paragraph(settings.differences(run.request.scale));
    let recipe = settings.recipe(ModelConfig::spiral(), &TrainConfig::curve());
    let trained = train(run, &points, &recipe, "train")?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    run.paragraph(trained.sentence());
    let seed = run.request.stream().child("scores");
    let scored = Scored::of(&trained.model, &points, settings.samples, seed)?;
    distances(run, curve, &scored)?;
    outcomes(run, &scored);
    bounds(run, curve, &settings, &points, (&trained, &scored))?;
    let figure = match curve {
        Curve::Spiral => "Figure 6",
        Curve::Circle => "Figure 7",
    };
    pictures::chains(run, &points, &trained.model, settings.shown, figure)?;
    pictures::samples(run, &scored, settings.shown)?;
    run.heading("Training curves");
    pictures::training_curve(run, &trained, "")
}

/// Median distances to the curve.
fn distances(run: &mut Run<'_>, curve: Curve, scored: &Scored) -> Result<()> {
    let mut medians = Vec::new();
    for (name, set) in [
        ("samples", &scored.samples),
        ("means", &scored.means),
        ("start", &scored.start),
        ("data", &scored.test),
    ] {
        let found = median(&curve.distances(set.view())?);
        run.metric(Metric::new(format!("median_distance_{name}"), found, "").n(set.nrows()));
        medians.push(found);
    }
    if run.request.scale != Scale::Smoke {
        run.check(Check::at_most(
            "the median distance of samples to the curve is at most a third of that of the start",
            NEARER * medians[0],
            medians[2],
        ));
    }
    Ok(())
}

/// Energy distances between floor and start, and no collapse.
fn outcomes(run: &mut Run<'_>, scored: &Scored) {
    scored.metrics(run, "");
    if run.request.scale == Scale::Smoke {
        return;
    }
    run.check(Check::new(
        "samples are nearer to data than the start is, in energy distance",
        scored.energy < scored.energy_start,
        format!("{:.5} against {:.5}", scored.energy, scored.energy_start),
    ));
    run.check(Check::new(
        "samples are not nearer to test points than fresh data are: nothing is copied",
        scored.energy > scored.least_energy(),
        format!(
            "energy distance {:.5}; fresh data {:.5}, standard deviation {:.5}, three of them below \
             allowed",
            scored.energy, scored.floor, scored.floor_deviation
        ),
    ));
    let narrowest = scored.narrowest();
    run.check(Check::new(
        "samples did not collapse: their smaller principal variance is at least half that of data",
        narrowest >= WIDTH,
        format!("{narrowest:.3} of it"),
    ));
}

/// Bound and estimate of test points, beside the true density where there is one.
fn bounds(
    run: &mut Run<'_>,
    curve: Curve,
    settings: &PlaneSettings,
    points: &Points,
    (trained, scored): (&Trained, &Scored),
) -> Result<()> {
    let model = &trained.model;
    let x = test_points(points, settings.bound_points, model.device())?;
    let seed = run.request.stream().child("bound");
    let found = frozen_bound(model, &x, settings.bound_chains, seed, run.observer()?)?;
    finite_check(run, "bound and estimate", &[found.lower_bound, found.importance_sampling]);
    bound_metrics(run, &found, "");
    let moved = step_deviation(model, &x)?;
    run.metric(Metric::new("step_deviation_on_data", moved, "").n(x.dims()[0]));
    run.heading("How far heating gets");
    run.paragraph(format!(
        "The objective has no -ln q, so nothing keeps the learnt variance up: a step at temperature 1 \
         moves data by {moved:.4}. Where the walk does not end in the start (energy distance {:.4}; data \
         to start {:.4}), the start has no more than the moments of its ends, and the lower bound is far \
         below the truth, although chains from the start find the curve.",
        scored.gap, scored.energy_start
    ));
    match curve.log_density(rows(&x)?.view()) {
        Some(truth) => {
            let n = truth.len();
            let mean = truth.iter().sum::<f64>() / n as f64;
            run.metric(Metric::new("log_density_truth_test", mean, "nats").n(n));
            run.check(Check::at_most(
                "lower bound <= importance-sampling estimate",
                found.lower_bound,
                found.importance_sampling,
            ));
        }
        None => run.paragraph(
            "Data on a circle without noise have no density: bounds grow without limit as an operator \
             learns it, up to what the least variance allows, and compare with nothing.",
        ),
    }
    Ok(())
}
