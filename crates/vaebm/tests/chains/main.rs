//! Chains in the noise space against laws that are known exactly.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod decoders;
mod langevin;
mod learning;
mod potentials;
mod replay;
