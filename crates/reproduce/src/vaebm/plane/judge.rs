//! Which network of a training gained most, by its likelihood.

use candle_core::Tensor;
use chains_core::{Seed, density::Sample};
use datasets::toys::Gaussians;
use vaebm::{EnergyModel, NoiseDecoder, plane::PlaneVae};

use super::measure::energies;
use crate::error::Result;

/// Points of the truth, none of which is a test point.
const POINTS: usize = 5_000;
/// Samples of the autoencoder behind `ln Z`.
const SAMPLES: usize = 20_000;
/// A training has run away once it is so far below the best, nats.
const LOST: f64 = 1.0;

/// Compares networks on the way.
pub(super) struct Judge {
    points: Tensor,
    samples: Tensor,
    best: Option<(f64, Vec<(String, Tensor)>)>,
}

impl Judge {
    pub(super) fn new(vae: &PlaneVae, seed: Seed) -> Result<Self> {
        let mut noise = seed.host_noise();
        let points = Gaussians::twenty_five().sample(POINTS, &mut noise)?;
        let samples = vae.decode(&vae.draw_noise(SAMPLES, &mut noise)?)?.image.detach();
        Ok(Self { points, samples, best: None })
    }

    /// What the product gains on the autoencoder, `-mean E - ln Z`, nats; keeps the network if it is the
    /// best so far.
    pub(super) fn look(&mut self, model: &EnergyModel) -> Result<f64> {
        let data = energies(model, &self.points)?;
        let gain = -(data.iter().sum::<f64>() / data.len() as f64)
            - log_partition(&energies(model, &self.samples)?);
        if gain.is_finite() && self.best.as_ref().is_none_or(|(best, _)| gain > *best) {
            let copy = |(name, tensor): (String, Tensor)| Ok((name, tensor.copy()?));
            let tensors = model.store().tensors().into_iter().map(copy);
            self.best = Some((gain, tensors.collect::<Result<_>>()?));
        }
        Ok(gain)
    }

    /// Is this gain far below the best, or no number?
    pub(super) fn ran_away(&self, gain: f64) -> bool {
        let best = self.best.as_ref().map_or(f64::NEG_INFINITY, |(best, _)| *best);
        !gain.is_finite() || gain < best - LOST
    }

    /// Puts the network back to its best.
    pub(super) fn restore(self, model: &EnergyModel) -> Result<()> {
        for (name, tensor) in self.best.into_iter().flat_map(|(_, tensors)| tensors) {
            if let Some(var) = model.store().get(&name) {
                var.set(&tensor)?;
            }
        }
        Ok(())
    }
}

/// `ln mean exp(-E)`.
fn log_partition(energies: &[f64]) -> f64 {
    let least = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = energies.iter().map(|energy| (least - energy).exp()).sum();
    (sum / energies.len() as f64).ln() - least
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use vaebm::{
        EnergyConfig,
        plane::{PlaneConfig, PlaneModel},
    };

    use super::*;

    #[test]
    fn the_best_network_is_kept_and_put_back() {
        assert!((log_partition(&[0.0, -(3.0_f64.ln())]) - 2.0_f64.ln()).abs() < 1e-12);
        assert!((log_partition(&[900.0, 900.0]) + 900.0).abs() < 1e-9);
        let plane = PlaneConfig { dim: 2, latent: 2, hidden: vec![8], scale_floor: 0.05 };
        let vae = PlaneModel::new(&plane, Seed::new(0), DType::F32, &Device::Cpu).unwrap();
        let config = EnergyConfig::Mlp { dim: 2, hidden: vec![8] };
        let model = EnergyModel::new(config, Seed::new(1), &Device::Cpu).unwrap();
        let mut judge = Judge::new(vae.frozen(), Seed::new(2)).unwrap();
        // A network of zeros gains nothing.
        let set = |value: f64| {
            for (_, var) in model.store().trainable() {
                var.set(&var.as_detached_tensor().ones_like().unwrap().affine(value, 0.0).unwrap())
                    .unwrap();
            }
        };
        set(0.0);
        let nothing = judge.look(&model).unwrap();
        assert!(nothing.abs() < 1e-6 && !judge.ran_away(nothing), "{nothing}");
        // A slope towards one corner is a loss on points that are symmetric.
        set(1.0);
        let worse = judge.look(&model).unwrap();
        assert!(worse < nothing - 1.0 && judge.ran_away(worse), "{worse}");
        assert!(judge.ran_away(f64::NAN));
        judge.restore(&model).unwrap();
        let mut again = Judge::new(vae.frozen(), Seed::new(2)).unwrap();
        assert!((again.look(&model).unwrap() - nothing).abs() < 1e-9);
    }
}
