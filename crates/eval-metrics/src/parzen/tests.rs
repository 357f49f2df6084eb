//! The density against closed forms and golden values; bandwidths; blocks, threads, precision.

use ndarray::{Array2, array, s};

use super::*;
use crate::golden::{array as golden, assert_close, fake, normals, real};

#[test]
fn golden_values_are_met() -> Result<()> {
    for (bandwidth, mean, std_error) in [
        (0.1, -12.775771951104794, 0.7620984099423932),
        (0.2, -3.518492809050951, 0.20019368476972724),
        (0.3, -3.0912047061076793, 0.10683606917412417),
    ] {
        let score = parzen(fake().view(), real().view(), bandwidth)?;
        assert_close(score.mean, mean, 1e-12);
        assert_close(score.std_error, std_error, 1e-12);
        assert_eq!((score.n, score.centres), (200, 200));
    }
    let score = parzen(fake().view(), real().view(), 0.1)?;
    assert_close(score.std_error_unbiased(), 0.7640108305401417, 1e-12);
    Ok(())
}

#[test]
fn one_centre_is_an_exact_gaussian() -> Result<()> {
    let density = parzen_log_density(array![[1.0, -2.0]].view(), array![[0.5, 1.0]].view(), 0.7)?;
    // Sum over dimensions of -ln(h sqrt(2 pi)) - (x - g)^2 / (2 h^2), term by term.
    let log_normal =
        |z: f64| -0.5 * (z / 0.7).powi(2) - (0.7 * (2.0 * std::f64::consts::PI).sqrt()).ln();
    assert_close(density[0], log_normal(0.5) + log_normal(3.0), 1e-14);
    Ok(())
}

#[test]
fn two_centres_are_the_mean_of_two_gaussians() -> Result<()> {
    let (centres, point, h) = (array![[0.0, 1.0], [2.0, -1.0]], array![[0.5, 0.25]], 0.7);
    let found = parzen_log_density(centres.view(), point.view(), h)?[0];
    let density = |centre: [f64; 2]| {
        let squares = (0.5 - centre[0]).powi(2) + (0.25 - centre[1]).powi(2);
        (-squares / (2.0 * h * h)).exp() / (std::f64::consts::TAU * h * h)
    };
    let mean = f64::midpoint(density([0.0, 1.0]), density([2.0, -1.0]));
    assert_close(found, mean.ln(), 1e-13);
    Ok(())
}

#[test]
fn ten_thousand_normal_centres_are_within_three_hundredths_of_a_nat() -> Result<()> {
    // tau = 1, rho = 0.8, h = 0.2; the points' own error is taken out row by row.
    let (tau, rho, h) = (1.0_f64, 0.8, 0.2);
    let variance = tau * tau + h * h;
    let points = normals(22, 4000) * rho;
    let found = parzen_log_density((normals(21, 10_000) * tau).view(), points.view(), h)?;
    let exact = |x: f64| -0.5 * ((std::f64::consts::TAU * variance).ln() + x * x / variance);
    let gap = found.iter().zip(&points).map(|(found, &x)| found - exact(x)).sum::<f64>();
    assert!((gap / 4000.0).abs() < 0.03, "{}", gap / 4000.0);
    Ok(())
}

#[test]
fn many_normal_samples_approach_the_convolved_normal() -> Result<()> {
    let (s, t, h) = (1.0, 0.7, 0.5);
    let (centres, points) = (normals(11, 20_000) * s, normals(12, 4_000) * t);
    let score = parzen(centres.view(), points.view(), h)?;
    let variance: f64 = s * s + h * h;
    let expected = -0.5 * (std::f64::consts::TAU * variance).ln() - t * t / (2.0 * variance);
    // The centres' own sampling error is smaller than the test rows'.
    assert!((score.mean - expected).abs() < 5.0 * score.std_error, "{score:?} {expected}");
    Ok(())
}

#[test]
fn distant_rows_neither_overflow_nor_vanish() -> Result<()> {
    let density = parzen_log_density(array![[0.0], [1.0]].view(), array![[142.0]].view(), 1.0)?;
    let expected = -0.5 * 141.0_f64.powi(2) + (1.0 + (-141.5_f64).exp()).ln()
        - 2.0_f64.ln()
        - 0.5 * std::f64::consts::TAU.ln();
    assert_close(density[0], expected, 1e-14);
    Ok(())
}

#[test]
fn block_sizes_do_not_matter() -> Result<()> {
    let mut distances = Distances::new(("points", real().view()), ("centres", fake().view()))?;
    let whole = log_densities(&distances, 8, &[0.1, 0.3]);
    for (rows, columns) in [(1, 7), (7, 1), (256, 64)] {
        (distances.row_block, distances.column_block) = (rows, columns);
        let blocked = log_densities(&distances, 8, &[0.1, 0.3]);
        whole.iter().zip(&blocked).for_each(|(a, b)| assert_close(*a, *b, 1e-12));
    }
    Ok(())
}

#[test]
fn single_precision_input_agrees() -> Result<()> {
    let narrow = |rows: Array2<f64>| rows.mapv(|x| x as f32);
    let found = parzen(narrow(fake()).view(), narrow(real()).view(), 0.2)?;
    assert_close(found.mean, -3.518492809050951, 1e-5);
    assert_close(found.std_error, 0.20019368476972724, 1e-5);
    let turned = parzen(fake().slice(s![..;-1, ..]), real().slice(s![..;-1, ..]), 0.2)?;
    assert_close(turned.mean, -3.518492809050951, 1e-12);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let (centres, points) = (golden(5, 3000, 20), golden(6, 1100, 20));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| parzen(centres.view(), points.view(), 0.2))
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn single_precision_agrees_with_double_where_it_is_used() -> Result<()> {
    let wide = golden(7, 3300, 784).mapv(|x| x as f32);
    let (centres, points) = (wide.slice(s![..1650, ..]), wide.slice(s![1650.., ..]));
    let single = parzen_log_density(centres, points, 0.17)?;
    let (centres, points) = (centres.mapv(f64::from), points.mapv(f64::from));
    let double = parzen_log_density(centres.view(), points.view(), 0.17)?;
    let worst = single.iter().zip(&double).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst > 0.0 && worst < 2e-3, "{worst} nats");
    Ok(())
}

#[test]
fn the_chosen_bandwidth_is_the_best_of_the_grid_on_the_validation_set() -> Result<()> {
    let (samples, validation) = (normals(21, 400), normals(22, 300));
    let grid = log_grid(0.02, 4.0, 15)?;
    let choice = select_bandwidth(samples.view(), validation.view(), &grid)?;
    for (score, &h) in choice.scores.iter().zip(&grid) {
        assert_eq!(*score, parzen(samples.view(), validation.view(), h)?);
        let best = parzen(samples.view(), validation.view(), choice.bandwidth)?;
        assert!(score.mean <= best.mean);
    }
    assert!(!choice.at_edge);
    assert!(select_bandwidth(samples.view(), validation.view(), &grid[..3])?.at_edge);
    Ok(())
}

#[test]
fn the_grid_has_a_constant_ratio_and_both_ends() -> Result<()> {
    let grid = log_grid(0.1, 1.0, 10)?;
    assert_eq!((grid.len(), grid[0], grid[9]), (10, 0.1, 1.0));
    grid.windows(2).for_each(|pair| assert_close(pair[1] / pair[0], 10f64.powf(1.0 / 9.0), 1e-12));
    assert!(log_grid(0.0, 1.0, 3).is_err() && log_grid(0.1, 1.0, 1).is_err());
    Ok(())
}

#[test]
fn unusable_input_is_named() {
    let (good, mut bad) = (Array2::<f32>::zeros((3, 2)), Array2::<f32>::zeros((3, 2)));
    let text = |centres: &Array2<f32>, points: &Array2<f32>, h| {
        parzen(centres.view(), points.view(), h).unwrap_err().to_string()
    };
    assert!(text(&good, &good, 0.0).contains("bandwidth"));
    assert!(text(&good, &good, f64::NAN).contains("bandwidth"));
    assert!(text(&good, &good, 1e-200).contains("bandwidth"));
    assert!(text(&good, &(&good + 1e30), 1e-140).contains("leaves the range"));
    assert!(parzen_log_density(good.view(), (&good + 1e30).view(), 1e-140).is_err());
    assert!(text(&good, &Array2::zeros((3, 4)), 1.0).contains("points: expected 2 columns, got 4"));
    assert!(text(&Array2::zeros((0, 2)), &good, 1.0).contains("centres: 0 rows"));
    assert!(text(&good, &Array2::zeros((1, 2)), 1.0).contains("points: 1 rows"));
    bad[(2, 1)] = f32::NAN;
    assert!(text(&bad, &good, 1.0).contains("centres: row 2, column 1"));
    assert!(select_bandwidth(good.view(), good.view(), &[]).is_err());
}
