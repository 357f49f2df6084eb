//! Pictures of samples over the contours of a density.

use candle_core::{Device, Tensor};
use chains_core::host;

use super::truth::Plane;
use crate::error::Result;

/// Pixels along a side.
pub(super) const SIDE: usize = 160;
/// How far below its maximum `log u` is on the contours: 1, 2 and 3 deviations of a Gaussian.
const LEVELS: [f64; 3] = [0.5, 2.0, 4.5];

/// A white square with the target's contours in grey, three planes.
///
/// # Errors
/// Of the energy.
pub(super) fn contours(plane: Plane) -> Result<Vec<f32>> {
    let [left, right, bottom, top] = plane.window();
    let at = |low: f64, high: f64, i: usize| low + (high - low) * (i as f64 + 0.5) / SIDE as f64;
    let points: Vec<f64> = (0..SIDE * SIDE)
        .flat_map(|i| [at(left, right, i % SIDE), at(top, bottom, i / SIDE)])
        .collect();
    let x = Tensor::from_vec(points, (SIDE * SIDE, 2), &Device::Cpu)?;
    let energies = host::vector(&plane.energy().energy(&x)?)?;
    let least = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let band = |i: usize| LEVELS.iter().filter(|level| energies[i] - least > **level).count();
    let mut image = vec![1.0; 3 * SIDE * SIDE];
    for i in 0..SIDE * SIDE {
        let (column, row) = (i % SIDE, i / SIDE);
        let own = band(i);
        let edge =
            (column + 1 < SIDE && band(i + 1) != own) || (row + 1 < SIDE && band(i + SIDE) != own);
        let tint = 1.0 - 0.06 * (LEVELS.len() - own) as f32;
        let value = if edge { 0.55 } else { tint };
        (0..3).for_each(|channel| image[channel * SIDE * SIDE + i] = value);
    }
    Ok(image)
}

/// Draws points on a picture of [`contours`]; those outside of the window are left out.
pub(super) fn scatter(plane: Plane, image: &mut [f32], points: &[[f32; 2]]) {
    const BLUE: [f32; 3] = [0.09, 0.35, 0.75];
    let [left, right, bottom, top] = plane.window();
    for [x, y] in points {
        let column = ((f64::from(*x) - left) / (right - left) * SIDE as f64).floor();
        let row = ((top - f64::from(*y)) / (top - bottom) * SIDE as f64).floor();
        let inside = |at: f64| at >= 0.0 && at < SIDE as f64;
        if !(inside(column) && inside(row)) {
            continue;
        }
        let at = row as usize * SIDE + column as usize;
        for (channel, value) in BLUE.into_iter().enumerate() {
            image[channel * SIDE * SIDE + at] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_lands_on_its_pixel_and_contours_close_around_the_modes() {
        let plane = Plane::Kidney;
        let mut image = contours(plane).unwrap();
        let before = image.clone();
        scatter(plane, &mut image, &[[0.0, 0.0], [-4.49, 4.49], [9.0, 0.0], [f32::NAN, 0.0]]);
        let changed: Vec<usize> =
            (0..SIDE * SIDE).filter(|i| image[*i].to_bits() != before[*i].to_bits()).collect();
        assert_eq!(changed, [0, SIDE / 2 * SIDE + SIDE / 2]);
        // The mode is darkest but for lines, the origin and the corner are white.
        let red = |x: f64, y: f64| {
            let pixel = |v: f64| ((v + 4.5) / 9.0 * SIDE as f64) as usize;
            before[pixel(-y) * SIDE + pixel(x)]
        };
        assert!(red(2.0, 0.0) < 0.85 && red(0.0, 0.0) > 0.99 && red(4.0, 4.0) > 0.99);
    }
}
