//! Exponential averages of weights.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::{
    error::{Error, Result},
    ops::running_average,
    params::ParamStore,
};

/// `average = d average + (1 - d) weight` over updates, as copies of the trainable variables.
///
/// The decay `d` of update n is `min(decay, (1 + n) / (10 + n))`, so that the beginning is forgotten.
pub struct WeightAverage {
    decay: f64,
    values: BTreeMap<String, Var>,
}

const PREFIX: &str = "average.";

impl WeightAverage {
    /// The average that begins at the present weights.
    ///
    /// # Errors
    /// [`Error::Config`] unless `0 <= decay < 1`.
    pub fn new(decay: f64, store: &ParamStore) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            let reason = format!("{decay} must be at least 0 and below 1");
            return Err(Error::Config { field: "weight_average", reason });
        }
        let copy = |(name, var): (String, Var)| Ok((name, Var::from_tensor(&var.copy()?)?));
        let values = store.trainable().into_iter().map(copy).collect::<Result<_>>()?;
        Ok(Self { decay, values })
    }

    /// Takes the weights after `updates` updates into the average.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn update(&self, store: &ParamStore, updates: usize) -> Result<()> {
        let n = updates as f64;
        let decay = self.decay.min((1.0 + n) / (10.0 + n));
        for (name, var) in store.trainable() {
            if let Some(average) = self.values.get(&name) {
                running_average(average, &var.as_detached_tensor(), decay)?;
            }
        }
        Ok(())
    }

    /// Exchanges the average with the weights in `store`; a second call undoes the first.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn swap(&self, store: &ParamStore) -> Result<()> {
        for (name, var) in store.trainable() {
            if let Some(average) = self.values.get(&name) {
                let weight = var.as_detached_tensor().copy()?;
                var.set(&average.as_detached_tensor())?;
                average.set(&weight)?;
            }
        }
        Ok(())
    }

    /// The average under `average.<name>`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let named =
            |(name, var): (&String, &Var)| (format!("{PREFIX}{name}"), var.as_detached_tensor());
        self.values.iter().map(named).collect()
    }

    /// Takes an average written by [`WeightAverage::tensors`]; other names are not looked at.
    ///
    /// # Errors
    /// [`Error::Config`] unless there is one tensor of the right shape for every trainable variable.
    pub fn restore(
        decay: f64,
        tensors: &BTreeMap<String, Tensor>,
        store: &ParamStore,
    ) -> Result<Self> {
        let this = Self::new(decay, store)?;
        for (name, var) in &this.values {
            let found = tensors.get(&format!("{PREFIX}{name}"));
            match found.filter(|tensor| tensor.dims() == var.dims()) {
                Some(tensor) => var.set(tensor)?,
                None => {
                    let reason = format!("no average of `{name}` with shape {:?}", var.dims());
                    return Err(Error::Config { field: "weight_average", reason });
                }
            }
        }
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::Init;

    use super::*;
    use crate::seed::Seed;

    fn store() -> Result<ParamStore> {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        store.builder().get_with_hints(2, "x", Init::Const(0.0))?;
        store.builder().get_with_hints(2, "running_mean", Init::Const(0.0))?;
        Ok(store)
    }

    fn set(store: &ParamStore, value: f32) -> Result<()> {
        Ok(store.get("x").unwrap().set(&Tensor::new(&[value, value], &Device::Cpu)?)?)
    }

    fn get(store: &ParamStore) -> Result<f32> {
        Ok(store.get("x").unwrap().to_vec1::<f32>()?[0])
    }

    #[test]
    fn a_constant_weight_is_approached_geometrically() -> Result<()> {
        let store = store()?;
        let average = WeightAverage::new(0.9, &store)?;
        set(&store, 1.0)?;
        // Far from the beginning the decay is 0.9: 1 - 0.9^n.
        for n in 1..=5 {
            average.update(&store, 1_000_000 + n)?;
        }
        average.swap(&store)?;
        assert!((get(&store)? - (1.0 - 0.9_f32.powi(5))).abs() < 1e-6);
        average.swap(&store)?;
        assert_eq!(get(&store)?.to_bits(), 1.0_f32.to_bits());
        // At the beginning it is (1 + n) / (10 + n).
        let young = WeightAverage::new(0.9, &store)?;
        set(&store, 2.0)?;
        young.update(&store, 1)?;
        young.swap(&store)?;
        assert!((get(&store)? - (2.0 - 2.0 / 11.0)).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn an_average_is_a_copy_and_leaves_statistics_alone() -> Result<()> {
        let store = store()?;
        let average = WeightAverage::new(0.5, &store)?;
        set(&store, 7.0)?;
        assert_eq!(average.tensors().len(), 1);
        assert_eq!(average.tensors()[0].1.to_vec1::<f32>()?, [0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_restored_average_is_the_same_and_a_missing_one_is_named() -> Result<()> {
        let store = store()?;
        let average = WeightAverage::new(0.5, &store)?;
        set(&store, 3.0)?;
        average.update(&store, 100)?;
        let tensors: BTreeMap<_, _> = average.tensors().into_iter().collect();
        let other = WeightAverage::restore(0.5, &tensors, &store)?;
        assert_eq!(other.tensors()[0].1.to_vec1::<f32>()?, [1.5, 1.5]);
        let error = WeightAverage::restore(0.5, &BTreeMap::new(), &store).err().unwrap();
        assert!(error.to_string().contains("`x`"), "{error}");
        assert!(WeightAverage::new(1.0, &store).is_err());
        Ok(())
    }
}
