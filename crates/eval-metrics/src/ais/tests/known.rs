//! Estimates of likelihoods that have a closed form.

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Result, Seed, dist::DiagGaussian};

use super::{LOG_LIKELIHOOD, Linear, VARIANCE, X, exact, linear, row, rows, short};
use crate::{
    Ais, AisAdaptation, AisSchedule, AisSettings, Decoder, DecoderModel, Observation, ais,
    ais::{
        chains::{Direction, Problem},
        noise::ChainNoise,
    },
    golden::{array as golden, assert_close},
    log_sum_exp::log_mean_exp,
};

/// The estimate of the only row is within three standard errors.
#[track_caller]
fn assert_estimate(found: &Ais, want: f64) {
    let point = found.points[0];
    let error = point.std_error.unwrap();
    assert!((point.log_likelihood - want).abs() < 3.0 * error, "{want} {point:?}");
}

#[test]
fn the_exact_likelihood_is_that_of_the_golden_values() {
    assert_close(exact(&X), LOG_LIKELIHOOD, 1e-14);
}

#[test]
fn a_linear_decoder_has_its_exact_likelihood() -> Result<()> {
    let schedules = [AisSchedule::Sigmoid { rad: 4.0 }, AisSchedule::Linear];
    for (seed, schedule) in [(1, schedules[0]), (2, schedules[1]), (3, schedules[0])] {
        let settings = AisSettings { steps: 200, schedule, step_size: 0.1, ..short(100, seed) };
        let found = ais(&linear(), &row(&X), None, &settings)?;
        assert_estimate(&found, LOG_LIKELIHOOD);
        // Better than importance sampling, which has 3 of 100 chains left.
        assert!(found.mean_ess > 50.0 && found.acceptance.unwrap() > 0.5, "{found:?}");
        assert_eq!((found.non_finite, found.n, found.latent_width), (0, 1, 2));
        assert_eq!((found.settings, found.proposal), (settings, false));
    }
    Ok(())
}

#[test]
fn several_rows_have_their_own_likelihoods() -> Result<()> {
    let data = golden(11, 6, 3) * 4.0 - 2.0;
    let found = ais(&linear(), &rows(&data), None, &short(200, 4))?;
    let mut sum = 0.0;
    for (point, x) in found.points.iter().zip(data.outer_iter()) {
        let want = exact(x.as_slice().unwrap());
        assert!((point.log_likelihood - want).abs() < 3.0 * point.std_error.unwrap(), "{point:?}");
        sum += want / 6.0;
    }
    assert!((found.mean - sum).abs() < 3.0 * found.chain_std_error.unwrap());
    // Rows differ by more than chains do.
    assert!(found.std_error.unwrap() > 5.0 * found.chain_std_error.unwrap());
    Ok(())
}

#[test]
fn one_step_is_importance_sampling_from_the_prior() -> Result<()> {
    let settings = AisSettings { steps: 1, ..short(50, 5) };
    let found = ais(&linear(), &row(&X), None, &settings)?;
    let mut noise = ChainNoise::new(Seed::new(5).child("forward"), 0..50, 50);
    let z = noise.normal(&(50, 2).into(), DType::F64, &Device::Cpu)?;
    let data = row(&X).broadcast_as((50, 3))?.contiguous()?;
    let weights = linear().log_likelihood(&z, &data)?.to_vec1::<f64>()?;
    assert_close(found.mean, log_mean_exp(&weights), 1e-13);
    // The same weights by the formula.
    let direct = |z: &Vec<f64>| -> f64 {
        let pixel = |i: usize| {
            let mean = super::B[i] + super::W[i][0] * z[0] + super::W[i][1] * z[1];
            let variance = std::f64::consts::TAU * VARIANCE;
            -0.5 * ((X[i] - mean).powi(2) / VARIANCE + variance.ln())
        };
        (0..3).map(pixel).sum()
    };
    for (weight, z) in weights.iter().zip(z.to_vec2::<f64>()?) {
        assert_close(*weight, direct(&z), 1e-13);
    }
    assert_eq!((found.acceptance, found.points[0].acceptance), (None, None));
    Ok(())
}

#[test]
fn chains_that_stop_early_have_the_intermediate_normalisers() -> Result<()> {
    let settings = AisSettings { steps: 60, step_size: 0.2, ..short(400, 6) };
    let (data, model) = (row(&X), linear());
    let problem = Problem::new(&model, &data, None, &settings)?;
    for (last, want) in [
        (0.25, -1.2959023714813849),
        (0.5, -2.0935689392629264),
        (0.75, -2.7250465885044814),
        (1.0, LOG_LIKELIHOOD),
    ] {
        let betas: Vec<f64> = settings.betas()?.iter().map(|beta| beta * last).collect();
        let sizes = problem.step_sizes(&betas)?;
        assert_estimate(&problem.run(Direction::Forward, &betas, &sizes)?, want);
    }
    Ok(())
}

#[test]
fn the_mean_weight_is_unbiased() -> Result<()> {
    // Few and long steps, so that a transition before its weight, or one that keeps another law, shows.
    for (steps, seed) in [(3, 7), (8, 8)] {
        let settings = AisSettings { steps, step_size: 0.4, ..short(10_000, seed) };
        let found = ais(&linear(), &row(&X), None, &settings)?;
        let point = found.points[0];
        // The relative error of the mean weight is the error of its logarithm.
        let ratio = (point.log_likelihood - LOG_LIKELIHOOD).exp();
        assert!((ratio - 1.0).abs() < 3.0 * point.std_error.unwrap(), "{ratio} {point:?}");
        assert!(point.std_error.unwrap() < 0.03, "{point:?}");
    }
    Ok(())
}

#[test]
fn from_the_exact_posterior_every_weight_is_the_likelihood() -> Result<()> {
    // One latent, x = 2 z + noise of variance one: the posterior has variance 1/5 and mean 2 x / 5.
    struct Double;
    impl Decoder for Double {
        fn latent_width(&self) -> usize {
            1
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            Ok((z * 2.0)?)
        }
    }
    let observation = Observation::Gaussian { variance: 1.0 };
    let model = DecoderModel { decoder: &Double, observation };
    let data = Tensor::new(&[[1.3_f64], [-0.4]], &Device::Cpu)?;
    let variance = data.ones_like()?.affine(0.2, 0.0)?;
    let posterior = DiagGaussian::new((&data * 0.4)?, variance)?;
    let found = ais(&model, &data, Some(&posterior), &short(7, 9))?;
    for (point, x) in found.points.iter().zip([1.3, -0.4]) {
        let want = -0.5 * (x * x / 5.0 + (std::f64::consts::TAU * 5.0).ln());
        assert_close(point.log_likelihood, want, 1e-12);
        assert_close(point.ess, 7.0, 1e-10);
    }
    assert!(found.proposal && found.acceptance.unwrap() > 0.5);
    Ok(())
}

#[test]
fn a_proposal_that_is_off_still_leads_to_the_likelihood() -> Result<()> {
    // Near the posterior, too wide in one direction and too narrow in the other.
    let mean = Tensor::new(&[[0.3_f64, 0.1]], &Device::Cpu)?;
    let proposal = DiagGaussian::new(mean, Tensor::new(&[[0.6_f64, 0.08]], &Device::Cpu)?)?;
    let found = ais(&linear(), &row(&X), Some(&proposal), &short(400, 10))?;
    assert_estimate(&found, LOG_LIKELIHOOD);
    let settings = AisSettings { steps: 1, ..short(4000, 10) };
    assert_estimate(&ais(&linear(), &row(&X), Some(&proposal), &settings)?, LOG_LIKELIHOOD);
    Ok(())
}

#[test]
fn online_adaptation_is_near_the_likelihood() -> Result<()> {
    let online = AisAdaptation::Online;
    let settings = AisSettings { steps: 300, adaptation: online, ..short(100, 11) };
    let found = ais(&linear(), &row(&X), None, &settings)?;
    // It is not exactly unbiased; of this size the bias is far below the error.
    assert_estimate(&found, LOG_LIKELIHOOD);
    Ok(())
}

#[test]
fn binary_rows_have_the_likelihood_of_quadrature() -> Result<()> {
    struct Logits;
    const SLOPES: [f64; 4] = [2.0, -1.0, 0.5, 3.0];
    const SHIFTS: [f64; 4] = [0.3, 0.0, -0.8, -1.0];
    impl Decoder for Logits {
        fn latent_width(&self) -> usize {
            1
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            let slopes = Tensor::new(&[SLOPES], z.device())?;
            Ok(z.matmul(&slopes)?.broadcast_add(&Tensor::new(&SHIFTS, z.device())?)?)
        }
    }
    let model = DecoderModel { decoder: &Logits, observation: Observation::Bernoulli };
    let data = [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]];
    let found = ais(&model, &Tensor::new(&data, &Device::Cpu)?, None, &short(300, 12))?;
    for (point, x) in found.points.iter().zip(data) {
        // The trapezoidal rule is exact to rounding for an analytic function that ends this fast.
        let (mut sum, h) = (0.0, 0.01);
        for i in -1200..=1200 {
            let z = f64::from(i) * h;
            let probability = |j: usize| {
                let p = 1.0 / (1.0 + (-SLOPES[j] * z - SHIFTS[j]).exp());
                if x[j] > 0.5 { p } else { 1.0 - p }
            };
            let prior = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
            sum += h * prior * (0..4).map(probability).product::<f64>();
        }
        assert!((point.log_likelihood - sum.ln()).abs() < 3.0 * point.std_error.unwrap());
    }
    Ok(())
}

#[test]
fn the_decoder_is_evaluated_once_a_leapfrog_step() -> Result<()> {
    struct Counting(std::cell::Cell<usize>);
    impl Decoder for Counting {
        fn latent_width(&self) -> usize {
            2
        }
        fn decode(&self, z: &Tensor) -> Result<Tensor> {
            self.0.set(self.0.get() + 1);
            Linear.decode(z)
        }
    }
    let decoder = Counting(std::cell::Cell::new(0));
    let model = DecoderModel { decoder: &decoder, ..linear() };
    let online = AisSettings { adaptation: AisAdaptation::Online, ..short(4, 0) };
    ais(&model, &row(&X), None, &online)?;
    assert_eq!(decoder.0.get(), 1 + 19 * 5);
    Ok(())
}
