//! Streaming estimators.

use proptest::prelude::*;

use crate::chain::{LogMeanExp, LogWeights};

fn of(values: &[f64]) -> LogMeanExp {
    let mut stream = LogMeanExp::default();
    values.iter().for_each(|value| stream.push(*value));
    stream
}

fn merged(parts: &[LogMeanExp]) -> LogMeanExp {
    let mut all = LogMeanExp::default();
    parts.iter().for_each(|part| all.merge(part));
    all
}

/// Log weights as they come from paths: far apart, some of them zero weights.
fn log_weights() -> impl Strategy<Value = Vec<f64>> {
    let one = prop_oneof![
        8 => -1e4..1e4,
        8 => -5.0..5.0,
        1 => Just(f64::NEG_INFINITY),
    ];
    prop::collection::vec(one, 0..20)
}

fn near(a: f64, b: f64) -> bool {
    !a.is_nan() && a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-12 * a.abs().max(1.0)
}

proptest! {
    #[test]
    fn merging_is_associative_and_commutative(
        a in log_weights(),
        b in log_weights(),
        c in log_weights(),
    ) {
        let whole = of(&[a.clone(), b.clone(), c.clone()].concat());
        let [a, b, c] = [&a, &b, &c].map(|values| of(values));
        let left = merged(&[merged(&[a, b]), c]);
        let right = merged(&[a, merged(&[b, c])]);
        let back = merged(&[c, b, a]);
        for other in [left, right, back] {
            prop_assert!(near(whole.value(), other.value()), "{whole:?} {other:?}");
            prop_assert!(near(whole.effective_sample_size(), other.effective_sample_size()));
            prop_assert_eq!(whole.count(), other.count());
        }
    }

    #[test]
    fn the_value_lies_between_mean_and_maximum(values in log_weights()) {
        prop_assume!(!values.is_empty());
        let stream = of(&values);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        prop_assert!(stream.value() <= max + 1e-9);
        // Jensen: the importance-sampling estimate is above the lower bound.
        prop_assert!(stream.value() >= mean - 1e-8);
        let ess = stream.effective_sample_size();
        if max.is_finite() {
            prop_assert!((1.0 - 1e-12..=values.len() as f64 + 1e-9).contains(&ess), "{ess}");
        }
    }

    #[test]
    fn a_shift_of_all_values_shifts_the_result(values in log_weights(), by in -1e3..1e3_f64) {
        let moved: Vec<_> = values.iter().map(|value| value + by).collect();
        let (a, b) = (of(&values).value() + by, of(&moved).value());
        prop_assert!(near(a, b) || (a - b).abs() < 1e-9, "{a} {b}");
    }
}

#[test]
fn a_path_of_weight_zero_makes_the_bound_minus_infinity() {
    let mut weights = LogWeights::default();
    for value in [1.0, f64::NEG_INFINITY, 2.0, f64::NEG_INFINITY] {
        weights.push(value);
    }
    assert!(weights.lower_bound() < f64::MIN);
    let want = (1_f64.exp() + 2_f64.exp()).ln() - 4_f64.ln();
    assert!((weights.importance_sampling() - want).abs() < 1e-14);
    assert_eq!(weights.chains(), 4);
    let mut other = LogWeights::default();
    other.push(3.0);
    let mut back = weights;
    back.merge(&other);
    other.merge(&weights);
    for merged in [other, back] {
        assert!(merged.lower_bound() < f64::MIN);
        assert!(merged.importance_sampling().is_finite());
        assert_eq!(merged.chains(), 5);
    }
    weights.push(f64::NAN);
    assert!(weights.lower_bound().is_nan() && weights.importance_sampling().is_nan());
}
