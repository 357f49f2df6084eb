//! The second stage by chains, and by weighted samples of the autoencoder.

use std::{path::PathBuf, sync::Arc, time::Instant};

use candle_core::Tensor;
use chains_core::{Noise, ParamStore, Seed, density::Sample, noise, optim::WeightAverage};
use datasets::toys::Gaussians;
use serde::{Deserialize, Serialize};
use vaebm::{
    EnergyModel, EnergyTrainConfig, NoiseDecoder,
    plane::PlaneVae,
    train::{EnergyState, contrastive_update, importance_negatives, update_energy},
};

use super::{
    Found,
    autoencoder::Autoencoder,
    judge::Judge,
    measure::{self, Partitions, Points},
    modes::Hits,
    settings::{HIDDEN, Negative, PlaneSettings},
};
use crate::{
    error::Result,
    training::{Cell, Ticker, json},
};

/// One training of the energy and its measurement.
pub(super) struct Training {
    pub(super) settings: PlaneSettings,
    pub(super) negative: Negative,
    pub(super) seed: Seed,
    pub(super) autoencoder: Arc<Autoencoder>,
    pub(super) points: Arc<Points>,
    /// Where the network is saved.
    pub(super) save: PathBuf,
}

/// A record on the way, means since the one before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) update: usize,
    /// Mean energies.
    pub(super) data: f64,
    pub(super) negatives: f64,
    /// Of chains: how far the energy falls, and the drift as a share of the noise.
    pub(super) fall: f64,
    pub(super) drift: f64,
    pub(super) latent_rms: f64,
    /// Of the control: how many samples count.
    pub(super) effective: f64,
    /// What the product gains on the autoencoder, `-mean E - ln Z` on points of their own, nats.
    pub(super) gain: f64,
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EnergyFound {
    pub(super) negative: Negative,
    pub(super) looks: Vec<Look>,
    /// `E` of the points.
    pub(super) energies: Vec<f64>,
    pub(super) partitions: Partitions,
    /// Samples by chains from fresh noise.
    pub(super) chained: Hits,
    /// Samples of the autoencoder, drawn again by their weights.
    pub(super) resampled: Hits,
    /// The product on the shown square, and the autoencoder there.
    pub(super) pictures: [Vec<f32>; 2],
    /// Of the training alone.
    pub(super) seconds: f64,
}

impl Training {
    pub(super) fn cell(self, request_seed: u64) -> Result<Cell<'static, Found>> {
        let updates = self.settings.updates(self.negative);
        let key = json(&("25-gaussians", self.negative, &self.settings, request_seed))?;
        let work = move |ticker: &Ticker| Ok(Found::Energy(Box::new(self.run(ticker)?)));
        Ok(Cell { key, updates, work: Box::new(work) })
    }

    fn run(&self, ticker: &Ticker) -> Result<EnergyFound> {
        let vae = self.autoencoder.model.frozen();
        let seed = self.seed.child(self.negative.key());
        let model = EnergyModel::new(self.settings.energy(), seed.child("model"), &vae.device())?;
        begin(model.store(), &self.settings)?;
        let started = Instant::now();
        let looks = self.learn(vae, &model, seed, ticker)?;
        let seconds = started.elapsed().as_secs_f64();
        model.save(&self.save)?;
        let seed = seed.child("measure");
        let (partitions, pictures) = measure::partitions(&self.settings, seed, vae, &model)?;
        Ok(EnergyFound {
            negative: self.negative,
            looks,
            energies: measure::energies(&model, &self.points.measured)?,
            partitions,
            chained: measure::chained(&self.settings, seed, vae, &model)?,
            resampled: measure::resampled(&self.settings, seed, vae, &model)?,
            pictures,
            seconds,
        })
    }

    /// Trains and puts the network to the average of weights that gained most. The paper, too, keeps networks
    /// on the way and takes one from before the training runs away; here its likelihood can tell.
    fn learn(
        &self,
        vae: &PlaneVae,
        model: &EnergyModel,
        seed: Seed,
        ticker: &Ticker,
    ) -> Result<Vec<Look>> {
        let mut config = self.settings.training();
        let updates = self.settings.updates(self.negative);
        let rate = self.settings.rate(self.negative);
        let mut state = EnergyState::new(&config, &vae.noise_shapes())?;
        let mut data = seed.child("data").host_noise();
        let mut noise = noise::of_device(seed.child("noise"), &vae.device());
        let mut judge = Judge::new(vae, seed.child("judge"))?;
        let average = WeightAverage::new(self.settings.energy_average, model.store())?;
        let every = (updates / self.settings.looks).max(1);
        let (mut looks, mut sum, mut count) = (Vec::new(), Look::default(), 0.0);
        for update in 1..=updates {
            config.learning_rate = rate.at(update - 1, updates);
            let x = Gaussians::twenty_five().sample(config.batch_size, &mut data)?;
            let x = x.to_device(&vae.device())?;
            let look = self.update((vae, model), (&mut state, &config), &x, &mut *noise)?;
            average.update(model.store(), update)?;
            sum.add(&look);
            count += 1.0;
            if update.is_multiple_of(every) || update == updates {
                average.swap(model.store())?;
                let gain = judge.look(model)?;
                average.swap(model.store())?;
                let mean = Look { gain, ..sum.divided(update, count) };
                ticker.at(update, &mean.values(self.negative));
                looks.push(mean);
                (sum, count) = (Look::default(), 0.0);
                if judge.ran_away(gain) {
                    break;
                }
            }
        }
        judge.restore(model)?;
        Ok(looks)
    }

    fn update(
        &self,
        (vae, model): (&PlaneVae, &EnergyModel),
        (state, config): (&mut EnergyState, &EnergyTrainConfig),
        x: &Tensor,
        noise: &mut dyn Noise,
    ) -> Result<Look> {
        match self.negative {
            Negative::Chains => {
                let terms = update_energy(model, vae, state, config, x, noise)?;
                Ok(Look {
                    data: terms.contrast.data,
                    negatives: terms.contrast.negatives,
                    fall: terms.health.energy_start - terms.health.energy_end,
                    drift: terms.health.drift_to_noise,
                    latent_rms: terms.health.latent_rms,
                    ..Look::default()
                })
            }
            Negative::Importance => {
                let n = self.settings.importance_samples;
                let drawn = importance_negatives(vae, model.frozen(), n, noise)?;
                let terms = contrastive_update(model, state, config, x, drawn.negatives())?;
                let (data, negatives) = (terms.data, terms.negatives);
                Ok(Look { data, negatives, effective: drawn.effective_samples, ..Look::default() })
            }
        }
    }
}

/// The energy begins at zero everywhere, where the autoencoder's own samples are the right negatives, and
/// with a steeper first layer, see [`PlaneSettings::energy_first_layer`].
fn begin(store: &ParamStore, settings: &PlaneSettings) -> Result<()> {
    for (layer, factor) in [(0, settings.energy_first_layer), (HIDDEN, 0.0)] {
        for leaf in ["weight", "bias"] {
            let name = format!("layers.{layer}.{leaf}");
            let missing = || crate::Error::Usage(format!("the energy has no `{name}`"));
            let var = store.get(&name).ok_or_else(missing)?;
            var.set(&(var.as_detached_tensor() * factor)?)?;
        }
    }
    Ok(())
}

impl Look {
    fn add(&mut self, other: &Self) {
        self.data += other.data;
        self.negatives += other.negatives;
        self.fall += other.fall;
        self.drift += other.drift;
        self.latent_rms += other.latent_rms;
        self.effective += other.effective;
    }

    fn divided(&self, update: usize, by: f64) -> Self {
        Self {
            update,
            data: self.data / by,
            negatives: self.negatives / by,
            fall: self.fall / by,
            drift: self.drift / by,
            latent_rms: self.latent_rms / by,
            effective: self.effective / by,
            gain: 0.0,
        }
    }

    fn values(&self, negative: Negative) -> Vec<(&'static str, f64)> {
        let mut values =
            vec![("data", self.data), ("negatives", self.negatives), ("gain", self.gain)];
        match negative {
            Negative::Chains => values.extend([
                ("fall", self.fall),
                ("drift_to_noise", self.drift),
                ("latent_rms", self.latent_rms),
            ]),
            Negative::Importance => values.push(("effective_samples", self.effective)),
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chains_core::density::Energy;

    use super::*;
    use crate::{request::Scale, testing::request};

    #[test]
    fn an_energy_begins_at_zero_with_a_first_layer_as_steep_as_asked() {
        let settings = PlaneSettings::resolve(&request(Scale::Smoke, &[])).unwrap();
        let new = || EnergyModel::new(settings.energy(), Seed::new(3), &Device::Cpu).unwrap();
        let (usual, model) = (new(), new());
        begin(model.store(), &settings).unwrap();
        let x = Gaussians::twenty_five().sample(5, &mut Seed::new(4).host_noise()).unwrap();
        let energy: Vec<f32> = model.frozen().energy(&x).unwrap().to_vec1().unwrap();
        assert_eq!(energy, [0.0; 5]);
        let largest = |model: &EnergyModel| {
            let weight = model.store().get("layers.0.weight").unwrap();
            weight.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        let ratio = f64::from(largest(&model) / largest(&usual));
        assert!((ratio - settings.energy_first_layer).abs() < 1e-4, "{ratio}");
    }
}
