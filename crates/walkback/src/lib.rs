//! Variational Walkback: one transition operator that heats data to noise and learns to walk back.
//!
//! A. Goyal, N. R. Ke, S. Ganguli, Y. Bengio, *Variational Walkback: Learning a Transition Operator
//! as a Stochastic Recurrent Net*, NIPS 2017.
//!
//! **Not implemented yet.** The crate holds its place in the workspace and has no public items; this
//! page says what it is for. The crate `infusion`, whose ideas are the nearest, is the one to read
//! meanwhile.
//!
//! # The method
//!
//! The model is one stochastic operator `p_T(s' | s)` on data space with a temperature `T`. Applied
//! again and again while `T` falls, it turns broad noise into data; applied for ever at `T = 1` it
//! should stay on the data. On real-valued data it is a diagonal Gaussian around a mixture of the
//! old state and a network's answer,
//!
//! ```text
//! s' ~ N( a s + (1 - a) F_mu(s),  T u(s) )
//! ```
//!
//! with a base variance `u(s)` that a second head of the network predicts, so that temperature
//! multiplies the variance. A chain is trained in two movements:
//!
//! 1. *Walk away.* From an example `x = s_0`, `K` steps with the operator itself at temperatures
//!    `1 = T_1 <= ... <= T_K` that grow by a constant factor. No second network plays the posterior:
//!    the heated operator is `q`.
//! 2. *Walk back.* At each step the operator is taught to give the earlier state from the later one,
//!    `ln p_{T_t}(s_{t-1} | s_t)`, both held constant. No gradient flows through time.
//!
//! This climbs a variational bound on the log density, with `p*` the broad Gaussian from which
//! generation starts:
//!
//! ```text
//! ln p(x) >= E_q[ ln p*(s_K) + sum_t ( ln p_{T_t}(s_{t-1} | s_t) - ln p_{T_t}(s_t | s_{t-1}) ) ]
//! ```
//!
//! The bound is tight when the operator is reversible with respect to `p*` at constant temperature:
//! heated paths from `x` are then the posterior of the cooling paths that end in `x`.
//!
//! # What the crate will contain
//!
//! | module | holds |
//! | --- | --- |
//! | `config` | networks and training settings, one preset a row of the supplement's tables |
//! | `model` | multilayer and convolutional networks, normalisation parameters of their own per step |
//! | `operator` | the tempered Gaussian operator, and the Bernoulli one for binary data |
//! | `objective` | the walk-back loss per step, accumulated over a walk or online |
//! | `likelihood` | the bound and its importance-sampled tightening, with effective sample sizes |
//! | `sampler` | cooling with further steps at `T = 1`, inpainting, a measure of reversibility |
//!
//! Two regimes will be kept apart, because the published code mixes them: one that learns the
//! variance and gives valid bounds, one that minimises reconstruction error, clips states and gives
//! pictures but no nats.
//!
//! # What it builds on
//!
//! Noise, parameters, distributions, chains and path estimators come from [`chains_core`].
