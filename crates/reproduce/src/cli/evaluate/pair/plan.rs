//! Which scores can be had of what was given, and which are wanted.

use super::{
    extractors::Features,
    input::{Data, Input},
};
use crate::error::{Error, Result};

/// A score, whatever it is called on its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Score {
    Frechet,
    Kid,
    Prdc,
    Classifier,
    Modes,
    Mmd,
    Energy,
    Nearest,
    Auroc,
    Accuracy,
    Ece,
}

use Score::{Accuracy, Auroc, Classifier, Ece, Energy, Frechet, Kid, Mmd, Modes, Nearest, Prdc};

/// Every name that `--metric` knows when samples are scored.
const NAMES: [&str; 14] = [
    "fid",
    "mnist-fid",
    "frechet-distance",
    "kid",
    "prdc",
    "inception-score",
    "classifier-score",
    "modes",
    "mmd",
    "energy-distance",
    "nearest-accuracy",
    "auroc",
    "accuracy",
    "ece",
];

impl Score {
    /// The name on those features: FID is the Frechet distance on the Inception network only.
    pub(super) fn name(self, features: Features) -> &'static str {
        match (self, features) {
            (Frechet, Features::Inception) => "fid",
            (Frechet, Features::Mnist) => "mnist-fid",
            (Frechet, Features::None) => "frechet-distance",
            (Kid, _) => "kid",
            (Prdc, _) => "prdc",
            (Classifier, Features::Inception) => "inception-score",
            (Classifier, _) => "classifier-score",
            (Modes, _) => "modes",
            (Mmd, _) => "mmd",
            (Energy, _) => "energy-distance",
            (Nearest, _) => "nearest-accuracy",
            (Auroc, _) => "auroc",
            (Accuracy, _) => "accuracy",
            (Ece, _) => "ece",
        }
    }

    /// Does it look at all rows of both sides?
    pub(super) fn needs_rows(self) -> bool {
        matches!(self, Kid | Prdc | Mmd | Energy | Nearest)
    }

    /// Does it look at the samples alone?
    fn samples_only(self) -> bool {
        matches!(self, Classifier | Modes | Accuracy | Ece)
    }
}

/// The two sides and their features.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) reference: Option<&'a Input>,
    pub(super) samples: Option<&'a Input>,
    pub(super) features: Features,
}

impl Given<'_> {
    /// The scores to compute, in order; none when there are no samples and none were asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is unknown or cannot be had, with the reason, and if nothing
    /// can be had at all.
    pub(super) fn scores(&self, asked: &[String]) -> Result<Vec<Score>> {
        if asked.is_empty() {
            let mut reasons = Vec::new();
            let mut scores = Vec::new();
            for score in self.usual() {
                match self.refusal(score) {
                    None => scores.push(score),
                    Some(reason) => reasons.push(format!("{} {reason}", self.name(score))),
                }
            }
            if scores.is_empty() && self.samples.is_some() {
                return Err(Error::Usage(format!(
                    "nothing can be measured: {}",
                    reasons.join("; ")
                )));
            }
            return Ok(scores);
        }
        let known = self.known();
        for name in asked {
            let score = known.iter().find(|score| self.name(**score) == name);
            let refusal = match score {
                Some(score) => self.refusal(*score).map(|reason| format!("{name} {reason}")),
                None => Some(self.unknown(name, &known)),
            };
            if let Some(refusal) = refusal {
                return Err(Error::Usage(format!("--metric {name}: {refusal}")));
            }
        }
        let wanted = |score: &Score| asked.iter().any(|name| name == self.name(*score));
        Ok(known.into_iter().filter(wanted).collect())
    }

    fn name(&self, score: Score) -> &'static str {
        score.name(self.features)
    }

    /// All scores of what was given.
    fn known(&self) -> Vec<Score> {
        let data = self.samples.or(self.reference).map(|input| &input.data);
        match (data, self.features) {
            (Some(Data::Scores(_)), _) => vec![Auroc],
            (Some(Data::Predictions(_)), _) => vec![Accuracy, Ece],
            (_, Features::Inception) => vec![Frechet, Kid, Prdc, Classifier, Mmd, Energy, Nearest],
            (_, Features::Mnist) => {
                vec![Frechet, Kid, Prdc, Classifier, Mmd, Energy, Nearest, Modes]
            }
            (_, Features::None) => vec![Frechet, Kid, Prdc, Mmd, Energy, Nearest],
        }
    }

    /// Those that are computed when none is asked for.
    fn usual(&self) -> Vec<Score> {
        let mut known = self.known();
        match self.features {
            Features::None => {}
            Features::Mnist if self.stacked() => known = vec![Modes],
            Features::Mnist | Features::Inception => known.truncate(4),
        }
        if !self.equal_sizes() {
            known.retain(|score| *score != Nearest);
        }
        known
    }

    /// Are the samples in colour?
    fn stacked(&self) -> bool {
        let data = self.samples.map(|input| &input.data);
        matches!(data, Some(Data::Images(images)) if images.shape[0] == 3)
    }

    fn equal_sizes(&self) -> bool {
        self.reference.and_then(Input::n) == self.samples.and_then(Input::n)
    }

    /// Why a score cannot be had, after its name.
    fn refusal(&self, score: Score) -> Option<String> {
        let Some(samples) = self.samples else {
            return Some("needs --samples".into());
        };
        if score == Modes && !self.stacked() {
            return Some("needs stacked digits: colour images of 3x28x28".into());
        }
        if score != Modes && self.features == Features::Mnist && self.stacked() {
            return Some(
                "needs grey digits, these have colour; of stacked digits take modes".into(),
            );
        }
        let statistics = |input: &Input| matches!(input.data, Data::Statistics(_));
        let rows = |side: &str| {
            format!(
                "needs all rows of the {side}, stored statistics have their mean and covariance"
            )
        };
        if score != Frechet && statistics(samples) {
            return Some(rows("samples"));
        }
        if score.samples_only() {
            return None;
        }
        match self.reference {
            None => Some("needs --reference".into()),
            Some(reference) if score != Frechet && statistics(reference) => Some(rows("reference")),
            Some(_) => None,
        }
    }

    /// Why a name is none here, and what to write instead.
    fn unknown(&self, name: &str, known: &[Score]) -> String {
        let instead = match name {
            "fid" | "mnist-fid" | "frechet-distance" => Some(Frechet),
            "inception-score" | "classifier-score" => Some(Classifier),
            _ => None,
        };
        if let Some(score) = instead.filter(|score| known.contains(score)) {
            return format!(
                "is called {} with --features {}, since numbers of other features do not compare",
                self.name(score),
                self.features.name()
            );
        }
        let known: Vec<&str> = known.iter().map(|score| self.name(*score)).collect();
        let what = if NAMES.contains(&name) { "cannot be measured on this" } else { "is unknown" };
        format!("{what}; known here are {}", known.join(", "))
    }
}
