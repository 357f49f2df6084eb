//! The baselines: optima with closed forms, gradients against differences, what an update moves.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod chains;
mod classes;
mod common;
mod curvature;
mod generators;
mod precision;
mod score;
