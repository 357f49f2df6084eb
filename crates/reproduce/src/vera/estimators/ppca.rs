//! Probabilistic principal components: a linear generator of which everything is known.

use candle_core::{DType, Device, Tensor};
use chains_core::{Seed, host};
use eval_metrics::Moments;
use ndarray::{Array1, Array2, ArrayView2};
use serde::{Deserialize, Serialize};
use vera::{EnergyConfig, GENERATOR, GeneratorConfig, ModelConfig, VeraModel};

use crate::error::{Error, Result};

/// What the published script writes into `ln sigma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Convention {
    /// `sigma^2` is the variance that the components leave over.
    Deviation,
    /// `sigma` itself is that variance, as in the script.
    Variance,
}

impl Convention {
    /// In a table.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Deviation => "sigma^2 = variance",
            Self::Variance => "sigma = variance (script)",
        }
    }
}

/// Mean and principal axes of images.
pub(super) struct Components {
    mean: Array1<f64>,
    /// Variances along the axes, the largest first.
    values: Array1<f64>,
    /// Axes as columns.
    axes: Array2<f64>,
}

impl Components {
    /// Of images in `[-1, 1]`, `(n, D)`.
    pub(super) fn of(images: &Tensor) -> Result<Self> {
        let (n, d) = images.dims2()?;
        let values = images.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let rows = ArrayView2::from_shape((n, d), &values)
            .map_err(|error| Error::Usage(format!("images: {error}")))?;
        let usage = |error: eval_metrics::Error| Error::Usage(format!("components: {error}"));
        let moments = Moments::of(rows).map_err(usage)?;
        let (values, axes) = moments.principal_components().map_err(usage)?;
        Ok(Self { mean: moments.mean().to_owned(), values, axes })
    }
}

/// `g(z) = W z + mu` with `W = V diag(sqrt(l - s))`: `V` the first `d` axes, `l` their variances, `s` the
/// mean of all others.
pub(super) struct Ppca {
    /// The generator with its noise.
    pub(super) model: VeraModel,
    /// sigma.
    pub(super) sigma: f64,
    /// `W`, `(D, d)`, f64 on the host.
    loadings: Tensor,
    /// `mu`, `(1, D)`.
    mean: Tensor,
    /// Squared lengths of the columns of `W`.
    gains: Vec<f64>,
}

impl Ppca {
    /// With `d` components; `eta` begins at 0.1.
    ///
    /// # Errors
    /// If there are not more than `d` pixels.
    pub(super) fn new(
        components: &Components,
        d: usize,
        convention: Convention,
        device: &Device,
    ) -> Result<Self> {
        let dim = components.values.len();
        if d == 0 || d >= dim {
            return Err(Error::Usage(format!("--set components: {d} of {dim} pixels")));
        }
        let rest = components.values.iter().skip(d).sum::<f64>() / (dim - d) as f64;
        let sigma = match convention {
            Convention::Deviation => rest.max(0.0).sqrt(),
            Convention::Variance => rest,
        };
        let gains: Vec<f64> =
            components.values.iter().take(d).map(|value| (value - rest).max(0.0)).collect();
        let loadings: Vec<f64> = (0..dim)
            .flat_map(|i| (0..d).map(move |j| (i, j)))
            .map(|(i, j)| components.axes[(i, j)] * gains[j].sqrt())
            .collect();
        let loadings = Tensor::from_vec(loadings, (dim, d), &Device::Cpu)?;
        let mean = Tensor::from_vec(components.mean.to_vec(), (1, dim), &Device::Cpu)?;
        let config = ModelConfig {
            sigma_range: [1e-9, 1e9],
            initial_sigma: sigma,
            ..ModelConfig::of(
                EnergyConfig::Gaussian { dim },
                GeneratorConfig::Linear { latent: d, dim },
            )
        };
        let model = VeraModel::new(config, Seed::new(0), device)?;
        for (name, value) in [("weight", &loadings), ("bias", &mean.flatten_all()?)] {
            let name = format!("{GENERATOR}.{name}");
            let Some(variable) = model.store().get(&name) else {
                return Err(Error::Usage(format!("the generator has no `{name}`")));
            };
            variable.set(&value.to_dtype(DType::F32)?.to_device(device)?)?;
        }
        Ok(Self { model, sigma, loadings, mean, gains })
    }

    /// Standard deviations of the posterior, whatever `x` is: `sigma / sqrt(sigma^2 + |w_j|^2)`.
    pub(super) fn posterior_deviations(&self) -> Vec<f64> {
        self.gains.iter().map(|gain| self.sigma / (self.sigma * self.sigma + gain).sqrt()).collect()
    }

    /// Mean of the posterior `(b, d)` and minus the exact score `(b, D)` at `x`, f64 on the host.
    ///
    /// With orthogonal columns `m_j = w_j . (x - mu) / (sigma^2 + |w_j|^2)`, and minus the score is
    /// `(x - mu - W m) / sigma^2`.
    pub(super) fn exact(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let rest = self.residual(x)?;
        let variance = self.sigma * self.sigma;
        let scale: Vec<f64> = self.gains.iter().map(|gain| 1.0 / (variance + gain)).collect();
        let posterior = rest.matmul(&self.loadings)?.broadcast_mul(&row(scale)?)?;
        let score = ((rest - posterior.matmul(&self.loadings.t()?)?)? * (1.0 / variance))?;
        Ok([posterior, score])
    }

    fn residual(&self, x: &Tensor) -> Result<Tensor> {
        Ok(host::tensor(x)?.broadcast_sub(&self.mean)?)
    }

    /// What an estimate of minus the score, minus the exact one, is of the latent: the mean of the
    /// proposals minus that of the posterior, in its deviations, `(b, d)`.
    pub(super) fn whitened(&self, error: &Tensor) -> Result<Tensor> {
        let scale: Vec<f64> = self
            .gains
            .iter()
            .zip(self.posterior_deviations())
            .map(|(gain, eta)| -self.sigma * self.sigma / (gain * eta))
            .collect();
        Ok(error.matmul(&self.loadings)?.broadcast_mul(&row(scale)?)?)
    }

    /// Offset of a latent from the mean of the posterior, in its deviations, `(b, d)`.
    pub(super) fn offset(&self, latent: &Tensor, posterior: &Tensor) -> Result<Tensor> {
        let scale: Vec<f64> = self.posterior_deviations().iter().map(|eta| 1.0 / eta).collect();
        Ok((host::tensor(latent)? - posterior)?.broadcast_mul(&row(scale)?)?)
    }
}

fn row(values: Vec<f64>) -> Result<Tensor> {
    let d = values.len();
    Ok(Tensor::from_vec(values, (1, d), &Device::Cpu)?)
}

#[cfg(test)]
pub(super) mod tests {
    use ndarray::array;
    use vera::Drawn;

    use super::*;

    pub(in super::super) fn small() -> Components {
        // Axes turned by 0.6, 0.8 in the first plane.
        Components {
            mean: array![0.5, -0.5, 0.0, 0.25],
            values: array![2.0, 1.0, 0.3, 0.1],
            axes: array![
                [0.6, -0.8, 0.0, 0.0],
                [0.8, 0.6, 0.0, 0.0],
                [0.0, 0.0, 1.0, 0.0],
                [0.0, 0.0, 0.0, 1.0]
            ],
        }
    }

    #[test]
    fn the_score_is_that_of_the_gaussian() {
        let ppca = Ppca::new(&small(), 2, Convention::Deviation, &Device::Cpu).unwrap();
        assert!((ppca.sigma * ppca.sigma - 0.2).abs() < 1e-12);
        // C has variances 2 and 1 along the axes and 0.2 elsewhere, so that C^-1 (x - mu) is known.
        let x = Tensor::new(&[[0.5 + 0.6, -0.5 + 0.8, 1.0, 0.25]], &Device::Cpu).unwrap();
        let [posterior, score] = ppca.exact(&x).unwrap();
        let score: Vec<f64> = score.flatten_all().unwrap().to_vec1().unwrap();
        for (got, want) in score.iter().zip([0.6 / 2.0, 0.8 / 2.0, 5.0, 0.0]) {
            assert!((got - want).abs() < 1e-9, "{score:?}");
        }
        // m_1 = sqrt(1.8) / 2, m_2 = 0.
        let posterior: Vec<f64> = posterior.flatten_all().unwrap().to_vec1().unwrap();
        assert!((posterior[0] - 1.8_f64.sqrt() / 2.0).abs() < 1e-9 && posterior[1].abs() < 1e-9);
        let deviations = ppca.posterior_deviations();
        assert!((deviations[0] - 0.1_f64.sqrt()).abs() < 1e-12, "{deviations:?}");
        assert!((deviations[1] - 0.2_f64.sqrt()).abs() < 1e-12, "{deviations:?}");
    }

    #[test]
    fn a_single_proposal_at_the_latent_has_the_offset_itself() {
        let ppca = Ppca::new(&small(), 2, Convention::Variance, &Device::Cpu).unwrap();
        assert!((ppca.sigma - 0.2).abs() < 1e-12);
        let mut noise = Seed::new(3).host_noise();
        let moments = chains_core::nn::BatchNormMoments::batch();
        let Drawn { latent, x, .. } = ppca.model.generator().draw(5, moments, &mut noise).unwrap();
        let [posterior, score] = ppca.exact(&x).unwrap();
        let offset = ppca.offset(&latent, &posterior).unwrap();
        // c = (x - g(z0)) / sigma^2 of one proposal at z0.
        let mean = host::tensor(&latent).unwrap().matmul(&ppca.loadings.t().unwrap()).unwrap();
        let c = ((ppca.residual(&x).unwrap() - mean).unwrap() * (1.0 / 0.04)).unwrap();
        let found = ppca.whitened(&(c - score).unwrap()).unwrap();
        let gap = (found - offset).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f64>().unwrap() < 1e-4);
    }
}
