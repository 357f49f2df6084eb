//! The four scores against golden values, published ones, expectations and counts by hand.

use chains_core::Seed;
use ndarray::{Array2, array, s};

use super::*;
use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

fn four(score: &Prdc) -> [f64; 4] {
    [score.precision, score.recall, score.density, score.coverage]
}

fn close(score: &Prdc, expected: [f64; 4], tolerance: f64) {
    four(score).iter().zip(expected).for_each(|(a, b)| assert_close(*a, b, tolerance));
}

/// Standard normal rows of three columns.
fn cloud(seed: u32, rows: usize) -> Array2<f64> {
    normals(seed, 3 * rows).into_shape_with_order((rows, 3)).unwrap()
}

#[test]
fn golden_values_are_met() -> Result<()> {
    let score = prdc(real().view(), fake().view(), 5, Boundary::Open)?;
    close(&score, [0.98, 0.46, 0.991, 0.70], 1e-12);
    assert_eq!((score.n_real, score.n_fake, score.k), (200, 200, 5));
    let score = prdc(real().view(), fake().view(), 3, Boundary::default())?;
    close(&score, [0.885, 0.375, 0.926_666_666_7, 0.555], 1e-10);
    Ok(())
}

#[test]
fn a_set_against_itself_scores_one() -> Result<()> {
    for k in [1, 3, 5] {
        let score = prdc(real().view(), real().view(), k, Boundary::Open)?;
        close(&score, [1.0; 4], 0.0);
        let score = prdc(real().view(), real().view(), k, Boundary::Closed)?;
        close(&score, [1.0, 1.0, (k as f64 + 1.0) / k as f64, 1.0], 0.0);
    }
    Ok(())
}

#[test]
fn distant_sets_score_zero() -> Result<()> {
    let far = fake() + 1e3;
    close(&prdc(real().view(), far.view(), 5, Boundary::Closed)?, [0.0; 4], 0.0);
    Ok(())
}

#[test]
fn a_line_is_counted_by_hand() -> Result<()> {
    // Real radii 1, 1, 2; generated radii 2, 2, 5.
    let (real, fake) = (array![[0.0], [1.0], [3.0]], array![[2.0], [4.0], [9.0]]);
    let open = prdc(real.view(), fake.view(), 1, Boundary::Open)?;
    close(&open, [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0], 1e-15);
    let closed = prdc(real.view(), fake.view(), 1, Boundary::Closed)?;
    close(&closed, [2.0 / 3.0, 1.0, 1.0, 2.0 / 3.0], 1e-15);
    Ok(())
}

#[test]
fn open_balls_of_copies_are_empty() -> Result<()> {
    let copies = Array2::from_elem((6, 2), 0.1);
    let run = |boundary| prdc(copies.view(), copies.view(), 2, boundary);
    close(&run(Boundary::Open)?, [0.0; 4], 0.0);
    close(&run(Boundary::Closed)?, [1.0, 1.0, 3.0, 1.0], 0.0);
    Ok(())
}

#[test]
fn swapping_the_sets_swaps_precision_and_recall() -> Result<()> {
    let score = prdc(real().view(), fake().view(), 5, Boundary::Open)?;
    let swapped = prdc(fake().view(), real().view(), 5, Boundary::Open)?;
    assert_eq!((score.precision, score.recall), (swapped.recall, swapped.precision));
    assert!((score.density - swapped.density).abs() > 0.1);
    Ok(())
}

#[test]
fn expected_coverage_has_the_tabulated_values() {
    for (n, expected) in [(200, 0.969916), (1000, 0.968984), (10_000, 0.968773)] {
        assert_close(expected_coverage(n, n, 5), expected, 5e-7);
    }
    // One real and one generated row among the others of a real one: nearest by chance.
    assert_close(expected_coverage(2, 1, 1), 0.5, 1e-15);
    assert_close(expected_coverage(3, 4, 8), 1.0, 0.0);
    for (n, m) in [(0, 0), (1, 0), (0, 1), (5, 0)] {
        assert_close(expected_coverage(n, m, 3), 0.0, 0.0);
    }
}

#[test]
fn equal_distributions_reach_the_expected_coverage_and_density() -> Result<()> {
    let repeats = 40;
    let mut scores = Vec::new();
    for seed in 0..repeats {
        let all = cloud(100 + seed, 500);
        let (real, fake) = (all.slice(s![..200, ..]), all.slice(s![200.., ..]));
        scores.push(prdc(real, fake, 5, Boundary::Open)?);
    }
    let check = |value: fn(&Prdc) -> f64, expected: f64| {
        assert_mean(&scores.iter().map(value).collect::<Vec<_>>(), expected);
    };
    check(|score| score.coverage, expected_coverage(200, 300, 5));
    check(|score| score.density, 1.0);
    Ok(())
}

#[test]
fn ten_thousand_normal_rows_of_a_thousand_columns_score_as_published() -> Result<()> {
    // The example of the package of Naeem and others: identical distributions, far from one.
    let rows = |label: &str| {
        let mut values = vec![0_f32; 10_000_000];
        Seed::new(1).child(label).host_noise().fill_normal(&mut values);
        Array2::from_shape_vec((10_000, 1000), values).unwrap()
    };
    let score = prdc(rows("real").view(), rows("fake").view(), 5, Boundary::Open)?;
    // One draw against one draw. Precision, recall and coverage are the same to 0.02 in every draw;
    // density has a standard deviation of 0.08 (in so many dimensions few rows are near to all
    // others), so that of a single one no more than 0.24 can be asked. Its mean is known
    // exactly, and held to 0.02 below.
    let published = [(0.4772, 0.02), (0.4705, 0.02), (1.0555, 0.24), (0.9735, 0.02)];
    for (value, (published, tolerance)) in four(&score).into_iter().zip(published) {
        assert!((value - published).abs() < tolerance, "{score:?}");
    }
    Ok(())
}

#[test]
fn equal_laws_of_a_thousand_columns_have_a_mean_density_of_one() -> Result<()> {
    // A generated row and the n - 1 other real ones lie around a real one in an order of which all
    // are equally likely: it is among the k nearest with probability k / n, and open balls end at
    // the k-th of the others.
    let (repeats, n) = (2000, 40);
    let mut noise = Seed::new(2).child("equal laws").host_noise();
    let mut rows = || {
        let mut values = vec![0_f32; 1000 * n];
        noise.fill_normal(&mut values);
        Array2::from_shape_vec((n, 1000), values).unwrap()
    };
    let scores = (0..repeats)
        .map(|_| prdc(rows().view(), rows().view(), 5, Boundary::Open))
        .collect::<Result<Vec<_>>>()?;
    let densities: Vec<f64> = scores.iter().map(|score| score.density).collect();
    assert_mean(&densities, 1.0);
    assert!((densities.iter().sum::<f64>() / f64::from(repeats) - 1.0).abs() < 0.02);
    let coverages: Vec<f64> = scores.iter().map(|score| score.coverage).collect();
    assert_mean(&coverages, expected_coverage(n, n, 5));
    Ok(())
}

#[test]
fn order_precision_and_blocks_do_not_matter() -> Result<()> {
    let (real, fake) = (real(), fake());
    let score = prdc(real.view(), fake.view(), 5, Boundary::Open)?;
    let reversed = prdc(real.slice(s![..;-1, ..]), fake.slice(s![..;-1, ..]), 5, Boundary::Open);
    assert_eq!(reversed?, score);
    let single =
        prdc(real.mapv(|x| x as f32).view(), fake.mapv(|x| x as f32).view(), 5, Boundary::Open);
    close(&single?, four(&score), 1e-5);
    let balls = Balls {
        real: real.view(),
        fake: fake.view(),
        real_radii: kth_nearest_other("real", real.view(), 5)?,
        fake_radii: kth_nearest_other("fake", fake.view(), 5)?,
        boundary: Boundary::Open,
    };
    let mut distances = Distances::new(("fake", fake.view()), ("real", real.view()))?;
    let whole = balls.count(&distances);
    for (row_block, column_block) in [(1, 7), (7, 1), (256, 64)] {
        (distances.row_block, distances.column_block) = (row_block, column_block);
        assert_eq!(balls.count(&distances), whole);
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_the_answer() -> Result<()> {
    let (real, fake) = (golden(5, 700, 6), golden(6, 900, 6));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| prdc(real.view(), fake.view(), 3, Boundary::Closed))
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn unusable_input_is_named() {
    let good = || Array2::<f64>::zeros((6, 2));
    let text = |real: Array2<f64>, fake: Array2<f64>, k| {
        prdc(real.view(), fake.view(), k, Boundary::Open).unwrap_err().to_string()
    };
    assert!(text(good(), good(), 0).contains("`k`"));
    assert!(text(Array2::zeros((5, 2)), good(), 5).contains("real: 5 rows, at least 6"));
    assert!(text(good(), Array2::zeros((1, 2)), 5).contains("fake: 1 rows, at least 6"));
    assert!(text(good(), Array2::zeros((0, 2)), 5).contains("fake: 0 rows"));
    assert!(text(good(), Array2::zeros((6, 3)), 5).contains("expected 2 columns, got 3"));
    assert!(text(good(), good() + f64::INFINITY, 5).contains("fake: row 0, column 0"));
    assert!(text(good() + f64::NAN, good(), 5).contains("real: row 0, column 0"));
}
