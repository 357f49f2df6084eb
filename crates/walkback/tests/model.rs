//! The model as it is saved and loaded, also from files that others wrote.

mod common;

use std::{fs, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{Error, Result, Seed, checkpoint::save_tensors};
use common::{
    assert_same_bits, bernoulli, bits, gaussian, model_bits, networks, reconstruction, rows,
};
use walkback::{SampleOptions, TrainConfig, TrainState, WalkbackModel, freeze, generate, update};

/// Models of all kinds after an update, with stored moments.
fn trained() -> Result<Vec<WalkbackModel>> {
    let mut all = Vec::new();
    for network in networks(2) {
        for make in [gaussian, reconstruction, bernoulli] {
            let model = common::model(make(network.clone()))?;
            let train = TrainConfig::images();
            let (mut state, mut noise) = (TrainState::new(train.adam), Seed::new(0).host_noise());
            let x = rows(&model, 12, 1)?.round()?;
            update(&model, &mut state, &train, 1e-2, &x, &mut noise)?;
            freeze(&model, &x, 12, &mut noise, &mut |_| Ok(()))?;
            all.push(model);
        }
    }
    Ok(all)
}

fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|source| Error::io("temporary folder", source))
}

fn sample(model: &WalkbackModel) -> Result<Vec<u32>> {
    let mut noise = Seed::new(7).child("sample").host_noise();
    bits(&generate(model, 4, &SampleOptions::of(model), &mut noise, |_, _| Ok(()))?.position)
}

#[test]
fn a_saved_model_generates_the_same_bits() -> Result<()> {
    for model in trained()? {
        let dir = folder()?;
        let path = dir.path().join("model");
        model.save(&path)?;
        let loaded = WalkbackModel::load(&path, &Device::Cpu)?;
        assert_eq!(loaded.config(), model.config());
        assert_same_bits(&model_bits(&loaded)?, &model_bits(&model)?);
        assert_eq!(sample(&loaded)?, sample(&model)?);
        let header = fs::read_to_string(path.join("config.json")).unwrap();
        assert!(header.contains("\"method\": \"walkback\""), "{header}");
    }
    Ok(())
}

#[test]
fn a_model_saved_in_half_precision_is_rounded_but_for_its_moments() -> Result<()> {
    for model in trained()?.into_iter().take(6) {
        let dir = folder()?;
        model.save_half(dir.path())?;
        let loaded = WalkbackModel::load(dir.path(), &Device::Cpu)?;
        for ((name, before), (_, after)) in
            model.store().tensors().into_iter().zip(loaded.store().tensors())
        {
            let want = if name.contains("running_") {
                bits(&before)?
            } else {
                let half = before.to_dtype(candle_core::DType::F16)?;
                bits(&half.to_dtype(candle_core::DType::F32)?)?
            };
            assert_eq!(bits(&after)?, want, "{name}");
        }
        sample(&loaded)?;
    }
    Ok(())
}

/// The message of a load that must be refused as a checkpoint.
fn refusal(dir: &Path) -> String {
    match WalkbackModel::load(dir, &Device::Cpu) {
        Err(error @ Error::Checkpoint { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was loaded", dir.display()),
    }
}

#[test]
fn a_folder_without_a_model_is_an_error_that_names_it() -> Result<()> {
    let dir = folder()?;
    assert!(refusal(dir.path()).contains(&dir.path().display().to_string()));
    Ok(())
}

#[test]
fn hostile_configs_are_refused_with_a_reason() -> Result<()> {
    let model = common::model(gaussian(networks(2)[2].clone()))?;
    let dir = folder()?;
    model.save(dir.path())?;
    let path = dir.path().join("config.json");
    let good = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        good.replacen(from, to, 1)
    };
    for (text, words) in [
        (String::new(), "EOF"),
        ("[]".into(), "config.json"),
        (with("\"walkback\"", "\"infusion\""), "infusion"),
        (with("\"format_version\": 1", "\"format_version\": 2"), "format_version"),
        (with("\"temp_input\"", "\"temp_inputs\""), "temp_inputs"),
        (with("\"steps\": 2", "\"steps\": -2"), "steps"),
        (with("\"kind\": \"conv\"", "\"kind\": \"cone\""), "cone"),
        (with("\"scale\": 0.05", "\"scale\": null"), "network.operator"),
    ] {
        fs::write(&path, text).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(words), "{words}: {message}");
    }
    // Numbers that a network cannot have are errors of the field, whatever they would need.
    let set = |pointer: &str, value: serde_json::Value| {
        let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
        *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        json.to_string()
    };
    for (pointer, value, field) in [
        ("/network/network/steps", 0_u64.into(), "steps"),
        ("/network/network/steps", u64::MAX.into(), "steps"),
        ("/network/operator/scale", (-1.0).into(), "scale"),
        ("/network/network/architecture/channels/0", (1_u64 << 40).into(), "channels"),
        ("/network/network/architecture/hidden/0", (1_u64 << 24).into(), "architecture"),
        ("/network/network/event/0", (1_u64 << 32).into(), "event"),
        ("/network/network/event/1", 9_u64.into(), "channels"),
        ("/network/chain/temperatures/factor", 0.5.into(), "factor"),
        ("/network/chain/start/floor", 0.0.into(), "floor"),
    ] {
        fs::write(&path, set(pointer, value)).unwrap();
        let error = WalkbackModel::load(dir.path(), &Device::Cpu).err().unwrap();
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
    fs::write(&path, &good).unwrap();
    WalkbackModel::load(dir.path(), &Device::Cpu)?;
    Ok(())
}

#[test]
fn loading_lists_every_tensor_that_does_not_fit() -> Result<()> {
    let model = common::model(gaussian(networks(2)[1].clone()))?;
    let dir = folder()?;
    model.save(dir.path())?;
    let path = dir.path().join("model.safetensors");
    let mut tensors = model.store().tensors();
    tensors.retain(|(name, _)| name != "operator.mean_head.bias");
    tensors.push(("operator.stranger".into(), Tensor::new(&[1.0_f32], &Device::Cpu)?));
    for (name, tensor) in &mut tensors {
        if name == "operator.hidden.0.heat.1.running_mean" {
            *tensor = tensor.narrow(0, 0, 3)?.contiguous()?;
        }
    }
    save_tensors(&path, &tensors, None)?;
    let message = refusal(dir.path());
    for name in ["mean_head.bias", "operator.stranger", "hidden.0.heat.1.running_mean"] {
        assert!(message.contains(name), "{message}");
    }
    let bytes = {
        model.save(dir.path())?;
        fs::read(&path).unwrap()
    };
    for cut in [0, 7, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..cut]).unwrap();
        assert!(refusal(dir.path()).contains("model.safetensors"));
    }
    Ok(())
}

#[test]
fn a_seed_gives_the_same_initial_model_and_another_seed_another() -> Result<()> {
    for network in networks(2) {
        let begin = |seed| -> Result<_> {
            let config = gaussian(network.clone());
            model_bits(&WalkbackModel::new(config, Seed::new(seed), &Device::Cpu)?)
        };
        assert_same_bits(&begin(1)?, &begin(1)?);
        assert_ne!(begin(1)?, begin(2)?);
    }
    Ok(())
}
