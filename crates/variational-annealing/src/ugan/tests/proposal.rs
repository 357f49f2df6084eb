//! The mixture of flow and Gaussian.

use chains_core::{ParamStore, density::LogDensity};

use super::*;
use crate::Maf;

/// A flow in f64 with normal weights of this deviation.
fn flow(dim: usize, deviation: f64) -> Maf {
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let flow = Maf::new(&MafConfig::new(dim, 3, &[12, 12]), store.frozen()).unwrap();
    for (name, var) in store.trainable() {
        let mut noise = Seed::new(1).child(&name).host_noise();
        let value = noise.normal(var.shape(), DType::F64, &Device::Cpu).unwrap();
        var.set(&(value * deviation).unwrap()).unwrap();
    }
    flow
}

fn points() -> Tensor {
    Seed::new(2).host_noise().normal(&(40, 2).into(), DType::F64, &Device::Cpu).unwrap()
}

const DEFENCE: Defence = Defence { share: 0.25, widening: 3.0 };

/// The mixture in plain numbers.
fn density(flow: &Maf, about: &Tensor, x: [f64; 2]) -> f64 {
    let point = Tensor::new(&[x], &Device::Cpu).unwrap();
    let own = flow.log_prob(&point).unwrap().to_vec1::<f64>().unwrap()[0].exp();
    let rows = about.to_vec2::<f64>().unwrap();
    let n = rows.len() as f64;
    let mut wide = 1.0;
    for (axis, x) in x.into_iter().enumerate() {
        let mean = rows.iter().map(|row| row[axis]).sum::<f64>() / n;
        let square = rows.iter().map(|row| (row[axis] - mean).powi(2)).sum::<f64>() / n;
        let variance = DEFENCE.widening.powi(2) * square;
        let height = (2.0 * std::f64::consts::PI * variance).sqrt();
        wide *= (-0.5 * (x - mean).powi(2) / variance).exp() / height;
    }
    (0.75 * own + 0.25 * wide).ln()
}

#[test]
fn the_density_is_the_mixture_and_its_gradient_that_of_differences() {
    let (flow, about) = (flow(2, 0.3), points());
    let proposal = Proposal::around(&flow, Some(DEFENCE), &about).unwrap();
    for x in [[0.3, -0.2], [1.5, 2.0], [-6.0, 5.0]] {
        let point = Tensor::new(&[x], &Device::Cpu).unwrap();
        let (value, grad) = proposal.log_density_and_grad(&point, None).unwrap();
        let (value, want) = (value.to_vec1::<f64>().unwrap()[0], density(&flow, &about, x));
        assert!((value - want).abs() < 1e-9, "{x:?}: {value}, {want}");
        let grad = &grad.to_vec2::<f64>().unwrap()[0];
        for (axis, got) in grad.iter().enumerate() {
            let moved = |by: f64| {
                let mut x = x;
                x[axis] += by;
                density(&flow, &about, x)
            };
            let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((got - want).abs() < 1e-6 * (1.0 + want.abs()), "{x:?}: {got}, {want}");
        }
    }
}

#[test]
fn far_from_the_flow_the_gaussian_points_back() {
    // Wider than the flow can be, whose scales are clipped.
    let (flow, about) = (flow(2, 1.0), (points() * 1e5).unwrap());
    let proposal = Proposal::around(&flow, Some(DEFENCE), &about).unwrap();
    for far in [1e7, 1e12, 1e20] {
        let x = Tensor::new(&[[far, -far]], &Device::Cpu).unwrap();
        let (value, grad) = proposal.log_density_and_grad(&x, None).unwrap();
        // -(x - m) / s^2, whatever the flow says.
        let grad = &grad.to_vec2::<f64>().unwrap()[0];
        assert!(
            grad[0] < 0.0 && grad[1] > 0.0 && grad.iter().all(|g| g.is_finite()),
            "{value} {grad:?}"
        );
    }
}

#[test]
fn a_share_of_the_samples_is_the_gaussians() {
    let flow = flow(2, 0.0);
    // The flow is a standard normal, the Gaussian far away and narrow.
    let centre = Tensor::new(&[[50.0, -50.0]], &Device::Cpu).unwrap();
    let about = (points() * 0.01).unwrap().broadcast_add(&centre).unwrap();
    let proposal = Proposal::around(&flow, Some(DEFENCE), &about).unwrap();
    let mut noise = Seed::new(3).host_noise();
    let x = proposal.sample(400, None, &mut noise).unwrap().to_vec2::<f64>().unwrap();
    assert_eq!(x.iter().filter(|row| row[0] > 40.0 && row[1] < -40.0).count(), 100);
    let alone = Proposal::around(&flow, None, &points()).unwrap();
    let x = alone.sample(400, None, &mut noise).unwrap().to_vec2::<f64>().unwrap();
    assert!(x.iter().all(|row| row[0] < 40.0));
}
