//! Gradients on a tape against those of candle's graph.

use std::slice::from_ref;

use candle_core::{D, DType};

use super::*;
use crate::{
    ops,
    testing::{assert_close, normal, values},
};

fn var(label: &str, shape: &[usize]) -> Tensor {
    Var::from_tensor(&normal(label, shape).to_dtype(DType::F32).unwrap()).unwrap().into_inner()
}

/// Fused operations, candle's own, views, and tensors that are used more than once.
fn mixed([x, w, b]: [&Tensor; 3]) -> Result<Tensor> {
    let h = ops::silu(&ops::linear(x, w, Some(b))?)?;
    let gate = (h.narrow(1, 0, 3)? * 0.5)?;
    let wide = ops::reshape(&ops::tanh(&h)?, (2, 2, 6))?;
    let flat = ops::reshape(&wide.broadcast_mul(&b.reshape((1, 1, 6))?)?, (4, 6))?;
    let again = ops::linear(&flat, w, None)?;
    let tail = ops::log_add_exp(&again, &h)?.narrow(1, 3, 3)?;
    Ok((ops::sigmoid(&gate)?.mul(&tail)?.sum(D::Minus1)? + x.sum(1)?)?)
}

fn operands() -> [Tensor; 3] {
    [var("x", &[4, 6]), var("w", &[6, 6]), var("b", &[6])]
}

#[test]
fn gradients_are_those_of_the_graph() -> Result<()> {
    let operands = operands();
    let [x, w, b] = operands.each_ref();
    let graph = mixed([x, w, b])?;
    let want = graph.backward()?;
    let (value, got) = value_and_gradients(|| mixed([x, w, b]))?;
    assert_eq!(values(&value), values(&graph));
    assert!(!value.track_op());
    for operand in &operands {
        let [got, want] = [&got, &want].map(|grads| values(grads.get(operand).unwrap()));
        assert_close("gradient", &got, &want, 1e-6);
    }
    assert_eq!(got.get_ids().count(), 3, "gradients of tensors in between are not kept");
    Ok(())
}

#[test]
fn an_inner_scope_has_gradients_of_its_own() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&normal("x", 5).to_dtype(dtype)?)?.into_inner();
        for fused in [true, false] {
            let (_, outer) = value_and_gradients(|| {
                let y = ops::silu(&x)?;
                let point = Var::from_tensor(&y.detach())?.into_inner();
                let (_, inner) = value_and_gradients(|| {
                    Ok(if fused { ops::exp(&point)? } else { point.exp()? })
                })?;
                // A constant of the outer scope.
                let score = inner.get(&point).expect("gradient at the point");
                assert!(!score.track_op());
                Ok(y.mul(score)?.sum_all()?)
            })?;
            let score = ops::silu(&x)?.exp()?.detach();
            let want = ops::silu(&x)?.mul(&score)?.sum_all()?.backward()?;
            let [got, want] = [&outer, &want].map(|grads| values(grads.get(&x).unwrap()));
            assert_close("outer", &got, &want, 1e-6);
        }
    }
    Ok(())
}

#[test]
fn sums_views_of_views_and_repeated_operands_keep_their_gradients() -> Result<()> {
    let [x, w, _] = operands();
    let f = || -> Result<Tensor> {
        let mut h = x.clone();
        for _ in 0..3 {
            h = ops::add(&h, &ops::tanh(&ops::linear(&h, &w, None)?)?)?;
            // A sum of candle's, used twice by fused operations.
            h = (&h + ops::log_add_exp(&h, &h)?)?;
            h = ops::add(&ops::silu(&h)?, &ops::sigmoid(&h)?)?;
        }
        let view = ops::reshape(&ops::reshape(&h, (2, 12))?, (3, 8))?;
        ops::add(&ops::exp(&view)?, &(&view * 0.5)?)
    };
    let want = f()?.backward()?;
    let (_, got) = value_and_gradients(f)?;
    for operand in [&x, &w] {
        let [got, want] = [&got, &want].map(|grads| values(grads.get(operand).unwrap()));
        assert_close("gradient", &got, &want, 1e-6);
    }
    Ok(())
}

#[test]
fn a_failed_scope_leaves_no_tape() -> Result<()> {
    let x = var("x", &[5]);
    let failed = value_and_gradients(|| {
        ops::silu(&x)?;
        Err(crate::Error::NonFinite { what: "value", step: 0 })
    });
    assert!(failed.is_err() && !recording(&[&x]));
    let panic = std::panic::catch_unwind(|| {
        let _ = value_and_gradients(|| -> Result<Tensor> { panic!("inside") });
    });
    assert!(panic.is_err() && !recording(&[&x]));
    assert!(ops::silu(&x)?.sum_all()?.backward()?.get(&x).is_some());
    Ok(())
}

#[test]
fn weights_stand_for_the_gradient_of_the_value() -> Result<()> {
    let (x, weights) = (var("x", &[5]), normal("weights", 5).to_dtype(DType::F32)?);
    let want = ops::silu(&x)?.mul(&weights)?.sum_all()?.backward()?;
    let want = values(want.get(&x).unwrap());
    for affine in [false, true] {
        let f = || Ok(if affine { (ops::silu(&x)? + 0.0)? } else { ops::silu(&x)? });
        let (_, got) = value_and_weighted_gradients(f, &weights)?;
        assert_close("gradient", &values(got.get(&x).unwrap()), &want, 1e-6);
    }
    assert!(value_and_weighted_gradients(|| ops::silu(&x), &x.narrow(0, 0, 2)?).is_err());
    // Weights are constants, also if they have a graph or are variables themselves.
    let (_, got) = value_and_weighted_gradients(|| Ok((&x * 2.0)?), &x)?;
    assert_close("gradient", &values(got.get(&x).unwrap()), &values(&(&x * 2.0)?), 1e-6);
    Ok(())
}

#[test]
fn gradients_of_parts_add_up_to_those_of_the_sum() -> Result<()> {
    let [x, w, b] = operands();
    let parts: [&dyn Fn() -> Result<Tensor>; 3] =
        [&|| mixed([&x, &w, &b]), &|| Ok(ops::silu(&x)?.sum(1)?), &|| {
            Ok(ops::linear(&x, &w, None)?.sum(1)?)
        }];
    let (_, mut sum) = value_and_gradients(|| ops::exp(&w))?;
    for part in parts {
        add_gradients(&mut sum, &value_and_gradients(part)?.1)?;
    }
    let (_, want) = value_and_gradients(|| {
        let rest = parts.iter().map(|part| part()).collect::<Result<Vec<_>>>()?;
        Ok((Tensor::stack(&rest, 0)?.sum(0)?.sum_all()? + ops::exp(&w)?.sum_all()?)?)
    })?;
    for operand in [&x, &w, &b] {
        let [got, want] = [&sum, &want].map(|grads| values(grads.get(operand).unwrap()));
        assert_close("gradient", &got, &want, 1e-6);
    }
    Ok(())
}

#[test]
fn a_constant_has_no_gradients() -> Result<()> {
    let x = normal("x", 5).to_dtype(DType::F32)?;
    let (value, grads) = value_and_gradients(|| ops::silu(&x))?;
    assert_eq!(values(&value), values(&ops::silu(&x)?));
    assert!(grads.get(&x).is_none());
    Ok(())
}

/// Two losses that share a pass through `w`: one moves `x`, the other `w` alone.
#[test]
fn losses_that_share_a_pass_are_differentiated_in_their_own_variables() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let var = |label: &str, shape: &[usize]| -> Result<Var> {
            Ok(Var::from_tensor(&normal(label, shape).to_dtype(dtype)?)?)
        };
        let (x, w, b) = (var("x", &[4, 6])?, var("w", &[6, 6])?, var("b", &[6])?);
        let losses = || -> Result<Vec<Tensor>> {
            let h = ops::silu(&ops::linear(&ops::tanh(&x)?, &w, Some(&b))?)?;
            let wide = ops::reshape(&h, (2, 12))?;
            Ok(vec![ops::sigmoid(&wide)?.sum_all()?, (ops::exp(&(&h * 0.3)?)? + &h)?.sum_all()?])
        };
        let wanted: [&[Var]; 2] = [from_ref(&x), &[w.clone(), b.clone()]];
        let got = values_and_gradients(losses, &wanted)?;
        let graph = losses()?;
        for ((value, grads), (graph, wanted)) in got.iter().zip(graph.iter().zip(wanted)) {
            assert_eq!(values(value), values(graph));
            let want = graph.backward()?;
            assert_eq!(grads.get_ids().count(), wanted.len(), "others are not kept");
            for var in wanted {
                let [got, want] = [grads, &want].map(|grads| values(grads.get(var).unwrap()));
                assert_close("gradient", &got, &want, 1e-6);
            }
        }
        let one: [&[Var]; 1] = [from_ref(&x)];
        assert!(values_and_gradients(losses, &one).is_err());
    }
    Ok(())
}

#[test]
fn nothing_is_computed_for_variables_that_are_not_wanted() -> Result<()> {
    use std::sync::{Arc, Mutex};

    /// Doubles its operand and notes whether a gradient was asked for.
    struct Noting(Arc<Mutex<Vec<bool>>>);
    impl candle_core::CustomOp1 for Noting {
        fn name(&self) -> &'static str {
            "noting"
        }
        fn cpu_fwd(
            &self,
            x: &CpuStorage,
            layout: &candle_core::Layout,
        ) -> candle_core::Result<(CpuStorage, Shape)> {
            let doubled = ops::slice(x, layout)?.iter().map(|x| 2.0 * x).collect();
            Ok((CpuStorage::F32(doubled), layout.shape().clone()))
        }
        fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> candle_core::Result<Option<Tensor>> {
            self.0.lock().unwrap().push(x.track_op());
            Ok(Some((g * 2.0)?))
        }
    }
    let asked = Arc::new(Mutex::new(Vec::new()));
    let [x, y] = ["x", "y"]
        .map(|label| Var::from_tensor(&normal(label, 3).to_dtype(DType::F32).unwrap()).unwrap());
    let loss = || {
        let parts = [&x, &y].map(|v| apply1(Noting(asked.clone()), v).unwrap());
        Ok(vec![ops::add(&parts[0], &parts[1])?.sum_all()?])
    };
    let one: [&[Var]; 1] = [from_ref(&x)];
    let got = values_and_gradients(loss, &one)?;
    assert_eq!(values(got[0].1.get(&x).unwrap()), [2.0; 3]);
    assert_eq!(*asked.lock().unwrap(), [true], "the way to the other variable was taken");
    Ok(())
}
