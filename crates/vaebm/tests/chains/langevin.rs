//! The law of the chains at a finite number of steps of finite size.

use candle_core::Tensor;
use chains_core::{Result, Seed, chain::check_kernel, density::Energy, mcmc::Langevin};
use vaebm::{ChainConfig, NoiseDecoder, NoiseSpace, Potential, SampleStream, run_chains};

use crate::decoders::{Flat, Linear, Quadratic, TwoScales, assert_moments, tensor, values};

const CHAINS: usize = 20_000;

/// Noise `(n, D)` and images `(n, ..)` at the end of chains from fresh noise.
fn ends<D: NoiseDecoder, E: Energy>(
    space: &NoiseSpace<D, E>,
    config: ChainConfig,
) -> Result<(Tensor, Tensor)> {
    let mut noise = Seed::new(1).child("chains").host_noise();
    let start = space.decoder().draw_noise(CHAINS, &mut noise)?;
    let ended = run_chains(space, &config, &start, &mut noise, |_, _| Ok(()))?;
    assert_eq!(ended.health.non_finite, 0);
    Ok((ended.noise.flat()?, ended.decoded.image))
}

#[test]
fn ten_steps_have_the_exact_law_of_the_recursion() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let (noise, image) = ends(&space, ChainConfig { steps: 10, step_size: 0.05 })?;
    assert_moments(
        &noise,
        [0.025_035, 0.019_814, -0.024_607],
        [
            [0.440_017, -0.150_119, -0.038_769],
            [-0.150_119, 0.961_854, -0.003_720],
            [-0.038_769, -0.003_720, 0.989_209],
        ],
        4.0,
    );
    let covariance = [[0.436_513, 0.185_525], [0.185_525, 0.187_402]];
    assert_moments(&image, [0.230_979, -0.094_864], covariance, 4.0);
    Ok(())
}

#[test]
fn long_chains_settle_where_a_finite_step_leaves_them() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let mean = [0.256_553, -0.114_940];
    let (_, image) = ends(&space, ChainConfig { steps: 150, step_size: 0.1 })?;
    assert_moments(&image, mean, [[0.335_893, 0.137_144], [0.137_144, 0.163_768]], 4.0);
    let (_, image) = ends(&space, ChainConfig { steps: 800, step_size: 0.01 })?;
    assert_moments(&image, mean, [[0.308_701, 0.124_626], [0.124_626, 0.155_441]], 4.0);
    Ok(())
}

#[test]
fn the_programs_chain_leaves_the_prior_and_the_papers_does_not() -> Result<()> {
    let config = ChainConfig { steps: 200, step_size: 0.1 };
    // A step of 0.1 settles at variance 1 / (1 - 0.1 / 4).
    let v = 1.0 / (1.0 - 0.025);
    let covariance = [[v, 0.0, 0.0], [0.0, v, 0.0], [0.0, 0.0, v]];
    let (paper, _) = ends(&NoiseSpace::new(TwoScales, Flat, Potential::Paper), config)?;
    assert_moments(&paper, [0.0; 3], covariance, 4.0);
    let (official, _) = ends(&NoiseSpace::new(TwoScales, Flat, Potential::Official), config)?;
    assert_moments(&official, [-0.5, 0.0, 0.0], covariance, 4.0);
    Ok(())
}

#[test]
fn the_kernel_keeps_its_contract_in_the_noise_space() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let kernel = Langevin::new(&space, 0.05, 0.1_f64.sqrt())?;
    check_kernel(&kernel, &tensor([[0.1, 0.2, 0.3], [1.0, -1.0, 0.0]]), Seed::new(5))
}

#[test]
fn health_says_what_the_chains_did() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let mut noise = Seed::new(2).host_noise();
    let start = Linear.draw_noise(500, &mut noise)?;
    let config = ChainConfig { steps: 40, step_size: 0.05 };
    let mut seen = Vec::new();
    let ended = run_chains(&space, &config, &start, &mut noise, |step, position| {
        seen.push((step, position.flat()?));
        Ok(())
    })?;
    let health = ended.health;
    assert_eq!(
        seen.iter().map(|(step, _)| *step).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    assert_eq!(values(&seen[39].1), values(&ended.noise.flat()?));
    assert!(health.energy_end < health.energy_start);
    let mean = values(&ended.energy).iter().sum::<f64>() / 500.0;
    assert!((mean - health.energy_end).abs() < 1e-12);
    let latents = values(&ended.noise.latents[0]);
    let rms = (latents.iter().map(|e| e * e).sum::<f64>() / 500.0).sqrt();
    assert!((rms - health.latent_rms).abs() < 1e-12);
    // The drift of position k is the gradient there, k from 0 to 39.
    let mut sum = start.flat()?.zeros_like()?;
    let starts = [start.flat()?];
    for position in starts.iter().chain(seen[..39].iter().map(|(_, position)| position)) {
        sum = (sum + space.energy_and_grad(position)?.1)?;
    }
    let squares: f64 = values(&sum).iter().map(|g| (0.025 * g).powi(2)).sum();
    let drift = (squares / 1500.0).sqrt() / (40.0_f64 * 0.05).sqrt();
    assert!((drift - health.drift_to_noise).abs() < 1e-10, "{drift} {health:?}");
    // No step: the noise as it is.
    let still = ChainConfig { steps: 0, step_size: 0.05 };
    let ended = run_chains(&space, &still, &start, &mut noise, |_, _| Ok(()))?;
    assert_eq!(values(&ended.noise.flat()?), values(&start.flat()?));
    assert_eq!(ended.health.drift_to_noise.to_bits(), 0.0_f64.to_bits());
    Ok(())
}

#[test]
fn a_step_beyond_the_bound_runs_away_and_is_told() -> Result<()> {
    // The bound is 4 / 3.608 = 1.108673.
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let spread = |step_size| -> Result<f64> {
        let mut noise = Seed::new(2).host_noise();
        let start = Linear.draw_noise(100, &mut noise)?;
        let config = ChainConfig { steps: 400, step_size };
        Ok(run_chains(&space, &config, &start, &mut noise, |_, _| Ok(()))?.health.latent_rms)
    };
    assert!(spread(1.05)? < 10.0);
    assert!(spread(1.17)? > 1e3);
    let mut noise = Seed::new(2).host_noise();
    let start = Linear.draw_noise(10, &mut noise)?;
    let config = ChainConfig { steps: 2000, step_size: 30.0 };
    let ended = run_chains(&space, &config, &start, &mut noise, |_, _| Ok(()))?;
    assert_eq!(ended.health.non_finite, 10);
    Ok(())
}

#[test]
fn a_stream_gives_every_sample_once_in_batches() -> Result<()> {
    let space = NoiseSpace::new(Linear, Quadratic, Potential::Paper);
    let config = ChainConfig { steps: 3, step_size: 0.05 };
    let run = || -> Result<Vec<Vec<f64>>> {
        SampleStream::new(&space, config, 10, 4, Seed::new(7))?
            .map(|ended| Ok(values(&ended?.decoded.image)))
            .collect()
    };
    let batches = run()?;
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4]);
    assert_eq!(batches, run()?);
    assert_ne!(batches[0], batches[1]);
    // A batch is the same whatever came before it.
    let mut noise = Seed::new(7).indexed(1).host_noise();
    let start = Linear.draw_noise(4, &mut noise)?;
    let second = run_chains(&space, &config, &start, &mut noise, |_, _| Ok(()))?;
    assert_eq!(values(&second.decoded.image), batches[1]);
    assert!(SampleStream::new(&space, config, 10, 0, Seed::new(7)).is_err());
    let wrong = ChainConfig { steps: 3, step_size: 0.0 };
    assert!(SampleStream::new(&space, wrong, 10, 4, Seed::new(7)).is_err());
    Ok(())
}
