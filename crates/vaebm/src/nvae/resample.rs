//! Interpolation to twice the resolution.

use candle_core::{Device, Tensor};
use chains_core::{Result, ops};

/// Bilinear interpolation to twice the sides, the corners staying corners: along an axis of `n` pixels
/// the new pixel `i` is at `i (n - 1) / (2 n - 1)`.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, 2 h, 2 w)`.
///
/// # Errors
/// [`chains_core::Error::Tensor`] for another rank.
pub fn bilinear2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let along = |x: &Tensor, n: usize| -> Result<Tensor> {
        let weights = Tensor::from_vec(weights(n), (2 * n, n), &Device::Cpu)?;
        ops::linear(x, &weights.to_dtype(x.dtype())?.to_device(x.device())?, None)
    };
    let wide = along(&x.contiguous()?, w)?;
    let tall = along(&wide.transpose(2, 3)?.contiguous()?, h)?;
    Ok(tall.transpose(2, 3)?.contiguous()?)
}

/// Row `i` holds what each old pixel gives to the new pixel `i`.
fn weights(n: usize) -> Vec<f64> {
    let mut all = vec![0.0; 2 * n * n];
    for (i, row) in all.chunks_exact_mut(n).enumerate() {
        // In whole numbers, so that a pixel at a place of an old one is that one.
        let (at, rest) = (i * (n - 1) / (2 * n - 1), i * (n - 1) % (2 * n - 1));
        let share = rest as f64 / (2 * n - 1) as f64;
        row[at] += 1.0 - share;
        if at + 1 < n {
            row[at + 1] += share;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_corners() -> Result<()> {
        let x = Tensor::new(&[0.0, 1.0], &Device::Cpu)?;
        let thirds = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0];
        for (shape, at) in [((1, 1, 1, 2), 3), ((1, 1, 2, 1), 2)] {
            let y = bilinear2(&x.reshape(shape)?)?;
            let other = 5 - at;
            for i in 0..2 {
                let line = y.narrow(other, i, 1)?.flatten_all()?.to_vec1::<f64>()?;
                for (got, want) in line.iter().zip(thirds) {
                    assert!((got - want).abs() < 1e-12, "{line:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_plane_stays_a_plane() -> Result<()> {
        // 2 i + 3 j on 4 x 3 pixels: linear between the same corners.
        let values: Vec<f64> = (0..12).map(|at| f64::from(2 * (at / 3) + 3 * (at % 3))).collect();
        let y = bilinear2(&Tensor::from_vec(values, (1, 1, 4, 3), &Device::Cpu)?)?;
        let y = y.squeeze(0)?.squeeze(0)?.to_vec2::<f64>()?;
        for (i, row) in y.iter().enumerate() {
            for (j, got) in row.iter().enumerate() {
                let want = 2.0 * i as f64 * 3.0 / 7.0 + 3.0 * j as f64 * 2.0 / 5.0;
                assert!((got - want).abs() < 1e-12, "{i} {j}: {got} {want}");
            }
        }
        Ok(())
    }
}
