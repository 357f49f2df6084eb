//! Values and tangents of one batch in one tensor.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use candle_core::Tensor;

use super::{Dual, Signal, signal::mixture};
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
    /// What layers gave for the first values before.
    known: Affines,
}

/// Results of dense layers and convolutions in the order of their calls.
type Affines = Rc<RefCell<VecDeque<Tensor>>>;

/// Values on their way through a network that keeps the results of dense layers and convolutions, for
/// a [`Stacked`] that takes the same way again.
///
/// A penalty on the gradient of `f` needs that gradient first: the forward pass for it is the one that
/// the loss needs, too.
#[derive(Clone, Debug)]
pub struct Recorded {
    value: Tensor,
    kept: Affines,
}

impl Recorded {
    /// At the entrance of a network.
    pub fn new(value: &Tensor) -> Self {
        Self { value: value.clone(), kept: Affines::default() }
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    fn with(&self, value: Tensor) -> Self {
        Self { value, kept: self.kept.clone() }
    }

    fn keep(&self, value: Tensor) -> Self {
        self.kept.borrow_mut().push_back(value.detach());
        self.with(value)
    }
}

impl Signal for Recorded {
    fn batch(&self) -> usize {
        Signal::batch(&self.value)
    }

    fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    fn linear_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(self.with(map(&self.value)?))
    }

    fn affine_map(&self, map: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        Ok(self.with(map(&self.value, true)?))
    }

    fn joined(parts: &[&Self], map: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        let Some(first) = parts.first() else { return Err(no_parts()) };
        Ok(first.with(map(&parts.iter().map(|part| &part.value).collect::<Vec<_>>())?))
    }

    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        Ok(self.with(ops::leaky_relu(&self.value, slope)?))
    }

    fn softplus(&self) -> Result<Self> {
        Ok(self.with(ops::softplus(&self.value)?))
    }

    fn square(&self) -> Result<Self> {
        Ok(self.with(Signal::square(&self.value)?))
    }

    fn log_sum_exp(&self) -> Result<Self> {
        Ok(self.with(Signal::log_sum_exp(&self.value)?))
    }

    fn gaussian_mixture(&self, parameters: [&Tensor; 3]) -> Result<Self> {
        Ok(self.with(self.value.gaussian_mixture(parameters)?))
    }

    fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        Ok(self.keep(ops::linear(&self.value, weight, bias)?))
    }

    fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: impl Into<Padding>,
    ) -> Result<Self> {
        Ok(self.keep(ops::conv2d(&self.value, weight, bias, stride, padding)?))
    }
}

fn no_parts() -> Error {
    Error::Config { field: "parts", reason: "there is none".into() }
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
        Ok(Self { rows, values: points.dims()[0], known: Affines::default() })
    }

    /// The first points have passed the same network with the same weights: what its dense layers and
    /// convolutions gave for them is not computed again.
    ///
    /// # Errors
    /// [`Error::Shape`] later, in a layer that gave another shape before.
    #[must_use]
    pub fn knowing(self, before: &Recorded) -> Self {
        Self { known: Rc::new(RefCell::new(before.kept.take())), ..self }
    }

    fn next_known(&self) -> Option<Tensor> {
        self.known.borrow_mut().pop_front()
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
        Self { rows, values: self.values, known: self.known.clone() }
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
        let Some(first) = parts.first() else { return Err(no_parts()) };
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

    fn gaussian_mixture(&self, parameters: [&Tensor; 3]) -> Result<Self> {
        match ops::gaussian_mixture(&self.rows, self.values, parameters)? {
            Some(rows) => Ok(self.with(rows)),
            None => mixture(self, parameters),
        }
    }

    fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let known = self.next_known();
        let bias = (bias, self.values);
        Ok(self.with(ops::linear_rows(&self.rows, weight, bias, known.as_ref())?))
    }

    fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: impl Into<Padding>,
    ) -> Result<Self> {
        let (known, bias) = (self.next_known(), (bias, self.values));
        let geometry = (stride, padding.into());
        Ok(self.with(ops::conv2d_rows(&self.rows, weight, bias, geometry, known.as_ref())?))
    }

    fn masked(&self, mask: &Tensor) -> Result<Self> {
        let tangents = mask.narrow(0, 0, self.rows.dims()[0] - self.values)?;
        Ok(self.with(self.rows.mul(&Tensor::cat(&[mask, &tangents], 0)?)?))
    }
}
