//! The gradient of the energy's loss, above all of its penalty, which differentiates a gradient.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod common;

use candle_core::{DType, Device, Tensor, backprop::GradStore};
use candle_nn::{Init, VarBuilder};
use chains_core::{ParamStore, Result, Seed, tangent::Signal};
use common::{assert_close, normal, values};
use vera::{
    EnergyConfig, EnergyNet, EnergyNetwork, Labels, MlpEnergy, Terms, TrainConfig, energy_gradients,
};

/// A network of a test, with and without a graph in its parameters.
struct Twice<E> {
    store: ParamStore,
    live: E,
    frozen: E,
}

impl<E: EnergyNetwork> Twice<E> {
    fn new(build: impl Fn(VarBuilder<'static>) -> Result<E>) -> Result<Self> {
        let store = ParamStore::new(Seed::new(11), DType::F64, &Device::Cpu);
        let (live, frozen) = (build(store.builder())?, build(store.frozen())?);
        Ok(Self { store, live, frozen })
    }

    fn gradients(
        &self,
        config: &TrainConfig,
        batch: (&Tensor, &Tensor, Labels<'_>),
    ) -> Result<(GradStore, Terms)> {
        let (mut terms, mut noise) = (Terms::default(), Seed::new(12).host_noise());
        let networks = [&self.live, &self.frozen];
        let grads = energy_gradients(networks, config, batch, &mut terms, &mut noise)?;
        Ok((grads, terms))
    }

    /// The gradient of the penalty alone: samples that are the data take the first terms out.
    fn penalty(&self, x: &Tensor) -> Result<(GradStore, f64)> {
        let (grads, terms) = self.gradients(&config(), (x, x, Labels::None))?;
        assert!((terms.energy_loss - terms.penalty).abs() < 1e-12 * (1.0 + terms.penalty));
        Ok((grads, terms.penalty))
    }

    fn of(&self, grads: &GradStore, name: &str) -> Vec<f64> {
        values(grads.get(&self.store.get(name).unwrap()).unwrap())
    }

    /// `x` moves parameter `at` of a tensor by `by`.
    fn shift(&self, name: &str, at: usize, by: f64) -> Result<()> {
        let var = self.store.get(name).unwrap();
        let mut flat = values(&var);
        flat[at] += by;
        Ok(var.set(&Tensor::from_vec(flat, var.shape(), &Device::Cpu)?)?)
    }

    /// Asserts that gradients are central differences of the reported loss, in 20 parameters.
    fn assert_differences(
        &self,
        what: &str,
        config: &TrainConfig,
        batch: (&Tensor, &Tensor, Labels<'_>),
        h: f64,
    ) -> Result<()> {
        let (grads, _) = self.gradients(config, batch)?;
        let all = self.store.trainable();
        let mut noise = Seed::new(13).child(what).host_noise();
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for i in 0..20 {
            let (name, var) = &all[i % all.len()];
            let at = noise.below(var.elem_count() as u64) as usize;
            let moved = |by: f64| -> Result<f64> {
                self.shift(name, at, by)?;
                let loss = self.gradients(config, batch)?.1.energy_loss;
                self.shift(name, at, -by)?;
                Ok(loss)
            };
            want.push((moved(h)? - moved(-h)?) / (2.0 * h));
            got.push(grads.get(var.as_tensor()).map_or(0.0, |grad| values(grad)[at]));
        }
        assert!(want.iter().any(|slope| slope.abs() > 1e-3), "{what}: {want:?}");
        assert_close(what, &got, &want, 1e-6);
        Ok(())
    }
}

/// The penalty with weight one.
fn config() -> TrainConfig {
    TrainConfig { gradient_penalty: 1.0, ..TrainConfig::density(1.0, [1e-3; 3]) }
}

/// `f = -0.5 x^T A x + b^T x` with a free matrix.
struct Quadratic {
    a: Tensor,
    b: Tensor,
}

impl Quadratic {
    fn new(d: usize, vb: VarBuilder<'static>) -> Result<Self> {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        let a = vb.get_with_hints((d, d), "a", init)?;
        Ok(Self { a, b: vb.get_with_hints((1, d), "b", init)? })
    }
}

impl EnergyNetwork for Quadratic {
    fn logits<S: Signal>(&self, x: &S, _: &[Tensor]) -> Result<S> {
        // x . y = (|x + y|^2 - |x - y|^2) / 4 with y = A x.
        let y = x.linear(&self.a, None)?;
        let square = |s: S| s.square()?.sum_last();
        let sum = square(x.add(&y)?)?;
        let difference = square(x.add(&y.affine(-1.0, 0.0)?)?)?;
        let product = sum.affine(-0.125, 0.0)?.add(&difference.affine(0.125, 0.0)?)?;
        let dims = product.dims().len();
        assert_eq!(dims, 1);
        x.linear(&self.b, None)?.add(&product.reshape_event(&[1])?)
    }
}

/// `f = v^T softplus(U x + b)`.
struct Soft {
    u: Tensor,
    b: Tensor,
    v: Tensor,
}

impl Soft {
    fn new([d, hidden]: [usize; 2], vb: VarBuilder<'static>) -> Result<Self> {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        let u = vb.get_with_hints((hidden, d), "u", init)?;
        let b = vb.get_with_hints(hidden, "b", init)?;
        Ok(Self { u, b, v: vb.get_with_hints((1, hidden), "v", init)? })
    }
}

impl EnergyNetwork for Soft {
    fn logits<S: Signal>(&self, x: &S, _: &[Tensor]) -> Result<S> {
        x.linear(&self.u, Some(&self.b))?.softplus()?.linear(&self.v, None)
    }
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// `mean_b (a b^T)` of rows.
fn mean_outer(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok((a.t()?.matmul(b)? / a.dims()[0] as f64)?)
}

#[test]
fn the_penalty_of_a_quadratic_is_known() -> Result<()> {
    let net = Twice::new(|vb| Quadratic::new(4, vb))?;
    let x = normal("x", (7, 4));
    let (grads, penalty) = net.penalty(&x)?;
    let a = net.store.get("a").unwrap().as_detached_tensor();
    let symmetric = ((&a + a.t()?)? * 0.5)?;
    let b = net.store.get("b").unwrap().as_detached_tensor();
    let r = b.broadcast_sub(&x.matmul(&symmetric)?)?;
    let want = values(&(r.sqr()?.sum(1)?.mean_all()? * 0.5)?)[0];
    assert!((penalty - want).abs() < 1e-12 * want, "{penalty} for {want}");
    assert_close("b", &net.of(&grads, "b"), &values(&r.mean(0)?), 1e-12);
    let slope = ((mean_outer(&r, &x)? + mean_outer(&x, &r)?)? * -0.5)?;
    assert_close("A", &net.of(&grads, "a"), &values(&slope), 1e-12);
    Ok(())
}

#[test]
fn the_penalty_of_one_hidden_layer_with_leaky_units_is_known() -> Result<()> {
    let net = Twice::new(|vb| MlpEnergy::new(5, &[8], 1, false, vb))?;
    let x = normal("x", (6, 5));
    let (grads, _) = net.penalty(&x)?;
    let get = |name: &str| net.store.get(name).unwrap().as_detached_tensor();
    let (u, b, v) = (get("layers.0.weight"), get("layers.0.bias"), get("layers.1.weight"));
    let before = x.matmul(&u.t()?)?.broadcast_add(&b)?;
    let slope = (before.ge(0.0)?.to_dtype(DType::F64)? * 0.8)?.affine(1.0, 0.2)?;
    let back = slope.broadcast_mul(&v)?;
    let s = back.matmul(&u)?;
    let along = s.matmul(&u.t()?)?;
    let want = slope.mul(&along)?.mean(0)?;
    assert_close("v", &net.of(&grads, "layers.1.weight"), &values(&want), 1e-12);
    let want = mean_outer(&back, &s)?;
    assert_close("U", &net.of(&grads, "layers.0.weight"), &values(&want), 1e-12);
    // The biases are in no derivative of a piecewise linear function.
    for name in ["layers.0.bias", "layers.1.bias"] {
        let grad = grads.get(&net.store.get(name).unwrap()).map_or(vec![], values);
        assert!(grad.iter().all(|slope| slope.abs() < 1e-15), "{name}: {grad:?}");
    }
    Ok(())
}

#[test]
fn the_penalty_of_one_hidden_layer_with_softplus_is_known() -> Result<()> {
    let net = Twice::new(|vb| Soft::new([5, 8], vb))?;
    let x = normal("x", (6, 5));
    let (grads, _) = net.penalty(&x)?;
    let get = |name: &str| net.store.get(name).unwrap().as_detached_tensor();
    let (u, b, v) = (get("u"), get("b"), get("v"));
    let first = sigmoid(&x.matmul(&u.t()?)?.broadcast_add(&b)?)?;
    let second = (&first - first.sqr()?)?;
    let back = first.broadcast_mul(&v)?;
    let s = back.matmul(&u)?;
    let along = s.matmul(&u.t()?)?;
    let curved = second.broadcast_mul(&v)?.mul(&along)?;
    assert_close("v", &net.of(&grads, "v"), &values(&first.mul(&along)?.mean(0)?), 1e-12);
    let want = (mean_outer(&back, &s)? + mean_outer(&curved, &x)?)?;
    assert_close("U", &net.of(&grads, "u"), &values(&want), 1e-12);
    assert_close("b", &net.of(&grads, "b"), &values(&curved.mean(0)?), 1e-12);
    Ok(())
}

#[test]
fn the_score_of_classes_is_the_mean_of_theirs_and_the_penalty_sees_it() -> Result<()> {
    // Linear logits: s = W^T softmax(W x + b), R = 0.5 |s|^2, by hand for W and b.
    let net = Twice::new(|vb| MlpEnergy::new(3, &[], 4, false, vb))?;
    let x = normal("x", (5, 3));
    let (grads, penalty) = net.penalty(&x)?;
    let get = |name: &str| net.store.get(name).unwrap().as_detached_tensor();
    let (w, b) = (get("layers.0.weight"), get("layers.0.bias"));
    let p = candle_nn::ops::softmax(&x.matmul(&w.t()?)?.broadcast_add(&b)?, 1)?;
    let s = p.matmul(&w)?;
    let want = values(&(s.sqr()?.sum(1)?.mean_all()? * 0.5)?)[0];
    assert!((penalty - want).abs() < 1e-12, "{penalty} for {want}");
    let along = s.matmul(&w.t()?)?;
    let mean = p.mul(&along)?.sum_keepdim(1)?;
    let classes = p.mul(&along.broadcast_sub(&mean)?)?;
    assert_close("b", &net.of(&grads, "layers.0.bias"), &values(&classes.mean(0)?), 1e-12);
    let want = (mean_outer(&p, &s)? + mean_outer(&classes, &x)?)?;
    assert_close("W", &net.of(&grads, "layers.0.weight"), &values(&want), 1e-12);
    Ok(())
}

#[test]
fn the_weight_and_the_half_scale_loss_and_gradient() -> Result<()> {
    let net = Twice::new(|vb| Soft::new([3, 4], vb))?;
    let x = normal("x", (6, 3));
    let (grads, penalty) = net.penalty(&x)?;
    for (gamma, half, scale) in [(0.1, true, 0.1), (0.1, false, 0.2), (2.0, true, 2.0)] {
        let config = TrainConfig { gradient_penalty: gamma, penalty_half: half, ..config() };
        let (scaled, terms) = net.gradients(&config, (&x, &x, Labels::None))?;
        assert!((terms.energy_loss - scale * penalty).abs() < 1e-12, "{terms:?}");
        assert!((terms.penalty - penalty).abs() < 1e-12, "reported without its weight");
        let want: Vec<f64> = net.of(&grads, "u").iter().map(|slope| slope * scale).collect();
        assert_close("U", &net.of(&scaled, "u"), &want, 1e-12);
    }
    let none = TrainConfig { gradient_penalty: 0.0, ..config() };
    let (_, terms) = net.gradients(&none, (&x, &x, Labels::None))?;
    assert_eq!((terms.penalty, terms.energy_loss), (0.0, 0.0));
    Ok(())
}

#[test]
fn the_loss_is_the_sum_of_its_terms() -> Result<()> {
    let net = Twice::new(|vb| MlpEnergy::new(3, &[6], 4, false, vb))?;
    let config = TrainConfig {
        gradient_penalty: 0.3,
        data_control: 0.2,
        sample_control: 0.7,
        class_weight: 1.5,
        class_entropy_weight: 0.4,
        ..config()
    };
    let (x, samples, other) = (normal("x", (5, 3)), normal("samples", (4, 3)), normal("l", (2, 3)));
    let y = Tensor::new(&[3_u32, 0], &Device::Cpu)?;
    let terms = net.gradients(&config, (&x, &samples, Labels::Other(&other, &y)))?.1;
    let f = |x: &Tensor| -> Result<Tensor> { net.frozen.log_density(x, &[]) };
    let mean = |t: Tensor| -> Result<f64> { Ok(values(&t.mean_all()?)[0]) };
    let (data, generated) = (mean(f(&x)?)?, mean(f(&samples)?)?);
    assert_close("f", &[terms.data, terms.samples], &[data, generated], 1e-12);
    let p = |x: &Tensor| -> Result<Tensor> {
        Ok(candle_nn::ops::softmax(&net.frozen.logits(x, &[])?, 1)?)
    };
    let on_batch = p(&x)?;
    let entropy = -mean((on_batch.mul(&on_batch.log()?)?.sum(1))?)?;
    let of_labels = p(&other)?.to_vec2::<f64>()?;
    let cross = -(of_labels[0][3].ln() + of_labels[1][0].ln()) / 2.0;
    let found = [terms.class_entropy, terms.classification];
    assert_close("classes", &found, &[entropy, cross], 1e-12);
    let squares = 0.2 * mean(f(&x)?.sqr()?)? + 0.7 * mean(f(&samples)?.sqr()?)?;
    let want = generated - data + 0.3 * terms.penalty + squares + 0.4 * entropy + 1.5 * cross;
    assert!((terms.energy_loss - want).abs() < 1e-12, "{terms:?}, expected {want}");
    // Where everything is labelled the entropy of predictions counts for nothing.
    let y = Tensor::new(&[3_u32, 0, 1, 1, 2], &Device::Cpu)?;
    let same = net.gradients(&config, (&x, &samples, Labels::Same(&y)))?.1;
    assert_eq!(same.class_entropy, 0.0);
    let rows = on_batch.to_vec2::<f64>()?;
    let cross: f64 =
        [3, 0, 1, 1, 2].iter().zip(rows).map(|(y, row): (&usize, _)| -row[*y].ln()).sum();
    assert!((same.classification - cross / 5.0).abs() < 1e-12);
    Ok(())
}

/// Every term at once against differences.
fn assert_network(config: &EnergyConfig, rows: usize, h: f64) -> Result<()> {
    let net = Twice::new(|vb| EnergyNet::new(config, vb))?;
    let shape = [&[rows], config.event().as_slice()].concat();
    let (x, samples) = (normal("x", shape.clone()), normal("samples", shape.clone()));
    let (x, samples, other) = ((x * 0.7)?, (samples * 0.8)?, (normal("other", shape) * 0.9)?);
    let y = (0..rows).map(|i| (i % config.outputs()) as u32).collect::<Vec<_>>();
    let y = Tensor::from_vec(y, rows, &Device::Cpu)?;
    let labels = match config.outputs() {
        1 => Labels::None,
        _ => Labels::Other(&other, &y),
    };
    let train = TrainConfig { class_weight: 0.7, class_entropy_weight: 0.3, ..self::config() };
    net.assert_differences(&format!("{config:?}"), &train, (&x, &samples, labels), h)
}

#[test]
fn gradients_of_small_networks_are_differences_of_the_loss() -> Result<()> {
    for (outputs, weight_norm) in [(1, false), (1, true), (5, false), (5, true)] {
        let mlp = EnergyConfig::Mlp { dim: 4, hidden: vec![9, 7], outputs, weight_norm };
        assert_network(&mlp, 4, 1e-5)?;
    }
    assert_network(&EnergyConfig::Gaussian { dim: 3 }, 5, 1e-5)?;
    assert_network(&EnergyConfig::Mixture { dim: 3, components: 4 }, 5, 1e-5)?;
    assert_network(&EnergyConfig::Nice { dim: 6, hidden: 5, layers: 2 }, 4, 1e-5)
}

/// Images have so many leaky units that a step of 1e-5 crosses kinks, where the penalty jumps.
const FINE: f64 = 1e-7;

#[test]
fn gradients_of_the_convolutional_network_are_differences_of_the_loss() -> Result<()> {
    for outputs in [1, 3] {
        let net = EnergyConfig::Dcgan { side: 16, channels: 2, width: 3, outputs };
        assert_network(&net, 2, FINE)?;
    }
    Ok(())
}

#[test]
fn gradients_of_the_wide_network_with_dropout_are_differences_of_the_loss() -> Result<()> {
    let net =
        EnergyConfig::WideResNet { depth: 10, widening: 1, channels: 3, outputs: 4, dropout: 0.3 };
    assert_network(&net, 1, FINE)
}

#[test]
fn gradients_of_the_residual_network_are_differences_of_the_loss() -> Result<()> {
    assert_network(&EnergyConfig::ResNet { channels: 3, width: 4, outputs: 2 }, 1, FINE)
}

#[test]
fn fused_gradients_are_those_in_double_precision() -> Result<()> {
    let configs = [
        EnergyConfig::Mlp { dim: 6, hidden: vec![12, 9], outputs: 5, weight_norm: true },
        EnergyConfig::Mixture { dim: 6, components: 4 },
        EnergyConfig::Nice { dim: 6, hidden: 5, layers: 2 },
        EnergyConfig::Dcgan { side: 16, channels: 2, width: 4, outputs: 3 },
        EnergyConfig::ResNet { channels: 1, width: 4, outputs: 1 },
        EnergyConfig::WideResNet { depth: 10, widening: 1, channels: 1, outputs: 3, dropout: 0.3 },
    ];
    for config in configs {
        let wide = Twice::new(|vb| EnergyNet::new(&config, vb))?;
        let store = ParamStore::new(Seed::new(11), DType::F32, &Device::Cpu);
        let networks =
            [EnergyNet::new(&config, store.builder())?, EnergyNet::new(&config, store.frozen())?];
        let narrow = Twice { store, live: &networks[0], frozen: &networks[1] };
        for (name, var) in narrow.store.all() {
            // Both begin with the same numbers.
            let value = var.as_detached_tensor().to_dtype(DType::F64)?;
            wide.store.get(&name).unwrap().set(&value)?;
        }
        let shape = [&[3], config.event().as_slice()].concat();
        let (x, samples) = (normal("x", shape.clone()), normal("samples", shape));
        let (low, low_samples) = (x.to_dtype(DType::F32)?, samples.to_dtype(DType::F32)?);
        let (x, samples) = (low.to_dtype(DType::F64)?, low_samples.to_dtype(DType::F64)?);
        let train = self::config();
        let (want, want_terms) = wide.gradients(&train, (&x, &samples, Labels::None))?;
        let (got, terms) = narrow.gradients(&train, (&low, &low_samples, Labels::None))?;
        let scale = 1.0 + want_terms.energy_loss.abs();
        assert!((terms.energy_loss - want_terms.energy_loss).abs() < 1e-4 * scale);
        let all = wide.store.trainable();
        let of = |grads: &GradStore, store: &ParamStore, name: &str| {
            grads.get(&store.get(name).unwrap()).map(values)
        };
        let largest = |list: &[f64]| list.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let wanted = all.iter().filter_map(|(name, _)| of(&want, &wide.store, name));
        let scale = wanted.map(|list| largest(&list)).fold(0.0, f64::max);
        for (name, _) in all {
            match (of(&got, &narrow.store, &name), of(&want, &wide.store, &name)) {
                (Some(got), Some(want)) => {
                    let apart: Vec<f64> = got.iter().zip(&want).map(|(g, w)| g - w).collect();
                    let (apart, own) = (largest(&apart), largest(&want));
                    let near = apart <= 1e-4 * own + 1e-6 * scale;
                    assert!(near, "{config:?}, {name}: {apart} apart of {own} and {scale}");
                }
                (got, want) => assert_eq!(got.is_some(), want.is_some(), "{name}"),
            }
        }
    }
    Ok(())
}
