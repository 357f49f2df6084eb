//! Sets that a model of other images should find unlikely.

use chains_core::{HostNoise, Seed};

use crate::{
    batches::permutation,
    error::{Error, Result},
    image_set::ImageSet,
};

impl ImageSet {
    /// `n` images of independent even bytes, `shape` being `[c, h, w]`.
    ///
    /// # Errors
    /// As [`ImageSet::new`].
    pub fn uniform_noise(n: usize, shape: [usize; 3], noise: &mut HostNoise) -> Result<Self> {
        Self::new("uniform-noise", bytes(n, size(n, shape)?, noise), vec![], shape)
    }

    /// `n` images of one even byte each, the same in all channels, `shape` being `[c, h, w]`.
    ///
    /// # Errors
    /// As [`ImageSet::new`].
    pub fn constant(n: usize, shape: [usize; 3], noise: &mut HostNoise) -> Result<Self> {
        let size = size(n, shape)?;
        let levels = bytes(n, 1, noise);
        let images = levels.iter().flat_map(|&level| std::iter::repeat_n(level, size)).collect();
        Self::new("constant", images, vec![], shape)
    }

    /// The images turned by 90 degrees, counter-clockwise; labels are kept.
    #[must_use]
    pub fn rotated90(&self) -> Self {
        let (height, width) = (self.height, self.width);
        let mut images = Vec::with_capacity(self.images.len());
        for plane in self.images.chunks_exact(height * width) {
            for y in 0..width {
                images.extend((0..height).map(|x| plane[x * width + width - 1 - y]));
            }
        }
        let name = format!("{}-rotated", self.name);
        Self { name, images, labels: self.labels.clone(), height: width, width: height, ..*self }
    }

    /// The images with their pixels in another order, one for all images and channels; labels are kept.
    #[must_use]
    pub fn permuted(&self, seed: Seed) -> Self {
        let order = permutation(self.height * self.width, seed);
        let mut images = Vec::with_capacity(self.images.len());
        for plane in self.images.chunks_exact(order.len()) {
            images.extend(order.iter().map(|&at| plane[at]));
        }
        let name = format!("{}-permuted", self.name);
        Self { name, images, labels: self.labels.clone(), ..*self }
    }

    /// The images with `255 - v` for every byte `v`; labels are kept.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let name = format!("{}-inverted", self.name);
        let images = self.images.iter().map(|&v| 255 - v).collect();
        Self { name, images, labels: self.labels.clone(), ..*self }
    }

    /// The images with their square patches of `side` pixels in another order, one for each image; labels
    /// are kept. What is near within a patch stays near.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `side` divides height and width.
    pub fn shuffled_patches(&self, side: usize, seed: Seed) -> Result<Self> {
        let (h, w) = (self.height, self.width);
        if side == 0 || !h.is_multiple_of(side) || !w.is_multiple_of(side) {
            return Err(Error::argument("patch side", format!("{side} of {h}x{w} pixels")));
        }
        let (down, across) = (h / side, w / side);
        let mut images = Vec::with_capacity(self.images.len());
        let planes = self.images.chunks_exact(h * w);
        for (index, plane) in planes.enumerate() {
            let order = permutation(down * across, seed.indexed((index / self.channels) as u64));
            for y in 0..h {
                images.extend((0..w).map(|x| {
                    let from = order[y / side * across + x / side];
                    plane[(from / across * side + y % side) * w + from % across * side + x % side]
                }));
            }
        }
        let name = format!("{}-shuffled-patches", self.name);
        Ok(Self { name, images, labels: self.labels.clone(), ..*self })
    }

    /// Means of each image and the next, rounded with halves up: one image less, without labels.
    #[must_use]
    pub fn interpolated(&self) -> Self {
        let shifted = self.images.iter().skip(self.pixels());
        let mean = |(&a, &b): (&u8, &u8)| (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
        let images = self.images.iter().zip(shifted).map(mean).collect();
        let name = format!("{}-interpolated", self.name);
        Self { name, images, labels: Vec::new(), ..*self }
    }
}

/// Bytes of an image, if `n` of them can be counted.
fn size(n: usize, shape: [usize; 3]) -> Result<usize> {
    let size = shape.iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
    size.filter(|size| size.checked_mul(n).is_some_and(|total| total < isize::MAX as usize / 4))
        .ok_or_else(|| Error::argument("image shape (c, h, w)", format!("{n} of {shape:?}")))
}

/// `n * size` even bytes.
fn bytes(n: usize, size: usize, noise: &mut HostNoise) -> Vec<u8> {
    let mut values = vec![0.0; n * size];
    noise.fill_uniform(&mut values);
    values.into_iter().map(|u| (u * 256.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> ImageSet {
        let images = (0..24).map(|i| 10 * i).collect();
        ImageSet::new("digits", images, vec![4, 5], [2, 2, 3]).unwrap()
    }

    #[test]
    fn noise_has_even_bytes_and_constant_images_one_each() {
        let mut noise = Seed::new(1).host_noise();
        let set = ImageSet::uniform_noise(500, [3, 8, 8], &mut noise).unwrap();
        assert_eq!((set.len(), set.labels.len()), (500, 0));
        let mut counts = [0_usize; 256];
        set.images.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        // 375 each; five standard deviations of a binomial count with p = 1/256.
        assert!(counts.iter().all(|&c| (c as f64 - 375.0).abs() < 5.0 * 19.4), "{counts:?}");
        let flat = ImageSet::constant(3000, [3, 2, 2], &mut noise).unwrap();
        assert!(flat.images.chunks(12).all(|image| image.iter().all(|&v| v == image[0])));
        let mean =
            flat.images.iter().map(|&v| f64::from(v)).sum::<f64>() / flat.images.len() as f64;
        assert!((mean - 127.5).abs() < 5.0 * 73.9 / 3000_f64.sqrt(), "{mean}");
        assert!(ImageSet::constant(1, [usize::MAX, 2, 2], &mut noise).is_err());
        assert!(ImageSet::uniform_noise(usize::MAX, [1, 2, 2], &mut noise).is_err());
        assert!(ImageSet::uniform_noise(1, [0, 2, 2], &mut noise).is_err());
    }

    #[test]
    fn a_rotation_takes_the_right_column_to_the_top() {
        let set = set();
        let turned = set.rotated90();
        assert_eq!((turned.height, turned.width), (3, 2));
        // 0 10 20 / 30 40 50 turned is 20 50 / 10 40 / 0 30.
        assert_eq!(turned.images[..6], [20, 50, 10, 40, 0, 30]);
        assert_eq!(turned.images[6..8], [80, 110]);
        assert_eq!(turned.labels, [4, 5]);
        let back = turned.rotated90().rotated90().rotated90();
        assert_eq!((back.images, back.height), (set.images, 2));
    }

    #[test]
    fn one_permutation_serves_all_planes() {
        let set = set();
        let mixed = set.permuted(Seed::new(3));
        let order = permutation(6, Seed::new(3));
        for (plane, mixed) in set.images.chunks(6).zip(mixed.images.chunks(6)) {
            assert_eq!(mixed, order.iter().map(|&at| plane[at]).collect::<Vec<_>>());
        }
        assert_eq!(mixed.labels, set.labels);
        assert_ne!(mixed.images, set.images);
    }

    #[test]
    fn patches_move_whole_and_an_inversion_undoes_itself() {
        let set = ImageSet::new("x", (0..48).collect(), vec![7], [3, 4, 4]).unwrap();
        let mixed = set.shuffled_patches(2, Seed::new(5)).unwrap();
        assert_ne!(mixed.images, set.images);
        let order = permutation(4, Seed::new(5).indexed(0));
        for channel in 0..3 {
            for (to, from) in order.iter().enumerate() {
                let at = |patch: usize, y: usize, x: usize| {
                    16 * channel + (patch / 2 * 2 + y) * 4 + patch % 2 * 2 + x
                };
                for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    assert_eq!(mixed.images[at(to, y, x)], set.images[at(*from, y, x)]);
                }
            }
        }
        assert!(set.shuffled_patches(3, Seed::new(5)).is_err());
        assert!(set.shuffled_patches(0, Seed::new(5)).is_err());
        assert_eq!(set.inverted().images[..2], [255, 254]);
        assert_eq!(set.inverted().inverted().images, set.images);
    }

    #[test]
    fn interpolations_are_means_of_neighbours() {
        let set = ImageSet::new("x", vec![0, 255, 1, 254, 255, 255], vec![0, 1, 2], [1, 1, 2]);
        let set = set.unwrap();
        let means = set.interpolated();
        assert_eq!(means.images, [1, 255, 128, 255]);
        assert_eq!((means.len(), means.labels.len()), (2, 0));
        assert!(set.range(0..1).interpolated().is_empty());
        assert!(set.range(0..0).interpolated().is_empty());
    }
}
