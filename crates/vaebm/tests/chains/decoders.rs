//! Decoders of which everything is known, energies, statistics. All in f64.

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Result, Seed, density::Energy};
use vaebm::{Decoded, Group, JointNoise, NoiseDecoder, NoiseShapes, PixelLaw, PixelRange};

pub(crate) fn tensor<const N: usize, const M: usize>(rows: [[f64; M]; N]) -> Tensor {
    Tensor::new(&rows, &Device::Cpu).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

pub(crate) fn normal(label: &str, shape: &[usize]) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

/// Means `(d,)` and covariances `(d, d)` of rows.
pub(crate) fn moments(rows: &Tensor) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = rows.dims()[0] as f64;
    let mean = rows.mean_keepdim(0).unwrap();
    let centred = rows.broadcast_sub(&mean).unwrap();
    let covariance = (centred.t().unwrap().matmul(&centred).unwrap() / (n - 1.0)).unwrap();
    (values(&mean), covariance.to_vec2().unwrap())
}

/// Holds sample moments against exact ones within `k` standard errors of a Gaussian sample.
pub(crate) fn assert_moments<const D: usize>(
    rows: &Tensor,
    mean: [f64; D],
    covariance: [[f64; D]; D],
    k: f64,
) {
    let n = rows.dims()[0] as f64;
    let (found_mean, found) = moments(rows);
    for i in 0..D {
        let error = (covariance[i][i] / n).sqrt();
        assert!((found_mean[i] - mean[i]).abs() < k * error, "mean {i}: {found_mean:?} {mean:?}");
        for j in 0..D {
            let c = covariance[i][j];
            let error = ((covariance[i][i] * covariance[j][j] + c * c) / n).sqrt();
            let got = found[i][j];
            assert!((got - c).abs() < k * error, "covariance {i} {j}: {got} and not {c}");
        }
    }
}

/// `x = W z + b + s e` in a plane, one latent number: `W = (1, 0.5)`, `b = (0.2, -0.1)`, `s = 0.3`.
pub(crate) struct Linear;

impl Linear {
    pub(crate) const SCALE: f64 = 0.3;
}

impl NoiseDecoder for Linear {
    fn noise_shapes(&self) -> NoiseShapes {
        NoiseShapes { latents: vec![vec![1]], pixels: vec![2] }
    }

    fn dtype(&self) -> DType {
        DType::F64
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn decode(&self, noise: &JointNoise) -> Result<Decoded> {
        noise.check(&self.noise_shapes())?;
        let z = &noise.latents[0];
        let mean = z.matmul(&tensor([[1.0, 0.5]]))?.broadcast_add(&tensor([[0.2, -0.1]]))?;
        let scale = (mean.ones_like()? * Self::SCALE)?;
        let law = PixelLaw { mean, floored_scale: scale.clone(), scale };
        let group = Group { mean: z.zeros_like()?, scale: z.ones_like()?, z: z.clone() };
        Decoded::new(vec![group], law, &noise.pixels, PixelRange::Plain)
    }
}

/// `(x - m)^T A (x - m) / 2` with `A = [[2, 0.3], [0.3, 0.5]]`, `m = (0.5, -1)`.
pub(crate) struct Quadratic;

impl Energy for Quadratic {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&tensor([[0.5, -1.0]]))?;
        let pulled = centred.matmul(&tensor([[2.0, 0.3], [0.3, 0.5]]))?;
        Ok((centred.mul(&pulled)?.sum(1)? * 0.5)?)
    }
}

/// No energy at all.
pub(crate) struct Flat;

impl Energy for Flat {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.flatten_from(1)?.zeros_like()?.sum(1)?)
    }
}

/// `z_1 = e_1`, `z_2 = exp(e_1 / 2) e_2`, pixels of their own.
pub(crate) struct TwoScales;

impl NoiseDecoder for TwoScales {
    fn noise_shapes(&self) -> NoiseShapes {
        NoiseShapes { latents: vec![vec![1], vec![1]], pixels: vec![1] }
    }

    fn dtype(&self) -> DType {
        DType::F64
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn decode(&self, noise: &JointNoise) -> Result<Decoded> {
        let [first, second] = [&noise.latents[0], &noise.latents[1]];
        let zero = first.zeros_like()?;
        let scale = (first * 0.5)?.exp()?;
        let groups = vec![
            Group { mean: zero.clone(), scale: zero.ones_like()?, z: first.clone() },
            Group { mean: zero.clone(), scale: scale.clone(), z: scale.mul(second)? },
        ];
        let one = zero.ones_like()?;
        let law = PixelLaw { mean: zero, scale: one.clone(), floored_scale: one };
        Decoded::new(groups, law, &noise.pixels, PixelRange::Plain)
    }
}

/// Two groups of 2 and 3 numbers and four pixels, curved in everything; `shift` moves the log-scales of
/// the pixels, `spread` their means.
pub(crate) struct Curved {
    pub(crate) shift: f64,
    pub(crate) spread: f64,
}

impl NoiseDecoder for Curved {
    fn noise_shapes(&self) -> NoiseShapes {
        NoiseShapes { latents: vec![vec![2], vec![3]], pixels: vec![4] }
    }

    fn dtype(&self) -> DType {
        DType::F64
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn decode(&self, noise: &JointNoise) -> Result<Decoded> {
        let through = |x: &Tensor, label: &str, width: usize| -> Result<Tensor> {
            Ok(x.matmul(&normal(label, &[x.dims()[1], width]))?.tanh()?)
        };
        let one = noise.latents[0].ones_like()?;
        let z1 = (&noise.latents[0] * 1.01)?;
        let mean = through(&z1, "mean", 3)?;
        let scale = ((through(&z1, "scale", 3)? * 0.5)?.exp()? + 0.01)?;
        let z2 = (&mean + scale.mul(&noise.latents[1])?)?;
        let pixels = (through(&z1, "first", 4)? + through(&z2, "second", 4)?)?;
        let raw_scale = ((through(&z2, "pixel scale", 4)? * 0.4)? + self.shift)?;
        let law = PixelLaw {
            mean: (pixels * self.spread)?,
            scale: (raw_scale.exp()? + 0.01)?,
            floored_scale: (raw_scale.maximum(-2.0)?.exp()? + 0.01)?,
        };
        let groups = vec![
            Group { mean: one.zeros_like()?, scale: (one * 1.01)?, z: z1 },
            Group { mean, scale, z: z2 },
        ];
        Decoded::new(groups, law, &noise.pixels, PixelRange::Unit)
    }
}

/// An energy of images without symmetry.
pub(crate) struct Wavy;

impl Energy for Wavy {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let waves = x.matmul(&normal("waves", &[4, 3]))?.sin()?;
        Ok((waves.sum(1)? + x.sqr()?.sum(1)?)?)
    }
}
