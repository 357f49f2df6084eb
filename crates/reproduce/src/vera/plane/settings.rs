//! What trainings in the plane are set by.

use candle_core::Device;
use serde::{Deserialize, Serialize};
use vera::{
    EnergyConfig, Entropy, GeneratorConfig, ModelConfig, TrainConfig,
    baselines::{Optimisation, PcdConfig},
};

use super::{
    super::{methods::Method, seeds::seeds},
    fit::{Fit, Fitted, known},
    grid::Grid,
};
use crate::{
    error::Result,
    limits::{at_least, bad},
    report::format_number,
    request::{Request, Scale},
    training::Cell,
};

/// Games and persistent chains on toys, the same number of updates each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlaneSettings {
    /// Toys.
    pub(super) sets: Vec<String>,
    /// Weights of the entropy.
    pub(super) entropy_weights: Vec<f64>,
    /// Deviations of the noise of persistent chains; steps are half their square.
    pub(super) chain_noise: Vec<f64>,
    /// Steps of the chains an update.
    pub(super) chain_steps: usize,
    /// Units of all layers.
    pub(super) width: usize,
    /// k: proposals of the entropy's gradient.
    pub(super) proposals: usize,
    /// gamma.
    pub(super) gradient_penalty: f64,
    /// Rate of all optimisers.
    pub(super) rate: f64,
    /// Updates of every training.
    pub(super) updates: usize,
    /// Points in an update.
    pub(super) batch_size: usize,
    /// Seeds, from the root seed on.
    pub(super) seeds: usize,
    /// Test points, generated afresh.
    pub(super) test_points: usize,
    /// Times at which the likelihood is taken.
    pub(super) looks: usize,
}

impl PlaneSettings {
    /// The published ones (all rates 1e-3, gamma 0.1, k = 20) on these toys; seconds at smoke.
    pub(super) fn of(scale: Scale, sets: &[&str]) -> Self {
        let sets = if scale == Scale::Smoke { &sets[..1] } else { sets };
        Self {
            sets: sets.iter().map(|name| (*name).to_owned()).collect(),
            entropy_weights: scale.pick(vec![1.0, 0.1], vec![], vec![]),
            chain_noise: scale.pick(vec![0.1], vec![], vec![]),
            chain_steps: scale.pick(5, 20, 20),
            width: scale.pick(16, 100, 100),
            proposals: scale.pick(5, 20, 20),
            gradient_penalty: 0.1,
            rate: 1e-3,
            updates: scale.pick(40, 3_000, 100_000),
            batch_size: scale.pick(50, 200, 200),
            seeds: scale.pick(1, 3, 3),
            test_points: scale.pick(500, 10_000, 10_000),
            looks: scale.pick(4, 30, 100),
        }
    }

    /// Maximum likelihood, for energies with a constant.
    pub(super) fn likelihood(&self) -> (String, Method) {
        let optimisation = Optimisation::constant(self.rate, self.batch_size);
        ("maximum likelihood".into(), Method::Likelihood(optimisation))
    }

    /// Games of every weight, then chains of every noise, by name.
    pub(super) fn methods(&self) -> Vec<(String, Method)> {
        let game = |weight: &f64| {
            let config = TrainConfig {
                gradient_penalty: self.gradient_penalty,
                batch_size: self.batch_size,
                entropy: Entropy::ImportanceSampling { samples: self.proposals },
                ..TrainConfig::density(*weight, [self.rate; 3])
            };
            (format!("VERA, lambda {}", format_number(*weight)), Method::Vera(config))
        };
        let chains = |noise: &f64| {
            let optimisation = Optimisation::constant(self.rate, self.batch_size);
            let config = PcdConfig::matched(*noise, self.chain_steps, optimisation);
            (format!("PCD, noise {}", format_number(*noise)), Method::Pcd(config))
        };
        let games = self.entropy_weights.iter().map(game);
        games.chain(self.chain_noise.iter().map(chains)).collect()
    }

    /// The seeds.
    pub(super) fn seeds(&self, request: &Request) -> Vec<u64> {
        seeds(request.seed, self.seeds)
    }

    /// A training for every toy, method and seed, the seed varying fastest.
    ///
    /// # Errors
    /// Of the serializer.
    pub(super) fn cells(
        &self,
        request: &Request,
        methods: &[(String, Method)],
        energy: &EnergyConfig,
        grid: Grid,
    ) -> Result<Vec<Cell<'static, Fitted>>> {
        let device: &Device = &request.device;
        let mut all = Vec::new();
        for set in &self.sets {
            for (name, method) in methods {
                for seed in self.seeds(request) {
                    let fit = Fit {
                        set: set.clone(),
                        name: name.clone(),
                        model: ModelConfig::of(energy.clone(), GeneratorConfig::toy(self.width)),
                        method: method.clone(),
                        seed,
                        updates: self.updates,
                        batch_size: self.batch_size,
                        test_points: self.test_points,
                        looks: self.looks,
                        grid,
                        shown: 500,
                    };
                    all.push(fit.cell(device.clone())?);
                }
            }
        }
        Ok(all)
    }

    /// Can models be trained and looked at with these?
    ///
    /// # Errors
    /// [`crate::Error::Usage`] naming the key, or of the game's configuration.
    pub(super) fn validate(&self) -> Result<()> {
        self.sets.iter().try_for_each(|set| known(set))?;
        at_least(&[
            ("sets", self.sets.len(), 1),
            ("entropy_weights", self.entropy_weights.len(), 1),
            ("width", self.width, 1),
            ("proposals", self.proposals, 1),
            ("updates", self.updates, 1),
            ("batch_size", self.batch_size, 2),
            ("seeds", self.seeds, 1),
            ("test_points", self.test_points, 2),
            ("looks", self.looks, 1),
            ("chain_steps", self.chain_steps, 1),
        ])?;
        if self.looks > self.updates {
            return bad("looks", "must be at most updates");
        }
        for (_, method) in self.methods() {
            match method {
                Method::Vera(config) => config.validate()?,
                Method::Pcd(config) => config.validate()?,
                _ => {}
            }
        }
        Ok(())
    }
}
