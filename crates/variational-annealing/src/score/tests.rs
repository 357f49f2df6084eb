use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Seed};

use super::*;
use crate::{
    anneal::{Annealing, Reg, Schedule},
    config::DenoiserConfig,
};

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn normal(label: &str, shape: &[usize]) -> Tensor {
    let mut noise = Seed::new(11).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

fn close(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
}

/// The best denoiser of `N(m, s^2)`.
fn best(y: &Tensor, [m, s, sigma]: [f64; 3]) -> Result<Tensor> {
    let total = s * s + sigma * sigma;
    Ok(y.affine(s * s / total, sigma * sigma * m / total)?)
}

#[test]
fn the_best_denoiser_has_the_score_of_the_smoothed_density() {
    let y = normal("y", &[6, 1]);
    for [m, s, sigma] in [[0.0, 1.0, 0.2], [0.7, 1.5, 1.0]] {
        let score = dae_score(&y, &best(&y, [m, s, sigma]).unwrap(), sigma).unwrap();
        for (score, y) in values(&score).iter().zip(values(&y)) {
            close(*score, -(y - m) / (s * s + sigma * sigma), 1e-12);
        }
    }
}

#[test]
fn the_residual_score_is_differentiated_through_the_denoiser() {
    let y = normal("y", &[6, 1]);
    let (s, sigma) = (1.0, 0.2);
    let score = residual_score(&y, |y| best(y, [0.0, s, sigma])).unwrap();
    let slope = -2.0 * sigma.powi(4) / (s * s + sigma * sigma).powi(2);
    for (score, y) in values(&score).iter().zip(values(&y)) {
        close(*score, slope * y, 1e-12);
    }
    assert!(!score.track_op());
}

/// The variance at which chains along a linear score settle, measured after `skip` steps over chains
/// and, `every` steps apart, over time.
fn settled(
    score: impl Fn(&Tensor) -> Result<Tensor>,
    [start, h, beta]: [f64; 3],
    steps: usize,
) -> f64 {
    let mut noise = Seed::new(3).child("chains").host_noise();
    let x = (normal("start", &[20_000, 1]) * start).unwrap();
    let schedule = Schedule::constant(Reg::Likelihood.lambda(beta).unwrap());
    let annealing = Annealing { reg: Reg::Likelihood, schedule };
    let config = LangevinConfig { step_size: h, steps, annealing };
    let end = values(&langevin(score, &config, &x, &mut noise).unwrap());
    end.iter().map(|x| x * x).sum::<f64>() / end.len() as f64
}

/// Five standard errors of a variance of 20,000 independent normals, relative.
const FIVE: f64 = 5.0 * 0.01;

#[test]
fn chains_of_a_finite_step_settle_at_the_law_of_eulers_rule() {
    for [s, beta, h] in [[1.0, 1.0, 0.5], [0.8, 2.0, 0.3], [1.2, 0.5, 1.0]] {
        let want = euler_variance(s * s, beta, h).unwrap();
        close(want, s * s / beta / (1.0 - h / (2.0 * s * s)), 1e-15);
        let got = settled(|x: &Tensor| Ok((x / -(s * s))?), [want.sqrt(), h, beta], 60);
        close(got / want, 1.0, FIVE);
        // From elsewhere, too: the memory of the start is (1 - h / s^2)^60 of it.
        let got = settled(|x: &Tensor| Ok((x / -(s * s))?), [2.0, h, beta], 60);
        close(got / want, 1.0, FIVE);
    }
    assert!(euler_variance(1.0, 1.0, 2.0).is_err() && euler_variance(-1.0, 1.0, 0.1).is_err());
}

#[test]
fn chains_along_the_denoisers_score_settle_at_the_smoothed_variance() {
    let (s, sigma, h) = (1.0, 0.2, 0.1);
    let score = |x: &Tensor| dae_score(x, &best(x, [0.0, s, sigma])?, sigma);
    let want = euler_variance(s * s + sigma * sigma, 1.0, h).unwrap();
    close(want, 1.04 / (1.0 - 0.1 / 2.08), 1e-12);
    close(settled(score, [1.0, h, 1.0], 120) / want, 1.0, FIVE);
}

#[test]
fn chains_along_the_residual_score_settle_nowhere_near() {
    let (s, sigma) = (1.0, 0.2_f64);
    let law = (s * s + sigma * sigma).powi(2) / (2.0 * sigma.powi(4));
    close(law, 338.0, 1e-9);
    // The relaxation time is 338 too: steps of 67 of it, begun at the law. The step itself widens it.
    let h = 67.6;
    let score = |x: &Tensor| residual_score(x, |x| best(x, [0.0, s, sigma]));
    let want = euler_variance(law, 1.0, h).unwrap();
    close(settled(score, [law.sqrt(), h, 1.0], 40) / want, 1.0, FIVE);
    // Scaled like a score of denoisers it would be too narrow instead: 0.5408.
    close(law * sigma.powi(4), 0.5408, 1e-9);
    let scaled = |x: &Tensor| Ok((score(x)? / sigma.powi(4))?);
    let want = euler_variance(0.5408, 1.0, 0.1).unwrap();
    close(settled(scaled, [0.7, 0.1, 1.0], 80) / want, 1.0, FIVE);
}

#[test]
fn hot_chains_cool_to_the_temperature_at_the_end_of_their_schedule() {
    let schedule = Schedule::linear(3.0);
    let annealing = Annealing { reg: Reg::Entropy, schedule };
    let config = LangevinConfig { step_size: 0.2, steps: 100, annealing };
    let mut noise = Seed::new(5).host_noise();
    let start = (normal("start", &[20_000, 1]) * 3.0).unwrap();
    let end = values(&langevin(|x| Ok(x.neg()?), &config, &start, &mut noise).unwrap());
    let variance = end.iter().map(|x| x * x).sum::<f64>() / end.len() as f64;
    // Twenty steps at beta = 1 leave less than 0.0002 of the excess.
    close(variance, euler_variance(1.0, 1.0, 0.2).unwrap(), FIVE);
}

#[test]
fn a_trained_denoiser_regresses_to_the_closed_form() {
    let (m, s, sigma) = (0.5, 1.0, 0.7);
    let config = DenoiserConfig { features: 1, hidden: vec![32], batch_norm: false };
    let mut model = ScoreModel::new(&config, sigma, Seed::new(1), &Device::Cpu).unwrap();
    let mut noise = Seed::new(2).host_noise();
    for (updates, rows, rate) in [(1000, 512, 1e-2), (500, 512, 1e-3), (1000, 4096, 1e-4)] {
        for _ in 0..updates {
            let x = noise.normal(&(rows, 1).into(), DType::F32, &Device::Cpu).unwrap();
            model.update(&x.affine(s, m).unwrap(), rate, &mut noise).unwrap();
        }
    }
    // Linear regression over the smoothed density.
    let total: f64 = s * s + sigma * sigma;
    let y = normal("probe", &[4000, 1]).affine(total.sqrt(), m).unwrap();
    let y = y.to_dtype(DType::F32).unwrap();
    let fit = |out: &[f64]| {
        let y = values(&y);
        let n = y.len() as f64;
        let [my, mo] = [y.iter().sum::<f64>() / n, out.iter().sum::<f64>() / n];
        let cov: f64 = y.iter().zip(out).map(|(y, o)| (y - my) * (o - mo)).sum();
        let slope = cov / y.iter().map(|y| (y - my) * (y - my)).sum::<f64>();
        [slope, mo - slope * my]
    };
    let [slope, offset] = fit(&values(&model.denoise(&y).unwrap()));
    close(slope, s * s / total, 0.02 * s * s / total);
    close(offset, sigma * sigma * m / total, 0.02 * sigma * sigma * m / total);
    let [slope, _] = fit(&values(&model.score(&y).unwrap()));
    close(slope, -1.0 / total, 0.02 / total);
    assert!((slope + 1.0 / (s * s)).abs() > 0.2, "not the score of the data themselves");
    assert!(model.residual(&y).unwrap().dims() == y.dims());
}

#[test]
fn a_lost_chain_and_a_denoiser_of_interacting_rows_are_errors() {
    let config = LangevinConfig { steps: 3, ..LangevinConfig::figure_2() };
    let start = Tensor::zeros((2, 1), DType::F32, &Device::Cpu).unwrap();
    let mut noise = Seed::new(0).host_noise();
    let lost = langevin(|x| Ok((x * f64::NAN)?), &config, &start, &mut noise);
    assert!(lost.unwrap_err().to_string().contains("position of a chain"));
    let joint = DenoiserConfig { features: 2, hidden: vec![4], batch_norm: true };
    assert!(ScoreModel::new(&joint, 0.2, Seed::new(0), &Device::Cpu).is_err());
    assert!(
        ScoreModel::new(&DenoiserConfig::plane(vec![4]), 0.0, Seed::new(0), &Device::Cpu).is_err()
    );
    let bad = LangevinConfig { step_size: 0.0, ..config };
    assert!(langevin(|x| Ok(x.clone()), &bad, &start, &mut noise).is_err());
}
