//! Samples, and the price of the mixture: the paths without a graph against those with one.

use candle_core::{DType, Device, Tensor, Var};

use crate::{
    Error, Result,
    ops::{gaussian_draw, mixture_log_ratio},
    testing::{assert_close, assert_thread_count_free, normal, on_devices, uniform, values},
};

on_devices!(
    a_gaussian_draw_is_the_same_with_and_without_a_graph,
    a_log_ratio_is_the_same_with_and_without_a_graph,
);

const SHAPES: [&[usize]; 5] = [&[1], &[3, 5], &[2, 3, 2, 5], &[7, 9_000], &[30_000, 2]];

fn to(device: &Device, tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_dtype(DType::F32)?.to_device(device)?)
}

fn a_gaussian_draw_is_the_same_with_and_without_a_graph(device: &Device) -> Result<()> {
    for shape in SHAPES {
        let mean = to(device, &normal("mean", shape))?;
        let variance = to(device, &uniform("variance", shape, 0.0, 3.0))?;
        let e = to(device, &normal("e", shape))?;
        let drawn = gaussian_draw(&mean, &variance, &e)?;
        assert!(!drawn.track_op());
        let tracked = gaussian_draw(Var::from_tensor(&mean)?.as_tensor(), &variance, &e)?;
        assert!(tracked.track_op());
        assert_close(&format!("{shape:?}"), &values(&drawn), &values(&tracked), 1e-7);
    }
    let (small, large) = (normal("a", (2, 3)), normal("b", (3, 2)));
    assert!(gaussian_draw(&small, &small, &large).is_err());
    Ok(())
}

fn a_log_ratio_is_the_same_with_and_without_a_graph(device: &Device) -> Result<()> {
    for shape in SHAPES {
        let [base, spike, z] = ["base", "spike", "z"].map(|label| normal(label, shape));
        let [base, spike, z] = [to(device, &base)?, to(device, &spike)?, to(device, &z)?];
        let wide = to(device, &uniform("wide", shape, 0.05, 3.0))?;
        // Narrow spikes: some values are hundreds of deviations away.
        let narrow = to(device, &uniform("narrow", shape, 1e-4, 1e-3))?;
        for rate in [0.01, 0.5, 0.99] {
            let of = |base: &Tensor| mixture_log_ratio(rate, [base, &wide], [&spike, &narrow], &z);
            let got = of(&base)?;
            assert!(!got.track_op() && got.dims() == &shape[..1]);
            let want = of(Var::from_tensor(&base)?.as_tensor())?;
            assert!(want.track_op());
            assert_close(&format!("{shape:?} {rate}"), &values(&got), &values(&want), 3e-6);
        }
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    let shape = (400, 300);
    let wide = uniform("wide", shape, 0.05, 3.0);
    let inputs = [normal("z", shape), normal("base", shape), normal("spike", shape), wide];
    let ratio = |i: &[Tensor]| {
        let i: Vec<_> = i.iter().map(Tensor::detach).collect();
        mixture_log_ratio(0.1, [&i[1], &i[3]], [&i[2], &i[3]], &i[0])
    };
    assert_thread_count_free("log ratio", ratio, &inputs)?;
    let draw = |i: &[Tensor]| gaussian_draw(&i[1].detach(), &i[3].detach(), &i[0].detach());
    assert_thread_count_free("draw", draw, &inputs)
}

#[test]
fn shapes_that_differ_are_an_error() {
    let (small, large) = (normal("a", (2, 3)), normal("b", (3, 2)));
    for [base, spike, z] in
        [[&large, &small, &small], [&small, &large, &small], [&small, &small, &large]]
    {
        let error = mixture_log_ratio(0.1, [base, base], [spike, spike], z).unwrap_err();
        assert!(matches!(error, Error::Shape { .. } | Error::Tensor(_)), "{error:?}");
    }
}
