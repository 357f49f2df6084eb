//! W14: single operations at the shapes that occur, each its own row.

use std::hint::black_box;

use candle_core::{DType, Tensor, Var};
use chains_core::{
    Seed,
    autograd::value_and_weighted_gradients,
    ops::{self, AdamStep, NormActivation, NormOptions},
};

use super::{Bed, Unit, Workload};
use crate::error::Result;

pub(super) fn workloads() -> Vec<Workload> {
    [products(), convolutions(), others()].into_iter().flatten().collect()
}

fn products() -> Vec<Workload> {
    let row = |id, title, [m, n, k]: [usize; 3], build| {
        let gflop = Some(2e-9 * (m * n * k) as f64);
        Workload { id, title, gflop, repeats: 60, host: false, build }
    };
    let [a, b] = [[256, 1200, 784], [256, 1200, 1200]];
    let [c, d] = [[1200, 784, 256], [4096, 1024, 1024]];
    vec![
        row("W14a", "product 256 x 1200 x 784", a, product::<256, 1200, 784>),
        row("W14b", "product 256 x 1200 x 1200", b, product::<256, 1200, 1200>),
        row("W14c", "product 1200 x 784 x 256", c, product::<1200, 784, 256>),
        row("W14d", "product 4096 x 1024 x 1024", d, product::<4096, 1024, 1024>),
    ]
}

fn convolutions() -> Vec<Workload> {
    let row = |id, title, of: Conv, passes: f64, build| Workload {
        id,
        title,
        gflop: Some(passes * of.gflop()),
        repeats: 30,
        host: false,
        build,
    };
    vec![
        row("W14e1", "conv 3x3 64->64 @32x32 b32 fwd", CONV3, 1.0, |bed| CONV3.unit(bed, false)),
        row("W14e2", "conv 3x3 64->64 @32x32 b32 fwd+bwd", CONV3, 3.0, |bed| CONV3.unit(bed, true)),
        row("W14f1", "conv 5x5 s2 64->128 @32x32 b32 fwd", CONV5, 1.0, |bed| {
            CONV5.unit(bed, false)
        }),
        row("W14f2", "conv 5x5 s2 64->128 @32x32 b32 fwd+bwd", CONV5, 3.0, |bed| {
            CONV5.unit(bed, true)
        }),
        row("W14g1", "conv-transpose 5x5 s2 128->64 @16x16 b32 fwd", UP5, 1.0, |bed| {
            UP5.unit(bed, false)
        }),
        row("W14g2", "conv-transpose, the same, fwd+bwd", UP5, 3.0, |bed| UP5.unit(bed, true)),
        row("W14h1", "depthwise 5x5 c64 @16x16 b32 fwd", DEPTHWISE, 1.0, |bed| {
            DEPTHWISE.unit(bed, false)
        }),
        row("W14h2", "depthwise 5x5 c64 @16x16 b32 fwd+bwd", DEPTHWISE, 3.0, |bed| {
            DEPTHWISE.unit(bed, true)
        }),
    ]
}

fn others() -> Vec<Workload> {
    let row =
        |id, title, build| Workload { id, title, gflop: None, repeats: 60, host: false, build };
    vec![
        row("W14i", "batch norm fwd+bwd (32, 64, 32, 32)", batch_norm),
        row("W14j", "layer norm fwd+bwd (256, 1024)", layer_norm),
        row("W14k", "Adam, 5,000,000 parameters", adam),
        row("W14l", "1,000,000 normal numbers", normals),
        row("W14m", "sigmoid of 1,000,000", |bed| elementwise(bed, |x| Ok(ops::sigmoid(x)?))),
        row("W14n", "SiLU of 1,000,000", |bed| elementwise(bed, |x| Ok(ops::silu(x)?))),
        row("W14o", "softplus of 1,000,000", |bed| elementwise(bed, |x| Ok(ops::softplus(x)?))),
        row("W14p", "exp of 1,000,000", |bed| elementwise(bed, |x| Ok(ops::exp(x)?))),
    ]
}

/// The product of `(M, K)` and `(K, N)`.
fn product<const M: usize, const N: usize, const K: usize>(bed: &Bed) -> Result<Unit> {
    let (a, b) = (bed.values("a", &[M, K])?, bed.values("b", &[N, K])?);
    Ok(Box::new(move || {
        black_box(ops::linear(&a, &b, None)?);
        Ok(())
    }))
}

/// A convolution of 32 images; the backward pass is of input and weight.
#[derive(Clone, Copy)]
struct Conv {
    kind: Kind,
    /// Channels, height and width of an image.
    x: [usize; 3],
    weight: [usize; 4],
    stride: usize,
    padding: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Dense,
    /// With an output padding of 1.
    Transposed,
    Depthwise,
}

const CONV3: Conv =
    Conv { kind: Kind::Dense, x: [64, 32, 32], weight: [64, 64, 3, 3], stride: 1, padding: 1 };
const CONV5: Conv =
    Conv { kind: Kind::Dense, x: [64, 32, 32], weight: [128, 64, 5, 5], stride: 2, padding: 2 };
const UP5: Conv = Conv {
    kind: Kind::Transposed,
    x: [128, 16, 16],
    weight: [128, 64, 5, 5],
    stride: 2,
    padding: 2,
};
const DEPTHWISE: Conv =
    Conv { kind: Kind::Depthwise, x: [64, 16, 16], weight: [64, 1, 5, 5], stride: 1, padding: 2 };

impl Conv {
    /// Of the result.
    fn shape(self) -> [usize; 4] {
        let [_, h, w] = self.x;
        match self.kind {
            Kind::Transposed => [32, self.weight[1], h * self.stride, w * self.stride],
            _ => [32, self.weight[0], h / self.stride, w / self.stride],
        }
    }

    /// Of the forward pass: a multiply-add for each weight of a kernel at each position of the
    /// result, of the input for a transposed one.
    fn gflop(self) -> f64 {
        let [c, h, w] = self.x;
        let [_, a, b, k] = self.weight;
        let positions = match self.kind {
            Kind::Transposed => 32 * c * h * w,
            Kind::Dense | Kind::Depthwise => self.shape().iter().product(),
        };
        2e-9 * (positions * a * b * k) as f64
    }

    fn unit(self, bed: &Bed, backward: bool) -> Result<Unit> {
        let [c, h, w] = self.x;
        let x = Var::from_tensor(&bed.values("x", &[32, c, h, w])?)?;
        let weight = Var::from_tensor(&(bed.values("weight", &self.weight)? * 0.05)?)?;
        let (stride, padding) = (self.stride, self.padding);
        let weights = bed.values("weights", &self.shape())?;
        let forward = move |x: &Tensor, weight: &Tensor| match self.kind {
            Kind::Dense => ops::conv2d(x, weight, None, stride, padding),
            Kind::Transposed => ops::conv_transpose2d(x, weight, None, stride, padding, 1),
            Kind::Depthwise => ops::depthwise_conv2d(x, weight, None, stride, padding),
        };
        Ok(Box::new(move || {
            if backward {
                let y = || forward(&x, &weight);
                black_box(value_and_weighted_gradients(y, &weights)?);
            } else {
                black_box(forward(&x.as_detached_tensor(), &weight.as_detached_tensor())?);
            }
            Ok(())
        }))
    }
}

/// Output and the gradients of input, gain and shift.
fn layer_norm(bed: &Bed) -> Result<Unit> {
    let x = Var::from_tensor(&bed.values("x", &[256, 1024])?)?;
    let gain = Var::from_tensor(&Tensor::ones(1024, x.dtype(), x.device())?)?;
    let shift = Var::from_tensor(&Tensor::zeros(1024, x.dtype(), x.device())?)?;
    let weights = bed.values("weights", x.dims())?;
    Ok(Box::new(move || {
        let y = || ops::layer_norm(&x, Some(&gain), Some(&shift), 1e-5);
        black_box(value_and_weighted_gradients(y, &weights)?);
        Ok(())
    }))
}

/// Output and the gradients of input, gain and shift.
fn batch_norm(bed: &Bed) -> Result<Unit> {
    let x = Var::from_tensor(&bed.values("x", &[1, 32, 64, 32, 32])?)?;
    let gain = Var::from_tensor(&Tensor::ones((1, 64), x.dtype(), x.device())?)?;
    let shift = Var::from_tensor(&Tensor::zeros((1, 64), x.dtype(), x.device())?)?;
    let options = NormOptions { batch: true, activation: NormActivation::None };
    let weights = bed.values("weights", x.dims())?;
    Ok(Box::new(move || {
        let y = || {
            let moments = ops::batch_moments(&x)?;
            ops::normalise(&x, &moments, [&gain, &shift], 1e-5, options)
        };
        black_box(value_and_weighted_gradients(y, &weights)?);
        Ok(())
    }))
}

fn adam(bed: &Bed) -> Result<Unit> {
    let zeros = || -> Result<Var> {
        Ok(Var::from_tensor(&Tensor::zeros(5_000_000, DType::F32, &bed.device)?)?)
    };
    let (parameter, grad) = (zeros()?, bed.values("gradient", &[5_000_000])?);
    let (m, v) = (zeros()?, zeros()?);
    let step = AdamStep {
        beta1: 0.9,
        beta2: 0.999,
        step_size: 1e-4,
        correction: 1.0,
        eps: 1e-8,
        nan_as_zero: false,
    };
    Ok(Box::new(move || Ok(ops::adam_step(&parameter, &grad, &m, &v, step)?)))
}

fn normals(bed: &Bed) -> Result<Unit> {
    if bed.device.is_cpu() {
        let mut noise = Seed::new(0).child("bench").host_noise();
        let mut out = vec![0.0_f32; 1_000_000];
        return Ok(Box::new(move || {
            noise.fill_normal(black_box(&mut out));
            Ok(())
        }));
    }
    let (mut noise, device) = (bed.noise("normals"), bed.device.clone());
    Ok(Box::new(move || {
        black_box(noise.normal(&1_000_000.into(), DType::F32, &device)?);
        Ok(())
    }))
}

fn elementwise(bed: &Bed, f: fn(&Tensor) -> Result<Tensor>) -> Result<Unit> {
    let x = bed.values("x", &[1_000_000])?;
    Ok(Box::new(move || {
        black_box(f(&x)?);
        Ok(())
    }))
}
