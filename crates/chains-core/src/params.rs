//! The ordered parameter store: seeded initialisation by tensor name, trainable and frozen views.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::{
    Init, VarBuilder,
    init::{FanInOut, NormalOrUniform},
    var_builder::SimpleBackend,
};

use crate::{checkpoint, error::Result, host, noise::Noise, seed::Seed};

/// Named variables in the order of their names.
///
/// Networks are built from a [`VarBuilder`]; a variable is created when it is first asked for. Its
/// initial value depends on the seed and its own name alone, not on the order of construction.
/// Tensors whose last name begins with `running_` are statistics: they are saved, but no optimiser
/// moves them.
///
/// # Example
/// ```
/// use candle_core::{DType, Device};
/// use chains_core::{nn::{Linear, LinearInit}, params::ParamStore, Seed};
/// let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
/// let layer = Linear::new(4, 2, true, LinearInit::GlorotUniform, store.builder().pp("head"))?;
/// assert_eq!(store.tensors()[0].0, "head.bias");
/// assert_eq!(store.count(), 10);
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ParamStore {
    inner: Arc<Inner>,
}

struct Inner {
    seed: Seed,
    dtype: DType,
    device: Device,
    vars: Mutex<BTreeMap<String, Var>>,
}

impl ParamStore {
    /// An empty store. `seed` is the run's seed; values come from its child `init`.
    pub fn new(seed: Seed, dtype: DType, device: &Device) -> Self {
        let vars = Mutex::default();
        let inner = Inner { seed: seed.child("init"), dtype, device: device.clone(), vars };
        Self { inner: Arc::new(inner) }
    }

    /// A builder whose tensors are trainable; creates what it is asked for.
    pub fn builder(&self) -> VarBuilder<'static> {
        self.view(false)
    }

    /// A builder of detached tensors over the same storage: always the current values, no graph.
    pub fn frozen(&self) -> VarBuilder<'static> {
        self.view(true)
    }

    fn view(&self, frozen: bool) -> VarBuilder<'static> {
        let backend = View { inner: self.inner.clone(), frozen };
        VarBuilder::from_backend(Box::new(backend), self.inner.dtype, self.inner.device.clone())
    }

    /// The device of every variable.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The variable of that name, if it exists.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.inner.lock().get(name).cloned()
    }

    /// All variables, statistics included, by name.
    pub fn all(&self) -> Vec<(String, Var)> {
        self.inner.lock().iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// What an optimiser moves: everything but statistics, by name.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.all().into_iter().filter(|(name, _)| !is_statistic(name)).collect()
    }

    /// What an optimiser moves of the network that was built at `root`.
    pub fn trainable_under(&self, root: &str) -> Vec<Var> {
        let own = |name: &str| name.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'));
        self.trainable().into_iter().filter(|(name, _)| own(name)).map(|(_, var)| var).collect()
    }

    /// Names and values, detached.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.all().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect()
    }

    /// [`ParamStore::tensors`] with everything trainable rounded to f16; statistics, whose range may
    /// exceed that of f16, stay as they are. Loading widens them again.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn half_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let half = |(name, tensor): (String, Tensor)| {
            let tensor = if is_statistic(&name) { tensor } else { tensor.to_dtype(DType::F16)? };
            Ok((name, tensor))
        };
        self.tensors().into_iter().map(half).collect()
    }

    /// Number of trainable scalars.
    pub fn count(&self) -> usize {
        self.trainable().iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// Is every value a finite number?
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn is_finite(&self) -> Result<bool> {
        for (_, var) in self.all() {
            // The sum of finite f32 numbers may overflow; that of their zeros cannot.
            let zeros = (var.as_detached_tensor() * 0.0)?.sum_all()?;
            if host::scalar(&zeros)?.is_nan() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes all tensors, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        checkpoint::save_tensors(path, &self.tensors(), None)
    }

    /// Reads all tensors of a store whose network is already built.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] that lists every missing, extra and misshapen tensor; the store
    /// is then unchanged.
    pub fn load_strict(&self, path: &Path) -> Result<()> {
        self.assign(path, &checkpoint::load_tensors(path, self.device())?)
    }

    /// Takes the values of `found`, which came from `path`.
    ///
    /// # Errors
    /// As [`ParamStore::load_strict`].
    pub fn assign(&self, path: &Path, found: &BTreeMap<String, Tensor>) -> Result<()> {
        let all = self.all();
        let expected: Vec<_> =
            all.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        checkpoint::check_names(path, &expected, found)?;
        for (name, var) in &all {
            var.set(&found[name].to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
        Ok(())
    }
}

fn is_statistic(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|leaf| leaf.starts_with("running_"))
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Var>> {
        // A panic elsewhere cannot leave the map half written.
        self.vars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn initial(&self, name: &str, shape: &Shape, init: Init) -> Result<Tensor> {
        let mut noise = self.seed.child(name).host_noise();
        let (dtype, device) = (self.dtype, &self.device);
        let normal = |mean: f64, stdev: f64, noise: &mut dyn Noise| -> Result<Tensor> {
            Ok(noise.normal(shape, dtype, device)?.affine(stdev, mean)?)
        };
        let uniform = |lo: f64, up: f64, noise: &mut dyn Noise| -> Result<Tensor> {
            Ok(noise.uniform(shape, dtype, device)?.affine(up - lo, lo)?)
        };
        match init {
            Init::Const(value) => Ok(host::full(value, shape, dtype, device)?),
            Init::Randn { mean, stdev } => normal(mean, stdev, &mut noise),
            Init::Uniform { lo, up } => uniform(lo, up, &mut noise),
            Init::Kaiming { dist, fan, non_linearity } => {
                let fan: FanInOut = fan;
                let stdev = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
                match dist {
                    NormalOrUniform::Normal => normal(0.0, stdev, &mut noise),
                    NormalOrUniform::Uniform => {
                        let bound = 3_f64.sqrt() * stdev;
                        uniform(-bound, bound, &mut noise)
                    }
                }
            }
        }
    }
}

struct View {
    inner: Arc<Inner>,
    frozen: bool,
}

impl View {
    fn give(&self, var: &Var) -> Tensor {
        if self.frozen { var.as_detached_tensor() } else { var.as_tensor().clone() }
    }
}

impl SimpleBackend for View {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        _: DType,
        _: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut vars = self.inner.lock();
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                candle_core::bail!("{name}: asked for {shape:?}, the store has {:?}", var.shape());
            }
            return Ok(self.give(var));
        }
        let value = self.inner.initial(name, &shape, init).map_err(candle_core::Error::wrap)?;
        let var = Var::from_tensor(&value)?;
        let tensor = self.give(&var);
        vars.insert(name.to_owned(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        match self.inner.lock().get(name) {
            Some(var) => Ok(self.give(var)),
            None => candle_core::bail!("{name}: not in the store"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.inner.lock().contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(seed: u64) -> ParamStore {
        ParamStore::new(Seed::new(seed), DType::F32, &Device::Cpu)
    }

    fn values(store: &ParamStore, name: &str) -> Vec<f32> {
        store.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    const INIT: Init = Init::Randn { mean: 0.0, stdev: 1.0 };

    #[test]
    fn initial_values_depend_on_name_and_seed_alone() -> Result<()> {
        let (a, b, c) = (store(0), store(0), store(1));
        for (store, names) in [(&a, ["x", "y"]), (&b, ["y", "x"]), (&c, ["x", "y"])] {
            for name in names {
                store.builder().get_with_hints(3, name, INIT)?;
            }
        }
        assert_eq!(values(&a, "x"), values(&b, "x"));
        assert_eq!(values(&a, "y"), values(&b, "y"));
        assert_ne!(values(&a, "x"), values(&a, "y"));
        assert_ne!(values(&a, "x"), values(&c, "x"));
        Ok(())
    }

    #[test]
    fn a_frozen_view_sees_updates_and_records_nothing() -> Result<()> {
        let store = store(0);
        let live = store.builder().get_with_hints(3, "w", INIT)?;
        let frozen = store.frozen().get(3, "w")?;
        assert!(live.is_variable() && !frozen.track_op());
        store.get("w").unwrap().set(&Tensor::new(&[1.0_f32, 2.0, 3.0], &Device::Cpu)?)?;
        assert_eq!(frozen.to_vec1::<f32>()?, [1.0, 2.0, 3.0]);
        Ok(())
    }

    #[test]
    fn statistics_are_saved_but_not_trained() -> Result<()> {
        let store = store(0);
        store.builder().pp("n").get_with_hints(2, "running_mean", Init::Const(0.0))?;
        store.builder().pp("n").get_with_hints(2, "weight", Init::Const(1.0))?;
        assert_eq!(store.all().len(), 2);
        assert_eq!(store.trainable()[0].0, "n.weight");
        assert_eq!(store.count(), 2);
        store.builder().pp("norm").get_with_hints(3, "weight", Init::Const(1.0))?;
        let under: Vec<_> = store.trainable_under("n").iter().map(|var| var.dims()[0]).collect();
        assert_eq!(under, [2], "a root is a whole name");
        Ok(())
    }

    #[test]
    fn strict_loading_lists_everything_and_changes_nothing() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let (from, to) = (store(0), store(1));
        from.builder().get_with_hints(2, "a", INIT)?;
        from.builder().get_with_hints(2, "b", INIT)?;
        from.builder().get_with_hints(2, "extra", INIT)?;
        from.save(&path)?;
        to.builder().get_with_hints(2, "a", INIT)?;
        to.builder().get_with_hints(3, "b", INIT)?;
        to.builder().get_with_hints(2, "missing", INIT)?;
        let before = values(&to, "a");
        let message = to.load_strict(&path).unwrap_err().to_string();
        for name in ["b", "extra", "missing"] {
            assert!(message.contains(name), "{message}");
        }
        assert_eq!(values(&to, "a"), before);
        let same = store(2);
        for name in ["a", "b", "extra"] {
            same.builder().get_with_hints(2, name, INIT)?;
        }
        same.load_strict(&path)?;
        assert_eq!(values(&same, "b"), values(&from, "b"));
        Ok(())
    }

    #[test]
    fn a_second_request_must_have_the_same_shape() -> Result<()> {
        let store = store(0);
        store.builder().get_with_hints(2, "a", INIT)?;
        assert!(store.builder().get_with_hints(3, "a", INIT).is_err());
        Ok(())
    }
}
