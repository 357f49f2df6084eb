//! Values and tangents of one batch in one tensor.

use candle_core::Tensor;

use super::{Dual, Signal};
use crate::{
    error::{Error, Result},
    ops::{self, Padding, StackedActivation, stacked_activation},
};

/// Values `(n, ..)` and, behind them in the same tensor, the tangents of the first `b <= n` of them.
///
/// What a [`Dual`] carries in two tensors, for training steps: every layer sees one batch of values
/// and tangents, so a weight is read once for all of them, and rows whose tangent nobody asks for
/// (generated or labelled examples) come along.
#[derive(Clone, Debug)]
pub struct Stacked {
    rows: Tensor,
    values: usize,
}

impl Stacked {
    /// Points, and directions at the first of them.
    ///
    /// # Shapes
    /// `points`: `(n, ..event)`; `directions`: `(b, ..event)` with `b <= n`.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fit.
    pub fn new(points: &Tensor, directions: &Tensor) -> Result<Self> {
        let fits = points.rank() == directions.rank()
            && points.rank() > 0
            && points.dims()[1..] == directions.dims()[1..]
            && directions.dims()[0] <= points.dims()[0];
        if !fits {
            let expected = format!("(b, ..) for points {:?}", points.dims());
            let got = directions.dims().to_vec();
            return Err(Error::Shape { what: "directions", expected, got });
        }
        let rows = Tensor::cat(&[points, directions], 0)?;
        Ok(Self { rows, values: points.dims()[0] })
    }

    /// All values, `(n, ..)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn values(&self) -> Result<Tensor> {
        Ok(self.rows.narrow(0, 0, self.values)?)
    }

    /// The tangents of the first values, `(b, ..)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tangents(&self) -> Result<Tensor> {
        Ok(self.rows.narrow(0, self.values, self.rows.dims()[0] - self.values)?)
    }

    fn with(&self, rows: Tensor) -> Self {
        Self { rows, values: self.values }
    }

    /// Through a function of [`Dual`], row by row.
    fn composed(&self, f: impl Fn(&Dual) -> Result<Dual>) -> Result<Self> {
        let (values, tangents) = (self.values()?, self.tangents()?);
        let (n, b) = (self.values, tangents.dims()[0]);
        let zeros = values.narrow(0, b, n - b)?.zeros_like()?;
        let dual = f(&Dual::new(values, Tensor::cat(&[tangents, zeros], 0)?)?)?;
        let rows = Tensor::cat(&[dual.value(), &dual.tangent().narrow(0, 0, b)?], 0)?;
        Ok(self.with(rows))
    }

    fn activation(
        &self,
        function: StackedActivation,
        composed: impl Fn(&Dual) -> Result<Dual>,
    ) -> Result<Self> {
        match stacked_activation(&self.rows, self.values, function)? {
            Some(rows) => Ok(self.with(rows)),
            None => self.composed(composed),
        }
    }
}

impl Signal for Stacked {
    fn batch(&self) -> usize {
        self.values
    }

    fn dims(&self) -> &[usize] {
        self.rows.dims()
    }

    fn linear_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(self.with(map(&self.rows)?))
    }

    fn affine_map(&self, map: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        let parts = [map(&self.values()?, true)?, map(&self.tangents()?, false)?];
        Ok(self.with(Tensor::cat(&parts, 0)?))
    }

    fn joined(parts: &[&Self], map: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::Config { field: "parts", reason: "there is none".into() });
        };
        Ok(first.with(map(&parts.iter().map(|part| &part.rows).collect::<Vec<_>>())?))
    }

    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        let fused = StackedActivation::LeakyRelu(slope as f32);
        self.activation(fused, |dual| dual.leaky_relu(slope))
    }

    fn softplus(&self) -> Result<Self> {
        self.activation(StackedActivation::Softplus, Signal::softplus)
    }

    fn square(&self) -> Result<Self> {
        self.composed(Signal::square)
    }

    fn log_sum_exp(&self) -> Result<Self> {
        self.composed(Signal::log_sum_exp)
    }

    fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        Ok(self.with(ops::linear_rows(&self.rows, weight, bias, self.values)?))
    }

    fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: impl Into<Padding>,
    ) -> Result<Self> {
        let bias = (bias, self.values);
        Ok(self.with(ops::conv2d_rows(&self.rows, weight, bias, stride, padding.into())?))
    }

    fn masked(&self, mask: &Tensor) -> Result<Self> {
        let tangents = mask.narrow(0, 0, self.rows.dims()[0] - self.values)?;
        Ok(self.with(self.rows.mul(&Tensor::cat(&[mask, &tangents], 0)?)?))
    }
}
