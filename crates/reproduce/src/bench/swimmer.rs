//! W15: the swimmer, and an update of soft Q-learning by each policy.

use std::hint::black_box;

use chains_core::Seed;
use variational_annealing::{
    soft_q::{Gait, PolicyConfig, SoftQ, SoftQConfig, Transition, Transitions},
    swimmer::Swimmer,
};

use super::{Bed, Unit, Workload};
use crate::error::Result;

/// Steps in the environment.
const STEPS: usize = 1_000;

pub(super) fn workloads() -> Vec<Workload> {
    let row = |id, title, repeats, build| Workload {
        id,
        title,
        gflop: None,
        repeats,
        host: false,
        build,
    };
    vec![
        row("W15a", "swimmer: 1,000 actions of 50 integration steps", 30, |_| {
            Ok(Box::new(|| {
                black_box(swim()?);
                Ok(())
            }))
        }),
        row("W15b", "soft Q-learning: 1 update, U-GAN, flow 2 x [64, 64]", 60, |bed| {
            update(bed, PolicyConfig::ugan(&[128, 128], 2, &[64, 64]))
        }),
        row("W15c", "soft Q-learning: 1 update, 16 Stein particles", 60, |bed| {
            update(bed, PolicyConfig::stein(&[128, 128]))
        }),
        row("W15d", "soft Q-learning: 1 update, Gaussian", 60, |bed| {
            update(bed, PolicyConfig::gaussian(&[128, 128]))
        }),
    ]
}

/// What a gait gives.
fn swim() -> Result<Transitions> {
    let gait = Gait { period: 2.5, lag: std::f64::consts::FRAC_PI_3 };
    let (mut swimmer, mut pool) = (Swimmer::at([0.0; 5], [0.0; 5]), Transitions::new(STEPS)?);
    for step in 0..STEPS {
        let (state, action) = (swimmer.observation(), gait.at(step));
        let reward = swimmer.step(action)?;
        let next_state = swimmer.observation();
        pool.push(&Transition { state, action, reward, next_state, done: false });
    }
    Ok(pool)
}

/// Q and policy on batches of 128, 16 actions in a value.
fn update(bed: &Bed, policy: PolicyConfig) -> Result<Unit> {
    let (pool, device) = (swim()?, bed.device.clone());
    let config = SoftQConfig::published();
    let size = config.batch_size;
    let mut learner = SoftQ::new(config, policy, Seed::new(0), &device)?;
    let mut noise = bed.noise("soft-q");
    Ok(Box::new(move || {
        let batch = pool.sample(size, &mut *noise, &device)?;
        learner.update(&batch, 0.0, &mut *noise)?;
        Ok(())
    }))
}
