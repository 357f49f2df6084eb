//! Walks from data to noise, their bound and its weights.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    chain::{PathWeights, Schedule, Step, TransitionOperator},
    density::{LogDensity, Sample},
    dist::Law,
    host,
    schedule::Heating,
};

use crate::start::Start;

/// The pair of a heated chain `q(s_1, .., s_K | x)` and the cooled chain `p` that undoes it.
///
/// Transition t has one temperature and one index in both directions. The two operators share their
/// parameters; they may differ in the moments that normalise, as q may use any and p fixed ones.
#[derive(Clone, Copy)]
pub struct WalkbackChain<'a, O> {
    /// Heats: `s_t ~ p_{T_t}(. | s_{t-1})`.
    pub heat: &'a O,
    /// Cools: `p_{T_t}(s_{t-1} | s_t)`.
    pub cool: &'a O,
    /// `p*(s_K)`.
    pub start: &'a Start,
    /// Temperatures and indices of the transitions.
    pub heating: Heating,
}

/// One transition of a walk, seen from both sides.
pub struct Visit<'a, D> {
    /// Number of the transition, from 0.
    pub index: usize,
    /// Its index and temperature.
    pub at: Step,
    /// `s_{t-1}`.
    pub before: &'a Tensor,
    /// `p_{T_t}(. | s_{t-1})`, which `after` was drawn from.
    pub heat: &'a D,
    /// `s_t`.
    pub after: &'a Tensor,
    /// `p_{T_t}(. | s_t)`, which should give `before`.
    pub cool: &'a D,
}

/// What a log weight consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// `ln p*(s_K) + sum_t [ln p(s_{t-1} | s_t) - ln q(s_t | s_{t-1})]`.
    Plain,
    /// The last factor `ln p(s_0 | s_1)` is `N(s_0; mu(s_1), v I)` with this variance.
    Isotropic(f64),
    /// `-ln q` is replaced by its conditional expectation, the entropy. The same lower bound without
    /// the noise of `ln q`; no weight for importance sampling. Near detailed balance that noise
    /// cancels against that of `ln p`, and plain weights are the better ones.
    Entropy,
}

impl<O> WalkbackChain<'_, O>
where
    O: TransitionOperator,
    O::Dist: Law,
{
    /// Walks one path from each row of `x`, shows every transition to `visit` and returns `s_K`. With
    /// `detach` no gradient flows along the walk; without it states are reparameterised.
    ///
    /// # Shapes
    /// `x`: `(b, D)`.
    ///
    /// # Errors
    /// Of the operators, or of `visit`.
    pub fn walk(
        &self,
        x: &Tensor,
        noise: &mut dyn Noise,
        detach: bool,
        mut visit: impl FnMut(Visit<'_, O::Dist>) -> Result<()>,
    ) -> Result<Tensor> {
        if x.rank() != 2 {
            let got = x.dims().to_vec();
            return Err(Error::Shape { what: "data", expected: "(b, D)".into(), got });
        }
        let mut before = x.clone();
        for index in 0..self.heating.len().unwrap_or(0) {
            let at = self.heating.at(index);
            let heat = self.heat.conditional(&before, at)?;
            let after =
                if detach { heat.sample(1, noise)? } else { heat.differentiable_sample(noise)? };
            let cool = self.cool.conditional(&after, at)?;
            visit(Visit { index, at, before: &before, heat: &heat, after: &after, cool: &cool })?;
            before = after;
        }
        Ok(before)
    }

    /// A bound is one of the chain that samples, which has to cool as the walk has heated.
    fn check_temperatures(&self) -> Result<()> {
        if self.heating.temperatures.is_reversible() {
            return Ok(());
        }
        let reason = "cooling is no reverse of heating, so there is no bound; use a geometric one";
        Err(Error::Config { field: "temperatures", reason: reason.into() })
    }

    /// The states `s_1, .., s_K`, detached, each `(b, D)`.
    ///
    /// # Errors
    /// As [`WalkbackChain::walk`].
    pub fn states(&self, x: &Tensor, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        let mut states = Vec::new();
        self.walk(x, noise, true, |visit| {
            states.push(visit.after.clone());
            Ok(())
        })?;
        Ok(states)
    }

    /// `ln p(path, x) - ln q(path | x)` of one path for each row, as a differentiable `(b,)`.
    ///
    /// # Errors
    /// As [`WalkbackChain::walk`]; [`Error::Config`] for laws without a density, and for temperatures
    /// whose cooling is no reverse.
    pub fn log_weight(&self, x: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        Ok(self.log_weight_and_end(x, noise)?.0)
    }

    /// [`WalkbackChain::log_weight`] and `s_K`, which may have a graph.
    pub(crate) fn log_weight_and_end(
        &self,
        x: &Tensor,
        noise: &mut dyn Noise,
    ) -> Result<(Tensor, Tensor)> {
        self.check_temperatures()?;
        let mut sum = x.zeros_like()?.sum(1)?;
        let last = self.walk(x, noise, false, |visit| {
            let back = visit.cool.log_prob(visit.before)?;
            sum = ((&sum + back)? - visit.heat.log_prob(visit.after)?)?;
            Ok(())
        })?;
        Ok(((sum + self.start.log_prob(&last)?)?, last))
    }

    /// The log weights of one path for each row in f64 on the host, without a graph, with any of its
    /// variants.
    ///
    /// # Errors
    /// As [`WalkbackChain::log_weight`].
    pub fn log_weights(
        &self,
        x: &Tensor,
        variants: &[Weighting],
        noise: &mut dyn Noise,
    ) -> Result<PathWeights> {
        self.check_temperatures()?;
        let (b, d) = x.dims2()?;
        let mut weights = vec![vec![0.0; b]; variants.len()];
        let mut residual = vec![0.0; b];
        let (sampled, expected) = (
            variants.iter().any(|variant| *variant != Weighting::Entropy),
            variants.contains(&Weighting::Entropy),
        );
        let last = self.walk(x, noise, true, |visit| {
            let back = host::values(&visit.cool.log_prob(visit.before)?)?;
            let own =
                if sampled { host::values(&visit.heat.log_prob(visit.after)?)? } else { vec![] };
            let entropy = if expected { host::values(&visit.heat.entropy()?)? } else { vec![] };
            if visit.index == 0 {
                residual = host::values(&(x - visit.cool.centre()?)?.sqr()?.mean(1)?)?;
            }
            for (variant, weights) in variants.iter().zip(&mut weights) {
                for (row, weight) in weights.iter_mut().enumerate() {
                    *weight += match variant {
                        Weighting::Isotropic(v) if visit.index == 0 => {
                            isotropic_log_prob(d, *v, residual[row]) - own[row]
                        }
                        Weighting::Plain | Weighting::Isotropic(_) => back[row] - own[row],
                        Weighting::Entropy => back[row] + entropy[row],
                    };
                }
            }
            Ok(())
        })?;
        let start = host::values(&self.start.log_prob(&last)?)?;
        for weights in &mut weights {
            weights.iter_mut().zip(&start).for_each(|(weight, start)| *weight += start);
        }
        Ok(PathWeights { weights, residual })
    }
}

/// `ln N(x; mu, v I)` in `d` dimensions from the mean squared residual `r = |x - mu|^2 / d`, nats.
pub(crate) fn isotropic_log_prob(d: usize, v: f64, r: f64) -> f64 {
    -0.5 * d as f64 * ((2.0 * std::f64::consts::PI * v).ln() + r / v)
}
