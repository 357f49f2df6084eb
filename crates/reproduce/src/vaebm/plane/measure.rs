//! Likelihoods, partition functions and samples.

use candle_core::{DType, Tensor};
use chains_core::{
    Noise, Seed,
    chain::LogWeights,
    density::{Energy, LogDensity, Sample},
    host, noise,
};
use datasets::toys::Gaussians;
use serde::{Deserialize, Serialize};
use vaebm::{
    EnergyModel, NoiseDecoder, NoiseSpace, Potential, SampleStream, importance_weights,
    plane::{Grid, Kernels, PlaneModel, PlaneVae, monte_carlo},
};

use super::{AutoencoderFound, modes::Hits, settings::PlaneSettings};
use crate::error::Result;

/// Rows that pass a network at once.
const ROWS: usize = 4_096;
/// Draws of the posterior at a node of the grid.
const NODE_DRAWS: usize = 100;
/// Kernels of the density of points.
const POINT_KERNELS: usize = 20_000;
/// Cells along a side of a picture of `[-3, 3]^2`.
pub(super) const PICTURE: usize = 120;

/// Points of the truth.
pub(super) struct Points {
    /// All of them, `(n, 2)`.
    pub(super) all: Tensor,
    /// The first of them, on which all likelihoods are.
    pub(super) measured: Tensor,
}

/// Mean and standard error of the mean.
pub(super) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let scatter: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (scatter / (n - 1.0).max(1.0) / n).sqrt())
}

impl Points {
    pub(super) fn draw(settings: &PlaneSettings, seed: Seed) -> Result<Self> {
        let mut noise = seed.child("test").host_noise();
        let all = Gaussians::twenty_five().sample(settings.test_points, &mut noise)?;
        let measured = all.narrow(0, 0, settings.likelihood_points)?.contiguous()?;
        Ok(Self { all, measured })
    }

    /// `ln p` of the truth: of all points, and of those on which likelihoods are.
    pub(super) fn truth(&self) -> Result<[Vec<f64>; 2]> {
        let gaussians = Gaussians::twenty_five();
        let of = |x: &Tensor| host::vector(&gaussians.log_prob(&host::tensor(x)?)?);
        Ok([of(&self.all)?, of(&self.measured)?])
    }
}

/// Estimates of `ln p` of points by `draws` draws of the posterior.
fn log_p(vae: &PlaneVae, x: &Tensor, draws: usize, noise: &mut dyn Noise) -> Result<Vec<f64>> {
    // The posterior rides along with its points, so that they pass the encoder once.
    let [mean, log_scale] = vae.encode(x)?;
    let (dim, latent) = (x.dims()[1], mean.dims()[1]);
    let together = Tensor::cat(&[x, &mean, &log_scale], 1)?;
    let found = importance_weights(&together, draws, ROWS, noise, |rows, noise| {
        let part = |from, width| rows.narrow(1, from, width)?.contiguous();
        let posterior = [part(dim, latent)?, part(dim + latent, latent)?];
        vae.log_weights_at(&part(0, dim)?, &posterior, noise)
    })?;
    Ok(found.iter().map(LogWeights::importance_sampling).collect())
}

pub(super) fn autoencoder(
    settings: &PlaneSettings,
    seed: Seed,
    model: &PlaneModel,
    points: &Points,
) -> Result<AutoencoderFound> {
    let (vae, started) = (model.frozen(), std::time::Instant::now());
    let x = points.measured.to_device(&vae.device())?;
    let seed = seed.child("autoencoder alone");
    let (mut likelihoods, mut last) = (Vec::new(), Vec::new());
    for draws in powers_of_ten(settings.draws) {
        let seed = seed.child("draws").indexed(draws as u64);
        last = log_p(vae, &x, draws, &mut *noise::of_device(seed, &vae.device()))?;
        let (mean, error) = mean_and_error(&last);
        likelihoods.push((draws, mean, error));
    }
    let mut noise = noise::of_device(seed.child("samples"), &vae.device());
    let kernels = vae.kernels(settings.kernels.min(POINT_KERNELS), &mut *noise)?;
    let hits = Hits::of(&draw(vae, settings.samples, &mut *noise)?)?;
    let by_kernels = by_kernels(&kernels, &points.measured)?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(AutoencoderFound { likelihoods, log_p: last, by_kernels, hits, seconds })
}

/// 1, 10, 100, .. below a number, and it.
fn powers_of_ten(most: usize) -> Vec<usize> {
    let mut all: Vec<usize> = std::iter::successors(Some(1_usize), |n| n.checked_mul(10))
        .take_while(|n| *n < most)
        .collect();
    all.push(most);
    all
}

/// Mean log density of points under kernels: each is the only node of a grid of its own.
fn by_kernels(kernels: &Kernels, points: &Tensor) -> Result<f64> {
    const CELL: f64 = 1e-3;
    let mut values = Vec::new();
    for row in super::modes::rows(points)? {
        let grid = Grid::new(row.map(|v| f64::from(v) - 0.5 * CELL), CELL, 1)?;
        values.extend(kernels.density(&grid).iter().map(|p| p.max(f64::MIN_POSITIVE).ln()));
    }
    Ok(mean_and_error(&values).0)
}

/// Samples of the autoencoder, `(n, 2)`.
fn draw(vae: &PlaneVae, n: usize, noise: &mut dyn Noise) -> chains_core::Result<Tensor> {
    Ok(vae.decode(&vae.draw_noise(n, noise)?)?.image.detach())
}

/// The energy of points, many at a time.
pub(super) fn energies(model: &EnergyModel, x: &Tensor) -> Result<Vec<f64>> {
    let (n, mut found) = (x.dims()[0], Vec::new());
    let x = x.to_device(model.store().device())?;
    for at in (0..n).step_by(ROWS) {
        let part = x.narrow(0, at, ROWS.min(n - at))?.contiguous()?;
        found.extend(host::vector(&model.frozen().energy(&part)?)?);
    }
    Ok(found)
}

/// `ln Z` in three ways, nats.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Partitions {
    /// Over samples of the autoencoder, and its standard error.
    pub(super) monte_carlo: (f64, f64),
    /// On a grid, the density by kernels at draws of the prior; with its integral.
    pub(super) kernels: (f64, f64),
    /// On a grid of twice the step, the density by draws of the posterior; with its integral.
    pub(super) posterior: (f64, f64),
    /// Share of samples of the autoencoder that count for the product.
    pub(super) effective: f64,
}

type Pictures = [Vec<f32>; 2];

pub(super) fn partitions(
    settings: &PlaneSettings,
    seed: Seed,
    vae: &PlaneVae,
    model: &EnergyModel,
) -> Result<(Partitions, Pictures)> {
    let device = vae.device();
    let mut noise = noise::of_device(seed.child("partition"), &device);
    let sampled = monte_carlo(model.frozen(), settings.partition_samples, ROWS, |n| {
        draw(vae, n, &mut *noise)
    })?;
    let mut noise = noise::of_device(seed.child("grid"), &device);
    let around = draw(vae, settings.samples, &mut *noise)?;
    let margin = 6.0 * settings.grid_step.max(0.1);
    let grid = Grid::around(&around, margin, settings.grid_step)?;
    let kernels = vae.kernels(settings.kernels, &mut *noise)?;
    let at_nodes = grid.energies(model.frozen(), DType::F32, &device)?;
    let by_kernels = grid.partition(&kernels.density(&grid), &at_nodes)?;
    let coarse = Grid::around(&around, margin, 2.0 * settings.grid_step)?;
    let nodes = coarse.points()?.to_dtype(DType::F32)?.to_device(&device)?;
    let density: Vec<f64> =
        log_p(vae, &nodes, NODE_DRAWS, &mut *noise)?.into_iter().map(f64::exp).collect();
    let at_nodes = coarse.energies(model.frozen(), DType::F32, &device)?;
    let by_posterior = coarse.partition(&density, &at_nodes)?;
    let n = sampled.samples as f64;
    let found = Partitions {
        monte_carlo: (sampled.log_partition, sampled.std_error),
        kernels: (by_kernels.log_partition, by_kernels.mass),
        posterior: (by_posterior.log_partition, by_posterior.mass),
        effective: 1.0 / (1.0 + n * sampled.std_error * sampled.std_error),
    };
    Ok((found, pictures(&kernels, model)?))
}

/// Product and autoencoder on `[-3, 3]^2`, each with its largest value as one; rows run downwards.
fn pictures(kernels: &Kernels, model: &EnergyModel) -> Result<Pictures> {
    let grid = Grid::new([-3.0, -3.0], 6.0, PICTURE)?;
    let energies = grid.energies(model.frozen(), DType::F32, model.store().device())?;
    let alone = kernels.density(&grid);
    let least = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let product: Vec<f64> =
        alone.iter().zip(energies).map(|(p, energy)| p * (least - energy).exp()).collect();
    Ok([picture(&product), picture(&alone)])
}

/// Nodes, whose second coordinate varies fastest, as an image with that coordinate upwards.
pub(super) fn picture(values: &[f64]) -> Vec<f32> {
    let top = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let at = |row: usize, column: usize| values[column * PICTURE + PICTURE - 1 - row];
    let pixels = (0..PICTURE * PICTURE).map(|i| at(i / PICTURE, i % PICTURE) / top);
    pixels.map(|v| v as f32).collect()
}

/// Samples of the product by chains from fresh noise.
pub(super) fn chained(
    settings: &PlaneSettings,
    seed: Seed,
    vae: &PlaneVae,
    model: &EnergyModel,
) -> Result<Hits> {
    let space = NoiseSpace::new(vae, model.frozen(), Potential::Paper);
    let chains = settings.training().test_chains();
    let batch = settings.samples.min(2_500);
    let stream = SampleStream::new(&space, chains, settings.samples, batch, seed.child("chains"))?;
    let ends: Vec<Tensor> =
        stream.map(|ended| Ok(ended?.decoded.image)).collect::<chains_core::Result<_>>()?;
    Hits::of(&Tensor::cat(&ends, 0)?)
}

/// Samples of the product without chains: of twenty times as many samples of the autoencoder, drawn
/// again by their weights with evenly spaced uniforms.
pub(super) fn resampled(
    settings: &PlaneSettings,
    seed: Seed,
    vae: &PlaneVae,
    model: &EnergyModel,
) -> Result<Hits> {
    let mut noise = seed.child("resample").host_noise();
    let n = settings.samples;
    let x = draw(vae, 20 * n, &mut noise)?;
    let energies = energies(model, &x)?;
    let least = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> = energies.iter().map(|energy| (least - energy).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut uniform = [0.0_f32];
    noise.fill_uniform(&mut uniform);
    let (mut chosen, mut passed) = (Vec::with_capacity(n), 0.0);
    for (row, weight) in weights.iter().enumerate() {
        passed += weight * n as f64 / total;
        while chosen.len() < n && (chosen.len() as f64 + f64::from(uniform[0])) < passed {
            chosen.push(row as u32);
        }
    }
    let rows = Tensor::new(chosen.as_slice(), x.device())?;
    Hits::of(&shuffled(&x.index_select(&rows, 0)?, &mut noise)?)
}

/// Rows in a random order, as the first are shown.
fn shuffled(x: &Tensor, noise: &mut chains_core::HostNoise) -> Result<Tensor> {
    let mut keys = vec![0.0_f32; x.dims()[0]];
    noise.fill_uniform(&mut keys);
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.sort_by(|a, b| keys[*a as usize].total_cmp(&keys[*b as usize]));
    Ok(x.index_select(&Tensor::new(order.as_slice(), x.device())?, 0)?)
}
