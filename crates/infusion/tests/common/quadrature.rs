//! The bound of a one-dimensional linear-Gaussian chain by the trapezoid rule.

use super::{Scalars, log_normal};

/// Where the densities of the reference set are below 1e-14.
const LIMIT: f64 = 8.0;

/// Grid points and the weight of each; the ends have density zero.
fn grid(step: f64) -> (Vec<f64>, f64) {
    let n = (2.0 * LIMIT / step).round() as usize;
    ((0..=n).map(|i| i as f64 * step - LIMIT).collect(), step)
}

fn log_mixture(rate: f64, base: f64, spike: f64) -> f64 {
    if rate <= 0.0 {
        return base;
    }
    if rate >= 1.0 {
        return spike;
    }
    let (a, b) = ((1.0 - rate).ln() + base, rate.ln() + spike);
    a.max(b) + (-(a - b).abs()).exp().ln_1p()
}

/// `E_q[ln p(z_0, .., z_{T-1}, x) - ln q(z_0, .., z_{T-1} | x)]` for T rates.
///
/// Every term needs one state or two successive ones, so the marginal of the chain is carried along
/// the grid and no integral has more than two dimensions.
pub(crate) fn lower_bound(scalars: &Scalars, rates: &[f64], step: f64) -> f64 {
    let Scalars { m0, v0, a, b, s2, sd2, x } = *scalars;
    let (points, weight) = grid(step);
    let spike: Vec<f64> = points.iter().map(|z| log_normal(*z, x, sd2)).collect();
    let mut bound = 0.0;
    let mut density: Vec<f64> = Vec::with_capacity(points.len());
    for (z, spike) in points.iter().zip(&spike) {
        let base = log_normal(*z, m0, v0);
        let log_q = log_mixture(rates[0], base, *spike);
        bound += weight * log_q.exp() * (base - log_q);
        density.push(log_q.exp());
    }
    for rate in &rates[1..] {
        let mut next = vec![0.0; points.len()];
        for (from, mass) in points.iter().zip(&density) {
            for ((z, spike), next) in points.iter().zip(&spike).zip(&mut next) {
                let base = log_normal(*z, a * from + b, s2);
                let log_q = log_mixture(*rate, base, *spike);
                let joint = weight * mass * log_q.exp();
                bound += weight * joint * (base - log_q);
                *next += joint;
            }
        }
        density = next;
    }
    let last = points.iter().zip(&density);
    bound + last.map(|(z, q)| weight * q * log_normal(x, a * z + b, s2)).sum::<f64>()
}

/// The closed form when no state is infused.
pub(crate) fn rate_zero(scalars: &Scalars, steps: usize) -> f64 {
    let Scalars { a, b, s2, x, .. } = *scalars;
    let (m, v) = scalars.marginal(steps - 1);
    log_normal(x, a * m + b, s2) - a * a * v / (2.0 * s2)
}

/// The closed form when every state is infused in every dimension.
pub(crate) fn rate_one(scalars: &Scalars, steps: usize) -> f64 {
    let Scalars { m0, v0, a, b, s2, sd2, x } = *scalars;
    let entropy = 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * sd2).ln();
    let miss = log_normal(x, a * x + b, s2);
    let prior = log_normal(x, m0, v0) - sd2 / (2.0 * v0);
    let middle = miss - (1.0 + a * a) * sd2 / (2.0 * s2);
    let last = miss - a * a * sd2 / (2.0 * s2);
    prior + (steps as f64 - 1.0) * middle + last + steps as f64 * entropy
}
