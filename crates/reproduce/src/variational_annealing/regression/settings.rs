//! What the comparison is set by.

use serde::{Deserialize, Serialize};
use variational_annealing::{
    Annealing, MafConfig, Reg, Schedule,
    anneal::SIGN_CONVENTION,
    ugan::{UganConfig, UganTraining},
};

use super::data::{SETS, find};
use crate::{
    error::Result,
    limits::{at_least, bad},
    request::Request,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RegressionSettings {
    /// What a signed weight means.
    pub(super) sign_convention: String,
    /// Tables.
    pub(super) sets: Vec<String>,
    /// Random splits of each, from the root seed on.
    pub(super) splits: usize,
    /// Is every value of a categorical column a column of its own?
    pub(super) one_hot: bool,
    /// The form of the annealed divergence, `entropy` or `likelihood`. The weight below is that of the entropy
    /// form; the other begins with the one of the same temperature.
    pub(super) form: Reg,
    /// Initial weight of the entropy form, which falls to zero on a line. None by default: the heated
    /// posterior lies at low precisions, from where a generator of 62 dimensions does not come back.
    pub(super) linear: f64,
    /// Updates of the generator.
    pub(super) updates: usize,
    /// Updates of critic and proposal before them.
    pub(super) warm_up: usize,
    /// Samples of an update.
    pub(super) batch_size: usize,
    /// Units of hidden layers of generator and critic.
    pub(super) width: usize,
    /// Blocks of the proposal.
    pub(super) blocks: usize,
    /// Units of the two hidden layers of every block.
    pub(super) hidden: usize,
    /// Rates of generator, critic and proposal.
    pub(super) rates: [f64; 3],
    /// Steps of critic and proposal in an update.
    pub(super) steps: usize,
    /// Samples of the generator that predict.
    pub(super) samples: usize,
    /// Particles of SVGD.
    pub(super) particles: usize,
    /// Its steps.
    pub(super) svgd_steps: usize,
    /// Chains of Hamiltonian Monte Carlo.
    pub(super) chains: usize,
    /// Transitions that are thrown away while step sizes adapt.
    pub(super) burn_in: usize,
    /// Transitions that are kept.
    pub(super) kept: usize,
    /// Leapfrog steps of a transition.
    pub(super) leapfrog: usize,
}

impl RegressionSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let names = SETS.map(|set| set.name.to_owned());
        let blr = UganTraining::logistic(0);
        let settings = request.settings(&Self {
            sign_convention: SIGN_CONVENTION.into(),
            sets: scale.pick(names[..1].to_vec(), names.to_vec(), names.to_vec()),
            splits: scale.pick(1, 5, 20),
            one_hot: false,
            form: Reg::Entropy,
            linear: 0.0,
            updates: scale.pick(30, 3_000, 10_000),
            warm_up: scale.pick(5, blr.warm_up, blr.warm_up),
            batch_size: scale.pick(32, blr.batch_size, blr.batch_size),
            width: scale.pick(16, 128, 256),
            blocks: scale.pick(2, 4, 8),
            hidden: scale.pick(16, 128, 512),
            rates: [blr.generator_rate, blr.critic_rate, blr.flow_rate],
            steps: blr.critic_steps,
            samples: scale.pick(100, 2_000, 4_000),
            particles: scale.pick(20, 100, 100),
            svgd_steps: scale.pick(50, 2_000, 2_000),
            chains: scale.pick(4, 16, 16),
            burn_in: scale.pick(20, 300, 500),
            kept: scale.pick(20, 200, 500),
            leapfrog: 20,
        })?;
        settings.validate()?;
        Ok(settings)
    }

    pub(super) fn networks(&self, dim: usize) -> UganConfig {
        let wide = vec![self.width; 3];
        let flow = MafConfig::new(dim, self.blocks, &[self.hidden; 2]);
        UganConfig { generator: wide.clone(), critic: wide, flow, ..UganConfig::logistic(dim) }
    }

    pub(super) fn training(&self) -> Result<UganTraining> {
        let [generator_rate, critic_rate, flow_rate] = self.rates;
        let training = UganTraining {
            batch_size: self.batch_size,
            warm_up: self.warm_up,
            generator_rate,
            critic_rate,
            flow_rate,
            critic_steps: self.steps,
            flow_steps: self.steps,
            ..UganTraining::logistic(self.updates)
        };
        let schedule = Schedule::linear(
            Reg::Entropy.convert(Reg::Entropy.admissible(self.linear)?, self.form)?,
        );
        Ok(UganTraining { annealing: Annealing { reg: self.form, schedule }, ..training })
    }

    fn validate(&self) -> Result<()> {
        self.sets.iter().try_for_each(|name| find(name).map(drop))?;
        at_least(&[
            ("sets", self.sets.len(), 1),
            ("splits", self.splits, 1),
            ("samples", self.samples, 1),
            ("particles", self.particles, 1),
            ("chains", self.chains, 1),
            ("kept", self.kept, 1),
            ("leapfrog", self.leapfrog, 1),
        ])?;
        if self.linear < 0.0 {
            return bad("linear", "must not be negative: it is where the heat begins");
        }
        self.networks(2).validate()?;
        Ok(self.training()?.validate()?)
    }
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&RegressionSettings::resolve(request)?)
}
