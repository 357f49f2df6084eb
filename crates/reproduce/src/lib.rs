//! The experiments of the five papers: what runs them, records them and reports them.
//!
//! A run fills one directory ([`run_dir::RunDir`]) with its settings, its numbers
//! ([`results::Results`]), plots, sample sheets and a report ([`report::Report`]). Training loops
//! speak through events; the listeners are in [`observers`].

pub mod bench;
pub mod cli;
pub mod data;
pub mod digits;
mod error;
pub mod infusion;
pub mod metrics;
pub mod observers;
pub mod plots;
pub mod registry;
pub mod report;
pub mod request;
pub mod results;
pub mod run;
pub mod run_dir;
pub mod sheet;
pub mod training;

pub use error::{Error, Result};

/// The example of the workspace's README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
