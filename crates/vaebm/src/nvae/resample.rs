//! Interpolation to twice the resolution.

pub use chains_core::ops::bilinear2;

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use chains_core::Result;

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
