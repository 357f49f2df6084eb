//! A generator that follows Stein variational gradients.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{
    Error, Noise, Result, Seed, autograd::value_and_gradients, density::value_and_grad, host,
};

use super::{LogTarget, Policy, PolicyStep, PolicyTerms, Trained};
use crate::soft_q::{ACTIONS, OBSERVED, config::SteinConfig, q_function::repeated};

/// The least bandwidth, in the units of a squared distance (public soft Q-learning code).
const LEAST_WIDTH: f64 = 1e-3;

/// `h = G(s, xi)` with `xi ~ N(0, I)` of two numbers, moved along Stein variational gradients
/// (amortised SVGD; Haarnoja and others 2017, equations 13 and 14).
///
/// Of the particles of a state some stay and are where `log u` and the kernel are differentiated; the
/// others move, so that at fixed bandwidth the mean direction is that of the whole policy. Unlike the public
/// code, which has kernel and gradient on squashed actions, all is before the squash.
pub struct SteinPolicy {
    config: SteinConfig,
    network: Trained,
}

impl SteinPolicy {
    /// With initial parameters from `seed`, named `layers.<i>.*`.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new(config: SteinConfig, seed: Seed, device: &Device) -> Result<Self> {
        let widths = [&[OBSERVED + ACTIONS], &config.hidden[..], &[ACTIONS]].concat();
        Ok(Self { network: Trained::new(&widths, config.adam, seed, device)?, config })
    }
}

/// Fresh `xi` for each of the states.
fn latent(states: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
    let (n, _) = states.dims2()?;
    noise.normal(&(n, ACTIONS).into(), states.dtype(), states.device())
}

impl Policy for SteinPolicy {
    fn draw(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        self.network.frozen.of_pair(states, &latent(states, noise)?)
    }

    fn update(
        &mut self,
        states: &Tensor,
        target: LogTarget<'_>,
        step: PolicyStep,
        noise: &mut dyn Noise,
    ) -> Result<PolicyTerms> {
        let b = states.dim(0)?;
        let [fixed, moving] = self.config.split();
        let at_fixed = repeated(states, fixed)?;
        let stay = self.draw(&at_fixed, noise)?;
        let (value, score) = value_and_grad(&stay, |h| target(&at_fixed, h))?;
        let beta = step.weights()?.beta();
        let log_target = host::finite(&value.mean_all()?, "log density of particles", step.update)?;
        let at_moving = repeated(states, moving)?;
        let xi = latent(&at_moving, noise)?;
        let mut reach = 0.0;
        let (_, grads) = value_and_gradients(|| {
            let moved = self.network.live.of_pair(&at_moving, &xi)?;
            let [stay, score, at] = [&stay, &(&score * beta)?, &moved].map(host::values);
            let directions = stein_directions(&stay?, &score?, &at?, [b, fixed, moving, ACTIONS])?;
            let directions = Tensor::from_vec(directions, moved.shape(), &Device::Cpu)?;
            let directions = directions.to_dtype(moved.dtype())?.to_device(moved.device())?;
            reach = host::scalar(&directions.sqr()?.mean_all()?)?.sqrt();
            Ok(moved.mul(&directions)?.mean_all()?.neg()?)
        })?;
        if !reach.is_finite() {
            return Err(Error::NonFinite { what: "Stein direction", step: step.update });
        }
        self.network.step(&grads, step.rate)?;
        Ok(vec![("log_target", log_target), ("stein_norm", reach)])
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.network.store.tensors()
    }

    fn assign(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.network.store.assign(path, tensors)
    }

    fn moments(&self) -> (Vec<(String, Tensor)>, Vec<u64>) {
        self.network.moments()
    }

    fn restore(&mut self, moments: &BTreeMap<String, Tensor>, counters: &[u64]) -> Result<()> {
        self.network.restore(moments, counters)
    }
}

/// The direction of every moving particle, `mean_i k(x_i, y) score(x_i) + grad_{x_i} k(x_i, y)` over the
/// particles of its group that stay, with `k = exp(-|x - y|^2 / w)` and `w` the median of the squared
/// distances of the group, the smaller of the two middle ones, over `log n`, at least 0.001 (kernel of the
/// public soft Q-learning code).
///
/// # Shapes
/// Row after row: `fixed` and `scores` `(groups, n, d)`, `moving` `(groups, m, d)`; the sizes are
/// `[groups, n, m, d]`. The result is like `moving`.
///
/// # Errors
/// [`Error::Shape`] if lengths are others, [`Error::Config`] for fewer than two that stay.
pub fn stein_directions(
    fixed: &[f64],
    scores: &[f64],
    moving: &[f64],
    [groups, n, m, d]: [usize; 4],
) -> Result<Vec<f64>> {
    for (what, part, len) in [
        ("particles that stay", fixed, groups * n * d),
        ("their scores", scores, groups * n * d),
        ("particles that move", moving, groups * m * d),
    ] {
        if part.len() != len {
            let (expected, got) = (format!("({len},)"), vec![part.len()]);
            return Err(Error::Shape { what, expected, got });
        }
    }
    if n < 2 || m == 0 || d == 0 {
        let reason = format!("{n} stay and {m} move in {d} dimensions");
        return Err(Error::Config { field: "particles", reason });
    }
    let mut directions = vec![0.0; moving.len()];
    let mut squares = vec![0.0; n * m];
    let sets = fixed.chunks_exact(n * d).zip(scores.chunks_exact(n * d));
    let sets = sets.zip(moving.chunks_exact(m * d)).zip(directions.chunks_exact_mut(m * d));
    for (((fixed, scores), moving), out) in sets {
        let pairs = moving.chunks_exact(d).flat_map(|y| fixed.chunks_exact(d).map(move |x| (x, y)));
        for (square, (x, y)) in squares.iter_mut().zip(pairs) {
            *square = x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum();
        }
        let width = bandwidth(&squares, n);
        for ((y, out), squares) in
            moving.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(squares.chunks_exact(n))
        {
            for ((x, score), square) in
                fixed.chunks_exact(d).zip(scores.chunks_exact(d)).zip(squares)
            {
                let k = (-square / width).exp() / n as f64;
                for (i, out) in out.iter_mut().enumerate() {
                    *out += k * (score[i] - 2.0 * (x[i] - y[i]) / width);
                }
            }
        }
    }
    Ok(directions)
}

fn bandwidth(squares: &[f64], n: usize) -> f64 {
    let mut sorted = squares.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The (len / 2 + 1)-th largest.
    let median = sorted[sorted.len() - 1 - sorted.len() / 2];
    (median / (n as f64).ln()).max(LEAST_WIDTH)
}
