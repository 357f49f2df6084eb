//! Features of a critic without batch norm, brought to unit variance for the denoiser alone.

use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder};
use chains_core::{
    ParamStore, Result,
    nn::BatchNorm,
    ops::{self, BatchMoments, Eps, NormActivation, NormOptions},
};

/// Added to the standard deviation.
const EPS: f64 = 1e-4;
/// Part of the way that the moments go to those of a batch.
const MOMENTUM: f64 = 0.1;

/// `(f - m) / (std + 1e-4)` with moving moments of real features, one for each channel, which are
/// constants without gradient. A reconstruction: it gives the corruption of the denoiser a meaning for
/// critics without batch norm.
#[derive(Clone, Debug)]
pub struct Standardiser {
    running: BatchMoments,
    gains: [Tensor; 2],
    shape: [usize; 3],
}

impl Standardiser {
    /// Asks `vb` for `running_mean` and `running_var`, `(c,)`, of features of shape `(c, h, w)`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(shape: [usize; 3], vb: VarBuilder<'_>) -> Result<Self> {
        let c = shape[0];
        let stored =
            |name, value| vb.get_with_hints(c, name, Init::Const(value))?.detach().reshape((1, c));
        let running = BatchMoments {
            mean: stored("running_mean", 0.0)?,
            variance: stored("running_var", 1.0)?,
        };
        let ones = Tensor::ones((1, c), vb.dtype(), vb.device())?;
        Ok(Self { running, gains: [ones.clone(), ones.zeros_like()?], shape })
    }

    fn grouped(&self, features: &Tensor) -> Result<Tensor> {
        let [c, h, w] = self.shape;
        ops::reshape(features, (1, features.dims()[0], c, h * w))
    }

    /// `(b, F)` -> `(b, F)`.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for other features.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let options = NormOptions { batch: false, activation: NormActivation::None };
        let gains = self.gains.each_ref();
        let eps = Eps::OnDeviation(EPS);
        let x = self.grouped(features)?;
        let x = ops::normalise(&x, &self.running, gains, eps, options)?;
        ops::reshape(&x, (features.dims()[0], features.dim(D::Minus1)?))
    }

    /// Moves the moments a tenth of the way to those of real features, `(b, F)`; to them at first.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn follow(
        &self,
        store: &ParamStore,
        root: &str,
        features: &Tensor,
        first: bool,
    ) -> Result<()> {
        let grouped = self.grouped(&features.detach())?;
        let found = (ops::batch_moments(&grouped)?, features.elem_count() / self.shape[0]);
        BatchNorm::follow_by(store, root, &found, if first { 1.0 } else { MOMENTUM })
    }
}
