//! Points over contours of the banana.

use candle_core::Tensor;

use crate::{
    error::Result,
    plots::{Plot, Series},
    run::Run,
};

/// Energies of the contours: 1, 2 and 3 standard deviations of the normals that the banana is bent from.
const LEVELS: [f64; 3] = [0.5, 2.0, 4.5];
/// Points of a contour.
const POINTS: usize = 240;
/// What is beyond is not drawn, but counted.
const REACH: f64 = 12.0;

/// `(x1, x2)` with `x2^2 / 4 + (x1 - x2^2 / 4)^2 = 2 level`.
fn contour(level: f64) -> impl Iterator<Item = (f64, f64)> {
    let radius = (2.0 * level).sqrt();
    (0..=POINTS).map(move |i| {
        let angle = std::f64::consts::TAU * i as f64 / POINTS as f64;
        let x2 = 2.0 * radius * angle.sin();
        (0.25 * x2 * x2 + radius * angle.cos(), x2)
    })
}

pub(super) fn draw(run: &mut Run<'_>, id: &str, name: &str, points: &Tensor) -> Result<()> {
    let all = points.to_vec2::<f32>()?;
    let all = all.iter().map(|row| (f64::from(row[0]), f64::from(row[1])));
    let near = |(x, y): &(f64, f64)| x.abs() <= REACH && y.abs() <= REACH;
    let (shown, n): (Vec<_>, usize) = (all.clone().filter(near).collect(), all.count());
    let beyond = n - shown.len();
    let mut plot = Plot::new(name, "x1", "x2").equal_axes();
    plot.series(Series::scatter(name, shown));
    for level in LEVELS {
        plot.series(Series::line(format!("energy {level}"), contour(level)));
    }
    let caption = format!(
        "Points over contours of the banana; {beyond} of {n} lie beyond {REACH} and are not drawn."
    );
    run.plot(id, &plot, &caption)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contours_have_one_energy() {
        for level in LEVELS {
            for (x1, x2) in contour(level) {
                let bend = 0.25 * x2 * x2;
                let energy = 0.5 * (bend + (x1 - bend).powi(2));
                assert!((energy - level).abs() < 1e-9);
            }
        }
    }
}
