//! Both networks in one directory: what is kept, what is refused, what samples depend on.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Result, Seed, checkpoint};
use serde_json::Value;
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyConfig, EnergyModel, Head, NvaeConfig, NvaeModel,
    Potential, VaebmModel,
};

const CHAINS: ChainConfig = ChainConfig { steps: 3, step_size: 1e-2 };

fn autoencoder(config: &NvaeConfig) -> NvaeModel {
    NvaeModel::new(config, Seed::new(1), &Device::Cpu).unwrap()
}

fn energy(config: EnergyConfig) -> EnergyModel {
    EnergyModel::new(config, Seed::new(2), &Device::Cpu).unwrap()
}

fn small() -> EnergyConfig {
    EnergyConfig::Convolutional(ConvEnergyConfig::mnist(1, 2))
}

fn model() -> VaebmModel {
    let (autoencoder, energy) = (autoencoder(&NvaeConfig::nano()), energy(small()));
    VaebmModel::new(autoencoder, energy, CHAINS, Potential::Official).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// Pictures and noise of all samples.
fn samples(model: &VaebmModel, n: usize, batch: usize, steps: usize) -> [Tensor; 2] {
    let chains = ChainConfig { steps, ..CHAINS };
    let stream = model.sample_stream(n, batch, chains, Seed::new(3)).unwrap();
    let (mut pictures, mut noise) = (Vec::new(), Vec::new());
    for ended in stream {
        let ended = ended.unwrap();
        pictures.push(ended.decoded.mean_image().unwrap());
        noise.push(ended.noise.flat().unwrap());
    }
    [Tensor::cat(&pictures, 0).unwrap(), Tensor::cat(&noise, 0).unwrap()]
}

#[test]
fn a_saved_model_draws_the_same_samples() -> Result<()> {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    model.save(dir.path())?;
    let loaded = VaebmModel::load(dir.path(), &Device::Cpu)?;
    assert_eq!(loaded.config(), model.config());
    let [before, after] = [&model, &loaded].map(|model| samples(model, 3, 2, 3));
    assert_eq!(before.map(|t| bits(&t)), after.map(|t| bits(&t)));
    Ok(())
}

#[test]
fn names_of_both_networks_are_kept_under_their_prefixes() -> Result<()> {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    model.save(dir.path())?;
    let path = dir.path().join(checkpoint::WEIGHTS_FILE);
    let found = checkpoint::load_tensors(&path, &Device::Cpu)?;
    let (autoencoder, energy) = (model.autoencoder().store(), model.energy().store());
    assert_eq!(found.len(), autoencoder.all().len() + energy.all().len());
    for (prefix, store) in [("autoencoder", autoencoder), ("energy", energy)] {
        for (name, tensor) in store.tensors() {
            assert_eq!(bits(&found[&format!("{prefix}.{name}")]), bits(&tensor), "{name}");
        }
    }
    Ok(())
}

#[test]
fn half_a_model_is_rounded_but_for_running_moments() -> Result<()> {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    model.save_half(dir.path())?;
    let loaded = VaebmModel::load(dir.path(), &Device::Cpu)?;
    let stores = |model: &VaebmModel| {
        [model.autoencoder().store().tensors(), model.energy().store().tensors()].concat()
    };
    for ((name, before), (_, after)) in stores(&model).into_iter().zip(stores(&loaded)) {
        let want = match name.contains("running_") {
            true => before,
            false => before.to_dtype(DType::F16)?.to_dtype(DType::F32)?,
        };
        assert_eq!(bits(&after), bits(&want), "{name}");
    }
    Ok(())
}

#[test]
fn chains_of_any_length_begin_at_the_same_noise() {
    let model = model();
    let [_, start] = samples(&model, 3, 2, 0);
    let [pictures, moved] = samples(&model, 3, 2, 1);
    assert_eq!(pictures.dims(), [3, 1, 32, 32]);
    // One step moves a coordinate by 0.1 times a standard normal and half a percent of its gradient;
    // from other noise it would be 1.4 away.
    let away = ((moved - start).unwrap().sqr().unwrap().mean_all().unwrap())
        .to_scalar::<f32>()
        .unwrap()
        .sqrt();
    assert!((away - 0.1).abs() < 0.02, "{away}");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let logistic = Head::LogisticMixture { components: 2 };
    let rgb = NvaeConfig { channels: 3, ..NvaeConfig::nano() };
    let mlp = EnergyConfig::Mlp { dim: 1024, hidden: vec![4] };
    for (config, of_images, field) in [
        (rgb.clone(), small(), "energy"),
        (NvaeConfig::nano(), mlp, "energy"),
        (
            NvaeConfig { head: logistic, ..rgb },
            EnergyConfig::Convolutional(ConvEnergyConfig::mnist(3, 2)),
            "head",
        ),
    ] {
        let (autoencoder, energy) = (autoencoder(&config), energy(of_images));
        let made = VaebmModel::new(autoencoder, energy, CHAINS, Potential::Paper);
        let error = made.err().unwrap();
        assert!(matches!(error, Error::Config { field: got, .. } if got == field), "{error}");
    }
    let chains = ChainConfig { step_size: -1.0, ..CHAINS };
    let (autoencoder, energy) = (autoencoder(&NvaeConfig::nano()), energy(small()));
    assert!(VaebmModel::new(autoencoder, energy, chains, Potential::Paper).is_err());
}

#[test]
fn hostile_directories_are_refused_with_a_reason() -> Result<()> {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    model.save(dir.path())?;
    let path = dir.path().join(checkpoint::CONFIG_FILE);
    let good = fs::read_to_string(&path).unwrap();
    let set = |pointer: &str, value: Value| {
        let mut json: Value = serde_json::from_str(&good).unwrap();
        *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        json.to_string()
    };
    for (pointer, value, words) in [
        ("/method", "nvae".into(), "`nvae`"),
        ("/network/chains/step_size", 0.0.into(), "step_size"),
        ("/network/chains/steps", (-1).into(), "network.chains.steps"),
        ("/network/potential", "third".into(), "network.potential"),
        ("/network/energy/width", (1_u64 << 40).into(), "energy.width"),
        ("/network/energy/width", 0.into(), "energy.width"),
        ("/network/energy/side", 16.into(), "1x32x32"),
        ("/network/energy/kind", "deep".into(), "deep"),
        ("/network/autoencoder/latent", (1_u64 << 40).into(), "latent"),
        ("/network/autoencoder/side", 30.into(), "side"),
        // A network of another size is missing tensors, or has others.
        ("/network/energy/width", 3.into(), "energy.conv1.weight"),
        ("/network/autoencoder/latent", 5.into(), "autoencoder."),
    ] {
        fs::write(&path, set(pointer, value)).unwrap();
        let error = VaebmModel::load(dir.path(), &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains(words), "{pointer}: {error}");
    }
    fs::write(&path, &good).unwrap();
    VaebmModel::load(dir.path(), &Device::Cpu)?;
    let weights = dir.path().join(checkpoint::WEIGHTS_FILE);
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let error = VaebmModel::load(dir.path(), &Device::Cpu).err().unwrap();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    Ok(())
}

#[test]
fn weights_that_are_no_numbers_are_refused() -> Result<()> {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let var = model.energy().store().get("linear.bias").unwrap();
    var.set(&Tensor::new(&[f32::NAN], &Device::Cpu)?)?;
    model.save(dir.path())?;
    let error = VaebmModel::load(dir.path(), &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("energy.") && error.contains("finite"), "{error}");
    Ok(())
}
