//! StackedMNIST: three digits in three channels.

use candle_core::{Device, Tensor};
use chains_core::{Error, Result};

use super::{super::FeatureExtractor, check_images};
use crate::modes::stacked_classes;

/// The cells `100 a + 10 b + c` of images with a digit in each channel, as `network` classifies the
/// channels one by one; of equal logits the first class counts.
///
/// What [`mode_coverage`](crate::mode_coverage) counts modes among, with 1,000 cells.
///
/// # Shapes
/// `images`: `(b, 3, 28, 28)` or `(b, 3, 32, 32)`, u8, at least one.
///
/// # Errors
/// [`Error::Shape`] for other images; [`Error::Config`] for a network without ten classes.
pub fn stacked_digits(network: &dyn FeatureExtractor, images: &Tensor) -> Result<Vec<usize>> {
    let n = check_images(images, 3, "(b, 3, 28, 28) or (b, 3, 32, 32) of u8, b > 0")?;
    let bad = |reason: String| Error::Config { field: "classes", reason };
    if network.classes() != 10 {
        return Err(bad(format!("a network of digits has 10, this one {}", network.classes())));
    }
    let side = images.dim(2)?;
    let channels = images.contiguous()?.reshape((3 * n, 1, side, side))?;
    let logits = network.activations(&channels)?.logits.to_device(&Device::Cpu)?;
    let digits: Vec<usize> =
        logits.to_vec2::<f32>()?.iter().map(|row| first_largest(row)).collect();
    let plane = |channel: usize| -> Vec<usize> {
        digits.iter().skip(channel).step_by(3).copied().collect()
    };
    stacked_classes(&plane(0), &plane(1), &plane(2)).map_err(|error| bad(error.to_string()))
}

fn first_largest(row: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, &value) in row.iter().enumerate() {
        if value > best.1 {
            best = (class, value);
        }
    }
    best.0
}
