//! Augmentation of photographs: a shifted crop and a mirror.

use chains_core::HostNoise;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Reflects images beyond their edges, cuts a random window of the old size and mirrors half of them.
///
/// The frame does not repeat the edge: pixel -1 is pixel 1. Each image draws its shift, even over the
/// `(2 pad + 1)^2` windows, and whether left and right are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augmentation {
    /// Pixels of the frame on every side.
    pub pad: usize,
    /// Mirror an image with probability one half?
    pub flip: bool,
}

impl Augmentation {
    /// Frame 4 and mirror: VERA's augmentation of CIFAR (Experiment 7; none is mirrored for SVHN).
    pub fn cifar() -> Self {
        Self { pad: 4, flip: true }
    }

    /// Augments pixels `(b, c, h, w)`, `shape` being `[c, h, w]`; the same for any number of threads.
    ///
    /// One draw of the noise, which takes the same numbers with and without `flip`.
    ///
    /// # Errors
    /// If the frame is not smaller than the images, or `pixels` does not hold whole images.
    pub fn apply(
        &self,
        pixels: &[u8],
        shape: [usize; 3],
        noise: &mut HostNoise,
    ) -> Result<Vec<u8>> {
        let [channels, height, width] = shape;
        let size = channels * height * width;
        if self.pad >= height.min(width) {
            let reason = format!("{} must be less than {height} and {width}", self.pad);
            return Err(Error::argument("frame of the augmentation", reason));
        }
        if size == 0 || !pixels.len().is_multiple_of(size) {
            let reason = format!("{} bytes are not whole images of {shape:?}", pixels.len());
            return Err(Error::argument("augmented images", reason));
        }
        let mut draws = vec![0.0; 3 * (pixels.len() / size)];
        noise.fill_uniform(&mut draws);
        let mut out = vec![0; pixels.len()];
        let images = pixels.par_chunks_exact(size).zip(draws.par_chunks_exact(3));
        out.par_chunks_exact_mut(size).zip(images).for_each(|(out, (image, draws))| {
            // 2 pad + 1 windows; 24 bits are far more than enough for them.
            let shift = |u: f32| (u * (2 * self.pad + 1) as f32) as usize;
            let (down, right, flip) = (shift(draws[0]), shift(draws[1]), draws[2] < 0.5);
            let flip = self.flip && flip;
            let planes = image.chunks_exact(height * width);
            for (plane, out) in planes.zip(out.chunks_exact_mut(height * width)) {
                for (y, line) in out.chunks_exact_mut(width).enumerate() {
                    let from = reflect(y + down, self.pad, height) * width;
                    for (x, value) in line.iter_mut().enumerate() {
                        let x = if flip { width - 1 - x } else { x };
                        *value = plane[from + reflect(x + right, self.pad, width)];
                    }
                }
            }
        });
        Ok(out)
    }
}

/// The pixel shown at `position` of an axis of `n` pixels with a reflected frame of `pad < n`.
fn reflect(position: usize, pad: usize, n: usize) -> usize {
    let at = position.abs_diff(pad);
    if at < n { at } else { 2 * (n - 1) - at }
}

/// `2 pixel / 255 - 1`: pixels in `[-1, 1]`, as a generator that ends in a hyperbolic tangent makes them.
pub fn scale_symmetric(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&pixel| f32::from(pixel) * (2.0 / 255.0) - 1.0).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chains_core::Seed;

    use super::*;

    /// Rows and columns of a 5 x 4 image as tens and units; the second channel is 100 more.
    fn image() -> Vec<u8> {
        (0..2).flat_map(|c| (0..20).map(move |i| 100 * c + 10 * (i / 4) + i % 4)).collect()
    }

    #[test]
    fn the_frame_reflects_without_repeating_the_edge() {
        // numpy.pad(arange(5), 3, "reflect")
        let shown: Vec<usize> = (0..11).map(|position| reflect(position, 3, 5)).collect();
        assert_eq!(shown, [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]);
    }

    #[test]
    fn every_result_is_a_window_of_the_reflected_image_and_all_occur_evenly() {
        let n = 18_000;
        let images = image().repeat(n);
        let augmentation = Augmentation { pad: 1, flip: true };
        let mut noise = Seed::new(5).host_noise();
        let out = augmentation.apply(&images, [2, 5, 4], &mut noise).unwrap();
        let mut counts = BTreeMap::new();
        for result in out.chunks(40) {
            *counts.entry(result.to_vec()).or_insert(0_usize) += 1;
        }
        let mut expected = Vec::new();
        for (down, right, flip) in (0..18).map(|i| (i / 6, i / 2 % 3, i % 2 == 1)) {
            let rows = [1, 0, 1, 2, 3, 4, 3];
            let columns = [1, 0, 1, 2, 3, 2];
            let mut window = Vec::new();
            for c in 0..2 {
                for y in 0..5 {
                    let mut line: Vec<u8> = (0..4)
                        .map(|x| 100 * c + 10 * rows[y + down] + columns[x + right])
                        .collect();
                    if flip {
                        line.reverse();
                    }
                    window.extend(line);
                }
            }
            expected.push(window);
        }
        expected.sort();
        assert_eq!(counts.keys().cloned().collect::<Vec<_>>(), expected);
        // Five standard deviations of a binomial count with p = 1/18.
        assert!(counts.values().all(|&c| (c as f64 - 1000.0).abs() < 5.0 * 30.8), "{counts:?}");
    }

    #[test]
    fn without_a_mirror_the_same_noise_gives_the_same_windows() {
        let images = image().repeat(500);
        let run = |flip| {
            let augmentation = Augmentation { pad: 2, flip };
            augmentation.apply(&images, [2, 5, 4], &mut Seed::new(6).host_noise()).unwrap()
        };
        let (plain, mirrored) = (run(false), run(true));
        let mut flipped = 0;
        for (a, b) in plain.chunks(4).zip(mirrored.chunks(4)) {
            let reversed: Vec<u8> = a.iter().rev().copied().collect();
            assert!(a == b || reversed == b);
            flipped += usize::from(a != b);
        }
        assert!(flipped > 0);
        let none = Augmentation { pad: 0, flip: false };
        assert_eq!(none.apply(&images, [2, 5, 4], &mut Seed::new(7).host_noise()).unwrap(), images);
    }

    #[test]
    fn thread_count_does_not_matter_and_bad_sizes_are_errors() {
        let images: Vec<u8> = (0..3 * 32 * 32 * 50).map(|i| (i % 251) as u8).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut noise = Seed::new(8).host_noise();
            pool.install(|| Augmentation::cifar().apply(&images, [3, 32, 32], &mut noise).unwrap())
        };
        assert_eq!(run(1), run(3));
        assert_ne!(run(1), images);
        let mut noise = Seed::new(8).host_noise();
        for shape in [[3, 4, 32], [3, 32, 0], [0, 32, 32], [7, 32, 32]] {
            assert!(Augmentation::cifar().apply(&images, shape, &mut noise).is_err(), "{shape:?}");
        }
    }

    #[test]
    fn symmetric_scaling_ends_at_minus_one_and_one() {
        let values = scale_symmetric(&[0, 255, 51]);
        for (got, expected) in values.iter().zip([-1.0, 1.0, -0.6]) {
            assert!((got - expected).abs() < 1e-6, "{got}");
        }
    }
}
