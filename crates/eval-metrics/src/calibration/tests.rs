use ndarray::{Array2, array, s};

use super::{bins::bin_of, *};
use crate::golden::{array as golden, assert_close};

const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 400, level: 0.95, seed: 7 };

fn logits() -> Array2<f64> {
    golden(6, 200, 3) * 4.0
}

fn labels() -> Vec<u8> {
    golden(7, 200, 1).iter().map(|u| (3.0 * u) as u8).collect()
}

fn softmax(logits: &Array2<f64>) -> Array2<f64> {
    log_softmax(logits.view()).mapv(f64::exp)
}

#[test]
fn golden_values_are_met_from_logits_and_from_probabilities() -> Result<()> {
    for found in [
        calibration_from_logits(logits().view(), &labels(), 15, BOOTSTRAP)?,
        calibration(softmax(&logits()).view(), &labels(), 15, BOOTSTRAP)?,
    ] {
        assert_close(found.ece, 0.30882776971389125, 1e-12);
        assert_close(found.mce, 0.6490129199532251, 1e-12);
        assert_close(found.accuracy, 0.35, 1e-15);
        assert_close(found.nll, 1.538567938856616, 1e-12);
        assert_close(found.brier, 0.8760352618181798, 1e-12);
        assert_eq!((found.bins, found.n), (15, 200));
    }
    Ok(())
}

#[test]
fn one_half_and_half_right_is_calibrated() -> Result<()> {
    let found =
        calibration(Array2::from_elem((6, 2), 0.5).view(), &[0, 1, 0, 1, 1, 0], 15, BOOTSTRAP)?;
    assert_eq!((found.ece, found.mce, found.adaptive_ece), (0.0, 0.0, 0.0));
    assert_close(found.nll, std::f64::consts::LN_2, 1e-15);
    assert_close(found.brier, 0.5, 1e-15);
    assert_close(found.nll_std_error.unwrap(), 0.0, 1e-15);
    Ok(())
}

#[test]
fn always_sure_errs_by_the_share_of_wrong_answers() -> Result<()> {
    let (n, wrong) = (400, 100);
    let sure = Array2::from_shape_fn((n, 2), |(_, class)| [40.0, 0.0][class]);
    let labels: Vec<usize> = (0..n).map(|row| usize::from(row < wrong)).collect();
    let bootstrap = Bootstrap { resamples: 4000, ..BOOTSTRAP };
    let found = calibration_from_logits(sure.view(), &labels, 15, bootstrap)?;
    for value in [found.ece, found.mce, found.adaptive_ece] {
        assert_close(value, 0.25, 1e-12);
    }
    assert_close(found.nll, 10.0, 1e-12);
    // Drawn again, the error is a binomial share: normal quantiles up to its steps of 1/400 and the
    // noise of the 2.5 per cent quantile, sqrt(0.025 * 0.975 / 4000) / 0.0584 standard deviations.
    let deviation = (0.25_f64 * 0.75 / n as f64).sqrt();
    let tolerance = 1.0 / n as f64 + 3.0 * 0.042 * deviation;
    for (end, side) in [(found.ece_interval.0, -1.0), (found.ece_interval.1, 1.0)] {
        let expected = 0.25 + side * 1.959_964 * deviation;
        assert!((end - expected).abs() < tolerance, "{end} {expected}");
    }
    Ok(())
}

#[test]
fn edges_belong_to_the_bin_below() {
    for bins in [1, 2, 7, 10, 15, 100] {
        assert_eq!(
            (bin_of(0.0, bins), bin_of(1.0, bins), bin_of(1.0005, bins)),
            (0, bins - 1, bins - 1)
        );
        for edge in 1..bins {
            let value = edge as f64 / bins as f64;
            assert_eq!((bin_of(value, bins), bin_of(value.next_up(), bins)), (edge - 1, edge));
        }
    }
}

#[test]
fn bins_of_equal_mass_share_the_rows_and_keep_ties_together() {
    let row = |confidence| Row { confidence, correct: true, nll: 0.0, brier: 0.0 };
    let sizes = |values: &[f64], bins| -> Vec<usize> {
        let rows: Vec<Row> = values.iter().map(|&value| row(value)).collect();
        equal_mass(&rows, bins).map(<[Row]>::len).collect()
    };
    let distinct: Vec<f64> = (0..11).map(|at| f64::from(at) / 20.0).collect();
    assert_eq!(sizes(&distinct, 3), [3, 4, 4]);
    assert_eq!(sizes(&distinct, 20), [1; 11]);
    assert_eq!(sizes(&[0.1, 0.2, 0.2, 0.2, 0.2, 0.3], 3), [5, 0, 1]);
}

#[test]
fn adaptive_error_is_that_of_its_bins() -> Result<()> {
    // Confidences 0.6, 0.7 | 0.8, 0.9 in two bins; right, wrong | right, right.
    let probabilities = array![[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]];
    let found = calibration(probabilities.view(), &[0_i64, 1, 1, 1], 2, BOOTSTRAP)?;
    assert_close(found.adaptive_ece, 0.25 * ((1.3 - 1.0) + (2.0 - 1.7)), 1e-15);
    // Bins of equal width put all four into (0.5, 1].
    assert_close(found.ece, 0.0, 1e-15);
    Ok(())
}

#[test]
fn order_precision_and_threads_do_not_matter() -> Result<()> {
    let (logits, labels) = (logits(), labels());
    let found = calibration_from_logits(logits.view(), &labels, 15, BOOTSTRAP)?;
    let reversed: Vec<u8> = labels.iter().rev().copied().collect();
    let other = calibration_from_logits(logits.slice(s![..;-1, ..]), &reversed, 15, BOOTSTRAP)?;
    assert_eq!(other, found);
    let narrow = calibration_from_logits(logits.mapv(|x| x as f32).view(), &labels, 15, BOOTSTRAP)?;
    assert_close(narrow.ece, found.ece, 1e-5);
    assert_close(narrow.nll, found.nll, 1e-5);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| calibration_from_logits(logits.view(), &labels, 15, BOOTSTRAP))
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn the_seed_moves_the_interval_only() -> Result<()> {
    let run = |seed| {
        let bootstrap = Bootstrap { seed, ..BOOTSTRAP };
        calibration_from_logits(logits().view(), &labels(), 15, bootstrap)
    };
    let (one, other) = (run(1)?, run(2)?);
    assert!(one.ece_interval != other.ece_interval);
    assert_close(one.ece_interval.0, other.ece_interval.0, 0.02);
    assert_eq!(
        Calibration { ece_interval: one.ece_interval, bootstrap: one.bootstrap, ..other },
        one
    );
    Ok(())
}

#[test]
fn unusable_input_is_named() {
    let good = || array![[0.5, 0.5], [1.0, 0.0]];
    let text = |rows: Array2<f64>, labels: &[i32], bins, bootstrap| {
        calibration(rows.view(), labels, bins, bootstrap).unwrap_err().to_string()
    };
    assert!(text(good(), &[0, 1], 15, BOOTSTRAP).contains("row 1 gives its label no probability"));
    assert!(text(good(), &[0, 2], 15, BOOTSTRAP).contains("none of the 2 classes"));
    assert!(text(good(), &[0], 15, BOOTSTRAP).contains("expected 2 labels"));
    assert!(text(good(), &[0, 0], 0, BOOTSTRAP).contains("`bins`"));
    let none = Bootstrap { resamples: 0, ..BOOTSTRAP };
    assert!(text(good(), &[0, 0], 15, none).contains("`resamples`"));
    let wide = Bootstrap { level: f64::NAN, ..BOOTSTRAP };
    assert!(text(good(), &[0, 0], 15, wide).contains("`level`"));
    assert!(text(good() * 2.0, &[0, 0], 15, BOOTSTRAP).contains("sums to 2"));
    assert!(text(good() - 1.0, &[0, 0], 15, BOOTSTRAP).contains("negative entry"));
    assert!(text(good() * f64::NAN, &[0, 0], 15, BOOTSTRAP).contains("row 0, column 0"));
    assert!(text(Array2::zeros((0, 2)), &[], 15, BOOTSTRAP).contains("probabilities: 0 rows"));
    assert!(text(Array2::zeros((1, 0)), &[0], 15, BOOTSTRAP).contains("no columns"));
    let many = calibration(good().view(), &[0, 0], usize::MAX, BOOTSTRAP);
    assert!(many.is_ok_and(|found| (found.ece - 0.25).abs() < 1e-12));
}
