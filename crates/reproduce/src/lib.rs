//! The experiments of the five papers: what runs them, records them and reports them.
//!
//! A run fills one directory ([`run_dir::RunDir`]) with its settings, its numbers
//! ([`results::Results`]), plots, sample sheets and a report ([`report::Report`]). Training loops
//! speak through events; the listeners are in [`observers`].

pub mod animation;
mod arrays;
pub mod bench;
pub mod cli;
mod colour_sets;
mod completions;
pub mod data;
mod digit_scores;
pub mod digits;
mod error;
pub mod images;
mod inception;
pub mod infusion;
mod limits;
pub mod metrics;
mod neighbours;
pub mod observers;
pub mod plots;
pub mod registry;
mod repeats;
pub mod report;
pub mod request;
pub mod results;
pub mod run;
pub mod run_dir;
mod seeds;
pub mod sheet;
#[cfg(test)]
mod testing;
pub mod training;
pub mod vaebm;
pub mod variational_annealing;
pub mod vera;
pub mod walkback;

pub use error::{Error, Result};

/// The example of the workspace's README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
