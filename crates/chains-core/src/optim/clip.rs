//! Clipping of a whole gradient by its length.

use candle_core::backprop::GradStore;

use crate::{error::Result, host, params::ParamStore};

/// Scales the gradients of the trainable variables of `store` so that their common length is at most
/// `limit`; returns the length that it was before.
///
/// # Errors
/// Of the tensor library.
pub fn clip_norm(store: &ParamStore, grads: &mut GradStore, limit: f64) -> Result<f64> {
    let mut squares = Vec::new();
    for (_, var) in store.trainable() {
        if let Some(grad) = grads.get(var.as_tensor()) {
            squares.push(grad.sqr()?.sum_all()?);
        }
    }
    let squares = host::scalars(&squares.iter().collect::<Vec<_>>())?;
    let length = squares.into_iter().sum::<f64>().sqrt();
    if length > limit {
        for (_, var) in store.trainable() {
            if let Some(grad) = grads.get(var.as_tensor()) {
                let scaled = (grad * (limit / length))?;
                grads.insert(var.as_tensor(), scaled);
            }
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use candle_nn::Init;

    use super::*;
    use crate::{autograd::value_and_gradients, seed::Seed};

    #[test]
    fn a_long_gradient_is_shortened_to_the_limit_and_a_short_one_stays() -> Result<()> {
        let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
        let vb = store.builder();
        let a = vb.get_with_hints(1, "a", Init::Const(3.0))?;
        let b = vb.get_with_hints(2, "b", Init::Const(2.0))?;
        // The gradient is (3, 2, 2), of length sqrt(17).
        let loss = || Ok(((a.sqr()?.sum_all()? + b.sqr()?.sum_all()?)? * 0.5)?);
        for (limit, factor) in [(17_f64.sqrt() / 2.0, 0.5), (5.0, 1.0)] {
            let (_, mut grads) = value_and_gradients(loss)?;
            let length = clip_norm(&store, &mut grads, limit)?;
            assert!((length - 17_f64.sqrt()).abs() < 1e-12);
            let first = |x: &Tensor| grads.get(x).unwrap().to_vec1::<f64>().unwrap()[0];
            assert!((first(&a) - 3.0 * factor).abs() < 1e-12);
            assert!((first(&b) - 2.0 * factor).abs() < 1e-12);
        }
        Ok(())
    }
}
