//! What can be reproduced.

use crate::{
    error::{Error, Result},
    request::Request,
    run::Run,
};

/// One experiment of a paper.
pub struct Experiment {
    /// Name on the command line.
    pub id: &'static str,
    /// Table, figure or section of the paper.
    pub anchor: &'static str,
    /// What it shows, in a sentence.
    pub title: &'static str,
    /// Runs when no experiment is named.
    pub headline: bool,
    /// The data it needs, in words.
    pub data: &'static str,
    /// Rough time on two cores at the three scales.
    pub time: [&'static str; 3],
    /// The resolved settings, or what is wrong with them, without side effects.
    pub settings: fn(&Request) -> Result<toml::Table>,
    /// What keeps it from running now, such as missing files.
    pub ready: fn(&Request) -> Result<()>,
    /// Does it.
    pub run: fn(&mut Run<'_>) -> Result<()>,
}

/// A paper and its experiments.
pub struct Paper {
    /// Name on the command line, the name of the crate.
    pub id: &'static str,
    /// Authors, title, place.
    pub citation: &'static str,
    /// In the order of the paper.
    pub experiments: &'static [Experiment],
}

/// The papers that can be reproduced.
pub static PAPERS: &[&Paper] = &[
    &crate::infusion::PAPER,
    &crate::walkback::PAPER,
    &crate::variational_annealing::PAPER,
    &crate::vera::PAPER,
    &crate::vaebm::PAPER,
    &crate::metrics::PAPER,
];

/// The paper of that name, or all of them.
///
/// # Errors
/// [`Error::Usage`] that lists the names.
pub fn papers(name: &str) -> Result<Vec<&'static Paper>> {
    if name == "all" {
        return Ok(PAPERS.to_vec());
    }
    if let Some(paper) = PAPERS.iter().find(|paper| paper.id == name) {
        return Ok(vec![paper]);
    }
    let known: Vec<_> = PAPERS.iter().map(|paper| paper.id).collect();
    let known = known.join(", ");
    Err(Error::Usage(format!("unknown paper `{name}`; available are {known}, all")))
}

impl Paper {
    /// The named experiments in the paper's order; the headline ones if none is named, every one
    /// for `all`.
    ///
    /// # Errors
    /// [`Error::Usage`] that lists the names.
    pub fn select(&'static self, ids: &[String]) -> Result<Vec<&'static Experiment>> {
        for id in ids {
            if id != "all" && !self.experiments.iter().any(|e| e.id == id) {
                let known: Vec<_> = self.experiments.iter().map(|e| e.id).collect();
                return Err(Error::Usage(format!(
                    "`{}` has no experiment `{id}`; known are {}, all",
                    self.id,
                    known.join(", ")
                )));
            }
        }
        let chosen = |e: &&Experiment| {
            if ids.is_empty() { e.headline } else { ids.iter().any(|id| id == e.id || id == "all") }
        };
        Ok(self.experiments.iter().filter(chosen).collect())
    }
}
