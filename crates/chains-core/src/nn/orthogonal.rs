//! Random orthogonal matrices.

use candle_core::{DType, Device, Tensor};

use crate::{error::Result, host, noise::Noise, ops};

/// Rows that are made orthogonal to each other in f64, one after the other.
const BLOCK: usize = 64;

/// An orthogonal matrix `(n, n)` in f32 on the host, uniformly distributed over all of them.
///
/// Rows of normal numbers are orthonormalised in their order, block by block and twice, since one
/// pass leaves errors of the order of the condition number.
///
/// # Errors
/// If the noise cannot be drawn.
pub fn orthogonal(n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
    let raw = noise.normal(&(n, n).into(), DType::F32, &Device::Cpu)?;
    let mut blocks: Vec<Tensor> = Vec::new();
    for from in (0..n).step_by(BLOCK) {
        let mut block = raw.narrow(0, from, BLOCK.min(n - from))?.contiguous()?;
        for _ in 0..2 {
            if !blocks.is_empty() {
                let before = Tensor::cat(&blocks, 0)?;
                let along = ops::linear(&block, &before, None)?;
                block = (&block - ops::linear(&along, &before.t()?.contiguous()?, None)?)?;
            }
            block = orthonormal(&block)?;
        }
        blocks.push(block);
    }
    if blocks.is_empty() { Ok(raw) } else { Ok(Tensor::cat(&blocks, 0)?) }
}

/// The rows of a few, each without its part along those before it, of length one (modified
/// Gram-Schmidt).
fn orthonormal(rows: &Tensor) -> Result<Tensor> {
    let mut done: Vec<Vec<f64>> = Vec::new();
    for mut row in host::rows(rows)? {
        for other in &done {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        row.iter_mut().for_each(|a| *a /= length);
        done.push(row);
    }
    let narrow: Vec<f32> = done.into_iter().flatten().map(|value| value as f32).collect();
    Ok(Tensor::from_vec(narrow, rows.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{seed::Seed, testing::values};

    #[test]
    fn rows_are_orthonormal() -> Result<()> {
        for n in [1, 3, 64, 65, 300] {
            let q = orthogonal(n, &mut Seed::new(1).host_noise())?;
            let gram = values(&q.matmul(&q.t()?)?);
            for (at, got) in gram.iter().enumerate() {
                let want = if at / n == at % n { 1.0 } else { 0.0 };
                assert!((got - want).abs() < 2e-6, "n {n}, element {at}: {got}");
            }
        }
        assert_eq!(orthogonal(0, &mut Seed::new(1).host_noise())?.dims(), [0, 0]);
        Ok(())
    }

    #[test]
    fn no_direction_is_preferred() -> Result<()> {
        // The square of an entry has mean 1/n and, uniformly distributed, variance
        // 2 (n - 1) / (n^2 (n + 2)); the trace of a uniform matrix has mean 0 and variance 1.
        let n = 3;
        let (mut first, mut traces) = (Vec::new(), Vec::new());
        for index in 0..400 {
            let q = orthogonal(n, &mut Seed::new(2).indexed(index).host_noise())?;
            let q = values(&q);
            first.push(q[8] * q[8]);
            traces.push(q[0] + q[4] + q[8]);
        }
        let count = first.len() as f64;
        let mean = |v: &[f64]| v.iter().sum::<f64>() / count;
        let (want, variance) = (1.0 / 3.0, 4.0 / 45.0);
        let se = f64::sqrt(variance / count);
        assert!((mean(&first) - want).abs() < 5.0 * se, "{} +- {se}", mean(&first));
        assert!(mean(&traces).abs() < 5.0 * (1.0 / count).sqrt(), "{}", mean(&traces));
        Ok(())
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| values(&orthogonal(200, &mut Seed::new(3).host_noise()).unwrap()))
        };
        assert_eq!(run(1), run(3));
    }
}
