//! Score matching of NICE by curvature propagation.

use candle_core::{DType, Device, Shape, Tensor};
use chains_core::{Noise, Result, Seed, density::LogDensity, tangent::Jet};
use vera::{
    EnergyConfig, EnergyNetwork, Nice, VeraModel,
    baselines::{
        EnergyState, Optimisation, curvature_gradients, curvature_update, propagate_curvature,
    },
};

use crate::common::{
    assert_differences, assert_only_the_energy_moved, assert_same_gradients, centred, fill, in_f32,
    model, normal, snapshot, values,
};

fn flow(dim: usize) -> VeraModel {
    model(EnergyConfig::Nice { dim, hidden: 5, layers: 2 }, DType::F64)
}

fn live(model: &VeraModel) -> &Nice {
    model.live_energy().as_nice().unwrap()
}

fn frozen(model: &VeraModel) -> &Nice {
    model.energy().as_nice().unwrap()
}

#[test]
fn the_mean_product_over_signs_is_the_hessians_diagonal() -> Result<()> {
    const N: usize = 100_000;
    let model = flow(6);
    let scales = normal("scales", &[1, 6]).affine(0.3, 0.0)?;
    model.store().get("logp_net.scale.scales").unwrap().set(&scales)?;
    // Weights of PyTorch's size hardly bend: the couplings would not matter.
    for (name, var) in model.store().trainable() {
        if name.starts_with("logp_net.nice") {
            var.set(&(var.as_detached_tensor() * 3.0)?)?;
        }
    }
    let point = normal("point", &[1, 6]);
    let x = point.broadcast_as((N, 6))?.contiguous()?;
    let found = propagate_curvature(frozen(&model), &x, &mut Seed::new(6).host_noise())?;
    let score = values(&frozen(&model).score(&point)?);
    for (got, want) in values(&found.score.narrow(0, N - 1, 1)?).iter().zip(&score) {
        assert!((got - want).abs() < 1e-12, "{got}, {want}");
    }
    let product = found.diagonal()?;
    let mean = product.mean(0)?;
    let variance = (product.sqr()?.mean(0)? - mean.sqr()?)?;
    let mut bends = 0.0_f64;
    for i in 0..6 {
        let mut unit = vec![0.0; 6];
        unit[i] = 1.0;
        let unit = Tensor::from_vec(unit, (1, 6), point.device())?;
        let jet = frozen(&model).log_density(&Jet::along(point.clone(), unit)?, &[])?;
        let want = values(jet.second())[0];
        let (got, error) = (values(&mean)[i], (values(&variance)[i] / N as f64).sqrt());
        assert!((got - want).abs() < 5.0 * error, "{i}: {got}, exactly {want}, error {error}");
        bends =
            bends.max((want + values(&scales)[i / 2 + 3 * (i % 2)].mul_add(2.0, 0.0).exp()).abs());
    }
    // Not the Hessian of the scales alone.
    assert!(bends > 0.1, "{bends}");
    Ok(())
}

/// Every row has another combination of signs; draws take up one bit after another.
struct AllSigns(usize);

impl Noise for AllSigns {
    fn normal(&mut self, _: &Shape, _: DType, _: &Device) -> Result<Tensor> {
        unreachable!("signs come from uniform numbers")
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        let (rows, width) = shape.dims2()?;
        let bit = |row: usize, at: usize| f64::from(u8::from((row >> (self.0 + at)) & 1 == 1));
        let bits: Vec<_> = (0..rows * width).map(|i| bit(i / width, i % width)).collect();
        self.0 += width;
        Ok(Tensor::from_vec(bits, (rows, width), device)?.to_dtype(dtype)?)
    }
}

#[test]
fn over_all_signs_the_mean_is_exact() -> Result<()> {
    // Four signs of the base and two in each of four couplings.
    const N: usize = 1 << 12;
    let model = model(EnergyConfig::Nice { dim: 4, hidden: 2, layers: 1 }, DType::F64);
    for (name, var) in model.store().trainable() {
        let by = if name.ends_with("scales") { 0.3 } else { 1.5 };
        var.set(&(normal(&name, var.dims()) * by)?)?;
    }
    let point = normal("point", &[1, 4]);
    let x = point.broadcast_as((N, 4))?.contiguous()?;
    let mut signs = AllSigns(0);
    let found = propagate_curvature(frozen(&model), &x, &mut signs)?;
    assert_eq!(signs.0, 12);
    let mean = values(&found.diagonal()?.mean(0)?);
    for (i, got) in mean.into_iter().enumerate() {
        let mut unit = vec![0.0; 4];
        unit[i] = 1.0;
        let unit = Tensor::from_vec(unit, (1, 4), point.device())?;
        let jet = frozen(&model).log_density(&Jet::along(point.clone(), unit)?, &[])?;
        let want = values(jet.second())[0];
        assert!((got - want).abs() < 1e-10 * (1.0 + want.abs()), "{i}: {got}, exactly {want}");
    }
    Ok(())
}

#[test]
fn the_optimum_on_gaussian_data_has_its_precision() -> Result<()> {
    // Couplings of zeros: log p = sum_i (s_i - exp(2 s_i) x_i^2 / 2), exactly known.
    let model = flow(2);
    for (name, _) in model.store().trainable() {
        if name.starts_with("logp_net.nice") {
            fill(model.store(), &name, 0.0);
        }
    }
    let x = centred(40, 0.49);
    let x = Tensor::cat(&[&x, &(&x * 2.0)?], 1)?;
    let variances = [0.49, 4.0 * 0.49];
    let var = model.store().get("logp_net.scale.scales").unwrap();
    for shift in [0.0, -0.3, 0.3] {
        let s = variances.map(|variance: f64| shift - 0.5 * variance.ln());
        var.set(&Tensor::new(&[s], var.device())?)?;
        let (loss, grads) = curvature_gradients(live(&model), &x, &mut Seed::new(7).host_noise())?;
        let p = s.map(|s| (2.0 * s).exp());
        let want: f64 = (0..2).map(|i| 0.5 * p[i] * p[i] * variances[i] - p[i]).sum();
        assert!((loss - want).abs() < 1e-12, "{loss}, {want}");
        let got = values(grads.get(var.as_tensor()).unwrap());
        for i in 0..2 {
            let want = 2.0 * p[i] * (p[i] * variances[i] - 1.0);
            assert!((got[i] - want).abs() < 1e-11, "{shift}: {}, {want}", got[i]);
        }
    }
    Ok(())
}

#[test]
fn gradients_are_differences_in_both_precisions() -> Result<()> {
    let (model, x) = (flow(4), normal("x", &[5, 4]));
    let loss = || curvature_gradients(live(&model), &x, &mut Seed::new(8).host_noise());
    let (_, grads) = loss()?;
    assert_differences(model.store(), &grads, || Ok(loss()?.0))?;
    // Signs of f32 and of f64 are other draws.
    let single = in_f32(&model);
    let x32 = x.to_dtype(DType::F32)?;
    let (_, got) = curvature_gradients(live(&single), &x32, &mut Ones)?;
    let (_, want) = curvature_gradients(live(&model), &x, &mut Ones)?;
    assert_same_gradients((&single, &got), (&model, &want));
    Ok(())
}

/// Signs that are all positive.
struct Ones;

impl Noise for Ones {
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(Tensor::ones(shape, dtype, device)?)
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        self.normal(shape, dtype, device)
    }
}

#[test]
fn an_update_moves_the_flow_alone() -> Result<()> {
    let (model, x) = (flow(4), normal("x", &[16, 4]));
    let config = Optimisation::constant(1e-3, 16);
    let mut state = EnergyState::new(&config);
    let before = snapshot(model.store());
    let mut noise = Seed::new(9).host_noise();
    let nice = (model.store(), live(&model));
    curvature_update(nice, &mut state, &config, &x, &mut noise)?;
    assert_only_the_energy_moved(model.store(), &before);
    let before = snapshot(model.store());
    let bad = (x * f64::INFINITY)?;
    assert!(curvature_update(nice, &mut state, &config, &bad, &mut noise).is_err());
    assert_eq!((snapshot(model.store()), state.iteration), (before, 1));
    Ok(())
}
