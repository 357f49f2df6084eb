//! The gradient of the whole loss, against differences and across precisions.

use candle_core::{DType, Tensor, Var};
use chains_core::{Result, Seed, autograd::value_and_gradients, nn::SpectralNorms};
use vaebm::{
    Nvae, NvaeConfig, NvaeModel, Pass,
    objective::{LossParts, LossWeights},
};

use crate::{assert_close, model, normal, uniform, values};

const BATCH: usize = 2;

fn config() -> NvaeConfig {
    NvaeConfig { flows: 1, groups: vec![1, 2], side: 16, ..NvaeConfig::nano() }
}

/// The loss with fixed weights; the vectors of the power iteration are what `norms` has.
fn loss(model: &NvaeModel, norms: &mut SpectralNorms, spectral: f64) -> Result<Tensor> {
    let network = model.network();
    let dtype = network.dtype();
    let latents: Vec<Tensor> = config()
        .latent_shapes()
        .iter()
        .enumerate()
        .map(|(k, shape)| {
            let shape = [&[BATCH][..], shape].concat();
            Ok(normal(&format!("z{k}"), shape).to_dtype(dtype)?)
        })
        .collect::<Result<_>>()?;
    let x = uniform("image", (BATCH, 1, 16, 16)).to_dtype(dtype)?;
    let mut pass = Pass::training();
    let inferred = network.infer(&x, &latents, &mut pass)?;
    let mut noise = Seed::new(5).host_noise();
    let parts = LossParts::new(&inferred, &x, 0, &pass, norms, &mut noise)?;
    parts.total(&LossWeights { kl: 0.7, groups: vec![0.5, 1.0, 1.5], spectral })
}

#[test]
fn the_gradient_of_the_loss_is_that_of_differences() -> Result<()> {
    let model = model(&config(), DType::F64)?;
    // Gains without ties, at which their regularisation has a kink.
    for (name, var) in model.store().trainable() {
        if var.rank() == 1 {
            var.set(&(var.as_detached_tensor() + (normal(&name, var.shape()) * 0.1)?)?)?;
        }
    }
    // The power iteration stands still only after long; its own gradient has a test of its own.
    let value = || loss(&model, &mut SpectralNorms::new(), 0.0);
    let (_, grads) = value_and_gradients(value)?;
    let all = model.store().trainable();
    let mut checked = 0;
    for (i, (name, var)) in all.iter().enumerate().filter(|(i, _)| i % 11 == 1) {
        let before = var.as_detached_tensor().copy()?;
        // Along a direction of its own.
        let direction = normal(&format!("along {name}"), var.shape());
        let moved = |by: f64| -> Result<f64> {
            var.set(&(&before + (&direction * by)?)?)?;
            Ok(values(&value()?)[0])
        };
        let want = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
        var.set(&before)?;
        let grad = grads.get(var.as_tensor()).unwrap();
        let got = values(&grad.mul(&direction)?.sum_all()?)[0];
        assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{i} {name}: {got} {want}");
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
    Ok(())
}

#[test]
fn fused_layers_have_the_gradients_of_composed_ones() -> Result<()> {
    let [single, double] = [DType::F32, DType::F64].map(|dtype| model(&config(), dtype).unwrap());
    for (name, var) in single.store().all() {
        let value = var.as_detached_tensor().to_dtype(DType::F64)?;
        double.store().get(&name).unwrap().set(&value)?;
    }
    let gradients =
        |model: &NvaeModel| value_and_gradients(|| loss(model, &mut SpectralNorms::new(), 0.1));
    let ((a, fused), (b, composed)) = (gradients(&single)?, gradients(&double)?);
    let [a, b] = [&a, &b].map(|value| values(value)[0]);
    assert!((a - b).abs() < 1e-4 * b.abs(), "{a} {b}");
    let length = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
    for (name, var) in single.store().trainable() {
        let other = double.store().get(&name).unwrap();
        let got = values(fused.get(var.as_tensor()).unwrap());
        let want = values(composed.get(other.as_tensor()).unwrap());
        let apart: Vec<f64> = got.iter().zip(&want).map(|(a, b)| a - b).collect();
        // What cancels in a batch norm leaves the rounding of the terms.
        let (apart, scale) = (length(&apart), length(&want));
        assert!(apart < 1e-3 * scale + 1e-3, "{name}: {apart} of {scale}");
    }
    Ok(())
}

#[test]
fn a_chain_sees_the_gradient_of_the_whole_decoder() -> Result<()> {
    let [single, double] = [DType::F32, DType::F64].map(|dtype| model(&config(), dtype).unwrap());
    for (name, var) in single.store().all() {
        let value = var.as_detached_tensor().to_dtype(DType::F64)?;
        double.store().get(&name).unwrap().set(&value)?;
    }
    // Folded and fused with a tape here, layer by layer with candle's graph there.
    let noise: Vec<Tensor> = config()
        .latent_shapes()
        .iter()
        .enumerate()
        .map(|(k, shape)| normal(&format!("z{k}"), [&[BATCH][..], shape].concat()))
        .collect();
    let weights = normal("weights", (BATCH, 1, 16, 16));
    let vars = |dtype| -> Result<Vec<Var>> {
        noise.iter().map(|z| Ok(Var::from_tensor(&z.to_dtype(dtype)?)?)).collect()
    };
    let loss = |network: &Nvae, vars: &[Var]| -> Result<Tensor> {
        let latents: Vec<_> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let mean = network.generate(&latents, 1.0, &mut Pass::evaluation())?.pixels.mean()?;
        Ok(mean.mul(&weights.to_dtype(mean.dtype())?)?.sum_all()?)
    };
    let (mine, theirs) = (vars(DType::F32)?, vars(DType::F64)?);
    let fixed = single.fixed()?;
    let (_, got) = value_and_gradients(|| loss(&fixed, &mine))?;
    let want = loss(double.network(), &theirs)?.backward()?;
    for (mine, theirs) in mine.iter().zip(&theirs) {
        let got = values(got.get(mine.as_tensor()).unwrap());
        let want = values(want.get(theirs.as_tensor()).unwrap());
        assert_close("gradient of noise", &got, &want, 1e-4);
    }
    Ok(())
}
