//! Decoders whose likelihood is known.

mod agreement;
mod bdmc;
mod input;
mod known;
mod path;

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, Seed};
use ndarray::Array2;

use super::{AisSettings, Decoder, DecoderModel, Observation};

/// `W z + b` of three columns and two latents, as in the golden values of lower bounds.
struct Linear;

const W: [[f64; 2]; 3] = [[1.0, 0.5], [-0.3, 0.8], [0.2, -0.7]];
const B: [f64; 3] = [0.1, -0.2, 0.3];
const VARIANCE: f64 = 0.25;
/// The row of the golden values, and its log likelihood.
const X: [f64; 3] = [0.7, -0.4, 1.1];
const LOG_LIKELIHOOD: f64 = -3.2732163261517155;

impl Decoder for Linear {
    fn latent_width(&self) -> usize {
        2
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let like = |t: Tensor| t.to_dtype(z.dtype());
        let (w, b) = (like(Tensor::new(&W, z.device())?)?, like(Tensor::new(&B, z.device())?)?);
        Ok(z.matmul(&w.t()?)?.broadcast_add(&b)?)
    }
}

fn linear() -> DecoderModel<'static> {
    DecoderModel { decoder: &Linear, observation: Observation::Gaussian { variance: VARIANCE } }
}

/// `log N(x; b, W W^T + variance I)` by the triangular root of the covariance.
fn exact(x: &[f64]) -> f64 {
    let mut root = [[0.0_f64; 3]; 3];
    let (mut solved, mut total) = ([0.0; 3], -1.5 * std::f64::consts::TAU.ln());
    for i in 0..3 {
        for j in 0..=i {
            let noise = if i == j { VARIANCE } else { 0.0 };
            let covariance = W[i][0] * W[j][0] + W[i][1] * W[j][1] + noise;
            let rest = covariance - (0..j).map(|k| root[i][k] * root[j][k]).sum::<f64>();
            root[i][j] = if i == j { rest.sqrt() } else { rest / root[j][j] };
        }
        let rest = x[i] - B[i] - (0..i).map(|k| root[i][k] * solved[k]).sum::<f64>();
        solved[i] = rest / root[i][i];
        total -= 0.5 * solved[i] * solved[i] + root[i][i].ln();
    }
    total
}

fn row(x: &[f64]) -> Tensor {
    Tensor::new(x, &Device::Cpu).unwrap().reshape((1, x.len())).unwrap()
}

fn rows(x: &Array2<f64>) -> Tensor {
    let values = x.iter().copied().collect::<Vec<_>>();
    Tensor::from_vec(values, x.dim(), &Device::Cpu).unwrap()
}

/// Few steps that move: 20 inverse temperatures, 5 leapfrog steps of 0.3 at first.
fn short(chains: usize, seed: u64) -> AisSettings {
    let (steps, leapfrog_steps, step_size) = (20, 5, 0.3);
    AisSettings { steps, chains, leapfrog_steps, step_size, seed, ..AisSettings::published() }
}

fn simulated(n: usize, seed: u64) -> Result<super::Simulated> {
    let mut noise = Seed::new(seed).child("simulated").host_noise();
    linear().simulate(n, (DType::F64, &Device::Cpu), &mut noise)
}
