//! Tangents against central differences of the value, their gradients against central differences of
//! the tangent, and closed forms.

use candle_core::{DType, Device, Tensor, Var};

use super::{Dual, Jet, Signal};
use crate::{
    Error, Result,
    ops::{self, NormActivation, NormOptions},
    testing::{
        assert_agrees, assert_close, assert_differences, evaluate, normal, on_devices, uniform,
        values,
    },
};

on_devices!(
    fused_tangents_equal_the_composed_path,
    the_penalty_of_a_quadratic_energy_has_its_closed_form,
);

mod stacked;

type Map = fn(&Dual, &[Tensor]) -> Result<Dual>;

/// A layer, the shape of its input and of its parameters.
struct Case {
    name: &'static str,
    x: &'static [usize],
    parameters: &'static [&'static [usize]],
    map: Map,
}

fn batch_norm(x: &Dual, p: &[Tensor], batch: bool, activation: NormActivation) -> Result<Dual> {
    // Frozen moments are those of another batch.
    let source =
        if batch { x.value().clone() } else { (x.value().detach() * 0.5)?.affine(1.0, 0.3)? };
    let moments = ops::batch_moments(&source)?;
    let moments = if batch { moments } else { fixed(&moments)? };
    x.normalise(&moments, [&p[0], &p[1]], 1e-2, NormOptions { batch, activation })
}

/// Moments that do not depend on the input.
fn fixed(moments: &ops::BatchMoments) -> Result<ops::BatchMoments> {
    let mean = moments.mean.zeros_like()?.affine(1.0, 0.2)?;
    Ok(ops::BatchMoments { variance: mean.affine(2.0, 0.3)?, mean })
}

const CASES: &[Case] = &[
    Case {
        name: "linear",
        x: &[3, 4],
        parameters: &[&[5, 4], &[5]],
        map: |x, p| x.linear(&p[0], Some(&p[1])),
    },
    Case {
        name: "conv",
        x: &[2, 3, 5, 4],
        parameters: &[&[4, 3, 3, 3], &[4]],
        map: |x, p| x.conv2d(&p[0], Some(&p[1]), 2, 1),
    },
    Case {
        name: "conv padded on one axis",
        x: &[2, 3, 4, 5],
        parameters: &[&[4, 3, 1, 3]],
        map: |x, p| x.conv2d(&p[0], None, 1, [0, 1]),
    },
    Case {
        name: "pointwise conv",
        x: &[2, 3, 3, 2],
        parameters: &[&[4, 3, 1, 1]],
        map: |x, p| x.conv2d(&p[0], None, 1, 0),
    },
    Case {
        name: "transposed conv",
        x: &[2, 3, 3, 3],
        parameters: &[&[3, 2, 5, 5], &[2]],
        map: |x, p| x.conv_transpose2d(&p[0], Some(&p[1]), [2, 2, 1]),
    },
    Case {
        name: "depthwise conv",
        x: &[2, 3, 5, 5],
        parameters: &[&[3, 1, 5, 5], &[3]],
        map: |x, p| x.depthwise_conv2d(&p[0], Some(&p[1]), 1, 2),
    },
    Case {
        name: "batch norm",
        x: &[2, 6, 3],
        parameters: &[&[2, 3], &[2, 3]],
        map: |x, p| batch_norm(x, p, true, NormActivation::None),
    },
    Case {
        name: "batch norm of maps",
        x: &[1, 3, 2, 3, 2],
        parameters: &[&[1, 2], &[1, 2]],
        map: |x, p| batch_norm(x, p, true, NormActivation::Relu),
    },
    Case {
        name: "frozen batch norm",
        x: &[2, 4, 3],
        parameters: &[&[2, 3], &[2, 3]],
        map: |x, p| batch_norm(x, p, false, NormActivation::Relu),
    },
    Case {
        name: "batch norm and swish",
        x: &[1, 3, 2, 3, 2],
        parameters: &[&[1, 2], &[1, 2]],
        map: |x, p| batch_norm(x, p, true, NormActivation::Swish),
    },
    Case {
        name: "layer norm",
        x: &[3, 6],
        parameters: &[&[6], &[6]],
        map: |x, p| x.layer_norm(Some(&p[0]), Some(&p[1]), 1e-2),
    },
    Case {
        name: "layer norm without parameters",
        x: &[3, 6],
        parameters: &[],
        map: |x, _| x.layer_norm(None, None, 1e-2),
    },
    Case { name: "upsampling", x: &[2, 2, 3, 2], parameters: &[], map: |x, _| x.upsample2() },
    Case { name: "average pooling", x: &[2, 2, 4, 5], parameters: &[], map: |x, _| x.avg_pool2() },
    Case { name: "max pooling", x: &[2, 2, 5, 4], parameters: &[], map: |x, _| x.max_pool2() },
    Case { name: "relu", x: &[3, 5], parameters: &[], map: |x, _| x.relu() },
    Case { name: "leaky relu", x: &[3, 5], parameters: &[], map: |x, _| x.leaky_relu(0.2) },
    Case { name: "softplus", x: &[3, 5], parameters: &[], map: |x, _| x.softplus() },
    Case { name: "silu", x: &[3, 5], parameters: &[], map: |x, _| x.silu() },
    Case { name: "elu", x: &[3, 5], parameters: &[], map: |x, _| x.elu(1.5) },
    Case { name: "sigmoid", x: &[3, 5], parameters: &[], map: |x, _| x.sigmoid() },
    Case { name: "tanh", x: &[3, 5], parameters: &[], map: |x, _| x.tanh() },
    Case { name: "exp", x: &[3, 5], parameters: &[], map: |x, _| x.exp() },
    Case { name: "square", x: &[3, 5], parameters: &[], map: |x, _| x.square() },
    Case {
        name: "scaled and shifted",
        x: &[3, 1, 4],
        parameters: &[&[1, 2, 4], &[1, 2, 4]],
        map: |x, p| x.shifted(&p[0])?.scaled(&p[1])?.square()?.sum_last(),
    },
    Case { name: "log-sum-exp", x: &[3, 5], parameters: &[], map: |x, _| x.log_sum_exp() },
    Case {
        name: "mixture",
        x: &[4, 3],
        parameters: &[&[5, 3], &[5, 3], &[5]],
        map: |x, p| x.gaussian_mixture([&p[0], &p[1], &p[2]]),
    },
    Case {
        name: "Gaussian",
        x: &[3, 5],
        parameters: &[&[3, 5], &[3, 5]],
        map: |x, p| x.gaussian_log_prob(&p[0], &p[1].sqr()?.affine(1.0, 0.5)?),
    },
    Case { name: "mean over space", x: &[2, 3, 2, 2], parameters: &[], map: |x, _| x.mean_space() },
    Case { name: "sum over the event", x: &[2, 3, 2], parameters: &[], map: |x, _| x.sum_event() },
    Case {
        name: "product with itself",
        x: &[3, 5],
        parameters: &[],
        map: |x, _| x.mul(&x.affine(2.0, 1.0)?),
    },
    Case {
        name: "sum with a constant",
        x: &[3, 5],
        parameters: &[&[3, 5]],
        map: |x, p| x.add(&Dual::constant(p[0].clone())?)?.mul(x),
    },
    Case {
        name: "parts",
        x: &[3, 4],
        parameters: &[],
        map: |x, _| Dual::cat(&[&x.narrow(1, 2, 2)?, x], 1)?.reshape_event(&[2, 3])?.tanh(),
    },
];

impl Case {
    /// The point, the direction and the parameters.
    fn inputs(&self) -> Vec<Tensor> {
        // Off zero, where a ReLU has no derivative.
        let x = uniform("x", self.x, -2.0, 1.9);
        let mut inputs = vec![x, normal("direction", self.x)];
        let parameters = self.parameters.iter().enumerate();
        inputs.extend(parameters.map(|(i, shape)| normal(&format!("parameter {i}"), *shape)));
        inputs
    }

    fn dual(&self, i: &[Tensor]) -> Result<Dual> {
        (self.map)(&Dual::new(i[0].clone(), i[1].clone())?, &i[2..])
    }
}

#[test]
fn a_tangent_is_the_central_difference_of_the_value() -> Result<()> {
    const H: f64 = 1e-5;
    for case in CASES {
        let inputs = case.inputs();
        let at = |step: f64| -> Result<Tensor> {
            let mut moved = inputs.clone();
            moved[0] = (&inputs[0] + (&inputs[1] * step)?)?;
            Ok(case.dual(&moved)?.value().clone())
        };
        let want = ((at(H)? - at(-H)?)? / (2.0 * H))?;
        let got = case.dual(&inputs)?;
        assert_close(case.name, &values(got.tangent()), &values(&want), 1e-7);
        assert_eq!(values(got.value()), values(&at(0.0)?), "{}", case.name);
    }
    Ok(())
}

#[test]
fn a_tangent_differentiates_in_point_direction_and_parameters() -> Result<()> {
    for case in CASES {
        let tangent = |i: &[Tensor]| Ok(case.dual(i)?.tangent().clone());
        let inputs = case.inputs();
        differences_where_there_is_a_gradient(case.name, &tangent, &inputs)?;
    }
    Ok(())
}

/// [`assert_differences`] of the operands that the tangent depends on, the others held.
fn differences_where_there_is_a_gradient(
    name: &str,
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<()> {
    let found = evaluate(f, inputs, DType::F64, &Device::Cpu)?;
    let moving: Vec<usize> = (0..inputs.len()).filter(|i| found.grads[*i].is_some()).collect();
    assert!(moving.contains(&1), "{name}: the direction has a gradient");
    let some: Vec<Tensor> = moving.iter().map(|i| inputs[*i].clone()).collect();
    let held = |i: &[Tensor]| {
        let mut all = inputs.to_vec();
        moving.iter().zip(i).for_each(|(at, tensor)| all[*at] = tensor.clone());
        f(&all)
    };
    assert_differences(name, &held, &some)?;
    // Those without a gradient do not change the tangent.
    for at in (0..inputs.len()).filter(|i| found.grads[*i].is_none()) {
        let mut moved = inputs.to_vec();
        moved[at] = (&inputs[at] + 1e-4)?;
        assert_close(name, &values(&f(&moved)?), &found.value, 1e-9);
    }
    Ok(())
}

fn fused_tangents_equal_the_composed_path(device: &Device) -> Result<()> {
    for case in CASES {
        let both = |i: &[Tensor]| {
            let dual = case.dual(i)?;
            Ok(Tensor::cat(&[dual.value().flatten_all()?, dual.tangent().flatten_all()?], 0)?)
        };
        assert_agrees(case.name, &both, &case.inputs(), device, 2e-5)?;
    }
    Ok(())
}

/// `f = w.x + s x.x / 2`: with `v = w + s x`, the penalty is `mean v.v` and its gradient in `w` is
/// `2 mean v`.
fn the_penalty_of_a_quadratic_energy_has_its_closed_form(device: &Device) -> Result<()> {
    let (n, d, s) = (5, 4, 0.7);
    let put = |t: Tensor| -> Result<Tensor> { Ok(t.to_dtype(DType::F32)?.to_device(device)?) };
    let (x, w) = (put(normal("x", (n, d)))?, Var::from_tensor(&put(normal("w", (1, d)))?)?);
    let energy = |x: &Dual| -> Result<Dual> {
        x.linear(&w, None)?.sum_event()?.add(&x.mul(x)?.affine(0.5 * s, 0.0)?.sum_event()?)
    };
    let point = Var::from_tensor(&x)?;
    let value = energy(&Dual::constant(point.as_tensor().clone())?)?.value().sum_all()?;
    let gradient = value.backward()?.get(&point).cloned().unwrap();
    let v = w.broadcast_add(&(&x * s)?)?;
    assert_close("gradient", &values(&gradient), &values(&v), 1e-6);

    let along = energy(&Dual::new(x.clone(), gradient.detach())?)?;
    let penalty = (along.tangent().sum_all()? / n as f64)?;
    let want = (v.sqr()?.sum_all()? / n as f64)?;
    assert_close("penalty", &values(&penalty), &values(&want), 1e-6);
    // The tangent has the gradient of half the penalty.
    let grads = penalty.backward()?;
    let want = v.mean_keepdim(0)?.detach();
    assert_close("gradient in w", &values(grads.get(&w).unwrap()), &values(&want), 1e-6);
    Ok(())
}

#[test]
fn a_direction_of_another_shape_is_refused() -> Result<()> {
    let error = Dual::new(normal("a", (2, 3)), normal("b", (3, 2))).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "tangent", .. }), "{error:?}");
    Ok(())
}

/// Networks of every operation that a [`Jet`] passes, for points of three numbers.
fn bent<S: Signal>(x: &S, p: &[Tensor], which: usize) -> Result<S> {
    let h = x.linear(&p[0], Some(&p[1]))?;
    let h = match which {
        0 => h.softplus()?.add(&h)?,
        1 => S::cat(&[&h.leaky_relu(0.2)?, &h.narrow(1, 1, 2)?], 1)?.square()?,
        2 => h.square()?.affine(0.3, 0.1)?.softplus()?,
        3 => h.shifted(&p[1])?.scaled(&p[1])?.softplus()?,
        _ => return x.gaussian_mixture([&p[0], &p[0].affine(0.5, 1.0)?, &p[1]]),
    };
    h.log_sum_exp()
}

#[test]
fn jets_are_the_central_differences_of_the_value_and_differentiate() -> Result<()> {
    const H: f64 = 1e-4;
    let inputs =
        [normal("x", (2, 3)), normal("v", (2, 3)), normal("weight", (4, 3)), normal("bias", 4)];
    for which in 0..5 {
        let at = |t: f64| -> Result<Tensor> {
            bent(&(&inputs[0] + (&inputs[1] * t)?)?, &inputs[2..], which)
        };
        let jet = |i: &[Tensor]| bent(&Jet::along(i[0].clone(), i[1].clone())?, &i[2..], which);
        let found = jet(&inputs)?;
        assert_eq!(values(found.value()), values(&at(0.0)?));
        let first = ((at(H)? - at(-H)?)? / (2.0 * H))?;
        assert_close("first", &values(found.first()), &values(&first), 1e-6);
        let second = (((at(H)? + at(-H)?)? - (at(0.0)? * 2.0)?)? / (H * H))?;
        assert_close("second", &values(found.second()), &values(&second), 1e-5);
        let both = |i: &[Tensor]| {
            let jet = jet(i)?;
            Ok((jet.first() + jet.second())?)
        };
        assert_differences("jet", &both, &inputs)?;
    }
    assert!(Jet::along(inputs[0].clone(), inputs[2].clone()).is_err());
    Ok(())
}
