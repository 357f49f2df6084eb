//! What the infusion chain does: who is infused, when, and what its weights cannot exceed.

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result, Seed,
    density::LogDensity,
    dist::{DiagGaussian, DimensionMixture, Masks},
    schedule::InfusionRate,
};
use common::{
    REFERENCE, SEEDS, Scalars, Setting, assert_close, assert_within, mean_se, model, rows, values,
};
use infusion::{EstimateOptions, InfusionChain, estimate};

/// A model whose states are far from the target x = 1: all infused values are recognised.
const FAR: Scalars = Scalars { m0: -50.0, v0: 0.01, a: 0.0, b: -50.0, s2: 0.01, sd2: 1e-4, x: 1.0 };

/// For every state, which elements are within `near` of the target.
fn infused(setting: &Setting, n: usize, near: f64, seed: Seed) -> Result<Vec<Vec<bool>>> {
    let states = setting.chain().states(&setting.targets(n)?, &mut seed.host_noise())?;
    let one = |z: &Tensor| -> Result<Vec<bool>> {
        Ok(values(z)?.into_iter().map(|z| (z - FAR.x).abs() < near).collect())
    };
    states.iter().map(one).collect()
}

#[test]
fn every_state_is_infused_with_the_rate_of_its_index() -> Result<()> {
    let near = 4.0 * FAR.sd2.sqrt();
    let paper = InfusionRate::increasing(0.0, 0.2);
    let code = InfusionRate { code_shift: true, ..InfusionRate::increasing(0.1, 0.2) };
    for (rate, want) in [(paper, [0.0, 0.2, 0.4]), (code, [0.1, 0.1, 0.3])] {
        let setting = FAR.setting(rate, 3, 50, DType::F32)?;
        for seed in SEEDS {
            let found = infused(&setting, 1000, near, Seed::new(seed).child("infused"))?;
            assert_eq!(found.len(), 3);
            for (found, want) in found.iter().zip(want) {
                let n = found.len() as f64;
                let share = found.iter().filter(|near| **near).count() as f64 / n;
                if want == 0.0_f64 {
                    assert!(!found.contains(&true));
                    continue;
                }
                assert_within((share, (want * (1.0 - want) / n).sqrt()), want, "share");
            }
        }
    }
    Ok(())
}

#[test]
fn a_shared_mask_infuses_all_channels_of_a_pixel_or_none() -> Result<()> {
    let (channels, pixels, n) = (3, 20, 200);
    let mut setting = FAR.setting(InfusionRate::constant(0.3), 2, channels * pixels, DType::F32)?;
    setting.config.masks = Masks::PerPixel { channels };
    for found in infused(&setting, n, 25.0, Seed::new(0).child("shared"))? {
        // Planar images: the channels of a pixel are `pixels` apart.
        let mut shared = 0;
        for row in found.chunks(channels * pixels) {
            for pixel in 0..pixels {
                let of: Vec<bool> = (0..channels).map(|c| row[c * pixels + pixel]).collect();
                assert!(of.iter().all(|near| *near == of[0]), "{of:?}");
                shared += usize::from(of[0]);
            }
        }
        let total = (n * pixels) as f64;
        assert_within((shared as f64 / total, (0.21 / total).sqrt()), 0.3, "share of pixels");
    }
    Ok(())
}

#[test]
fn a_border_pixel_costs_what_the_formula_says() -> Result<()> {
    // v0 1e-5, sd2 1e-4, x = mu0: E[ln p0 - ln delta] = 0.5 ln 10 + 0.5 - 5.
    let want = -3.3487;
    let (v0, sd2, x) = (1e-5_f64, 1e-4_f64, 0.25);
    let exact =
        |offset: f64| -> f64 { 0.5 * (sd2 / v0).ln() + 0.5 - (sd2 + offset * offset) / (2.0 * v0) };
    assert_close(exact(0.0), want, 5e-5, "closed form");
    // A quadratic averages exactly over the two points one standard deviation away.
    for (offset, want) in [(0.0, exact(0.0)), (1.0 / 512.0, exact(1.0 / 512.0))] {
        let two = |v: [f64; 2]| Tensor::new(&v, &Device::Cpu)?.reshape((2, 1));
        let base = DiagGaussian::new(two([x + offset; 2])?, two([v0; 2])?)?;
        let spike = DiagGaussian::new(two([x; 2])?, two([sd2; 2])?)?;
        let proposal = DimensionMixture::new(1.0, base, spike, Masks::PerDimension)?;
        let ratios = values(&proposal.log_ratio(&two([x - sd2.sqrt(), x + sd2.sqrt()])?)?)?;
        assert_close((ratios[0] + ratios[1]) / 2.0, want, 1e-9, "two points");
    }
    // Through the chain, without the last factor.
    let scalars = Scalars { m0: x, v0, a: 0.0, b: x, s2: 0.01, sd2, x };
    let setting = scalars.setting(InfusionRate::constant(1.0), 1, 1, DType::F32)?;
    let last = common::log_normal(x, x, 0.01);
    for seed in SEEDS {
        let weights = setting.log_weights(100_000, Seed::new(seed).child("border"))?;
        let ratios: Vec<f64> = weights.iter().map(|w| w - last).collect();
        assert_within(mean_se(&ratios), exact(0.0), "Monte Carlo");
    }
    Ok(())
}

#[test]
fn a_log_weight_is_bounded_by_the_last_prediction_and_the_rates() -> Result<()> {
    let rate = InfusionRate::increasing(0.05, 0.2);
    for network in [common::mlp(4), common::deconv(4)] {
        let model = model(network, rate)?;
        let (x, prior) = (rows(&model, 40, 7)?, model.prior()?);
        let d = x.dim(1)? as f64;
        let operator = model.operator(chains_core::nn::Statistics::Batch);
        let config = &model.config().chain;
        let chain = InfusionChain { operator: &operator, prior: &prior, config, steps: 4 };
        let slack: f64 = (0..4).map(|t| -d * (1.0 - rate.at(t)).ln()).sum();
        let mut last = Vec::new();
        chain.walk(&x, &mut Seed::new(1).host_noise(), true, |visit| {
            match visit.drawn {
                Some((proposal, z)) => {
                    let limit = -d * (1.0 - proposal.rate()).ln();
                    let terms = values(&proposal.log_ratio(z)?)?;
                    // f32 rounding of D logarithms.
                    assert!(terms.iter().all(|term| *term <= limit + d * 1e-5), "{terms:?}");
                }
                None => last = values(&visit.conditional.log_prob(&x)?)?,
            }
            Ok(())
        })?;
        // The highest density of a dimension: -0.5 ln(2 pi 1e-4) = 3.6862.
        let highest = -0.5 * (2.0 * std::f64::consts::PI * 1e-4).ln();
        assert!(last.iter().all(|last| *last <= (highest + 1e-5) * d));
        let found = chain.log_weights(&x, &[None], &mut Seed::new(1).host_noise())?;
        for (weight, last) in found.weights[0].iter().zip(&last) {
            assert!(*weight <= last + slack + d * 4e-5, "{weight} {last} {slack}");
        }
    }
    Ok(())
}

#[test]
fn the_second_sum_of_the_bound_is_866_nats_for_mnist() {
    let rate = InfusionRate::increasing(0.0, 0.01);
    let sum: f64 = (0..15).map(|t| -784.0 * (1.0 - rate.at(t)).ln()).sum();
    assert_close(sum, 866.1, 0.05, "D sum -ln(1 - alpha_t)");
    assert_close(-0.5 * 784.0 * (2.0 * std::f64::consts::PI * 1e-4).ln(), 2890.0, 0.05, "D 3.6862");
}

#[test]
fn weights_of_ten_thousand_nats_do_not_overflow() -> Result<()> {
    // D times the highest density, and a target 141 standard deviations away.
    for (d, s2, offset, sign) in [(3000, 1e-4, 0.0, 1.0), (1, 1e-4, 2_f64.sqrt(), -1.0)] {
        let scalars = Scalars { m0: 0.0, v0: 1.0, a: 0.0, b: 0.5 - offset, s2, sd2: 1e-4, x: 0.5 };
        let want = d as f64 * common::log_normal(0.5, scalars.b, s2);
        assert!(want * sign > 9_990.0);
        let setting = scalars.setting(InfusionRate::constant(0.0), 1, d, DType::F64)?;
        let (x, options) = (setting.targets(2)?, EstimateOptions::new(20));
        let mut noise = Seed::new(0).host_noise();
        let found = estimate(&setting.chain(), &x, &options, &mut noise, &mut |_| Ok(()))?;
        for weights in &found.weights[0] {
            assert_close(weights.lower_bound(), want, 1e-8, "lower bound");
            assert_close(weights.importance_sampling(), want, 1e-8, "importance sampling");
            assert_close(weights.effective_sample_size(), 20.0, 1e-9, "effective sample size");
        }
    }
    Ok(())
}

#[test]
fn a_target_without_a_batch_axis_is_refused() -> Result<()> {
    let setting = REFERENCE.setting(InfusionRate::constant(0.1), 2, 3, DType::F32)?;
    let x = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
    let error = setting.chain().states(&x, &mut Seed::new(0).host_noise());
    assert!(matches!(error, Err(Error::Shape { what: "target", .. })));
    let x = Tensor::zeros((2, 4), DType::F32, &Device::Cpu)?;
    assert!(setting.chain().states(&x, &mut Seed::new(0).host_noise()).is_err());
    Ok(())
}
