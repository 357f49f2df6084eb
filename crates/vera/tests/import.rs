//! Published checkpoints: a table of names that loses nothing, and files made up after it.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, Seed};
use common::{normal, snapshot, values};
use vera::{
    EnergyConfig, EnergyNetwork, GeneratorConfig, ModelConfig, VeraModel, config::Output,
    published_name, published_tensors, read_published,
};

fn model(seed: u64) -> Result<VeraModel> {
    let config = ModelConfig::of(
        EnergyConfig::WideResNet { depth: 10, widening: 1, channels: 3, outputs: 7, dropout: 0.3 },
        GeneratorConfig::ResNet { latent: 6, channels: 3, width: 4, output: Output::Tanh },
    );
    VeraModel::new(config, Seed::new(seed), &Device::Cpu)
}

/// How a release writes the name of a tensor of ours.
fn released(name: &str) -> String {
    if name.starts_with("logp_net.") {
        return format!("model.logp_net.{name}");
    }
    format!("model.g.{name}")
}

/// The name in a joint model trained by chains.
fn joint(name: &str) -> Option<String> {
    let inner = name.strip_prefix("logp_net.")?;
    Some(match inner.strip_prefix("linear.") {
        Some(leaf) => format!("class_output.{leaf}"),
        None => format!("f.{inner}"),
    })
}

/// Other values than any model has, of the shapes of this one.
fn foreign(model: &VeraModel, rename: impl Fn(&str) -> Option<String>) -> BTreeMap<String, Tensor> {
    let all = model.store().all().into_iter();
    let one = |(name, var): (String, candle_core::Var)| {
        let value = normal(&name, var.shape()).to_dtype(DType::F32).unwrap();
        Some((rename(&name)?, value))
    };
    all.filter_map(one).collect()
}

#[test]
fn every_tensor_of_the_models_has_one_published_name_and_back() -> Result<()> {
    let model = model(0)?;
    let ours: BTreeSet<_> = model.store().all().into_iter().map(|(name, _)| name).collect();
    let flat = |name: &str| name.to_owned();
    let wrapped = |name: &str| format!("model.{name}");
    for write in [&released as &dyn Fn(&str) -> String, &flat, &wrapped] {
        let published: BTreeSet<_> = ours.iter().map(|name| write(name)).collect();
        assert_eq!(published.len(), ours.len());
        let back: BTreeSet<_> = published.iter().filter_map(|name| published_name(name)).collect();
        assert_eq!(back, ours);
        for name in &ours {
            assert_eq!(published_name(&write(name)).as_ref(), Some(name));
        }
    }
    let energy: BTreeSet<_> =
        ours.iter().filter(|name| name.starts_with("logp_net.")).cloned().collect();
    for outer in ["", "model_state_dict."] {
        let published = ours.iter().filter_map(|name| joint(name));
        let back = published.filter_map(|name| published_name(&format!("{outer}{name}")));
        assert_eq!(back.collect::<BTreeSet<_>>(), energy);
    }
    Ok(())
}

#[test]
fn a_released_checkpoint_loads_and_its_counters_are_dropped() -> Result<()> {
    let model = model(0)?;
    let mut found = foreign(&model, |name| Some(released(name)));
    for norm in ["block1.bn1", "block3.bn2", "output_bn"] {
        let counter = Tensor::new(7_i64, &Device::Cpu)?;
        found.insert(format!("model.g.g.{norm}.num_batches_tracked"), counter);
    }
    model.assign_published(Path::new("released.pt"), &found)?;
    for (name, now) in snapshot(model.store()) {
        assert_eq!(now, values(&found[&released(&name)]), "{name}");
    }
    Ok(())
}

#[test]
fn a_joint_model_gives_the_energy_and_leaves_the_generator() -> Result<()> {
    let model = model(0)?;
    let before = snapshot(model.store());
    let mut found = foreign(&model, joint);
    let other = |shape: &[usize]| normal("other", shape).to_dtype(DType::F32);
    found.insert("f.linear.weight".into(), other(&[10, 64])?);
    found.insert("f.linear.bias".into(), other(&[10])?);
    found.insert("energy_output.weight".into(), other(&[1, 64])?);
    found.insert("energy_output.bias".into(), other(&[1])?);
    found.insert("replay_buffer".into(), other(&[2, 3, 32, 32])?);
    model.assign_published_energy(Path::new("joint.pt"), &found)?;
    for (name, now) in snapshot(model.store()) {
        match joint(&name) {
            Some(published) => assert_eq!(now, values(&found[&published]), "{name}"),
            None => assert_eq!(now, before[&name], "{name}"),
        }
    }
    // What is loaded is what the network computes with.
    let x = normal("x", (1, 3, 32, 32)).to_dtype(DType::F32)?;
    let logits = values(&model.energy().logits(&x, &[])?);
    let other = self::model(1)?;
    other.assign_published_energy(Path::new("joint.pt"), &found)?;
    assert_eq!(values(&other.energy().logits(&x, &[])?), logits);
    Ok(())
}

#[test]
fn what_does_not_fit_is_listed_and_changes_nothing() -> Result<()> {
    let model = model(0)?;
    let before = snapshot(model.store());
    let mut found = foreign(&model, |name| Some(released(name)));
    found.remove("model.g.logsigma");
    found.remove("model.logp_net.logp_net.layer2.0.shortcut.0.bias");
    found.insert("model.g.g.block4.conv1.bias".into(), Tensor::zeros(4, DType::F32, &Device::Cpu)?);
    let wrong = Tensor::zeros((7, 63), DType::F32, &Device::Cpu)?;
    found.insert("model.logp_net.logp_net.linear.weight".into(), wrong);
    let error = model.assign_published(Path::new("released.pt"), &found).unwrap_err().to_string();
    let parts = [
        "released.pt",
        "logsigma",
        "logp_net.layer2.0.shortcut.0.bias",
        "g.block4.conv1.bias",
        "logp_net.linear.weight",
        "63",
    ];
    for part in parts {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(snapshot(model.store()) == before);
    // A joint model is no whole one, and a whole one no joint one.
    let energy = foreign(&model, joint);
    assert!(model.assign_published(Path::new("joint.pt"), &energy).is_err());
    let mut missing = energy.clone();
    missing.remove("class_output.weight");
    let error = model.assign_published_energy(Path::new("joint.pt"), &missing).unwrap_err();
    assert!(error.to_string().contains("logp_net.linear.weight"), "{error}");
    assert!(snapshot(model.store()) == before);
    Ok(())
}

#[test]
fn two_tensors_of_one_name_are_refused() -> Result<()> {
    let one = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
    let found =
        ["f.conv1.bias", "model.logp_net.conv1.bias"].map(|name| (name.to_owned(), one.clone()));
    let error = published_tensors(Path::new("both.pt"), &found.into()).unwrap_err().to_string();
    assert!(error.contains("a second `logp_net.conv1.bias`"), "{error}");
    Ok(())
}

/// The state of a training by PyTorch, written by `fixtures/checkpoint.py`.
const CHECKPOINT: &[u8] = include_bytes!("fixtures/checkpoint.pt");

#[test]
fn a_file_of_pytorch_with_its_optimisers_is_read() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoint.pt");
    std::fs::write(&path, CHECKPOINT).unwrap();
    let found = read_published(&path)?;
    assert!(found.keys().all(|name| name.starts_with("model.")), "{:?}", found.keys());
    let config = ModelConfig::of(
        EnergyConfig::Mlp { dim: 2, hidden: vec![3], outputs: 2, weight_norm: false },
        GeneratorConfig::toy(3),
    );
    let model = VeraModel::new(config, Seed::new(0), &Device::Cpu)?;
    model.assign_published(&path, &found)?;
    // Element i of every tensor is i / 8.
    for (name, now) in snapshot(model.store()) {
        let want: Vec<f64> = (0..now.len()).map(|i| i as f64 / 8.0).collect();
        assert_eq!(now, want, "{name}");
    }
    std::fs::write(&path, &CHECKPOINT[..200]).unwrap();
    assert!(read_published(&path).is_err());
    Ok(())
}
