//! Moments of a set of rows.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    host,
};

/// Mean and population variance of every dimension of a set of rows, added batch by batch in f64.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    count: f64,
    sum: Vec<f64>,
    square: Vec<f64>,
}

impl Moments {
    /// Adds rows `(b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if D changes.
    pub fn push(&mut self, x: &Tensor) -> Result<()> {
        let (b, d) = x.dims2()?;
        if self.sum.is_empty() {
            (self.sum, self.square) = (vec![0.0; d], vec![0.0; d]);
        }
        if self.sum.len() != d {
            let expected = format!("(b, {})", self.sum.len());
            return Err(Error::Shape { what: "rows", expected, got: vec![b, d] });
        }
        for row in host::rows(x)? {
            for ((sum, square), value) in self.sum.iter_mut().zip(&mut self.square).zip(row) {
                *sum += value;
                *square += value * value;
            }
        }
        self.count += b as f64;
        Ok(())
    }

    /// Number of rows.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Means, `D` of them.
    pub fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count).collect()
    }

    /// Population variances, `D` of them.
    pub fn variance(&self) -> Vec<f64> {
        let pairs = self.sum.iter().zip(&self.square);
        pairs.map(|(s, q)| (q / self.count - (s / self.count).powi(2)).max(0.0)).collect()
    }

    /// The log density of every row of `x`, `(n, D)`, under the factorial Gaussian with these
    /// moments, its variances clamped to `[low, high]`; in nats.
    ///
    /// # Errors
    /// [`Error::Shape`] if D differs.
    pub fn log_prob(&self, x: &Tensor, [low, high]: [f64; 2]) -> Result<Vec<f64>> {
        let (mean, variance) = (self.mean(), self.variance());
        let (n, d) = x.dims2()?;
        if d != mean.len() {
            let expected = format!("(n, {})", mean.len());
            return Err(Error::Shape { what: "rows", expected, got: vec![n, d] });
        }
        let density = |row: Vec<f64>| {
            let terms = row.iter().zip(mean.iter().zip(&variance)).map(|(x, (m, v))| {
                let v = v.clamp(low, high);
                -0.5 * ((2.0 * std::f64::consts::PI * v).ln() + (x - m).powi(2) / v)
            });
            terms.sum()
        };
        Ok(host::rows(x)?.into_iter().map(density).collect())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::{assert_close, normal};

    #[test]
    fn batches_add_up_to_the_whole_set() -> Result<()> {
        let x = normal("rows", (20, 3)).affine(2.0, 1.0)?;
        let (mut parts, mut whole) = (Moments::default(), Moments::default());
        whole.push(&x)?;
        for (from, len) in [(0, 3), (3, 16), (19, 1)] {
            parts.push(&x.narrow(0, from, len)?)?;
        }
        assert!((parts.count() - 20.0).abs() < f64::EPSILON);
        let mean = x.mean(0)?.to_vec1::<f64>()?;
        let variance = x.broadcast_sub(&x.mean_keepdim(0)?)?.sqr()?.mean(0)?.to_vec1::<f64>()?;
        for moments in [&parts, &whole] {
            assert_close("mean", &moments.mean(), &mean, 1e-6);
            assert_close("variance", &moments.variance(), &variance, 1e-6);
        }
        assert!(matches!(whole.push(&x.narrow(1, 0, 2)?), Err(Error::Shape { .. })));
        let text = serde_json::to_string(&parts).unwrap();
        assert_eq!(serde_json::from_str::<Moments>(&text).unwrap(), parts);
        Ok(())
    }

    #[test]
    fn densities_have_all_constants_and_clamped_variances() -> Result<()> {
        let x = Tensor::new(&[[0.0_f64, 1.0], [2.0, 1.0]], &Device::Cpu)?;
        let mut moments = Moments::default();
        moments.push(&x)?;
        // Means 1, 1; variances 1, 0.
        let normal = |d: f64, v: f64| -0.5 * ((2.0 * std::f64::consts::PI * v).ln() + d * d / v);
        let at = Tensor::new(&[[0.5_f64, 1.5]], &Device::Cpu)?;
        for (low, high, v) in [(0.25, 9.0, [1.0, 0.25]), (0.25, 0.5, [0.5, 0.25])] {
            let want = normal(0.5, v[0]) + normal(0.5, v[1]);
            assert!((moments.log_prob(&at, [low, high])?[0] - want).abs() < 1e-12);
        }
        assert!(moments.log_prob(&at.narrow(1, 0, 1)?, [0.1, 1.0]).is_err());
        Ok(())
    }
}
