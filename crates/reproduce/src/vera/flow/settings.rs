//! Settings of the flows, and the methods that train them.

use serde::{Deserialize, Serialize};
use vera::{
    EnergyConfig, Entropy, GeneratorConfig, HmcConfig, ModelConfig, TrainConfig,
    baselines::{
        CoopConfig, MegConfig, Optimisation, PcdConfig, ScoreMatching, ScoreMatchingConfig,
    },
    config::{GeneratorActivation, HmcGradient, Output},
};

use super::{
    super::methods::Method,
    data::{FlowData, Size},
};
use crate::{
    error::Result,
    limits::{at_least, bad},
    report::format_number,
    request::{Request, Scale},
};

/// All numbers that a run depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FlowSettings {
    /// Which digits.
    pub(super) size: Size,
    /// Images of MNIST to train on, to choose on, to report on; the table is cut 8:1:1.
    pub(super) counts: [usize; 3],
    /// Units of a hidden layer of a coupling, and hidden layers.
    hidden: usize,
    layers: usize,
    /// Units of a hidden layer of the generator, and hidden layers.
    width: usize,
    generator_layers: usize,
    /// d.
    latent: usize,
    /// Weights of the entropy.
    entropy_weights: Vec<f64>,
    /// k.
    proposals: usize,
    /// gamma.
    gradient_penalty: f64,
    /// Rate of maximum likelihood.
    likelihood_rate: f64,
    /// Rate of the flow in the game, of MEG and CoopNets.
    flow_rate: f64,
    generator_rate: f64,
    posterior_rate: f64,
    /// Persistent chains: deviations of their noise, steps an update, rate.
    chain_noise: Vec<f64>,
    chain_steps: usize,
    chain_rate: f64,
    /// Rate of sliced score matching and curvature propagation.
    score_rate: f64,
    /// Deviations and rate of denoising score matching.
    denoising: Vec<f64>,
    denoising_rate: f64,
    /// Langevin steps of CoopNets.
    coop_steps: usize,
    /// Units of the three hidden layers of MEG's network.
    information_width: usize,
    pub(super) updates: usize,
    pub(super) batch_size: usize,
    /// Seeds, from the root seed on.
    pub(super) seeds: usize,
    pub(super) looks: usize,
    /// Samples of a row of the sheets.
    pub(super) shown: usize,
    /// Samples of a generator whose density is taken.
    pub(super) generated: usize,
}

/// Updates of 400 epochs over 50,000 images in batches of 128.
const EPOCHS_400: usize = 400 * 390;

pub(super) fn resolve(request: &Request) -> Result<FlowSettings> {
    let scale = request.scale;
    let settings = request.settings(&FlowSettings {
        size: scale.pick(Size::Optdigits, Size::Optdigits, Size::Mnist28),
        counts: scale.pick([200, 50, 50], [8_000, 1_000, 1_000], [50_000, 10_000, 10_000]),
        hidden: scale.pick(16, 200, 1_000),
        layers: scale.pick(1, 2, 4),
        width: scale.pick(16, 200, 500),
        generator_layers: scale.pick(1, 2, 3),
        latent: scale.pick(4, 32, 100),
        entropy_weights: vec![1.0, 0.0],
        proposals: scale.pick(5, 20, 20),
        gradient_penalty: 0.1,
        likelihood_rate: 3e-4,
        flow_rate: scale.pick(1e-4, 1e-4, 3e-6),
        generator_rate: scale.pick(1e-3, 1e-3, 3e-4),
        posterior_rate: scale.pick(1e-3, 1e-3, 3e-4),
        chain_noise: scale.pick(vec![0.1], vec![0.1, 0.3], vec![0.1, 1.0]),
        chain_steps: scale.pick(3, 20, 40),
        chain_rate: scale.pick(1e-4, 1e-4, 3e-6),
        score_rate: scale.pick(3e-4, 3e-4, 1e-4),
        denoising: scale.pick(vec![0.1], vec![0.1, 0.3], vec![0.05, 0.1, 0.16, 0.3]),
        denoising_rate: scale.pick(3e-4, 3e-4, 1e-3),
        coop_steps: scale.pick(2, 10, 10),
        information_width: scale.pick(16, 200, 500),
        updates: scale.pick(6, UPDATES, EPOCHS_400),
        batch_size: scale.pick(32, 128, 128),
        seeds: scale.pick(1, 3, 3),
        looks: scale.pick(3, 20, 100),
        shown: 16,
        generated: scale.pick(32, 1_000, 1_000),
    })?;
    settings.validate()?;
    Ok(settings)
}

/// Updates of every method at `quick`: with three seeds ten minutes on two cores.
const UPDATES: usize = 1_400;

impl FlowSettings {
    fn validate(&self) -> Result<()> {
        at_least(&[
            ("updates", self.updates, 1),
            ("batch_size", self.batch_size, 2),
            ("seeds", self.seeds, 1),
            ("looks", self.looks, 1),
            ("proposals", self.proposals, 1),
            ("chain_steps", self.chain_steps, 1),
            ("coop_steps", self.coop_steps, 1),
            ("shown", self.shown, 1),
            ("generated", self.generated, 2),
        ])?;
        if self.looks > self.updates {
            return bad("looks", "must be at most updates");
        }
        for (_, method) in self.methods() {
            match method {
                Method::Likelihood(config) | Method::Curvature(config) => config.validate()?,
                Method::Vera(config) => config.validate()?,
                Method::Pcd(config) => config.validate()?,
                Method::Meg(config) => config.validate()?,
                Method::Score(config) => config.validate()?,
                Method::Coop(config) => config.validate()?,
            }
        }
        Ok(())
    }

    /// The data.
    ///
    /// # Errors
    /// If files are missing or hold too few examples.
    pub(super) fn data(&self, request: &Request) -> Result<FlowData> {
        let data = FlowData::load(request, self.size, self.counts)?;
        if data.validation.is_empty() || data.test.is_empty() {
            return bad("counts", "must leave examples to choose and to report on");
        }
        if data.train.len() < self.batch_size {
            return bad("batch_size", &format!("must be at most {}", data.train.len()));
        }
        self.model(data.dim()).validate()?;
        Ok(data)
    }

    /// Flow and generator for examples of `dim` numbers.
    pub(super) fn model(&self, dim: usize) -> ModelConfig {
        ModelConfig::of(
            EnergyConfig::Nice { dim, hidden: self.hidden, layers: self.layers },
            GeneratorConfig::Mlp {
                latent: self.latent,
                width: self.width,
                layers: self.generator_layers,
                dim,
                activation: GeneratorActivation::Softplus,
                output: Output::Linear,
            },
        )
    }

    fn game(&self, weight: f64) -> TrainConfig {
        TrainConfig {
            entropy: Entropy::ImportanceSampling { samples: self.proposals },
            gradient_penalty: self.gradient_penalty,
            batch_size: self.batch_size,
            ..TrainConfig::density(
                weight,
                [self.flow_rate, self.generator_rate, self.posterior_rate],
            )
        }
    }

    /// The methods of Table 2, with the settings that section 6 adds, by name.
    pub(super) fn methods(&self) -> Vec<(String, Method)> {
        let size = self.batch_size;
        let mut all = vec![(
            "maximum likelihood".to_owned(),
            Method::Likelihood(Optimisation::constant(self.likelihood_rate, size)),
        )];
        for weight in &self.entropy_weights {
            let name = format!("VERA, lambda {}", format_number(*weight));
            all.push((name, Method::Vera(self.game(*weight))));
        }
        for (name, gradient) in [
            ("VERA-HMC, lambda 1", HmcGradient::Exact),
            ("VERA-HMC, lambda 1, gradient of the code", HmcGradient::Reference),
        ] {
            let entropy = Entropy::Hmc(HmcConfig { gradient, ..HmcConfig::published() });
            all.push((name.into(), Method::Vera(TrainConfig { entropy, ..self.game(1.0) })));
        }
        let meg = MegConfig {
            hidden: vec![self.information_width; 3],
            batch_size: size,
            loss: vera::baselines::EnergyLoss::density(self.gradient_penalty),
            ..MegConfig::density(1.0, [self.flow_rate, self.generator_rate])
        };
        all.push(("MEG".into(), Method::Meg(meg)));
        for noise in &self.chain_noise {
            let optimisation = Optimisation::constant(self.chain_rate, size);
            let config = PcdConfig::matched(*noise, self.chain_steps, optimisation);
            all.push((format!("PCD, noise {}", format_number(*noise)), Method::Pcd(config)));
        }
        all.extend(self.score_methods());
        let rate = chains_core::schedule::MultiStep::constant;
        let coop = CoopConfig {
            steps: self.coop_steps,
            energy_rate: rate(self.flow_rate),
            generator_rate: rate(self.generator_rate),
            batch_size: size,
            ..CoopConfig::nice()
        };
        all.push(("CoopNets".into(), Method::Coop(coop)));
        all
    }

    fn score_methods(&self) -> Vec<(String, Method)> {
        let rated = |config: ScoreMatchingConfig, value: f64| {
            let rate = chains_core::schedule::MultiStep::constant(value);
            let optimisation =
                Optimisation { rate, batch_size: self.batch_size, ..config.optimisation };
            ScoreMatchingConfig { optimisation, ..config }
        };
        let sliced = |reduced| rated(ScoreMatchingConfig::sliced(reduced), self.score_rate);
        let mut all = vec![
            ("SSM".to_owned(), Method::Score(sliced(false))),
            ("SSM-VR".to_owned(), Method::Score(sliced(true))),
        ];
        for deviation in &self.denoising {
            let config = rated(ScoreMatchingConfig::denoising(*deviation), self.denoising_rate);
            all.push((format!("DSM, noise {}", format_number(*deviation)), Method::Score(config)));
        }
        // Optimiser as that of the sliced ones.
        all.push(("CP-SM".into(), Method::Curvature(sliced(true).optimisation)));
        all
    }
}

/// The number of Table 2 for a method; those of Song et al. 2020 are quoted there.
pub(super) fn published(method: &Method) -> Option<(f64, bool)> {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    match method {
        Method::Likelihood(_) => Some((-791.0, true)),
        Method::Vera(config) => match config.entropy {
            Entropy::ImportanceSampling { .. } if near(config.entropy_weight, 1.0) => {
                Some((-1138.0, false))
            }
            Entropy::ImportanceSampling { .. } if near(config.entropy_weight, 0.0) => {
                Some((-1214.0, false))
            }
            // Published is the code, which lost the gradient; shown beside both.
            Entropy::Hmc(_) if near(config.entropy_weight, 1.0) => Some((-1165.0, false)),
            _ => None,
        },
        Method::Pcd(_) => Some((-4207.0, false)),
        Method::Meg(_) => Some((-1219.0, false)),
        Method::Score(config) => match config.objective {
            ScoreMatching::Sliced { .. } => Some((-2039.0, true)),
            ScoreMatching::Denoising { .. } => Some((-4363.0, true)),
        },
        Method::Curvature(_) => Some((-1517.0, true)),
        Method::Coop(_) => Some((-1465.0, false)),
    }
}

/// Does `scale` measure anything?
pub(super) fn measures(request: &Request) -> bool {
    request.scale != Scale::Smoke
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;

    #[test]
    fn the_papers_settings_are_the_papers_presets() {
        let settings = resolve(&request(Scale::Paper, &[])).unwrap();
        assert_eq!(settings.model(784), ModelConfig::nice_mnist());
        let methods = settings.methods();
        let find = |name: &str| &methods.iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!(find("VERA, lambda 1"), &Method::Vera(TrainConfig::nice(1.0)));
        assert_eq!(find("VERA, lambda 0"), &Method::Vera(TrainConfig::nice(0.0)));
        assert_eq!(find("MEG"), &Method::Meg(MegConfig::nice()));
        assert_eq!(find("PCD, noise 0.1"), &Method::Pcd(PcdConfig::nice()));
        assert_eq!(find("CoopNets"), &Method::Coop(CoopConfig::nice()));
        assert_eq!(find("SSM"), &Method::Score(ScoreMatchingConfig::sliced(false)));
        assert_eq!(find("DSM, noise 0.16"), &Method::Score(ScoreMatchingConfig::denoising(0.16)));
        assert_eq!((settings.updates, settings.batch_size), (156_000, 128));
    }

    #[test]
    fn every_method_has_its_number_of_table_2() {
        let methods = resolve(&request(Scale::Quick, &[])).unwrap().methods();
        let numbers: Vec<f64> = methods.iter().map(|(_, m)| published(m).unwrap().0).collect();
        let want = [
            -791.0, -1138.0, -1214.0, -1165.0, -1165.0, -1219.0, -4207.0, -4207.0, -2039.0,
            -2039.0, -4363.0, -4363.0, -1517.0, -1465.0,
        ];
        assert_eq!(numbers, want);
    }

    #[test]
    fn unusable_settings_are_told() {
        for (key, value) in
            [("looks", "5000"), ("proposals", "0"), ("chain_noise", "[-0.1]"), ("flow_rate", "-1")]
        {
            let error = resolve(&request(Scale::Quick, &[(key, value)])).unwrap_err();
            assert!(!error.to_string().is_empty(), "{key}");
        }
    }
}
