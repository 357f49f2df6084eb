//! What `sample` and `evaluate` share: the model, whatever its method, and arguments.

use std::path::Path;

use candle_core::Tensor;
use chains_core::{
    Seed,
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE, read_header, write_atomic},
    hub::{HubOptions, resolve_model},
    train::{Event, Observer},
};
use infusion::{Generated, InfusionModel, SampleOptions, generate, inpaint};

use super::device;
use crate::{
    error::{Error, Result},
    infusion::estimates::blocks,
};

/// The methods whose models can be opened.
const METHODS: [&str; 1] = [infusion::METHOD];
/// Chains that run together; memory depends on this, and so do the draws.
const BLOCK: usize = 500;

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
pub(super) enum Model {
    Infusion(InfusionModel),
}

impl Source {
    /// Loads the model; `config.json` decides the method.
    pub(super) fn open(&self) -> Result<Model> {
        let device = device(&self.device)?;
        let dir = resolve_model(&self.model, &hub_options(self.offline)).map_err(input)?;
        let method = read_header(&dir).map_err(input)?.method;
        match method.as_str() {
            infusion::METHOD => {
                let weights = dir.join(WEIGHTS_FILE);
                if !weights.is_file() {
                    let reason = "is not there; a model directory has it beside config.json";
                    return Err(Error::format(weights, reason));
                }
                Ok(Model::Infusion(InfusionModel::load(&dir, &device).map_err(input)?))
            }
            _ => {
                let reason = format!(
                    "field `method`: models of `{method}` cannot be opened here; known are {}",
                    METHODS.join(", ")
                );
                Err(Error::format(dir.join(CONFIG_FILE), reason))
            }
        }
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

/// Chains of an infusion model: free ones, or ones that keep what is known.
pub(super) struct Chains<'a> {
    pub(super) model: &'a InfusionModel,
    pub(super) steps: usize,
    pub(super) seed: Seed,
    /// Known values and their mask (u8, not zero where known), `(1, D)` each.
    pub(super) known: Option<(Tensor, Tensor)>,
}

impl Chains<'_> {
    /// Runs `n` chains and returns their last means, `(n, D)`; `visit` sees every step, from 0, of
    /// one block of chains after the other.
    pub(super) fn run(
        &self,
        n: usize,
        observer: &mut dyn Observer,
        mut visit: impl FnMut(usize, &Generated),
    ) -> Result<Tensor> {
        observer.observe(&Event::Started { stage: "sample", step: 0, total: Some(n) })?;
        let mut means = Vec::new();
        for (index, block) in blocks(n, BLOCK).enumerate() {
            let (b, options) = (block.len(), SampleOptions::new(self.steps));
            let mut noise = self.seed.indexed(index as u64).host_noise();
            let see = |step: usize, found: &Generated| {
                visit(step, found);
                Ok(())
            };
            let last = match &self.known {
                None => generate(self.model, b, &options, &mut noise, see)?,
                Some((known, mask)) => {
                    let (known, mask) = (known.repeat((b, 1))?, mask.repeat((b, 1))?);
                    inpaint(self.model, &known, &mask, &options, &mut noise, see)?
                }
            };
            means.push(last.mean);
            let step = block.last().map_or(0, |last| last + 1);
            observer.observe(&Event::Scalars { step, values: &[] })?;
        }
        observer.observe(&Event::Finished { step: n })?;
        Ok(Tensor::cat(&means, 0)?)
    }
}
