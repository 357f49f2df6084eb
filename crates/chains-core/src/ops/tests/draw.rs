//! Samples, and the price of the mixture: the paths without a graph against those with one.

use candle_core::{DType, Device, Tensor, Var};

use crate::{
    Error, HostNoise, Noise, Result, Seed,
    dist::{DiagGaussian, DimensionMixture, Masks},
    noise::DeviceNoise,
    ops::{gaussian_draw, mixture_log_ratio, scaled_sigmoid, sigmoid, squashed_mixture_draw},
    testing::{assert_close, assert_thread_count_free, normal, on_devices, uniform, values},
};

on_devices!(
    a_gaussian_draw_is_the_same_with_and_without_a_graph,
    a_log_ratio_is_the_same_with_and_without_a_graph,
    a_squashed_draw_uses_the_numbers_of_its_stream,
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

/// Scale and floor of the variance, and the variance at the target.
const SQUASH: ([f64; 2], f64) = ([0.1, 1e-4], 1e-4);

/// Against the formula in f64, by the numbers that the stream has as tensors.
fn a_squashed_draw_uses_the_numbers_of_its_stream(device: &Device) -> Result<()> {
    let ([scale, floor], narrow) = SQUASH;
    for shape in SHAPES {
        let raw = ["mean", "variance"].map(|label| normal(label, shape));
        let target = uniform("target", shape, 0.0, 1.0);
        let [a, b, x] = [&raw[0], &raw[1], &target].map(values);
        for rate in [0.0, 0.3, 1.0] {
            let mut noise = DeviceNoise::new(Seed::new(3));
            let mut same = noise.clone();
            let operands = [to(device, &raw[0])?, to(device, &raw[1])?, to(device, &target)?];
            let [a32, b32, x32] = operands.each_ref();
            let of = (x32, narrow);
            let got = squashed_mixture_draw(rate, [a32, b32], SQUASH.0, of, &mut noise)?;
            assert!(got.dims() == shape && !got.track_op());
            let mut take = |uniform: bool| -> Result<Vec<f64>> {
                let (shape, dtype) = (shape.into(), DType::F32);
                Ok(values(&match uniform {
                    true => same.uniform(&shape, dtype, &Device::Cpu)?,
                    false => same.normal(&shape, dtype, &Device::Cpu)?,
                }))
            };
            let u = if rate > 0.0 { take(true)? } else { vec![1.0; x.len()] };
            let e = take(false)?;
            assert_eq!(noise, same, "both streams go on at one place");
            let squash = |x: f64| 1.0 / (1.0 + (-x).exp());
            let want: Vec<f64> = (0..x.len())
                .map(|i| match u[i] < f64::from(rate as f32) {
                    true => x[i] + narrow.sqrt() * e[i],
                    false => squash(a[i]) + (scale * squash(b[i]) + floor).sqrt() * e[i],
                })
                .collect();
            assert_close(&format!("{shape:?} {rate}"), &values(&got), &want, 1e-6);
        }
    }
    Ok(())
}

/// The same bits as of the mixture with its components as tensors, on the host.
#[test]
fn a_squashed_draw_is_that_of_the_mixture() -> Result<()> {
    let ([scale, floor], narrow) = SQUASH;
    let stream = || -> HostNoise { Seed::new(4).host_noise() };
    for (rate, dtype) in
        [(0.0, DType::F32), (0.2, DType::F32), (1.0, DType::F32), (0.2, DType::F64)]
    {
        let part = |label| normal(label, (37, 301)).to_dtype(dtype);
        let (a, b, x) = (part("a")?, part("b")?, part("x")?);
        let base = DiagGaussian::new(sigmoid(&a)?, scaled_sigmoid(&b, scale, floor)?)?;
        let spike = DiagGaussian::new(x.clone(), x.zeros_like()?.affine(1.0, narrow)?)?;
        let mixture = DimensionMixture::new(rate, base, spike, Masks::PerDimension)?;
        let (mut one, mut other) = (stream(), stream());
        let want = mixture.draw(&mut one)?;
        let got = squashed_mixture_draw(rate, [&a, &b], SQUASH.0, (&x, narrow), &mut other)?;
        assert_eq!(values(&got), values(&want), "{rate} {dtype:?}");
        assert_eq!(one.state(), other.state());
    }
    let (small, large) = (normal("a", (2, 3)), normal("b", (3, 2)));
    for [a, b, x] in [[&small, &large, &small], [&small, &small, &large]] {
        let drawn = squashed_mixture_draw(0.5, [a, b], SQUASH.0, (x, narrow), &mut stream());
        assert!(matches!(drawn, Err(Error::Shape { .. })));
    }
    for (rate, variance) in [(-0.1, narrow), (1.1, narrow), (f64::NAN, narrow), (0.5, -1.0)] {
        let of = (&small, variance);
        let drawn = squashed_mixture_draw(rate, [&small, &small], SQUASH.0, of, &mut stream());
        assert!(matches!(drawn, Err(Error::Config { .. })), "{rate} {variance}");
    }
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
