//! Training state on disk: a directory a save, complete or absent.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    checkpoint,
    error::{Error, Result},
    optim::{Adam, AdamConfig, WeightAverage},
    params::ParamStore,
};

/// What a saved state says of itself besides tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress<E> {
    /// Updates done.
    pub update: usize,
    /// Steps of the optimiser.
    pub optimiser_steps: u64,
    /// Whatever else the loop needs: data cursor, best score, settings to compare.
    pub extra: E,
}

/// The tensors of a state.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Parameters and statistics.
    pub store: &'a ParamStore,
    /// The optimiser whose moments are saved.
    pub adam: &'a Adam,
    /// The weight average, if there is one.
    pub average: Option<&'a WeightAverage>,
    /// Whatever else the loop needs, by name: moments of further optimisers, persistent chains.
    pub carried: &'a [(String, Tensor)],
}

/// What [`StateDir::load`] reads besides parameters and statistics.
pub struct Loaded<E> {
    /// The optimiser.
    pub adam: Adam,
    /// The weight average, if the training has one.
    pub average: Option<WeightAverage>,
    /// [`Parts::carried`].
    pub carried: BTreeMap<String, Tensor>,
    /// Everything else.
    pub progress: Progress<E>,
}

/// What names of carried tensors begin with in the file.
const CARRIED: &str = "carried.";

/// A folder of saved states, `step-00001200/{state.safetensors, state.json}`.
///
/// A state is written under a temporary name and renamed when it is complete, so that a kill at any
/// moment leaves the last one whole. The newest two are kept.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// States under `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Saves parameters, statistics, moments, weight average, carried tensors and `extra` after
    /// `update` updates.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Checkpoint`] naming the file.
    pub fn save<E: Serialize>(&self, update: usize, parts: Parts<'_>, extra: E) -> Result<PathBuf> {
        let Parts { store, adam, average, carried } = parts;
        let target = self.root.join(format!("step-{update:08}"));
        let partial = self.root.join(format!("step-{update:08}.partial"));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |e| Error::io(path, e)
        };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(io(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(io(&partial))?;
        let mut tensors = store.tensors();
        tensors.extend(adam.tensors());
        tensors.extend(average.map(WeightAverage::tensors).unwrap_or_default());
        let named =
            |(name, tensor): &(String, Tensor)| (format!("{CARRIED}{name}"), tensor.clone());
        tensors.extend(carried.iter().map(named));
        checkpoint::save_tensors(&partial.join("state.safetensors"), &tensors, None)?;
        let progress = Progress { update, optimiser_steps: adam.steps(), extra };
        let json = partial.join("state.json");
        let text = serde_json::to_string_pretty(&progress)
            .map_err(|e| Error::Checkpoint { path: json.clone(), reason: e.to_string() })?;
        checkpoint::write_bytes_atomic(&json, text.as_bytes())?;
        if target.exists() {
            fs::remove_dir_all(&target).map_err(io(&target))?;
        }
        fs::rename(&partial, &target).map_err(io(&target))?;
        let states = self.states()?;
        for (_, old) in states.iter().rev().skip(2) {
            fs::remove_dir_all(old).map_err(io(old))?;
        }
        Ok(target)
    }

    /// The newest complete state, if there is one.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.states()?.pop().map(|(_, path)| path))
    }

    /// Updates done in the newest complete state.
    ///
    /// # Errors
    /// As [`StateDir::latest`].
    pub fn position(&self) -> Result<Option<usize>> {
        Ok(self.states()?.pop().map(|(update, _)| update))
    }

    /// Complete states by update.
    fn states(&self) -> Result<Vec<(usize, PathBuf)>> {
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.root).map_err(|e| Error::io(&self.root, e))?;
        let mut states: Vec<_> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let update = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
                Some((update, path))
            })
            .collect();
        states.sort();
        Ok(states)
    }

    /// Reads a state into a store whose networks are built; returns everything else.
    /// `average` is the decay of the weight average, if the training has one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load<E: DeserializeOwned>(
        path: &Path,
        store: &ParamStore,
        config: AdamConfig,
        average: Option<f64>,
    ) -> Result<Loaded<E>> {
        let json = path.join("state.json");
        let bytes = fs::read(&json).map_err(|e| Error::io(&json, e))?;
        let progress: Progress<E> =
            serde_json::from_slice(&bytes).map_err(|e| Error::Checkpoint {
                path: json,
                reason: format!("{e}; delete this state to resume from the one before"),
            })?;
        let file = path.join("state.safetensors");
        let all = checkpoint::load_tensors(&file, store.device())?;
        let prefixes = ["adam.", "average.", CARRIED];
        let aside = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let (rest, parameters): (BTreeMap<_, _>, _) =
            all.into_iter().partition(|(name, _)| aside(name));
        store.assign(&file, &parameters)?;
        let adam = Adam::restore(config, progress.optimiser_steps, &rest, store)?;
        let average =
            average.map(|decay| WeightAverage::restore(decay, &rest, store)).transpose()?;
        let own = |(name, tensor): (String, Tensor)| {
            Some((name.strip_prefix(CARRIED)?.to_owned(), tensor))
        };
        let carried = rest.into_iter().filter_map(own).collect();
        Ok(Loaded { adam, average, carried, progress })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::Init;

    use super::*;
    use crate::seed::Seed;

    fn parts() -> Result<(ParamStore, Adam)> {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        store.builder().get_with_hints(3, "x", Init::Randn { mean: 0.0, stdev: 1.0 })?;
        Ok((store, Adam::new(AdamConfig::standard())))
    }

    fn parts_of<'a>(store: &'a ParamStore, adam: &'a Adam) -> Parts<'a> {
        Parts { store, adam, average: None, carried: &[] }
    }

    fn update(store: &ParamStore, adam: &mut Adam) -> Result<Vec<f32>> {
        let loss = store.builder().get(3, "x")?.sqr()?.sum_all()?;
        adam.step(store, &loss.backward()?, 0.1)?;
        Ok(store.get("x").unwrap().to_vec1()?)
    }

    #[test]
    fn a_loaded_state_goes_on_with_the_same_bits() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path());
        assert!(dir.latest()?.is_none());
        let (store, mut adam) = parts()?;
        update(&store, &mut adam)?;
        let carried = [("chains".to_owned(), Tensor::new(&[0.5_f32, 2.0], &Device::Cpu)?)];
        dir.save(1, Parts { carried: &carried, ..parts_of(&store, &adam) }, "cursor")?;
        let want = update(&store, &mut adam)?;
        let (other, _) = parts()?;
        let at = dir.latest()?.unwrap();
        let mut loaded = StateDir::load::<String>(&at, &other, AdamConfig::standard(), None)?;
        let progress = &loaded.progress;
        assert_eq!((progress.update, progress.extra.as_str()), (1, "cursor"));
        assert_eq!(loaded.carried.len(), 1);
        assert_eq!(loaded.carried["chains"].to_vec1::<f32>()?, [0.5, 2.0]);
        assert_eq!(update(&other, &mut loaded.adam)?, want);
        Ok(())
    }

    #[test]
    fn a_damaged_state_names_the_file_and_what_to_do() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path());
        let (store, adam) = parts()?;
        let path = dir.save(1, parts_of(&store, &adam), 7_u32)?;
        let load =
            || StateDir::load::<u32>(&path, &store, AdamConfig::standard(), None).map(|_| ());
        load()?;
        let json = fs::read_to_string(path.join("state.json")).unwrap();
        for (bad, words) in [
            (String::new(), "EOF"),
            (json[..json.len() / 2].to_owned(), "line 3"),
            (json.replace("\"update\"", "\"updates\""), "updates"),
            (json.replace('7', "\"seven\""), "invalid type"),
            (json.replace("\"update\": 1", "\"update\": -1"), "-1"),
        ] {
            fs::write(path.join("state.json"), &bad).unwrap();
            let error = load().unwrap_err();
            assert!(matches!(error, Error::Checkpoint { .. }), "{bad}: {error:?}");
            let message = error.to_string();
            for words in ["state.json", words, "delete this state"] {
                assert!(message.contains(words), "{bad}: {message}");
            }
        }
        fs::remove_file(path.join("state.json")).unwrap();
        assert!(load().unwrap_err().to_string().contains("state.json"));
        fs::write(path.join("state.json"), json).unwrap();
        let tensors = path.join("state.safetensors");
        let bytes = fs::read(&tensors).unwrap();
        for bad in [&bytes[..0], &bytes[..9], &bytes[..bytes.len() - 1]] {
            fs::write(&tensors, bad).unwrap();
            let message = load().unwrap_err().to_string();
            assert!(message.contains("state.safetensors"), "{message}");
        }
        fs::write(&tensors, bytes).unwrap();
        load()
    }

    #[test]
    fn a_partial_state_is_not_seen_and_old_ones_go() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::new(temp.path().join("states"));
        let (store, adam) = parts()?;
        for step in [1, 2, 3] {
            dir.save(step, parts_of(&store, &adam), ())?;
        }
        fs::create_dir(temp.path().join("states/step-00000009.partial")).unwrap();
        assert!(dir.latest()?.unwrap().ends_with("step-00000003"));
        assert!(!temp.path().join("states/step-00000001").exists());
        assert!(temp.path().join("states/step-00000002").exists());
        Ok(())
    }
}
