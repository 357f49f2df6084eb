//! Files made up after the published ones.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, checkpoint::save_tensors};
use vaebm::{
    Head, NvaeConfig, NvaeModel, infer_config, nvae::tensor_shapes, published_tensors,
    read_published,
};

use crate::{model, normal, values};

fn small() -> NvaeConfig {
    let head = Head::Gaussian { floor: 0.01 };
    NvaeConfig { flows: 1, head, channels: 3, ..NvaeConfig::extra_small() }
}

/// Values as foreign as a model's shapes allow, with all that a published file has beside them.
fn published(config: &NvaeConfig) -> Result<BTreeMap<String, Tensor>> {
    let shapes = tensor_shapes(config)?;
    let mut all = BTreeMap::new();
    for (name, shape) in &shapes {
        let tensor = normal(name, shape.as_slice()).to_dtype(DType::F32)?;
        if let Some(layer) = name.strip_suffix(".running_mean") {
            let count = Tensor::new(17_i64, &Device::Cpu)?;
            all.insert(format!("{layer}.num_batches_tracked"), count);
        }
        let plain = name.strip_suffix(".weight").filter(|layer| {
            shape.len() == 4 && !shapes.contains_key(&format!("{layer}.log_weight_norm"))
        });
        if let Some(layer) = plain {
            all.insert(format!("{layer}.weight_normalized"), tensor.clone());
        }
        all.insert(name.clone(), tensor);
    }
    Ok(all)
}

#[test]
fn a_published_file_is_taken_whole() -> Result<()> {
    let (config, found) = (small(), published(&small())?);
    assert!(found.keys().any(|name| name.ends_with("weight_normalized")));
    let model = model(&config, DType::F32)?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let tensors: Vec<_> = found.iter().map(|(name, t)| (name.clone(), t.clone())).collect();
    save_tensors(&path, &tensors, None)?;
    model.assign_published(&path, &read_published(&path)?)?;
    let mut taken = 0;
    for (name, tensor) in model.store().tensors() {
        assert_eq!(values(&tensor), values(&found[&name]), "{name}");
        taken += 1;
    }
    assert_eq!(taken, published_tensors(&found).len());
    Ok(())
}

#[test]
fn what_is_unknown_missing_or_misshapen_is_refused() -> Result<()> {
    let model = model(&small(), DType::F32)?;
    let before: Vec<_> = model.store().tensors().iter().map(|(_, t)| values(t)).collect();
    let good = published(&small())?;
    let mut extra = good.clone();
    extra.insert("stem.weight_g".into(), Tensor::zeros(3, DType::F32, &Device::Cpu)?);
    let mut short = good.clone();
    short.remove("dec_tower.0.conv.bias");
    let mut wide = good.clone();
    wide.insert("prior_ftr0".into(), Tensor::zeros((64, 4, 5), DType::F32, &Device::Cpu)?);
    for (found, word) in
        [(extra, "stem.weight_g"), (short, "dec_tower.0.conv.bias"), (wide, "prior_ftr0")]
    {
        let error = model.assign_published(Path::new("there"), &found).unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    let after: Vec<_> = model.store().tensors().iter().map(|(_, t)| values(t)).collect();
    assert_eq!(before, after);
    Ok(())
}

#[test]
fn configurations_are_found_from_shapes() -> Result<()> {
    let gaussian = Head::Gaussian { floor: 0.01 };
    for config in [
        NvaeConfig::cifar10(),
        NvaeConfig::celeba64(),
        NvaeConfig { bits: 8, ..NvaeConfig::celeba_hq256() },
        NvaeConfig::nvae_mnist(),
        NvaeConfig::nvae_celeba64(),
        NvaeConfig { head: gaussian, ..NvaeConfig::nano() },
        NvaeConfig { head: gaussian, ..NvaeConfig::small_stacked_mnist() },
        NvaeConfig { groups: vec![2, 1], decoder_width: 4, ..small() },
        NvaeConfig { groups: vec![1, 1], encoder_cells: 3, decoder_cells: 2, ..small() },
        NvaeConfig { groups: vec![1], flows: 2, squeeze: false, ..small() },
    ] {
        assert_eq!(infer_config(&tensor_shapes(&config)?)?, config);
    }
    let mut shapes = tensor_shapes(&small())?;
    shapes.remove("prior_ftr0");
    let message = infer_config(&shapes).unwrap_err().to_string();
    assert!(message.contains("prior_ftr0"), "{message}");
    // A number that no tower has.
    let mut shapes = tensor_shapes(&small())?;
    for tower in ["enc_tower", "dec_tower", "enc_sampler"] {
        shapes.insert(format!("{tower}.{}.conv.weight", usize::MAX), vec![1, 1, 1, 1]);
    }
    assert!(infer_config(&shapes).is_err());
    Ok(())
}

#[test]
fn a_saved_model_is_the_same_model() -> Result<()> {
    let model = model(&small(), DType::F32)?;
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path())?;
    let loaded = NvaeModel::load(dir.path(), &Device::Cpu)?;
    assert_eq!(loaded.network().config(), &small());
    for ((name, a), (other, b)) in model.store().tensors().iter().zip(loaded.store().tensors()) {
        assert_eq!((name, values(a)), (&other, values(&b)));
    }
    model.save_half(dir.path())?;
    let loaded = NvaeModel::load(dir.path(), &Device::Cpu)?;
    for ((name, a), (_, b)) in model.store().tensors().iter().zip(loaded.store().tensors()) {
        for (a, b) in values(a).iter().zip(values(&b)) {
            // Eleven bits, or the step of f16 next to zero.
            assert!((a - b).abs() <= a.abs() * 2_f64.powi(-11) + 3e-8, "{name}: {a} {b}");
        }
    }
    Ok(())
}
