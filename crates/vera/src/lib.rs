//! VERA: energy models trained with an entropy-regularised generator in place of a Markov chain.
//!
//! W. Grathwohl, J. Kelly, M. Hashemi, M. Norouzi, K. Swersky, D. Duvenaud, *No MCMC for me:
//! Amortized sampling for fast and stable training of energy-based models*, ICLR 2021.
//!
//! # The method
//!
//! Maximum likelihood for an energy model `p(x) = exp(f(x)) / Z` needs samples of the model. They
//! are taken from a generator instead, kept close to the model by
//!
//! ```text
//! ln Z = max_q  E_q[f(x)] + H(q)
//! ```
//!
//! whose maximum is at `q = p`. The generator has a latent variable and output noise,
//! `x = g(z) + sigma e`, and climbs `E_q[f] + lambda H(q)`. The entropy has no closed form, its
//! gradient needs only the score of `q`, a posterior mean that is estimated by self-normalised
//! importance sampling around the latent that produced `x`. No chain is run at any time.
//!
//! Since the generator maximises a lower bound on `ln Z`, the energy climbs an *upper* bound on its
//! likelihood: a higher objective is no evidence of likelihood, which is why [`Nice`] and
//! [`MixtureEnergy`] are here, whose likelihood is known.
//!
//! * [`config`]: networks and training of the paper's experiments as plain structs.
//! * [`VeraModel`]: energy and generator; saves and loads. [`Players`] are the same for networks of
//!   your own, which implement [`EnergyNetwork`] and [`GeneratorNetwork`].
//! * [`update`]: one iteration; [`importance_score`], [`hmc_score`], [`posterior_bound`] are its parts.
//! * [`baselines`]: what the paper compares with.
//! * [`LatentEnergy`]: refinement of samples by chains.
//!
//! In this workspace `energy(x)` is low where data are likely: it is `-f(x)` of the paper.

pub mod baselines;
pub mod config;
mod entropy;
mod generator;
mod import;
mod model;
mod network;
mod objective;
mod players;
mod posterior_hmc;
mod refine;
mod train;

pub use config::{EnergyConfig, Entropy, GeneratorConfig, HmcConfig, ModelConfig, TrainConfig};
pub use entropy::{ScoreEstimate, entropy_surrogate, importance_score, posterior_bound};
pub use generator::{
    DcganGenerator, Drawn, Generator, GeneratorNet, GeneratorNetwork, LinearGenerator,
    MlpGenerator, ResNetGenerator,
};
pub use import::{published_name, published_tensors, read_published};
pub use model::{METHOD, VeraModel};
pub use network::{
    DcganEnergy, EnergyNet, EnergyNetwork, EnergyOf, GaussianEnergy, MixtureEnergy, MlpEnergy,
    Nice, ResNetEnergy, WideResNet, log_density,
};
pub use objective::{class_entropy, cross_entropy, log_softmax};
pub use players::{Begin, ENERGY, GENERATOR, Players};
pub use posterior_hmc::{PosteriorEnergy, hmc_score};
pub use refine::{LatentEnergy, LatentPrior};
pub use train::{DIVERGED, Labels, Terms, TrainState, energy_gradients, posterior_step, update};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
