//! Masks, round trips, determinants, normalisation, a fit.

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{
    Noise, ParamStore, Seed,
    autograd::value_and_gradients,
    density::value_and_grad,
    optim::{Adam, AdamConfig},
};

use super::*;

/// Normal weights of deviation 0.3 everywhere, so that masks and heads show.
fn random(config: &MafConfig, dtype: DType, seed: u64) -> (Maf, ParamStore) {
    with_weights(config, 0.3, dtype, seed)
}

fn with_weights(config: &MafConfig, deviation: f64, dtype: DType, seed: u64) -> (Maf, ParamStore) {
    let store = ParamStore::new(Seed::new(seed), dtype, &Device::Cpu);
    let flow = Maf::new(config, store.builder()).unwrap();
    for (name, var) in store.trainable() {
        let mut noise = Seed::new(seed).child(&name).host_noise();
        let value = noise.normal(var.shape(), dtype, &Device::Cpu).unwrap();
        var.set(&(value * deviation).unwrap()).unwrap();
    }
    (flow, store)
}

fn normal(seed: u64, [n, d]: [usize; 2], dtype: DType) -> Tensor {
    Seed::new(seed).host_noise().normal(&(n, d).into(), dtype, &Device::Cpu).unwrap()
}

fn largest(x: &Tensor) -> f64 {
    let most = x.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    most.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

#[test]
fn a_configuration_has_the_parameters_of_its_dense_layers() {
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    Maf::new(&MafConfig::new(2, 8, &[512, 512]), store.builder()).unwrap();
    assert_eq!(store.count(), 8 * 266_244);
}

#[test]
fn heads_do_not_read_their_own_or_later_coordinates() {
    for (d, c) in [(1, 0), (2, 0), (3, 0), (62, 0), (1, 3), (2, 13), (5, 2)] {
        for dtype in [DType::F32, DType::F64] {
            let config = MafConfig { context: c, ..MafConfig::new(d, 1, &[40, 70]) };
            let (flow, _) = random(&config, dtype, 1);
            let b = 4;
            let x = normal(2, [d, b], dtype);
            let context = (c > 0).then(|| normal(3, [c, b], dtype));
            for i in 0..d {
                let head = |x: &Tensor| {
                    let heads = flow.blocks()[0].heads(x, context.as_ref())?;
                    Ok(heads.narrow(0, 2 * i, 2)?.sum_all()?)
                };
                let x = Var::from_tensor(&x).unwrap();
                let (_, grads) = value_and_gradients(|| head(x.as_tensor())).unwrap();
                let Some(grad) = grads.get(x.as_tensor()) else {
                    assert!(i == 0, "nothing is read of the coordinates before {i}");
                    continue;
                };
                for j in 0..d {
                    let size = largest(&grad.narrow(0, j, 1).unwrap());
                    // Something is read of every earlier coordinate where widths suffice.
                    assert!(if j >= i { size <= 0.0 } else { size > 0.0 || d > 40 }, "{i} {j}");
                }
            }
        }
    }
}

#[test]
fn a_context_reaches_every_coordinate() {
    let config = MafConfig { context: 3, ..MafConfig::new(2, 1, &[16, 16]) };
    let (flow, _) = random(&config, DType::F64, 0);
    let (x, context) = (normal(1, [2, 5], DType::F64), normal(2, [3, 5], DType::F64));
    let context = Var::from_tensor(&context).unwrap();
    for i in 0..2 {
        let head = || {
            let heads = flow.blocks()[0].heads(&x, Some(context.as_tensor()))?;
            Ok(heads.narrow(0, 2 * i, 2)?.sum_all()?)
        };
        let (_, grads) = value_and_gradients(head).unwrap();
        assert!(largest(grads.get(context.as_tensor()).unwrap()) > 0.0, "coordinate {i}");
    }
}

#[test]
fn sampling_and_evaluation_are_inverse_to_each_other() {
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-10)] {
        for (d, c, k) in [(1, 0, 3), (2, 0, 4), (7, 0, 3), (2, 13, 4)] {
            let config = MafConfig { context: c, ..MafConfig::new(d, k, &[24, 24]) };
            // Scales are exponentials of the weights' sums and stretch rounding.
            let (flow, _) = with_weights(&config, 0.15, dtype, 5);
            let v = normal(1, [50, d], dtype);
            let context = (c > 0).then(|| normal(2, [50, c], dtype));
            let x = flow.from_noise(&v, context.as_ref()).unwrap();
            let (back, _) = flow.to_noise(&x, context.as_ref()).unwrap();
            let error = largest(&(back - &v).unwrap());
            assert!(error < tolerance, "{dtype:?} {d} {c}: {error}");
        }
    }
}

/// The Jacobian of the map to noise at a point, by central differences.
fn jacobian(flow: &Maf, x: &[f64]) -> Vec<Vec<f64>> {
    const H: f64 = 1e-6;
    let at = |j: usize, by: f64| -> Vec<f64> {
        let mut x = x.to_vec();
        x[j] += by;
        let d = x.len();
        let x = Tensor::from_vec(x, (1, d), &Device::Cpu).unwrap();
        flow.to_noise(&x, None).unwrap().0.flatten_all().unwrap().to_vec1().unwrap()
    };
    let columns: Vec<Vec<f64>> = (0..x.len())
        .map(|j| at(j, H).iter().zip(at(j, -H)).map(|(a, b)| (a - b) / (2.0 * H)).collect())
        .collect();
    (0..x.len()).map(|i| columns.iter().map(|column| column[i]).collect()).collect()
}

fn log_determinant(mut a: Vec<Vec<f64>>) -> f64 {
    let d = a.len();
    let mut sum = 0.0;
    for i in 0..d {
        let pivot = (i..d).max_by(|p, q| a[*p][i].abs().total_cmp(&a[*q][i].abs())).unwrap();
        a.swap(i, pivot);
        sum += a[i][i].abs().ln();
        let (above, below) = a.split_at_mut(i + 1);
        for row in below {
            let factor = row[i] / above[i][i];
            row.iter_mut().zip(&above[i]).for_each(|(x, p)| *x -= factor * p);
        }
    }
    sum
}

#[test]
fn the_log_determinant_is_that_of_the_jacobian_which_is_triangular_in_a_block() {
    let x = [0.3, -0.7, 1.1, 0.2];
    for blocks in [1, 3] {
        let (flow, _) = random(&MafConfig::new(4, blocks, &[20, 20]), DType::F64, 2);
        let found = jacobian(&flow, &x);
        if blocks == 1 {
            // Output row 3 - i is coordinate i and depends on coordinates up to i only.
            for (row, values) in found.iter().rev().enumerate() {
                assert!(values[row].abs() > 1e-3);
                assert!(values[row + 1..].iter().all(|v| v.abs() < 1e-8), "{values:?}");
            }
        }
        let point = Tensor::new(&[x], &Device::Cpu).unwrap();
        let want: f64 =
            flow.to_noise(&point, None).unwrap().1.squeeze(0).unwrap().to_scalar().unwrap();
        assert!((log_determinant(found) - want).abs() < 1e-5);
    }
}

#[test]
fn an_even_number_of_reversals_gives_the_old_order_and_none_has_a_determinant() {
    for blocks in [1, 2, 3, 4] {
        // Without weights every block is the identity.
        let (flow, _) = with_weights(&MafConfig::new(3, blocks, &[8]), 0.0, DType::F64, 0);
        let x = Tensor::new(&[[1.0, 2.0, 3.0]], &Device::Cpu).unwrap();
        let (v, determinant) = flow.to_noise(&x, None).unwrap();
        let want = if blocks % 2 == 0 { [1.0, 2.0, 3.0] } else { [3.0, 2.0, 1.0] };
        assert_eq!(v.to_vec2::<f64>().unwrap(), [want]);
        assert_eq!(determinant.to_vec1::<f64>().unwrap(), [0.0]);
        assert_eq!(flow.from_noise(&v, None).unwrap().to_vec2::<f64>().unwrap(), [[1.0, 2.0, 3.0]]);
    }
}

#[test]
fn the_density_integrates_to_one() {
    for seed in 0..3 {
        let (flow, _) = random(&MafConfig::new(2, 3, &[16, 16]), DType::F64, seed);
        let (half, n) = (12.0, 961_usize);
        let step = 2.0 * half / (n - 1) as f64;
        let at = |i: usize| -half + step * i as f64;
        let mut sum = 0.0;
        for i in 0..n {
            let points: Vec<f64> = (0..n).flat_map(|j| [at(i), at(j)]).collect();
            let points = Tensor::from_vec(points, (n, 2), &Device::Cpu).unwrap();
            let density = flow.log_prob(&points).unwrap().exp().unwrap().sum_all().unwrap();
            sum += density.to_scalar::<f64>().unwrap() * step * step;
        }
        assert!((sum - 1.0).abs() < 1e-3, "seed {seed}: {sum}");
    }
}

#[test]
fn every_parameter_that_counts_has_a_gradient_and_the_others_none() {
    let config = MafConfig { context: 2, ..MafConfig::new(3, 2, &[8, 8]) };
    let (flow, store) = random(&config, DType::F32, 0);
    let (x, context) = (normal(1, [32, 3], DType::F32), normal(2, [32, 2], DType::F32));
    let (_, grads) = value_and_gradients(|| flow.log_prob_given(&x, Some(&context))).unwrap();
    for (name, var) in store.trainable() {
        let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert!(largest(grad) > 0.0, "{name}");
        let Some((block, layer)) = name.strip_suffix(".weight").and_then(|name| {
            let mut numbers = name.split('.').filter_map(|part| part.parse::<usize>().ok());
            Some((numbers.next()?, numbers.next()?))
        }) else {
            continue;
        };
        let prefixes = &flow.blocks()[block].layers()[layer].prefixes;
        let outside = prefixes.mask(DType::F32, &Device::Cpu).unwrap().affine(-1.0, 1.0).unwrap();
        assert!(largest(&grad.mul(&outside).unwrap()) <= 0.0, "{name}");
    }
}

#[test]
fn the_gradient_in_the_point_is_that_of_central_differences() {
    let (flow, _) = random(&MafConfig::new(3, 3, &[12, 12]), DType::F64, 4);
    let x = [0.4, -0.2, 0.9];
    let value = |x: [f64; 3]| -> f64 {
        let x = Tensor::new(&[x], &Device::Cpu).unwrap();
        flow.log_prob(&x).unwrap().squeeze(0).unwrap().to_scalar().unwrap()
    };
    let point = Tensor::new(&[x], &Device::Cpu).unwrap();
    let grad = value_and_grad(&point, |x| flow.log_prob(x)).unwrap().1;
    for (j, got) in grad.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().enumerate() {
        let moved = |by: f64| {
            let mut x = x;
            x[j] += by;
            value(x)
        };
        let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((got - want).abs() < 1e-6 * (1.0 + want.abs()), "{j}: {got}, {want}");
    }
}

#[test]
fn a_fit_to_a_correlated_gaussian_reaches_its_entropy() {
    // x1 = z1, x2 = 0.9 z1 + sqrt(1 - 0.81) z2: a determinant of 0.19.
    let entropy = (2.0 * std::f64::consts::PI).ln() + 1.0 + 0.5 * 0.19_f64.ln();
    let draw = |n: usize, noise: &mut dyn Noise| {
        let z = noise.normal(&(n, 2).into(), DType::F32, &Device::Cpu).unwrap();
        let map = Tensor::new(&[[1.0_f32, 0.9], [0.0, 0.19_f32.sqrt()]], &Device::Cpu).unwrap();
        z.matmul(&map).unwrap()
    };
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    let flow = Maf::new(&MafConfig::new(2, 2, &[32, 32]), store.builder()).unwrap();
    let mut adam = Adam::new(AdamConfig::standard());
    let mut noise = Seed::new(1).host_noise();
    for step in 0..600 {
        let x = draw(128, &mut noise);
        let loss = || Ok(flow.log_prob(&x)?.mean_all()?.neg()?);
        let (_, grads) = value_and_gradients(loss).unwrap();
        adam.step(&store, &grads, if step < 400 { 3e-3 } else { 3e-4 }).unwrap();
    }
    let held_out = draw(20_000, &mut noise);
    let nll = flow.log_prob(&held_out).unwrap().mean_all().unwrap().neg().unwrap();
    let nll = f64::from(nll.to_scalar::<f32>().unwrap());
    assert!((nll - entropy).abs() < 0.02, "{nll}, entropy {entropy}");
}

#[test]
fn what_does_not_fit_is_refused() {
    for bad in [
        MafConfig::new(0, 1, &[4]),
        MafConfig::new(2, 1, &[]),
        MafConfig::new(2, 1, &[4, 0]),
        MafConfig { log_scale: [1.0, f64::NAN], ..MafConfig::new(2, 1, &[4]) },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
    let config = MafConfig { context: 2, ..MafConfig::new(3, 1, &[4]) };
    let (flow, _) = random(&config, DType::F32, 0);
    let x = normal(0, [5, 3], DType::F32);
    assert!(flow.log_prob(&x).is_err(), "a context is missing");
    assert!(flow.log_prob_given(&x, Some(&x)).is_err(), "its shape is another");
    assert!(flow.log_prob_given(&x.t().unwrap(), None).is_err());
}
