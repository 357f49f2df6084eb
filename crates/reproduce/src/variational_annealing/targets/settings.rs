//! What trainings on targets of the plane are set by.

use serde::{Deserialize, Serialize};
use variational_annealing::{
    Annealing, MafConfig, Reg, Schedule,
    anneal::SIGN_CONVENTION,
    ugan::{UganConfig, UganTraining},
};

use crate::{
    error::Result,
    limits::{at_least, bad},
    request::{Request, Scale},
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TargetSettings {
    /// What a signed weight means.
    pub(super) sign_convention: String,
    /// The form of the annealed divergence, `entropy` or `likelihood`. Weights below are those of the entropy
    /// form; the other begins with the one of the same temperature.
    pub(super) form: Reg,
    /// Initial weights of the entropy form that fall to zero on a line.
    pub(super) linear: Vec<f64>,
    /// Initial weights of the entropy form that swing.
    pub(super) sine: Vec<f64>,
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
    /// Deviation of noise on the critic's inputs in the first tenth.
    pub(super) input_noise: f64,
    /// Seeds, from the root seed on.
    pub(super) seeds: usize,
    /// Samples of an evaluation.
    pub(super) samples: usize,
    /// Evaluations, evenly spaced over the updates.
    pub(super) looks: usize,
}

/// A schedule by the name of its row.
pub(super) type Named = (String, Schedule);

impl TargetSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let toy = UganTraining::toy(0);
        let settings = request.settings(&Self {
            sign_convention: SIGN_CONVENTION.into(),
            form: Reg::Entropy,
            linear: scale.pick(vec![4.0], vec![1.0, 4.0], vec![1.0, 4.0]),
            sine: scale.pick(vec![], vec![4.0], vec![4.0]),
            updates: scale.pick(40, 3_000, 10_000),
            warm_up: scale.pick(5, toy.warm_up, toy.warm_up),
            batch_size: scale.pick(32, toy.batch_size, 256),
            width: scale.pick(16, 64, 128),
            blocks: scale.pick(2, 4, 8),
            hidden: scale.pick(16, 64, 512),
            rates: [toy.generator_rate, toy.critic_rate, toy.flow_rate],
            input_noise: toy.input_noise,
            seeds: scale.pick(1, 3, 3),
            samples: scale.pick(200, 2_000, 10_000),
            looks: scale.pick(2, 10, 10),
        })?;
        settings.validate()?;
        Ok(settings)
    }

    /// Rows of the tables: without annealing, then every schedule.
    ///
    /// # Errors
    /// For a weight that is no temperature.
    pub(super) fn schedules(&self) -> Result<Vec<Named>> {
        let mut all = vec![("none".to_owned(), Schedule::none())];
        let weight = |l: f64| match self.form {
            Reg::Entropy => Ok(l),
            // The temperature that the entropy form would really have.
            form => Reg::Entropy.convert(Reg::Entropy.admissible(l)?, form),
        };
        for l in &self.linear {
            all.push((format!("linear {l}"), Schedule::linear(weight(*l)?)));
        }
        for l in &self.sine {
            all.push((format!("sine {l}"), Schedule::sine(weight(*l)?)));
        }
        Ok(all)
    }

    pub(super) fn networks(&self) -> UganConfig {
        let wide = vec![self.width; 3];
        let flow = MafConfig::new(2, self.blocks, &[self.hidden; 2]);
        UganConfig { generator: wide.clone(), critic: wide, flow, ..UganConfig::small(2) }
    }

    pub(super) fn training(&self, schedule: Schedule) -> UganTraining {
        let [generator_rate, critic_rate, flow_rate] = self.rates;
        let training = UganTraining {
            batch_size: self.batch_size,
            warm_up: self.warm_up,
            generator_rate,
            critic_rate,
            flow_rate,
            input_noise: self.input_noise,
            ..UganTraining::toy(self.updates)
        };
        UganTraining { annealing: Annealing { reg: self.form, schedule }, ..training }
    }

    fn validate(&self) -> Result<()> {
        at_least(&[
            ("updates", self.updates, 1),
            ("seeds", self.seeds, 1),
            ("samples", self.samples, 2),
            ("looks", self.looks, 1),
        ])?;
        if self.looks > self.updates {
            return bad("looks", "must be at most updates");
        }
        self.networks().validate()?;
        for (_, schedule) in self.schedules()? {
            self.training(schedule).validate()?;
        }
        Ok(())
    }
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&TargetSettings::resolve(request)?)
}

/// Are gates of accuracy worth asking?
pub(super) fn gated(request: &Request) -> bool {
    request.scale != Scale::Smoke
}
