//! A small classifier that some scores train themselves.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    ParamStore, Seed,
    autograd::value_and_gradients,
    nn::{Linear, LinearInit},
    ops,
    optim::{Adam, AdamConfig},
};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    sampling::Stream,
};

/// Settings of a classifier with one hidden layer of rectified linear units, trained by Adam on the
/// log loss (f32, on the host).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Hidden units.
    pub hidden: usize,
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows of an update.
    pub batch: usize,
    /// Of Adam, constant.
    pub learning_rate: f64,
}

impl MlpConfig {
    /// 64 hidden units, 60 epochs, batches of 64, rate 1e-3: all chosen by us, for up to some ten
    /// thousand rows of up to some hundred columns.
    pub const fn small() -> Self {
        Self { hidden: 64, epochs: 60, batch: 64, learning_rate: 1e-3 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in
            [("hidden", self.hidden), ("epochs", self.epochs), ("batch", self.batch)]
        {
            if value == 0 {
                return Err(Error::Argument { name, reason: "must be one or more".into() });
            }
        }
        if self.learning_rate > 0.0 && self.learning_rate.is_finite() {
            return Ok(());
        }
        let reason = format!("{} is not a positive number", self.learning_rate);
        Err(Error::Argument { name: "learning_rate", reason })
    }
}

/// A trained classifier.
pub(crate) struct Mlp {
    store: ParamStore,
    layers: [Linear; 2],
}

impl Mlp {
    /// Trains on rows that are scaled already, with labels below `classes`; all randomness follows
    /// from the seed.
    pub(crate) fn fit(
        rows: ArrayView2<'_, f64>,
        labels: &[usize],
        classes: usize,
        config: &MlpConfig,
        seed: u64,
    ) -> Result<Self> {
        config.validate()?;
        let mlp = Self::new(rows.ncols(), classes, config, seed).map_err(broken)?;
        let (all, targets) = (tensor(rows).map_err(broken)?, one_hot(labels, classes));
        let targets = tensor(targets.view()).map_err(broken)?;
        let mut adam = Adam::new(AdamConfig::standard());
        for epoch in 0..config.epochs {
            let order = Stream::new(seed, 1 + epoch as u64).shuffled(labels.len());
            for batch in order.chunks(config.batch) {
                let loss = mlp.update((&all, &targets), batch, &mut adam, config.learning_rate);
                if !loss.map_err(broken)?.is_finite() {
                    let reason = format!(
                        "the loss is not finite in epoch {epoch}; take a smaller `learning_rate`"
                    );
                    return Err(Error::Numerical { what: "classifier", reason });
                }
            }
        }
        Ok(mlp)
    }

    fn new(
        width: usize,
        classes: usize,
        config: &MlpConfig,
        seed: u64,
    ) -> chains_core::Result<Self> {
        let store = ParamStore::new(Seed::new(seed).child("mlp"), DType::F32, &Device::Cpu);
        let layer = |name: &str, input: usize, output: usize, gain: f64| {
            let init = LinearInit::Normal((gain / input as f64).sqrt());
            Linear::new(input, output, true, init, store.builder().pp(name))
        };
        // Gains that keep the variance of what passes.
        let layers = [
            layer("hidden", width, config.hidden, 2.0)?,
            layer("logits", config.hidden, classes, 1.0)?,
        ];
        Ok(Self { layers, store })
    }

    fn forward(&self, rows: &Tensor) -> chains_core::Result<Tensor> {
        self.layers[1].forward(&ops::relu(&self.layers[0].forward(rows)?)?)
    }

    /// Mean negative log probability of the targets.
    fn loss(&self, rows: &Tensor, targets: &Tensor) -> chains_core::Result<Tensor> {
        let logs = candle_nn::ops::log_softmax(&self.forward(rows)?, 1)?;
        Ok((logs.mul(targets)?.sum_all()? * (-1.0 / rows.dim(0)? as f64))?)
    }

    fn update(
        &self,
        (rows, targets): (&Tensor, &Tensor),
        batch: &[usize],
        adam: &mut Adam,
        learning_rate: f64,
    ) -> chains_core::Result<f32> {
        let batch: Vec<u32> = batch.iter().map(|&row| row as u32).collect();
        let batch = Tensor::new(batch, &Device::Cpu)?;
        let (rows, targets) = (rows.index_select(&batch, 0)?, targets.index_select(&batch, 0)?);
        let (loss, grads) = value_and_gradients(|| self.loss(&rows, &targets))?;
        adam.step(&self.store, &grads, learning_rate)?;
        Ok(loss.to_scalar()?)
    }

    /// `(n, classes)`.
    pub(crate) fn logits(&self, rows: ArrayView2<'_, f64>) -> Result<Array2<f32>> {
        let found = || {
            let logits = self.forward(&tensor(rows)?)?.detach();
            Ok::<_, chains_core::Error>((logits.dims2()?, logits.flatten_all()?.to_vec1::<f32>()?))
        };
        let (shape, values) = found().map_err(broken)?;
        Array2::from_shape_vec(shape, values)
            .map_err(|error| Error::Numerical { what: "classifier", reason: error.to_string() })
    }
}

fn broken(error: chains_core::Error) -> Error {
    Error::Numerical { what: "classifier", reason: error.to_string() }
}

fn tensor(rows: ArrayView2<'_, f64>) -> chains_core::Result<Tensor> {
    let values: Vec<f32> = rows.iter().map(|&x| x as f32).collect();
    Ok(Tensor::from_vec(values, rows.dim(), &Device::Cpu)?)
}

fn one_hot(labels: &[usize], classes: usize) -> Array2<f64> {
    Array2::from_shape_fn((labels.len(), classes), |(row, class)| f64::from(labels[row] == class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array as golden, assert_close};

    #[test]
    fn every_parameter_has_the_gradient_of_differences() -> Result<()> {
        let config = MlpConfig { hidden: 5, ..MlpConfig::small() };
        let mlp = Mlp::new(3, 4, &config, 1).unwrap();
        let rows = golden(1, 6, 3) * 2.0 - 1.0;
        let (rows, targets) = (tensor(rows.view()).unwrap(), one_hot(&[0, 3, 1, 1, 2, 0], 4));
        let targets = tensor(targets.view()).unwrap();
        let loss = || f64::from(mlp.loss(&rows, &targets).unwrap().to_scalar::<f32>().unwrap());
        let (_, grads) = value_and_gradients(|| mlp.loss(&rows, &targets)).unwrap();
        let parameters = mlp.store.trainable();
        assert_eq!(parameters.len(), 4);
        for (name, var) in parameters {
            let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name}"));
            let grad = grad.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(grad.iter().any(|g| g.abs() > 1e-3), "{name}");
            let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for at in 0..values.len() {
                let moved = |by: f32| {
                    let mut values = values.clone();
                    values[at] += by;
                    var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    loss()
                };
                let difference = (moved(4e-3) - moved(-4e-3)) / 8e-3;
                moved(0.0);
                assert!((difference - f64::from(grad[at])).abs() < 2e-4, "{name} {at}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_loss_of_equal_logits_is_the_logarithm_of_the_classes() {
        let config = MlpConfig { hidden: 5, ..MlpConfig::small() };
        let mlp = Mlp::new(3, 4, &config, 1).unwrap();
        for name in ["logits.weight", "logits.bias"] {
            let var = mlp.store.get(name).unwrap();
            var.set(&var.zeros_like().unwrap()).unwrap();
        }
        let targets = tensor(one_hot(&[0, 3], 4).view()).unwrap();
        let loss = mlp.loss(&tensor(golden(1, 2, 3).view()).unwrap(), &targets).unwrap();
        assert_close(f64::from(loss.to_scalar::<f32>().unwrap()), 4_f64.ln(), 1e-6);
    }

    #[test]
    fn what_no_plane_separates_is_learned() -> Result<()> {
        // The label is the number of coordinates above one half, modulo two.
        let (train, test) = (golden(2, 600, 2), golden(3, 300, 2));
        let labels = |rows: &Array2<f64>| -> Vec<usize> {
            rows.outer_iter().map(|x| x.iter().filter(|x| **x > 0.5).count() % 2).collect()
        };
        let scaled = |rows: &Array2<f64>| (rows - 0.5) * 12_f64.sqrt();
        let mlp = Mlp::fit(scaled(&train).view(), &labels(&train), 2, &MlpConfig::small(), 1)?;
        let logits = mlp.logits(scaled(&test).view())?;
        let right = crate::accuracy(logits.view(), &labels(&test))?;
        assert!(right.value > 0.93, "{right:?}");
        Ok(())
    }

    #[test]
    fn the_result_follows_from_the_seed_for_any_number_of_threads() -> Result<()> {
        let rows = golden(4, 200, 40);
        let labels: Vec<usize> = (0..200).map(|row| row % 3).collect();
        let config = MlpConfig { epochs: 3, ..MlpConfig::small() };
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Mlp::fit(rows.view(), &labels, 3, &config, seed)?.logits(rows.view()))
        };
        assert_eq!(run(1, 1)?, run(3, 1)?);
        assert_ne!(run(1, 1)?, run(1, 2)?);
        Ok(())
    }

    #[test]
    fn unusable_settings_are_named() {
        let small = MlpConfig::small();
        for (name, config) in [
            ("hidden", MlpConfig { hidden: 0, ..small }),
            ("epochs", MlpConfig { epochs: 0, ..small }),
            ("batch", MlpConfig { batch: 0, ..small }),
            ("learning_rate", MlpConfig { learning_rate: f64::NAN, ..small }),
        ] {
            assert!(config.validate().unwrap_err().to_string().contains(&format!("`{name}`")));
        }
        let (rows, labels) = (golden(5, 40, 3), [0; 40]);
        let wild = MlpConfig { learning_rate: 1e30, ..small };
        let error = Mlp::fit(rows.view(), &labels, 2, &wild, 1).err().unwrap().to_string();
        assert!(error.contains("learning_rate"), "{error}");
    }
}
