//! One learner in the environment, with states to go on from.

use std::{collections::BTreeMap, path::Path, time::Instant};

use candle_core::{Device, Tensor};
use chains_core::{
    Seed, noise,
    train::{Loaded, Parts, StateDir},
};
use serde::{Deserialize, Serialize};
use variational_annealing::{
    Annealing,
    soft_q::{
        Actor, Episode, Greedy, PolicyConfig, RandomActions, Sampled, SoftQ, SoftQConfig,
        SoftQProgress, SoftQTerms, Transition, Transitions, episodes,
    },
    swimmer::Swimmer,
};

use super::settings::{ANNEALED, SwimmerSettings};
use crate::{
    error::Result,
    training::{Cell, Ticker, json},
};

/// Steps between two signs of life.
const TICK: usize = 100;
/// Saved states of a training.
const SAVES: usize = 10;
/// The pool among the carried tensors.
const POOL: &str = "pool";

/// Who hears of the steps made and of the last numbers.
pub(super) type Tell<'a> = &'a dyn Fn(usize, &[(&'static str, f64)]);

/// Everything that determines a training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    pub(super) name: String,
    pub(super) policy: PolicyConfig,
    pub(super) learning: SoftQConfig,
    pub(super) annealing: Annealing,
    /// Steps in all, steps with uniform actions, steps for each update, steps of a path.
    pub(super) steps: [usize; 4],
    /// Steps of an episode, episodes at the end, looks, episodes of each, draws of the greedy actor.
    pub(super) measured: [usize; 5],
    pub(super) seed: u64,
}

/// A look at a learner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Look {
    /// Steps in the environment.
    pub(super) step: usize,
    /// Sums of rewards of episodes with actions drawn from the policy.
    pub(super) returns: Vec<f64>,
    /// Means of losses since the look before, by name.
    pub(super) means: BTreeMap<String, f64>,
}

/// Episodes of an actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Swum {
    /// Sums of rewards.
    pub(super) returns: Vec<f64>,
    /// Ways along x, m.
    pub(super) ways: Vec<f64>,
    /// Coordinates of the best one in time.
    pub(super) best: Vec<[f64; 5]>,
}

impl Swum {
    pub(super) fn of(episodes: &[Episode]) -> Self {
        let best = episodes.iter().max_by(|a, b| a.sum.total_cmp(&b.sum));
        let best = best.map(|episode| episode.states.iter().map(Swimmer::position).collect());
        Self {
            returns: episodes.iter().map(|episode| episode.sum).collect(),
            ways: episodes.iter().map(|episode| episode.way).collect(),
            best: best.unwrap_or_default(),
        }
    }
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Learned {
    pub(super) looks: Vec<Look>,
    /// Actions drawn from the policy, and the best of several draws.
    pub(super) sampled: Swum,
    pub(super) greedy: Swum,
    /// The step whose update was no number, if one was.
    pub(super) diverged: Option<usize>,
    /// Seconds in all, and of them in the environment.
    pub(super) seconds: [f64; 2],
    pub(super) updates: usize,
}

/// Where a training stands, besides tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    /// Steps made, steps of the path that runs.
    step: [usize; 2],
    position: [f64; 5],
    velocity: [f64; 5],
    cursor: usize,
    progress: SoftQProgress,
    looks: Vec<Look>,
    sums: BTreeMap<String, [f64; 2]>,
    seconds: [f64; 2],
}

/// A training that runs.
struct Session<'a> {
    fit: &'a Fit,
    device: &'a Device,
    seed: Seed,
    learner: SoftQ,
    pool: Transitions,
    swimmer: Swimmer,
    place: Place,
}

impl Fit {
    /// Everything of a policy and a seed.
    ///
    /// # Errors
    /// For an unknown name.
    pub(super) fn of(settings: &SwimmerSettings, name: &str, seed: u64) -> Result<Self> {
        let SwimmerSettings { steps, begin, update_every, learning_path, .. } = *settings;
        let SwimmerSettings { path, episodes, looks, look_episodes, greedy_draws, .. } = *settings;
        Ok(Self {
            name: name.to_owned(),
            policy: settings.policy(name)?,
            learning: settings.learning(),
            annealing: settings.annealing(name),
            steps: [steps, begin, update_every, learning_path],
            measured: [path, episodes, looks, look_episodes, greedy_draws],
            seed,
        })
    }

    /// The training as one of many.
    pub(super) fn cell(self, device: Device) -> Result<Cell<'static, Learned>> {
        let (key, updates) = (json(&self)?, self.steps[0]);
        let work = move |ticker: &Ticker| {
            self.session(&device, ticker.dir(), &|step, values| ticker.at(step, values))
        };
        Ok(Cell { key, updates, work: Box::new(work) })
    }

    /// Goes on in `dir`, or begins there, and leaves its model there.
    pub(super) fn session(&self, device: &Device, dir: &Path, tell: Tell<'_>) -> Result<Learned> {
        let states = StateDir::new(dir.join("states"));
        let mut session = Session::begin(self, device)?;
        if let Some(path) = states.latest()? {
            session.restore(&path)?;
        }
        let [steps, ..] = self.steps;
        let [_, _, looks, ..] = self.measured;
        let (look_every, save_every) = ((steps / looks).max(1), (steps / SAVES).max(1));
        let mut diverged = None;
        while session.place.step[0] < steps {
            let started = Instant::now();
            match session.one() {
                Err(crate::Error::Chains(error)) if error.is_recoverable() => {
                    diverged = Some(session.place.step[0]);
                    break;
                }
                outcome => outcome?,
            }
            let step = session.place.step[0];
            if step.is_multiple_of(look_every) {
                session.look()?;
            }
            session.place.seconds[0] += started.elapsed().as_secs_f64();
            if step.is_multiple_of(TICK) {
                tell(step, &session.last());
            }
            if step.is_multiple_of(save_every) && step < steps {
                session.save(&states)?;
            }
        }
        session.learner.save(&dir.join("model"))?;
        session.finish(diverged)
    }
}

/// The stream of the episodes that are measured: the same resets for every actor.
pub(super) fn evaluation(seed: u64) -> Seed {
    Seed::new(seed).child("swimmer").child("evaluation")
}

impl<'a> Session<'a> {
    fn begin(fit: &'a Fit, device: &'a Device) -> Result<Self> {
        // With and without annealing a learner begins with the same networks.
        let stream = if fit.name == ANNEALED { "u-gan" } else { &fit.name };
        let seed = Seed::new(fit.seed).child("swimmer").child(stream);
        let (learning, policy) = (fit.learning.clone(), fit.policy.clone());
        let pool = Transitions::new(learning.pool)?;
        let learner = SoftQ::new(learning, policy, seed.child("model"), device)?;
        let swimmer = Swimmer::reset(&mut seed.child("reset").host_noise())?;
        let place = Place {
            step: [0; 2],
            position: swimmer.position(),
            velocity: swimmer.velocity(),
            cursor: 0,
            progress: SoftQProgress::default(),
            looks: Vec::new(),
            sums: BTreeMap::new(),
            seconds: [0.0; 2],
        };
        Ok(Self { fit, device, seed, learner, pool, swimmer, place })
    }

    /// One step in the environment, and an update where there is one.
    fn one(&mut self) -> Result<()> {
        let [steps, begin, update_every, path] = self.fit.steps;
        let step = self.place.step[0];
        let seed = self.seed;
        let stream = |name: &str| seed.child(name).indexed(step as u64).host_noise();
        let state = self.swimmer.observation();
        let seen = Tensor::new(&[state.map(|value| value as f32)], self.device)?;
        let sampled = Sampled(self.learner.policy());
        let actor: &dyn Actor = if step < begin { &RandomActions } else { &sampled };
        let drawn = actor.act(&seen, step, &mut stream("act"))?.to_vec2::<f32>()?;
        let action = [f64::from(drawn[0][0]), f64::from(drawn[0][1])];
        let started = Instant::now();
        let reward = self.swimmer.step(action)?;
        self.place.seconds[1] += started.elapsed().as_secs_f64();
        let next_state = self.swimmer.observation();
        self.pool.push(&Transition { state, action, reward, next_state, done: false });
        if step >= begin && (step - begin).is_multiple_of(update_every) {
            let size = self.fit.learning.batch_size;
            let batch = self.pool.sample(size, &mut stream("batch"), self.device)?;
            let lambda = self.fit.annealing.lambda(step, steps)?;
            let mut noise =
                noise::of_device(seed.child("update").indexed(step as u64), self.device);
            let terms = self.learner.update(&batch, lambda, &mut *noise)?;
            self.add(&terms);
        }
        self.place.step[0] += 1;
        self.place.step[1] += 1;
        if self.place.step[1] == path {
            self.swimmer = Swimmer::reset(&mut stream("reset"))?;
            self.place.step[1] = 0;
        }
        Ok(())
    }

    fn add(&mut self, terms: &SoftQTerms) {
        let own = [("q_loss", terms.q_loss), ("q", terms.q), ("target", terms.target)];
        for (name, value) in own.into_iter().chain(terms.policy.iter().copied()) {
            let sum = self.place.sums.entry(name.to_owned()).or_default();
            *sum = [sum[0] + value, sum[1] + 1.0];
        }
    }

    /// Means since the last look and the return of that.
    fn last(&self) -> Vec<(&'static str, f64)> {
        let q = self.place.sums.get("q").map(|[sum, n]| ("q", sum / n));
        let found = self.place.looks.last();
        let found = found
            .map(|look| ("return", look.returns.iter().sum::<f64>() / look.returns.len() as f64));
        q.into_iter().chain(found).collect()
    }

    fn swim(&self, actor: &dyn Actor, n: usize) -> Result<Vec<Episode>> {
        let mut noise = evaluation(self.fit.seed).host_noise();
        Ok(episodes(actor, [n, self.fit.measured[0]], self.device, &mut noise)?)
    }

    fn look(&mut self) -> Result<()> {
        let [_, _, _, n, _] = self.fit.measured;
        let swum = self.swim(&Sampled(self.learner.policy()), n)?;
        let sums = std::mem::take(&mut self.place.sums);
        let means = sums.into_iter().map(|(name, [sum, n])| (name, sum / n)).collect();
        let returns = swum.iter().map(|episode| episode.sum).collect();
        self.place.looks.push(Look { step: self.place.step[0], returns, means });
        Ok(())
    }

    fn save(&mut self, states: &StateDir) -> Result<()> {
        let (mut carried, progress) = self.learner.carried();
        carried.push((POOL.to_owned(), self.pool.tensor()?));
        (self.place.position, self.place.velocity) =
            (self.swimmer.position(), self.swimmer.velocity());
        (self.place.cursor, self.place.progress) = (self.pool.cursor(), progress);
        let (store, adam) = (self.learner.store(), self.learner.adam());
        let parts = Parts { store, adam, average: None, carried: &carried };
        states.save(self.place.step[0], parts, &self.place)?;
        Ok(())
    }

    fn restore(&mut self, path: &Path) -> Result<()> {
        let constants = self.fit.learning.adam;
        let Loaded { adam, mut carried, progress, .. } =
            StateDir::load::<Place>(path, self.learner.store(), constants, None)?;
        self.place = progress.extra;
        let rows = carried.remove(POOL).ok_or_else(|| {
            crate::Error::format(path, "has no pool; leave out --resume to train afresh")
        })?;
        self.pool = Transitions::restore(self.fit.learning.pool, &rows, self.place.cursor)?;
        self.learner.restore(path, adam, &carried, &self.place.progress)?;
        self.swimmer = Swimmer::at(self.place.position, self.place.velocity);
        Ok(())
    }

    fn finish(self, diverged: Option<usize>) -> Result<Learned> {
        let [_, n, _, _, draws] = self.fit.measured;
        let sampled = self.swim(&Sampled(self.learner.policy()), n)?;
        let greedy = self.swim(&Greedy { learner: &self.learner, draws }, n)?;
        Ok(Learned {
            sampled: Swum::of(&sampled),
            greedy: Swum::of(&greedy),
            diverged,
            seconds: self.place.seconds,
            updates: self.learner.updates(),
            looks: self.place.looks,
        })
    }
}
