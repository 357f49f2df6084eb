//! The bound and the estimators on a chain whose likelihood is known in closed form.

mod common;

use candle_core::DType;
use chains_core::{Result, Seed, chain::LogWeights, density::LogDensity, schedule::InfusionRate};
use common::{
    REFERENCE, SEEDS, Setting, assert_close, assert_within, mean_se,
    quadrature::{lower_bound, rate_one, rate_zero},
    values,
};
use infusion::{EstimateOptions, estimate};

/// Exact value of the reference set at T = 1, and the bound for some rates.
const EXACT_1: f64 = -1.064129;
const BOUNDS_1: [(f64, f64); 8] = [
    (0.0, -1.964220),
    (0.1, -1.830519),
    (0.3, -1.715993),
    (0.5, -1.741385),
    (0.7, -1.895391),
    (0.9, -2.216440),
    (0.99, -2.477727),
    (1.0, -2.528055),
];
/// T = 3, rates 0.05, 0.10, 0.15: exact value, bound, importance sampling with 10 and 100 chains,
/// the last two from 4e7 chains with standard error 1e-4. The bound is the value to which the
/// trapezoid rule converges (steps 0.04 to 0.01 agree in twelve digits).
const EXACT_3: f64 = -0.684714;
const BOUND_3: f64 = -0.905791;
const SAMPLED_3: [(usize, f64); 2] = [(10, -0.6991), (100, -0.6861)];
/// Half a unit in the last place of the numbers above, and a little for the last bits.
const ROUNDING: f64 = 5.1e-7;

fn rising() -> Result<Setting> {
    REFERENCE.setting(InfusionRate::increasing(0.05, 0.05), 3, 1, DType::F32)
}

#[test]
fn the_marginal_of_the_linear_chain_has_the_recursive_moments() -> Result<()> {
    assert_close(REFERENCE.exact(1), EXACT_1, ROUNDING, "T = 1");
    assert_close(REFERENCE.exact(3), EXACT_3, ROUNDING, "T = 3");
    // The chain itself: z_2 of rate 0 has the moments of the recursion.
    let setting = REFERENCE.setting(InfusionRate::constant(0.0), 3, 1, DType::F32)?;
    let (mean, variance) = REFERENCE.marginal(2);
    for seed in SEEDS {
        let mut noise = Seed::new(seed).child("marginal").host_noise();
        let states = setting.chain().states(&setting.targets(100_000)?, &mut noise)?;
        assert_eq!(states.len(), 3);
        let z = values(&states[2])?;
        assert_within(mean_se(&z), mean, "mean");
        let squares: Vec<f64> = z.iter().map(|z| (z - mean).powi(2)).collect();
        assert_within(mean_se(&squares), variance, "variance");
    }
    Ok(())
}

#[test]
fn quadrature_gives_the_golden_bounds_of_one_step_with_an_interior_peak() {
    let found: Vec<f64> =
        BOUNDS_1.iter().map(|(rate, _)| lower_bound(&REFERENCE, &[*rate], 4e-4)).collect();
    for ((rate, want), got) in BOUNDS_1.iter().zip(&found) {
        assert_close(*got, *want, ROUNDING, &format!("rate {rate}"));
        assert!(*got < REFERENCE.exact(1));
    }
    let best = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(best > found[0] && best > found[found.len() - 1]);
    assert_close(best, found[2], 0.0, "the peak is at 0.3");
}

#[test]
fn one_step_weights_average_to_the_quadrature() -> Result<()> {
    for (rate, want) in BOUNDS_1 {
        let setting = REFERENCE.setting(InfusionRate::constant(rate), 1, 1, DType::F32)?;
        for seed in SEEDS {
            let weights = setting.log_weights(100_000, Seed::new(seed).child("bound"))?;
            assert_within(mean_se(&weights), want, &format!("rate {rate}, seed {seed}"));
        }
    }
    Ok(())
}

#[test]
fn rates_zero_and_one_have_closed_forms() -> Result<()> {
    for (steps, zero, one) in [(1, -1.964220, -2.528055), (3, -0.873595, -4.786287)] {
        assert_close(rate_zero(&REFERENCE, steps), zero, ROUNDING, "rate 0");
        assert_close(rate_one(&REFERENCE, steps), one, ROUNDING, "rate 1");
        for (rate, want) in [(0.0, zero), (1.0, one)] {
            let by_quadrature = lower_bound(&REFERENCE, &vec![rate; steps], 1e-2);
            assert_close(by_quadrature, want, 1e-6, "quadrature");
            let setting = REFERENCE.setting(InfusionRate::constant(rate), steps, 1, DType::F32)?;
            for seed in SEEDS {
                let weights = setting.log_weights(60_000, Seed::new(seed).child("closed"))?;
                assert_within(mean_se(&weights), want, &format!("T = {steps}, rate {rate}"));
            }
        }
    }
    Ok(())
}

#[test]
fn closed_forms_hold_in_every_dimension_at_once() -> Result<()> {
    let d = 5;
    for (rate, one) in [(0.0, rate_zero(&REFERENCE, 3)), (1.0, rate_one(&REFERENCE, 3))] {
        let setting = REFERENCE.setting(InfusionRate::constant(rate), 3, d, DType::F64)?;
        for seed in SEEDS {
            let weights = setting.log_weights(20_000, Seed::new(seed).child("wide"))?;
            assert_within(mean_se(&weights), d as f64 * one, &format!("rate {rate}"));
        }
    }
    Ok(())
}

#[test]
fn importance_sampling_rises_from_the_bound_towards_the_exact_value() -> Result<()> {
    assert_close(lower_bound(&REFERENCE, &[0.05, 0.10, 0.15], 2e-2), BOUND_3, ROUNDING, "nested");
    let setting = rising()?;
    for seed in SEEDS {
        let mut found = Vec::new();
        for (chains, want) in SAMPLED_3 {
            let n = 200_000 / chains;
            let mut noise = Seed::new(seed).child("estimate").indexed(chains as u64).host_noise();
            let options = EstimateOptions { rows: 50_000, ..EstimateOptions::new(chains) };
            let x = setting.targets(n)?;
            let result = estimate(&setting.chain(), &x, &options, &mut noise, &mut |_| Ok(()))?;
            let of = |f: fn(&LogWeights) -> f64| {
                mean_se(&result.weights[0].iter().map(f).collect::<Vec<_>>())
            };
            let bound = of(LogWeights::lower_bound);
            assert_within(bound, BOUND_3, "lower bound");
            let (mean, se) = of(LogWeights::importance_sampling);
            assert_within((mean, se.hypot(1e-4)), want, &format!("{chains} chains"));
            assert!(bound.0 <= mean, "{bound:?} {mean}");
            assert!(result.weights[0].iter().all(|w| w.chains() == chains as u64));
            found.push((mean, se));
        }
        assert!(found[0].0 <= found[1].0, "{found:?}");
        assert!(found[1].0 <= EXACT_3 + 3.0 * found[1].1, "{found:?}");
    }
    Ok(())
}

#[test]
fn the_mean_weight_is_the_likelihood_at_every_rate() -> Result<()> {
    let rates = [
        InfusionRate::constant(0.0),
        InfusionRate::increasing(0.05, 0.05),
        InfusionRate::increasing(0.0, 0.3),
    ];
    for rate in rates {
        let setting = REFERENCE.setting(rate, 3, 1, DType::F32)?;
        for seed in SEEDS {
            let weights = setting.log_weights(100_000, Seed::new(seed).child("weight"))?;
            let weights: Vec<f64> = weights.into_iter().map(f64::exp).collect();
            assert_within(mean_se(&weights), REFERENCE.exact(3).exp(), &format!("{rate:?}"));
        }
    }
    Ok(())
}

#[test]
fn at_rate_zero_a_weight_is_the_last_prediction_to_the_bit() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let setting = REFERENCE.setting(InfusionRate::constant(0.0), 4, 3, dtype)?;
        let (x, seed) = (setting.targets(50)?, Seed::new(3));
        let mut last = Vec::new();
        setting.chain().walk(&x, &mut seed.host_noise(), true, |visit| {
            if visit.drawn.is_none() {
                assert_eq!(visit.t, 4);
                last = values(&visit.conditional.log_prob(&x)?)?;
            }
            Ok(())
        })?;
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&setting.log_weights(50, seed)?), bits(&last));
        let graph = setting.chain().log_weight(&x, &mut seed.host_noise())?;
        assert_eq!(bits(&values(&graph)?), bits(&last));
    }
    Ok(())
}

#[test]
fn both_ways_to_compute_a_log_weight_agree() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let setting = REFERENCE.setting(InfusionRate::increasing(0.0, 0.5), 3, 6, dtype)?;
        let (x, seed) = (setting.targets(40)?, Seed::new(4));
        let graph = values(&setting.chain().log_weight(&x, &mut seed.host_noise())?)?;
        let host = setting.log_weights(40, seed)?;
        // Sums of 24 terms of which each is below 100 nats.
        let tolerance = if dtype == DType::F32 { 24.0 * 100.0 * 6e-8 } else { 1e-11 };
        for (a, b) in graph.iter().zip(&host) {
            assert_close(*a, *b, tolerance, "log weight");
        }
    }
    Ok(())
}
