//! Weights of the published checkpoints under the names of this crate.
//!
//! Names and layouts of the wide residual network and the residual generator are those of the
//! published models (VERA, release 1.0.0; JEM), so that importing is renaming.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{
    Error, Result,
    checkpoint::{PthFile, check_names},
};

use crate::{model::VeraModel, players::ENERGY};

/// Tensors of the generator's file that belong to no network.
const SCALARS: [&str; 3] = ["logsigma", "stepsize", "post_logsigma"];

/// The name here of a tensor of a published checkpoint, none for what nothing uses.
///
/// * VERA: names are the same, with or without the dictionaries around them (`model.`,
///   `model.logp_net.`, `model.g.`); counters of batches (`num_batches_tracked`) are not used.
/// * JEM: `f.` is the network, `class_output` its last layer; the network's own `f.linear`,
///   `energy_output` and `replay_buffer` are not used. `model_state_dict.` may stand in front.
///
/// # Example
/// ```
/// use vera::published_name;
/// let name = |published: &str| published_name(published);
/// assert_eq!(name("model.g.g.block1.bn1.bias").as_deref(), Some("g.block1.bn1.bias"));
/// assert_eq!(name("f.layer1.0.conv1.bias").as_deref(), Some("logp_net.layer1.0.conv1.bias"));
/// assert_eq!(name("class_output.weight").as_deref(), Some("logp_net.linear.weight"));
/// assert_eq!(name("g.output_bn.num_batches_tracked"), None);
/// ```
pub fn published_name(published: &str) -> Option<String> {
    let strip = |name: &str, prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
    let inner = strip(published, "model.").or_else(|| strip(published, "model_state_dict."));
    let mut name = inner.unwrap_or_else(|| published.to_owned());
    // The state of each player is a dictionary, whose names begin with that of the player again.
    let state = name.split_once('.').filter(|(player, rest)| {
        let own = rest.strip_prefix(player).is_some_and(|rest| rest.starts_with('.'));
        (*player == ENERGY || *player == "g") && (own || SCALARS.contains(rest))
    });
    if let Some((_, rest)) = state {
        name = rest.to_owned();
    }
    let unused = name.ends_with(".num_batches_tracked")
        || name == "replay_buffer"
        || name.starts_with("f.linear.")
        || name.starts_with("energy_output.");
    if unused {
        return None;
    }
    if let Some(rest) = name.strip_prefix("f.") {
        return Some(format!("{ENERGY}.{rest}"));
    }
    if let Some(rest) = name.strip_prefix("class_output.") {
        return Some(format!("{ENERGY}.linear.{rest}"));
    }
    Some(name)
}

/// Tensors of a published checkpoint under the names here, as [`published_name`] has them; those that
/// nothing uses are left out. `path` is where they came from.
///
/// # Errors
/// [`Error::Checkpoint`] for two tensors that become one.
pub fn published_tensors(
    path: &Path,
    found: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut ours = BTreeMap::new();
    for (published, tensor) in found {
        let Some(name) = published_name(published) else { continue };
        if ours.contains_key(&name) {
            let reason = format!("`{published}` is a second `{name}`");
            return Err(Error::Checkpoint { path: path.to_owned(), reason });
        }
        ours.insert(name, tensor.clone());
    }
    Ok(ours)
}

/// Reads the parameters of a published checkpoint, a file of `torch.save`, under the names that it has:
/// those of its dictionary `model` or `model_state_dict`, or all tensors if it has neither. States of
/// optimisers and buffers of chains are not read.
///
/// # Errors
/// [`Error::Checkpoint`] if it is no such file, [`Error::Io`].
pub fn read_published(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = PthFile::open_nested(path)?;
    let inside = |name: &str| name.starts_with("model.") || name.starts_with("model_state_dict.");
    let names: Vec<&str> = file.shapes().map(|(name, _)| name).collect();
    let nested = names.iter().any(|name| inside(name));
    let mut found = BTreeMap::new();
    for name in names.into_iter().filter(|name| !nested || inside(name)) {
        if published_name(name).is_some()
            && let Some(tensor) = file.read(name, &Device::Cpu)?
        {
            found.insert(name.to_owned(), tensor);
        }
    }
    Ok(found)
}

impl VeraModel {
    /// Takes all tensors of a published VERA checkpoint, as [`read_published`] gives them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that lists every missing, extra and misshapen tensor; the model is then
    /// unchanged.
    pub fn assign_published(&self, path: &Path, found: &BTreeMap<String, Tensor>) -> Result<()> {
        self.store().assign(path, &published_tensors(path, found)?)
    }

    /// Takes the energy network of a published JEM checkpoint, which has no generator; the model's
    /// own stays.
    ///
    /// # Errors
    /// As [`VeraModel::assign_published`].
    pub fn assign_published_energy(
        &self,
        path: &Path,
        found: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let found = published_tensors(path, found)?;
        let all = self.store().all();
        let own: Vec<_> =
            all.iter().filter(|(name, _)| name.starts_with(&format!("{ENERGY}."))).collect();
        let expected: Vec<_> =
            own.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        check_names(path, &expected, &found)?;
        for (name, var) in own {
            var.set(&found[name].to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
        Ok(())
    }
}
