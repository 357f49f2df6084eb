//! W09 and W10: chains of VAEBM and an update of its autoencoder.

use candle_core::Tensor;
use chains_core::{
    Seed,
    chain::{StepSchedule, chain},
    mcmc::Langevin,
};
use datasets::{Mnist, dequantise, find_mnist};
use vaebm::{
    ConvEnergyConfig, EnergyConfig, EnergyModel, EnergyNetwork, JointNoise, NoiseDecoder,
    NoiseSpace, NvaeConfig, NvaeModel, NvaeTrainConfig, Potential,
    train::{NvaeTrainState, update_vae},
};

use super::{Bed, Workload};
use crate::{data::usage, error::Result};

/// Images of a chain's batch, and steps.
const CHAINS: [usize; 2] = [8, 10];
/// Multiply-adds of an image: the decoder of the small coloured autoencoder (to four places), the energy
/// of CIFAR-10.
const CHAIN: [f64; 2] = [16_310_000.0, 806_748_416.0];
/// Images of an update.
const BATCH: usize = 32;
/// Multiply-adds of an image in the small autoencoder, and in its first layer; parameters.
const NVAE: [f64; 3] = [28_260_000.0, 73_728.0, 1_860_000.0];

pub(super) fn workloads() -> Vec<Workload> {
    let [images, steps] = CHAINS;
    let [forward, first, parameters] = NVAE;
    let update = BATCH as f64 * (3.0 * forward - first) + 10.0 * parameters;
    vec![
        Workload {
            id: "W09",
            title: "vaebm-energy-langevin: 10 steps, batch 8",
            // Forward, and the gradient in the noise.
            gflop: Some(4e-9 * (images * steps) as f64 * CHAIN.iter().sum::<f64>()),
            repeats: 5,
            host: false,
            build: |bed| {
                let mut chains = chains(bed)?;
                Ok(Box::new(move || chains().map(drop)))
            },
        },
        Workload {
            id: "W10",
            title: "vaebm-nvae-train: 1 update, batch 32",
            gflop: Some(2e-9 * update),
            repeats: 15,
            host: false,
            build: |bed| {
                let mut update = updates(bed)?;
                Ok(Box::new(move || update().map(drop)))
            },
        },
    ]
}

/// Ten Langevin steps from fresh noise through frozen networks, with the mean position at the end.
pub(super) fn chains(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let [images, steps] = CHAINS;
    let model = NvaeModel::new(&NvaeConfig::small_stacked_mnist(), Seed::new(0), &bed.device)?;
    let energy = EnergyConfig::Convolutional(ConvEnergyConfig::cifar10());
    let energy = EnergyModel::new(energy, Seed::new(0), &bed.device)?;
    let network = energy.frozen().normalised()?;
    let space = NoiseSpace::new(model.decoder()?, network, Potential::Paper);
    let mut noise = bed.noise("chains");
    Ok(move || {
        let start: JointNoise = space.decoder().draw_noise(images, &mut *noise)?;
        let kernel = Langevin::new(&space, 0.5 * 8e-5, 8e-5_f64.sqrt())?;
        let mut end = start.flat()?;
        for draw in chain(&kernel, end.clone(), &StepSchedule { len: steps }, &mut *noise)? {
            end = draw?.state.position;
        }
        Ok(f64::from(end.mean_all()?.to_scalar::<f32>()?))
    })
}

/// Updates of the small autoencoder on 32 digits in a black frame, the weight of the divergences at one
/// half.
pub(super) fn updates(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let files = Mnist::load(&find_mnist(None, &bed.root).map_err(usage)?)?;
    let digits = files.train.range(0..BATCH).padded(32).map_err(usage)?;
    let mut noise = Seed::new(0).child("bench").child("dequantise").host_noise();
    let indices: Vec<usize> = (0..BATCH).collect();
    let x = dequantise(&digits.gather(&indices), &mut noise);
    let x = Tensor::from_vec(x, (BATCH, 1, 32, 32), &bed.device)?;
    let model = NvaeModel::new(&NvaeConfig::small_mnist(), Seed::new(0), &bed.device)?;
    let config = NvaeTrainConfig { epochs: 10, ..NvaeTrainConfig::small_mnist() };
    let mut state = NvaeTrainState::new(&config, 1_000);
    let mut noise = bed.noise("train");
    Ok(move || {
        state.update = HALF_WAY;
        Ok(update_vae(&model, &mut state, &config, &x, &mut *noise)?.loss)
    })
}

/// The update of 10,000 at which the divergences have half their weight.
const HALF_WAY: usize = 1_501;
