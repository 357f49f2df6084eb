//! Image GANs of variational annealing in `sample` and `evaluate`.

use candle_core::{DType, Tensor};
use chains_core::Seed;
use variational_annealing::{GanModel, quantise};

use crate::{error::Result, images::blocks, sheet::Sheet};

/// Images that are drawn at a time.
const BLOCK: usize = 250;

/// Bytes of `n` images, `(n, c, h, w)`.
///
/// # Errors
/// Of the networks.
pub(super) fn bytes(model: &GanModel, n: usize, seed: Seed) -> Result<Tensor> {
    let mut noise = seed.host_noise();
    let mut drawn = Vec::new();
    for block in blocks(n, BLOCK) {
        drawn.push(quantise(&model.sample(block.len(), &mut noise)?)?);
    }
    Ok(Tensor::cat(&drawn, 0)?)
}

/// A sheet of `n` images.
///
/// # Errors
/// Of the networks.
pub(super) fn sheet(model: &GanModel, n: usize, seed: Seed) -> Result<image::RgbImage> {
    let x = (bytes(model, n, seed)?.to_dtype(DType::F32)? / 255.0)?;
    Sheet::of(&x)?.render_tensor(&x)
}
