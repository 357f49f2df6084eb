//! Scores beside published implementations, on features that both sides compute.
//!
//! `fixtures/scores_reference.py` made the numbers.
#![cfg(test)]

use std::{fs, path::Path};

use eval_metrics::{
    Boundary, FrechetOptions, FrechetRoute, KidBlocks, Prdc, frechet_distance_of_rows,
    inception_score, kid, prdc,
};
use ndarray::Array2;
use serde_json::Value;

/// `n` rows of `d` numbers of the generator `s <- 1664525 s + 1013904223 mod 2^32`.
fn rows(seed: u32, n: usize, d: usize) -> Array2<f64> {
    let mut state = seed;
    Array2::from_shape_simple_fn((n, d), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) + 0.5) / 4_294_967_296.0
    })
}

fn real_and_fake() -> (Array2<f64>, Array2<f64>) {
    (rows(11, 500, 64), rows(12, 500, 64) * 1.1 + 0.02)
}

fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scores.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn close(value: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((value - expected).abs() <= tolerance * expected.abs(), "{value} {expected}");
}

#[test]
fn frechet_distances_are_those_of_both_fid_programs() -> eval_metrics::Result<()> {
    let ((real, fake), reference) = (real_and_fake(), reference());
    let routes = [FrechetRoute::Cholesky, FrechetRoute::Eigen, FrechetRoute::Thin];
    for route in routes.map(Some).into_iter().chain([None]) {
        let options = FrechetOptions { route, ..FrechetOptions::default() };
        let found = frechet_distance_of_rows(real.view(), fake.view(), &options)?;
        for name in ["fid_pytorch_fid", "fid_torch_fidelity"] {
            close(found.value, &reference[name], 1e-6);
        }
    }
    Ok(())
}

#[test]
fn the_kernel_distance_is_that_of_torch_fidelity() -> eval_metrics::Result<()> {
    let (real, fake) = real_and_fake();
    let found = kid(real.view(), fake.view(), KidBlocks::Whole)?;
    close(found.value, &reference()["kid_torch_fidelity"], 1e-5);
    Ok(())
}

#[test]
fn the_inception_score_is_that_of_torch_fidelity() -> eval_metrics::Result<()> {
    let (logits, reference) = (rows(13, 500, 20) * 4.0, reference());
    let found = inception_score(logits.view(), 10, None)?;
    close(found.mean, &reference["isc_mean_torch_fidelity"], 1e-9);
    close(found.std_dev, &reference["isc_std_torch_fidelity"], 1e-9);
    let whole = inception_score(logits.view(), 1, None)?;
    close(whole.mean, &reference["isc_one_split_torch_fidelity"], 1e-9);
    Ok(())
}

#[test]
fn precision_recall_density_and_coverage_are_those_of_both_programs() -> eval_metrics::Result<()> {
    let ((real, fake), reference) = (real_and_fake(), reference());
    let run = |k, boundary| prdc(real.view(), fake.view(), k, boundary);
    for (k, name) in [(3, "prdc_3"), (5, "prdc_5")] {
        let Prdc { precision, recall, density, coverage, .. } = run(k, Boundary::Open)?;
        let expected = &reference[name];
        for (value, name) in [
            (precision, "precision"),
            (recall, "recall"),
            (density, "density"),
            (coverage, "coverage"),
        ] {
            close(value, &expected[name], 1e-12);
        }
    }
    let closed = run(3, Boundary::Closed)?;
    // Means of f32 flags there.
    close(closed.precision, &reference["precision_torch_fidelity"], 1e-6);
    close(closed.recall, &reference["recall_torch_fidelity"], 1e-6);
    Ok(())
}
