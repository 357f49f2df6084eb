//! What the command line asked for.

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::Device;
use chains_core::{Noise, Seed, noise};
use clap::ValueEnum;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::error::{Error, Result};

/// How much work an experiment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scale {
    /// The whole path in seconds; numbers without meaning.
    Smoke,
    /// Ten minutes for most experiments on two cores, twenty at most (see --list), real data, a result
    /// worth reading.
    Quick,
    /// The paper's own settings.
    Paper,
}

impl Scale {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Paper => "paper",
        }
    }

    /// The value for this scale.
    pub fn pick<T>(self, smoke: T, quick: T, paper: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Quick => quick,
            Self::Paper => paper,
        }
    }
}

/// Everything that is common to the experiments of one command.
#[derive(Debug)]
pub struct Request {
    /// How much work.
    pub scale: Scale,
    /// Root seed.
    pub seed: u64,
    /// The device, opened.
    pub device: Device,
    /// The device as it was asked for.
    pub device_name: String,
    /// Where data are looked for first.
    pub data: Option<PathBuf>,
    /// Never use the network.
    pub offline: bool,
    /// The repository, which holds `datasets` and `checkpoints`.
    pub root: PathBuf,
    /// Folder where this command trains: inside the run directory of one experiment, or shared by
    /// several.
    pub models: PathBuf,
    /// Go on where an earlier run stopped.
    pub resume: bool,
    /// `--set key=value`, in order.
    pub overrides: Vec<(String, String)>,
    /// Recipes that this command has finished already, and where their models lie.
    pub trained: RefCell<HashMap<String, PathBuf>>,
}

impl Request {
    /// The root seed as a stream.
    pub fn stream(&self) -> Seed {
        Seed::new(self.seed)
    }

    /// The noise of a stream that this command's device draws: on CUDA by itself, which is another stream
    /// than the host's.
    pub fn noise(&self, seed: Seed) -> Box<dyn Noise> {
        noise::of_device(seed, &self.device)
    }

    /// `defaults` with the overrides applied, see [`overridden`].
    ///
    /// # Errors
    /// As [`overridden`].
    pub fn settings<S: Serialize + DeserializeOwned>(&self, defaults: &S) -> Result<S> {
        overridden(defaults, &self.overrides)
    }
}

/// `defaults` with `--set key=value` applied, key by key; dotted keys reach into tables.
///
/// # Errors
/// [`Error::UnknownKey`], listing the known ones; [`Error::Usage`] for a value of another type.
pub fn overridden<S: Serialize + DeserializeOwned>(
    defaults: &S,
    overrides: &[(String, String)],
) -> Result<S> {
    let mut value =
        serde_json::to_value(defaults).map_err(|e| Error::Usage(format!("settings: {e}")))?;
    for (key, text) in overrides {
        let slot = lookup(&mut value, key).ok_or_else(|| {
            let mut known = Vec::new();
            collect_keys(&serde_json::to_value(defaults).unwrap_or_default(), "", &mut known);
            Error::UnknownKey { key: key.clone(), known: known.join(", ") }
        })?;
        // A bare word is a string; everything else is JSON.
        *slot = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        serde_json::from_value::<S>(value.clone()).map_err(|e| {
            Error::Usage(format!("--set {key}={text}: {}", in_words(&e.to_string())))
        })?;
    }
    serde_json::from_value(value).map_err(|e| Error::Usage(format!("settings: {e}")))
}

/// What is expected, without names of types.
fn in_words(message: &str) -> String {
    let words = [
        ("expected usize", "expected a whole number from 0"),
        ("expected u64", "expected a whole number from 0"),
        ("expected u32", "expected a whole number from 0"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list such as [1, 2]"),
    ];
    let found = words.iter().find(|(name, _)| message.contains(name));
    found.map_or_else(|| message.to_owned(), |(name, text)| message.replace(name, text))
}

fn lookup<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    key.split('.').try_fold(value, |value, part| value.get_mut(part))
}

fn collect_keys(value: &Value, prefix: &str, keys: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                collect_keys(value, &path, keys);
            }
        }
        _ => keys.push(prefix.to_owned()),
    }
}

/// The root of the repository: the nearest folder at or above `start` with `datasets` and `crates`
/// in it.
pub fn repository_root(start: &Path) -> Option<PathBuf> {
    let found =
        start.ancestors().find(|dir| ["datasets", "crates"].iter().all(|d| dir.join(d).is_dir()));
    found.map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Inner {
        rate: f64,
    }
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Settings {
        epochs: usize,
        name: String,
        widths: Vec<usize>,
        inner: Inner,
    }

    fn request(overrides: &[(&str, &str)]) -> Request {
        Request {
            scale: Scale::Smoke,
            seed: 0,
            device: Device::Cpu,
            device_name: "cpu".into(),
            data: None,
            offline: true,
            root: PathBuf::new(),
            models: PathBuf::new(),
            resume: false,
            overrides: overrides.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            trained: RefCell::default(),
        }
    }

    fn defaults() -> Settings {
        Settings { epochs: 1, name: "a".into(), widths: vec![1], inner: Inner { rate: 0.5 } }
    }

    #[test]
    fn overrides_reach_every_type() {
        let overrides =
            [("epochs", "3"), ("name", "b"), ("widths", "[4,5]"), ("inner.rate", "1e-3")];
        let got = request(&overrides).settings(&defaults()).unwrap();
        let inner = Inner { rate: 1e-3 };
        assert_eq!(got, Settings { epochs: 3, name: "b".into(), widths: vec![4, 5], inner });
    }

    #[test]
    fn bad_overrides_are_named() {
        let message = |overrides: &[(&str, &str)]| {
            request(overrides).settings(&defaults()).unwrap_err().to_string()
        };
        let unknown = message(&[("epoch", "3")]);
        assert!(unknown.contains("`epoch`") || unknown.contains("epoch:"), "{unknown}");
        assert!(unknown.contains("epochs") && unknown.contains("inner.rate"), "{unknown}");
        let many = message(&[("epochs", "many")]);
        assert!(many.contains("epochs=many") && many.contains("a whole number from 0"), "{many}");
        assert!(message(&[("inner.rate", "[]")]).contains("inner.rate"));
    }
}
