use ndarray::{Array1, Array2, array, s};

use super::*;
use crate::golden::{array as golden, assert_close, fake, real};

const ROUTES: [FrechetRoute; 4] =
    [FrechetRoute::Eigen, FrechetRoute::Thin, FrechetRoute::NewtonSchulz, FrechetRoute::Cholesky];
const EXACT: [FrechetRoute; 3] = [FrechetRoute::Eigen, FrechetRoute::Thin, FrechetRoute::Cholesky];

fn by(route: FrechetRoute) -> FrechetOptions {
    FrechetOptions { route: Some(route), eps: 0.0 }
}

fn of_rows(a: &Array2<f64>, b: &Array2<f64>, route: FrechetRoute) -> Result<f64> {
    Ok(frechet_distance_of_rows(a.view(), b.view(), &by(route))?.value)
}

fn diagonal(mean: Array1<f64>, variances: &[f64]) -> Result<Moments> {
    Moments::new(mean, Array2::from_diag(&Array1::from(variances.to_vec())), 100)
}

#[test]
fn golden_values_are_met_by_every_route() -> Result<()> {
    for route in ROUTES {
        let result = frechet_distance_of_rows(real().view(), fake().view(), &by(route))?;
        assert_close(result.value, 0.3690139752969119, 1e-9);
        assert_close(result.mean_part, 0.3248026457492339, 1e-12);
        assert_close(result.trace_real, 0.6780532265539174, 1e-12);
        assert_close(result.trace_fake, 0.4314565216154437, 1e-12);
        assert_eq!((result.n_real, result.n_fake, result.width), (200, 200, 8));
        assert_eq!(result.route, route);
        let single = [real(), fake()].map(|rows| rows.mapv(|x| x as f32));
        let single = frechet_distance_of_rows(single[0].view(), single[1].view(), &by(route))?;
        assert!((single.value - 0.3690139752969119).abs() < 5e-7);
    }
    Ok(())
}

#[test]
fn rank_deficient_golden_values_are_met() -> Result<()> {
    let (x, y) = (real().slice(s![..6, ..]).to_owned(), fake().slice(s![..6, ..]).to_owned());
    let eigen = of_rows(&x, &y, FrechetRoute::Eigen)?;
    let thin = of_rows(&x, &y, FrechetRoute::Thin)?;
    let cholesky = of_rows(&x, &y, FrechetRoute::Cholesky)?;
    assert_close(eigen, 0.92474364, 1e-7);
    assert!((eigen - thin).abs() < 1e-8, "{eigen} {thin}");
    assert!((cholesky - thin).abs() < 1e-8, "{cholesky} {thin}");
    // Chosen by shape.
    let options = FrechetOptions::default();
    let chosen = |a: &Array2<f64>, b: &Array2<f64>| {
        frechet_distance_of_rows(a.view(), b.view(), &options).map(|result| result.route)
    };
    assert_eq!(chosen(&x, &fake())?, FrechetRoute::Thin);
    assert_eq!(chosen(&real(), &fake())?, FrechetRoute::Cholesky);
    // One set thin, the other not.
    for (a, b) in [(&x, &fake()), (&real(), &y)] {
        let [eigen, thin, cholesky] = EXACT.map(|route| of_rows(a, b, route).unwrap());
        assert!((eigen - thin).abs() < 1e-8, "{eigen} {thin}");
        assert!((cholesky - thin).abs() < 1e-8, "{cholesky} {thin}");
    }
    assert_close(of_rows(&x, &y, FrechetRoute::NewtonSchulz)?, thin, 1e-6);
    let singular = diagonal(array![0.0, 0.0], &[1.0, 0.0])?;
    let result = frechet_distance(&singular, &singular, &by(FrechetRoute::Cholesky))?;
    assert_close(result.value, 0.0, 1e-15);
    Ok(())
}

#[test]
fn equal_sets_are_at_distance_zero() -> Result<()> {
    for rows in [real(), golden(3, 5, 8), golden(4, 40, 30)] {
        for route in EXACT {
            assert!(of_rows(&rows, &rows, route)? < 1e-9);
        }
    }
    for route in ROUTES {
        assert!(of_rows(&real(), &real(), route)? < 1e-9);
    }
    Ok(())
}

#[test]
fn diagonal_gaussians_have_a_closed_form() -> Result<()> {
    let (a, b) = ([1.0, 4.0, 0.25, 9.0], [2.0, 1.0, 0.5, 16.0]);
    let (first, second) =
        (diagonal(array![0.0, 1.0, 2.0, 3.0], &a)?, diagonal(array![1.0, 1.0, 0.0, 3.5], &b)?);
    let roots: f64 = a.iter().zip(b).map(|(a, b): (&f64, f64)| (a.sqrt() - b.sqrt()).powi(2)).sum();
    for route in [FrechetRoute::Eigen, FrechetRoute::NewtonSchulz, FrechetRoute::Cholesky] {
        let there = frechet_distance(&first, &second, &by(route))?;
        assert_close(there.value, roots + 1.0 + 4.0 + 0.25, 1e-12);
        assert_close(frechet_distance(&second, &first, &by(route))?.value, there.value, 1e-12);
    }
    // One column, and a variance of zero on one or both sides.
    for (a, b) in [(4.0, 9.0), (0.0, 9.0), (4.0, 0.0), (0.0, 0.0)] {
        let pair = [diagonal(array![0.0], &[a])?, diagonal(array![2.0], &[b])?];
        let value = frechet_distance(&pair[0], &pair[1], &FrechetOptions::default())?.value;
        assert_close(value, 4.0 + (a.sqrt() - b.sqrt()).powi(2), 1e-12);
    }
    Ok(())
}

#[test]
fn two_dimensional_gaussians_have_a_closed_form() -> Result<()> {
    // Of a 2 x 2 matrix the trace of the root is sqrt(tr M + 2 sqrt(det M)).
    let (a, b) = (array![[2.0, 0.7], [0.7, 1.0]], array![[1.0, -0.4], [-0.4, 3.0]]);
    let product = a.dot(&b);
    let det = |m: &Array2<f64>| m[(0, 0)] * m[(1, 1)] - m[(0, 1)] * m[(1, 0)];
    let root = (product.diag().sum() + 2.0 * det(&product).sqrt()).sqrt();
    let expected = a.diag().sum() + b.diag().sum() - 2.0 * root;
    let (a, b) = (Moments::new(array![0.0, 0.0], a, 9)?, Moments::new(array![0.0, 0.0], b, 9)?);
    for route in [FrechetRoute::Eigen, FrechetRoute::NewtonSchulz, FrechetRoute::Cholesky] {
        assert_close(frechet_distance(&a, &b, &by(route))?.value, expected, 1e-12);
    }
    Ok(())
}

#[test]
fn full_width_gaussians_differ_by_their_means_only() -> Result<()> {
    let eye = || Array2::eye(2048);
    let first = Moments::new(Array1::zeros(2048), eye(), 10_000)?;
    let second = Moments::new(Array1::ones(2048), eye(), 10_000)?;
    let distance = frechet_distance(&first, &second, &FrechetOptions::default())?;
    assert_close(distance.value, 2048.0, 1e-12);
    Ok(())
}

#[test]
fn translation_rotation_scale_order_and_duplicates_do_what_they_should() -> Result<()> {
    let (x, y) = (real(), fake());
    // A reflection in the plane orthogonal to v.
    let v = golden(9, 8, 1);
    let rotation = Array2::eye(8) - v.dot(&v.t()) * (2.0 / v.mapv(|x| x * x).sum());
    let (few_x, few_y) = (golden(5, 7, 8), golden(6, 9, 8));
    for route in EXACT {
        for (x, y) in [(&x, &y), (&few_x, &few_y)] {
            let plain = of_rows(x, y, route)?;
            let same = |a: Array2<f64>, b: Array2<f64>| -> Result<()> {
                assert_close(of_rows(&a, &b, route)?, plain, 1e-8);
                Ok(())
            };
            same(x + 3.0, y + 3.0)?;
            same(x.dot(&rotation), y.dot(&rotation))?;
            same(y.clone(), x.clone())?;
            same(x.slice(s![..;-1, ..]).to_owned(), y.clone())?;
            for scale in [1e-3, 1e3, 1e120, 1e-120] {
                let scaled = of_rows(&(x * scale), &(y * scale), route)?;
                assert_close(scaled / (scale * scale), plain, 1e-8);
            }
        }
        // Twice the rows: only the divisor changes.
        let twice = |rows: &Array2<f64>| ndarray::concatenate![ndarray::Axis(0), *rows, *rows];
        let once = frechet_distance_of_rows(x.view(), y.view(), &by(route))?;
        let expected = once.mean_part + (once.value - once.mean_part) * 398.0 / 399.0;
        assert_close(of_rows(&twice(&x), &twice(&y), route)?, expected, 1e-12);
    }
    Ok(())
}

#[test]
fn eps_counts_inside_the_root_alone() -> Result<()> {
    let (a, b) = ([1.0, 4.0, 0.0], [2.0, 1.0, 0.0]);
    let (first, second) = (diagonal(Array1::zeros(3), &a)?, diagonal(Array1::zeros(3), &b)?);
    let eps = 1e-3;
    let root: f64 = a.iter().zip(b).map(|(a, b)| ((a + eps) * (b + eps)).sqrt()).sum();
    for route in [FrechetRoute::Eigen, FrechetRoute::Cholesky, FrechetRoute::NewtonSchulz] {
        let options = FrechetOptions { route: Some(route), eps };
        let result = frechet_distance(&first, &second, &options)?;
        assert_close(result.value, 8.0 - 2.0 * root, 1e-9);
        assert_close(result.eps, eps, 0.0);
        // Equal Gaussians fall below zero by 2 d eps, which is clamped.
        assert_close(frechet_distance(&first, &first, &options)?.value, 0.0, 1e-15);
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let (x, y) = (golden(7, 400, 300), golden(8, 350, 300));
    for route in ROUTES {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| frechet_distance_of_rows(x.view(), y.view(), &by(route)))
        };
        assert_eq!(run(1)?, run(3)?);
    }
    Ok(())
}

#[test]
fn constant_rows_are_points() -> Result<()> {
    let (a, b) = (Array2::from_elem((5, 3), 1.0), Array2::from_elem((9, 3), 3.0));
    for route in ROUTES {
        assert_close(of_rows(&a, &b, route)?, 12.0, 1e-12);
    }
    Ok(())
}

#[test]
fn negative_results_beyond_rounding_are_errors() -> Result<()> {
    let moments = Moments::of(real().view())?;
    let mut parts = frechet_distance(&moments, &moments, &FrechetOptions::default())?;
    parts.root_trace = parts.trace_real * (1.0 + 0.9e-6);
    assert_close(parts.clone().assembled()?.value, 0.0, 1e-15);
    parts.root_trace = parts.trace_real * (1.0 + 1.1e-6);
    assert!(parts.clone().assembled().unwrap_err().to_string().contains("negative"));
    parts.root_trace = f64::NAN;
    assert!(parts.assembled().is_err());
    Ok(())
}

#[test]
fn unusable_input_is_named() -> Result<()> {
    let good = golden(1, 9, 3);
    let text = |a: &Array2<f64>, b: &Array2<f64>, options: FrechetOptions| {
        frechet_distance_of_rows(a.view(), b.view(), &options).unwrap_err().to_string()
    };
    let plain = FrechetOptions::default();
    assert!(text(&Array2::zeros((0, 3)), &good, plain).contains("real: 0 rows"));
    assert!(text(&good, &Array2::zeros((1, 3)), plain).contains("fake: 1 rows"));
    assert!(text(&good, &golden(1, 9, 4), plain).contains("fake: expected 3 columns, got 4"));
    assert!(text(&Array2::zeros((9, 0)), &good, plain).contains("no columns"));
    assert!(text(&(&good * 1e200), &good, plain).contains("rescale"));
    for value in [f64::NAN, f64::INFINITY] {
        let mut bad = good.clone();
        bad[(8, 2)] = value;
        assert!(text(&good, &bad, plain).contains("fake: row 8, column 2"));
    }
    for eps in [-1e-6, f64::NAN] {
        assert!(text(&good, &good, FrechetOptions { route: None, eps }).contains("`eps`"));
    }
    let both = FrechetOptions { route: Some(FrechetRoute::Thin), eps: 1e-6 };
    assert!(text(&good, &good, both).contains("Thin knows no eps"));
    let moments = Moments::of(good.view())?;
    let thin = frechet_distance(&moments, &moments, &by(FrechetRoute::Thin));
    assert!(thin.unwrap_err().to_string().contains("frechet_distance_of_rows"));
    let other = Moments::of(golden(1, 9, 4).view())?;
    assert!(frechet_distance(&moments, &other, &plain).is_err());
    Ok(())
}
