//! Streaming estimators from log weights along paths, in f64.

/// `ln mean exp` of a stream, with a running maximum, so that nothing overflows and memory does not
/// grow with the number of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogMeanExp {
    max: f64,
    /// Sum of `exp(value - max)`.
    sum: f64,
    /// Sum of `exp(2 (value - max))`.
    square: f64,
    count: u64,
}

impl Default for LogMeanExp {
    fn default() -> Self {
        Self { max: f64::NEG_INFINITY, sum: 0.0, square: 0.0, count: 0 }
    }
}

impl LogMeanExp {
    /// Adds one value. `-inf`, a weight of zero, counts; NaN makes the result NaN.
    pub fn push(&mut self, value: f64) {
        self.merge(&Self { max: value, sum: 1.0, square: 1.0, count: 1 });
    }

    /// Adds another stream: `max = max(a, b)`, `sum = a.sum e^(a.max - max) + b.sum e^(b.max - max)`.
    pub fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        let max = if self.max.is_nan() || other.max.is_nan() {
            f64::NAN
        } else {
            self.max.max(other.max)
        };
        // The difference of two infinities is NaN: a stream of zero weights stays one, and one with an
        // infinite weight has an infinite mean.
        let factor = |m: f64| match m {
            f64::NEG_INFINITY => 0.0,
            m if m >= max => 1.0,
            m => (m - max).exp(),
        };
        let (a, b) = (factor(self.max), factor(other.max));
        *self = Self {
            max,
            sum: self.sum * a + other.sum * b,
            square: self.square * a * a + other.square * b * b,
            count,
        };
    }

    /// `ln((1/n) sum exp(value))`; `-inf` for an empty stream or zero weights only.
    pub fn value(&self) -> f64 {
        if self.max == f64::NEG_INFINITY {
            return f64::NEG_INFINITY;
        }
        self.max + self.sum.ln() - (self.count as f64).ln()
    }

    /// `(sum w)^2 / sum w^2`, between 1 and the number of values.
    pub fn effective_sample_size(&self) -> f64 {
        if self.square > 0.0 { self.sum * self.sum / self.square } else { 0.0 }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The log weights `ln p(path, x) - ln q(path | x)` of many chains for one example.
///
/// Their mean is the lower bound, the logarithm of the mean weight the importance-sampling estimate
/// (infusion training, section 2.4, footnote 4).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogWeights {
    mean: f64,
    scatter: f64,
    weights: LogMeanExp,
}

impl LogWeights {
    /// Adds the log weight of one chain.
    pub fn push(&mut self, log_weight: f64) {
        self.weights.push(log_weight);
        let delta = log_weight - self.mean;
        if !delta.is_finite() {
            // A weight of zero makes the bound -inf, for good; NaN stays NaN.
            (self.mean, self.scatter) = (self.mean + log_weight, f64::NAN);
            return;
        }
        // Welford 1962.
        self.mean += delta / self.weights.count() as f64;
        self.scatter += delta * (log_weight - self.mean);
    }

    /// Adds the chains of another block.
    pub fn merge(&mut self, other: &Self) {
        let (a, b) = (self.chains() as f64, other.chains() as f64);
        if b <= 0.0 {
            return;
        }
        self.weights.merge(&other.weights);
        let delta = other.mean - self.mean;
        if !delta.is_finite() {
            (self.mean, self.scatter) = (self.mean + other.mean, f64::NAN);
            return;
        }
        self.mean += delta * b / (a + b);
        self.scatter += other.scatter + delta * delta * a * b / (a + b);
    }

    /// Lower bound, nats.
    pub fn lower_bound(&self) -> f64 {
        self.mean
    }

    /// Importance-sampling estimate, nats; its expectation grows with the number of chains.
    pub fn importance_sampling(&self) -> f64 {
        self.weights.value()
    }

    /// Standard deviation of the log weights between chains.
    pub fn std_between_chains(&self) -> f64 {
        (self.scatter / (self.chains() as f64 - 1.0)).sqrt()
    }

    /// Effective number of chains behind the importance-sampling estimate.
    pub fn effective_sample_size(&self) -> f64 {
        self.weights.effective_sample_size()
    }

    /// Number of chains, k.
    pub fn chains(&self) -> u64 {
        self.weights.count()
    }
}

/// Averages over examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathSummary {
    /// Mean lower bound, nats per example.
    pub lower_bound: f64,
    /// Its standard error over examples.
    pub lower_bound_se: f64,
    /// Mean importance-sampling estimate, nats per example.
    pub importance_sampling: f64,
    /// Its standard error over examples.
    pub importance_sampling_se: f64,
    /// Mean effective sample size.
    pub effective_sample_size: f64,
    /// Number of examples.
    pub examples: usize,
    /// Chains for each.
    pub chains: u64,
}

impl PathSummary {
    /// Summarises the log weights of each example.
    pub fn of(examples: &[LogWeights]) -> Self {
        let n = examples.len();
        let average = |f: fn(&LogWeights) -> f64| {
            let mean = examples.iter().map(f).sum::<f64>() / n as f64;
            let scatter = examples.iter().map(|e| (f(e) - mean).powi(2)).sum::<f64>();
            (mean, (scatter / (n as f64 - 1.0) / n as f64).sqrt())
        };
        let (lower_bound, lower_bound_se) = average(LogWeights::lower_bound);
        let (importance_sampling, importance_sampling_se) =
            average(LogWeights::importance_sampling);
        Self {
            lower_bound,
            lower_bound_se,
            importance_sampling,
            importance_sampling_se,
            effective_sample_size: average(LogWeights::effective_sample_size).0,
            examples: n,
            chains: examples.iter().map(LogWeights::chains).min().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> LogMeanExp {
        let mut stream = LogMeanExp::default();
        values.iter().for_each(|value| stream.push(*value));
        stream
    }

    fn direct(values: &[f64]) -> f64 {
        (values.iter().map(|v| v.exp()).sum::<f64>() / values.len() as f64).ln()
    }

    #[test]
    fn streaming_equals_the_definition() {
        let values = [0.3, -2.0, 1.7, 0.0];
        assert!((of(&values).value() - direct(&values)).abs() < 1e-14);
        assert!((of(&[2.5]).value() - 2.5).abs() < 1e-15);
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert!((of(&[1e4, 1e4]).value() - 1e4).abs() < 1e-9);
        assert!((of(&[-1e4, -1e4]).value() + 1e4).abs() < 1e-9);
        assert!((of(&[1e4, -1e4]).value() - (1e4 - 2_f64.ln())).abs() < 1e-9);
        let infinite = of(&[0.0, f64::INFINITY, 1.0, f64::INFINITY]).value();
        assert!(infinite > f64::MAX, "{infinite}");
        assert!(of(&[f64::NEG_INFINITY; 2]).value() < f64::MIN);
        assert!((of(&[f64::NEG_INFINITY, 0.0]).value() + 2_f64.ln()).abs() < 1e-15);
        assert!(of(&[f64::NAN, 0.0]).value().is_nan());
        assert!(of(&[0.0, f64::NAN]).value().is_nan());
    }

    #[test]
    fn merging_blocks_equals_one_block() {
        let values: Vec<f64> = (0..100).map(|i| (f64::from(i) * 0.7).sin() * 30.0).collect();
        let (mut a, mut b, mut all) =
            (LogWeights::default(), LogWeights::default(), LogWeights::default());
        for (i, value) in values.iter().enumerate() {
            all.push(*value);
            if i < 37 { a.push(*value) } else { b.push(*value) }
        }
        a.merge(&b);
        a.merge(&LogWeights::default());
        for (got, want) in [
            (a.lower_bound(), all.lower_bound()),
            (a.importance_sampling(), all.importance_sampling()),
            (a.std_between_chains(), all.std_between_chains()),
            (a.effective_sample_size(), all.effective_sample_size()),
        ] {
            assert!((got - want).abs() < 1e-11 * want.abs().max(1.0), "{got} {want}");
        }
        let mut empty = LogWeights::default();
        empty.merge(&all);
        assert!((empty.lower_bound() - all.lower_bound()).abs() < 1e-12);
    }

    #[test]
    fn effective_sample_size_counts_equal_weights() {
        assert!((of(&[5.0; 7]).effective_sample_size() - 7.0).abs() < 1e-12);
        assert!((of(&[500.0, 0.0, 0.0]).effective_sample_size() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn summary_averages_over_examples() {
        let example = |values: &[f64]| {
            let mut w = LogWeights::default();
            values.iter().for_each(|v| w.push(*v));
            w
        };
        let summary = PathSummary::of(&[example(&[1.0, 3.0]), example(&[4.0, 4.0])]);
        assert!((summary.lower_bound - 3.0).abs() < 1e-14);
        assert!((summary.lower_bound_se - 1.0).abs() < 1e-14);
        let want = (direct(&[1.0, 3.0]) + 4.0) / 2.0;
        assert!((summary.importance_sampling - want).abs() < 1e-14);
        assert_eq!((summary.examples, summary.chains), (2, 2));
    }
}
