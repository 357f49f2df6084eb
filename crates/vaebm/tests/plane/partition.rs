//! The partition function of a mixture under a quadratic energy, by three estimators.

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Result};
use vaebm::plane::{Grid, Kernels, monte_carlo};

use crate::{Quadratic, noise, normal, tensor, values};

/// `ln Z` of weights 0.3 and 0.7, means (-1, 0) and (1.5, 0.5), covariances 0.25 I.
const MIXTURE: f64 = -1.682_980;
const MEANS: [[f64; 2]; 2] = [[-1.0, 0.0], [1.5, 0.5]];

/// The mixture as ten kernels.
fn kernels() -> Kernels {
    let means: Vec<Vec<f64>> = (0..10).map(|i| MEANS[usize::from(i >= 3)].to_vec()).collect();
    let means = Tensor::new(means, &Device::Cpu).unwrap();
    Kernels::new(&means, &(means.ones_like().unwrap() * 0.5).unwrap()).unwrap()
}

fn square() -> Grid {
    Grid::new([-5.0, -5.0], 10.0, 200).unwrap()
}

/// Samples of the mixture with deviation `scale`.
fn draw(n: usize, scale: f64, noise: &mut dyn Noise) -> Result<Tensor> {
    let which = noise.uniform(&(n, 1).into(), DType::F64, &Device::Cpu)?.lt(0.3)?;
    let [first, second] = MEANS.map(|mean| tensor([mean]).broadcast_as((n, 2)));
    let means =
        which.broadcast_as((n, 2))?.where_cond(&first?.contiguous()?, &second?.contiguous()?)?;
    Ok((means + (normal(noise, &[n, 2]) * scale)?)?)
}

#[test]
fn the_grid_gives_the_exact_partition_function_and_a_mass_of_one() -> Result<()> {
    let grid = square();
    assert!((grid.step() - 0.05).abs() < 1e-15);
    let density = kernels().density(&grid);
    let energies = grid.energies(&Quadratic, DType::F64, &Device::Cpu)?;
    let found = grid.partition(&density, &energies)?;
    assert!((found.log_partition - MIXTURE).abs() < 1e-6, "{found:?}");
    assert!((found.mass - 1.0).abs() < 1e-6, "{found:?}");
    // Half the smallest deviation is fine enough.
    let coarse = Grid::new([-5.0, -5.0], 10.0, 40)?;
    let energies = coarse.energies(&Quadratic, DType::F64, &Device::Cpu)?;
    let found = coarse.partition(&kernels().density(&coarse), &energies)?;
    assert!((found.log_partition - MIXTURE).abs() < 1e-5, "{found:?}");
    Ok(())
}

#[test]
fn the_linear_autoencoder_has_its_partition_function() -> Result<()> {
    // N(0, 1) in one latent number, W = (1, 0.5), b = (0.2, -0.1), s = 0.3, by an even net of latents.
    let z: Vec<f64> = (0..4000).map(|i| (f64::from(i) + 0.5) / 4000.0).collect();
    let z: Vec<f64> = z.into_iter().map(quantile).collect();
    let z = Tensor::new(z, &Device::Cpu)?.unsqueeze(1)?;
    let means = z.matmul(&tensor([[1.0, 0.5]]))?.broadcast_add(&tensor([[0.2, -0.1]]))?;
    let kernels = Kernels::new(&means, &(means.ones_like()? * 0.3)?)?;
    assert!((kernels.smallest_scale() - 0.3).abs() < 1e-15);
    let grid = Grid::new([-6.0, -6.0], 12.0, 120)?;
    let energies = grid.energies(&Quadratic, DType::F64, &Device::Cpu)?;
    let found = grid.partition(&kernels.density(&grid), &energies)?;
    assert!((found.log_partition - -0.861_655).abs() < 1e-3, "{found:?}");
    Ok(())
}

/// The normal quantile by bisection of its distribution function's integral (Simpson's rule).
fn quantile(p: f64) -> f64 {
    let cdf = |x: f64| {
        let (n, a) = (400, -8.0_f64);
        let h = (x - a) / f64::from(n);
        let f = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        (0..=n).fold(0.0, |sum, i| {
            let weight = if i == 0 || i == n {
                1.0
            } else if i % 2 == 1 {
                4.0
            } else {
                2.0
            };
            sum + weight * f(a + h * f64::from(i))
        }) * h
            / 3.0
    };
    let (mut low, mut high) = (-5.0, 5.0);
    for _ in 0..30 {
        let middle = 0.5 * (low + high);
        if cdf(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[test]
fn kernels_at_sampled_centres_agree_within_their_error() -> Result<()> {
    // N(m, 0.25 I) is N(m, 0.16 I) blurred by 0.3; ten sets of centres tell the error.
    let mut noise = noise("centres");
    let grid = Grid::new([-5.0, -5.0], 10.0, 100)?;
    let energies = grid.energies(&Quadratic, DType::F64, &Device::Cpu)?;
    let mut found = Vec::new();
    for _ in 0..10 {
        let centres = draw(20_000, 0.4, &mut noise)?;
        let kernels = Kernels::new(&centres, &(centres.ones_like()? * 0.3)?)?;
        let one = grid.partition(&kernels.density(&grid), &energies)?;
        assert!((one.mass - 1.0).abs() < 1e-3);
        found.push(one.log_partition);
    }
    let mean = found.iter().sum::<f64>() / 10.0;
    let error = (found.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / 90.0).sqrt();
    assert!(error < 0.01 && (mean - MIXTURE).abs() < 4.0 * error, "{mean} {error}");
    Ok(())
}

#[test]
fn monte_carlo_agrees_within_the_error_that_it_tells() -> Result<()> {
    let mut noise = noise("samples");
    let found = monte_carlo(&Quadratic, 1_000_000, 100_000, |n| draw(n, 0.5, &mut noise))?;
    assert_eq!(found.samples, 1_000_000);
    assert!(found.std_error > 1e-4 && found.std_error < 0.01);
    assert!((found.log_partition - MIXTURE).abs() < 4.0 * found.std_error, "{found:?}");
    // The error is that of repetitions.
    let mut small = Vec::new();
    let mut told = 0.0;
    for _ in 0..200 {
        let one = monte_carlo(&Quadratic, 1000, 300, |n| draw(n, 0.5, &mut noise))?;
        small.push(one.log_partition);
        told += one.std_error / 200.0;
    }
    let mean = small.iter().sum::<f64>() / 200.0;
    let seen = (small.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / 199.0).sqrt();
    // A deviation from 200 values has a relative error of 1/20.
    assert!((seen / told - 1.0).abs() < 0.2, "{seen} {told}");
    Ok(())
}

#[test]
fn a_square_around_points_holds_them_with_its_margin() -> Result<()> {
    let points = tensor([[0.0, 1.0], [3.0, -1.0]]);
    let grid = Grid::around(&points, 0.5, 0.1)?;
    let nodes = values(&grid.points()?);
    assert_eq!(nodes.len(), 2 * grid.nodes() * grid.nodes());
    assert!(grid.step() <= 0.1);
    // The first node is half a cell from the corner, the second coordinate runs first.
    assert!((nodes[0] - (-0.5 + 0.5 * grid.step())).abs() < 1e-12);
    assert!((nodes[1] - (-1.5 + 0.5 * grid.step())).abs() < 1e-12);
    assert!((nodes[3] - nodes[1] - grid.step()).abs() < 1e-12);
    assert!(Grid::around(&points, 0.5, 0.0).is_err());
    assert!(Grid::around(&tensor([[f64::NAN, 0.0]]), 0.5, 0.1).is_err());
    assert!(Grid::new([0.0, 0.0], 1.0, 0).is_err());
    assert!(grid.partition(&[1.0], &[1.0]).is_err());
    assert!(Kernels::new(&points, &tensor([[1.0, 0.0], [1.0, 1.0]])).is_err());
    assert!(monte_carlo(&Quadratic, 0, 1, |_| Ok(points.clone())).is_err());
    Ok(())
}
