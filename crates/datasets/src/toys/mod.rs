//! Densities and point clouds in the plane, seeded, with exact log densities where they exist.

mod clouds;
mod gaussians;
mod rings;
mod targets;

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Noise, Result, density::Sample, host};

pub use clouds::Cloud;
pub use gaussians::{Component, Gaussians};
pub use rings::Rings;
pub use targets::{Banana, Kidney};

/// The names that [`toy`] knows.
pub const TOYS: [&str; 14] = [
    "swiss-roll",
    "spiral",
    "two-spirals",
    "circle",
    "circles",
    "rings",
    "moons",
    "pinwheel",
    "checkerboard",
    "grid-9",
    "25-gaussians",
    "8-gaussians",
    "banana",
    "kidney",
];

/// The toy of a name in [`TOYS`], with the constants of the paper that uses it.
///
/// # Example
/// ```
/// use chains_core::Seed;
/// let rings = datasets::toys::toy("rings").expect("a known name");
/// let points = rings.sample(100, &mut Seed::new(0).child("data").host_noise())?;
/// assert_eq!(points.dims(), [100, 2]);
/// # Ok::<(), chains_core::Error>(())
/// ```
pub fn toy(name: &str) -> Option<Box<dyn Sample + Send + Sync>> {
    Some(match name {
        "swiss-roll" => Box::new(Cloud::SwissRoll),
        "spiral" => Box::new(Cloud::Spiral),
        "two-spirals" => Box::new(Cloud::TwoSpirals),
        "circle" => Box::new(Cloud::Circle),
        "circles" => Box::new(Rings::circles()),
        "rings" => Box::new(Rings::four()),
        "moons" => Box::new(Cloud::Moons),
        "pinwheel" => Box::new(Cloud::Pinwheel),
        "checkerboard" => Box::new(Cloud::Checkerboard),
        "grid-9" => Box::new(Gaussians::nine()),
        "25-gaussians" => Box::new(Gaussians::twenty_five()),
        "8-gaussians" => Box::new(Gaussians::eight()),
        "banana" => Box::new(Banana::default()),
        "kidney" => Box::new(Kidney::default()),
        _ => return None,
    })
}

/// Uniform numbers in `[0, 1)` on the host.
fn uniforms(n: usize, noise: &mut dyn Noise) -> Result<Vec<f64>> {
    let values = noise.uniform(&n.into(), DType::F64, &Device::Cpu)?;
    Ok(values.to_vec1()?)
}

/// Standard normal pairs on the host.
fn normals(n: usize, noise: &mut dyn Noise) -> Result<Vec<[f64; 2]>> {
    let values = noise.normal(&(2 * n).into(), DType::F64, &Device::Cpu)?.to_vec1::<f64>()?;
    Ok(values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// Points as `(n, 2)` f32 on the CPU.
fn points(points: impl Iterator<Item = [f64; 2]>) -> Result<Tensor> {
    let values: Vec<f32> = points.flatten().map(|v| v as f32).collect();
    let n = values.len() / 2;
    Ok(Tensor::from_vec(values, (n, 2), &Device::Cpu)?)
}

/// The two coordinates of `(b, 2)`, each `(b, 1)`.
fn coordinates(x: &Tensor) -> Result<(Tensor, Tensor)> {
    if x.rank() != 2 || x.dims()[1] != 2 {
        return Err(Error::Shape {
            what: "points in the plane",
            expected: "(b, 2)".into(),
            got: x.dims().to_vec(),
        });
    }
    Ok((x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?))
}

/// A row of constants `(1, k)` of the type and on the device of `x`.
fn constants(values: impl Iterator<Item = f64>, x: &Tensor) -> Result<Tensor> {
    let values: Vec<f64> = values.collect();
    let k = values.len();
    host::tensor_like(values, (1, k), x)
}

/// `log sum exp` over the second axis, `(b, k)` to `(b,)`; the shift is held constant.
fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let shift = x.max_keepdim(1)?.detach();
    let sum = x.broadcast_sub(&shift)?.exp()?.sum(1)?;
    Ok((sum.log()? + shift.squeeze(1)?)?)
}

#[cfg(test)]
mod tests;
