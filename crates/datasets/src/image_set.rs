//! Images of one size with their labels, as bytes.

use std::ops::Range;

use candle_core::{Device, Tensor};
use chains_core::HostNoise;
use sha2::{Digest, Sha256};

use crate::{
    augment::{Augmentation, scale_symmetric},
    dequantise::{dequantise, scale_256},
    digest::hex,
    error::{Error, Result},
    logit::logit_pixels,
};

/// Images of one size, pixels 0 to 255, with at most one label each.
///
/// Fields are public to be read; [`ImageSet::new`] checks what they promise together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// Name for reports, such as `mnist-train`.
    pub name: String,
    /// Pixels `(n, c, h, w)`, planes one after the other, rows from the top.
    pub images: Vec<u8>,
    /// One class for each image, or none at all for a set without labels.
    pub labels: Vec<u8>,
    /// Channels: 1 grey, 3 red, green, blue.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ImageSet {
    /// A set of images `(n, c, h, w)`, `shape` being `[c, h, w]`; `labels` may be empty.
    ///
    /// # Errors
    /// If a size is zero, the pixels are not whole images, or the labels are neither none nor one
    /// for each image.
    pub fn new(
        name: impl Into<String>,
        images: Vec<u8>,
        labels: Vec<u8>,
        shape: [usize; 3],
    ) -> Result<Self> {
        let [channels, height, width] = shape;
        let pixels = channels.checked_mul(height).and_then(|p| p.checked_mul(width));
        let Some(pixels) = pixels.filter(|&p| p > 0) else {
            let reason = format!("{shape:?} must be positive sizes whose product is a number");
            return Err(Error::argument("image shape (c, h, w)", reason));
        };
        if !images.len().is_multiple_of(pixels) {
            let reason = format!("{} bytes are not whole images of {pixels}", images.len());
            return Err(Error::argument("pixels", reason));
        }
        let n = images.len() / pixels;
        if !labels.is_empty() && labels.len() != n {
            let reason = format!("{} for {n} images; give one each or none", labels.len());
            return Err(Error::argument("labels", reason));
        }
        Ok(Self { name: name.into(), images, labels, channels, height, width })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len() / self.pixels().max(1)
    }

    /// Is there no image?
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Numbers in one image, `c * h * w`.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels `(c, h, w)` of one image.
    ///
    /// # Panics
    /// If `index` is not below [`ImageSet::len`], like a slice.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * self.pixels()..(index + 1) * self.pixels()]
    }

    /// The images with these numbers, in this order; repetitions are kept.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let labels = match self.labels.as_slice() {
            [] => Vec::new(),
            labels => indices.iter().map(|&i| labels[i]).collect(),
        };
        Self { name: self.name.clone(), images: self.gather(indices), labels, ..*self }
    }

    /// The images of a range.
    ///
    /// # Panics
    /// If the range ends beyond [`ImageSet::len`] or before it begins, like a slice.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Self {
        let images = self.images[range.start * self.pixels()..range.end * self.pixels()].to_vec();
        let labels = if self.labels.is_empty() { Vec::new() } else { self.labels[range].to_vec() };
        Self { name: self.name.clone(), images, labels, ..*self }
    }

    /// SHA-256 in hexadecimal over n, c, h, w (64-bit little-endian), the pixels and the labels.
    ///
    /// The name does not count, so that equal data have equal digests wherever they came from.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for size in [self.len(), self.channels, self.height, self.width] {
            hash.update((size as u64).to_le_bytes());
        }
        hash.update(&self.images);
        hash.update(&self.labels);
        hex(hash)
    }

    /// The pixels of the images with these numbers, one image after the other.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    pub fn gather(&self, indices: &[usize]) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(indices.len() * self.pixels());
        indices.iter().for_each(|&index| pixels.extend_from_slice(self.image(index)));
        pixels
    }

    /// Dequantised images on the CPU, see [`dequantise`](crate::dequantise()).
    ///
    /// # Shapes
    /// `(b, c * h * w)`, values in `[0, 1)`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    pub fn dequantised(&self, indices: &[usize], noise: &mut HostNoise) -> Result<Tensor> {
        self.rows(indices, dequantise(&self.gather(indices), noise))
    }

    /// Images scaled to integer / 256 without noise, on the CPU.
    ///
    /// # Shapes
    /// `(b, c * h * w)`, values in `[0, 1)`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    pub fn scaled(&self, indices: &[usize]) -> Result<Tensor> {
        self.rows(indices, scale_256(&self.gather(indices)))
    }

    /// Images scaled to `[-1, 1]` without noise, on the CPU, see [`scale_symmetric`].
    ///
    /// # Shapes
    /// `(b, c * h * w)`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    pub fn symmetric(&self, indices: &[usize]) -> Result<Tensor> {
        self.rows(indices, scale_symmetric(&self.gather(indices)))
    }

    /// As [`ImageSet::symmetric`] of images augmented at random, see [`Augmentation::apply`].
    ///
    /// # Shapes
    /// `(b, c * h * w)`, values in `[-1, 1]`.
    ///
    /// # Errors
    /// As [`Augmentation::apply`], or if the tensor cannot be made.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    pub fn augmented(
        &self,
        indices: &[usize],
        augmentation: &Augmentation,
        noise: &mut HostNoise,
    ) -> Result<Tensor> {
        let shape = [self.channels, self.height, self.width];
        let pixels = augmentation.apply(&self.gather(indices), shape, noise)?;
        self.rows(indices, scale_symmetric(&pixels))
    }

    /// Logits of dequantised images on the CPU, see [`logit_pixels`].
    ///
    /// # Shapes
    /// `(b, c * h * w)`, values within `+-6.907`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    ///
    /// # Panics
    /// If an index is not below [`ImageSet::len`], like a slice.
    pub fn logits(&self, indices: &[usize], noise: &mut HostNoise) -> Result<Tensor> {
        self.rows(indices, logit_pixels(&self.gather(indices), noise))
    }

    fn rows(&self, indices: &[usize], values: Vec<f32>) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, (indices.len(), self.pixels()), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise_of(seed: u64) -> HostNoise {
        chains_core::Seed::new(seed).host_noise()
    }

    fn set() -> ImageSet {
        let images = (0..24).collect();
        ImageSet::new("test", images, vec![7, 8, 9], [2, 2, 2]).unwrap()
    }

    #[test]
    fn images_are_planar_and_keep_their_labels() {
        let set = set();
        assert_eq!((set.len(), set.pixels()), (3, 8));
        // Channel 1, row 0, column 1 of image 2.
        assert_eq!(set.image(2)[4 + 1], 21);
        let picked = set.select(&[2, 0, 2]);
        assert_eq!(picked.labels, [9, 7, 9]);
        assert_eq!(picked.image(0), set.image(2));
        assert_eq!(picked.image(1), set.image(0));
        assert_eq!(set.range(1..3), set.select(&[1, 2]));
        assert!(set.range(1..1).is_empty());
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(ImageSet::new("x", vec![0; 7], vec![], [2, 2, 2]).is_err());
        assert!(ImageSet::new("x", vec![0; 8], vec![1, 2], [2, 2, 2]).is_err());
        assert!(ImageSet::new("x", vec![], vec![], [0, 2, 2]).is_err());
        assert!(ImageSet::new("x", vec![], vec![], [usize::MAX, 2, 2]).is_err());
        assert!(ImageSet::new("x", vec![0; 8], vec![], [2, 2, 2]).is_ok());
    }

    #[test]
    fn digest_sees_shape_pixels_and_labels_but_not_the_name() {
        let base = set().digest();
        assert_eq!(base.len(), 64);
        assert_eq!(base, ImageSet { name: "other".into(), ..set() }.digest());
        assert_ne!(base, ImageSet { height: 4, width: 1, ..set() }.digest());
        assert_ne!(base, set().select(&[1, 0, 2]).digest());
        assert_ne!(base, ImageSet { labels: vec![7, 8, 8], ..set() }.digest());
    }

    #[test]
    fn digest_of_one_pixel_is_the_published_hash_of_its_bytes() {
        // printf '\1\0\0\0\0\0\0\0' four times, then '\5': sha256sum
        let one = ImageSet::new("x", vec![5], vec![], [1, 1, 1]).unwrap();
        assert_eq!(one.digest(), ONE_PIXEL);
    }

    const ONE_PIXEL: &str = "9c1994458d69d8577524b817965a0779d8b083ce9375abf3f85c00797fa06979";

    #[test]
    fn tensors_are_flat_rows_in_the_order_of_the_indices() {
        let set = set();
        let x = set.scaled(&[1, 0]).unwrap();
        assert_eq!(x.dims(), [2, 8]);
        let x = x.to_vec2::<f32>().unwrap();
        assert_eq!((x[0][3], x[1][7]), (11.0 / 256.0, 7.0 / 256.0));
        let mut noise = noise_of(1);
        let y = set.symmetric(&[1, 0]).unwrap().to_vec2::<f32>().unwrap();
        assert!((y[1][7] - (14.0 / 255.0 - 1.0)).abs() < 1e-6);
        let shifts = Augmentation { pad: 1, flip: true };
        let z = set.augmented(&[1, 0], &shifts, &mut noise_of(1)).unwrap();
        let pixels = shifts.apply(&set.gather(&[1, 0]), [2, 2, 2], &mut noise_of(1)).unwrap();
        assert_eq!(z.to_vec2::<f32>().unwrap().concat(), scale_symmetric(&pixels));
        assert!(set.augmented(&[1], &Augmentation::cifar(), &mut noise_of(1)).is_err());
        let mut twin = noise_of(1);
        let y = set.logits(&[1, 0], &mut twin).unwrap().to_vec2::<f32>().unwrap().concat();
        assert_eq!(y, logit_pixels(&set.gather(&[1, 0]), &mut noise_of(1)));
        let y = set.dequantised(&[1, 0], &mut noise).unwrap().to_vec2::<f32>().unwrap();
        for (y, x) in y.iter().flatten().zip(x.iter().flatten()) {
            assert!((0.0..1.0 / 256.0).contains(&(y - x)), "{y} {x}");
        }
    }
}
