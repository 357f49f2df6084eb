//! W11: an update of an image GAN with a denoiser of features.

use chains_core::Seed;
use variational_annealing::{
    AnnealTerm, GanConfig, GanModel, Objective, Schedule, TrainConfig, TrainState, update,
};

use super::{Bed, Workload};
use crate::error::Result;

const BATCH: usize = 64;
/// Multiply-adds of an image in critic, generator and denoiser, and in their first layers, whose input
/// needs no gradient.
const CRITIC: [f64; 2] = [34_441_216.0, 884_736.0];
const GENERATOR: [f64; 2] = [77_529_088.0, 262_144.0];
const DENOISER: [f64; 2] = [29_360_128.0, 4_194_304.0];

pub(super) fn workloads() -> Vec<Workload> {
    // The generated images pass the critic once and are differentiated twice, once without weights.
    let critic = 7.0 * CRITIC[0] - 2.0 * CRITIC[1];
    let generator = 3.0 * GENERATOR[0] - GENERATOR[1];
    let denoiser = 4.0 * DENOISER[0] - DENOISER[1];
    vec![Workload {
        id: "W11",
        title: "annealing-gan-train: 1 update, batch 64",
        gflop: Some(2e-9 * BATCH as f64 * (critic + generator + denoiser)),
        repeats: 10,
        host: false,
        build: |bed| {
            let mut update = updates(bed)?;
            Ok(Box::new(move || update().map(drop)))
        },
    }]
}

/// Updates by reverse Kullback-Leibler with a constant weight on 64 images; the denoiser's loss. Smooth
/// images stand for photographs, which do not influence the time.
pub(super) fn updates(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let model = GanModel::new(GanConfig::cifar10_table(), Seed::new(0), &bed.device)?;
    let config =
        TrainConfig::cifar10(Objective::Rkl).annealed(AnnealTerm::Score, Schedule::constant(0.1));
    let config = TrainConfig { denoiser_warm_up: 0, ..config };
    let level = bed.values("level", &[BATCH, 3, 1, 1])?;
    let x = (bed.values("pixels", &[BATCH, 3, 32, 32])? * 0.2)?.broadcast_add(&(level * 0.3)?)?;
    let x = x.clamp(-1.0, 1.0)?;
    let mut state = TrainState::new(&config);
    let mut noise = bed.noise("train");
    Ok(move || Ok(update(&model, &mut state, &config, &x, &mut *noise)?.denoiser))
}
