//! The ImageNet network of December 2015 behind the inception score and FID.
//!
//! Szegedy et al., Rethinking the Inception Architecture (2016), as frozen in the TensorFlow graph
//! that the scores of Salimans et al. (2016) and Heusel et al. (2017) are defined by. It differs from
//! the network of the same name in torchvision: average pools do not count padding, the last block
//! pools by the maximum, there are 1,008 classes and no auxiliary head.
//!
//! The weights are not part of this crate: see [`import_inception`].

mod import;
mod layout;
mod units;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result,
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE, check_names, load_model},
    ops,
};
use serde::{Deserialize, Serialize};

use self::{
    import::digest,
    layout::{stages, tensors},
    units::Node,
};
use super::{
    Activations, FeatureExtractor,
    resize::{Resize, check},
};

pub use self::import::{
    INCEPTION_FILES, INCEPTION_SHA256, InceptionSource, import_inception, read_inception_weights,
};
pub use self::layout::tensors as inception_tensors;

/// The method in `config.json` of a directory with the weights.
pub const INCEPTION_METHOD: &str = "inception-2015";
/// Pixels down and across the network's input.
pub const INCEPTION_SIDE: usize = 299;
/// Features after the last pool.
const WIDTH: usize = 2048;
/// Classes, eight of which no image was labelled with.
const CLASSES: usize = 1008;
/// Images that pass at a time: enough positions of the small maps for each read of a large weight.
const BATCH: usize = 16;
/// Of those, images that pass the stages before the blocks at a time: the largest maps of so many stay
/// in memory that the allocator keeps.
const FEW: usize = 4;
/// Images that are resized at a time.
const INPUTS: usize = 32;

/// What `config.json` says of the weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InceptionConfig {
    /// SHA-256 of the file that they were converted from, in hexadecimal digits.
    pub source_sha256: String,
    /// SHA-256 of names, shapes and values as they were converted: what is scored with is what was
    /// converted.
    pub tensors_sha256: String,
}

/// Where features are taken, averaged over pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum InceptionLevel {
    /// 64, after the first pool.
    First,
    /// 192, after the second pool.
    Second,
    /// 768, in front of the last three blocks.
    Third,
    /// 2,048, those of FID and KID.
    #[default]
    Last,
}

impl InceptionLevel {
    /// Features of this level.
    pub fn width(self) -> usize {
        self.stage().1
    }

    fn stage(self) -> (&'static str, usize) {
        match self {
            Self::First => ("MaxPool_1", 64),
            Self::Second => ("MaxPool_2", 192),
            Self::Third => ("Mixed_6e", 768),
            Self::Last => ("Mixed_7c", WIDTH),
        }
    }
}

/// What is done around the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InceptionOptions {
    /// How images become the input.
    pub resize: Resize,
    /// Where features are taken.
    pub level: InceptionLevel,
    /// Add the bias of the last layer to the logits; the original inception score leaves it out.
    pub biased_logits: bool,
}

/// The network with its weights, frozen.
#[derive(Clone, Debug)]
pub struct Inception {
    stages: Vec<(&'static str, Node)>,
    weight: Tensor,
    bias: Tensor,
    id: String,
    options: InceptionOptions,
}

impl Inception {
    /// Opens a directory that [`import_inception`] wrote.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that names what is missing and the command that gets it, or all tensors
    /// that do not fit; [`Error::Io`].
    pub fn load(dir: &Path, options: InceptionOptions, device: &Device) -> Result<Self> {
        if !dir.join(CONFIG_FILE).is_file() || !dir.join(WEIGHTS_FILE).is_file() {
            let reason = format!(
                "the weights of the Inception network are not here; get {} and run `cargo xtask \
                 fetch inception --from FILE`",
                INCEPTION_FILES.join(" or ")
            );
            return Err(Error::Checkpoint { path: dir.to_owned(), reason });
        }
        let (config, found) = load_model::<InceptionConfig>(dir, INCEPTION_METHOD, &Device::Cpu)?;
        let path = dir.join(WEIGHTS_FILE);
        check_names(&path, &tensors(), &found)?;
        if digest(&found)? != config.tensors_sha256 {
            let reason = "these are not the weights that were converted: convert them again with \
                          `cargo xtask fetch inception --from FILE`";
            return Err(Error::Checkpoint { path, reason: reason.into() });
        }
        let found = found.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(device)?)));
        let source = InceptionSource { sha256: config.source_sha256 };
        Self::new(&found.collect::<Result<_>>()?, source.id(), options)
    }

    /// The network of these tensors, every batch norm folded into the convolution before it.
    ///
    /// `id` names the weights in reports.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] that lists all tensors that are missing, extra or misshapen.
    pub fn new(
        found: &BTreeMap<String, Tensor>,
        id: String,
        options: InceptionOptions,
    ) -> Result<Self> {
        Self::with_folding(found, id, options, true)
    }

    fn with_folding(
        found: &BTreeMap<String, Tensor>,
        id: String,
        options: InceptionOptions,
        folded: bool,
    ) -> Result<Self> {
        check_names(Path::new(&id), &tensors(), found)?;
        let tensor = |name: &str| -> Result<Tensor> {
            let tensor = found.get(name).ok_or_else(|| Error::Checkpoint {
                path: id.clone().into(),
                reason: format!("missing `{name}`"),
            })?;
            Ok(tensor.to_dtype(DType::F32)?)
        };
        let stages = stages()
            .into_iter()
            .map(|(stage, layout)| Ok((stage, Node::new(stage, &layout, &tensor, folded)?)))
            .collect::<Result<_>>()?;
        let (weight, bias) = (tensor("fc.weight")?, tensor("fc.bias")?);
        Ok(Self { stages, weight, bias, id, options })
    }

    /// Features and logits of images that are the network's input already; in batches of any size the
    /// same numbers.
    ///
    /// # Shapes
    /// `x`: `(b, 3, 299, 299)`, f32, resized and scaled, at least one.
    ///
    /// # Errors
    /// [`Error::Shape`] for other input.
    pub fn scaled_activations(&self, x: &Tensor) -> Result<Activations> {
        let b = match *x.dims() {
            [b, 3, INCEPTION_SIDE, INCEPTION_SIDE] if b > 0 => b,
            _ => {
                let expected = format!("(b, 3, {INCEPTION_SIDE}, {INCEPTION_SIDE}), b > 0");
                let got = x.dims().to_vec();
                return Err(Error::Shape { what: "input of the network", expected, got });
            }
        };
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for start in (0..b).step_by(BATCH) {
            let found = self.batch(&x.narrow(0, start, BATCH.min(b - start))?)?;
            features.push(found.features);
            logits.push(found.logits);
        }
        Ok(Activations { features: Tensor::cat(&features, 0)?, logits: Tensor::cat(&logits, 0)? })
    }

    fn batch(&self, x: &Tensor) -> Result<Activations> {
        let (wanted, mut taken) = (self.options.level.stage().0, Vec::new());
        let last = self.forward(x, |stage, x| {
            if stage == wanted {
                taken.push(mean_pixel(x)?);
            }
            Ok(())
        })?;
        Ok(Activations { features: Tensor::cat(&taken, 0)?, logits: self.logits(&last)? })
    }

    /// Runs the network, calling `see` with the name and the result of every stage, in front of the
    /// blocks for [`FEW`] images at a time; `(b, 2048)`.
    fn forward(
        &self,
        x: &Tensor,
        mut see: impl FnMut(&'static str, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut run = |stages: &[(&'static str, Node)], x: &Tensor| {
            stages.iter().try_fold(x.clone(), |x, (stage, node)| {
                let x = node.forward(&x)?;
                see(stage, &x)?;
                Ok::<_, Error>(x)
            })
        };
        let is_block = |(_, node): &(_, Node)| matches!(node, Node::Branches(_));
        let blocks = self.stages.iter().position(is_block).unwrap_or(self.stages.len());
        let (stem, blocks) = self.stages.split_at(blocks);
        let b = x.dim(0)?;
        let parts = (0..b)
            .step_by(FEW)
            .map(|start| run(stem, &x.narrow(0, start, FEW.min(b - start))?))
            .collect::<Result<Vec<_>>>()?;
        mean_pixel(&run(blocks, &Tensor::cat(&parts, 0)?)?)
    }

    /// `(b, 2048)` -> `(b, 1008)`.
    fn logits(&self, features: &Tensor) -> Result<Tensor> {
        let bias = self.options.biased_logits.then_some(&self.bias);
        let b = features.dim(0)?;
        // A single row would be multiplied in another order, and rounded differently.
        let rows = if b == 1 { &Tensor::cat(&[features; 2], 0)? } else { features };
        Ok(ops::linear(rows, &self.weight, bias)?.narrow(0, 0, b)?)
    }
}

impl FeatureExtractor for Inception {
    fn id(&self) -> &str {
        &self.id
    }

    fn dim(&self) -> usize {
        self.options.level.width()
    }

    fn classes(&self) -> usize {
        CLASSES
    }

    fn preprocessing(&self) -> &'static str {
        self.options.resize.describe()
    }

    fn activations(&self, images: &Tensor) -> Result<Activations> {
        let (b, ..) = check(images)?;
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for start in (0..b).step_by(INPUTS) {
            let images = images.narrow(0, start, INPUTS.min(b - start))?;
            let x = self.options.resize.input(&images, INCEPTION_SIDE)?;
            let found = self.scaled_activations(&x.to_device(self.weight.device())?)?;
            features.push(found.features);
            logits.push(found.logits);
        }
        Ok(Activations { features: Tensor::cat(&features, 0)?, logits: Tensor::cat(&logits, 0)? })
    }
}

/// The mean over pixels, `(b, c, n, n)` -> `(b, c)`.
fn mean_pixel(x: &Tensor) -> Result<Tensor> {
    let (b, c, side, _) = x.dims4()?;
    Ok(ops::avg_pool2d(x, side, side, 0)?.reshape((b, c))?)
}
