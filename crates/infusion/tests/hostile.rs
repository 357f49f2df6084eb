//! Configurations from files that others wrote.

mod common;

use std::{fs, path::Path};

use candle_core::Device;
use chains_core::{Error, Result, schedule::InfusionRate};
use infusion::InfusionModel;
use serde_json::{Value, json};

/// A saved model with transposed convolutions, then a dense one, and their `config.json`.
fn saved() -> Result<Vec<(tempfile::TempDir, String)>> {
    let mut all = Vec::new();
    for network in [common::deconv(2), common::mlp(2)] {
        let dir = tempfile::tempdir().map_err(|source| Error::io("temporary folder", source))?;
        common::model(network, InfusionRate::increasing(0.05, 0.1))?.save(dir.path())?;
        let path = dir.path().join("config.json");
        let config = fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
        all.push((dir, config));
    }
    Ok(all)
}

/// The message with which a load is refused.
fn refusal(dir: &Path, config: &str) -> Result<String> {
    let path = dir.join("config.json");
    fs::write(&path, config).map_err(|source| Error::io(&path, source))?;
    match InfusionModel::load(dir, &Device::Cpu) {
        Err(error) => Ok(error.to_string()),
        Ok(_) => panic!("loaded: {config}"),
    }
}

#[test]
fn hostile_configs_are_refused_with_a_reason() -> Result<()> {
    let saved = saved()?;
    let (dir, good) = &saved[0];
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        good.replacen(from, to, 1)
    };
    for (text, words) in [
        (String::new(), "EOF"),
        ("[]".into(), "config.json"),
        (with("\"infusion\"", "\"walkback\""), "walkback"),
        (with("\"format_version\": 1", "\"format_version\": 2"), "format_version"),
        (with("\"norm_eps\"", "\"norm_epsilon\""), "norm_epsilon"),
        (with("\"steps\": 2", "\"steps\": -2"), "steps"),
        (with("\"kind\": \"deconv\"", "\"kind\": \"cone\""), "cone"),
        (with("\"variance_scale\": 0.1", "\"variance_scale\": null"), "network.network"),
    ] {
        let message = refusal(dir.path(), &text)?;
        assert!(message.contains(words), "{words}: {message}");
    }
    Ok(())
}

#[test]
fn numbers_that_no_network_has_are_errors_of_their_field_whatever_they_would_need() -> Result<()> {
    let saved = saved()?;
    let (maps, dense) = (&saved[0], &saved[1]);
    let set = |config: &str, pointer: &str, value: Value| {
        let mut json: Value = serde_json::from_str(config).unwrap();
        *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        json.to_string()
    };
    for ((dir, good), pointer, value, field) in [
        (maps, "/network/network/steps", json!(0), "steps"),
        (maps, "/network/network/steps", json!(u64::MAX), "steps"),
        (maps, "/network/network/event/0", json!(1_u64 << 32), "event"),
        (maps, "/network/network/event/1", json!(9), "widths"),
        (maps, "/network/network/variance_floor", json!(0.0), "variance_floor"),
        (maps, "/network/network/architecture/widths", json!([]), "widths"),
        (maps, "/network/network/architecture/widths", json!(vec![4; 62]), "widths"),
        (maps, "/network/network/architecture/widths", json!(vec![4; 63]), "widths"),
        (maps, "/network/network/architecture/widths", json!(vec![4; 100]), "widths"),
        (maps, "/network/network/architecture/widths/0", json!(u64::MAX), "widths"),
        (maps, "/network/network/architecture/widths/0", json!(1_u64 << 24), "architecture"),
        (dense, "/network/network/architecture/hidden/0", json!(0), "hidden"),
        (dense, "/network/network/architecture/hidden/0", json!(1_u64 << 40), "hidden"),
        (dense, "/network/network/architecture/hidden/0", json!(1_u64 << 24), "architecture"),
        (dense, "/network/chain/prior_floor", json!(-1.0), "prior_floor"),
        (dense, "/network/chain/rate/initial", json!(1.5), "rate.initial"),
        (dense, "/network/chain/masks", json!({"kind": "per-pixel", "channels": 2}), "channels"),
    ] {
        let message = refusal(dir.path(), &set(good, pointer, value))?;
        assert!(message.contains(&format!("`{field}`")), "{pointer}: {message}");
    }
    for (dir, good) in &saved {
        fs::write(dir.path().join("config.json"), good).unwrap();
        InfusionModel::load(dir.path(), &Device::Cpu)?;
    }
    Ok(())
}
