use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, backprop::GradStore};
use chains_core::{ParamStore, Result, Seed};
use vera::{EnergyConfig, GeneratorConfig, ModelConfig, VeraModel};

/// A model with a linear generator of two latent variables.
pub(crate) fn model(energy: EnergyConfig, dtype: DType) -> VeraModel {
    let dim = energy.event().iter().product();
    let config = ModelConfig::of(energy, GeneratorConfig::Linear { latent: 2, dim });
    VeraModel::of_type(config, Seed::new(3), dtype, &Device::Cpu).unwrap()
}

pub(crate) fn gaussian(dim: usize) -> EnergyConfig {
    EnergyConfig::Gaussian { dim }
}

pub(crate) fn mlp(dim: usize, hidden: &[usize], outputs: usize) -> EnergyConfig {
    EnergyConfig::Mlp { dim, hidden: hidden.to_vec(), outputs, weight_norm: false }
}

/// f64 normals, the same for the same label.
pub(crate) fn normal(label: &str, shape: &[usize]) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    chains_core::Noise::normal(&mut noise, &shape.into(), DType::F64, &Device::Cpu).unwrap()
}

pub(crate) fn matrix<const N: usize>(rows: &[[f64; N]]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), N), &Device::Cpu).unwrap()
}

/// `n` numbers, `(n, 1)`, with mean zero and the given variance to rounding.
pub(crate) fn centred(n: usize, variance: f64) -> Tensor {
    let mut x: Vec<f64> = normal("centred", &[n]).to_vec1().unwrap();
    let mean = x.iter().sum::<f64>() / n as f64;
    x.iter_mut().for_each(|x| *x -= mean);
    let found = x.iter().map(|x| x * x).sum::<f64>() / n as f64;
    x.iter_mut().for_each(|x| *x *= (variance / found).sqrt());
    Tensor::from_vec(x, (n, 1), &Device::Cpu).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

pub(crate) fn value(tensor: &Tensor) -> f64 {
    values(tensor)[0]
}

pub(crate) fn variable(store: &ParamStore, name: &str) -> f64 {
    value(&store.get(name).unwrap())
}

/// Sets every number of a variable.
pub(crate) fn fill(store: &ParamStore, name: &str, to: f64) {
    let var = store.get(name).unwrap();
    var.set(&var.zeros_like().unwrap().affine(1.0, to).unwrap()).unwrap();
}

pub(crate) type Snapshot = BTreeMap<String, Vec<f64>>;

pub(crate) fn snapshot(store: &ParamStore) -> Snapshot {
    store.tensors().iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect()
}

/// Names of what is not as it was.
pub(crate) fn changed(store: &ParamStore, before: &Snapshot) -> Vec<String> {
    let now = snapshot(store);
    assert_eq!(now.len(), before.len());
    now.into_iter().filter(|(name, now)| before[name] != *now).map(|(name, _)| name).collect()
}

/// Asserts that everything that changed is of the energy, and that all its weights did.
pub(crate) fn assert_only_the_energy_moved(store: &ParamStore, before: &Snapshot) {
    let changed = changed(store, before);
    assert!(changed.iter().all(|name| name.starts_with("logp_net.")), "{changed:?}");
    for name in before.keys().filter(|name| name.starts_with("logp_net.")) {
        assert!(name.ends_with("bias") || changed.contains(name), "{name} has not moved");
    }
}

/// Asserts that gradients are central differences of `loss`, in up to 12 numbers of every variable of
/// the energy; a variable without a gradient must not matter.
pub(crate) fn assert_differences(
    store: &ParamStore,
    grads: &GradStore,
    loss: impl Fn() -> Result<f64>,
) -> Result<()> {
    const H: f64 = 1e-5;
    let mut largest = 0.0_f64;
    for (name, var) in store.trainable() {
        if !name.starts_with("logp_net.") {
            continue;
        }
        let base = values(&var);
        let got = match grads.get(var.as_tensor()) {
            Some(grad) => values(grad),
            None => vec![0.0; base.len()],
        };
        for at in (0..base.len()).step_by((base.len() / 12).max(1)) {
            let moved = |by: f64| -> Result<f64> {
                let mut moved = base.clone();
                moved[at] += by;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu)?)?;
                loss()
            };
            let want = (moved(H)? - moved(-H)?) / (2.0 * H);
            let near = (got[at] - want).abs() <= 1e-7 * (1.0 + want.abs());
            assert!(near, "{name}[{at}]: {}, differences say {want}", got[at]);
            largest = largest.max(want.abs());
        }
        var.set(&Tensor::from_vec(base, var.shape(), &Device::Cpu)?)?;
    }
    assert!(largest > 1e-3, "nothing to compare: {largest}");
    Ok(())
}

/// The same parameters in f32, to compare the fused path with the composed one.
pub(crate) fn in_f32(model: &VeraModel) -> VeraModel {
    let twin = VeraModel::new(model.config().clone(), Seed::new(0), &Device::Cpu).unwrap();
    for (name, var) in model.store().all() {
        let to = twin.store().get(&name).unwrap();
        to.set(&var.to_dtype(DType::F32).unwrap()).unwrap();
    }
    twin
}

/// Asserts that gradients of two models agree by name.
pub(crate) fn assert_same_gradients(
    (single, f32s): (&VeraModel, &GradStore),
    (double, f64s): (&VeraModel, &GradStore),
) {
    let mut seen = 0;
    for (name, var) in double.store().trainable() {
        let Some(want) = f64s.get(var.as_tensor()).map(values) else { continue };
        let got = single.store().get(&name).unwrap();
        let got = f32s.get(got.as_tensor()).map(values).unwrap();
        let scale = want.iter().fold(1e-3_f64, |scale, x| scale.max(x.abs()));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 1e-4 * scale, "{name}: {got} and {want}");
        }
        seen += 1;
    }
    assert!(seen > 1);
}
