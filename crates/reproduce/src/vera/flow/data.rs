//! Digits as logits, in three sizes.

use candle_core::{Device, Tensor};
use chains_core::{HostNoise, Seed};
use datasets::{ImageSet, load_table, logit_counts, logit_pixels, random_split};
use serde::{Deserialize, Serialize};

use crate::{
    data::usage,
    error::Result,
    images::{Cut, Images},
    limits::bad,
    request::Request,
};

/// Seed of the split of the small digits: the examples are the same for every seed of a training.
const SPLIT: u64 = 1234;

/// Which digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::vera) enum Size {
    /// 8x8 counts from 0 to 16 of the table `optdigits`.
    Optdigits,
    /// MNIST with 2x2 blocks averaged and rounded.
    Mnist14,
    /// MNIST.
    Mnist28,
}

/// Training, validation and test digits.
#[derive(Clone, Debug)]
pub(in crate::vera) struct FlowData {
    pub(in crate::vera) train: ImageSet,
    pub(in crate::vera) validation: ImageSet,
    pub(in crate::vera) test: ImageSet,
    size: Size,
}

impl FlowData {
    /// Digits of a size; `counts` are those of images of MNIST, the table is cut 8:1:1.
    ///
    /// # Errors
    /// If files are missing or hold fewer examples.
    pub(in crate::vera) fn load(request: &Request, size: Size, counts: [usize; 3]) -> Result<Self> {
        let [train, validation, test] = match size {
            Size::Optdigits => optdigits(request)?,
            Size::Mnist14 | Size::Mnist28 => {
                let [train, validation, test] = counts;
                let cut = Cut { train, validation, test, pooled: false };
                let all = Images::mnist(request, &cut)?;
                [all.train, all.validation, all.test]
            }
        };
        let sets = [train, validation, test];
        let [train, validation, test] = match size {
            Size::Mnist14 => {
                let [a, b, c] = sets.map(|set| halved(&set));
                [a?, b?, c?]
            }
            _ => sets,
        };
        if train.len() < 2 {
            return bad("counts", "must leave two examples or more to train on");
        }
        Ok(Self { train, validation, test, size })
    }

    /// D.
    pub(in crate::vera) fn dim(&self) -> usize {
        self.train.pixels()
    }

    /// Sides of an image: one channel, height, width.
    pub(in crate::vera) fn event(&self) -> [usize; 3] {
        [1, self.train.height, self.train.width]
    }

    /// Logits `(b, D)` of dequantised examples, with fresh noise.
    pub(in crate::vera) fn logits(
        &self,
        set: &ImageSet,
        indices: &[usize],
        noise: &mut HostNoise,
        device: &Device,
    ) -> Result<Tensor> {
        let bytes = set.gather(indices);
        let values = match self.size {
            Size::Optdigits => {
                let counts: Vec<f32> = bytes.iter().map(|count| f32::from(*count)).collect();
                logit_counts(&counts, noise).map_err(usage)?
            }
            _ => logit_pixels(&bytes, noise),
        };
        Ok(Tensor::from_vec(values, (indices.len(), self.dim()), device)?)
    }

    /// All examples of a set, with the noise of `seed`.
    pub(in crate::vera) fn all(
        &self,
        set: &ImageSet,
        seed: Seed,
        device: &Device,
    ) -> Result<Tensor> {
        let indices: Vec<usize> = (0..set.len()).collect();
        self.logits(set, &indices, &mut seed.host_noise(), device)
    }

    /// Identifies the data.
    pub(in crate::vera) fn digest(&self) -> [String; 3] {
        [&self.train, &self.validation, &self.test].map(ImageSet::digest)
    }
}

/// The table as images, cut 8:1:1.
fn optdigits(request: &Request) -> Result<[ImageSet; 3]> {
    let table = load_table("optdigits", request.data.as_deref(), &request.root).map_err(usage)?;
    // Counts from 0 to 16 are whole numbers; anything else would not pass the logit.
    let bytes = table.features.iter().map(|count| count.round().clamp(0.0, 255.0) as u8).collect();
    let all = ImageSet::new("optdigits", bytes, Vec::new(), [1, 8, 8]).map_err(usage)?;
    let parts = random_split(all.len(), &[0.8, 0.1, 0.1], Seed::new(SPLIT)).map_err(usage)?;
    let mut sets = parts.iter().map(|part| all.select(part));
    let mut next = || sets.next().unwrap_or_else(|| all.range(0..0));
    Ok([next(), next(), next()])
}

/// 2x2 blocks averaged and rounded to bytes.
fn halved(set: &ImageSet) -> Result<ImageSet> {
    let (height, width) = (set.height / 2, set.width / 2);
    let mut bytes = Vec::with_capacity(set.len() * height * width);
    for index in 0..set.len() {
        let image = set.image(index);
        for row in 0..height {
            for column in 0..width {
                let at = |y: usize, x: usize| {
                    u16::from(image[(2 * row + y) * set.width + 2 * column + x])
                };
                // Halves up.
                bytes.push(((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1) + 2) / 4) as u8);
            }
        }
    }
    let name = format!("{} 14x14", set.name);
    ImageSet::new(name, bytes, set.labels.clone(), [1, height, width]).map_err(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_averaged_and_rounded() {
        let bytes = vec![0, 255, 1, 2, 255, 255, 1, 2, 9, 9, 0, 0, 9, 10, 0, 1];
        let set = ImageSet::new("t", bytes, vec![3], [1, 4, 4]).unwrap();
        let small = halved(&set).unwrap();
        // (0 + 255 + 255 + 255) / 4 = 191.25; 6 / 4 = 1.5; 37 / 4 = 9.25; 1 / 4.
        assert_eq!((small.images, small.labels), (vec![191, 2, 9, 0], vec![3]));
        assert_eq!((small.height, small.width), (2, 2));
    }
}
