//! Estimates beside what was predicted.

use vera::config::HmcGradient;

use super::{
    measure::Estimator,
    ppca::Convention,
    score::{PartFound, ScoreSettings},
};
use crate::{
    limits::finite_check, report::format_number, request::Scale, results::Check, run::Run,
};

/// Distance of `ln eta` from its optimum at which predictions are checked.
const WIDTH_GAP: f64 = 0.1;

/// Closed prediction of the share `r(d, k)` and the effective number, where it was computed.
pub(super) fn predicted(d: usize, k: usize) -> (Option<f64>, Option<f64>) {
    const SHARES: [(usize, [f64; 4]); 3] = [
        (10, [0.33, 0.51, 0.66, 0.77]),
        (32, [0.20, 0.32, 0.42, 0.51]),
        (100, [0.115, 0.184, 0.247, 0.300]),
    ];
    const SIZES: [(usize, [f64; 2]); 3] =
        [(10, [3.01, 5.9]), (32, [1.78, 2.35]), (100, [1.37, 1.55])];
    let at = [5, 20, 100, 500].iter().position(|own| *own == k);
    let share = SHARES.iter().find(|(own, _)| *own == d).zip(at).map(|((_, row), at)| row[at]);
    let at = [20, 100].iter().position(|own| *own == k);
    let size = SIZES.iter().find(|(own, _)| *own == d).zip(at).map(|((_, row), at)| row[at]);
    (share, size)
}

/// Checks of the predictions, and what became of the chains.
pub(super) fn outcome(
    run: &mut Run<'_>,
    settings: &ScoreSettings,
    models: &[(usize, Convention)],
    parts: &[PartFound],
) {
    let all: Vec<f64> = parts
        .iter()
        .flat_map(|part| &part.found)
        .flat_map(|found| [found.bias, found.rmse, found.deviation, found.share[0]])
        .collect();
    finite_check(run, "estimates", &all);
    if run.request.scale == Scale::Smoke {
        return;
    }
    for ((d, convention), part) in models.iter().zip(parts) {
        predictions(run, settings, (*d, *convention), part);
        chains(run, settings, (*d, *convention), part);
    }
}

/// The closed predictions, where the posterior has its best width.
fn predictions(
    run: &mut Run<'_>,
    settings: &ScoreSettings,
    (d, convention): (usize, Convention),
    part: &PartFound,
) {
    let what = format!("d = {d}, {}", convention.words());
    if convention == Convention::Deviation {
        let name = format!("{what}: ln eta is within 0.1 of its optimum");
        run.check(Check::at_most(name, part.width_gap, WIDTH_GAP));
    }
    if part.width_gap > WIDTH_GAP {
        run.paragraph(format!(
            "{what}: the posterior has not reached its best width, so that the predictions of r and ESS \
             need not hold."
        ));
        return;
    }
    for (estimator, found) in settings.estimators().into_iter().zip(&part.found) {
        let Estimator::Importance(20) = estimator else { continue };
        let (share, size) = predicted(d, 20);
        if let Some(share) = share {
            // 0.01 of the prediction, 0.01 of a posterior that still learns, the noise here.
            let tolerance = 0.02 + 4.0 * found.share[1];
            let name = format!("{what}, k = 20: r is the predicted share");
            run.check(Check::close(name, found.share[0], share, tolerance));
        }
        if let (Some(size), Some([value, error])) = (size, found.effective) {
            let tolerance = 0.03 * size + 4.0 * error;
            let name = format!("{what}, k = 20: the effective number is the predicted one");
            run.check(Check::close(name, value, size, tolerance));
        }
    }
}

/// What became of the chains, as found.
fn chains(
    run: &mut Run<'_>,
    settings: &ScoreSettings,
    (d, convention): (usize, Convention),
    part: &PartFound,
) {
    let of = |wanted: HmcGradient| -> Vec<(usize, f64)> {
        let pairs = settings.estimators().into_iter().zip(&part.found);
        pairs
            .filter_map(|(estimator, found)| match estimator {
                Estimator::Hmc(burn_in, gradient) if gradient == wanted => {
                    Some((burn_in, found.share[0]))
                }
                _ => None,
            })
            .collect()
    };
    let words = |pairs: &[(usize, f64)]| {
        let each: Vec<String> =
            pairs.iter().map(|(n, r)| format!("{} after {n}", format_number(*r))).collect();
        each.join(", ")
    };
    let (exact, reference) = (of(HmcGradient::Exact), of(HmcGradient::Reference));
    if exact.is_empty() {
        return;
    }
    let rises = exact.windows(2).all(|pair| pair[1].1 > pair[0].1);
    let less = exact.iter().zip(&reference).all(|((_, exact), (_, reference))| reference < exact);
    run.paragraph(format!(
        "d = {d}, {}: chains of the exact gradient {} with burn-in (r {}); those of the code's gradient \
         {} (r {}).",
        convention.words(),
        if rises { "improve" } else { "do not always improve" },
        words(&exact),
        if less { "find less at every burn-in" } else { "do not find less at every burn-in" },
        words(&reference)
    ));
}
