//! Completing images whose upper half is known.

use candle_core::{DType, Tensor};
use infusion::{InfusionModel, SampleOptions, inpaint};

use super::data::Images;
use crate::{
    error::Result,
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Completions of each image.
pub(super) struct Completions {
    /// Not zero where known, `(n, D)`, u8.
    pub(super) mask: Tensor,
    /// Means with the known part put back, one `(n, D)` a restart.
    pub(super) means: Vec<Tensor>,
    /// Elements of the known part that ever changed in any state.
    pub(super) touched: u64,
}

/// A mask of the upper half of every channel, `(n, D)`, u8.
pub(super) fn upper_half(n: usize, [c, h, w]: [usize; 3], like: &Tensor) -> Result<Tensor> {
    let row: Vec<u8> = (0..c * h * w).map(|i| u8::from(i / w % h < h / 2)).collect();
    Ok(Tensor::new(row, like.device())?.unsqueeze(0)?.broadcast_as((n, c * h * w))?.contiguous()?)
}

/// Runs `restarts` clamped chains of `steps` steps for each row of `known`, `(n, D)`.
pub(super) fn complete(
    run: &mut Run<'_>,
    model: &InfusionModel,
    known: &Tensor,
    event: [usize; 3],
    restarts: usize,
    steps: usize,
) -> Result<Completions> {
    let mask = upper_half(known.dim(0)?, event, known)?;
    let mut touched = 0;
    let mut means = Vec::new();
    for restart in 0..restarts {
        let seed = run.request.stream().child("inpaint").indexed(restart as u64);
        let options = SampleOptions::new(steps);
        let found =
            inpaint(model, known, &mask, &options, &mut seed.host_noise(), |_, generated| {
                let changed = generated.position.ne(known)?.mul(&mask)?;
                touched += u64::from(changed.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()?);
                Ok(())
            })?;
        means.push(found.mean);
    }
    Ok(Completions { mask, means, touched })
}

/// The sheet, the error of the unknown half beside that of the mean image, and the checks.
pub(super) fn report(
    run: &mut Run<'_>,
    images: &Images,
    known: &Tensor,
    found: &Completions,
    event: [usize; 3],
) -> Result<()> {
    let [c, h, w] = event;
    let (n, d) = known.dims2()?;
    let unknown = found.mask.eq(0_u8)?.to_dtype(known.dtype())?;
    let pixels = f64::from(unknown.sum_all()?.to_scalar::<f32>()?);
    let error = |x: &Tensor| -> Result<f64> {
        let square = (x - known)?.sqr()?.mul(&unknown)?.sum_all()?;
        Ok(f64::from(square.to_scalar::<f32>()?) / pixels)
    };
    let restarts = found.means.len() as f64;
    let mut mse = 0.0;
    for mean in &found.means {
        mse += error(mean)? / restarts;
    }
    let average = Tensor::stack(&found.means, 0)?.mean(0)?;
    let training = images.scaled(&images.train, images.train.len().min(10_000), known.device())?;
    let baseline = error(&training.mean(0)?.unsqueeze(0)?.broadcast_as((n, d))?.contiguous()?)?;
    let spread = Tensor::stack(&found.means, 0)?.broadcast_sub(&average.unsqueeze(0)?)?.sqr()?;
    let spread = spread.mean(0)?.mul(&unknown)?.sum_all()?.to_scalar::<f32>()?;
    let spread = f64::from(spread) / pixels;
    for (name, value) in [
        ("mse_unknown_half", mse),
        ("mse_unknown_half_average_of_restarts", error(&average)?),
        ("mse_unknown_half_mean_image", baseline),
        ("variance_between_restarts", spread),
    ] {
        run.metric(Metric::new(name, value, "per pixel").n(n));
    }
    run.check(Check::new(
        "no known pixel changes in any state",
        found.touched == 0,
        format!("{} changed", found.touched),
    ));
    run.check(Check::new(
        "restarts differ",
        spread > 0.0,
        format!("variance {spread:.2e} between restarts"),
    ));
    if run.request.scale == Scale::Quick {
        run.paragraph(format!(
            "Mean squared error in the unknown half: {mse:.4} for one completion, {baseline:.4} for \
             the mean training image. One completion is a sample, not a mean: it may well be the \
             larger of the two."
        ));
    }
    let mut tiles = Vec::new();
    let masked = known.mul(&found.mask.to_dtype(known.dtype())?)?;
    for i in 0..n.min(10) {
        tiles.push(known.get(i)?);
        tiles.push(masked.get(i)?);
        for mean in found.means.iter().take(8) {
            tiles.push(mean.get(i)?);
        }
    }
    let columns = 2 + found.means.len().min(8);
    let sheet = Sheet { columns, lead: 2, ..Sheet::new(c, h, w) };
    run.heading("Completions (Figure 5)");
    run.sheet(
        "inpainting",
        &sheet,
        &Tensor::stack(&tiles, 0)?,
        "Left: the image and its known upper half. Right: completions from independent restarts, \
         the mean of the last step in the unknown half.",
    )
}
