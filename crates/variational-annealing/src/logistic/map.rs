//! The point estimate at a fixed precision.

use candle_core::Tensor;
use chains_core::{Error, Result, host};

/// Newton steps, at most; a dozen are usual.
const STEPS: usize = 100;

/// The maximum of `sum_n log sigmoid(y_n w.x_n) - alpha |w|^2 / 2` in `w`, by Newton's method in f64;
/// `(1, d)`, of the type and on the device of `inputs`.
///
/// The objective is strictly concave, so that there is one maximum; steps that do not climb are halved.
///
/// # Shapes
/// `inputs`: `(n, d)`; `labels`: `n` numbers, +1 or -1.
///
/// # Errors
/// [`Error::Shape`] if the numbers differ; [`Error::Config`] unless `alpha` is positive.
pub fn map_estimate(inputs: &Tensor, labels: &[f64], alpha: f64) -> Result<Tensor> {
    let (n, d) = inputs.dims2()?;
    if n != labels.len() {
        let (expected, got) = (format!("({n},)"), vec![labels.len()]);
        return Err(Error::Shape { what: "labels", expected, got });
    }
    chains_core::config::positive("alpha", alpha)?;
    let data = host::rows(inputs)?;
    let problem = Problem { data: &data, labels, alpha };
    let mut w = vec![0.0; d];
    let mut value = problem.value(&w);
    for _ in 0..STEPS {
        let (grad, hessian) = problem.derivatives(&w);
        let step = solve(hessian, grad.clone());
        // Half the Newton decrement squared is what is left to climb.
        let decrement: f64 = step.iter().zip(&grad).map(|(s, g)| s * g).sum();
        if decrement < 1e-20 {
            break;
        }
        let mut size = 1.0;
        loop {
            let next: Vec<f64> = w.iter().zip(&step).map(|(w, s)| w + size * s).collect();
            let climbed = problem.value(&next);
            if climbed >= value || size < 1e-6 {
                (w, value) = (next, climbed);
                break;
            }
            size *= 0.5;
        }
    }
    let w = Tensor::from_vec(w, (1, d), &candle_core::Device::Cpu)?;
    Ok(w.to_dtype(inputs.dtype())?.to_device(inputs.device())?)
}

struct Problem<'a> {
    data: &'a [Vec<f64>],
    labels: &'a [f64],
    alpha: f64,
}

impl Problem<'_> {
    fn margins<'a>(&'a self, w: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let dot = move |x: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        self.data.iter().zip(self.labels).map(move |(x, y)| y * dot(x))
    }

    fn value(&self, w: &[f64]) -> f64 {
        let fit: f64 = self.margins(w).map(|t| -super::predict::softplus(-t)).sum();
        fit - 0.5 * self.alpha * w.iter().map(|w| w * w).sum::<f64>()
    }

    /// The gradient, and minus the matrix of second derivatives.
    fn derivatives(&self, w: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let d = w.len();
        let mut grad: Vec<f64> = w.iter().map(|w| -self.alpha * w).collect();
        let mut hessian = vec![vec![0.0; d]; d];
        for (i, row) in hessian.iter_mut().enumerate() {
            row[i] = self.alpha;
        }
        for ((t, x), y) in self.margins(w).zip(self.data).zip(self.labels) {
            let miss = 1.0 / (1.0 + t.exp());
            let curvature = miss * (1.0 - miss);
            for (i, xi) in x.iter().enumerate() {
                grad[i] += miss * y * xi;
                for (h, xj) in hessian[i].iter_mut().zip(x) {
                    *h += curvature * xi * xj;
                }
            }
        }
        (grad, hessian)
    }
}

/// The solution of a positive definite system, by elimination without pivots.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let d = b.len();
    for i in 0..d {
        let (above, below) = a.split_at_mut(i + 1);
        let pivot = &above[i];
        let (value, below_b) = (b[i], &mut b[i + 1..]);
        for (row, b) in below.iter_mut().zip(below_b) {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(pivot).for_each(|(x, p)| *x -= factor * p);
            *b -= factor * value;
        }
    }
    for i in (0..d).rev() {
        let known: f64 = a[i][i + 1..].iter().zip(&b[i + 1..]).map(|(a, x)| a * x).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}
