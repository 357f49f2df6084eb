//! Annealed chains over blocks, forward and back.

use std::{cell::RefCell, ops::Range};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, Result, Seed,
    chain::{Kernel, Step},
    dist::DiagGaussian,
    host,
    mcmc::Hmc,
};

use super::{
    Ais, AisAdaptation, AisBound, AisSettings, DecoderModel,
    noise::ChainNoise,
    path::{Parts, Path, Tempered},
    result::{Row, summary},
};
use crate::distances::blocks;

/// Checked input.
pub(super) struct Problem<'a> {
    model: DecoderModel<'a>,
    data: &'a Tensor,
    proposal: Option<&'a DiagGaussian>,
    settings: &'a AisSettings,
    latent_width: usize,
}

/// Which way chains go.
#[derive(Clone, Copy)]
pub(super) enum Direction<'a> {
    /// From the start to the posterior.
    Forward,
    /// From exact posterior samples, `(n, z)`, to the start.
    Reverse(&'a Tensor),
}

/// Step sizes of the transitions.
pub(super) enum StepSizes {
    /// They adapt as chains go.
    Adapting,
    /// For every point those of the transitions at `b_1, .., b_{T-1}`.
    Frozen(Vec<f64>),
}

impl<'a> Problem<'a> {
    pub(super) fn new(
        model: &DecoderModel<'a>,
        data: &'a Tensor,
        proposal: Option<&'a DiagGaussian>,
        settings: &'a AisSettings,
    ) -> Result<Self> {
        settings.validate()?;
        model.observation.check()?;
        let latent_width = model.latent_width()?;
        let n = match data.dims() {
            [n, d] if *n > 0 && *d > 0 => *n,
            got => {
                let expected = "(n, d), both one or more".into();
                return Err(Error::Shape { what: "data", expected, got: got.to_vec() });
            }
        };
        if !matches!(data.dtype(), DType::F32 | DType::F64) {
            let reason = format!("of type {}: f32 or f64 is needed", data.dtype().as_str());
            return Err(Error::Config { field: "data", reason });
        }
        model.observation.check_data(&host::values(&data.flatten_all()?)?)?;
        let this = Self { model: *model, data, proposal, settings, latent_width };
        if let Some(proposal) = proposal {
            this.check_latents("proposal", proposal.mean(), n)?;
            let usable = |v: &f64| *v > 0.0 && v.is_finite();
            if !host::values(&proposal.variance().flatten_all()?)?.iter().all(usable) {
                let reason = "a variance is not a positive number".into();
                return Err(Error::Config { field: "proposal", reason });
            }
        }
        Ok(this)
    }

    /// Latents that are `(n, z)`, of the data's type, and finite.
    pub(super) fn check_latents(
        &self,
        what: &'static str,
        latents: &Tensor,
        n: usize,
    ) -> Result<()> {
        if latents.dims() != [n, self.latent_width] {
            return Err(Error::Shape {
                what,
                expected: format!("({n}, {})", self.latent_width),
                got: latents.dims().to_vec(),
            });
        }
        if latents.dtype() != self.data.dtype() {
            let (got, wanted) = (latents.dtype().as_str(), self.data.dtype().as_str());
            let reason = format!("of type {got}, the data are {wanted}");
            return Err(Error::Config { field: what, reason });
        }
        if host::values(&latents.flatten_all()?)?.iter().all(|x| x.is_finite()) {
            return Ok(());
        }
        Err(Error::NonFinite { what, step: 0 })
    }

    /// The step sizes of the run, from a pilot run if they are to be frozen.
    pub(super) fn step_sizes(&self, betas: &[f64]) -> Result<StepSizes> {
        if self.settings.adaptation == AisAdaptation::Online {
            return Ok(StepSizes::Adapting);
        }
        let (n, chains, transitions) =
            (self.data.dim(0)?, self.settings.chains, betas.len().saturating_sub(2));
        let mut means = vec![0.0; n * transitions];
        if means.is_empty() {
            return Ok(StepSizes::Frozen(means));
        }
        let seed = Seed::new(self.settings.seed).child("pilot");
        for rows in self.blocks(n) {
            let mut record = |number: usize, sizes: &[f64]| {
                for (row, size) in rows.clone().zip(sizes) {
                    means[row / chains * transitions + number] += size / chains as f64;
                }
            };
            let block = self.block(rows.clone(), seed)?;
            block.run(Direction::Forward, betas, &StepSizes::Adapting, &mut record)?;
        }
        Ok(StepSizes::Frozen(means))
    }

    /// Runs all chains and summarises their weights.
    pub(super) fn run(
        &self,
        direction: Direction<'_>,
        betas: &[f64],
        sizes: &StepSizes,
    ) -> Result<Ais> {
        let (label, bound) = match direction {
            Direction::Forward => ("forward", AisBound::Lower),
            Direction::Reverse(_) => ("reverse", AisBound::Upper),
        };
        let seed = Seed::new(self.settings.seed).child(label);
        let n = self.data.dim(0)?;
        let mut all = Vec::with_capacity(n * self.settings.chains);
        for rows in self.blocks(n) {
            let block = self.block(rows, seed)?;
            all.extend(block.run(direction, betas, sizes, &mut |_, _| ())?);
        }
        let transitions = betas.len().saturating_sub(2);
        let points = summary(&all, self.settings.chains, transitions, bound)?;
        let observation = self.model.observation;
        Ok(Ais::new(points, &all, (bound, observation), self.latent_width, self.settings)
            .with_proposal(self.proposal.is_some()))
    }

    fn blocks(&self, n: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        blocks(n * self.settings.chains, self.settings.block)
    }

    /// Chains `rows`, counted through all points.
    fn block(&self, rows: Range<usize>, seed: Seed) -> Result<Block<'_>> {
        let chains = self.settings.chains;
        let points: Vec<u32> = rows.clone().map(|row| (row / chains) as u32).collect();
        let points = Tensor::new(points, self.data.device())?;
        let data = self.data.index_select(&points, 0)?;
        let variances = self.model.variances(&data)?;
        let gather = |t: &Tensor| Ok::<_, Error>(t.index_select(&points, 0)?.detach());
        let proposal = match self.proposal {
            None => None,
            Some(q) => Some((gather(q.mean())?, gather(q.variance())?)),
        };
        let path = Path { model: self.model, data, variances, proposal };
        let noise = ChainNoise::new(seed, rows.clone(), chains);
        Ok(Block { problem: self, path, points, rows, noise: RefCell::new(noise) })
    }
}

/// Chains that are computed together.
struct Block<'a> {
    problem: &'a Problem<'a>,
    path: Path<'a>,
    /// The point of every chain.
    points: Tensor,
    rows: Range<usize>,
    noise: RefCell<ChainNoise>,
}

/// Chains on their way.
struct State {
    position: Tensor,
    parts: Parts,
    /// Of the next transition, unless frozen.
    step_size: Tensor,
    acceptance: Tensor,
}

impl Block<'_> {
    /// Follows the chains through all temperatures; `record` gets the number of every transition, from
    /// that at `b_1`, and the step sizes it took.
    fn run(
        &self,
        direction: Direction<'_>,
        betas: &[f64],
        sizes: &StepSizes,
        record: &mut dyn FnMut(usize, &[f64]),
    ) -> Result<Vec<Row>> {
        let (steps, noise) = (betas.len() - 1, &mut *self.noise.borrow_mut());
        let mut state = self.begin(direction, noise)?;
        let mut rows = vec![Row::default(); self.rows.len()];
        for done in 0..steps {
            let (pair, next) = match direction {
                Direction::Forward => (done, done + 1),
                Direction::Reverse(_) => (steps - 1 - done, steps - 1 - done),
            };
            let log_ratios = state.parts.log_ratios()?;
            if done == 0 && !log_ratios.iter().all(|ratio| ratio.is_finite()) {
                return Err(Error::NonFinite { what: "log p(x | z) where chains start", step: 0 });
            }
            for (row, ratio) in rows.iter_mut().zip(log_ratios) {
                row.log_weight += (betas[pair + 1] - betas[pair]) * ratio;
            }
            if done + 1 == steps {
                break;
            }
            if let StepSizes::Frozen(means) = sizes {
                state.step_size = self.frozen(means, next - 1, steps - 1)?;
            }
            record(next - 1, &host::vector(&state.step_size)?);
            state = self.transition(state, betas[next], &mut rows, noise)?;
        }
        Ok(rows)
    }

    fn begin(&self, direction: Direction<'_>, noise: &mut dyn Noise) -> Result<State> {
        let position = match direction {
            Direction::Forward => self.path.draw(self.problem.latent_width, noise)?,
            Direction::Reverse(latents) => latents.index_select(&self.points, 0)?.detach(),
        };
        let settings = self.problem.settings;
        let all = |value: f64| self.vector(&vec![value; self.rows.len()]);
        Ok(State {
            parts: self.path.parts(&position)?,
            position,
            step_size: all(settings.step_size)?,
            acceptance: all(settings.rule.target)?,
        })
    }

    fn transition(
        &self,
        state: State,
        beta: f64,
        rows: &mut [Row],
        noise: &mut dyn Noise,
    ) -> Result<State> {
        let State { position, parts, step_size, acceptance } = state;
        let settings = self.problem.settings;
        let target = Tempered { path: &self.path, beta, last: RefCell::new(None) };
        let kernel = Hmc::new(&target, settings.leapfrog_steps, settings.step_size)?;
        let here = parts.state(position, beta, step_size)?;
        let (next, info) = kernel.step(&here, Step::at(0), noise)?;
        let parts = match target.last.take() {
            Some(there) => parts.moved(&info.accepted, &there)?,
            None => parts,
        };
        let counts = host::vector(&info.accepted)?.into_iter().zip(host::vector(&info.non_finite)?);
        for (row, (accepted, non_finite)) in rows.iter_mut().zip(counts) {
            row.accepted += accepted;
            row.non_finite += non_finite;
        }
        let (step_size, acceptance) =
            settings.rule.update(&next.step_size, &acceptance, &info.accepted)?;
        Ok(State { position: next.position, parts, step_size, acceptance })
    }

    /// The stored step sizes of every chain at one transition.
    fn frozen(&self, means: &[f64], number: usize, transitions: usize) -> Result<Tensor> {
        let chains = self.problem.settings.chains;
        let of = |row: usize| means[row / chains * transitions + number];
        self.vector(&self.rows.clone().map(of).collect::<Vec<_>>())
    }

    fn vector(&self, values: &[f64]) -> Result<Tensor> {
        let like = &self.path.data;
        let values = Tensor::new(values, &Device::Cpu)?.to_dtype(like.dtype())?;
        Ok(values.to_device(like.device())?)
    }
}
