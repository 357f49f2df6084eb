//! First and second directional derivatives.

use candle_core::{D, Tensor};

use super::Signal;
use crate::{
    error::{Error, Result},
    ops,
};

/// A tensor `a` with `a'` and `a''`, its first and second derivatives along a straight line.
///
/// Of `f` at `x + t v`: the first is `v . grad f`, the second `v . (hess f) v`, which is what sliced
/// score matching asks for. Ordinary tensors with an ordinary graph, as in [`Dual`](super::Dual).
#[derive(Clone, Debug)]
pub struct Jet {
    value: Tensor,
    first: Tensor,
    second: Tensor,
}

impl Jet {
    /// The line `point + t direction` at `t = 0`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ.
    pub fn along(point: Tensor, direction: Tensor) -> Result<Self> {
        if point.dims() != direction.dims() {
            let (expected, got) = (format!("{:?}", point.dims()), direction.dims().to_vec());
            return Err(Error::Shape { what: "direction", expected, got });
        }
        let second = point.zeros_like()?;
        Ok(Self { value: point, first: direction, second })
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The first derivative.
    pub fn first(&self) -> &Tensor {
        &self.first
    }

    /// The second derivative.
    pub fn second(&self) -> &Tensor {
        &self.second
    }

    /// A function of every element from its value and its first two derivatives there:
    /// `b' = phi' a'`, `b'' = phi'' a'^2 + phi' a''`; no third tensor where `phi''` is zero.
    fn pointwise(&self, value: Tensor, slope: &Tensor, bend: Option<&Tensor>) -> Result<Self> {
        let first = slope.mul(&self.first)?;
        let second = slope.mul(&self.second)?;
        let second = match bend {
            Some(bend) => (second + bend.mul(&self.first.sqr()?)?)?,
            None => second,
        };
        Ok(Self { value, first, second })
    }
}

impl Signal for Jet {
    fn batch(&self) -> usize {
        Signal::batch(&self.value)
    }

    fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    fn linear_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.affine_map(|x, _| map(x))
    }

    fn affine_map(&self, map: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            value: map(&self.value, true)?,
            first: map(&self.first, false)?,
            second: map(&self.second, false)?,
        })
    }

    fn joined(parts: &[&Self], map: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        let of = |f: fn(&Self) -> &Tensor| map(&parts.iter().map(|p| f(p)).collect::<Vec<_>>());
        Ok(Self { value: of(|p| &p.value)?, first: of(|p| &p.first)?, second: of(|p| &p.second)? })
    }

    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        let value = self.value.detach();
        let slopes = value.gt(0.0)?.to_dtype(value.dtype())?.affine(1.0 - slope, slope)?;
        self.pointwise(ops::leaky_relu(&self.value, slope)?, &slopes, None)
    }

    fn softplus(&self) -> Result<Self> {
        let slope = ops::sigmoid(&self.value)?;
        let bend = slope.mul(&slope.affine(-1.0, 1.0)?)?;
        self.pointwise(ops::softplus(&self.value)?, &slope, Some(&bend))
    }

    fn square(&self) -> Result<Self> {
        let twos = self.value.ones_like()?.affine(2.0, 0.0)?;
        self.pointwise(self.value.sqr()?, &(&self.value * 2.0)?, Some(&twos))
    }

    fn log_sum_exp(&self) -> Result<Self> {
        let value = Signal::log_sum_exp(&self.value)?;
        let shares = self.value.broadcast_sub(&value.unsqueeze(D::Minus1)?)?.exp()?;
        let first = shares.mul(&self.first)?.sum(D::Minus1)?;
        // sum p a'' + sum p a'^2 - (sum p a')^2.
        let bent = (&self.second + self.first.sqr()?)?;
        let second = (shares.mul(&bent)?.sum(D::Minus1)? - first.sqr()?)?;
        Ok(Self { value, first, second })
    }
}
