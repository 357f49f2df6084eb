//! Learning an energy whose optimum is known.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use chains_core::{Noise, ParamStore, Result, Seed, density::Energy, optim::AdamConfig};
use vaebm::{
    ChainConfig, EnergyNetwork, EnergyTrainConfig, NoiseDecoder, ReplayConfig,
    energy::EnergyPair,
    train::{EnergyState, NegativeBatch, contrastive_update, update_energy},
};

use crate::decoders::{Linear, moments, tensor, values};

/// `x^T A x / 2 - b^T x` with every entry free, `A` by three numbers.
#[derive(Clone)]
struct Free {
    a: Tensor,
    b: Tensor,
}

impl Free {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let a = vb.get_with_hints(3, "a", Init::Const(0.0))?;
        Ok(Self { a, b: vb.get_with_hints(2, "b", Init::Const(0.0))? })
    }
}

impl Energy for Free {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let (first, second) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
        let squares = [(first.sqr()? * 0.5)?, first.mul(&second)?, (second.sqr()? * 0.5)?];
        let squares = Tensor::cat(&squares, 1)?.broadcast_mul(&self.a)?.sum(1)?;
        Ok((squares - x.broadcast_mul(&self.b)?.sum(1)?)?)
    }
}

impl EnergyNetwork for Free {
    fn normalised(&self) -> Result<Self> {
        Ok(self.clone())
    }
}

type Matrix = [[f64; 2]; 2];

fn inverse([[a, b], [c, d]]: Matrix) -> Matrix {
    let det = a * d - b * c;
    [[d / det, -b / det], [-c / det, a / det]]
}

/// `C = W W^T + s^2 I` of [`Linear`].
const PRIOR: Matrix = [[1.09, 0.5], [0.5, 0.34]];
const PRIOR_MEAN: [f64; 2] = [0.2, -0.1];
/// The law of the data: that of the model at the truth.
const COVARIANCE: Matrix = [[0.305_952, 0.123_365], [0.123_365, 0.154_585]];
const MEAN: [f64; 2] = [0.256_553, -0.114_940];
/// `A` as (xx, xy, yy) and `b = A m`.
const TRUTH: [f64; 5] = [2.0, 0.3, 0.5, 0.7, -0.35];

/// Rows of a Gaussian.
fn gaussian(n: usize, mean: [f64; 2], [[a, b], [_, d]]: Matrix, noise: &mut dyn Noise) -> Tensor {
    let l = a.sqrt();
    let m = b / l;
    let factor = tensor([[l, m], [0.0, (d - m * m).sqrt()]]);
    let e = noise.normal(&(n, 2).into(), DType::F64, &Device::Cpu).unwrap();
    e.matmul(&factor).unwrap().broadcast_add(&tensor([mean])).unwrap()
}

/// The law of the model at an energy, in closed form.
fn model_law(parameters: &[f64]) -> ([f64; 2], Matrix) {
    let [[p, q], [_, r]] = inverse(PRIOR);
    let [a, b, c, u, v] = parameters.try_into().unwrap();
    let covariance = inverse([[p + a, q + b], [q + b, r + c]]);
    let pull =
        [p * PRIOR_MEAN[0] + q * PRIOR_MEAN[1] + u, q * PRIOR_MEAN[0] + r * PRIOR_MEAN[1] + v];
    let [[x, y], [_, z]] = covariance;
    ([x * pull[0] + y * pull[1], y * pull[0] + z * pull[1]], covariance)
}

/// Where the likelihood of data with these moments is highest.
fn optimum(data: &Tensor) -> [f64; 5] {
    let n = data.dims()[0] as f64;
    let (mean, covariance) = moments(data);
    let biased = |i: usize, j: usize| covariance[i][j] * (n - 1.0) / n;
    let [[a, b], [_, c]] = inverse([[biased(0, 0), biased(0, 1)], [biased(1, 0), biased(1, 1)]]);
    let [[p, q], [_, r]] = inverse(PRIOR);
    let (d, e) = (PRIOR_MEAN[0], PRIOR_MEAN[1]);
    let pulls =
        [a * mean[0] + b * mean[1] - p * d - q * e, b * mean[0] + c * mean[1] - q * d - r * e];
    [a - p, b - q, c - r, pulls[0], pulls[1]]
}

fn parameters(store: &ParamStore) -> Vec<f64> {
    ["a", "b"].iter().flat_map(|name| values(store.get(name).unwrap().as_tensor())).collect()
}

fn config(rate: f64) -> EnergyTrainConfig {
    EnergyTrainConfig {
        learning_rate: rate,
        adam: AdamConfig::standard(),
        ..EnergyTrainConfig::plane()
    }
}

fn pair() -> EnergyPair<Free> {
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    EnergyPair::new(store, |vb| Free::new(vb)).unwrap()
}

/// Standard errors of the optimum's five numbers times the root of the number of data: of a precision
/// `P` entry `ij` is known to `sqrt((P_ii P_jj + P_ij^2) / n)`.
const ERRORS: [f64; 5] = [6.8, 7.8, 13.5, 3.5, 4.7];

#[test]
fn exact_negatives_lead_to_the_maximum_of_the_likelihood() -> Result<()> {
    let (mut noise, n) = (Seed::new(1).host_noise(), 5000);
    let data = gaussian(n, MEAN, COVARIANCE, &mut noise);
    let model = pair();
    let mut state = EnergyState::new(&config(0.1), &Linear.noise_shapes())?;
    let mut tail = vec![0.0; 5];
    for update in 0..500 {
        let rate = if update < 200 { 0.1 } else { 0.01 };
        let (mean, covariance) = model_law(&parameters(model.store()));
        let x = gaussian(n, mean, covariance, &mut noise);
        let batch = NegativeBatch { x: &x, weights: None };
        contrastive_update(&model, &mut state, &config(rate), &data, batch)?;
        if update >= 300 {
            let now = parameters(model.store());
            tail.iter_mut().zip(now).for_each(|(sum, p)| *sum += p / 200.0);
        }
    }
    let (root, averaged) = ((n as f64).sqrt(), (200.0 * n as f64).sqrt());
    for (i, best) in optimum(&data).into_iter().enumerate() {
        assert!((tail[i] - best).abs() < 5.0 * ERRORS[i] / averaged + 0.02, "{tail:?} {best}");
        assert!((tail[i] - TRUTH[i]).abs() < 5.0 * ERRORS[i] / root, "{tail:?} {TRUTH:?}");
    }
    Ok(())
}

/// Mean and covariance of points after chains of a quadratic energy, by the recursion of the linear
/// update: `m' = (I - eta L / 2) m - eta g / 2`, `P' = (I - eta L / 2) P (I - eta L / 2) + eta I`.
fn chain_law(parameters: &[f64], chains: ChainConfig) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let [a, b, c, u, v] = parameters.try_into().unwrap();
    // x = J e + b, J = [W, s I].
    let jacobian = tensor([[1.0, Linear::SCALE, 0.0], [0.5, 0.0, Linear::SCALE]]);
    let matrix = tensor([[a, b], [b, c]]);
    let one = tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    let (offset, pull) = (tensor([PRIOR_MEAN]).t()?, tensor([[u], [v]]));
    let back = jacobian.t()?.contiguous()?;
    let precision = (&one + back.matmul(&matrix.matmul(&jacobian)?)?)?;
    let force = back.matmul(&(matrix.matmul(&offset.contiguous()?)? - pull)?)?;
    let half = 0.5 * chains.step_size;
    let step = (&one - (precision * half)?)?;
    let (mut mean, mut covariance) = (tensor([[0.0]; 3]), one.clone());
    for _ in 0..chains.steps {
        mean = (step.matmul(&mean)? - (&force * half)?)?;
        let moved = step.matmul(&covariance)?.matmul(&step)?;
        covariance = (moved + (&one * chains.step_size)?)?;
    }
    let mean = (jacobian.matmul(&mean)? + offset)?;
    Ok((values(&mean), jacobian.matmul(&covariance)?.matmul(&back)?.to_vec2()?))
}

#[test]
fn langevin_chains_lead_to_where_their_own_law_has_the_moments_of_the_data() -> Result<()> {
    let (mut noise, n) = (Seed::new(2).host_noise(), 1000);
    let data = gaussian(n, MEAN, COVARIANCE, &mut noise);
    let chains = ChainConfig { steps: 80, step_size: 0.05 };
    let settings = EnergyTrainConfig { chains, replay: None, ..config(0.1) };
    let model = pair();
    let mut state = EnergyState::new(&settings, &Linear.noise_shapes())?;
    let mut tail = vec![0.0; 5];
    for update in 0..250 {
        let rate = if update < 120 { 0.1 } else { 0.01 };
        let settings = EnergyTrainConfig { learning_rate: rate, ..settings.clone() };
        let terms = update_energy(&model, &Linear, &mut state, &settings, &data, &mut noise)?;
        assert_eq!(terms.replayed, 0);
        if update >= 150 {
            let now = parameters(model.store());
            tail.iter_mut().zip(now).for_each(|(sum, p)| *sum += p / 100.0);
        }
    }
    let ((mean, covariance), (data_mean, data_covariance)) =
        (chain_law(&tail, chains)?, moments(&data));
    // A hundred updates of a thousand chains, of which a fifth counts: the ends are correlated with
    // the parameters.
    let averaged = (20.0 * n as f64).sqrt();
    for i in 0..2 {
        let error = covariance[i][i].sqrt() / averaged;
        assert!((mean[i] - data_mean[i]).abs() < 4.0 * error, "{mean:?} {data_mean:?}");
        for j in 0..2 {
            let c = covariance[i][j];
            let error = (covariance[i][i] * covariance[j][j] + c * c).sqrt() / averaged;
            let got = data_covariance[i][j];
            assert!((got - c).abs() < 4.0 * error, "{covariance:?} {data_covariance:?}");
        }
    }
    // The bias of the step is small beside the data's own error.
    let root = (n as f64).sqrt();
    for (i, truth) in TRUTH.into_iter().enumerate() {
        assert!((tail[i] - truth).abs() < 5.0 * ERRORS[i] / root, "{tail:?} {TRUTH:?}");
    }
    Ok(())
}

#[test]
fn chains_of_an_update_begin_in_the_buffer_and_go_back_there() -> Result<()> {
    let mut noise = Seed::new(4).host_noise();
    let data = gaussian(30, MEAN, COVARIANCE, &mut noise);
    let settings = EnergyTrainConfig {
        replay: Some(ReplayConfig { capacity: 40, probability: 1.0, ramp: 2, pixels: false }),
        ..config(0.05)
    };
    let model = pair();
    let mut state = EnergyState::new(&settings, &Linear.noise_shapes())?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let terms = update_energy(&model, &Linear, &mut state, &settings, &data, &mut noise)?;
        seen.push((terms.replayed, state.buffer.as_ref().unwrap().len()));
    }
    assert_eq!((seen[0], seen[2], seen[3]), ((0, 30), (30, 40), (30, 40)));
    // Half of them on average: between 5 and 25 but once in 10,000.
    assert!((5..=25).contains(&seen[1].0), "{seen:?}");
    Ok(())
}

#[test]
fn weights_of_negatives_are_those_of_their_mean() -> Result<()> {
    let mut noise = Seed::new(3).host_noise();
    let data = gaussian(50, MEAN, COVARIANCE, &mut noise);
    let x = gaussian(4, MEAN, COVARIANCE, &mut noise);
    let doubled = Tensor::cat(&[&x, &x.narrow(0, 0, 1)?], 0)?;
    let weights = Tensor::new(&[0.4, 0.2, 0.2, 0.2], &Device::Cpu)?;
    let run = |batch| -> Result<Vec<f64>> {
        let model = pair();
        let mut state = EnergyState::new(&config(0.1), &Linear.noise_shapes())?;
        contrastive_update(&model, &mut state, &config(0.1), &data, batch)?;
        let moments = state.adam.tensors();
        Ok(moments.iter().flat_map(|(_, moment)| values(moment)).collect())
    };
    let weighted = run(NegativeBatch { x: &x, weights: Some(&weights) })?;
    let repeated = run(NegativeBatch { x: &doubled, weights: None })?;
    assert!(weighted.iter().zip(&repeated).all(|(a, b)| (a - b).abs() < 1e-14));
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_moves_nothing() -> Result<()> {
    let model = pair();
    let mut state = EnergyState::new(&config(0.1), &Linear.noise_shapes())?;
    let (data, bad) = (tensor([[0.0, 1.0]]), tensor([[f64::NAN, 1.0]]));
    let batch = NegativeBatch { x: &bad, weights: None };
    let error = contrastive_update(&model, &mut state, &config(0.1), &data, batch).unwrap_err();
    assert!(error.is_recoverable(), "{error}");
    assert_eq!(parameters(model.store()), [0.0; 5]);
    assert_eq!((state.update, state.adam.steps()), (0, 0));
    Ok(())
}
