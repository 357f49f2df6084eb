//! The hierarchical autoencoder (NVAE; sections 3 and 4 of its paper, sizes of [`NvaeConfig`]).

mod cell;
mod decode;
mod flow;
mod head;
mod layers;
mod logistic;
mod normal;
mod resample;
mod shapes;
mod tower;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Error, Noise, Result,
    ops::{self, Span},
};

pub use self::{
    decode::NvaeDecoder,
    head::Pixels,
    layers::{MOMENTUM, Pass},
    logistic::{EXACT_EDGE, LogisticMixture, OFFICIAL_EDGE},
    normal::{SoftNormal, soft_clamp},
    resample::bilinear2,
    shapes::{TensorShapes, tensor_shapes},
};
use self::{
    flow::Flow,
    layers::{Build, Conv},
    tower::{DecoderTower, EncoderTower},
};
use crate::config::NvaeConfig;

/// The network, with the tensor names of the published checkpoints.
#[derive(Clone, Debug)]
pub struct Nvae {
    config: NvaeConfig,
    encoder: EncoderTower,
    decoder: DecoderTower,
    /// Raw parameters of each group's posterior.
    posteriors: Vec<Conv>,
    /// Raw parameters of each group's prior but the first's.
    priors: Vec<Conv>,
    flows: Vec<Flow>,
    dtype: DType,
    device: Device,
}

/// A latent group of a pass from noise: what it was drawn from, and what was drawn.
#[derive(Clone, Debug)]
pub struct LatentGroup {
    /// The law given the groups before.
    pub prior: SoftNormal,
    /// `(b, n_z, h, w)`.
    pub z: Tensor,
}

/// What a pass from noise gives.
#[derive(Clone, Debug)]
pub struct Generated {
    /// In the order of generation.
    pub groups: Vec<LatentGroup>,
    /// The law of the images.
    pub pixels: Pixels,
}

/// A latent group of a pass through the encoder.
#[derive(Clone, Debug)]
pub struct InferredGroup {
    /// The law given the groups before.
    pub prior: SoftNormal,
    /// The law given the image and the groups before, ahead of the flows.
    pub posterior: SoftNormal,
    /// What was drawn, behind the flows.
    pub z: Tensor,
    /// `KL(q | p)`, or with flows its estimate by this draw, `(b,)`.
    pub kl: Tensor,
    /// `ln q(z)`, `(b,)`.
    pub log_posterior: Tensor,
    /// `ln p(z)`, `(b,)`.
    pub log_prior: Tensor,
}

/// What a pass through encoder and decoder gives.
#[derive(Clone, Debug)]
pub struct Inferred {
    /// In the order of generation.
    pub groups: Vec<InferredGroup>,
    /// The law of the images.
    pub pixels: Pixels,
}

impl Nvae {
    /// The network of a configuration, its tensors asked of `vb`.
    ///
    /// # Errors
    /// If the configuration is invalid or the builder holds tensors of other shapes.
    pub fn new(config: &NvaeConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Self::build(config, vb, false)
    }

    /// The network with its kernels normalised as they are now, and in evaluation with the decoder's batch
    /// norms folded into them: for chains, with the frozen view of a store. Later changes of parameters and
    /// running moments are not followed.
    ///
    /// # Errors
    /// As [`Nvae::new`].
    pub fn fixed(config: &NvaeConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Self::build(config, vb, true)
    }

    fn build(config: &NvaeConfig, vb: VarBuilder<'_>, fixed: bool) -> Result<Self> {
        config.validate()?;
        let (dtype, device) = (vb.dtype(), vb.device().clone());
        let build = Build { vb, fixed, squeeze: config.squeeze };
        let (mut posteriors, mut priors, mut flows) = (Vec::new(), Vec::new(), Vec::new());
        for (k, scale) in config.scales_up().flat_map(|s| vec![s; config.groups[s]]).enumerate() {
            let [from, to] = [config.encoder_width, config.decoder_width]
                .map(|width| width * config.scaling(scale));
            posteriors.push(Conv::same3(from, 2 * config.latent, &build.pp("enc_sampler").pp(k))?);
            if k > 0 {
                // The state before the first group of a scale has that scale's width already.
                let build = build.pp("dec_sampler").pp(k - 1).pp(1);
                priors.push(Conv::pointwise(to, 2 * config.latent, &build)?);
            }
            let pairs = k * config.flows..(k + 1) * config.flows;
            flows.push(Flow::new(config.latent, pairs, &build.pp("nf_cells"))?);
        }
        Ok(Self {
            encoder: EncoderTower::new(config, &build)?,
            decoder: DecoderTower::new(config, &build)?,
            posteriors,
            priors,
            flows,
            config: config.clone(),
            dtype,
            device,
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &NvaeConfig {
        &self.config
    }

    /// Type of the numbers.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Standard normal noise of every group, in the order of generation.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn draw_latents(&self, b: usize, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        let one = |shape: [usize; 3]| {
            noise.normal(&[&[b][..], &shape].concat().into(), self.dtype, &self.device)
        };
        self.config.latent_shapes().into_iter().map(one).collect()
    }

    /// The map of noise to latent variables and the law of the images: `z_l = mean_l + t scale_l noise_l`,
    /// group after group, with the temperature `t` of the priors, 1 for the model itself.
    ///
    /// # Shapes
    /// `latents`: [`NvaeConfig::latent_shapes`] behind the batch.
    ///
    /// # Errors
    /// [`Error::Shape`] for other noise.
    pub fn generate(
        &self,
        latents: &[Tensor],
        temperature: f64,
        pass: &mut Pass,
    ) -> Result<Generated> {
        self.decoded(latents, temperature, pass, |prior, noise| prior.sample(noise))
    }

    /// The noise that [`Nvae::generate`] at temperature 1 makes these latent variables of, with the laws
    /// on the way: `(z_l - mean_l) / scale_l`.
    ///
    /// # Errors
    /// [`Error::Shape`] for other latent variables.
    pub fn noise_of(&self, z: &[Tensor], pass: &mut Pass) -> Result<(Vec<Tensor>, Generated)> {
        let generated = self.decoded(z, 1.0, pass, |_, z| Ok(z.clone()))?;
        let groups = generated.groups.iter();
        let noise = groups.map(|group| group.prior.noise_of(&group.z)).collect::<Result<_>>()?;
        Ok((noise, generated))
    }

    fn decoded(
        &self,
        given: &[Tensor],
        temperature: f64,
        pass: &mut Pass,
        z: impl Fn(&SoftNormal, &Tensor) -> Result<Tensor>,
    ) -> Result<Generated> {
        let b = self.check_latents(given)?;
        let mut groups = Vec::with_capacity(given.len());
        let raw = self.decoder.forward(b, pass, |k, state, pass| {
            let [mean, log_scale] = self.raw_prior(k, state, &given[k], pass)?;
            let prior = SoftNormal::new(&mean, &log_scale)?.tempered(temperature)?;
            let z = z(&prior, &given[k])?;
            groups.push(LatentGroup { prior, z: z.clone() });
            Ok(z)
        })?;
        Ok(Generated { groups, pixels: self.pixels(&raw)? })
    }

    /// Encodes images and decodes what the noise draws from the posteriors; noise of zeros gives their
    /// means.
    ///
    /// # Shapes
    /// `x`: `(b, c, h, w)` in `[0, 1]`; `latents` as in [`Nvae::generate`].
    ///
    /// # Errors
    /// [`Error::Shape`] for other images or noise.
    pub fn infer(&self, x: &Tensor, latents: &[Tensor], pass: &mut Pass) -> Result<Inferred> {
        let b = self.check_latents(latents)?;
        let event = self.config.event();
        if x.dims() != [&[b][..], &event].concat() {
            let (expected, got) = (format!("({b}, {event:?})"), x.dims().to_vec());
            return Err(Error::Shape { what: "images of the encoder", expected, got });
        }
        let features = self.encoder.forward(&x.affine(2.0, -1.0)?, pass)?;
        let mut groups = Vec::with_capacity(latents.len());
        let raw = self.decoder.forward(b, pass, |k, state, pass| {
            let prior = self.raw_prior(k, state, &latents[k], pass)?;
            let feature = match k.checked_sub(1) {
                None => features.first.clone(),
                Some(k) => {
                    let (map, conv) = &features.kept[k];
                    ops::add(map, &conv.forward(state, pass)?)?
                }
            };
            let posterior = halves(&self.posteriors[k].forward(&feature, pass)?)?;
            let group = self.inferred([prior, posterior], k, &latents[k], pass)?;
            let z = group.z.clone();
            groups.push(group);
            Ok(z)
        })?;
        Ok(Inferred { groups, pixels: self.pixels(&raw)? })
    }

    fn inferred(
        &self,
        [[mean_p, log_scale_p], [mean, log_scale]]: [[Tensor; 2]; 2],
        k: usize,
        noise: &Tensor,
        pass: &mut Pass,
    ) -> Result<InferredGroup> {
        // Raw parameters are added, before the soft clamp; the first group has a prior of zeros.
        let posterior = if self.config.residual_posterior && k > 0 {
            SoftNormal::new(&ops::add(&mean_p, &mean)?, &ops::add(&log_scale_p, &log_scale)?)?
        } else {
            SoftNormal::new(&mean, &log_scale)?
        };
        let prior = SoftNormal::new(&mean_p, &log_scale_p)?;
        let drawn = posterior.sample(noise)?;
        let z = self.flows[k].forward(&drawn, pass)?;
        let log_posterior = posterior.log_prob(&drawn)?;
        let log_prior = prior.log_prob(&z)?;
        let kl = if self.config.flows > 0 {
            (&log_posterior - &log_prior)?
        } else {
            posterior.kl_sum(&prior)?
        };
        Ok(InferredGroup { prior, posterior, z, kl, log_posterior, log_prior })
    }

    /// Raw mean and logarithm of the deviation of a group's prior, zeros for the first.
    fn raw_prior(
        &self,
        k: usize,
        state: &Tensor,
        like: &Tensor,
        pass: &mut Pass,
    ) -> Result<[Tensor; 2]> {
        match k.checked_sub(1) {
            None => Ok([like.zeros_like()?.detach(), like.zeros_like()?.detach()]),
            Some(k) => halves(&self.priors[k].forward(&ops::elu(state, 1.0)?, pass)?),
        }
    }

    fn pixels(&self, raw: &Tensor) -> Result<Pixels> {
        Pixels::new(raw, self.config.head, self.config.bits)
    }

    /// The number of examples, if all groups have their shapes.
    fn check_latents(&self, latents: &[Tensor]) -> Result<usize> {
        let shapes = self.config.latent_shapes();
        let b = latents.first().and_then(|z| z.dims().first().copied()).unwrap_or(0);
        let fits = |(z, shape): (&Tensor, &[usize; 3])| z.dims() == [&[b][..], shape].concat();
        if latents.len() == shapes.len() && latents.iter().zip(&shapes).all(fits) {
            return Ok(b);
        }
        let expected = format!("({b}, ..) of groups {shapes:?}");
        let got = latents.iter().flat_map(|z| z.dims().to_vec()).collect();
        Err(Error::Shape { what: "latent groups", expected, got })
    }
}

/// The first and the second half of the channels.
fn halves(x: &Tensor) -> Result<[Tensor; 2]> {
    let half = x.dims()[1] / 2;
    let part = |at: usize| channels(x, at, half);
    Ok([part(0)?, part(half)?])
}

/// `len` channels from `start` on.
fn channels(x: &Tensor, start: usize, len: usize) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    ops::part(x, [Span::new(start, len), Span::new(0, h), Span::new(0, w)])
}
