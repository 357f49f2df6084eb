//! Seeded batches of indices that can be resumed anywhere.

use chains_core::Seed;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The numbers `0..n` in an order that depends on the seed alone (Fisher and Yates).
pub fn permutation(n: usize, seed: Seed) -> Vec<usize> {
    let mut noise = seed.host_noise();
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, noise.below(last as u64 + 1) as usize);
    }
    order
}

/// How a data set is cut into batches: a new order each epoch, from `seed.indexed(epoch)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shuffle {
    /// Number of examples.
    pub n: usize,
    /// Examples in a batch.
    pub batch_size: usize,
    /// The stream of the orders.
    pub seed: Seed,
    /// Leave out the last batch of an epoch if it is not full.
    pub drop_last: bool,
}

/// A place between two batches: all that a checkpoint needs besides [`Shuffle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Epochs completed.
    pub epoch: u64,
    /// Examples used in the current epoch.
    pub position: usize,
}

impl Shuffle {
    /// Batches from the beginning.
    ///
    /// # Errors
    /// If an epoch has no batch.
    pub fn batches(self) -> Result<Batches> {
        self.resume(Cursor::default())
    }

    /// Batches from a place on, the same bits as if there had been no break.
    ///
    /// # Errors
    /// If an epoch has no batch, or the place is not between two batches.
    pub fn resume(self, cursor: Cursor) -> Result<Batches> {
        if self.batch_size == 0 || self.batches_per_epoch() == 0 {
            let reason = format!(
                "{} examples in batches of {} give no batch; choose 1 to {}",
                self.n, self.batch_size, self.n
            );
            return Err(Error::argument("batch size", reason));
        }
        let Cursor { position, .. } = cursor;
        if !position.is_multiple_of(self.batch_size) || position >= self.end() {
            let reason = format!(
                "position {position} is not the start of a batch of {} within {} examples; was \
                 the batch size changed?",
                self.batch_size, self.n
            );
            return Err(Error::argument("batch cursor", reason));
        }
        let order = permutation(self.n, self.seed.indexed(cursor.epoch));
        Ok(Batches { shuffle: self, cursor, order, fresh: true })
    }

    /// Number of batches in an epoch; zero if the batch size is zero.
    pub fn batches_per_epoch(&self) -> usize {
        match (self.batch_size, self.drop_last) {
            (0, _) => 0,
            (size, true) => self.n / size,
            (size, false) => self.n.div_ceil(size),
        }
    }

    /// Examples used in an epoch.
    fn end(&self) -> usize {
        self.n.min(self.batches_per_epoch().saturating_mul(self.batch_size))
    }
}

/// Batches without end; made by [`Shuffle::batches`] and [`Shuffle::resume`].
#[derive(Clone, Debug)]
pub struct Batches {
    shuffle: Shuffle,
    cursor: Cursor,
    order: Vec<usize>,
    /// Does `order` belong to the epoch of `cursor`?
    fresh: bool,
}

impl Batches {
    /// The indices of the next batch.
    pub fn next_batch(&mut self) -> &[usize] {
        if !self.fresh {
            self.order = permutation(self.shuffle.n, self.shuffle.seed.indexed(self.cursor.epoch));
            self.fresh = true;
        }
        let start = self.cursor.position;
        let end = self.shuffle.end().min(start + self.shuffle.batch_size);
        self.cursor.position = end;
        if end == self.shuffle.end() {
            self.cursor = Cursor { epoch: self.cursor.epoch + 1, position: 0 };
            // The batch still points into the order, so the next one is drawn when it is needed.
            self.fresh = false;
        }
        &self.order[start..end]
    }

    /// The place between the last batch and the next, to be saved.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Epochs completed.
    pub fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    /// Number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.shuffle.batches_per_epoch()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shuffle(n: usize, batch_size: usize, drop_last: bool) -> Shuffle {
        Shuffle { n, batch_size, seed: Seed::new(11).child("data"), drop_last }
    }

    #[test]
    fn every_order_of_three_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for index in 0..6_000 {
            *counts.entry(permutation(3, Seed::new(0).indexed(index))).or_insert(0_usize) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Five standard deviations of a binomial count with p = 1/6.
        assert!(counts.values().all(|&c| (c as f64 - 1_000.0).abs() < 5.0 * 28.9), "{counts:?}");
    }

    #[test]
    fn an_epoch_uses_every_example_once_and_the_next_in_another_order() {
        let mut batches = shuffle(10, 3, false).batches().unwrap();
        assert_eq!(batches.batches_per_epoch(), 4);
        let mut epochs = Vec::new();
        for epoch in 0..2 {
            assert_eq!(batches.epoch(), epoch);
            let mut seen = Vec::new();
            for size in [3, 3, 3, 1] {
                let batch = batches.next_batch();
                assert_eq!(batch.len(), size);
                seen.extend_from_slice(batch);
            }
            epochs.push(seen.clone());
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epochs[0], epochs[1]);
    }

    #[test]
    fn a_short_last_batch_can_be_left_out() {
        let mut batches = shuffle(10, 3, true).batches().unwrap();
        assert_eq!(batches.batches_per_epoch(), 3);
        (0..6).for_each(|_| assert_eq!(batches.next_batch().len(), 3));
        assert_eq!(batches.cursor(), Cursor { epoch: 2, position: 0 });
    }

    #[test]
    fn impossible_settings_are_errors() {
        assert!(shuffle(10, 0, false).batches().is_err());
        assert!(shuffle(0, 1, false).batches().is_err());
        assert!(shuffle(2, 3, true).batches().is_err());
        assert!(shuffle(2, 3, false).batches().is_ok());
        for position in [1, 9, 12] {
            assert!(shuffle(10, 3, true).resume(Cursor { epoch: 0, position }).is_err());
        }
        assert!(shuffle(10, 3, false).resume(Cursor { epoch: 0, position: 9 }).is_ok());
    }

    #[test]
    fn value_stability() {
        assert_eq!(permutation(8, Seed::new(0)), FROZEN);
    }

    const FROZEN: [usize; 8] = [7, 5, 3, 0, 2, 6, 4, 1];

    proptest! {
        #[test]
        fn resuming_anywhere_gives_the_same_batches(
            n in 1..50_usize, size in 1..12_usize, drop_last: bool, skip in 0..30_usize,
        ) {
            prop_assume!(n >= size);
            let shuffle = shuffle(n, size, drop_last);
            let mut straight = shuffle.batches().unwrap();
            for _ in 0..skip {
                straight.next_batch();
            }
            let saved = serde_json::to_string(&straight.cursor()).unwrap();
            let mut resumed = shuffle.resume(serde_json::from_str(&saved).unwrap()).unwrap();
            for _ in 0..20 {
                prop_assert_eq!(straight.next_batch(), resumed.next_batch());
            }
            prop_assert_eq!(straight.cursor(), resumed.cursor());
        }
    }
}
