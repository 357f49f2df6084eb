//! VERA: energy models trained with an entropy-regularised generator in place of a Markov chain.
//!
//! W. Grathwohl, J. Kelly, M. Hashemi, M. Norouzi, K. Swersky, D. Duvenaud, *No MCMC for me:
//! Amortized sampling for fast and stable training of energy-based models*, ICLR 2021.
//!
//! **Not implemented yet.** The crate holds its place in the workspace and has no public items; this
//! page says what it is for.
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
//! gradient needs only the score of `q`, which is a posterior mean,
//!
//! ```text
//! grad_x ln q(x) = E_{q(z | x)}[ -(x - g(z)) / sigma^2 ]
//! ```
//!
//! and this is estimated by self-normalised importance sampling with 20 proposals around the latent
//! that produced `x`. The width of the proposal is learned through a bound of its own. No chain is
//! run at any time.
//!
//! The energy is updated with the difference of its means over data and generated samples, plus a
//! penalty on `|grad_x f|^2` at the data. For classifiers that are energy models,
//! `f(x) = logsumexp_y logits(x)[y]`, a cross-entropy term is added, and on unlabelled data the
//! entropy of the prediction.
//!
//! Since the generator maximises a lower bound on `ln Z`, the energy climbs an *upper* bound on its
//! likelihood: the paper checks it on models whose likelihood is known, and so will we.
//!
//! # What the crate will contain
//!
//! | module | holds |
//! | --- | --- |
//! | `config` | settings of every experiment, with the paper's table or our own reason |
//! | `model` | energies, generators, an invertible network and a mixture with exact likelihoods |
//! | `entropy` | the importance-sampled entropy gradient and the learned proposal width |
//! | `objective` | the losses of energy and generator, classification terms, gradient penalty |
//! | `baselines` | the training methods that the paper compares with |
//! | `train` | one update of energy, generator and proposal |
//!
//! In this workspace `energy(x)` is low where data are likely: it is `-f(x)` of the paper.
//!
//! # What it builds on
//!
//! Noise, parameters, networks, directional derivatives for the gradient penalty, Hamiltonian
//! kernels and optimisers come from [`chains_core`].
