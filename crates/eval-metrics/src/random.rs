//! Random subsets that depend on a seed and on nothing else.
//!
//! ChaCha with eight rounds, keyed by the seed and the number of the draw, so that draws may be
//! made in any order and by any thread.

use chacha20::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// `size` different numbers below `n`, in random order; draw `index` of that seed.
///
/// With `size = n` it is a permutation. A `size` above `n` gives all `n`.
pub(crate) fn subset(n: usize, size: usize, seed: u64, index: u64) -> Vec<usize> {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    let mut numbers: Vec<usize> = (0..n).collect();
    // The beginning of a Fisher-Yates shuffle.
    for at in 0..size.min(n) {
        let rest = (n - at) as u64;
        numbers.swap(at, at + below(&mut generator, rest) as usize);
    }
    numbers.truncate(size);
    numbers
}

/// A uniform number below `bound`, without bias: the incomplete last interval is drawn again.
fn below(generator: &mut ChaCha8Rng, bound: u64) -> u64 {
    let incomplete = bound.wrapping_neg() % bound;
    loop {
        let wide = u128::from(generator.next_u64()) * u128::from(bound);
        if wide as u64 >= incomplete {
            return (wide >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
