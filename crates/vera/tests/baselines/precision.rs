//! The fused path of f32 takes the steps of the composed one of f64.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape, Tensor};
use chains_core::{HostNoise, Noise, Result, Seed, optim::AdamConfig, schedule::MultiStep};
use vera::{
    EnergyConfig, GeneratorConfig, Labels, ModelConfig, VeraModel,
    baselines::{
        CoopConfig, CoopState, EnergyLoss, EnergyState, MegConfig, MegState, Optimisation,
        PcdConfig, PcdState, VatConfig, coop_update, likelihood_update, meg_update, pcd_update,
        supervised_update, vat_update,
    },
};

use crate::common::{in_f32, mlp, normal, snapshot};

/// The same numbers in every type.
struct Rounded(HostNoise);

impl Noise for Rounded {
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(self.0.normal(shape, DType::F32, device)?.to_dtype(dtype)?)
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(self.0.uniform(shape, DType::F32, device)?.to_dtype(dtype)?)
    }
}

/// Steps nearly in proportion to gradients: rounding cannot turn one around.
const ADAM: AdamConfig = AdamConfig { beta1: 0.0, beta2: 0.9, eps: 1.0 };

fn optimisation() -> Optimisation {
    Optimisation { rate: MultiStep::constant(0.1), adam: ADAM, batch_size: 12 }
}

/// Data, labelled examples and classes in the type of a model.
fn data(model: &VeraModel) -> (Tensor, Tensor, Tensor) {
    let dtype = model.log_eta().dtype();
    let rounded = |t: Tensor| t.to_dtype(DType::F32).unwrap().to_dtype(dtype).unwrap();
    let classes = Tensor::new(&[2_u32, 0, 1], &Device::Cpu).unwrap();
    (rounded(normal("x", &[12, 2])), rounded(normal("l", &[3, 2])), classes)
}

/// Runs a training on both twins and compares where it ends.
fn assert_same_steps(
    energy: EnergyConfig,
    train: impl Fn(&VeraModel, &mut Rounded) -> Result<()>,
) -> Result<()> {
    let config = ModelConfig::of(energy, GeneratorConfig::toy(6));
    let double = VeraModel::of_type(config, Seed::new(3), DType::F64, &Device::Cpu)?;
    let single = in_f32(&double);
    let begun = snapshot(double.store());
    for model in [&double, &single] {
        train(model, &mut Rounded(Seed::new(1).host_noise()))?;
    }
    let (got, want) = (snapshot(single.store()), snapshot(double.store()));
    let mut furthest = 0.0_f64;
    for (name, want) in &want {
        for ((got, want), begun) in got[name].iter().zip(want).zip(&begun[name]) {
            assert!((got - want).abs() < 2e-6 * (1.0 + want.abs()), "{name}: {got} and {want}");
            furthest = furthest.max((want - begun).abs());
        }
    }
    assert!(furthest > 1e-3, "nothing moved: {furthest}");
    Ok(())
}

#[test]
fn chains_and_their_energy() -> Result<()> {
    let config = PcdConfig {
        buffer: 50,
        loss: EnergyLoss { gradient_penalty: 0.1, ..EnergyLoss::classes(1.0, 1.0) },
        ..PcdConfig::matched(0.1, 3, optimisation())
    };
    assert_same_steps(mlp(2, &[8, 8], 3), |model, noise| {
        let (x, labelled, classes) = data(model);
        let mut state = PcdState::new(&config, &[2], model.store(), noise)?;
        let batch = (&x, Labels::Other(&labelled, &classes));
        for _ in 0..3 {
            pcd_update((&**model).into(), &mut state, &config, batch, noise)?;
        }
        Ok(())
    })
}

#[test]
fn generators_with_batch_norms() -> Result<()> {
    let coop = CoopConfig {
        latent_steps: 2,
        energy_rate: MultiStep::constant(0.1),
        generator_rate: MultiStep::constant(0.1),
        adam: ADAM,
        ..CoopConfig::nice()
    };
    assert_same_steps(mlp(2, &[8, 8], 1), |model, noise| {
        let (x, ..) = data(model);
        let mut state = CoopState::new(&coop);
        for _ in 0..3 {
            coop_update(model, &mut state, &coop, (&x, Labels::None), noise)?;
        }
        Ok(())
    })?;
    let meg = MegConfig { hidden: vec![6, 6], adam: ADAM, ..MegConfig::density(1.0, [0.1; 2]) };
    assert_same_steps(mlp(2, &[8, 8], 1), |model, noise| {
        let (x, ..) = data(model);
        let state = MegState::new(&meg, model, 2, Seed::new(5))?;
        // Initial values of one type are not those of another.
        let (tensors, steps) = state.tensors();
        let begun = |(name, tensor): (String, Tensor)| {
            let of_name = normal(&name, tensor.dims()).affine(0.5, 0.0).unwrap();
            (name, of_name.to_dtype(DType::F32).unwrap())
        };
        let begun: BTreeMap<_, _> = tensors.into_iter().map(begun).collect();
        let mut state = state.restore(&meg, (&begun, steps), 0, model)?;
        for _ in 0..3 {
            meg_update(model, &mut state, &meg, (&x, Labels::None), noise)?;
        }
        Ok(())
    })
}

#[test]
fn classifiers() -> Result<()> {
    // In f32 the direction is that of a gradient to about 1e-5 of its length, which is short here.
    let vat = VatConfig {
        optimisation: optimisation(),
        class_weight: 2.0,
        ..VatConfig::tabular(0.1, 0.1, 1.0, vec![])
    };
    assert_same_steps(mlp(2, &[8, 8], 3), |model, noise| {
        let (x, labelled, classes) = data(model);
        let mut state = EnergyState::new(&vat.optimisation);
        let batch = (&x, Labels::Other(&labelled, &classes));
        for _ in 0..3 {
            vat_update((&**model).into(), &mut state, &vat, batch, noise)?;
        }
        Ok(())
    })?;
    let optimisation = optimisation();
    assert_same_steps(mlp(2, &[8, 8], 3), |model, noise| {
        let (_, labelled, classes) = data(model);
        let mut state = EnergyState::new(&optimisation);
        for _ in 0..3 {
            let batch = (&labelled, &classes);
            supervised_update((&**model).into(), &mut state, &optimisation, batch, noise)?;
        }
        Ok(())
    })
}

#[test]
fn likelihoods() -> Result<()> {
    let optimisation = optimisation();
    let nice = EnergyConfig::Nice { dim: 2, hidden: 5, layers: 2 };
    for energy in [nice, EnergyConfig::Mixture { dim: 2, components: 3 }] {
        assert_same_steps(energy, |model, noise| {
            let (x, ..) = data(model);
            let mut state = EnergyState::new(&optimisation);
            for _ in 0..3 {
                likelihood_update((&**model).into(), &mut state, &optimisation, &x, noise)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
