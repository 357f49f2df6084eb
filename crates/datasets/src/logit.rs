//! From bounded numbers to the whole line: the logit of dequantised pixels, and back.

use chains_core::HostNoise;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Numbers handled by one task.
const CHUNK: usize = 1 << 14;

/// Numbers closer to 0 or 1 than this are moved to it: logits stay within `+-6.907`.
const MARGIN: f64 = 0.001;

/// Largest count of a cell of `optdigits`.
const LARGEST_COUNT: f32 = 16.0;

/// `log(x / (1 - x))` of `x = pixel / 255 + v`, `v` uniform in `[-1/512, 1/512)`, cut to `[0.001, 0.999]`.
///
/// So VERA prepares MNIST for NICE, with fresh noise at every access. Computed in f64; the same for any
/// number of threads.
pub fn logit_pixels(pixels: &[u8], noise: &mut HostNoise) -> Vec<f32> {
    let mut values = vec![0.0; pixels.len()];
    noise.fill_uniform(&mut values);
    values.par_chunks_mut(CHUNK).zip(pixels.par_chunks(CHUNK)).for_each(|(values, pixels)| {
        for (value, &pixel) in values.iter_mut().zip(pixels) {
            let v = (f64::from(*value) - 0.5) / 256.0;
            *value = logit(f64::from(pixel) / 255.0 + v);
        }
    });
    values
}

/// `log(x / (1 - x))` of `x = (count + u) / 17`, `u` uniform in `[0, 1)`, cut to `[0.001, 0.999]`: the same
/// for the 8x8 digits of `optdigits`, whose cells count 0 to 16.
///
/// # Errors
/// If a number is not in `[0, 16]`: standardised columns are not counts any more.
pub fn logit_counts(counts: &[f32], noise: &mut HostNoise) -> Result<Vec<f32>> {
    if let Some(wrong) = counts.iter().find(|count| !(0.0..=LARGEST_COUNT).contains(*count)) {
        let reason = format!("{wrong} is not between 0 and 16");
        return Err(Error::argument("counts of digits", reason));
    }
    let mut values = vec![0.0; counts.len()];
    noise.fill_uniform(&mut values);
    for (value, &count) in values.iter_mut().zip(counts) {
        *value = logit((f64::from(count) + f64::from(*value)) / (f64::from(LARGEST_COUNT) + 1.0));
    }
    Ok(values)
}

fn logit(x: f64) -> f32 {
    let x = x.clamp(MARGIN, 1.0 - MARGIN);
    (x.ln() - (1.0 - x).ln()) as f32
}

/// `1 / (1 + exp(-v))`: takes logits back to `[0, 1]`.
pub fn sigmoid(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| (1.0 / (1.0 + (-f64::from(v)).exp())) as f32).collect()
}

#[cfg(test)]
mod tests {
    use chains_core::Seed;

    use super::*;

    #[test]
    fn the_sigmoid_gives_back_the_pixel_with_its_noise() {
        let pixels: Vec<u8> = (0..200_000).map(|i| (i % 256) as u8).collect();
        let x = sigmoid(&logit_pixels(&pixels, &mut Seed::new(1).host_noise()));
        for (&x, &pixel) in x.iter().zip(&pixels) {
            let centre = (f64::from(pixel) / 255.0).clamp(MARGIN, 1.0 - MARGIN);
            assert!((f64::from(x) - centre).abs() < 1.0 / 512.0 + 1e-6, "{pixel} {x}");
        }
        // Pixel 128 is not cut: mean 128 / 255, deviation 1 / (256 sqrt 12).
        let at: Vec<f64> =
            x.iter().zip(&pixels).filter(|(_, p)| **p == 128).map(|(x, _)| f64::from(*x)).collect();
        let n = at.len() as f64;
        let mean = at.iter().sum::<f64>() / n;
        let deviation = 1.0 / (256.0 * 12.0_f64.sqrt());
        assert!((mean - 128.0 / 255.0).abs() < 5.0 * deviation / n.sqrt(), "{mean}");
        let square = at.iter().map(|x| (x - 128.0 / 255.0).powi(2)).sum::<f64>() / n;
        // The relative deviation of the square of a uniform is sqrt(4 / 5).
        assert!((square / deviation.powi(2) - 1.0).abs() < 5.0 * (0.8 / n).sqrt(), "{square}");
    }

    #[test]
    fn logits_end_at_the_margins() {
        let end = 999.0_f64.ln();
        assert!((end - 6.907).abs() < 1e-3);
        let values = logit_pixels(&[0; 1000], &mut Seed::new(2).host_noise());
        let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
        assert!((f64::from(lowest) + end).abs() < 1e-5, "{lowest}");
        // Half of the noise at 0 is negative and a quarter below 0.001: 0.756 in all at the margin.
        let at_margin = values.iter().filter(|v| f64::from(**v) < -end + 1e-5).count() as f64;
        assert!((at_margin / 1000.0 - 0.756).abs() < 5.0 * 0.0136, "{at_margin}");
        let values = logit_pixels(&[255; 1000], &mut Seed::new(3).host_noise());
        assert!(values.iter().all(|v| f64::from(*v) < end + 1e-5));
    }

    #[test]
    fn counts_of_optdigits_fill_seventeen_bins() {
        let counts: Vec<f32> = (0..17_000).map(|i| (i % 17) as f32).collect();
        let values = logit_counts(&counts, &mut Seed::new(4).host_noise()).unwrap();
        for (x, &count) in sigmoid(&values).iter().zip(&counts) {
            let bin = f64::from(*x) * 17.0 - f64::from(count);
            assert!((-1e-5..=1.0 + 1e-5).contains(&bin), "{count} {x}");
        }
        let mut noise = Seed::new(4).host_noise();
        assert!(logit_counts(&[16.5], &mut noise).is_err());
        assert!(logit_counts(&[-0.1], &mut noise).is_err());
        assert!(logit_counts(&[f32::NAN], &mut noise).is_err());
    }

    #[test]
    fn single_values_follow_the_formula() {
        for (x, expected) in [(0.5, 0.0), (0.25, -(3.0_f64.ln())), (-2.0, -(999.0_f64.ln()))] {
            assert!((f64::from(logit(x)) - expected).abs() < 1e-6, "{x}");
        }
        let back = sigmoid(&[0.0, 3.0_f32.ln(), -200.0, 200.0]);
        for (got, expected) in back.iter().zip([0.5, 0.75, 0.0, 1.0]) {
            assert!((got - expected).abs() < 1e-6, "{got}");
        }
    }

    #[test]
    fn thread_count_does_not_matter() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| logit_pixels(&vec![77; 100_001], &mut Seed::new(9).host_noise()))
        };
        assert_eq!(run(1), run(3));
    }
}
