//! Rows that may be among the nearest of one row, from distances that rounding has touched.

/// The candidates for the `k` nearest of one row.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    /// The `k` smallest distances so far, ascending.
    smallest: Vec<f64>,
    k: usize,
    /// Both the k-th and a rival may be off by the tolerance.
    margin: f64,
    found: Vec<(usize, f64)>,
}

impl Candidates {
    /// None yet; `tolerance` bounds the error of every distance that will come.
    pub(super) fn new(k: usize, tolerance: f64) -> Self {
        Self { smallest: Vec::new(), k, margin: 2.0 * tolerance, found: Vec::new() }
    }

    /// The same search without candidates.
    pub(super) fn emptied(&self) -> Self {
        Self { smallest: Vec::new(), found: Vec::new(), ..*self }
    }

    /// Rows beyond this squared distance are out of the question; infinity before `k` have come.
    pub(super) fn limit(&self) -> f64 {
        self.smallest.get(self.k - 1).map_or(f64::INFINITY, |kth| kth + self.margin)
    }

    /// Takes a row at that squared distance into account.
    #[inline]
    pub(super) fn push(&mut self, row: usize, squared: f64) {
        if squared <= self.limit() {
            self.insert(row, squared);
        }
    }

    fn insert(&mut self, row: usize, squared: f64) {
        self.smallest.insert(self.smallest.partition_point(|other| *other <= squared), squared);
        self.smallest.truncate(self.k);
        if self.found.len() == self.found.capacity() {
            self.prune();
        }
        self.found.push((row, squared));
    }

    /// Drops those that later ones have put out of the question.
    fn prune(&mut self) {
        let limit = self.limit();
        self.found.retain(|(_, squared)| *squared <= limit);
    }

    /// Takes the candidates of another part of the same search over.
    pub(super) fn merge(&mut self, mut other: Self) {
        other.prune();
        other.found.into_iter().for_each(|(row, squared)| self.push(row, squared));
    }

    /// The rows, ascending; among them are the `k` nearest, and all that are as near as those.
    pub(super) fn indices(mut self) -> Vec<usize> {
        self.prune();
        let mut rows: Vec<usize> = self.found.into_iter().map(|(row, _)| row).collect();
        rows.sort_unstable();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_within_the_margin_stay_and_others_go() {
        let mut candidates = Candidates::new(2, 0.1);
        assert!(candidates.limit().is_infinite());
        for (row, squared) in [(7, 5.0), (3, 1.0), (5, 1.15), (1, 0.9), (2, 1.3), (4, 0.9)] {
            candidates.push(row, squared);
        }
        // The second smallest is 0.9 and the margin 0.2: 1.0 stays, 1.15 goes.
        assert!((candidates.limit() - 1.1).abs() < 1e-12);
        let mut other = candidates.emptied();
        other.push(9, 1.05);
        other.push(8, 3.0);
        candidates.merge(other);
        assert_eq!(candidates.indices(), [1, 3, 4, 9]);
    }
}
