//! Which orderings of Table 2 were found.

use vera::{Entropy, baselines::ScoreMatching};

use super::{
    super::{
        methods::Method,
        seeds::{above_in_every_seed, all, mean},
    },
    fit::{FLOOR, Fitted},
    nice::Row,
    settings::measures,
};
use crate::{limits::finite_check, results::Check, run::Run};

/// Checks of what is claimed, and sentences about what is open.
pub(super) fn tell(run: &mut Run<'_>, rows: &[Row<'_>]) {
    let values: Vec<f64> = rows.iter().flat_map(Row::tails).collect();
    finite_check(run, "likelihoods", &values);
    if !measures(run.request) {
        return;
    }
    best(run, rows);
    chains(run, rows);
    let game = |weight: f64| {
        rows.iter()
            .find(|row| importance(row.method).is_some_and(|own| (own - weight).abs() < 1e-12))
    };
    let meg = rows.iter().find(|row| matches!(row.method, Method::Meg(_)));
    if let (Some(one), Some(zero)) = (game(1.0), game(0.0)) {
        compare(run, one, zero, "published: above, -1138 against -1214");
        if let Some(meg) = meg {
            compare(run, one, meg, "published: above, -1138 against -1219");
            compare(run, zero, meg, "published: above, -1214 against -1219");
        }
    }
    for row in rows.iter().filter(|row| matches!(row.method, Method::Score(c) if denoising(c))) {
        for weight in [1.0, 0.0] {
            if let Some(game) = game(weight) {
                compare(run, game, row, "published: above");
            }
        }
    }
    estimators(run, rows, game(1.0));
    score_order(run, rows);
    let broken: usize = rows.iter().flat_map(|row| row.fits).filter(|f| broken(f)).count();
    if broken > 0 {
        run.paragraph(format!(
            "{broken} trainings ended with a likelihood below {FLOOR:e} or none; that value stands for it."
        ));
    }
}

fn broken(fitted: &Fitted) -> bool {
    fitted.looks.last().is_some_and(|look| look.test <= FLOOR)
}

fn denoising(config: &vera::baselines::ScoreMatchingConfig) -> bool {
    matches!(config.objective, ScoreMatching::Denoising { .. })
}

/// The entropy's weight of a game by importance sampling.
fn importance(method: &Method) -> Option<f64> {
    match method {
        Method::Vera(config) => match config.entropy {
            Entropy::ImportanceSampling { .. } => Some(config.entropy_weight),
            Entropy::Hmc(_) => None,
        },
        _ => None,
    }
}

/// Maximum likelihood is best.
fn best(run: &mut Run<'_>, rows: &[Row<'_>]) {
    let Some(likelihood) = rows.iter().find(|row| matches!(row.method, Method::Likelihood(_)))
    else {
        return;
    };
    let tails = likelihood.tails();
    let others = || rows.iter().filter(|row| !matches!(row.method, Method::Likelihood(_)));
    let beaten: Vec<&str> = others()
        .filter(|row| !above_in_every_seed(&tails, &row.tails()))
        .map(|row| row.name)
        .collect();
    let detail = match beaten.is_empty() {
        true => format!("{} against {} others", all(&tails), others().count()),
        false => format!("not above {}", beaten.join(", ")),
    };
    let name = "maximum likelihood is above every other method in every seed";
    run.check(Check::new(name, beaten.is_empty(), detail));
}

/// The noise of the published chains' best setting.
const PUBLISHED_NOISE: f64 = 0.1;

/// The game is above persistent chains with the published noise; beside other noises, as found: one
/// chosen well can reach the game (it does on toys, too).
fn chains(run: &mut Run<'_>, rows: &[Row<'_>]) {
    for game in rows.iter().filter(|row| importance(row.method).is_some()) {
        for chain in rows {
            let Method::Pcd(config) = chain.method else { continue };
            if (config.noise_scale - PUBLISHED_NOISE).abs() > 1e-12 {
                compare(run, game, chain, "not published");
                continue;
            }
            let (upper, lower) = (game.tails(), chain.tails());
            let name = format!("{} is above {} in every seed", game.name, chain.name);
            let detail = format!("{} against {}", all(&upper), all(&lower));
            run.check(Check::new(name, above_in_every_seed(&upper, &lower), detail));
        }
    }
}

/// As found.
fn compare(run: &mut Run<'_>, left: &Row<'_>, right: &Row<'_>, published: &str) {
    let (a, b) = (left.tails(), right.tails());
    run.paragraph(format!(
        "{} {} {}: {} against {} ({published}).",
        left.name,
        relation(&a, &b),
        right.name,
        all(&a),
        all(&b)
    ));
}

fn relation(a: &[f64], b: &[f64]) -> &'static str {
    if above_in_every_seed(a, b) {
        "is above, in every seed,"
    } else if above_in_every_seed(b, a) {
        "is below, in every seed,"
    } else {
        "is in some seeds above, in others below"
    }
}

/// Both chains of the Hamiltonian estimator beside importance sampling.
fn estimators(run: &mut Run<'_>, rows: &[Row<'_>], one: Option<&Row<'_>>) {
    let Some(one) = one else { return };
    let hmc = |row: &&Row<'_>| matches!(row.method, Method::Vera(config) if matches!(config.entropy, Entropy::Hmc(_)));
    for row in rows.iter().filter(hmc) {
        compare(run, row, one, "published: below, -1165 against -1138");
    }
}

fn score_order(run: &mut Run<'_>, rows: &[Row<'_>]) {
    let score = |row: &&Row<'_>| matches!(row.method, Method::Score(_) | Method::Curvature(_));
    let mut order: Vec<(&str, f64)> =
        rows.iter().filter(score).map(|row| (row.name, mean(&row.tails()))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words: Vec<String> = order
        .iter()
        .map(|(name, value)| format!("{name} ({})", crate::report::format_number(*value)))
        .collect();
    run.paragraph(format!(
        "Score matching by mean final likelihood, the best first: {}. Published: CP-SM, SSM, DSM.",
        words.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_told_as_it_is() {
        assert_eq!(relation(&[2.0, 3.0], &[1.0, 2.0]), "is above, in every seed,");
        assert_eq!(relation(&[1.0, 2.0], &[2.0, 3.0]), "is below, in every seed,");
        assert!(relation(&[1.0, 3.0], &[2.0, 2.0]).contains("some seeds"));
    }
}
