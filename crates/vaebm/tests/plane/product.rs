//! Both stages on two Gaussians: the product is measured by its exact likelihood.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise, Result, Seed,
    density::Energy,
    optim::{Adam, AdamConfig},
};
use vaebm::{
    ChainConfig, EnergyConfig, EnergyModel, EnergyTrainConfig, JointNoise, NoiseDecoder,
    NoiseSpace, Potential, ReplayConfig, importance_weights,
    plane::{Grid, GridPartition, PlaneConfig, PlaneModel, monte_carlo, update_plane},
    run_chains,
    train::{EnergyState, contrastive_update, importance_negatives, update_energy},
};

use crate::{noise, values};

const SIGMA: f64 = 0.2;

/// Rows around (-1, 0) and (1, 0).
fn data(n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
    let side = noise.uniform(&(n, 1).into(), DType::F32, &Device::Cpu)?.lt(0.5)?;
    let side = side.to_dtype(DType::F32)?.affine(2.0, -1.0)?;
    let centre = Tensor::cat(&[&side, &side.zeros_like()?], 1)?;
    let e = noise.normal(&(n, 2).into(), DType::F32, &Device::Cpu)?;
    Ok((centre + (e * SIGMA)?)?)
}

fn truth(x: &[f64]) -> f64 {
    let part =
        |centre: f64| (-0.5 * ((x[0] - centre).powi(2) + x[1].powi(2)) / (SIGMA * SIGMA)).exp();
    (0.5 * (part(-1.0) + part(1.0)) / (2.0 * std::f64::consts::PI * SIGMA * SIGMA)).ln()
}

fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    sum / n
}

/// An autoencoder that smears, as its training stops early.
fn autoencoder() -> Result<PlaneModel> {
    let config = PlaneConfig { dim: 2, latent: 2, hidden: vec![32, 32], scale_floor: 0.3 };
    let model = PlaneModel::new(&config, Seed::new(1), DType::F32, &Device::Cpu)?;
    let (mut adam, mut noise) = (Adam::new(AdamConfig::standard()), noise("first stage"));
    for _ in 0..300 {
        update_plane(&model, &mut adam, 3e-3, &data(256, &mut noise)?, &mut noise)?;
    }
    Ok(model)
}

fn energy() -> Result<EnergyModel> {
    let config = EnergyConfig::Mlp { dim: 2, hidden: vec![32, 32] };
    EnergyModel::new(config, Seed::new(2), &Device::Cpu)
}

/// Partition function on a grid, checked against samples.
fn partition(vae: &PlaneModel, model: &EnergyModel) -> Result<GridPartition> {
    let mut noise = noise("partition");
    let kernels = vae.frozen().kernels(20_000, &mut noise)?;
    let grid = Grid::new([-5.0, -5.0], 10.0, 100)?;
    let energies = grid.energies(model.frozen(), DType::F32, &Device::Cpu)?;
    let found = grid.partition(&kernels.density(&grid), &energies)?;
    let sampled = monte_carlo(model.frozen(), 200_000, 20_000, |n| {
        let start = vae.frozen().draw_noise(n, &mut noise)?;
        Ok(vae.frozen().decode(&start)?.image)
    })?;
    // Centres of the kernels are a sample themselves, ten times smaller.
    let error = sampled.std_error * 11.0_f64.sqrt();
    assert!((found.mass - 1.0).abs() < 0.01, "{found:?}");
    assert!(
        (found.log_partition - sampled.log_partition).abs() < 4.0 * error,
        "{found:?} {sampled:?}"
    );
    Ok(found)
}

/// Mean log-likelihoods of truth, autoencoder and product on test points.
fn likelihoods(vae: &PlaneModel, model: &EnergyModel) -> Result<[f64; 3]> {
    let mut noise = noise("test points");
    let x = data(2000, &mut noise)?;
    let found = importance_weights(&x, 200, 20_000, &mut noise, |x, noise| {
        vae.frozen().log_weights(x, noise)
    })?;
    let log_p = average(found.iter().map(|weights| weights.importance_sampling()));
    let product = log_p
        - average(values(&model.frozen().energy(&x)?).into_iter())
        - partition(vae, model)?.log_partition;
    Ok([average(values(&x).chunks(2).map(truth)), log_p, product])
}

#[test]
fn the_control_brings_the_product_near_the_truth_and_not_beyond() -> Result<()> {
    let (vae, model, mut noise) = (autoencoder()?, energy()?, noise("control"));
    let config =
        EnergyTrainConfig { learning_rate: 3e-3, replay: None, ..EnergyTrainConfig::plane() };
    let mut state = EnergyState::new(&config, &vae.frozen().noise_shapes())?;
    for _ in 0..400 {
        let x = data(256, &mut noise)?;
        let drawn = importance_negatives(vae.frozen(), model.frozen(), 1024, &mut noise)?;
        contrastive_update(&model, &mut state, &config, &x, drawn.negatives())?;
    }
    let [truth, alone, product] = likelihoods(&vae, &model)?;
    assert!(product > alone + 0.2, "{truth} {alone} {product}");
    // On 2,000 points the difference to the truth is known to a few hundredths.
    assert!(product < truth + 0.03, "{truth} {alone} {product}");
    Ok(())
}

#[test]
fn langevin_chains_improve_the_product_as_well() -> Result<()> {
    let (vae, model, mut noise) = (autoencoder()?, energy()?, noise("chains"));
    let config = EnergyTrainConfig {
        learning_rate: 3e-3,
        chains: ChainConfig { steps: 20, step_size: 0.02 },
        replay: Some(ReplayConfig { capacity: 2000, probability: 0.9, ramp: 50, pixels: false }),
        ..EnergyTrainConfig::plane()
    };
    let mut state = EnergyState::new(&config, &vae.frozen().noise_shapes())?;
    for _ in 0..300 {
        let x = data(256, &mut noise)?;
        update_energy(&model, vae.frozen(), &mut state, &config, &x, &mut noise)?;
    }
    let [truth, alone, product] = likelihoods(&vae, &model)?;
    assert!(product > alone + 0.1 && product < truth + 0.03, "{truth} {alone} {product}");
    // Long chains from fresh noise lie where data do.
    let space = NoiseSpace::new(vae.frozen(), model.frozen(), Potential::Paper);
    let near = |image: &Tensor| {
        let rows = values(image);
        average(rows.chunks(2).map(|x| {
            let reach = ((x[0].abs() - 1.0).powi(2) + x[1].powi(2)).sqrt();
            f64::from(u8::from(reach < 3.0 * SIGMA))
        }))
    };
    let start = vae.frozen().draw_noise(2000, &mut noise)?;
    let chains = ChainConfig { steps: 300, step_size: 0.02 };
    let ended = run_chains(&space, &chains, &start, &mut noise, |_, _: &JointNoise| Ok(()))?;
    let before = near(&vae.frozen().decode(&start)?.image);
    let after = near(&ended.decoded.image);
    assert!(after > before + 0.05, "{before} {after}");
    Ok(())
}
