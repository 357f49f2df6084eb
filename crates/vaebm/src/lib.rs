//! VAEBM: a hierarchical variational autoencoder times an energy network.
//!
//! Z. Xiao, K. Kreis, J. Kautz, A. Vahdat, *VAEBM: A Symbiosis between Variational Autoencoders and
//! Energy-based Models*, ICLR 2021; the autoencoder is that of A. Vahdat, J. Kautz, *NVAE: A Deep
//! Hierarchical Variational Autoencoder*, NeurIPS 2020.
//!
//! **Not implemented yet.** The crate holds its place in the workspace and has no public items; this
//! page says what it is for.
//!
//! # The method
//!
//! The model multiplies a trained autoencoder by a small convolutional energy on pixels,
//!
//! ```text
//! h(x, z) = p(x, z) exp(-E(x)) / Z
//! ```
//!
//! so that regions which the autoencoder wrongly finds likely are suppressed and samples become
//! sharp. Training has two stages:
//!
//! 1. The autoencoder, with groups of latent variables from coarse to fine and a Gaussian pixel
//!    decoder, by the usual bound.
//! 2. The energy, the autoencoder frozen, by maximum likelihood: the gradient is the mean of
//!    `-grad E` over data plus the mean of `grad E` over samples of the product.
//!
//! Those samples come from short Langevin chains in the *noise* space. Every latent group and every
//! pixel is a location and a scale of standard normal noise, `x` is a function of all that noise,
//! and the product density becomes
//!
//! ```text
//! h(e) ~ exp(-E(x(e))) N(e; 0, I)
//! ```
//!
//! in which every coordinate has the same scale, so one step size serves them all. Chains start from
//! fresh noise or, for the latent part, from a replay buffer.
//!
//! # What the crate will contain
//!
//! | module | holds |
//! | --- | --- |
//! | `config` | the published autoencoders and energy networks, one preset a row of the tables |
//! | `model` | the hierarchical autoencoder, the energy network with its spectral regularisation |
//! | `sampler` | the reparameterised potential and Langevin chains on it, with the replay buffer |
//! | `objective` | the bound of stage 1, the contrastive loss of stage 2 |
//! | `import` | names of the official checkpoints' tensors, after conversion to safetensors |
//! | `train` | one update of either stage |
//!
//! Two potentials will be offered by name. The *paper's* is the density above and serves everything
//! that claims to be a density. The *official* program differentiates a potential without the
//! Jacobian of the reparameterisation, which is another density; it is needed to repeat published
//! image scores. A report says which one ran.
//!
//! The official program is under a licence for non-commercial use; this crate is written from a
//! description and takes nothing from its source.
//!
//! # What it builds on
//!
//! Noise, parameters, layers, Langevin kernels, the replay buffer and checkpoints come from
//! [`chains_core`].
