//! Refinement of samples by Metropolis-adjusted Langevin chains over latents and output noise.

use candle_core::{DType, Tensor};
use chains_core::{
    HostNoise, Noise,
    chain::{Kernel, Step, StepSchedule, chain},
    mcmc::{Adapted, Mala, ProportionalRule},
    nn::BatchNormMoments,
};
use serde::{Deserialize, Serialize};
use vera::{LatentEnergy, LatentPrior, VeraModel};

use crate::error::Result;

/// The chains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refinement {
    /// Chains, of one sample each.
    pub(super) samples: usize,
    /// Steps of other chains by which the step size adapts to an acceptance of 0.57 before it is
    /// frozen.
    pub(super) burn_in: usize,
    /// How fast it does; 0.02 in the published code, once after 100 steps.
    pub(super) adaptation_rate: f64,
    /// Steps of the chains that are shown; 100 in the paper.
    pub(super) steps: usize,
}

/// What the chains did.
pub(super) struct Refined {
    /// Images at the beginning, `(n, D)`, in about `[-1, 1]`.
    pub(super) raw: Tensor,
    /// Images at the end.
    pub(super) refined: Tensor,
    /// Mean `f` at the beginning and after every step, nats.
    pub(super) densities: Vec<f64>,
    /// Share of accepted proposals, after the step size was frozen.
    pub(super) acceptance: f64,
    /// The frozen step size, tau.
    pub(super) step_size: f64,
}

/// The same chains with and without prior begin at the same places.
///
/// Batch norms use the moments of one batch of samples as constants, so that chains do not interact;
/// in the published code each batch has its own.
///
/// # Errors
/// Of the networks; those of `tick`, which hears of every step.
pub(super) fn refine(
    model: &VeraModel,
    settings: &Refinement,
    prior: LatentPrior,
    noise: &mut HostNoise,
    tick: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Refined> {
    let event = model.config().energy.event();
    let device = model.store().device();
    let (latent, width) = (model.log_eta().elem_count(), event.iter().product::<usize>());
    // Enough for moments, however few chains there are.
    let moments = BatchNormMoments::batch();
    let moments = model.generator().draw(settings.samples.max(64), moments, noise)?.moments.fixed();
    let (energy, generator) = (model.energy(), model.generator());
    let target = LatentEnergy { energy, generator, event: &event, prior, moments };
    let shape = (settings.samples, latent + width);
    let start = noise.normal(&shape.into(), DType::F32, device)?;
    let other = noise.normal(&shape.into(), DType::F32, device)?;
    let rule = ProportionalRule { rate: settings.adaptation_rate, ..ProportionalRule::vera_mala() };
    let adapted = Adapted::new(Mala::new(&target, 1.0 / latent as f64)?, rule)?;
    let mut state = adapted.init(other)?;
    for index in 0..settings.burn_in {
        state = adapted.step(&state, Step::at(index), noise)?.0;
        tick(index + 1)?;
    }
    let step_size = f64::from(state.state.step_size.mean_all()?.to_scalar::<f32>()?);
    let kernel = Mala::new(&target, step_size)?;
    let schedule = StepSchedule { len: settings.steps };
    let mut densities = vec![density(&target, &start)?];
    let (mut accepted, mut last) = (0.0, start.clone());
    for (step, draw) in chain(&kernel, start.clone(), &schedule, noise)?.enumerate() {
        let draw = draw?;
        accepted += draw.info.acceptance()?;
        last = draw.state.position;
        densities.push(density(&target, &last)?);
        tick(settings.burn_in + step + 1)?;
    }
    let flat =
        |position: &Tensor| Ok::<_, crate::Error>(target.examples(position)?.flatten_from(1)?);
    Ok(Refined {
        raw: flat(&start)?,
        refined: flat(&last)?,
        densities,
        acceptance: accepted / settings.steps.max(1) as f64,
        step_size,
    })
}

/// Mean `f` at positions, without prior.
fn density<E: vera::EnergyNetwork, G: vera::GeneratorNetwork>(
    target: &LatentEnergy<'_, E, G>,
    position: &Tensor,
) -> Result<f64> {
    let f = target.energy.log_density(&target.examples(position)?, &[])?.mean_all()?;
    Ok(f64::from(f.to_scalar::<f32>()?))
}

/// Rows of `columns` raw images, each above the row of the refined ones; `(2 n, D)`.
///
/// # Errors
/// If the shapes differ.
pub(super) fn pairs(raw: &Tensor, refined: &Tensor, columns: usize) -> Result<Tensor> {
    let n = raw.dims()[0];
    let mut rows = Vec::new();
    // A short last row would shift what follows it.
    for start in (0..n).step_by(columns).filter(|start| start + columns <= n || *start == 0) {
        let len = columns.min(n - start);
        rows.push(raw.narrow(0, start, len)?);
        rows.push(refined.narrow(0, start, len)?);
    }
    Ok(Tensor::cat(&rows, 0)?.affine(0.5, 0.5)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chains_core::Seed;
    use vera::{EnergyConfig, GeneratorConfig, ModelConfig};

    use super::*;

    #[test]
    fn chains_accept_about_as_often_as_the_rule_wants_and_climb() {
        let config = ModelConfig::of(
            EnergyConfig::Gaussian { dim: 2 },
            GeneratorConfig::Linear { latent: 2, dim: 2 },
        );
        let model = VeraModel::new(config, Seed::new(2), &Device::Cpu).unwrap();
        // A generator far from the density's mean.
        let bias = model.store().get("g.bias").unwrap();
        bias.set(&Tensor::new(&[3.0_f32, 3.0], &Device::Cpu).unwrap()).unwrap();
        let settings = Refinement { samples: 400, burn_in: 300, adaptation_rate: 0.05, steps: 60 };
        let mut told = 0;
        let mut tick = |step| {
            told = step;
            Ok(())
        };
        let mut noise = Seed::new(3).host_noise();
        let prior = LatentPrior::Gaussian;
        let found = refine(&model, &settings, prior, &mut noise, &mut tick).unwrap();
        assert_eq!((told, found.densities.len()), (360, 61));
        assert!((found.acceptance - 0.57).abs() < 0.05, "{}", found.acceptance);
        let [first, last] = [found.densities[0], found.densities[60]];
        assert!(last > first + 1.0, "{first} {last}");
        assert_eq!((found.raw.dims(), found.refined.dims()), (&[400, 2][..], &[400, 2][..]));
        let still = Refinement { steps: 0, burn_in: 0, ..settings };
        let found =
            refine(&model, &still, prior, &mut Seed::new(3).host_noise(), &mut |_| Ok(())).unwrap();
        let same = (found.raw - found.refined).unwrap().abs().unwrap().max_all().unwrap();
        assert!(same.to_scalar::<f32>().unwrap() < 1e-12);
        assert!((found.step_size - 0.5).abs() < 1e-6);
    }

    #[test]
    fn refined_images_stand_below_the_raw_ones() {
        let of = |values: [f32; 5]| Tensor::new(&values, &Device::Cpu).unwrap();
        let raw = of([0.0, 1.0, 2.0, 3.0, 4.0]).reshape((5, 1)).unwrap();
        let refined = of([5.0, 6.0, 7.0, 8.0, 9.0]).reshape((5, 1)).unwrap();
        let shown = (pairs(&raw, &refined, 2).unwrap().affine(2.0, -1.0)).unwrap();
        let shown = shown.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(shown, [0.0, 1.0, 5.0, 6.0, 2.0, 3.0, 7.0, 8.0]);
    }
}
