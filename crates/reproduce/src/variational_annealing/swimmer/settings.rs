//! What the control task is set by.

use serde::{Deserialize, Serialize};
use variational_annealing::{
    Annealing, Reg, Schedule,
    anneal::{COLDEST_ENTROPY, SIGN_CONVENTION},
    soft_q::{PolicyConfig, Proposal, SoftQConfig},
};

use crate::{
    error::{Error, Result},
    limits::{at_least, bad},
    request::{Request, Scale},
    run_dir::settings_table,
};

/// Names of the learners, the paper's first.
pub(super) const POLICIES: [&str; 4] = ["u-gan", "u-gan-annealed", "stein", "gaussian"];
/// The learner whose entropy has a weight.
pub(super) const ANNEALED: &str = "u-gan-annealed";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SwimmerSettings {
    /// What a signed weight means.
    pub(super) sign_convention: String,
    /// Learners, see [`POLICIES`].
    pub(super) policies: Vec<String>,
    /// Steps that each of them makes in the environment.
    pub(super) steps: usize,
    /// The first of them, with uniform actions and without updates.
    pub(super) begin: usize,
    /// Steps for each update of Q and policy.
    pub(super) update_every: usize,
    /// Steps after which a learner's swimmer begins anew; 1000 in the public soft Q-learning code.
    pub(super) learning_path: usize,
    /// Steps of an episode that is measured; 500 with rllab.
    pub(super) path: usize,
    /// Episodes behind a number of the table.
    pub(super) episodes: usize,
    /// Times at which a learner is measured on the way.
    pub(super) looks: usize,
    /// Episodes of each.
    pub(super) look_episodes: usize,
    /// Units of the hidden layers of Q, generators and critic.
    pub(super) hidden: Vec<usize>,
    /// Blocks of the flow.
    pub(super) flow_blocks: usize,
    /// Units of their hidden layers.
    pub(super) flow_hidden: Vec<usize>,
    /// alpha.
    pub(super) temperature: f64,
    pub(super) reward_scale: f64,
    /// gamma.
    pub(super) discount: f64,
    /// J.
    pub(super) particles: usize,
    /// `uniform` or `policy`, where the policy has a density.
    pub(super) proposal: Proposal,
    pub(super) batch_size: usize,
    pub(super) learning_rate: f64,
    /// Updates between two copies of Q: 1000 in the public soft Q-learning code. At quick, where that would
    /// be 29 copies and so hardly more than a second of foresight, 100 (ours).
    pub(super) target_every: usize,
    /// The weight of the entropy form, positive is hotter, that falls to zero on a line over the first 80 % of the
    /// steps of [`ANNEALED`]; the others have none.
    pub(super) lambda: f64,
    /// Draws of a policy of which the greedy one takes the best.
    pub(super) greedy_draws: usize,
    /// Seeds, from the root seed on.
    pub(super) seeds: usize,
}

pub(super) fn resolve(request: &Request) -> Result<SwimmerSettings> {
    let scale = request.scale;
    let published = SoftQConfig::published();
    let settings = request.settings(&SwimmerSettings {
        sign_convention: SIGN_CONVENTION.into(),
        policies: POLICIES.map(str::to_owned).to_vec(),
        steps: scale.pick(60, 30_000, 500_000),
        begin: scale.pick(20, 1_000, 1_000),
        update_every: 1,
        learning_path: scale.pick(30, 1_000, 1_000),
        path: scale.pick(20, 500, 500),
        episodes: scale.pick(2, 10, 10),
        looks: scale.pick(2, 15, 50),
        look_episodes: scale.pick(2, 5, 5),
        hidden: if scale == Scale::Smoke { vec![16, 16] } else { published.hidden.clone() },
        flow_blocks: scale.pick(2, 2, 4),
        flow_hidden: scale.pick(vec![8, 8], vec![64, 64], vec![512, 512]),
        temperature: published.temperature,
        reward_scale: published.reward_scale,
        discount: published.discount,
        particles: scale.pick(4, published.particles, published.particles),
        proposal: published.proposal,
        batch_size: scale.pick(16, published.batch_size, published.batch_size),
        learning_rate: published.learning_rate,
        target_every: scale.pick(10, 100, published.target_every),
        lambda: 1.0,
        greedy_draws: 16,
        seeds: scale.pick(1, 1, 3),
    })?;
    settings.validate()?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

impl SwimmerSettings {
    /// Q and the updates.
    pub(super) fn learning(&self) -> SoftQConfig {
        SoftQConfig {
            hidden: self.hidden.clone(),
            temperature: self.temperature,
            reward_scale: self.reward_scale,
            discount: self.discount,
            particles: self.particles,
            proposal: self.proposal,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            target_every: self.target_every,
            ..SoftQConfig::published()
        }
    }

    /// The policy of that name.
    pub(super) fn policy(&self, name: &str) -> Result<PolicyConfig> {
        match name {
            "u-gan" | ANNEALED => {
                Ok(PolicyConfig::ugan(&self.hidden, self.flow_blocks, &self.flow_hidden))
            }
            "stein" => Ok(PolicyConfig::stein(&self.hidden)),
            "gaussian" => Ok(PolicyConfig::gaussian(&self.hidden)),
            _ => {
                let known = POLICIES.join(", ");
                Err(Error::Usage(format!("--set policies: `{name}` is none of {known}")))
            }
        }
    }

    /// The weight of the entropy form in time.
    pub(super) fn annealing(&self, name: &str) -> Annealing {
        let lambda = if name == ANNEALED { self.lambda } else { 0.0 };
        Annealing { reg: Reg::Entropy, schedule: Schedule::linear(lambda) }
    }

    fn validate(&self) -> Result<()> {
        at_least(&[
            ("policies", self.policies.len(), 1),
            ("steps", self.steps, 1),
            ("begin", self.begin, 1),
            ("update_every", self.update_every, 1),
            ("learning_path", self.learning_path, 1),
            ("path", self.path, 1),
            ("episodes", self.episodes, 2),
            ("looks", self.looks, 1),
            ("look_episodes", self.look_episodes, 2),
            ("flow_blocks", self.flow_blocks, 1),
            ("greedy_draws", self.greedy_draws, 1),
            ("seeds", self.seeds, 1),
        ])?;
        if self.looks > self.steps {
            return bad("looks", "must be at most steps");
        }
        if self.lambda.is_nan() || self.lambda < COLDEST_ENTROPY {
            return bad("lambda", &format!("must be at least {COLDEST_ENTROPY}"));
        }
        self.annealing(ANNEALED).validate()?;
        self.learning().validate()?;
        for name in &self.policies {
            self.policy(name)?.validate()?;
            if self.proposal == Proposal::Policy && name == "stein" {
                return bad("proposal", "`stein` has no density; use `uniform`");
            }
        }
        Ok(())
    }
}
