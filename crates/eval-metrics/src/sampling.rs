//! Seeded choices: everything random in this crate follows from a `u64` and nothing else.

use chacha20::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// A ChaCha8 key stream.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// Stream number `index` of a seed; streams of different numbers are independent.
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `bound`, all equally likely; zero for a bound of zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        // Products below this would favour some numbers (Lemire, 2019).
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(bound);
            if wide as u64 >= threshold {
                return (wide >> 64) as usize;
            }
        }
    }

    /// `0..n` in random order, all orders equally likely.
    pub(crate) fn shuffled(&mut self, n: usize) -> Vec<usize> {
        self.subset(n, n)
    }

    /// `size` different numbers below `n` in random order, all `n` if `size` is larger.
    pub(crate) fn subset(&mut self, n: usize, size: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..n).collect();
        // The beginning of a Fisher-Yates shuffle.
        for at in 0..size.min(n) {
            numbers.swap(at, at + self.below(n - at));
        }
        numbers.truncate(size);
        numbers
    }
}

/// [`Stream::subset`] of stream number `index` of a seed.
pub(crate) fn subset(n: usize, size: usize, seed: u64, index: u64) -> Vec<usize> {
    Stream::new(seed, index).subset(n, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform() {
        let (mut stream, mut counts) = (Stream::new(1, 0), [0_u32; 7]);
        (0..70_000).for_each(|_| counts[stream.below(7)] += 1);
        // Chi squared with six degrees of freedom; 22.5 is exceeded once in a thousand.
        let squares: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
        assert!(squares < 22.5, "{counts:?}");
        assert_eq!((stream.below(1), stream.below(0)), (0, 0));
    }

    #[test]
    fn all_orders_are_equally_likely() {
        let mut stream = Stream::new(2, 0);
        let mut counts = std::collections::BTreeMap::new();
        (0..24_000).for_each(|_| *counts.entry(stream.shuffled(4)).or_insert(0_u32) += 1);
        assert_eq!(counts.len(), 24);
        // Chi squared with 23 degrees of freedom; 49.7 is exceeded once in a thousand.
        let squares: f64 = counts.values().map(|&c| (f64::from(c) - 1e3).powi(2) / 1e3).sum();
        assert!(squares < 49.7, "{counts:?}");
    }

    #[test]
    fn a_stream_follows_from_seed_and_number() {
        let draw = |seed, index| Stream::new(seed, index).shuffled(20);
        assert_eq!(draw(3, 4), draw(3, 4));
        assert!(draw(3, 4) != draw(4, 3) && draw(3, 4) != draw(3, 5));
    }

    #[test]
    fn subsets_hold_different_numbers_and_follow_from_the_seed() {
        let draw = subset(50, 20, 7, 3);
        let mut sorted = draw.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!((draw.len(), sorted.len()), (20, 20));
        assert!(sorted[19] < 50);
        assert_eq!(draw, subset(50, 20, 7, 3));
        assert!(draw != subset(50, 20, 7, 4) && draw != subset(50, 20, 8, 3));
        assert_eq!(draw, subset(50, 50, 7, 3)[..20]);
        assert_eq!(subset(3, 9, 0, 0).len(), 3);
        assert!(subset(0, 1, 0, 0).is_empty());
    }

    #[test]
    fn every_number_is_drawn_equally_often() {
        // 6,000 draws of 3 out of 10: each number 1,800 times, standard deviation 35.
        let mut counts = [0_i32; 10];
        for index in 0..6000 {
            subset(10, 3, 1, index).into_iter().for_each(|at| counts[at] += 1);
        }
        assert!(counts.iter().all(|count| (count - 1800).abs() < 5 * 36), "{counts:?}");
    }

    #[test]
    fn the_stream_is_frozen() {
        assert_eq!(subset(1000, 4, 0, 0), [836, 631, 233, 120]);
    }
}
