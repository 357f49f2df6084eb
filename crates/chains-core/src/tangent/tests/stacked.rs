//! Values and tangents of one batch in one tensor, and passes that know each other.

use candle_core::{DType, Device, Tensor};

use crate::{
    Error, Result, ops,
    tangent::{Dual, Recorded, Signal, Stacked},
    testing::{
        assert_agrees, assert_close, assert_thread_count_free, assert_untracked, evaluate, normal,
        on_devices, uniform, values,
    },
};

on_devices!(stacked_rows_are_those_of_a_dual, stacked_mixtures_are_those_of_a_dual);

/// A network of every operation that a [`Stacked`] does in its own way, for maps of two channels.
fn stacked<S: Signal>(x: &S, p: &[Tensor], mask: &Tensor) -> Result<S> {
    let h = x.conv2d(&p[0], Some(&p[1]), 1, 1)?.leaky_relu(0.2)?.masked(mask)?;
    let h = h.conv2d(&p[2], Some(&p[3]), 2, 1)?.softplus()?.affine(0.7, 0.2)?.mean_space()?;
    let h = S::cat(&[&h, &h.narrow(1, 0, 2)?.square()?], 1)?;
    h.linear(&p[4], Some(&p[5]))?.shifted(&p[5])?.scaled(&p[5])?.log_sum_exp()
}

/// 70 points with 67 directions, more than one block.
fn stacked_mixtures_are_those_of_a_dual(device: &Device) -> Result<()> {
    let shapes: [&[usize]; 5] = [&[70, 3], &[67, 3], &[37, 3], &[37, 3], &[37]];
    let inputs: Vec<_> = (0..).zip(shapes).map(|(i, s)| normal(&format!("m{i}"), s)).collect();
    let together = |i: &[Tensor]| {
        let out = Stacked::new(&i[0], &i[1])?.gaussian_mixture([&i[2], &i[3], &i[4]])?;
        Ok(Tensor::cat(&[out.values()?, out.tangents()?], 0)?)
    };
    let apart = |i: &[Tensor]| {
        let mixture = [&i[2], &i[3], &i[4]];
        let dual = Dual::new(i[0].narrow(0, 0, 67)?, i[1].clone())?.gaussian_mixture(mixture)?;
        let alone = i[0].narrow(0, 67, 3)?.gaussian_mixture(mixture)?;
        Ok(Tensor::cat(&[dual.value(), &alone, dual.tangent()], 0)?)
    };
    let want = evaluate(&apart, &inputs, DType::F64, &Device::Cpu)?;
    let got = evaluate(&together, &inputs, DType::F64, &Device::Cpu)?;
    assert_close("values and tangents", &got.value, &want.value, 1e-12);
    assert_agrees("mixture", &together, &inputs, device, 2e-5)?;
    let plain = |i: &[Tensor]| i[0].gaussian_mixture([&i[1], &i[2], &i[3]]);
    let alone = [inputs[0].clone(), inputs[2].clone(), inputs[3].clone(), inputs[4].clone()];
    assert_agrees("values alone", &plain, &alone, device, 2e-5)?;
    assert_thread_count_free("mixture", together, &inputs)?;
    (0..4).try_for_each(|frozen| assert_untracked("mixture", &plain, &alone, frozen))?;
    assert!(inputs[0].gaussian_mixture([&inputs[2], &inputs[3], &inputs[0]]).is_err());
    // Far from every component the value is the nearest one's.
    let at = |x: f32| Ok::<_, Error>(Tensor::new(&[[x]], device)?);
    let [mean, root] =
        [Tensor::new(&[[0.0_f32], [1.0]], device)?, Tensor::new(&[[1.0_f32]; 2], device)?];
    let scale = Tensor::new(&[0.0_f32, 0.0], device)?;
    let far = at(1001.0)?.gaussian_mixture([&mean, &root, &scale])?;
    assert_close("far", &values(&far), &[-500_000.0], 1e-7);
    Ok(())
}

fn stacked_rows_are_those_of_a_dual(device: &Device) -> Result<()> {
    let shapes: [&[usize]; 6] = [&[3, 2, 3, 3], &[3], &[4, 3, 3, 3], &[4], &[5, 6], &[5]];
    let mut inputs = vec![uniform("x", (3, 2, 5, 5), -2.0, 1.9), normal("v", (2, 2, 5, 5))];
    inputs.extend(shapes.iter().enumerate().map(|(i, s)| normal(&format!("p{i}"), *s)));
    let mask = uniform("mask", (3, 3, 5, 5), 0.0, 2.0);
    let same = |mask: &Tensor, like: &Tensor| -> Result<Tensor> {
        Ok(mask.to_dtype(like.dtype())?.to_device(like.device())?)
    };
    let together = |i: &[Tensor]| {
        let out = stacked(&Stacked::new(&i[0], &i[1])?, &i[2..], &same(&mask, &i[0])?)?;
        Ok(Tensor::cat(&[out.values()?, out.tangents()?], 0)?)
    };
    let apart = |i: &[Tensor]| {
        let mask = same(&mask, &i[0])?;
        let dual = Dual::new(i[0].narrow(0, 0, 2)?, i[1].clone())?;
        let dual = stacked(&dual, &i[2..], &mask.narrow(0, 0, 2)?)?;
        let alone = stacked(&i[0].narrow(0, 2, 1)?, &i[2..], &mask.narrow(0, 2, 1)?)?;
        Ok(Tensor::cat(&[dual.value(), &alone, dual.tangent()], 0)?)
    };
    let want = evaluate(&apart, &inputs, DType::F64, &Device::Cpu)?;
    let got = evaluate(&together, &inputs, DType::F64, &Device::Cpu)?;
    assert_close("values and tangents", &got.value, &want.value, 1e-12);
    for (got, want) in got.grads.iter().zip(&want.grads) {
        assert_close("gradients", got.as_ref().unwrap(), want.as_ref().unwrap(), 1e-11);
    }
    assert_agrees("stacked", &together, &inputs, device, 2e-5)?;
    assert_thread_count_free("stacked", together, &inputs)?;
    assert!(Stacked::new(&inputs[1], &inputs[0]).is_err());

    // The same with the first two points' layers from a pass before.
    let knowing = |i: &[Tensor]| {
        let mask = same(&mask, &i[0])?;
        let before = Recorded::new(&i[0].narrow(0, 0, 2)?.detach());
        stacked(&before, &i[2..], &mask.narrow(0, 0, 2)?)?;
        let out = stacked(&Stacked::new(&i[0], &i[1])?.knowing(&before), &i[2..], &mask)?;
        Ok(Tensor::cat(&[out.values()?, out.tangents()?], 0)?)
    };
    assert_agrees("stacked, knowing", &knowing, &inputs, device, 2e-5)?;
    assert_thread_count_free("stacked, knowing", knowing, &inputs)
}

#[test]
fn known_layers_are_taken_and_those_of_another_shape_refused() -> Result<()> {
    let put = |name: &str, shape: &[usize]| normal(name, shape).to_dtype(DType::F32);
    let (x, v, w) = (put("x", &[3, 4])?, put("v", &[2, 4])?, put("w", &[5, 4])?);
    let before = Recorded::new(&(x.narrow(0, 0, 2)? * 2.0)?);
    before.linear(&w, None)?;
    let got = Stacked::new(&x, &v)?.knowing(&before).linear(&w, None)?;
    let twice = Tensor::cat(&[(x.narrow(0, 0, 2)? * 2.0)?, x.narrow(0, 2, 1)?], 0)?;
    assert_close("values", &values(&got.values()?), &values(&ops::linear(&twice, &w, None)?), 1e-6);
    assert_close("tangents", &values(&got.tangents()?), &values(&ops::linear(&v, &w, None)?), 1e-6);
    before.linear(&w, None)?;
    let other = put("other", &[6, 4])?;
    let error = Stacked::new(&x, &v)?.knowing(&before).linear(&other, None).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error:?}");

    let (x, w) = (put("maps", &[3, 2, 4, 4])?, put("kernel", &[3, 2, 3, 3])?);
    let before = Recorded::new(&x);
    before.conv2d(&w, None, 1, 1)?;
    let error = Stacked::new(&x, &x)?.knowing(&before).conv2d(&w, None, 2, 1).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error:?}");
    Ok(())
}
