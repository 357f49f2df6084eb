//! Normalised densities: the flow and the mixture.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    ParamStore, Result, Seed,
    density::{LogDensity, Sample},
};
use vera::{EnergyConfig, EnergyNetwork, Nice};

use crate::{
    common::{Average, Matrix, SEEDS, assert_close, normal, values},
    empty, energy,
};

fn nice(dim: usize, hidden: usize, dtype: DType) -> Result<(ParamStore, Nice)> {
    let store = empty(dtype);
    let net = Nice::new(dim, hidden, 2, store.builder())?;
    // Away from the initial values, at which the map is close to the identity.
    for (name, var) in store.all() {
        let moved = normal(&name, var.shape()).to_dtype(dtype)?;
        var.set(&(var.as_detached_tensor() + (moved * 0.3)?)?)?;
    }
    Ok((store, net))
}

#[test]
fn the_flow_comes_back_from_its_image() -> Result<()> {
    let (_, net) = nice(10, 16, DType::F32)?;
    let x = normal("x", (20, 10)).to_dtype(DType::F32)?;
    let y = net.forward(&x)?;
    assert!((&y - &x)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.1);
    let back = (net.inverse(&y)? - &x)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(back < 1e-4, "{back}");
    Ok(())
}

#[test]
fn the_flow_without_couplings_is_standard_normal() -> Result<()> {
    let store = empty(DType::F64);
    let net = Nice::new(6, 5, 4, store.builder())?;
    for (_, var) in store.all() {
        var.set(&var.zeros_like()?)?;
    }
    let x = normal("x", (5, 6));
    let constant = -3.0 * (2.0 * std::f64::consts::PI).ln();
    let want = ((x.sqr()?.sum(1)? * -0.5)? + constant)?;
    assert_close("log p", &values(&net.log_prob(&x)?), &values(&want), 1e-12);
    // Even coordinates stand first.
    let y = values(&net.forward(&Tensor::new(&[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]], &Device::Cpu)?)?);
    assert_close("order", &y, &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0], 0.0);
    Ok(())
}

#[test]
fn the_flows_couplings_change_odd_even_odd_even_coordinates() -> Result<()> {
    for (k, moves) in [(1, 1), (2, 0), (3, 1), (4, 0)] {
        let store = empty(DType::F64);
        let net = Nice::new(4, 5, 1, store.builder())?;
        for (name, var) in store.all() {
            if !name.starts_with(&format!("nice{k}.")) {
                var.set(&var.zeros_like()?)?;
            }
        }
        let x = normal("x", (3, 4));
        let y = net.inverse(&net.forward(&x)?.affine(1.0, 0.0)?)?;
        assert_close("back", &values(&y), &values(&x), 1e-12);
        let moved = values(&net.forward(&x)?);
        let x = values(&x);
        for row in 0..3 {
            for j in 0..4 {
                let same = (moved[4 * row + j] - x[4 * row + 2 * (j % 2) + j / 2]).abs() < 1e-15;
                assert_eq!(same, j / 2 != moves, "coupling {k}, output {j}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_flows_log_determinant_is_that_of_its_jacobian() -> Result<()> {
    let (store, net) = nice(8, 7, DType::F64)?;
    let (x, h) = (normal("x", (1, 8)), 1e-5);
    let base = values(&x);
    let column = |j: usize| -> Result<Vec<f64>> {
        let at = |by: f64| -> Result<Vec<f64>> {
            let mut x = base.clone();
            x[j] += by;
            Ok(values(&net.forward(&Tensor::from_vec(x, (1, 8), &Device::Cpu)?)?))
        };
        Ok(at(h)?.iter().zip(at(-h)?).map(|(up, down)| (up - down) / (2.0 * h)).collect())
    };
    let columns = (0..8).map(column).collect::<Result<Vec<_>>>()?;
    let jacobian = Matrix::of(8, 8, |i, j| columns[j][i]);
    let want: f64 = values(&store.get("scale.scales").unwrap()).iter().sum();
    assert!(want.abs() > 0.05, "a scale that can be seen: {want}");
    let found = jacobian.inverse().1;
    assert!((found - want).abs() < 1e-8, "{found} for {want}");
    assert!((values(&net.log_determinant()?)[0] - want).abs() < 1e-12);
    Ok(())
}

/// The sum of `exp f` over a grid of the square of this half side, times the area of a cell.
fn mass(net: &impl EnergyNetwork, half: f64, cells: usize) -> Result<f64> {
    let step = 2.0 * half / cells as f64;
    let axis: Vec<f64> = (0..cells).map(|i| (i as f64 + 0.5) * step - half).collect();
    let point = |at: usize| [axis[at / cells], axis[at % cells]];
    let points: Vec<f64> = (0..cells * cells).flat_map(point).collect();
    let points = Tensor::from_vec(points, (cells * cells, 2), &Device::Cpu)?;
    Ok(values(&net.log_density(&points, &[])?.exp()?.sum_all()?)[0] * step * step)
}

#[test]
fn normalised_densities_integrate_to_one() -> Result<()> {
    let found = mass(&nice(2, 8, DType::F64)?.1, 14.0, 400)?;
    assert!((found - 1.0).abs() < 1e-3, "flow: {found}");
    let config = EnergyConfig::Mixture { dim: 2, components: 5 };
    let (store, net) = energy(&config, DType::F64)?;
    for name in ["logstd", "logits"] {
        let var = store.get(name).unwrap();
        var.set(&(normal(name, var.shape()) * 0.4)?)?;
    }
    let found = mass(&net, 14.0, 400)?;
    assert!((found - 1.0).abs() < 1e-3, "mixture: {found}");
    assert!(config.is_normalised());
    Ok(())
}

#[test]
fn the_mixture_is_the_sum_of_its_gaussians() -> Result<()> {
    let (store, net) = energy(&EnergyConfig::Mixture { dim: 2, components: 3 }, DType::F64)?;
    for (name, var) in store.all() {
        var.set(&(normal(&name, var.shape()) * 0.7)?)?;
    }
    let get = |name: &str| values(&store.get(name).unwrap());
    let (mu, logstd, logits) = (get("mu"), get("logstd"), get("logits"));
    let x = normal("x", (4, 2));
    let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let density = |x: &[f64]| -> f64 {
        let one = |j: usize| {
            let axis = |d: usize| {
                let (m, s) = (mu[2 * j + d], logstd[2 * j + d].exp());
                (-0.5 * ((x[d] - m) / s).powi(2)).exp() / (s * std::f64::consts::TAU.sqrt())
            };
            logits[j].exp() / all * axis(0) * axis(1)
        };
        (0..3).map(one).sum::<f64>().ln()
    };
    let want: Vec<f64> = values(&x).chunks(2).map(density).collect();
    assert_close("log p", &values(&net.log_density(&x, &[])?), &want, 1e-12);
    Ok(())
}

#[test]
fn the_flows_own_samples_have_the_entropy_of_the_base() -> Result<()> {
    let (store, net) = nice(6, 7, DType::F64)?;
    let scale: f64 = values(&store.get("scale.scales").unwrap()).iter().sum();
    let want = -3.0 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + scale;
    for seed in SEEDS {
        let x = net.sample(20_000, &mut Seed::new(seed).host_noise())?;
        assert_eq!(x.dims(), [20_000, 6]);
        Average::of(values(&net.log_prob(&x)?)).assert("mean log p", want, 0.0);
    }
    Ok(())
}
