//! Table 6 on tables with known classes.

use std::sync::Arc;

use super::{
    super::seeds::seeds,
    data::{Parts, load},
    fit::Fitted,
    report,
    settings::{Recipe, Settings},
};
use crate::{
    error::Result,
    request::{Request, Scale},
    run::Run,
    run_dir::settings_table,
    training::cells,
};

/// Rows of Table 6, in its order.
pub(super) const ROWS: [&str; 6] = ["supervised", "VAT", "MEG", "JEM", "VERA", "full label"];

/// A set with what was chosen for it and what came out.
pub(super) struct Outcome {
    pub(super) parts: Arc<Parts>,
    pub(super) recipe: Recipe,
    pub(super) vat: Choice<[f64; 2]>,
    pub(super) vera: Choice<f64>,
    /// Rows of Table 6, each of every seed.
    pub(super) rows: Vec<Vec<Fitted>>,
}

/// Settings that were tried on the root seed, with their accuracy on the validation rows.
pub(super) struct Choice<T> {
    pub(super) tried: Vec<(T, Option<f64>)>,
    pub(super) best: T,
}

impl<T: Copy> Choice<T> {
    /// The most accurate; of equal ones the first. Nothing is measured of a single candidate.
    fn of(candidates: &[T], found: &[Fitted]) -> Option<Self> {
        let mut best = (*candidates.first()?, f64::NEG_INFINITY);
        let accuracies = found.iter().map(Fitted::validation);
        for (candidate, accuracy) in candidates.iter().zip(accuracies.clone()) {
            if accuracy > best.1 {
                best = (*candidate, accuracy);
            }
        }
        let mut accuracies = accuracies.map(Some);
        let with = |candidate: &T| (*candidate, accuracies.next().flatten());
        Some(Self { tried: candidates.iter().map(with).collect(), best: best.0 })
    }
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&Settings::resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = Settings::resolve(run.request)?;
    let few = run.request.scale == Scale::Smoke;
    let mut all = Vec::new();
    for set in &settings.sets {
        let parts = Arc::new(load(run.request, set, few)?);
        let recipe = Recipe::of(&settings, set, parts.train.len());
        all.push((parts, recipe));
    }
    let chosen = choose(run, &settings, &all)?;
    let outcomes = train(run, &settings, all, chosen)?;
    report::write(run, &settings, &outcomes)
}

type Prepared = (Arc<Parts>, Recipe);
type Chosen = (Choice<[f64; 2]>, Choice<f64>);

/// Tries eps and beta on the root seed.
fn choose(run: &mut Run<'_>, settings: &Settings, sets: &[Prepared]) -> Result<Vec<Chosen>> {
    let seed = run.request.seed;
    let betas = &settings.class_entropy_weights;
    let mut trials = Vec::new();
    let mut candidates = Vec::new();
    for (parts, recipe) in sets {
        let radii = recipe.vat_radii.iter();
        let vat: Vec<[f64; 2]> =
            radii.flat_map(|radius| betas.iter().map(|beta| [*radius, *beta])).collect();
        let of_vat = vat.iter().map(|[radius, beta]| recipe.vat(settings, *radius, *beta));
        let of_vera = betas.iter().map(|beta| recipe.vera(settings, *beta));
        for method in single(of_vat.collect()).into_iter().chain(single(of_vera.collect())) {
            let fit = recipe.fit(settings, parts, method, seed);
            trials.push(fit.cell(parts, run.request.device.clone())?);
        }
        candidates.push(vat);
    }
    let found = if trials.is_empty() { Vec::new() } else { cells(run, "choose", trials)? };
    let mut rest = found.as_slice();
    let mut take = |n: usize| {
        let (these, others) = rest.split_at(if n > 1 { n } else { 0 });
        rest = others;
        these
    };
    let mut chosen = Vec::new();
    for vat in candidates {
        let of_vat = Choice::of(&vat, take(vat.len()));
        let of_vera = Choice::of(betas, take(betas.len()));
        // Neither list is empty: the settings say so.
        chosen.extend(of_vat.zip(of_vera));
    }
    Ok(chosen)
}

/// There is no choice of one.
fn single<T>(candidates: Vec<T>) -> Vec<T> {
    if candidates.len() > 1 { candidates } else { Vec::new() }
}

/// Trains every row of the table with what was chosen, on the other seeds.
fn train(
    run: &mut Run<'_>,
    settings: &Settings,
    sets: Vec<Prepared>,
    chosen: Vec<Chosen>,
) -> Result<Vec<Outcome>> {
    let seeds = seeds(run.request.seed.wrapping_add(1), settings.seeds);
    let mut trainings = Vec::new();
    for ((parts, recipe), (vat, vera)) in sets.iter().zip(&chosen) {
        let ([radius, beta], beta_of_vera) = (vat.best, vera.best);
        let methods = [
            recipe.supervised(settings),
            recipe.vat(settings, radius, beta),
            recipe.meg(settings, beta_of_vera),
            recipe.jem(settings, beta_of_vera),
            recipe.vera(settings, beta_of_vera),
            recipe.full_label(settings),
        ];
        for method in methods {
            for seed in &seeds {
                let fit = recipe.fit(settings, parts, method.clone(), *seed);
                trainings.push(fit.cell(parts, run.request.device.clone())?);
            }
        }
    }
    let mut found = cells(run, "train", trainings)?.into_iter();
    let outcomes = sets.into_iter().zip(chosen).map(|((parts, recipe), (vat, vera))| {
        let rows = ROWS.iter().map(|_| found.by_ref().take(seeds.len()).collect()).collect();
        Outcome { parts, recipe, vat, vera, rows }
    });
    Ok(outcomes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vera::tables::fit::Look;

    fn with(validation: f64) -> Fitted {
        let look = Look { update: 1, validation: Some(validation), test: None };
        Fitted { looks: vec![look], diverged: None, updates: 1, seconds: 0.0, labelled: 1 }
    }

    #[test]
    fn the_best_on_validation_is_chosen_and_of_equal_ones_the_first() {
        let found = [with(0.5), with(0.7), with(0.7), with(f64::NAN)];
        let choice = Choice::of(&[1.0, 2.0, 3.0, 4.0], &found).unwrap();
        assert!((choice.best - 2.0_f64).abs() < 1e-12);
        assert_eq!(choice.tried[2], (3.0, Some(0.7)));
        let only = Choice::of(&[5.0], &[]).unwrap();
        assert_eq!((only.best.to_string(), only.tried), ("5".into(), vec![(5.0, None)]));
        assert!(Choice::<f64>::of(&[], &[]).is_none());
    }

    #[test]
    fn the_end_of_a_training_is_the_mean_of_five_looks() {
        let mut fitted = with(0.0);
        for step in 1..=6 {
            let (validation, test) = (Some(f64::from(step)), Some(2.0 * f64::from(step)));
            fitted.looks.push(Look { update: step as usize, validation, test });
        }
        assert!((fitted.validation() - 4.0).abs() < 1e-12);
        assert!((fitted.test() - 8.0).abs() < 1e-12);
    }
}
