//! From bytes to numbers: dequantisation, scaling, pooling.

use candle_core::{DType, Tensor};
use chains_core::{HostNoise, Noise};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Numbers handled by one task.
const CHUNK: usize = 1 << 16;

/// `(integer + u) / 256` with `u` uniform in `[0, 1)`, as the infusion paper dequantises.
///
/// `u` is cut to multiples of 2^-16, what a 24-bit significand keeps beside 255: so every value is
/// exact, lies below one, and `floor(256 x)` gives the integer back. The same for any number of
/// threads.
pub fn dequantise(pixels: &[u8], noise: &mut HostNoise) -> Vec<f32> {
    let mut values = vec![0.0; pixels.len()];
    noise.fill_uniform(&mut values);
    values.par_chunks_mut(CHUNK).zip(pixels.par_chunks(CHUNK)).for_each(|(values, pixels)| {
        for (value, &pixel) in values.iter_mut().zip(pixels) {
            let u = (*value * 65_536.0).floor() * (1.0 / 65_536.0);
            *value = (f32::from(pixel) + u) * (1.0 / 256.0);
        }
    });
    values
}

/// [`dequantise`] where the pixels are, with uniform numbers of `noise`.
///
/// # Shapes
/// `pixels`: u8, any shape; the result the same.
///
/// # Errors
/// Of the tensor library.
pub fn dequantise_tensor(pixels: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
    let u = noise.uniform(pixels.shape(), DType::F32, pixels.device())?;
    let pixels = pixels.to_dtype(DType::F32)?;
    let u = (u * 65_536.0)?.floor()?;
    Ok(((pixels * 65_536.0)? + u)?.affine(1.0 / 16_777_216.0, 0.0)?)
}

/// `integer / 256`, without noise; the paper's Parzen estimate scores such images.
pub fn scale_256(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&pixel| f32::from(pixel) * (1.0 / 256.0)).collect()
}

/// Means of 2x2 blocks: `(n, c, h, w)` to `(n, c, h / 2, w / 2)`, `shape` being `[c, h, w]`.
///
/// Pool after dequantisation at full size: a pooled pixel then has the law of a mean of four
/// dequantised ones.
///
/// # Errors
/// If height or width is odd, or `images` does not hold whole images.
pub fn pool2(images: &[f32], shape: [usize; 3]) -> Result<Vec<f32>> {
    let [channels, height, width] = shape;
    let pixels = channels * height * width;
    if pixels == 0 || !height.is_multiple_of(2) || !width.is_multiple_of(2) {
        let reason = format!("{shape:?} must be positive with even height and width");
        return Err(Error::argument("pool2 shape (c, h, w)", reason));
    }
    if !images.len().is_multiple_of(pixels) {
        let reason = format!("{} numbers are not whole images of {pixels}", images.len());
        return Err(Error::argument("pool2 images", reason));
    }
    let mut pooled = vec![0.0; images.len() / 4];
    // Two rows become one; planes have whole pairs of rows, so they need no treatment of their own.
    let pairs = images.par_chunks(2 * width);
    pooled.par_chunks_mut(width / 2).zip(pairs).for_each(|(out, pair)| {
        let (upper, lower) = pair.split_at(width);
        for (x, value) in out.iter_mut().enumerate() {
            let sum = upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1];
            *value = 0.25 * sum;
        }
    });
    Ok(pooled)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chains_core::Seed;

    use super::*;

    #[test]
    fn every_value_stays_in_the_bin_of_its_pixel() {
        let pixels: Vec<u8> = (0..1_000_000).map(|i| (i % 256) as u8).collect();
        let values = dequantise(&pixels, &mut Seed::new(3).host_noise());
        for (&value, &pixel) in values.iter().zip(&pixels) {
            assert!((0.0..1.0).contains(&value));
            assert_eq!((256.0 * value).floor() as u8, pixel);
        }
    }

    #[test]
    fn tensors_are_made_of_the_same_values() {
        let pixels: Vec<u8> = (0..70_000).map(|i| (i % 256) as u8).collect();
        let want = dequantise(&pixels, &mut Seed::new(3).host_noise());
        let mut noise = Seed::new(3).host_noise();
        let pixels = Tensor::from_vec(pixels, (10, 7_000), &Device::Cpu).unwrap();
        let got = dequantise_tensor(&pixels, &mut noise).unwrap();
        assert_eq!(got.dims(), [10, 7_000]);
        assert_eq!(got.flatten_all().unwrap().to_vec1::<f32>().unwrap(), want);
    }

    #[test]
    fn the_largest_draw_on_the_brightest_pixel_is_below_one() {
        let largest = 1.0 - f32::EPSILON / 2.0;
        // Why the draw is cut: added as it is, it would round to 256.
        assert!((255.0 + largest) / 256.0 >= 1.0);
        let cut = (largest * 65_536.0).floor() / 65_536.0;
        assert!((255.0 + cut) / 256.0 < 1.0);
    }

    #[test]
    fn noise_has_the_moments_of_a_uniform_law() {
        let n = 400_000;
        let values = dequantise(&vec![10; n], &mut Seed::new(5).host_noise());
        let u = |v: &f32| f64::from(*v) * 256.0 - 10.0;
        let mean = values.iter().map(u).sum::<f64>() / n as f64;
        let square = values.iter().map(|v| (u(v) - 0.5).powi(2)).sum::<f64>() / n as f64;
        let root = (n as f64).sqrt();
        assert!((mean - 0.5).abs() < 5.0 / (12_f64.sqrt() * root), "{mean}");
        // The variance of (u - 1/2)^2 is 1/80 - 1/144.
        assert!((square - 1.0 / 12.0).abs() < 5.0 / (180_f64.sqrt() * root), "{square}");
    }

    #[test]
    fn thread_count_does_not_matter() {
        let pixels = vec![77; 300_001];
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| dequantise(&pixels, &mut Seed::new(9).host_noise()))
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn pooling_averages_blocks_within_their_plane() {
        // One image, two channels, 2 x 4: 0..8 then 100..108.
        let image: Vec<f32> = (0..8).chain(100..108).map(|v| v as f32).collect();
        assert_eq!(pool2(&image, [2, 2, 4]).unwrap(), [2.5, 4.5, 102.5, 104.5]);
        let twice: Vec<f32> = image.iter().chain(&image).copied().collect();
        assert_eq!(pool2(&twice, [2, 2, 4]).unwrap().len(), 8);
        assert!(pool2(&image, [1, 1, 16]).is_err());
        assert!(pool2(&image, [0, 2, 4]).is_err());
        assert!(pool2(&image[..15], [2, 2, 4]).is_err());
    }
}
