//! The losses of an iteration at one set of weights, and their gradients.

use candle_core::{Tensor, Var, backprop::GradStore};
use chains_core::{Noise, Result, autograd::values_and_gradients, host, nn::BatchNormMoments};

use super::denoises;
use crate::{
    config::TrainConfig,
    model::{DENOISER, DISCRIMINATOR, GENERATOR, GanModel, Networks},
    network::Criticised,
    objective::{
        AnnealTerm, Objective, Penalty, Weight, between, critic_loss, denoising_loss, dfm_loss,
        generator_loss, penalty_at, reference_loss, score_loss,
    },
    score::{dae_score, residual_score},
};

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Critic, denoiser and generator.
    All,
    /// Critic and denoiser.
    Critic,
    /// The generator.
    Generator,
}

/// What an iteration gives, measured before the step that it led to; means over examples, nats where they
/// are logarithms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The critic's loss with its penalty.
    pub critic: f64,
    /// The generator's loss with its term.
    pub generator: f64,
    /// The denoiser's loss; 0 without a term.
    pub denoiser: f64,
    /// The gradient penalty before its weight; 0 without one.
    pub penalty: f64,
    /// Mean length of the gradients that are penalised; 0 without penalty.
    pub gradient_norm: f64,
    /// What the term added to the generator's loss.
    pub annealing: f64,
    /// The weight used.
    pub lambda: f64,
    /// Mean logit of data.
    pub real: f64,
    /// Mean logit of generated images.
    pub fake: f64,
}

impl Terms {
    /// Takes what a turn measured, leaving the rest.
    pub(super) fn take(&mut self, found: &Self, turn: Turn) {
        let before = *self;
        *self = *found;
        match turn {
            Turn::All => {}
            Turn::Critic => {
                (self.generator, self.annealing) = (before.generator, before.annealing);
                self.lambda = before.lambda;
            }
            Turn::Generator => {
                (self.critic, self.denoiser) = (before.critic, before.denoiser);
                (self.penalty, self.gradient_norm) = (before.penalty, before.gradient_norm);
                self.real = before.real;
            }
        }
    }
}

/// Losses of an iteration, with the gradients of those whose turn it is, each in its own variables only.
pub struct Losses {
    /// The values.
    pub terms: Terms,
    /// Of the critic's weights.
    pub critic: Option<GradStore>,
    /// Of the generator's weights.
    pub generator: Option<GradStore>,
    /// Of the denoiser's weights.
    pub denoiser: Option<GradStore>,
    /// For the running moments.
    pub(super) moved: Moved,
}

/// Moments that the passes found, and the feature of data.
pub(super) struct Moved {
    pub(super) real: BatchNormMoments,
    pub(super) fake: BatchNormMoments,
    pub(super) generator: BatchNormMoments,
    pub(super) denoiser: BatchNormMoments,
    pub(super) feature: Option<Tensor>,
}

/// All losses at the weights as they are (section 5.1 of the method: real pass, denoiser on the noisy
/// feature of data, generated pass with a graph that the generator's and the critic's loss share, score
/// at the clean generated feature), without a step. The annealing term reaches the generator alone.
///
/// # Shapes
/// `x`: `(b, c, h, w)`; for the generator's turn only the number of rows counts.
///
/// # Errors
/// Of the networks.
pub fn losses(
    model: &GanModel,
    config: &TrainConfig,
    iteration: usize,
    (x, turn): (&Tensor, Turn),
    noise: &mut dyn Noise,
) -> Result<Losses> {
    let mut pass = Pass {
        model,
        config,
        live: model.live(),
        turn,
        lambda: config.lambda(iteration),
        seen: Seen::default(),
        terms: Terms::default(),
        moved: Moved {
            real: BatchNormMoments::batch(),
            fake: BatchNormMoments::batch(),
            generator: BatchNormMoments::batch(),
            denoiser: BatchNormMoments::batch(),
            feature: None,
        },
    };
    let critic_turn = turn != Turn::Generator;
    let roots = [
        (critic_turn, DISCRIMINATOR),
        (turn != Turn::Critic, GENERATOR),
        (critic_turn && denoises(config), DENOISER),
    ];
    let variables: Vec<Vec<Var>> = roots
        .iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, root)| {
            // A denoiser that does not learn needs no gradients.
            let none = *root == DENOISER && !config.train_denoiser;
            if none { Vec::new() } else { model.store().trainable_under(root) }
        })
        .collect();
    let wanted: Vec<&[Var]> = variables.iter().map(Vec::as_slice).collect();
    let found = values_and_gradients(|| pass.values(x, noise), &wanted)?;
    let mut found = found.into_iter();
    let mut next = |wanted: bool| if wanted { found.next() } else { None };
    let [critic, generator, denoiser] = roots.map(|(wanted, _)| next(wanted));
    let mut terms = pass.terms;
    let value = |pair: &Option<(Tensor, GradStore)>| pair.as_ref().map(|(value, _)| value.clone());
    pass.seen.read([value(&critic), value(&generator), value(&denoiser)], config, &mut terms)?;
    let [critic, generator, denoiser] =
        [critic, generator, denoiser].map(|pair| pair.map(|(_, grads)| grads));
    Ok(Losses { terms, critic, generator, denoiser, moved: pass.moved })
}

/// What is told of an iteration, left on the device until all of it is there.
#[derive(Default)]
struct Seen {
    real: Option<Tensor>,
    fake: Option<Tensor>,
    annealing: Option<Tensor>,
    /// What stands in the critic's loss for the penalty.
    surrogate: Option<Tensor>,
}

impl Seen {
    /// Reads everything at once, with the losses of critic, generator and denoiser.
    fn read(
        &self,
        losses: [Option<Tensor>; 3],
        config: &TrainConfig,
        terms: &mut Terms,
    ) -> Result<()> {
        let Self { real, fake, annealing, surrogate } = self;
        let [critic, generator, denoiser] = &losses;
        let all = [real, fake, annealing, surrogate, critic, generator, denoiser];
        let [real, fake, annealing, surrogate, critic, generator, denoiser] =
            host::scalars_or_zero(all.map(Option::as_ref))?;
        (terms.real, terms.fake, terms.annealing) = (real, fake, annealing);
        (terms.generator, terms.denoiser) = (generator, denoiser);
        // The penalty's surrogate is not its value; both are 0 without one.
        terms.critic = config.penalty * (terms.penalty - surrogate) + critic;
        Ok(())
    }
}

struct Pass<'a> {
    model: &'a GanModel,
    config: &'a TrainConfig,
    live: &'a Networks,
    turn: Turn,
    lambda: f64,
    terms: Terms,
    seen: Seen,
    moved: Moved,
}

impl Pass<'_> {
    /// The losses whose turn it is: critic, generator, denoiser.
    fn values(&mut self, x: &Tensor, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        let b = x.dim(0)?;
        let objective = self.config.objective;
        let real = match self.turn {
            Turn::Generator => None,
            _ => Some(self.live.discriminator.forward(x, &mut self.moved.real)?),
        };
        let denoiser = match &real {
            Some(real) if denoises(self.config) => Some(self.denoiser(&real.feature, noise)?),
            _ => None,
        };
        let z = self.model.latents(b, noise)?;
        let mut images = self.live.generator.forward(&z, &mut self.moved.generator)?;
        if self.turn == Turn::Critic {
            images = images.detach();
        }
        let fake = self.live.discriminator.forward(&images, &mut self.moved.fake)?;
        self.seen.fake = Some(fake.logit.detach().mean_all()?);
        let mut all = Vec::with_capacity(3);
        if let Some(real) = &real {
            self.seen.real = Some(real.logit.detach().mean_all()?);
            let loss = critic_loss(objective, &real.logit, &fake.logit)?;
            all.push(match objective {
                Objective::WGanGp => self.penalised(loss, (x, &images), noise)?,
                _ => loss,
            });
        }
        if self.turn != Turn::Critic {
            all.push(self.generator(&fake)?);
        }
        all.extend(denoiser);
        Ok(all)
    }

    /// The denoiser's loss on data; features are constants.
    fn denoiser(&mut self, feature: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let feature = feature.detach();
        let clean = self.model.frozen().framed(&feature)?;
        let draw = noise.normal(clean.shape(), clean.dtype(), clean.device())?;
        let noisy = (&clean + (draw * self.config.sigma)?)?;
        let denoised = self.live.denoiser.forward(&noisy, &mut self.moved.denoiser)?;
        self.moved.feature = Some(feature);
        denoising_loss(&denoised, &clean)
    }

    /// The generator's loss with its term.
    fn generator(&mut self, fake: &Criticised) -> Result<Tensor> {
        let loss = generator_loss(self.config.objective, &fake.logit)?;
        self.terms.lambda = self.lambda;
        if self.lambda == 0.0 {
            return Ok(loss);
        }
        let term = self.term(&self.live.framed(&fake.feature)?)?;
        self.seen.annealing = Some(term.detach());
        Ok((loss + term)?)
    }

    /// The term at clean generated features, from the denoiser with its running moments.
    fn term(&self, features: &Tensor) -> Result<Tensor> {
        let (sigma, fixed) = (self.config.sigma, features.detach());
        let weight = Weight { lambda: self.lambda, norm: self.config.lambda_norm };
        let denoise =
            |x: &Tensor| self.model.frozen().denoiser.forward(x, &mut BatchNormMoments::Running);
        match self.config.term {
            AnnealTerm::Off => Ok(features.zeros_like()?.sum_all()?),
            AnnealTerm::Score => {
                score_loss(features, &dae_score(&fixed, &denoise(&fixed)?, sigma)?, weight)
            }
            AnnealTerm::Dfm => dfm_loss(features, &denoise(&fixed)?, sigma, weight),
            AnnealTerm::ReferenceCompat => reference_loss(features, &denoise(&fixed)?, weight),
            AnnealTerm::Residual => score_loss(features, &residual_score(&fixed, denoise)?, weight),
        }
    }

    /// The critic's loss with what has the gradient of the penalty.
    fn penalised(
        &mut self,
        loss: Tensor,
        (x, images): (&Tensor, &Tensor),
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let weight = self.config.penalty;
        if weight == 0.0 {
            return Ok(loss);
        }
        let u = noise.uniform(&x.dims()[0].into(), x.dtype(), x.device())?;
        let frozen = &self.model.frozen().discriminator;
        let penalty = penalty_at(&between(x, images, &u)?, |x| Ok(frozen.plain(x)?.logit))?;
        let Penalty { value, length, .. } = penalty;
        let surrogate = penalty.surrogate(|x| Ok(self.live.discriminator.plain(x)?.logit))?;
        (self.terms.penalty, self.terms.gradient_norm) = (value, length);
        self.seen.surrogate = Some(surrogate.detach());
        Ok((loss + (surrogate * weight)?)?)
    }
}
