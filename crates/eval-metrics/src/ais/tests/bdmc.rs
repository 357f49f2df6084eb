//! Bounds from both sides.

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, dist::DiagGaussian};

use super::{exact, linear, short, simulated};
use crate::{
    AisAdaptation, AisBound, AisSettings, Bdmc, Simulated, ais, bdmc, golden::assert_close,
    summary::mean_and_error,
};

fn exact_mean(simulated: &Simulated) -> Result<Vec<f64>> {
    Ok(simulated.data.to_vec2::<f64>()?.iter().map(|x| exact(x)).collect())
}

/// Means over rows of the distance of either bound from the truth, with their errors.
fn distances(found: &Bdmc, exact: &[f64]) -> [(f64, f64); 2] {
    [&found.lower, &found.upper].map(|bound| {
        let rows = bound.points.iter().zip(exact);
        let distances: Vec<f64> = rows.map(|(point, x)| point.log_likelihood - x).collect();
        let (mean, error) = mean_and_error(&distances);
        (mean, error.unwrap())
    })
}

#[test]
fn the_bounds_lie_on_either_side_and_close_in() -> Result<()> {
    let simulated = simulated(200, 1)?;
    let exact = exact_mean(&simulated)?;
    let mut gaps = Vec::new();
    for (steps, chains) in [(2, 1), (10, 1), (60, 4)] {
        let settings = AisSettings { steps, ..short(chains, 2) };
        let found = bdmc(&linear(), &simulated, None, &settings)?;
        let [lower, upper] = distances(&found, &exact);
        if steps < 60 {
            // Far enough apart that each is on its side beyond doubt.
            assert!(lower.0 < -5.0 * lower.1 && upper.0 > 5.0 * upper.1, "{lower:?} {upper:?}");
        }
        assert!(lower.0 < 3.0 * lower.1 && upper.0 > -3.0 * upper.1, "{lower:?} {upper:?}");
        assert_close(found.gap, upper.0 - lower.0, 1e-10);
        assert_eq!((found.lower.bound, found.upper.bound), (AisBound::Lower, AisBound::Upper));
        assert!(found.gap_std_error.unwrap() > 0.0);
        gaps.push(found.gap);
    }
    assert!(gaps[0] > 3.0 * gaps[1] && gaps[1] > 3.0 * gaps[2], "{gaps:?}");
    assert!(gaps[2] > 0.0, "{gaps:?}");
    Ok(())
}

#[test]
fn inverse_weights_of_the_way_back_are_unbiased() -> Result<()> {
    // The mean of p(x) / w over exact pairs is one.
    let simulated = simulated(4000, 3)?;
    let exact = exact_mean(&simulated)?;
    for (steps, seed) in [(3, 4), (8, 5)] {
        let settings = AisSettings { steps, step_size: 0.4, ..short(1, seed) };
        let found = bdmc(&linear(), &simulated, None, &settings)?;
        let rows = found.upper.points.iter().zip(&exact);
        let ratios: Vec<f64> = rows.map(|(point, x)| (x - point.log_likelihood).exp()).collect();
        let (mean, error) = mean_and_error(&ratios);
        assert!((mean - 1.0).abs() < 3.0 * error.unwrap(), "{mean} {error:?}");
    }
    Ok(())
}

#[test]
fn one_step_back_is_the_harmonic_mean() -> Result<()> {
    let simulated = simulated(5, 6)?;
    let settings = AisSettings { steps: 1, ..short(3, 7) };
    let found = bdmc(&linear(), &simulated, None, &settings)?;
    let direct = linear().log_likelihood(&simulated.latents, &simulated.data)?;
    for (point, want) in found.upper.points.iter().zip(direct.to_vec1::<f64>()?) {
        assert_close(point.log_likelihood, want, 1e-13);
        assert_close(point.ess, 3.0, 1e-12);
    }
    Ok(())
}

#[test]
fn a_proposal_narrows_the_gap() -> Result<()> {
    let simulated = simulated(100, 8)?;
    let exact = exact_mean(&simulated)?;
    // Mean and marginal variances of the posterior, whose mean is linear in x.
    let (precision, weight) = ([[5.52, 0.48], [0.48, 6.52]], 4.0);
    let determinant = precision[0][0] * precision[1][1] - 0.48 * 0.48;
    let inverse = [
        [precision[1][1] / determinant, -0.48 / determinant],
        [-0.48 / determinant, precision[0][0] / determinant],
    ];
    let centred = simulated.data.broadcast_sub(&Tensor::new(&super::B, &Device::Cpu)?)?;
    let scores = (centred.matmul(&Tensor::new(&super::W, &Device::Cpu)?)? * weight)?;
    let mean = scores.matmul(&Tensor::new(&inverse, &Device::Cpu)?)?;
    let variance = Tensor::new(&[[inverse[0][0], inverse[1][1]]], &Device::Cpu)?;
    let variance = variance.broadcast_as(mean.shape())?.contiguous()?;
    let posterior = DiagGaussian::new(mean, variance)?;
    let settings = short(2, 9);
    let plain = bdmc(&linear(), &simulated, None, &settings)?;
    let near = bdmc(&linear(), &simulated, Some(&posterior), &settings)?;
    assert!(near.gap < 0.1 * plain.gap, "{} {}", near.gap, plain.gap);
    let [lower, upper] = distances(&near, &exact);
    assert!(lower.0 < 3.0 * lower.1 && upper.0 > -3.0 * upper.1, "{lower:?} {upper:?}");
    Ok(())
}

#[test]
fn the_lower_bound_is_that_of_the_same_settings() -> Result<()> {
    let simulated = simulated(3, 10)?;
    for adaptation in [AisAdaptation::Frozen, AisAdaptation::Online] {
        let settings = AisSettings { adaptation, ..short(4, 11) };
        let both = bdmc(&linear(), &simulated, None, &settings)?;
        assert_eq!(both.lower, ais(&linear(), &simulated.data, None, &settings)?);
        assert_ne!(both.lower.points, both.upper.points);
    }
    Ok(())
}

#[test]
fn simulated_rows_have_the_moments_of_the_model() -> Result<()> {
    let simulated = simulated(20_000, 12)?;
    let rows = simulated.data.to_vec2::<f64>()?;
    for i in 0..3 {
        let values: Vec<f64> = rows.iter().map(|x| x[i]).collect();
        crate::golden::assert_mean(&values, super::B[i]);
        for j in 0..=i {
            let products: Vec<f64> =
                rows.iter().map(|x| (x[i] - super::B[i]) * (x[j] - super::B[j])).collect();
            let noise = if i == j { super::VARIANCE } else { 0.0 };
            let w = |k: usize| super::W[i][k] * super::W[j][k];
            crate::golden::assert_mean(&products, w(0) + w(1) + noise);
        }
    }
    assert_eq!(simulated.latents.dims(), [20_000, 2]);
    let mut noise = chains_core::Seed::new(0).host_noise();
    let binary = super::DecoderModel { observation: super::Observation::Bernoulli, ..linear() };
    let binary = binary.simulate(50, (DType::F32, &Device::Cpu), &mut noise)?;
    let ones = binary.data.flatten_all()?.to_vec1::<f32>()?;
    assert!(ones.iter().all(|x| [0.0, 1.0].contains(x)));
    assert!(ones.iter().sum::<f32>() > 20.0 && ones.iter().sum::<f32>() < 130.0);
    Ok(())
}
