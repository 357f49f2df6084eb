//! The single operations of the tensor layer: `cargo bench -p chains-core`.
//!
//! `forward` is without a graph, `update` is the forward pass and the gradients of every operand.

use std::{hint::black_box, time::Duration};

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{
    Noise, Result, Seed,
    autograd::value_and_weighted_gradients,
    ops::{self, AdamStep, NormActivation, NormOptions},
};
use criterion::{Criterion, criterion_group, criterion_main};

fn normal(label: &str, shape: &[usize]) -> Result<Tensor> {
    Seed::new(0).child(label).host_noise().normal(&shape.into(), DType::F32, &Device::Cpu)
}

/// Times a function of operands, with and without their gradients.
fn both(
    c: &mut Criterion,
    id: &str,
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let operands: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| normal(&format!("operand {i}"), shape))
        .collect::<Result<_>>()?;
    let vars: Vec<Var> =
        operands.iter().map(Var::from_tensor).collect::<candle_core::Result<_>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let seed = normal("gradient", f(&operands)?.dims())?;
    c.bench_function(&format!("{id}/forward"), |b| {
        b.iter(|| black_box(f(&operands).expect("forward")));
    });
    c.bench_function(&format!("{id}/update"), |b| {
        b.iter(|| {
            black_box(value_and_weighted_gradients(|| f(&tracked), &seed).expect("gradients"))
        });
    });
    Ok(())
}

fn affine(c: &mut Criterion) -> Result<()> {
    for [b, inner, out] in [[128, 784, 1200], [1920, 784, 1200], [1920, 1200, 1200]] {
        let id = format!("linear/{b}x{inner}x{out}");
        both(c, &id, &[&[b, inner], &[out, inner], &[out]], |i| {
            ops::linear(&i[0], &i[1], Some(&i[2]))
        })?;
    }
    let x: &[usize] = &[32, 64, 32, 32];
    both(c, "conv2d/64-64/k3s1/32x32/b32", &[x, &[64, 64, 3, 3]], |i| {
        ops::conv2d(&i[0], &i[1], None, 1, 1)
    })?;
    both(c, "conv2d/64-128/k5s2/32x32/b32", &[x, &[128, 64, 5, 5]], |i| {
        ops::conv2d(&i[0], &i[1], None, 2, 2)
    })?;
    both(c, "conv2d/64-64/k1s1/32x32/b32", &[x, &[64, 64, 1, 1]], |i| {
        ops::conv2d(&i[0], &i[1], None, 1, 0)
    })?;
    both(c, "conv2d/160-160/k1x7/17x17/b16", &[&[16, 160, 17, 17], &[160, 160, 1, 7]], |i| {
        ops::conv2d(&i[0], &i[1], None, 1, [0, 3])
    })?;
    let small: &[usize] = &[32, 128, 16, 16];
    both(c, "conv_transpose2d/128-64/k5s2/16x16/b32", &[small, &[128, 64, 5, 5]], |i| {
        ops::conv_transpose2d(&i[0], &i[1], None, 2, 2, 1)
    })?;
    both(c, "depthwise_conv2d/64/k5s1/16x16/b32", &[&[32, 64, 16, 16], &[64, 1, 5, 5]], |i| {
        ops::depthwise_conv2d(&i[0], &i[1], None, 1, 2)
    })
}

fn norms(c: &mut Criterion) -> Result<()> {
    let options = NormOptions { batch: true, activation: NormActivation::Relu };
    let norm = |i: &[Tensor]| {
        ops::normalise(&i[0], &ops::batch_moments(&i[0])?, [&i[1], &i[2]], 1e-4, options)
    };
    both(c, "batch_norm/15x128x1200", &[&[15, 128, 1200], &[15, 1200], &[15, 1200]], norm)?;
    both(c, "batch_norm/32x64x32x32", &[&[1, 32, 64, 32, 32], &[1, 64], &[1, 64]], norm)?;
    both(c, "layer_norm/256x1024", &[&[256, 1024], &[1024], &[1024]], |i| {
        ops::layer_norm(&i[0], Some(&i[1]), Some(&i[2]), 1e-5)
    })
}

fn pointwise(c: &mut Criterion) -> Result<()> {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 8] = [
        ("relu", ops::relu),
        ("leaky_relu", |x| ops::leaky_relu(x, 0.2)),
        ("sigmoid", ops::sigmoid),
        ("silu", ops::silu),
        ("elu", |x| ops::elu(x, 1.0)),
        ("softplus", ops::softplus),
        ("tanh", ops::tanh),
        ("exp", ops::exp),
    ];
    for (name, f) in functions {
        both(c, &format!("{name}/1M"), &[&[1_000_000]], |i| f(&i[0]))?;
    }
    for (name, f) in [
        ("upsample2", ops::upsample2 as Function),
        ("avg_pool2", ops::avg_pool2),
        ("max_pool2", ops::max_pool2),
    ] {
        both(c, &format!("{name}/32x64x32x32"), &[&[32, 64, 32, 32]], |i| f(&i[0]))?;
    }
    let rows: &[usize] = &[1920, 784];
    both(c, "sigmoid_gaussian_log_prob/1920x784", &[rows, rows], |i| {
        ops::sigmoid_gaussian_log_prob(&i[0].detach(), &i[0], &i[1], [0.1, 1e-4])
    })
}

fn rest(c: &mut Criterion) -> Result<()> {
    let zeros = || Var::zeros(5_000_000, DType::F32, &Device::Cpu);
    let (parameter, m, v) = (zeros()?, zeros()?, zeros()?);
    let grad = normal("gradient", &[5_000_000])?;
    let step = AdamStep {
        beta1: 0.9,
        beta2: 0.999,
        step_size: 1e-4,
        correction: 1.0,
        eps: 1e-8,
        nan_as_zero: false,
    };
    c.bench_function("adam_step/5M", |b| {
        b.iter(|| ops::adam_step(&parameter, &grad, &m, &v, step).expect("step"));
    });
    let mut noise = Seed::new(0).child("noise").host_noise();
    let mut out = vec![0.0_f32; 1_000_000];
    c.bench_function("fill_normal/1M", |b| b.iter(|| noise.fill_normal(black_box(&mut out))));
    c.bench_function("fill_uniform/1M", |b| b.iter(|| noise.fill_uniform(black_box(&mut out))));
    Ok(())
}

fn all(c: &mut Criterion) {
    for group in [affine, norms, pointwise, rest] {
        group(c).expect("operands fit");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
