//! Logistic regression with an L2 penalty, by Newton's method with conjugate gradients.

use std::ops::Range;

use ndarray::{Array1, ArrayView2, s};
use rayon::prelude::*;

use crate::distances::blocks;

/// Rows per partial sum; partial sums are added in order.
const BLOCK: usize = 256;
/// The gradient has converged when it is this small beside the first one.
const TOLERANCE: f64 = 1e-9;

/// Coefficients of the columns that minimise the penalised log loss of `labels`.
///
/// `sum ln(1 + exp(-m)) + penalty / 2 |w|^2`, `m` being `w.x` for a true label and `-w.x` for a
/// false one. The last column is a constant, whose coefficient is not penalised. With a positive
/// penalty the minimum exists and is the only one, for separable rows, constant columns and more
/// columns than rows as well. The Hessian is never formed: a step costs a few passes over the rows.
pub(super) fn fit(rows: ArrayView2<'_, f64>, labels: &[bool], penalty: f64) -> Array1<f64> {
    minimum(&Problem { rows, labels, penalty, block: BLOCK })
}

fn minimum(problem: &Problem<'_>) -> Array1<f64> {
    let mut weights = Array1::zeros(problem.rows.ncols());
    let mut here = problem.evaluate(&weights);
    let first = norm(&here.gradient);
    for _ in 0..100 {
        let size = norm(&here.gradient);
        if size <= TOLERANCE * first {
            break;
        }
        let step = problem.newton_step(&here, (size / first).sqrt().min(0.1) * size);
        let Some((next_weights, next)) = problem.line_search(&weights, &here, &step) else {
            // No shorter step improves what rounding leaves of the loss.
            break;
        };
        (weights, here) = (next_weights, next);
    }
    weights
}

struct Problem<'a> {
    rows: ArrayView2<'a, f64>,
    labels: &'a [bool],
    penalty: f64,
    block: usize,
}

/// The objective at one point.
struct Evaluation {
    loss: f64,
    gradient: Array1<f64>,
    /// Second derivative of every row's loss in its margin.
    curvatures: Vec<f64>,
}

impl Problem<'_> {
    fn evaluate(&self, weights: &Array1<f64>) -> Evaluation {
        let penalties = self.penalties(weights);
        let part = |range: Range<usize>| {
            let rows = self.rows.slice(s![range.clone(), ..]);
            let (mut loss, mut curvatures) = (0.0, Vec::with_capacity(range.len()));
            let mut gradient = Array1::zeros(weights.len());
            for (row, &label) in rows.outer_iter().zip(&self.labels[range]) {
                let sign = if label { 1.0 } else { -1.0 };
                let margin = sign * row.dot(weights);
                // Chance of the wrong label, and -ln of that of the right one, without overflow.
                let small = (-margin.abs()).exp();
                let wrong = if margin > 0.0 { small } else { 1.0 } / (1.0 + small);
                loss += small.ln_1p() + (-margin).max(0.0);
                gradient.scaled_add(-sign * wrong, &row);
                curvatures.push(wrong * (1.0 - wrong));
            }
            (loss, gradient, curvatures)
        };
        let mut all = Evaluation {
            loss: 0.5 * weights.dot(&penalties),
            gradient: penalties,
            curvatures: Vec::with_capacity(self.labels.len()),
        };
        for (loss, gradient, curvatures) in self.by_blocks(part) {
            all.loss += loss;
            all.gradient += &gradient;
            all.curvatures.extend(curvatures);
        }
        all
    }

    /// Solves `Hessian step = gradient` by conjugate gradients, to a residual of `tolerance`.
    fn newton_step(&self, here: &Evaluation, tolerance: f64) -> Array1<f64> {
        let mut step = Array1::zeros(here.gradient.len());
        let mut residual = here.gradient.clone();
        let mut direction = residual.clone();
        let mut square = residual.dot(&residual);
        for _ in 0..2 * here.gradient.len() {
            if square.sqrt() <= tolerance {
                break;
            }
            let image = self.hessian_times(here, &direction);
            let along = square / direction.dot(&image);
            step.scaled_add(along, &direction);
            residual.scaled_add(-along, &image);
            let next = residual.dot(&residual);
            direction = &residual + &(direction * (next / square));
            square = next;
        }
        step
    }

    fn hessian_times(&self, here: &Evaluation, direction: &Array1<f64>) -> Array1<f64> {
        let part = |range: Range<usize>| {
            let rows = self.rows.slice(s![range.clone(), ..]);
            let mut image = Array1::zeros(direction.len());
            for (row, curvature) in rows.outer_iter().zip(&here.curvatures[range]) {
                image.scaled_add(curvature * row.dot(direction), &row);
            }
            image
        };
        self.by_blocks(part).iter().fold(self.penalties(direction), |sum, image| sum + image)
    }

    /// The first of the steps 1, 1/2, 1/4, ... that lowers the loss by a share of what its slope
    /// promises.
    fn line_search(
        &self,
        weights: &Array1<f64>,
        here: &Evaluation,
        step: &Array1<f64>,
    ) -> Option<(Array1<f64>, Evaluation)> {
        let slope = here.gradient.dot(step);
        let mut length = 1.0;
        for _ in 0..40 {
            let candidate = weights - &(step * length);
            let next = self.evaluate(&candidate);
            if next.loss <= here.loss - 1e-4 * length * slope {
                return Some((candidate, next));
            }
            length *= 0.5;
        }
        None
    }

    /// The penalised coefficients times the penalty, zero for the constant.
    fn penalties(&self, weights: &Array1<f64>) -> Array1<f64> {
        let mut penalties = weights * self.penalty;
        if let Some(last) = penalties.last_mut() {
            *last = 0.0;
        }
        penalties
    }

    /// Partial results over fixed blocks of rows, in order.
    fn by_blocks<U: Send>(&self, part: impl Fn(Range<usize>) -> U + Sync + Send) -> Vec<U> {
        let ranges: Vec<Range<usize>> = blocks(self.labels.len(), self.block).collect();
        ranges.into_par_iter().map(part).collect()
    }
}

fn norm(vector: &Array1<f64>) -> f64 {
    vector.dot(vector).sqrt()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::golden::{array as golden, assert_close, normals};

    /// The gradient, term by term.
    fn gradient(rows: &Array2<f64>, labels: &[bool], weights: &Array1<f64>) -> Array1<f64> {
        let mut gradient = weights.clone();
        gradient[weights.len() - 1] = 0.0;
        for (row, &label) in rows.outer_iter().zip(labels) {
            let chance = 1.0 / (1.0 + (-row.dot(weights)).exp());
            gradient.scaled_add(chance - f64::from(label), &row);
        }
        gradient
    }

    fn with_constant(mut rows: Array2<f64>) -> Array2<f64> {
        rows.slice_mut(s![.., -1]).fill(1.0);
        rows
    }

    #[test]
    fn the_gradient_vanishes_at_the_answer() {
        // More rows than columns, and more columns than rows.
        for (n, width) in [(700, 6), (20, 60)] {
            let rows = with_constant(golden(15, n, width) * 4.0 - 2.0);
            let labels: Vec<bool> = normals(16, n).iter().map(|z| *z > 0.3).collect();
            let weights = fit(rows.view(), &labels, 1.0);
            let rest = norm(&gradient(&rows, &labels, &weights));
            let start = norm(&gradient(&rows, &labels, &Array1::zeros(width)));
            assert!(rest < 1e-8 * start, "{rest} {start}");
        }
    }

    #[test]
    fn the_size_of_a_block_does_not_matter() {
        let rows = with_constant(golden(15, 700, 6) * 4.0 - 2.0);
        let labels: Vec<bool> = normals(16, 700).iter().map(|z| *z > 0.3).collect();
        let run =
            |block| minimum(&Problem { rows: rows.view(), labels: &labels, penalty: 1.0, block });
        let whole = run(BLOCK);
        for block in [1, 7, 1000] {
            run(block).iter().zip(&whole).for_each(|(a, b)| assert_close(*a, *b, 1e-12));
        }
    }

    #[test]
    fn separable_rows_have_a_finite_answer() {
        // One column, all labels told by its sign: w = n / (1 + exp(w)) for n rows of magnitude one.
        let rows = array![[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]];
        let weights = fit(rows.view(), &[true, true, false, false], 1.0);
        assert_close(weights[0], 4.0 / (1.0 + weights[0].exp()), 1e-9);
        assert_close(weights[1], 0.0, 1e-12);
        assert!(weights[0] > 1.0);
    }

    #[test]
    fn without_columns_the_constant_has_the_log_odds() {
        let rows = with_constant(Array2::zeros((40, 3)));
        let labels: Vec<bool> = (0..40).map(|row| row < 10).collect();
        let weights = fit(rows.view(), &labels, 1.0);
        assert_close(weights[2], -(3.0_f64.ln()), 1e-9);
        assert_eq!((weights[0], weights[1]), (0.0, 0.0));
    }

    #[test]
    fn extreme_rows_do_not_overflow() {
        let rows = with_constant((golden(17, 50, 3) - 0.5) * 1e6);
        let labels: Vec<bool> = rows.column(0).iter().map(|x| *x > 0.0).collect();
        assert!(fit(rows.view(), &labels, 1.0).iter().all(|weight| weight.is_finite()));
    }
}
