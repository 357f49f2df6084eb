//! Oracles of the densities: normalisation, golden points, scores, moments of samples.

use chains_core::{
    Seed,
    density::{Energy, LogDensity},
};

use super::*;

/// The exact densities of this folder, with a box `[left, right, bottom, top]` that holds them.
fn densities() -> Vec<(&'static str, Box<dyn LogDensity>, [f64; 4])> {
    let mixture = Gaussians::new(vec![
        Component { weight: 1.0, mean: [0.0, 1.0], covariance: [[2.0, 0.5], [0.5, 1.0]] },
        Component { weight: 3.0, mean: [-1.0, 0.5], covariance: [[0.3, -0.2], [-0.2, 0.4]] },
    ]);
    let banana = |temperature| Box::new(Banana::new(temperature).unwrap());
    vec![
        ("mixture", Box::new(mixture.unwrap()), [-12.0, 12.0, -8.0, 10.0]),
        ("25", Box::new(Gaussians::twenty_five()), [-3.0, 3.0, -3.0, 3.0]),
        ("9", Box::new(Gaussians::nine()), [-1.5, 1.5, -1.5, 1.5]),
        ("8", Box::new(Gaussians::eight()), [-6.0, 6.0, -6.0, 6.0]),
        ("rings", Box::new(Rings::four()), [-4.0, 4.0, -4.0, 4.0]),
        ("circles", Box::new(Rings::circles()), [-5.0, 5.0, -5.0, 5.0]),
        ("banana", banana(1.0), [-8.0, 64.0, -16.0, 16.0]),
        ("hot banana", banana(2.0), [-11.0, 128.0, -22.0, 22.0]),
    ]
}

/// Centres of 500 x 500 cells of a box, and the area of one.
fn cells(bounds: [f64; 4]) -> (Tensor, f64) {
    let n = 500;
    let [left, right, bottom, top] = bounds;
    let (w, h) = ((right - left) / n as f64, (top - bottom) / n as f64);
    let centre =
        |i: usize| [left + w * ((i % n) as f64 + 0.5), bottom + h * ((i / n) as f64 + 0.5)];
    let values: Vec<f64> = (0..n * n).flat_map(centre).collect();
    (Tensor::from_vec(values, (n * n, 2), &Device::Cpu).unwrap(), w * h)
}

fn total(log: &Tensor, area: f64) -> f64 {
    log.exp().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap() * area
}

fn at(rows: &[[f64; 2]]) -> Tensor {
    let values: Vec<f64> = rows.iter().flatten().copied().collect();
    Tensor::from_vec(values, (rows.len(), 2), &Device::Cpu).unwrap()
}

#[track_caller]
fn close(got: &Tensor, expected: &[f64], tolerance: f64) {
    let got = got.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(got.len(), expected.len());
    for (a, b) in got.iter().zip(expected) {
        assert!((a - b).abs() < tolerance, "{got:?} {expected:?}");
    }
}

#[test]
fn exact_densities_integrate_to_one() {
    for (name, density, bounds) in densities() {
        let (x, area) = cells(bounds);
        let mass = total(&density.log_prob(&x).unwrap(), area);
        assert!((mass - 1.0).abs() < 1e-6, "{name} {mass}");
    }
}

#[test]
fn kidney_has_the_partition_function_and_moments_of_the_quadrature_table() {
    // log Z, variance of x1, variance of x2; midpoints on [-6, 6]^2.
    for (temperature, truth) in [
        (2.0, [2.417_390, 3.185_493, 1.962_880]),
        (1.0, [1.877_502, 3.303_502, 1.395_278]),
        (0.5, [1.338_001, 3.455_187, 0.983_137]),
    ] {
        let (x, area) = cells([-6.0, 6.0, -6.0, 6.0]);
        let energy = Kidney::new(temperature).unwrap().energy(&x).unwrap();
        let weight = energy.neg().unwrap().exp().unwrap();
        let z = total(&energy.neg().unwrap(), area);
        let square = x.sqr().unwrap().broadcast_mul(&weight.unsqueeze(1).unwrap()).unwrap();
        let square = (square.sum(0).unwrap() * (area / z)).unwrap().to_vec1::<f64>().unwrap();
        for (got, truth) in [z.ln(), square[0], square[1]].iter().zip(truth) {
            assert!((got - truth).abs() < 2e-5, "{temperature} {got} {truth}");
        }
    }
}

#[test]
fn targets_have_the_published_points_and_gradients() {
    let x = at(&[[1.5, 0.5], [-2.0, 1.0]]);
    let (energy, grad) = Kidney::default().energy_and_grad(&x).unwrap();
    close(&energy, &[0.895_486_788_4, 0.174_150_281_0], 1e-9);
    close(&grad, &[-3.872_429_5, -0.827_847_1, -1.319_660_1, 0.659_830_1], 1e-6);
    let (energy, grad) = Banana::default().energy_and_grad(&x).unwrap();
    close(&energy, &[1.064_453_125, 2.656_25], 1e-12);
    close(&grad, &[1.437_5, -0.234_375, -2.25, 1.375], 1e-12);
    // A temperature divides the energy; the integral is then 4 pi temperature.
    let hot = Banana::new(2.0).unwrap();
    close(&hot.energy(&x).unwrap(), &[0.532_226_562_5, 1.328_125], 1e-12);
    close(&hot.log_prob(&at(&[[0.0, 0.0]])).unwrap(), &[-3.224_171_427_5], 1e-9);
}

#[test]
fn golden_points_of_mixtures_and_rings() {
    // Python 3, double precision, the Bessel function by its power series.
    let (_, mixture, _) = densities().remove(0);
    close(&mixture.log_prob(&at(&[[0.3, -0.7], [-1.2, 1.1]])).unwrap(), &MIXTURE, 1e-8);
    let grid = Gaussians::twenty_five();
    close(&grid.log_prob(&at(&[[0.0, 0.0], [0.5, 0.5], [1.1, -1.95]])).unwrap(), &GRID, 1e-8);
    let x = [[0.75, 0.0], [1.0, 1.0], [-2.0, 1.0], [0.01, 0.02], [0.0, 0.0], [2.9, -0.6]];
    close(&Rings::four().log_prob(&at(&x)).unwrap(), &RINGS, 1e-6);
    let x = [[0.75, 0.0], [1.0, 1.0], [0.1, -0.05], [0.2, 0.3]];
    close(&Rings::circles().log_prob(&at(&x)).unwrap(), &CIRCLES, 1e-6);
}

const MIXTURE: [f64; 2] = [-3.674899655, -1.267264734];
const GRID: [f64; 3] = [-0.10049356, -34.229548223, -0.988377286];
const RINGS: [f64; 6] =
    [-1.328268833, -2.56796929, -2.440210952, -40.87338726, -42.118026639, -2.82572268];
const CIRCLES: [f64; 4] = [-6.957977081, -2.459307143, -17.802590995, -12.971672007];

#[test]
fn eight_gaussians_have_the_centres_and_the_noise_of_vera() {
    let eight = Gaussians::eight();
    assert_eq!(eight.components().len(), 8);
    for (k, component) in eight.components().iter().enumerate() {
        let angle = (45.0 * k as f64).to_radians();
        let centre = [4.0 * angle.cos() / 1.414, 4.0 * angle.sin() / 1.414];
        let distance = (component.mean[0] - centre[0]).hypot(component.mean[1] - centre[1]);
        assert!(distance < 1e-12, "{k} {:?}", component.mean);
        assert!((component.weight - 0.125).abs() < 1e-15);
        let [[a, b], [c, d]] = component.covariance;
        let variance = 0.25 / (1.414 * 1.414);
        assert!((a - variance).abs() < 1e-15 && (d - variance).abs() < 1e-15);
        assert!(b.abs() < 1e-15 && c.abs() < 1e-15);
    }
}

#[test]
fn scores_agree_with_central_differences() {
    let x = [[0.3, -0.7], [-1.2, 1.1], [0.02, 0.01], [2.1, 0.4]];
    for (name, density, _) in densities() {
        let score = density.score(&at(&x)).unwrap().to_vec2::<f64>().unwrap();
        for (row, point) in x.iter().enumerate() {
            for axis in 0..2 {
                let step = 1e-5;
                let moved = |sign: f64| {
                    let mut point = *point;
                    point[axis] += sign * step;
                    density.log_prob(&at(&[point])).unwrap().to_vec1::<f64>().unwrap()[0]
                };
                let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
                let tolerance = 1e-5 * (1.0 + slope.abs());
                assert!((score[row][axis] - slope).abs() < tolerance, "{name} {point:?} {slope}");
            }
        }
    }
}

#[test]
fn scores_are_finite_at_the_origin() {
    let x = at(&[[0.0, 0.0]]);
    close(&Rings::four().score(&x).unwrap(), &[0.0, 0.0], 1e-9);
    close(&Kidney::default().energy_and_grad(&x).unwrap().1, &[0.0, 0.0], 1e-9);
}

#[test]
fn single_precision_agrees_with_double() {
    let (x, _) = cells([-3.0, 3.0, -3.0, 3.0]);
    let x = x.narrow(0, 100_000, 5_000).unwrap();
    let single = x.to_dtype(DType::F32).unwrap();
    for (name, density, _) in densities() {
        let a = density.log_prob(&x).unwrap().to_vec1::<f64>().unwrap();
        let b = density.log_prob(&single).unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in a.iter().zip(b) {
            assert!((a - f64::from(b)).abs() < 1e-5 * (10.0 + a.abs()), "{name} {a} {b}");
        }
    }
}

/// Mean and standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt() / n)
}

/// Means of x1, x2, x1^2, x2^2 of samples against the truth, on three seeds.
#[track_caller]
fn check_moments(density: &dyn Sample, truth: [f64; 4]) {
    for seed in 0..3 {
        let x = density.sample(20_000, &mut Seed::new(seed).host_noise()).unwrap();
        assert_eq!((x.dims(), x.dtype()), (&[20_000, 2][..], DType::F32));
        let x = x.to_vec2::<f32>().unwrap();
        for (k, truth) in truth.into_iter().enumerate() {
            let power = 1 + k as i32 / 2;
            let values: Vec<f64> = x.iter().map(|r| f64::from(r[k % 2]).powi(power)).collect();
            let (mean, error) = mean(&values);
            assert!((mean - truth).abs() < 5.0 * error, "moment {k}: {mean} {truth} {error}");
        }
    }
}

#[test]
fn samples_have_the_moments_of_the_density() {
    let mixture = Gaussians::new(vec![
        Component { weight: 1.0, mean: [0.0, 1.0], covariance: [[2.0, 0.5], [0.5, 1.0]] },
        Component { weight: 3.0, mean: [-1.0, 0.5], covariance: [[0.3, -0.2], [-0.2, 0.4]] },
    ]);
    // Weights 1/4 and 3/4: second moments 2 / 4 + 3 (0.3 + 1) / 4 and (1 + 1) / 4 + 3 (0.4 + 0.25) / 4.
    check_moments(&mixture.unwrap(), [-0.75, 0.625, 1.475, 0.987_5]);
    let sigma = 0.0839_f64.powi(2);
    check_moments(&Gaussians::twenty_five(), [0.0, 0.0, 2.0 + sigma, 2.0 + sigma]);
    // Half the mean squared radius, plus the noise.
    let half = (9.0 + 5.0625 + 2.25 + 0.5625) / 8.0 + 0.0064;
    check_moments(&Rings::four(), [0.0, 0.0, half, half]);
    check_moments(&Banana::default(), [1.0, 0.0, 4.0, 4.0]);
    check_moments(&Banana::new(0.5).unwrap(), [0.5, 0.0, 1.25, 2.0]);
    check_moments(&Kidney::default(), [0.0, 0.0, 3.303_502, 1.395_278]);
}

#[test]
fn mean_log_prob_of_samples_is_minus_the_entropy() {
    let check = |x: Tensor, density: &dyn LogDensity, truth: f64| {
        let x = x.to_dtype(DType::F64).unwrap();
        let (mean, error) = mean(&density.log_prob(&x).unwrap().to_vec1::<f64>().unwrap());
        assert!((mean - truth).abs() < 5.0 * error, "{mean} {truth} {error}");
    };
    for seed in 0..3 {
        let mut noise = Seed::new(seed).child("entropy").host_noise();
        let grid = Gaussians::twenty_five();
        // -(log 25 + 1 + log 2 pi + 2 log sigma): the modes are far apart.
        check(grid.sample(20_000, &mut noise).unwrap(), &grid, -1.100_5);
        let banana = Banana::default();
        check(banana.sample(20_000, &mut noise).unwrap(), &banana, -3.531_024);
        // By quadrature of -p log p on the box of the normalisation test.
        let rings = Rings::four();
        let (x, area) = cells([-4.0, 4.0, -4.0, 4.0]);
        let log = rings.log_prob(&x).unwrap();
        let truth = (log.exp().unwrap() * &log).unwrap().sum_all().unwrap();
        let truth = truth.to_scalar::<f64>().unwrap() * area;
        check(rings.sample(20_000, &mut noise).unwrap(), &rings, truth);
    }
}

#[test]
fn samples_belong_to_their_seed_and_the_first_do_not_depend_on_the_number_for_the_kidney() {
    for name in TOYS {
        let toy = toy(name).unwrap();
        let draw = |seed| {
            let x = toy.sample(50, &mut Seed::new(seed).host_noise()).unwrap();
            x.to_vec2::<f32>().unwrap()
        };
        assert_eq!(draw(1), draw(1), "{name}");
        assert_ne!(draw(1), draw(2), "{name}");
        assert!(draw(1).iter().flatten().all(|v| v.is_finite()));
        assert_eq!(toy.sample(0, &mut Seed::new(1).host_noise()).unwrap().dims(), [0, 2]);
    }
    let draw = |n| Kidney::default().sample(n, &mut Seed::new(1).host_noise()).unwrap();
    let (few, many) = (draw(10), draw(5_000).narrow(0, 0, 10).unwrap());
    assert_eq!(few.to_vec2::<f32>().unwrap(), many.to_vec2::<f32>().unwrap());
    assert!(toy("nothing").is_none());
}

#[test]
fn impossible_parameters_and_shapes_are_errors() {
    assert!(Gaussians::new(vec![]).is_err());
    assert!(Gaussians::grid(0, 1.0, 0.1).is_err());
    assert!(Gaussians::grid(2, 1.0, 0.0).is_err());
    let new =
        |weight, covariance| Gaussians::new(vec![Component { weight, mean: [0.0; 2], covariance }]);
    assert!(new(1.0, [[1.0, 0.0], [0.0, 1.0]]).is_ok());
    assert!(new(0.0, [[1.0, 0.0], [0.0, 1.0]]).is_err());
    assert!(new(1.0, [[1.0, 2.0], [2.0, 1.0]]).is_err());
    assert!(new(1.0, [[1.0, 0.5], [0.0, 1.0]]).is_err());
    assert!(Rings::new(vec![], 0.1).is_err());
    assert!(Rings::new(vec![1.0], 0.0).is_err());
    assert!(Banana::new(0.0).is_err() && Kidney::new(f64::NAN).is_err());
    let wrong = Tensor::zeros((3, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(Gaussians::nine().log_prob(&wrong).is_err());
    assert!(Kidney::default().energy(&wrong).is_err());
}
