//! Levels of images before the encoder.

use candle_core::Tensor;
use chains_core::{Noise, Result};

/// Images of fewer bits: `floor(255 x / 2^(8 - bits)) / (2^bits - 1)`, as the backbone of CelebA-HQ was
/// trained on.
///
/// # Shapes
/// Any; in `[0, 1]`.
///
/// # Errors
/// Of the tensor library.
pub fn reduce_bits(x: &Tensor, bits: u32) -> Result<Tensor> {
    if bits >= 8 {
        return Ok(x.clone());
    }
    // Rounded first, so that a level that f32 holds from below is not taken for the one before.
    let levels = (x * 255.0)?.round()?;
    let floor = (levels / f64::from(1_u32 << (8 - bits)))?.floor()?;
    Ok((floor / f64::from((1_u32 << bits) - 1))?)
}

/// Continuous images of 8-bit ones: `(255 x + u) / 256` with uniform `u`.
///
/// # Shapes
/// Any; in `[0, 1]`.
///
/// # Errors
/// Of the tensor library.
pub fn dequantise(x: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
    let u = noise.uniform(x.shape(), x.dtype(), x.device())?;
    Ok((((x * 255.0)? + u)? / 256.0)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use chains_core::Seed;

    use super::*;

    fn all(dtype: DType) -> Result<Tensor> {
        let levels = Tensor::arange(0.0, 256.0, &Device::Cpu)?;
        Ok((levels / 255.0)?.to_dtype(dtype)?)
    }

    #[test]
    fn every_level_falls_into_its_bin() -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let five = reduce_bits(&all(dtype)?, 5)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            for (level, got) in five.iter().enumerate() {
                let want = (level / 8) as f64 / 31.0;
                assert!((got - want).abs() < 1e-6, "{level}: {got} {want}");
            }
            let eight = reduce_bits(&all(dtype)?, 8)?;
            assert_eq!(eight.to_dtype(DType::F64)?.to_vec1::<f64>()?.len(), 256);
        }
        Ok(())
    }

    #[test]
    fn a_dequantised_level_stays_within_its_bin() -> Result<()> {
        let mut noise = Seed::new(0).host_noise();
        let x = dequantise(&all(DType::F64)?, &mut noise)?.to_vec1::<f64>()?;
        for (level, x) in x.iter().enumerate() {
            let place = x * 256.0 - level as f64;
            assert!((-1e-9..1.0 + 1e-9).contains(&place), "{level}: {x}");
        }
        Ok(())
    }
}
