//! The experiments at smoke.

mod densities;
mod images;
