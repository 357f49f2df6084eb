//! Weights of the published checkpoints, whose names are those of this crate.
//!
//! A published file is a pickle of a whole training and holds objects of Python's; a state dictionary
//! has to be taken out of it first, into a safetensors file or a file of `torch.save` of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use candle_core::{Device, Tensor};
use chains_core::{
    Error, Result,
    checkpoint::{PthFile, load_tensors},
};

use crate::{
    config::{Head, NvaeConfig},
    model::NvaeModel,
    nvae::TensorShapes,
};

/// Tensors of a published checkpoint that are parameters or running moments here: without the second copy
/// that plain convolutions have (`weight_normalized`), the counters of batches (`num_batches_tracked`), and
/// a `state_dict.` in front.
pub fn published_tensors(found: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let used = |name: &&String| {
        !name.ends_with(".weight_normalized") && !name.ends_with(".num_batches_tracked")
    };
    let bare = |name: &String| name.strip_prefix("state_dict.").unwrap_or(name).to_owned();
    let names = found.keys().filter(used);
    names.map(|name| (bare(name), found[name].clone())).collect()
}

/// Reads a state dictionary: a safetensors file, or one of `torch.save` by its ending `.pt` or `.pth`.
///
/// # Errors
/// [`Error::Checkpoint`] if it is no such file, [`Error::Io`].
pub fn read_published(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    if !path.extension().is_some_and(|ending| ending == "pt" || ending == "pth") {
        return Ok(published_tensors(&load_tensors(path, &Device::Cpu)?));
    }
    let file = PthFile::open_nested(path)?;
    let names: Vec<String> = file.shapes().map(|(name, _)| name.to_owned()).collect();
    let nested = names.iter().any(|name| name.starts_with("state_dict."));
    let mut found = BTreeMap::new();
    for name in names.into_iter().filter(|name| !nested || name.starts_with("state_dict.")) {
        if let Some(tensor) = file.read(&name, &Device::Cpu)? {
            found.insert(name, tensor);
        }
    }
    Ok(published_tensors(&found))
}

impl NvaeModel {
    /// Takes all tensors of a published checkpoint, which came from `path`; see [`published_tensors`] for
    /// what is left out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that lists every missing, extra and misshapen tensor; the model is then
    /// unchanged.
    pub fn assign_published(&self, path: &Path, found: &BTreeMap<String, Tensor>) -> Result<()> {
        self.store().assign(path, &published_tensors(found))
    }
}

/// The configuration of a network with these tensors. What weights do not tell is taken as published:
/// residual posteriors, 8 bits, a floor of 0.01 under the deviation of pixels.
///
/// # Errors
/// [`Error::Config`] naming what is missing or does not fit.
///
/// # Example
/// ```
/// use vaebm::{NvaeConfig, infer_config, nvae::tensor_shapes};
/// let config = NvaeConfig::celeba64();
/// assert_eq!(infer_config(&tensor_shapes(&config)?)?, config);
/// # Ok::<(), chains_core::Error>(())
/// ```
pub fn infer_config(shapes: &TensorShapes) -> Result<NvaeConfig> {
    let [encoder_width, channels] =
        [dim(shapes, "stem.weight", 0)?, dim(shapes, "stem.weight", 1)?];
    let widths: Vec<usize> = (0..indices(shapes, "enc_sampler.").len())
        .map(|k| dim(shapes, &format!("enc_sampler.{k}.weight"), 1))
        .collect::<Result<_>>()?;
    let mut groups: Vec<usize> = Vec::new();
    for (k, width) in widths.iter().enumerate() {
        match groups.last_mut() {
            Some(last) if widths[k - 1] == *width => *last += 1,
            _ => groups.push(1),
        }
    }
    // Counted in the order of generation.
    groups.reverse();
    let finest = widths.last().copied().unwrap_or(0);
    let pre_blocks = halvings("enc_sampler", finest, encoder_width)?;
    let scaling = 1_usize.checked_shl((pre_blocks + groups.len().max(1) - 1) as u32).unwrap_or(0);
    let [state, low_side] = [dim(shapes, "prior_ftr0", 0)?, dim(shapes, "prior_ftr0", 1)?];
    let head_width = dim(shapes, "image_conditional.1.weight", 0)?;
    let combiners = |tower: &str| -> Vec<usize> {
        let is = |i: &usize| shapes.contains_key(&format!("{tower}{i}.conv.weight"));
        indices(shapes, tower).into_iter().filter(is).collect()
    };
    let [kept, joined] = ["enc_tower.", "dec_tower."].map(combiners);
    // Between two groups lie their cells, and the doubling if there is one.
    let tower = indices(shapes, "dec_tower.");
    let cell = |i: &&usize| !shapes.contains_key(&format!("dec_tower.{i}.skip.1.weight"));
    let cells = joined.windows(2).next().map(|pair| {
        let between = tower.iter().filter(|i| (pair[0] + 1..pair[1]).contains(*i));
        between.filter(cell).count()
    });
    let per_block = |tower: &str| indices(shapes, tower).len() / pre_blocks.max(1);
    let latent_groups = widths.len().max(1);
    let config = NvaeConfig {
        channels,
        side: low_side.saturating_mul(scaling),
        encoder_width,
        decoder_width: state / scaling.max(1),
        latent: dim(shapes, "enc_sampler.0.weight", 0)? / 2,
        encoder_cells: kept.first().copied().unwrap_or(1),
        decoder_cells: cells.unwrap_or(1),
        pre_blocks,
        pre_cells: per_block("pre_process."),
        post_blocks: pre_blocks,
        post_cells: per_block("post_process."),
        flows: indices(shapes, "nf_cells.").len() / latent_groups,
        squeeze: shapes.keys().any(|name| name.contains(".se.")),
        residual_posterior: true,
        head: match head_width {
            1 => Head::Bernoulli,
            n if n == 2 * channels => Head::Gaussian { floor: 0.01 },
            n => Head::LogisticMixture { components: n / (1 + 3 * channels).max(1) },
        },
        bits: 8,
        groups,
    };
    config.validate()?;
    Ok(config)
}

/// A side of a tensor.
fn dim(shapes: &TensorShapes, name: &str, axis: usize) -> Result<usize> {
    shapes.get(name).and_then(|shape| shape.get(axis)).copied().ok_or_else(|| Error::Config {
        field: "tensors",
        reason: format!("`{name}` is missing or of too few axes"),
    })
}

/// The numbers behind a prefix, as many as there are names at most.
fn indices(shapes: &TensorShapes, prefix: &str) -> BTreeSet<usize> {
    let index = |name: &String| name.strip_prefix(prefix)?.split('.').next()?.parse().ok();
    shapes.keys().filter_map(index).collect()
}

fn halvings(what: &str, wide: usize, narrow: usize) -> Result<usize> {
    let ratio = wide / narrow.max(1);
    if ratio.is_power_of_two() && ratio * narrow == wide {
        return Ok(ratio.ilog2() as usize);
    }
    let reason = format!("`{what}` of {wide} channels, the stem of {narrow}");
    Err(Error::Config { field: "tensors", reason })
}
