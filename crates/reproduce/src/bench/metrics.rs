//! W13: scores of 10,000 rows against 10,000.

use chains_core::Seed;
use datasets::{Mnist, find_mnist};
use eval_metrics::{
    Boundary, FrechetOptions, FrechetRoute, Moments, frechet_distance,
    networks::{INCEPTION_SIDE, Inception, InceptionOptions, inception_tensors},
    parzen, prdc,
};
use ndarray::Array2;

use super::{Bed, Unit, Workload, values};
use crate::{
    data::usage,
    error::{Error, Result},
};

const ROWS: usize = 10_000;
/// Features of the Inception network.
const WIDTH: usize = 2048;
const PIXELS: usize = 784;

pub(super) fn workloads() -> Vec<Workload> {
    let covariances = 2e-9 * (2 * ROWS * WIDTH * WIDTH) as f64;
    let roots = 2e-9 * 2.0 * (WIDTH * WIDTH * WIDTH) as f64;
    let row = |id, title, gflop, build| Workload {
        id,
        title,
        gflop: Some(gflop),
        repeats: 3,
        host: true,
        build,
    };
    vec![
        row("W13a", "Frechet distance of 10,000 x 2048", covariances + roots, |_| frechet(None)),
        row("W13a3", "the same by eigenvectors", covariances + roots, |_| {
            frechet(Some(FrechetRoute::Eigen))
        }),
        row("W13b", "Inception network, 16 images of 299 x 299", 182.76, |_| inception()),
        row(
            "W13c",
            "precision, recall, density, coverage",
            2e-9 * 3.0 * (ROWS * ROWS) as f64 * WIDTH as f64,
            |_| neighbours(),
        ),
        row("W13d", "Parzen window on MNIST", 2e-9 * (ROWS * ROWS) as f64 * PIXELS as f64, window),
    ]
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Usage(error.to_string())
}

fn features(name: &str) -> Result<Array2<f32>> {
    let values = values(name, &[ROWS, WIDTH])?.flatten_all()?.to_vec1()?;
    Array2::from_shape_vec((ROWS, WIDTH), values).map_err(failed)
}

fn frechet(route: Option<FrechetRoute>) -> Result<Unit> {
    let (real, fake) = (features("real")?, features("fake")?);
    let options = FrechetOptions { route, ..FrechetOptions::default() };
    Ok(Box::new(move || {
        let of = |rows: &Array2<f32>| Moments::of(rows.view()).map_err(failed);
        frechet_distance(&of(&real)?, &of(&fake)?, &options).map_err(failed)?;
        Ok(())
    }))
}

/// Up to the 2,048 features, of images that are resized and scaled already; normal weights.
fn inception() -> Result<Unit> {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let inputs: usize = shape[1..].iter().product();
        let noise = values(&name, &shape)?;
        let tensor = match name.rsplit('.').next() {
            Some("running_var") => noise.ones_like()?,
            _ if shape.len() > 1 => (noise * (2.0 / inputs as f64).sqrt())?,
            _ => (noise * 0.1)?,
        };
        // Gains around one keep the values of every layer in range.
        let gain = name.ends_with("bn.weight");
        Ok((name, if gain { (tensor + 1.0)? } else { tensor }))
    };
    let weights = inception_tensors().into_iter().map(tensor).collect::<Result<_>>()?;
    let network = Inception::new(&weights, "bench".into(), InceptionOptions::default())?;
    let x = values("images", &[16, 3, INCEPTION_SIDE, INCEPTION_SIDE])?;
    Ok(Box::new(move || {
        network.scaled_activations(&x)?;
        Ok(())
    }))
}

fn neighbours() -> Result<Unit> {
    let (real, fake) = (features("real")?, features("fake")?);
    Ok(Box::new(move || {
        prdc(real.view(), fake.view(), 5, Boundary::Open).map_err(failed)?;
        Ok(())
    }))
}

/// Test images without noise against dequantised training images, as the definition has it.
fn window(bed: &Bed) -> Result<Unit> {
    let files = Mnist::load(&find_mnist(None, &bed.root).map_err(usage)?)?;
    let indices: Vec<usize> = (0..ROWS).collect();
    let test = files.test.gather(&indices).iter().map(|v| f32::from(*v) / 255.0).collect();
    let mut noise = Seed::new(0).child("bench").child("dequantise").host_noise();
    let samples = datasets::dequantise(&files.train.gather(&indices), &mut noise);
    let rows = |values| Array2::from_shape_vec((ROWS, PIXELS), values).map_err(failed);
    let (test, samples) = (rows(test)?, rows(samples)?);
    Ok(Box::new(move || {
        parzen(samples.view(), test.view(), 0.17).map_err(failed)?;
        Ok(())
    }))
}
