//! The autoencoder of points: one group of latent variables, dense layers.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Error, Noise, ParamStore, Result, Seed,
    autograd::value_and_gradients,
    checkpoint, host,
    nn::{Linear, LinearInit},
    ops,
    optim::Adam,
};
use serde::{Deserialize, Serialize};

use super::Kernels;
use crate::noise_decoder::{
    Decoded, Group, JointNoise, NoiseDecoder, NoiseShapes, PixelLaw, PixelRange,
};

/// The name of autoencoders of points in checkpoints.
const PLANE_METHOD: &str = "vaebm-plane";

/// Sizes of [`PlaneVae`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaneConfig {
    /// Numbers in a point.
    pub dim: usize,
    /// Latent variables.
    pub latent: usize,
    /// Widths of the hidden layers of encoder and decoder.
    pub hidden: Vec<usize>,
    /// Added to the decoder's standard deviation.
    pub scale_floor: f64,
}

impl PlaneConfig {
    /// 25 Gaussians: 20 latent variables, four dense layers of 256 (section 5.2). Not in the paper: the
    /// floor, 0.05.
    pub fn published() -> Self {
        Self { dim: 2, latent: 20, hidden: vec![256; 3], scale_floor: 0.05 }
    }

    fn validate(&self) -> Result<()> {
        if self.dim == 0 || self.latent == 0 || self.hidden.contains(&0) {
            let reason = "dimensions and widths must be one or more".into();
            return Err(Error::Config { field: "hidden", reason });
        }
        if !(self.scale_floor >= 0.0 && self.scale_floor.is_finite()) {
            let reason = format!("{} is not zero or a positive number", self.scale_floor);
            return Err(Error::Config { field: "scale_floor", reason });
        }
        Ok(())
    }
}

/// Encoder and decoder of dense layers with swish between them.
///
/// `q(z | x) = N(mean(x), exp(s(x))^2)`, `p(z) = N(0, I)`, `p(x | z) = N(mean(z), (exp(s(z)) +
/// floor)^2)`; no soft clamp, points as they are.
#[derive(Clone, Debug)]
pub struct PlaneVae {
    config: PlaneConfig,
    encoder: Vec<Linear>,
    decoder: Vec<Linear>,
    placement: (DType, Device),
}

impl PlaneVae {
    /// Asks `vb` for `encoder.{i}` and `decoder.{i}`, each with `weight` and `bias`.
    ///
    /// # Errors
    /// If the configuration is invalid or the builder holds tensors of other shapes.
    pub fn new(config: &PlaneConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        let stack = |input: usize, output: usize, vb: VarBuilder<'_>| -> Result<Vec<Linear>> {
            let widths = [&[input], config.hidden.as_slice(), &[2 * output]].concat();
            let layers = widths
                .windows(2)
                .enumerate()
                .map(|(i, pair)| Linear::new(pair[0], pair[1], true, LinearInit::FanIn, vb.pp(i)));
            layers.collect()
        };
        Ok(Self {
            config: config.clone(),
            encoder: stack(config.dim, config.latent, vb.pp("encoder"))?,
            decoder: stack(config.latent, config.dim, vb.pp("decoder"))?,
            placement: (vb.dtype(), vb.device().clone()),
        })
    }

    /// Means and log-scales of the posterior, `(b, latent)` each.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `x` is `(b, dim)`.
    pub fn encode(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        if x.rank() != 2 || x.dims()[1] != self.config.dim {
            let (expected, got) = (format!("(b, {})", self.config.dim), x.dims().to_vec());
            return Err(Error::Shape { what: "points", expected, got });
        }
        through(&self.encoder, x)
    }

    /// Mean and standard deviation of points, `(b, dim)` each, from latents `(b, latent)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for other latents.
    pub fn decode_latent(&self, z: &Tensor) -> Result<[Tensor; 2]> {
        let [mean, log_scale] = through(&self.decoder, z)?;
        Ok([mean, (ops::exp(&log_scale)? + self.config.scale_floor)?])
    }

    /// Reconstruction `-ln p(x | z)` at one draw of the posterior and its divergence from the prior in
    /// closed form, `(b,)` each: minus the bound is their sum.
    ///
    /// # Errors
    /// As [`PlaneVae::encode`].
    pub fn bound_terms(&self, x: &Tensor, noise: &mut dyn Noise) -> Result<[Tensor; 2]> {
        let [mean, log_scale] = self.encode(x)?;
        let scale = ops::exp(&log_scale)?;
        let e = noise.normal(mean.shape(), mean.dtype(), mean.device())?;
        let reconstruction = self.log_prob(x, &(&mean + scale.mul(&e)?)?)?.neg()?;
        let terms = ((mean.sqr()? + scale.sqr()?)? - (log_scale * 2.0)?)?;
        Ok([reconstruction, (terms - 1.0)?.sum(1)?.affine(0.5, 0.0)?])
    }

    /// `ln p(x, z) - ln q(z | x)` at one draw of the posterior for each row, `(b,)`.
    ///
    /// # Errors
    /// As [`PlaneVae::encode`].
    pub fn log_weights(&self, x: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        self.log_weights_at(x, &self.encode(x)?, noise)
    }

    /// [`PlaneVae::log_weights`] with the posterior of [`PlaneVae::encode`] at hand: points that are
    /// looked at many times pass the encoder once.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is a posterior for every point.
    pub fn log_weights_at(
        &self,
        x: &Tensor,
        [mean, log_scale]: &[Tensor; 2],
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let e = noise.normal(mean.shape(), mean.dtype(), mean.device())?;
        let z = (mean + log_scale.exp()?.mul(&e)?)?;
        // Constants of prior and posterior cancel.
        let ratio = ((e.sqr()? - z.sqr()?)? * 0.5)?;
        Ok((self.log_prob(x, &z)? + (ratio + log_scale)?.sum(1)?)?)
    }

    /// `ln p(x | z)`, `(b,)`.
    fn log_prob(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let [mean, scale] = self.decode_latent(z)?;
        ops::gaussian_log_prob(&x.contiguous()?, &mean.contiguous()?, &scale.sqr()?)
    }

    /// The decoder's law of points at `n` latents of the prior.
    ///
    /// # Errors
    /// [`Error::Shape`] unless points have two numbers.
    pub fn kernels(&self, n: usize, noise: &mut dyn Noise) -> Result<Kernels> {
        let (dtype, device) = &self.placement;
        let z = noise.normal(&(n, self.config.latent).into(), *dtype, device)?;
        let [mean, scale] = self.decode_latent(&z)?;
        Kernels::new(&mean, &scale)
    }
}

/// Dense layers with swish between them, the result in halves.
fn through(layers: &[Linear], x: &Tensor) -> Result<[Tensor; 2]> {
    let mut h = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        if i > 0 {
            h = ops::silu(&h)?;
        }
        h = layer.forward(&h)?;
    }
    let half = h.dims()[1] / 2;
    Ok([h.narrow(1, 0, half)?.contiguous()?, h.narrow(1, half, half)?.contiguous()?])
}

impl NoiseDecoder for PlaneVae {
    fn noise_shapes(&self) -> NoiseShapes {
        NoiseShapes { latents: vec![vec![self.config.latent]], pixels: vec![self.config.dim] }
    }

    fn dtype(&self) -> DType {
        self.placement.0
    }

    fn device(&self) -> Device {
        self.placement.1.clone()
    }

    fn decode(&self, noise: &JointNoise) -> Result<Decoded> {
        noise.check(&self.noise_shapes())?;
        let z = &noise.latents[0];
        let [mean, scale] = self.decode_latent(z)?;
        let prior = z.detach();
        let (zero, one) = (prior.zeros_like()?, prior.ones_like()?);
        let group = Group { mean: zero, scale: one, z: z.clone() };
        let law = PixelLaw { mean, floored_scale: scale.clone(), scale };
        Decoded::new(vec![group], law, &noise.pixels, PixelRange::Plain)
    }
}

/// An autoencoder of points with its parameters.
pub struct PlaneModel {
    store: ParamStore,
    live: PlaneVae,
    frozen: PlaneVae,
}

impl PlaneModel {
    /// A model with initial parameters from `seed`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: &PlaneConfig, seed: Seed, dtype: DType, device: &Device) -> Result<Self> {
        let store = ParamStore::new(seed, dtype, device);
        let live = PlaneVae::new(config, store.builder())?;
        let frozen = PlaneVae::new(config, store.frozen())?;
        Ok(Self { store, live, frozen })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: PlaneConfig = checkpoint::read_config(dir, PLANE_METHOD)?;
        let model = Self::new(&config, Seed::new(0), DType::F32, device)?;
        model.store.load_strict(&dir.join(checkpoint::WEIGHTS_FILE))?;
        Ok(model)
    }

    /// Writes a model directory.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let (version, tensors) = (env!("CARGO_PKG_VERSION"), self.store.tensors());
        checkpoint::save_model(dir, PLANE_METHOD, version, &self.live.config, &tensors)
    }

    /// All parameters.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The networks with a graph in their parameters.
    pub fn live(&self) -> &PlaneVae {
        &self.live
    }

    /// The networks without one, for chains and estimates.
    pub fn frozen(&self) -> &PlaneVae {
        &self.frozen
    }
}

/// What an update of the first stage sees, means over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlaneTerms {
    /// `-ln p(x | z)`.
    pub reconstruction: f64,
    /// Divergence of the posterior from the prior.
    pub divergence: f64,
}

/// One step up the bound.
///
/// # Errors
/// [`Error::NonFinite`] if the bound is no number, before anything moves.
pub fn update_plane(
    model: &PlaneModel,
    adam: &mut Adam,
    learning_rate: f64,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<PlaneTerms> {
    update_plane_weighted(model, adam, [learning_rate, 1.0], x, noise)
}

/// As [`update_plane`], the divergence weighted by the second of the rates: `-ln p(x|z) + weight KL`. A weight
/// that grows from zero to one in the first updates keeps the posterior from falling onto the prior before
/// the decoder has learnt to use it.
///
/// # Errors
/// As there.
pub fn update_plane_weighted(
    model: &PlaneModel,
    adam: &mut Adam,
    [learning_rate, kl_weight]: [f64; 2],
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<PlaneTerms> {
    let (mut reconstruction, mut divergence) = (None, None);
    let (loss, grads) = value_and_gradients(|| {
        let [far, from_prior] = model.live.bound_terms(x, noise)?;
        let (far, from_prior) = (far.mean_all()?, from_prior.mean_all()?);
        (reconstruction, divergence) = (Some(far.detach()), Some(from_prior.detach()));
        Ok((far + (from_prior * kl_weight)?)?)
    })?;
    let [loss, reconstruction, divergence] =
        host::scalars_or_zero([Some(&loss), reconstruction.as_ref(), divergence.as_ref()])?;
    if !loss.is_finite() {
        let step = usize::try_from(adam.steps()).unwrap_or(usize::MAX);
        return Err(Error::NonFinite { what: "bound", step });
    }
    adam.step(&model.store, &grads, learning_rate)?;
    Ok(PlaneTerms { reconstruction, divergence })
}
