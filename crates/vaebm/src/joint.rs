//! The product of a trained autoencoder and a trained energy: what samples are drawn from, in one
//! directory.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{Error, Result, Seed, checkpoint};
use serde::{Deserialize, Serialize};

use crate::{
    config::{EnergyConfig, NvaeConfig},
    energy::{EnergyModel, EnergyNet, EnergyNetwork},
    model::NvaeModel,
    nvae::NvaeDecoder,
    potential::{NoiseSpace, Potential},
    sampler::{ChainConfig, SampleStream},
};

/// The method's name in checkpoints of a whole model.
pub const METHOD: &str = "vaebm";

/// What the names of the autoencoder's tensors begin with in the file of a whole model.
const AUTOENCODER: &str = "autoencoder.";
/// The same of the energy.
const ENERGY: &str = "energy.";

/// Sizes of both networks, and the chains that samples are drawn by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaebmConfig {
    /// `p(x, z)`; its pixels must be Gaussian.
    pub autoencoder: NvaeConfig,
    /// `E(x)`, of images of the same shape.
    pub energy: EnergyConfig,
    /// Length and step size of the chains of samples.
    pub chains: ChainConfig,
    /// What the chains run on, as in training.
    pub potential: Potential,
}

impl VaebmConfig {
    /// Checks both networks, the chains, and that the networks fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.autoencoder.validate()?;
        self.energy.validate()?;
        self.chains.validate()?;
        let own = self.autoencoder.event();
        let fits = match &self.energy {
            EnergyConfig::Convolutional(energy) => {
                [energy.channels, energy.side, energy.side] == own
            }
            EnergyConfig::Mlp { .. } => false,
        };
        if fits {
            return Ok(());
        }
        let reason = format!(
            "must be a convolutional network of the autoencoder's images, {}x{}x{}",
            own[0], own[1], own[2]
        );
        Err(Error::Config { field: "energy", reason })
    }
}

/// The noise space of a whole model: its decoder, its energy.
pub type VaebmSpace = NoiseSpace<NvaeDecoder, EnergyNet>;

/// An autoencoder and an energy, `h(x, z) ~ p(x, z) exp(-E(x))` (equation 3).
///
/// Chains run on the networks as they are when the model is made. Who trains them further takes them
/// out with [`VaebmModel::into_parts`] and makes a new model.
pub struct VaebmModel {
    config: VaebmConfig,
    autoencoder: NvaeModel,
    energy: EnergyModel,
    space: VaebmSpace,
}

impl VaebmModel {
    /// Of trained parts; `chains` are those of samples, `potential` is what they run on.
    ///
    /// # Errors
    /// [`Error::Config`] if the parts do not fit each other, the pixels are not Gaussian or the step
    /// size is not positive.
    pub fn new(
        autoencoder: NvaeModel,
        energy: EnergyModel,
        chains: ChainConfig,
        potential: Potential,
    ) -> Result<Self> {
        let config = VaebmConfig {
            autoencoder: autoencoder.network().config().clone(),
            energy: energy.config().clone(),
            chains,
            potential,
        };
        config.validate()?;
        let decoder = autoencoder.decoder()?;
        let space = NoiseSpace::new(decoder, energy.frozen().normalised()?, potential);
        Ok(Self { config, autoencoder, energy, space })
    }

    /// Sizes and chains.
    pub fn config(&self) -> &VaebmConfig {
        &self.config
    }

    /// The autoencoder.
    pub fn autoencoder(&self) -> &NvaeModel {
        &self.autoencoder
    }

    /// The energy.
    pub fn energy(&self) -> &EnergyModel {
        &self.energy
    }

    /// The noise that chains move in, both networks without gradients of their parameters.
    pub fn space(&self) -> &VaebmSpace {
        &self.space
    }

    /// Both networks, to be trained further.
    pub fn into_parts(self) -> (NvaeModel, EnergyModel) {
        (self.autoencoder, self.energy)
    }

    /// `n` samples, `batch` at a time, by chains of `chains` from fresh noise; without steps they are
    /// those of the autoencoder. The same seed and batch begin at the same noise, whatever the chains.
    ///
    /// The picture of a sample is [`Decoded::mean_image`](crate::Decoded::mean_image), clamped to `[0, 1]`.
    ///
    /// # Errors
    /// As [`SampleStream::new`].
    pub fn sample_stream(
        &self,
        n: usize,
        batch: usize,
        chains: ChainConfig,
        seed: Seed,
    ) -> Result<SampleStream<'_, NvaeDecoder, EnergyNet>> {
        SampleStream::new(&self.space, chains, n, batch, seed)
    }

    /// Writes a model directory: `config.json` and `model.safetensors`, where names of the
    /// autoencoder begin with `autoencoder.` and those of the energy with `energy.`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let tensors = [self.autoencoder.store().tensors(), self.energy.store().tensors()];
        self.write(dir, tensors)
    }

    /// [`VaebmModel::save`] with trainable tensors rounded to f16, half the size. A number of the
    /// rounded model must be measured on the model loaded back.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_half(&self, dir: &Path) -> Result<()> {
        let (autoencoder, energy) = (self.autoencoder.store(), self.energy.store());
        self.write(dir, [autoencoder.half_tensors()?, energy.half_tensors()?])
    }

    fn write(&self, dir: &Path, [autoencoder, energy]: [Vec<(String, Tensor)>; 2]) -> Result<()> {
        let under = |prefix: &'static str, tensors: Vec<(String, Tensor)>| {
            tensors.into_iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor))
        };
        let tensors: Vec<_> =
            under(AUTOENCODER, autoencoder).chain(under(ENERGY, energy)).collect();
        checkpoint::save_model(dir, METHOD, env!("CARGO_PKG_VERSION"), &self.config, &tensors)
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names the field, or lists every missing, extra and misshapen tensor,
    /// or names one that is not finite; [`Error::Config`] for a configuration out of range.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: VaebmConfig = checkpoint::read_config(dir, METHOD)?;
        config.validate()?;
        let autoencoder = NvaeModel::new(&config.autoencoder, Seed::new(0), device)?;
        let energy = EnergyModel::new(config.energy.clone(), Seed::new(0), device)?;
        let path = dir.join(checkpoint::WEIGHTS_FILE);
        let found = checkpoint::load_tensors(&path, device)?;
        let stores = [(AUTOENCODER, autoencoder.store()), (ENERGY, energy.store())];
        let expected: Vec<_> = stores
            .iter()
            .flat_map(|(prefix, store)| {
                let named = move |(name, var): (String, candle_core::Var)| {
                    (format!("{prefix}{name}"), var.dims().to_vec())
                };
                store.all().into_iter().map(named)
            })
            .collect();
        checkpoint::check_names(&path, &expected, &found)?;
        for (prefix, store) in stores {
            let own = |(name, tensor): (&String, &Tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            };
            let part: BTreeMap<_, _> = found.iter().filter_map(own).collect();
            store.assign(&path, &part)?;
            if !store.is_finite()? {
                let reason = format!("a tensor `{prefix}..` has values that are not finite");
                return Err(Error::Checkpoint { path, reason });
            }
        }
        Self::new(autoencoder, energy, config.chains, config.potential)
    }
}
