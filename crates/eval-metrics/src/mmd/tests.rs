use ndarray::{Array2, array, s};

use super::*;
use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

fn with(bandwidth: Bandwidth) -> MmdOptions {
    MmdOptions { bandwidth, permutations: 0, seed: 0 }
}

fn value(a: &Array2<f64>, b: &Array2<f64>, bandwidth: Bandwidth) -> Result<f64> {
    Ok(mmd(a.view(), b.view(), &with(bandwidth))?.value)
}

#[test]
fn golden_values_are_met() -> Result<()> {
    let result = mmd(real().view(), fake().view(), &with(Bandwidth::Fixed(0.7)))?;
    assert_close(result.value, 0.17494265620798666, 1e-12);
    assert_close(result.biased, 0.18126998975456765, 1e-12);
    assert_eq!((result.n_real, result.n_fake, result.width), (200, 200, 8));
    assert_eq!((result.p_value, result.bandwidths), (None, vec![0.7]));
    let result = mmd(real().view(), fake().view(), &with(Bandwidth::Median))?;
    assert_close(result.bandwidths[0], 1.0851949507441485, 1e-12);
    Ok(())
}

#[test]
fn a_mixture_is_the_mean_of_its_kernels() -> Result<()> {
    let (x, y) = (real(), fake());
    let result = mmd(x.view(), y.view(), &with(Bandwidth::MedianMixture))?;
    let median = 1.0851949507441485;
    let mut mean = 0.0;
    for (h, factor) in result.bandwidths.iter().zip([0.25, 0.5, 1.0, 2.0, 4.0]) {
        assert_close(*h, factor * median, 1e-12);
        mean += value(&x, &y, Bandwidth::Fixed(*h))? / 5.0;
    }
    assert_close(result.value, mean, 1e-12);
    assert_close(value(&x, &y, Bandwidth::FixedMixture(median))?, mean, 1e-12);
    Ok(())
}

#[test]
fn gaussians_have_a_closed_form() -> Result<()> {
    // E k = (h^2 / (h^2 + s1^2 + s2^2))^(d/2) exp(-|m1 - m2|^2 / (2 (h^2 + s1^2 + s2^2))).
    let (h, s1, s2, shift): (f64, f64, f64, f64) = (0.8, 1.0, 1.5, 0.6);
    let expectation = |variance: f64, distance: f64| {
        let total = h * h + variance;
        (h * h / total) * (-distance / (2.0 * total)).exp()
    };
    let expected = expectation(2.0 * s1 * s1, 0.0) + expectation(2.0 * s2 * s2, 0.0)
        - 2.0 * expectation(s1 * s1 + s2 * s2, 2.0 * shift * shift);
    let draw = |seed| normals(seed, 600).into_shape_with_order((300, 2)).unwrap();
    let values: Vec<f64> = (0..40)
        .map(|at| {
            let (x, y) = (draw(2 * at) * s1, draw(2 * at + 1) * s2 + shift);
            value(&x, &y, Bandwidth::Fixed(h))
        })
        .collect::<Result<_>>()?;
    assert_mean(&values, expected);
    Ok(())
}

#[test]
fn order_sets_precision_and_copies_do_what_they_should() -> Result<()> {
    let (x, y) = (golden(1, 300, 4), golden(2, 270, 4) * 0.8);
    let h = Bandwidth::Fixed(0.5);
    let plain = value(&x, &y, h)?;
    assert_close(value(&x.slice(s![..;-1, ..]).to_owned(), &y, h)?, plain, 1e-12);
    assert_close(value(&y, &x, h)?, plain, 1e-12);
    let single = [&x, &y].map(|rows| rows.mapv(|x| x as f32));
    let result = mmd(single[0].view(), single[1].view(), &with(h))?;
    assert_close(result.value, plain, 1e-5);
    // Two equal sets: all pairs cancel.
    let result = mmd(x.view(), x.view(), &with(h))?;
    assert!(result.biased.abs() < 1e-12 && result.value < 0.0);
    // Copies of one row, and fewer rows than columns.
    let constant = Array2::from_elem((5, 3), 2.0);
    assert_close(value(&constant, &constant, h)?, 0.0, 1e-12);
    assert!(value(&golden(1, 2, 50), &golden(2, 3, 50), Bandwidth::Median)?.is_finite());
    Ok(())
}

#[test]
fn few_rows_have_an_exact_permutation_test() -> Result<()> {
    // Two against two: of the six divisions, the given one and its mirror image are the largest,
    // so that the p-value goes to one third.
    let (x, y) = (array![[0.0], [0.1]], array![[1.0], [1.1]]);
    let options = MmdOptions { bandwidth: Bandwidth::Fixed(0.5), permutations: 3000, seed: 1 };
    let p = mmd(x.view(), y.view(), &options)?.p_value.unwrap_or(f64::NAN);
    let std_error = (2.0_f64 / 9.0 / 3000.0).sqrt();
    assert!((p - 1.0 / 3.0).abs() < 3.0 * std_error, "{p}");
    Ok(())
}

#[test]
fn p_values_tell_different_sets_and_are_uniform_for_equal_ones() -> Result<()> {
    let options = MmdOptions { bandwidth: Bandwidth::Median, permutations: 99, seed: 3 };
    let p = mmd(real().view(), fake().view(), &options)?.p_value;
    assert_eq!(p, Some(0.01));
    // Uniform on 1/100 .. 1: mean 0.505, standard deviation 0.2887.
    let values: Vec<f64> = (0..100)
        .map(|at| {
            let (x, y) = (normals(2 * at, 20), normals(2 * at + 1, 30));
            let options = MmdOptions { seed: u64::from(at), ..options };
            Ok(mmd(x.view(), y.view(), &options)?.p_value.unwrap_or(f64::NAN))
        })
        .collect::<Result<_>>()?;
    let mean = values.iter().sum::<f64>() / 100.0;
    assert!((mean - 0.505).abs() < 5.0 * 0.02887, "{mean}");
    let small = values.iter().filter(|p| **p <= 0.1).count() as f64;
    assert!((small - 10.0).abs() < 5.0 * 3.0, "{small}");
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let (x, y) = (golden(7, 500, 6), golden(8, 400, 6));
    let options = MmdOptions { bandwidth: Bandwidth::MedianMixture, permutations: 50, seed: 4 };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| mmd(x.view(), y.view(), &options))
    };
    let result = run(1)?;
    assert_eq!(result, run(3)?);
    // The divisions do not touch the value.
    assert_close(result.value, value(&x, &y, Bandwidth::MedianMixture)?, 1e-12);
    Ok(())
}

#[test]
fn unusable_input_is_named() {
    let good = golden(1, 9, 3);
    let text = |a: &Array2<f64>, b: &Array2<f64>, bandwidth| {
        mmd(a.view(), b.view(), &with(bandwidth)).unwrap_err().to_string()
    };
    let h = Bandwidth::Fixed(1.0);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-200] {
        assert!(text(&good, &good, Bandwidth::Fixed(bad)).contains("`bandwidth`"));
        assert!(text(&good, &good, Bandwidth::FixedMixture(bad)).contains("`bandwidth`"));
    }
    let constant = Array2::ones((5, 3));
    for rule in [Bandwidth::Median, Bandwidth::MedianMixture] {
        assert!(text(&constant, &constant, rule).contains("copies"));
    }
    assert!(text(&Array2::zeros((0, 3)), &good, h).contains("real: 0 rows"));
    assert!(text(&good, &Array2::zeros((1, 3)), h).contains("fake: 1 rows"));
    assert!(text(&good, &golden(1, 9, 2), h).contains("fake: expected 3 columns, got 2"));
    assert!(text(&(&good * 1e200), &good, h).contains("rescale"));
    for value in [f64::NAN, f64::INFINITY] {
        let mut bad = good.clone();
        bad[(1, 2)] = value;
        assert!(text(&bad, &good, h).contains("real: row 1, column 2"));
    }
}
