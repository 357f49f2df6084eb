//! Noise of the host: draw `n` of a stream is cut into blocks of fixed size, and every block has a ChaCha8
//! key stream of its own, so that threads may fill blocks in any order.

use candle_core::{DType, Device, Shape, Tensor};
use chacha20::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::{Noise, NoiseState, uniform_as};
use crate::{
    error::Result,
    seed::{Seed, mix},
};

/// ChaCha8 noise drawn on the host and copied to the device: CPU, CUDA and Metal see the same
/// numbers, and the number of threads does not matter.
///
/// Numbers are drawn in f32 (f64 for `DType::F64`); the stream of one seed is frozen by a test.
/// Not promised: that `normal` of shape `(2, n)` equals two draws of shape `(n,)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNoise {
    state: NoiseState,
}

/// Numbers in a block; a change alters every stream.
const BLOCK: usize = 4096;

impl HostNoise {
    /// Noise at the beginning of the stream of `seed`.
    pub fn new(seed: Seed) -> Self {
        Self { state: NoiseState { seed, draws: 0 } }
    }

    /// The position, to be saved.
    pub fn state(&self) -> NoiseState {
        self.state
    }

    /// Noise that goes on where `state` was taken.
    pub fn restore(state: &NoiseState) -> Self {
        Self { state: *state }
    }

    /// Fills a slice with uniform f32 in `[0, 1)`.
    pub fn fill_uniform(&mut self, out: &mut [f32]) {
        self.fill(out, |rng, block| {
            for value in block {
                // 24 random bits: every value is a multiple of 2^-24 below one.
                *value = (rng.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0);
            }
        });
    }

    /// Fills a slice with standard normal f32.
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        self.fill(out, |rng, block| {
            for value in block {
                *value = StandardNormal.sample(rng);
            }
        });
    }

    /// Uniform integers in `[0, bound)` without bias, for shuffles and indices.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "below: the bound must be positive");
        let mut rng = self.block_rng(0);
        self.state.draws += 1;
        // Lemire 2019: reject the incomplete last interval.
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(rng.next_u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    fn fill<T: Send>(&mut self, out: &mut [T], draw: impl Fn(&mut ChaCha8Rng, &mut [T]) + Sync) {
        let this = &*self;
        let one =
            |(index, block): (usize, &mut [T])| draw(&mut this.block_rng(index as u64), block);
        if out.len() <= 4 * BLOCK {
            out.chunks_mut(BLOCK).enumerate().for_each(one);
        } else {
            out.par_chunks_mut(BLOCK).enumerate().for_each(one);
        }
        self.state.draws += 1;
    }

    fn block_rng(&self, block: u64) -> ChaCha8Rng {
        let NoiseState { seed, draws } = self.state;
        let mut key = [0_u8; 32];
        for (word, value) in [seed.value(), mix(seed.value()), draws, block].iter().enumerate() {
            key[8 * word..8 * (word + 1)].copy_from_slice(&value.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

impl Noise for HostNoise {
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        if dtype == DType::F64 {
            let mut values = vec![0_f64; shape.elem_count()];
            self.fill(&mut values, |rng, block| {
                block.iter_mut().for_each(|value| *value = StandardNormal.sample(rng));
            });
            return Ok(Tensor::from_vec(values, shape, device)?);
        }
        let mut values = vec![0_f32; shape.elem_count()];
        self.fill_normal(&mut values);
        Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        if dtype == DType::F64 {
            let mut values = vec![0_f64; shape.elem_count()];
            self.fill(&mut values, |rng, block| {
                for value in block {
                    *value = (rng.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0);
                }
            });
            return Ok(Tensor::from_vec(values, shape, device)?);
        }
        let mut values = vec![0_f32; shape.elem_count()];
        self.fill_uniform(&mut values);
        uniform_as(&Tensor::from_vec(values, shape, device)?, dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> HostNoise {
        Seed::new(7).child("test").host_noise()
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 400_000;
        let mut values = vec![0.0; n];
        noise().fill_normal(&mut values);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n as f64;
        let fourth = values.iter().map(|v| f64::from(*v).powi(4)).sum::<f64>() / n as f64;
        let root = (n as f64).sqrt();
        assert!(mean.abs() < 5.0 / root);
        assert!((square - 1.0).abs() < 5.0 * 2_f64.sqrt() / root);
        assert!((fourth - 3.0).abs() < 5.0 * 96_f64.sqrt() / root);
        noise().fill_uniform(&mut values);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 5.0 / (12_f64.sqrt() * root));
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
    }

    #[test]
    fn uniform_numbers_of_half_precision_stay_below_one() -> Result<()> {
        for (dtype, most) in [(DType::BF16, 255.0 / 256.0), (DType::F16, 2047.0 / 2048.0)] {
            let x = noise().uniform(&Shape::from(100_000), dtype, &Device::Cpu)?;
            let values = crate::host::values(&x)?;
            let largest = values.iter().copied().fold(0.0, f64::max);
            assert_eq!(largest.to_bits(), f64::to_bits(most), "{dtype:?}");
        }
        Ok(())
    }

    #[test]
    fn thread_count_does_not_matter() {
        let draw = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut values = vec![0.0; 100_003];
                noise().fill_normal(&mut values);
                values
            })
        };
        assert_eq!(draw(1), draw(3));
    }

    #[test]
    fn a_restored_state_goes_on_with_the_same_bits() {
        let mut first = noise();
        let mut values = vec![0.0; 10];
        first.fill_normal(&mut values);
        let state = serde_json::to_string(&first.state()).unwrap();
        let mut second = HostNoise::restore(&serde_json::from_str(&state).unwrap());
        let mut again = vec![0.0; 10];
        first.fill_uniform(&mut values);
        second.fill_uniform(&mut again);
        assert_eq!(values, again);
        assert_eq!(first, second);
    }

    #[test]
    fn draws_of_one_stream_differ() {
        let mut stream = noise();
        let (mut a, mut b) = (vec![0.0; 16], vec![0.0; 16]);
        stream.fill_normal(&mut a);
        stream.fill_normal(&mut b);
        assert_ne!(a, b);
    }

    #[test]
    fn below_is_even() {
        let mut stream = noise();
        let mut counts = [0_usize; 3];
        for _ in 0..30_000 {
            counts[stream.below(3) as usize] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(counts.iter().all(|&c| (c as f64 - 10_000.0).abs() < 5.0 * 81.65), "{counts:?}");
    }

    #[test]
    fn value_stability() {
        // Frozen: a change alters every number of every run and belongs in the changelog.
        let mut values = vec![0.0; 2];
        noise().fill_normal(&mut values);
        assert_eq!(values, NORMALS);
        noise().fill_uniform(&mut values);
        assert_eq!(values, UNIFORMS);
        // A number in the second block, an integer, and f64.
        let mut long = vec![0.0; BLOCK + 1];
        noise().fill_normal(&mut long);
        assert_eq!(long[BLOCK].to_bits(), SECOND_BLOCK.to_bits());
        assert_eq!(noise().below(1_000_000), BELOW);
        let wide = |t: Tensor| t.to_vec1::<f64>().unwrap()[0].to_bits();
        let (shape, cpu) = (Shape::from(1), Device::Cpu);
        let normal = noise().normal(&shape, DType::F64, &cpu).unwrap();
        assert_eq!(wide(normal), NORMAL_F64.to_bits());
        let uniform = noise().uniform(&shape, DType::F64, &cpu).unwrap();
        assert_eq!(wide(uniform), UNIFORM_F64.to_bits());
    }

    const NORMALS: [f32; 2] = [-1.2595654, -0.44721735];
    const UNIFORMS: [f32; 2] = [0.052962303, 0.18481433];
    const SECOND_BLOCK: f32 = 0.36362562;
    const BELOW: u64 = 184_814;
    const NORMAL_F64: f64 = -1.259565317045154;
    const UNIFORM_F64: f64 = 0.1848143616348883;
}
