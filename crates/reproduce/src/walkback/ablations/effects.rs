//! What the temperature multiplies: the variance (the method as described), its root (a published
//! script) or the deviation (another reading); and the printed schedule.

use chains_core::chain::Schedule;
use walkback::{
    Cooling, Heating, ModelConfig, OperatorConfig, TemperatureEffect, Temperatures, TrainConfig,
};

use super::{
    super::plane::{Curve, EVENT, PlaneSettings, cloud, head, median, step_deviation, test_points},
    compare::{Look, Reached, Variant, compare},
    settings::spiral,
};
use crate::{
    error::Result,
    limits::at_least,
    plots::{Panels, Plot, Series},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

/// In the order of the table.
const EFFECTS: [(&str, TemperatureEffect); 3] = [
    ("variance", TemperatureEffect::Variance),
    ("root", TemperatureEffect::RootOfTemperature),
    ("deviation", TemperatureEffect::Deviation),
];

fn resolve(request: &Request) -> Result<PlaneSettings> {
    let settings: PlaneSettings = request.settings(&spiral(request.scale))?;
    settings.validate(request, &ModelConfig::spiral(), &TrainConfig::curve())?;
    // Scores of the last epoch are compared.
    at_least(&[("followed", settings.train.followed, 1)])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

fn preset(effect: TemperatureEffect) -> ModelConfig {
    let mut model = ModelConfig::spiral();
    if let OperatorConfig::Gaussian { effect: own, .. } = &mut model.operator {
        *own = effect;
    }
    model
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    run.paragraph(settings.train.sentence(EVENT));
    run.paragraph(
        "The temperature T multiplies the variance of a transition (the caption of the algorithm), or \
         the variance by its root (the published script of the mixture), or the standard deviation \
         (the operator's formula as it is often quoted): heating is that much weaker or stronger along \
         the same ladder. Drawing and density use the same variance in all three.",
    );
    let points = settings.points("spiral", run.request)?;
    let variant = |(name, effect)| Variant {
        name,
        recipe: settings.recipe(preset(effect), &TrainConfig::curve()),
    };
    let look = Look {
        set: "spiral",
        samples: settings.samples.min(settings.train.test_examples),
        bound_examples: settings.bound_points,
        bound_chains: settings.bound_chains,
    };
    run.heading("What the temperature multiplies");
    let all = compare(run, &points, EFFECTS.into_iter().map(variant).collect(), look)?;
    let mut panels = Panels::new("Samples", all.len());
    for reached in &all {
        let distance = median(&Curve::Spiral.distances(reached.samples.view())?);
        let n = reached.samples.nrows();
        run.metric(Metric::new(format!("median_distance_{}", reached.name), distance, "").n(n));
        let x = test_points(&points, n, reached.trained.model.device())?;
        let moved = step_deviation(&reached.trained.model, &x)?;
        run.metric(Metric::new(format!("step_deviation_on_data_{}", reached.name), moved, ""));
        panels.panel(reached.name, cloud(&head(&reached.samples, settings.shown)));
    }
    run.panels("samples", &panels, "The last states of chains of each operator.")?;
    outcomes(run, &all);
    printed_schedule(run, settings.train.steps, settings.train.factor)
}

fn outcomes(run: &mut Run<'_>, all: &[Reached]) {
    if run.request.scale == Scale::Smoke {
        return;
    }
    for reached in all {
        run.check(Check::new(
            format!("{}: samples are nearer to data than the start is", reached.name),
            reached.energy < reached.energy_start,
            format!("energy distance {:.5} against {:.5}", reached.energy, reached.energy_start),
        ));
    }
}

/// Temperatures of transition 1 to K in either direction: by index, not by the time at which cooling
/// reaches them.
fn both_ways(temperatures: Temperatures, steps: usize) -> [Vec<f64>; 2] {
    let heating = Heating { temperatures, steps, extra: 0 };
    let cooling = Cooling { temperatures, steps, extra: 0 };
    let heat = (0..steps).map(|index| heating.at(index).temperature).collect();
    let cool = (0..steps).rev().map(|index| cooling.at(index).temperature).collect();
    [heat, cool]
}

/// The largest ratio of the two temperatures of one transition.
fn mismatch([heat, cool]: &[Vec<f64>; 2]) -> f64 {
    let ratios = heat.iter().zip(cool).map(|(a, b)| (a / b).max(b / a));
    ratios.fold(1.0, f64::max)
}

/// The schedule as printed, to the letter, beside the one that it is read as.
fn printed_schedule(run: &mut Run<'_>, steps: usize, factor: f64) -> Result<()> {
    let printed = both_ways(Temperatures::SqrtLinear, steps);
    let geometric = both_ways(Temperatures::Geometric { factor }, steps);
    let mut plot = Plot::new("Temperature of transition t", "t", "T").log_y();
    let mut line = |name: &str, values: &[f64]| {
        let points = values.iter().enumerate().map(|(index, v)| (index as f64 + 1.0, *v));
        plot.series(Series::line(name, points));
    };
    line("printed, heating", &printed[0]);
    line("printed, cooling", &printed[1]);
    line("geometric, both", &geometric[0]);
    run.heading("The printed schedule");
    run.paragraph(format!(
        "The supplement prints T_t = sqrt(2 t) for heating and sqrt(2 N) / sqrt(2 t) for the t-th of N \
         cooling steps and calls them exactly reversed. To the letter they are not: transition t, from \
         s_(t-1) to s_t and back, would have two temperatures, up to a ratio of {:.2}, and the chain no \
         bound. With the exponent back, sqrt(2^t), they are, and the standard deviation grows as when \
         the variance doubles: the geometric schedule of this library.",
        mismatch(&printed)
    ));
    let caption = "Heating and cooling temperature of the same transition, by its index t.";
    run.plot("schedule", &plot, caption)?;
    for (name, ways) in [("printed", &printed), ("geometric", &geometric)] {
        let name = format!("largest_ratio_of_heating_and_cooling_{name}");
        run.metric(Metric::new(name, mismatch(ways), ""));
    }
    run.check(Check::new(
        "the printed schedule has no reverse, the geometric one is its own",
        mismatch(&printed) > 1.0 + 1e-9 && mismatch(&geometric) <= 1.0,
        format!("ratios {:.3} and {:.3}", mismatch(&printed), mismatch(&geometric)),
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_schedule_pairs_the_temperatures_of_its_formulas() {
        // N = 4: heating sqrt(2 t); transition t is cooled in step 5 - t, at sqrt(4 / (5 - t)). Squares:
        let [heat, cool] = both_ways(Temperatures::SqrtLinear, 4);
        let close = |got: &[f64], want: [f64; 4]| {
            assert_eq!(got.len(), 4);
            let near = got.iter().zip(want).all(|(a, b)| (a * a - b).abs() < 1e-12);
            assert!(near, "{got:?} {want:?}");
        };
        close(&heat, [2.0, 4.0, 6.0, 8.0]);
        close(&cool, [1.0, 4.0 / 3.0, 2.0, 4.0]);
        assert!((mismatch(&[heat, cool]) - 3.0_f64.sqrt()).abs() < 1e-6);
        let geometric = both_ways(Temperatures::Geometric { factor: 1.5 }, 12);
        assert_eq!(geometric[0], geometric[1]);
        assert!((mismatch(&geometric) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn presets_differ_in_the_effect_alone() {
        for (_, effect) in EFFECTS {
            let OperatorConfig::Gaussian { effect: own, .. } = preset(effect).operator else {
                panic!("the spiral's operator is Gaussian");
            };
            assert_eq!(own, effect);
        }
        assert_eq!(preset(TemperatureEffect::Variance), ModelConfig::spiral());
    }
}
