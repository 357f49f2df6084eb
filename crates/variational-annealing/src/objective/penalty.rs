//! The gradient penalty without a second backward pass.

use std::cell::RefCell;

use candle_core::Tensor;
use chains_core::{
    Result,
    density::value_and_grad,
    host,
    tangent::{Recorded, Stacked},
};

/// The least length of a gradient, against a division by zero.
const FLOOR: f64 = 1e-12;

/// A penalty `mean (|grad_x d| - 1)^2` at some points, ready to be differentiated in the critic's
/// weights.
pub struct Penalty {
    /// Its value.
    pub value: f64,
    /// Mean length of the gradients.
    pub length: f64,
    points: Stacked,
}

/// The penalty at `x` of a critic with constant weights.
///
/// With `g = grad_x d` and `w = 2 (1 - 1 / |g|) g` held constant, the weights' gradient of
/// `(|g| - 1)^2` is that of `w . grad_x d`, a directional derivative of the critic.
///
/// # Shapes
/// `x`: `(b, ..event)`; the critic's logits `(b,)`. Rows must not interact.
///
/// # Errors
/// Of the critic.
pub fn penalty_at(x: &Tensor, frozen: impl Fn(&Recorded) -> Result<Recorded>) -> Result<Penalty> {
    let before = RefCell::new(None);
    let logits = |x: &Tensor| {
        let x = Recorded::new(x);
        let logits = frozen(&x)?.value().clone();
        *before.borrow_mut() = Some(x);
        Ok(logits)
    };
    let (_, g) = value_and_grad(x, logits)?;
    let length = g.flatten_from(1)?.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(FLOOR)?;
    let pull = length.recip()?.affine(-2.0, 2.0)?;
    let b = x.dims().first().copied().unwrap_or(0);
    let wide = [&[b][..], &vec![1; x.rank().saturating_sub(1)]].concat();
    let direction = g.broadcast_mul(&pull.reshape(wide)?)?;
    let points = Stacked::new(&x.detach(), &direction)?;
    let points = match before.into_inner() {
        Some(before) => points.knowing(&before),
        None => points,
    };
    let value = (&length - 1.0)?.sqr()?.mean_all()?;
    let [value, length] = host::scalars_or_zero([Some(&value), Some(&length.mean_all()?)])?;
    Ok(Penalty { value, length, points })
}

impl Penalty {
    /// A scalar whose gradient in the weights of `live`, the same critic with a graph, is that of the
    /// penalty; its value is not.
    ///
    /// # Errors
    /// Of the critic.
    pub fn surrogate(&self, live: impl Fn(&Stacked) -> Result<Stacked>) -> Result<Tensor> {
        Ok(live(&self.points)?.tangents()?.mean_all()?)
    }
}

/// Points between data and generated images, `u x + (1 - u) x'` with one `u` of `(b,)` a row.
///
/// # Errors
/// If the shapes differ.
pub(crate) fn between(x: &Tensor, fake: &Tensor, u: &Tensor) -> Result<Tensor> {
    let wide = [&[x.dims()[0]][..], &vec![1; x.rank() - 1]].concat();
    let u = u.reshape(wide)?;
    let fake = fake.detach();
    Ok((&fake + (x.detach() - &fake)?.broadcast_mul(&u)?)?)
}
