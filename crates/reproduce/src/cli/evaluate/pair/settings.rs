//! What `--set` changes when samples are scored.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How scores are computed; what is absent follows from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Balls of `prdc` reach to this nearest neighbour.
    pub(super) k: usize,
    /// Whether they hold their boundary.
    pub(super) boundary: Boundary,
    /// Pairs of subsets behind `kid`.
    pub(super) subsets: usize,
    /// Rows of a subset.
    pub(super) subset_size: Option<usize>,
    /// Splits of `inception-score` and `classifier-score`.
    pub(super) splits: Option<usize>,
    /// Are rows shuffled before they are split?
    pub(super) shuffle: bool,
    /// Bandwidth of `mmd`.
    pub(super) bandwidth: Option<f64>,
    /// Five kernels around that bandwidth instead of one.
    pub(super) mixture: bool,
    /// Divisions behind the p-value of `mmd`.
    pub(super) permutations: Option<usize>,
    /// Bins of `ece`.
    pub(super) bins: usize,
    /// Drawn sets behind its interval.
    pub(super) resamples: usize,
    /// Is the Frechet distance between two random halves of the reference reported too?
    pub(super) floor: bool,
    /// Sizes of subsets behind a Frechet distance of infinitely many rows.
    pub(super) extrapolate: Option<usize>,
    /// Side that a folder's images are resized to.
    pub(super) resize: Option<u32>,
    /// Side of the square that is cut out of their middle first.
    pub(super) crop: Option<u32>,
    /// Cut out the largest square instead.
    pub(super) square: bool,
    /// Images that a network sees at a time.
    pub(super) batch: Option<usize>,
    /// Which of the two digit networks: rankings that they disagree on mean nothing.
    pub(super) classifier: Classifier,
}

/// The networks of digits, which differ by the seed of their training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Classifier {
    A,
    B,
}

/// See [`eval_metrics::Boundary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Boundary {
    Open,
    Closed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            k: 5,
            boundary: Boundary::Open,
            subsets: 100,
            subset_size: None,
            splits: None,
            shuffle: true,
            bandwidth: None,
            mixture: false,
            permutations: None,
            bins: 15,
            resamples: 1000,
            floor: true,
            extrapolate: None,
            resize: None,
            crop: None,
            square: false,
            batch: None,
            classifier: Classifier::A,
        }
    }
}

impl Settings {
    /// The defaults with `--set` applied.
    pub(super) fn of(overrides: &[(String, String)]) -> Result<Self> {
        let found: Self = crate::request::overridden(&Self::default(), overrides)?;
        let refuse = |key: &str, value: String, reason: &str| {
            Err(Error::Usage(format!("--set {key}={value}: {reason}")))
        };
        let counts = [
            ("k", Some(found.k), 1),
            ("subsets", Some(found.subsets), 1),
            ("subset_size", found.subset_size, 2),
            ("splits", found.splits, 1),
            ("bins", Some(found.bins), 1),
            ("resamples", Some(found.resamples), 2),
            ("extrapolate", found.extrapolate, 2),
            ("resize", found.resize.map(|side| side as usize), 1),
            ("crop", found.crop.map(|side| side as usize), 1),
            ("batch", found.batch, 1),
        ];
        for (key, count, least) in counts {
            if let Some(count) = count.filter(|count| *count < least) {
                return refuse(key, count.to_string(), &format!("must be at least {least}"));
            }
        }
        if let Some(h) = found.bandwidth.filter(|h| !h.is_finite() || *h <= 0.0) {
            return refuse("bandwidth", h.to_string(), "must be positive");
        }
        if found.square && found.crop.is_some() {
            return refuse("square", "true".into(), "is another crop than crop; give one of them");
        }
        Ok(found)
    }

    /// What is done to the images of a folder, in words.
    pub(super) fn resizing(&self) -> String {
        let crop = match self.crop {
            Some(side) => Some(format!("central {side}x{side} window")),
            None => self.square.then(|| "largest central square".to_owned()),
        };
        let resize =
            self.resize.map(|side| format!("{side}x{side} by a triangle filter with antialiasing"));
        let steps: Vec<String> = crop.into_iter().chain(resize).collect();
        if steps.is_empty() { "none".into() } else { steps.join(", then ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Settings> {
        let pairs = words.iter().filter_map(|word| word.split_once('='));
        let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Settings::of(&pairs)
    }

    #[test]
    fn overrides_change_what_they_name() -> Result<()> {
        let found = of(&["k=3", "boundary=closed", "bandwidth=0.5", "crop=108", "resize=64"])?;
        assert_eq!((found.k, found.boundary), (3, Boundary::Closed));
        assert_eq!((found.bandwidth, found.subset_size), (Some(0.5), None));
        let words = "central 108x108 window, then 64x64 by a triangle filter with antialiasing";
        assert_eq!(found.resizing(), words);
        assert_eq!(of(&[])?, Settings::default());
        assert_eq!(of(&["square=true"])?.resizing(), "largest central square");
        assert_eq!(of(&[])?.resizing(), "none");
        Ok(())
    }

    #[test]
    fn values_without_meaning_are_refused() {
        for (word, part) in [
            ("k=0", "--set k=0: must be at least 1"),
            ("subset_size=1", "--set subset_size=1: must be at least 2"),
            ("splits=0", "splits=0"),
            ("bandwidth=-1", "bandwidth=-1: must be positive"),
            ("boundary=ajar", "expected `open` or `closed`"),
            ("floor=2", "floor=2"),
            ("knn=3", "unknown key; known are bandwidth, batch"),
        ] {
            let error = of(&[word]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(of(&["square=true", "crop=3"]).unwrap_err().to_string().contains("one of them"));
    }
}
