//! What `sample` and `evaluate` share: the model, whatever its method, and arguments.

use std::path::Path;

use candle_core::{Device, Tensor};
use chains_core::{
    HostNoise, Seed,
    chain::Generated,
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE, read_header, write_atomic},
    hub::{HubOptions, resolve_model},
    train::{Event, Observer},
};
use infusion::InfusionModel;
use vaebm::VaebmModel;
use variational_annealing::GanModel;
use walkback::WalkbackModel;

use super::vera::Vera;
use crate::{
    error::{Error, Result},
    images::blocks,
};

/// The methods whose models can be opened.
const METHODS: [&str; 5] = [
    infusion::METHOD,
    walkback::METHOD,
    variational_annealing::METHOD,
    vera::METHOD,
    vaebm::METHOD,
];
/// Chains that run together; memory depends on this, and so do the draws.
const BLOCK: usize = 500;
/// Chains that run together where they see each other in the moments of their batch, as in the
/// published code of walkback; so many run even if fewer are wanted.
const TOGETHER: usize = 100;

/// Which model, and where it runs.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// A directory with config.json and model.safetensors, or owner/name[@revision] on the hub
    pub(super) model: String,
    /// cpu, cuda:N or metal
    #[arg(long, default_value = "cpu")]
    pub(super) device: String,
    /// Never use the network
    #[arg(long)]
    pub(super) offline: bool,
}

/// A loaded model of any method.
pub(super) enum Opened {
    /// It generates by a learned chain.
    Chain(Box<Model>),
    /// An energy with its generator.
    Vera(Box<Vera>),
    /// An autoencoder with an energy.
    Vaebm(Box<VaebmModel>),
    /// A generator of images with its critic.
    Gan(Box<GanModel>),
}

/// A loaded model that generates by a learned chain.
pub(super) enum Model {
    Infusion(InfusionModel),
    Walkback(WalkbackModel),
}

impl Model {
    /// Channels, height and width of its images.
    pub(super) fn event(&self) -> [usize; 3] {
        match self {
            Self::Infusion(model) => model.config().network.event,
            Self::Walkback(model) => model.config().network.event,
        }
    }

    pub(super) fn device(&self) -> &Device {
        match self {
            Self::Infusion(model) => model.device(),
            Self::Walkback(model) => model.device(),
        }
    }

    /// Steps of a chain as it was trained; of walkback with the further ones at temperature 1.
    pub(super) fn steps(&self) -> usize {
        match self {
            Self::Infusion(model) => model.config().network.steps,
            Self::Walkback(model) => {
                let options = walkback::SampleOptions::of(model);
                options.steps + options.extra
            }
        }
    }

    /// Steps of a chain whose end is shown: of infusion training twice those of its training, as
    /// Figure 4 shows its MNIST model (T = 15) after 30 steps.
    pub(super) fn shown_steps(&self) -> usize {
        match self {
            Self::Infusion(_) => 2 * self.steps(),
            Self::Walkback(_) => self.steps(),
        }
    }

    /// Can chains of so many steps be run?
    fn check_steps(&self, steps: usize) -> Result<()> {
        match self {
            _ if steps == 0 => {
                Err(Error::Usage("--steps 0: a chain of this model has one step or more".into()))
            }
            Self::Walkback(model) if steps < model.config().network.steps => {
                let least = model.config().network.steps;
                Err(Error::Usage(format!(
                    "--steps {steps}: this model cools in {least} steps, so a chain has at least as \
                     many; further ones are at temperature 1"
                )))
            }
            _ => Ok(()),
        }
    }

    /// How many chains run together, and whether as many must even if fewer are wanted.
    fn block(&self) -> (usize, bool) {
        match self {
            Self::Walkback(model) if !model.config().operator.has_density() => (TOGETHER, true),
            _ => (BLOCK, false),
        }
    }

    /// `n` chains at once, free ones or with known values and their mask `(1, D)`.
    fn generate(
        &self,
        n: usize,
        steps: usize,
        known: Option<&(Tensor, Tensor)>,
        noise: &mut HostNoise,
        visit: impl FnMut(usize, &Generated) -> chains_core::Result<()>,
    ) -> Result<Generated> {
        let repeated = |x: &Tensor| x.repeat((n, 1));
        let known = match known {
            Some((x, mask)) => Some((repeated(x)?, repeated(mask)?)),
            None => None,
        };
        Ok(match self {
            Self::Infusion(model) => {
                let options = infusion::SampleOptions::new(steps);
                match known {
                    None => infusion::generate(model, n, &options, noise, visit)?,
                    Some((x, mask)) => infusion::inpaint(model, &x, &mask, &options, noise, visit)?,
                }
            }
            Self::Walkback(model) => {
                let own = walkback::SampleOptions::of(model);
                let extra = steps.saturating_sub(own.steps);
                let options = walkback::SampleOptions { extra, ..own };
                match known {
                    None => walkback::generate(model, n, &options, noise, visit)?,
                    Some((x, mask)) => walkback::inpaint(model, &x, &mask, &options, noise, visit)?,
                }
            }
        })
    }
}

impl Source {
    /// Loads the model onto an opened device; `config.json` decides the method.
    pub(super) fn open(&self, device: &Device) -> Result<Opened> {
        let dir = resolve_model(&self.model, &hub_options(self.offline)).map_err(input)?;
        let method = read_header(&dir).map_err(input)?.method;
        if !METHODS.contains(&method.as_str()) {
            let reason = format!(
                "field `method`: models of `{method}` cannot be opened here; known are {}",
                METHODS.join(", ")
            );
            return Err(Error::format(dir.join(CONFIG_FILE), reason));
        }
        let weights = dir.join(WEIGHTS_FILE);
        if !weights.is_file() {
            let reason = "is not there; a model directory has it beside config.json";
            return Err(Error::format(weights, reason));
        }
        Ok(match method.as_str() {
            infusion::METHOD => {
                let model = InfusionModel::load(&dir, device).map_err(input)?;
                Opened::Chain(Box::new(Model::Infusion(model)))
            }
            vaebm::METHOD => {
                Opened::Vaebm(Box::new(VaebmModel::load(&dir, device).map_err(input)?))
            }
            variational_annealing::METHOD => {
                Opened::Gan(Box::new(GanModel::load(&dir, device).map_err(input)?))
            }
            vera::METHOD => Opened::Vera(Box::new(Vera::open(&dir, device).map_err(input)?)),
            _ => {
                let model = WalkbackModel::load(&dir, device).map_err(input)?;
                Opened::Chain(Box::new(Model::Walkback(model)))
            }
        })
    }
}

/// The hub's environment, with `--offline` on top.
pub(super) fn hub_options(offline: bool) -> HubOptions {
    let options = HubOptions::from_env();
    HubOptions { offline: offline || options.offline, ..options }
}

/// An input that cannot be read is bad input, not a run that broke.
pub(super) fn input(error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Io { path, source } | Error::Chains(chains_core::Error::Io { path, source }) => {
            Error::format(path, format!("cannot be read: {source}"))
        }
        error => error,
    }
}

/// Can the file that `option` names be written? Found out before the work, not after.
pub(super) fn writable(option: &str, path: &Path) -> Result<()> {
    let refuse =
        |reason: String| Err(Error::Usage(format!("{option} {}: {reason}", path.display())));
    if path.is_dir() {
        return refuse("is a folder; give the name of a file".into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return refuse(format!("cannot be written: there is no folder {}", folder.display()));
    }
    // A write that is given up leaves nothing behind, but shows that a file can be made there.
    let mut made = false;
    let tried = write_atomic(path, |_| {
        made = true;
        Err(std::io::Error::other("only a trial"))
    });
    match tried {
        Err(chains_core::Error::Io { source, .. }) if !made => {
            refuse(format!("cannot be written: {source}"))
        }
        _ => Ok(()),
    }
}

/// A whole number from 1.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number from 1".into()),
    }
}

/// Chains of a model: free ones, or ones that keep what is known.
pub(super) struct Chains<'a> {
    pub(super) model: &'a Model,
    pub(super) steps: usize,
    pub(super) seed: Seed,
    /// Known values and their mask (u8, not zero where known), `(1, D)` each.
    pub(super) known: Option<(Tensor, Tensor)>,
}

impl Chains<'_> {
    /// Runs `n` chains and returns their last means, `(n, D)`; `visit` sees the means of every step,
    /// from 0, of one block of chains after the other.
    pub(super) fn run(
        &self,
        n: usize,
        observer: &mut dyn Observer,
        mut visit: impl FnMut(usize, Tensor),
    ) -> Result<Tensor> {
        self.model.check_steps(self.steps)?;
        let (size, whole) = self.model.block();
        observer.observe(&Event::Started { stage: "sample", step: 0, total: Some(n) })?;
        let mut means = Vec::new();
        for (index, block) in blocks(n, size).enumerate() {
            let b = block.len();
            let mut noise = self.seed.indexed(index as u64).host_noise();
            let see = |step: usize, found: &Generated| {
                visit(step, found.mean.narrow(0, 0, b)?);
                Ok(())
            };
            let together = if whole { size } else { b };
            let known = self.known.as_ref();
            let last = self.model.generate(together, self.steps, known, &mut noise, see)?;
            means.push(last.mean.narrow(0, 0, b)?);
            let step = block.last().map_or(0, |last| last + 1);
            observer.observe(&Event::Scalars { step, values: &[] })?;
        }
        observer.observe(&Event::Finished { step: n })?;
        Ok(Tensor::cat(&means, 0)?)
    }
}
