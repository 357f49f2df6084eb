//! numpy's legacy random numbers, to draw the very splits of papers that used `numpy.random.seed`.
//!
//! MT19937 (Matsumoto and Nishimura 1998) seeded by one 32-bit integer, bounded integers by masked
//! rejection: what `numpy.random.RandomState(seed)` gives, frozen by numpy's own policy. Everything
//! that no paper fixed in this way draws from [`chains_core::HostNoise`] instead.

use crate::{
    error::{Error, Result},
    splits::first_of_classes,
};

/// Words of the state.
const N: usize = 624;
/// Distance of the word that is mixed in.
const M: usize = 397;

/// The generator behind `numpy.random.RandomState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomState {
    state: [u32; N],
    next: usize,
}

impl RandomState {
    /// The generator of a seed, as `RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let last = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = last.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let both = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if both & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (both >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// An even integer in `0..=largest`: words under the smallest mask `2^b - 1 >= largest` until one
    /// fits; no word at all if `largest` is 0, two a try if it takes more than 32 bits.
    pub fn up_to(&mut self, largest: u64) -> u64 {
        if largest == 0 {
            return 0;
        }
        let mask = u64::MAX >> largest.leading_zeros();
        loop {
            let mut value = u64::from(self.next_u32());
            if mask > u64::from(u32::MAX) {
                value = value << 32 | u64::from(self.next_u32());
            }
            if value & mask <= largest {
                return value & mask;
            }
        }
    }

    /// Shuffles in place, as `RandomState.shuffle` does one axis.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.up_to(last as u64) as usize);
        }
    }
}

/// The numbers `0..n` as `RandomState(seed).shuffle` leaves them, equal to its `permutation(n)`.
///
/// # Example
/// ```
/// assert_eq!(datasets::legacy::shuffle(10, 1234), [7, 2, 9, 1, 0, 8, 4, 5, 6, 3]);
/// ```
pub fn shuffle(n: usize, seed: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    RandomState::new(seed).shuffle(&mut order);
    order
}

/// `n` integers in `0..bound`, as `RandomState(seed).randint(0, bound, n)`; a shape of more axes is
/// filled row after row.
///
/// # Errors
/// If `bound` is zero.
pub fn randint(n: usize, bound: u64, seed: u32) -> Result<Vec<u64>> {
    let Some(largest) = bound.checked_sub(1) else {
        return Err(Error::argument("randint bound", "0 must be positive"));
    };
    let mut random = RandomState::new(seed);
    Ok((0..n).map(|_| random.up_to(largest)).collect())
}

/// The labelled rows of a semi-supervised run: of [`shuffle`]`(n, seed)` the first `per_class` of every
/// class that occurs, class after class. Rows without a label are never among them.
///
/// # Errors
/// If a class has fewer rows.
pub fn labelled_subset(labels: &[Option<u32>], per_class: usize, seed: u32) -> Result<Vec<usize>> {
    first_of_classes(&shuffle(labels.len(), seed), labels, per_class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_mersenne_twister() {
        let mut random = RandomState::new(1234);
        assert_eq!(random.next_u32(), 822_569_775);
        // init_genrand(5489), the default of the authors' C++ successor: its word 10,000.
        let mut random = RandomState::new(5489);
        let last = (0..10_000).fold(0, |_, _| random.next_u32());
        assert_eq!(last, 4_123_659_995);
    }

    #[test]
    fn shuffles_are_numpys() {
        assert_eq!(shuffle(10, 1234), [7, 2, 9, 1, 0, 8, 4, 5, 6, 3]);
        assert_eq!(shuffle(9, 1234), [8, 2, 1, 0, 7, 4, 5, 6, 3]);
        let long = shuffle(7352, 1234);
        assert_eq!(long[..6], [1470, 4840, 4452, 2124, 3839, 2306]);
        assert_eq!(long[7349..], [1318, 723, 2863]);
        // numpy: (a * arange(7352)).sum()
        let sum: usize = long.iter().enumerate().map(|(i, v)| i * v).sum();
        assert_eq!(sum, 99_281_068_747);
        assert_eq!(shuffle(12, 0), [6, 11, 4, 10, 2, 8, 1, 7, 9, 3, 0, 5]);
        assert_eq!(shuffle(12, u32::MAX), [11, 8, 5, 9, 1, 10, 6, 0, 4, 7, 2, 3]);
        assert_eq!((shuffle(0, 1), shuffle(1, 1)), (vec![], vec![0]));
    }

    #[test]
    fn integers_are_numpys() {
        let triples = randint(180_000, 60_000, 1234).unwrap();
        assert_eq!(triples[..6], [27_439, 58_067, 34_086, 56_373, 23_924, 17_048]);
        assert_eq!(triples[179_997..], [46_923, 51_961, 22_003]);
        assert_eq!(triples.iter().sum::<u64>(), 5_402_331_902);
        // The mask is all 32 bits, then 40.
        let words = randint(3, 1 << 32, 1234).unwrap();
        assert_eq!(words, [822_569_775, 2_137_449_171, 2_671_936_806]);
        let wide = randint(4, 1 << 40, 1234).unwrap();
        assert_eq!(wide, [204_000_912_083, 166_721_346_613, 878_802_328_948, 656_147_994_617]);
        assert_eq!(randint(3, 1, 5).unwrap(), [0; 3]);
        assert!(randint(1, 0, 5).is_err());
    }

    #[test]
    fn a_bound_of_one_takes_no_word() {
        // numpy: RandomState(1234): randint(0, 2**32 - 1, 4), randint(0, 1, 3), randint(0, 10, 6)
        let mut random = RandomState::new(1234);
        (0..4).for_each(|_| _ = random.up_to(u64::from(u32::MAX) - 1));
        (0..3).for_each(|_| assert_eq!(random.up_to(0), 0));
        let rest: Vec<u64> = (0..6).map(|_| random.up_to(9)).collect();
        assert_eq!(rest, [4, 8, 9, 1, 7, 9]);
    }

    #[test]
    fn the_first_rows_of_each_class_in_shuffled_order_are_labelled() {
        // Order 7 2 9 1 0 8 4 5 6 3; class of row i is i mod 2, row 9 and row 2 are not labelled.
        let mut labels: Vec<Option<u32>> = (0..10).map(|i| Some(i % 2)).collect();
        labels[9] = None;
        labels[2] = None;
        assert_eq!(labelled_subset(&labels, 2, 1234).unwrap(), [0, 8, 7, 1]);
        let error = labelled_subset(&labels, 5, 1234).unwrap_err().to_string();
        assert!(error.contains("class 0 has 4 rows"), "{error}");
        assert_eq!(labelled_subset(&[None, None], 3, 1).unwrap(), [0_usize; 0]);
    }
}
