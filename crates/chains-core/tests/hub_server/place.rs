//! What every test of the hub starts from: a model on a server, and an empty cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use chains_core::{
    Result,
    checkpoint::{load_model, save_model},
    hub::{HubOptions, resolve_model},
};

use super::Server;

/// The commit of `main`.
pub(crate) const ONE: &str = "1111111111111111111111111111111111111111";
/// The file of the weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// A hub and a cache, for one test.
pub(crate) struct Place {
    pub(crate) server: Server,
    folder: tempfile::TempDir,
}

impl Place {
    /// A hub whose `main` is commit `ONE`, and an empty cache.
    pub(crate) fn new() -> Self {
        let place = Self { server: Server::start(), folder: tempfile::tempdir().unwrap() };
        place.server.push("main", ONE, &model(1.0));
        place
    }

    pub(crate) fn options(&self) -> HubOptions {
        HubOptions {
            endpoint: self.server.endpoint.clone(),
            cache_dir: self.folder.path().to_path_buf(),
            token: None,
            offline: false,
        }
    }

    pub(crate) fn get(&self, arg: &str) -> Result<PathBuf> {
        resolve_model(arg, &self.options())
    }

    pub(crate) fn offline(&self, arg: &str) -> Result<PathBuf> {
        resolve_model(arg, &HubOptions { offline: true, ..self.options() })
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.folder.path().join("models--owner--name")
    }

    /// Every file and link below the model's cache folder.
    pub(crate) fn cached(&self) -> Vec<String> {
        let mut names = Vec::new();
        walk(&self.repo(), &self.repo(), &mut names);
        names.sort();
        names
    }
}

fn walk(root: &Path, dir: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, names);
        } else {
            names.push(path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"));
        }
    }
}

/// The files of a model whose one weight is `value`, and one file that nobody asked for.
pub(crate) fn model(value: f32) -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let tensors = [("w".to_owned(), Tensor::new(&[value], &Device::Cpu).unwrap())];
    save_model(folder.path(), "vera", "0.1.0", &3_u32, &tensors).unwrap();
    let read = |name: &'static str| (name, fs::read(folder.path().join(name)).unwrap());
    vec![
        read("config.json"),
        read(WEIGHTS),
        ("README.md", b"# A model\n".to_vec()),
        ("optimizer.bin", vec![0; 1000]),
    ]
}

pub(crate) fn weight(dir: &Path) -> f32 {
    let (config, tensors) = load_model::<u32>(dir, "vera", &Device::Cpu).unwrap();
    assert_eq!(config, 3);
    tensors["w"].to_vec1::<f32>().unwrap()[0]
}
