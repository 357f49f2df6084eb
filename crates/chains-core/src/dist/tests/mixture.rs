//! The proposal of infusion training.

use candle_core::{DType, Device, Tensor, Var};

use super::{assert_conditionals_vary_fastest, assert_moments};
use crate::{
    Error, Result, Seed,
    density::{LogDensity, Sample},
    dist::{DiagGaussian, DimensionMixture, Masks},
    testing::{
        assert_agrees, assert_close, assert_differences, evaluate, normal, on_devices, uniform,
        values,
    },
};

on_devices!(densities_in_f32_equal_f64, components_far_apart_stay_finite);

/// Mean and variance of both components.
type Parts = [Tensor; 4];

fn mixture(rate: f64, [bm, bv, sm, sv]: Parts, masks: Masks) -> Result<DimensionMixture> {
    DimensionMixture::new(rate, DiagGaussian::new(bm, bv)?, DiagGaussian::new(sm, sv)?, masks)
}

fn random(shape: &[usize]) -> Parts {
    [
        normal("base", shape),
        uniform("base variance", shape, 0.05, 2.0),
        normal("spike", shape),
        uniform("spike variance", shape, 0.01, 0.3),
    ]
}

/// One row of parameters repeated for every row of a grid.
fn repeated(parts: &Parts, row: usize, n: usize) -> Parts {
    parts.each_ref().map(|part| {
        let d = part.dim(1).unwrap();
        part.narrow(0, row, 1).unwrap().broadcast_as((n, d)).unwrap().contiguous().unwrap()
    })
}

const PIXEL: Masks = Masks::PerPixel { channels: 2 };

#[test]
fn the_density_integrates_to_one() -> Result<()> {
    let parts = random(&[6, 1]);
    let (n, step) = (24_001, 1e-3);
    let z = Tensor::arange(0_f64, n as f64, &Device::Cpu)?.affine(step, -12.0)?.reshape((n, 1))?;
    for (row, rate) in [0.0, 0.05, 0.3, 0.7, 0.95, 1.0].into_iter().enumerate() {
        let law = mixture(rate, repeated(&parts, row, n), Masks::PerDimension)?;
        let integral = law.log_prob(&z)?.exp()?.sum_all()?.to_scalar::<f64>()? * step;
        assert!((integral - 1.0).abs() < 1e-9, "row {row}, rate {rate}: {integral}");
    }
    Ok(())
}

#[test]
fn the_joint_density_of_a_pixel_integrates_to_one() -> Result<()> {
    let (side, step) = (480, 0.05);
    let at = |i: usize| step * i as f64 - 12.0;
    let grid: Vec<f64> = (0..side * side).flat_map(|i| [at(i / side), at(i % side)]).collect();
    let z = Tensor::from_vec(grid, (side * side, 2), &Device::Cpu)?;
    let parts = random(&[3, 2]);
    for (row, rate) in [0.1, 0.5, 0.9].into_iter().enumerate() {
        for masks in [Masks::PerDimension, PIXEL] {
            let law = mixture(rate, repeated(&parts, row, side * side), masks)?;
            let integral = law.log_prob(&z)?.exp()?.sum_all()?.to_scalar::<f64>()? * step * step;
            assert!((integral - 1.0).abs() < 1e-7, "{masks:?}, rate {rate}: {integral}");
        }
    }
    Ok(())
}

fn densities_in_f32_equal_f64(device: &Device) -> Result<()> {
    let shape = [5, 6];
    let [bm, bv, sm, sv] = random(&shape);
    let inputs = [normal("z", &shape[..]), bm, bv, sm, sv];
    for masks in [Masks::PerDimension, PIXEL, Masks::PerPixel { channels: 6 }] {
        for rate in [0.0, 0.2, 1.0] {
            let of = |i: &[Tensor]| mixture(rate, std::array::from_fn(|k| i[k + 1].clone()), masks);
            let what = format!("{masks:?}, rate {rate}");
            assert_agrees(&what, &|i| of(i)?.log_prob(&i[0]), &inputs, device, 3e-6)?;
            if rate > 0.0 {
                assert_agrees(&what, &|i| of(i)?.log_ratio(&i[0]), &inputs, device, 3e-6)?;
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    let shape = [2, 4];
    let [bm, bv, sm, sv] = random(&shape);
    let inputs = [normal("z", &shape[..]), bm, bv, sm, sv];
    for masks in [Masks::PerDimension, PIXEL] {
        let of = |i: &[Tensor]| mixture(0.3, std::array::from_fn(|k| i[k + 1].clone()), masks);
        assert_differences("log_prob", &|i| of(i)?.log_prob(&i[0]), &inputs)?;
        assert_differences("log_ratio", &|i| of(i)?.log_ratio(&i[0]), &inputs)?;
    }
    Ok(())
}

/// Components 40 standard deviations apart, and a value far from both.
fn components_far_apart_stay_finite(device: &Device) -> Result<()> {
    let row = |values: [f64; 4]| Tensor::new(&values, &Device::Cpu)?.reshape((1, 4));
    let inputs = [
        row([0.0, 4.0, 2.0, 1e4])?,
        row([0.0; 4])?,
        row([1e-2; 4])?,
        row([4.0; 4])?,
        row([1e-2; 4])?,
    ];
    for masks in [Masks::PerDimension, PIXEL] {
        for rate in [1e-6, 0.1, 0.999_999, 1.0] {
            let of = |i: &[Tensor]| mixture(rate, std::array::from_fn(|k| i[k + 1].clone()), masks);
            for ratio in [false, true] {
                let f = |i: &[Tensor]| {
                    let law = of(i)?;
                    if ratio { law.log_ratio(&i[0]) } else { law.log_prob(&i[0]) }
                };
                let want = evaluate(&f, &inputs, DType::F64, &Device::Cpu)?;
                let got = evaluate(&f, &inputs, DType::F32, device)?;
                let all = got.value.iter().chain(got.grads.iter().flatten().flatten());
                assert!(all.clone().all(|v| v.is_finite()), "{masks:?} {rate}: {got:?}");
                // The far value alone has a log density of -5e9, and f32 its rounding.
                let scale = 5e9 * 1e-6;
                assert!((got.value[0] - want.value[0]).abs() < scale, "{masks:?} {rate}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_log_ratio_of_a_decision_is_bounded() -> Result<()> {
    let n = 3000;
    let parts = random(&[n, 1]);
    let flat = |t: &Tensor, d: usize| t.reshape((n / d, d));
    for rate in [0.01, 0.3, 0.9] {
        let law = mixture(rate, parts.clone(), Masks::PerDimension)?;
        // Values where the base, the spike and neither is likely.
        let drawn = law.sample(1, &mut Seed::new(1).host_noise())?;
        for z in [drawn, parts[0].clone(), parts[2].clone(), (normal("z", (n, 1)) * 5.0)?] {
            let bound = -(-rate).ln_1p();
            let each = law.log_ratio(&z)?;
            assert!(values(&each).iter().all(|r| *r <= bound + 1e-12), "rate {rate}");
            let single = parts.each_ref().map(|part| part.to_dtype(DType::F32).unwrap());
            let single = mixture(rate, single, Masks::PerDimension)?;
            let single = values(&single.log_ratio(&z.to_dtype(DType::F32)?)?);
            // Not beyond the bound by more than its own rounding, however far the value.
            assert!(single.iter().all(|r| *r <= bound * (1.0 + 1e-7)), "f32, rate {rate}");
            let difference = (law.base().log_prob(&z)? - law.log_prob(&z)?)?;
            assert_close("ln p - ln q", &values(&each), &values(&difference), 1e-12);
            // Six dimensions: the sum of six; three pixels of two channels: three bounds.
            let of = |masks| -> Result<Tensor> {
                let parts = parts.each_ref().map(|part| flat(part, 6).unwrap());
                mixture(rate, parts, masks)?.log_ratio(&flat(&z, 6)?)
            };
            let sum = flat(&each, 6)?.sum(1)?;
            assert_close("sum", &values(&of(Masks::PerDimension)?), &values(&sum), 1e-11);
            assert!(values(&of(PIXEL)?).iter().all(|r| *r <= 3.0 * bound + 1e-12), "rate {rate}");
        }
    }
    Ok(())
}

#[test]
fn a_pixel_mixes_after_summing_and_a_dimension_before() -> Result<()> {
    let rate: f64 = 0.3;
    let parts = random(&[4, 6]);
    let z = normal("z", (4, 6));
    let dimension = mixture(rate, parts.clone(), Masks::PerDimension)?;
    // One pixel of six channels is the log-add of sums, the wrong answer for six dimensions.
    let pixel = mixture(rate, parts.clone(), Masks::PerPixel { channels: 6 })?;
    let spike = DiagGaussian::new(parts[2].clone(), parts[3].clone())?;
    let sums: Vec<f64> = values(&dimension.base().log_prob(&z)?)
        .iter()
        .zip(values(&spike.log_prob(&z)?))
        .map(|(base, spike)| ((1.0 - rate) * base.exp() + rate * spike.exp()).ln())
        .collect();
    assert_close("pixel", &values(&pixel.log_prob(&z)?), &sums, 1e-12);
    let right = values(&dimension.log_prob(&z)?);
    assert!(right.iter().zip(&sums).all(|(a, b)| (a - b).abs() > 0.05), "{right:?} {sums:?}");
    // Channels of planar images: dimension c * pixels + p belongs to pixel p.
    let pair = values(&mixture(rate, parts.clone(), PIXEL)?.log_prob(&z)?);
    let mut want = vec![0.0; 4];
    for p in 0..3 {
        let pick = |t: &Tensor| Tensor::cat(&[t.narrow(1, p, 1)?, t.narrow(1, p + 3, 1)?], 1);
        let [bm, bv, sm, sv] = parts.each_ref().map(|part| pick(part).unwrap());
        let joint = mixture(rate, [bm, bv, sm, sv], PIXEL)?.log_prob(&pick(&z)?)?;
        want.iter_mut().zip(values(&joint)).for_each(|(w, v)| *w += v);
    }
    assert_close("planar", &pair, &want, 1e-12);
    // With one dimension there is nothing to sum.
    let one = parts.each_ref().map(|part| part.narrow(1, 0, 1).unwrap());
    let z = z.narrow(1, 0, 1)?;
    let a = mixture(rate, one.clone(), Masks::PerDimension)?.log_prob(&z)?;
    let b = mixture(rate, one, Masks::PerPixel { channels: 1 })?.log_prob(&z)?;
    assert_eq!(values(&a), values(&b));
    Ok(())
}

#[test]
fn equal_components_are_the_base_for_every_rate() -> Result<()> {
    let [bm, bv, _, _] = random(&[4, 6]);
    let z = normal("z", (4, 6));
    for masks in [Masks::PerDimension, PIXEL] {
        for rate in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let parts = [bm.clone(), bv.clone(), bm.clone(), bv.clone()];
            let law = mixture(rate, parts, masks)?;
            let want = values(&law.base().log_prob(&z)?);
            assert_close("ln q", &values(&law.log_prob(&z)?), &want, 1e-13);
            assert_close("ratio", &values(&law.log_ratio(&z)?), &[0.0; 4], 1e-10);
        }
    }
    Ok(())
}

#[test]
fn rate_0_is_the_base_and_rate_1_the_spike() -> Result<()> {
    let parts = random(&[4, 6]);
    let z = normal("z", (4, 6));
    let spike = DiagGaussian::new(parts[2].clone(), parts[3].clone())?;
    let noise = || Seed::new(5).host_noise();
    for masks in [Masks::PerDimension, PIXEL] {
        let none = mixture(0.0, parts.clone(), masks)?;
        assert_eq!(values(&none.log_prob(&z)?), values(&none.base().log_prob(&z)?));
        assert_eq!(values(&none.log_ratio(&z)?), [0.0; 4]);
        let own = none.base().sample(2, &mut noise())?;
        assert_eq!(values(&none.sample(2, &mut noise())?), values(&own));
        let all = mixture(1.0, parts.clone(), masks)?;
        assert_eq!(values(&all.log_prob(&z)?), values(&spike.log_prob(&z)?));
        let ratio = (none.base().log_prob(&z)? - spike.log_prob(&z)?)?;
        assert_close("ratio", &values(&all.log_ratio(&z)?), &values(&ratio), 1e-13);
    }
    let certain = mixture(1.0, parts.clone(), Masks::PerDimension)?;
    let narrow = [parts[2].narrow(0, 0, 1)?, parts[3].narrow(0, 0, 1)?];
    let one = parts.each_ref().map(|part| part.narrow(0, 0, 1).unwrap());
    assert_eq!(certain.rate().to_bits(), 1_f64.to_bits());
    let law = mixture(1.0, one, Masks::PerDimension)?;
    assert_moments(&law, &values(&narrow[0]), &values(&narrow[1]), 3.0)
}

/// Components so far apart that a sample shows where it came from.
fn apart(rows: usize, d: usize) -> Result<Parts> {
    let zeros = Tensor::zeros((rows, d), DType::F32, &Device::Cpu)?;
    let narrow = (zeros.ones_like()? * 1e-4)?;
    Ok([zeros.clone(), narrow.clone(), (zeros + 100.0)?, narrow])
}

#[test]
fn the_infused_share_is_the_rate() -> Result<()> {
    let (rows, d) = (2000, 12);
    for seed in 0..3 {
        for rate in [0.1, 0.35, 0.9] {
            for (masks, decisions) in [(Masks::PerDimension, d), (PIXEL, d / 2)] {
                let law = mixture(rate, apart(rows, d)?, masks)?;
                let z = law.sample(1, &mut Seed::new(seed).child("share").host_noise())?;
                let hits: Vec<f64> =
                    values(&z).iter().map(|z| f64::from(u8::from(*z > 50.0))).collect();
                let share = hits.iter().sum::<f64>() / hits.len() as f64;
                let se = (rate * (1.0 - rate) / (rows * decisions) as f64).sqrt();
                assert!((share - rate).abs() < 5.0 * se, "{masks:?} {rate}: {share}");
                // Channels of a pixel decide together, dimensions do not.
                let together = hits.chunks(d).all(|row| row[..d / 2] == row[d / 2..]);
                assert_eq!(together, masks == PIXEL);
            }
        }
    }
    Ok(())
}

#[test]
fn conditionals_vary_fastest() -> Result<()> {
    let parts = [[0.0, 1.0], [1e-6; 2], [0.0, 1.0], [1e-6; 2]]
        .map(|v| Tensor::new(&v, &Device::Cpu).unwrap().reshape((2, 1)).unwrap());
    assert_conditionals_vary_fastest(&mixture(0.5, parts, Masks::PerDimension)?)
}

#[test]
fn a_draw_is_differentiable_in_the_component_that_was_taken() -> Result<()> {
    let parts = random(&[3, 8]).map(|part| part.to_dtype(DType::F32).unwrap());
    let [base, spike] = [&parts[0], &parts[2]].map(|mean| Var::from_tensor(mean).unwrap());
    let noise = || Seed::new(2).host_noise();
    let mut tracked = parts.clone();
    tracked[0] = base.as_tensor().clone();
    tracked[2] = spike.as_tensor().clone();
    let draw = mixture(0.4, tracked, Masks::PerDimension)?.draw(&mut noise())?;
    let plain = mixture(0.4, parts.clone(), Masks::PerDimension)?.draw(&mut noise())?;
    assert!(draw.track_op() && !plain.track_op());
    assert_close("fused draw", &values(&plain), &values(&draw), 1e-6);
    let grads = draw.sum_all()?.backward()?;
    let of = |var: &Var| values(grads.get(var.as_tensor()).unwrap());
    let (base, spike) = (of(&base), of(&spike));
    let taken = |a: f64, b: f64| (a, b) == (0.0, 1.0) || (a, b) == (1.0, 0.0);
    assert!(base.iter().zip(&spike).all(|(b, s)| taken(*b, *s)), "{base:?} {spike:?}");
    assert!(base.iter().sum::<f64>() > 0.0 && spike.iter().sum::<f64>() > 0.0);
    Ok(())
}

#[test]
fn parts_that_do_not_fit_are_an_error() -> Result<()> {
    let parts = random(&[4, 6]);
    for rate in [-0.1, 1.1, f64::NAN] {
        let error = mixture(rate, parts.clone(), Masks::PerDimension).unwrap_err();
        assert!(matches!(error, Error::Config { field: "rate", .. }), "{error}");
    }
    for channels in [0, 4] {
        let error = mixture(0.5, parts.clone(), Masks::PerPixel { channels }).unwrap_err();
        assert!(matches!(error, Error::Config { field: "channels", .. }), "{error}");
    }
    let [bm, bv, sm, sv] = random(&[4, 6]);
    let narrow = |t: &Tensor| t.narrow(1, 0, 3);
    let other = [bm, bv, narrow(&sm)?, narrow(&sv)?];
    assert!(mixture(0.5, other, Masks::PerDimension).is_err());
    for rate in [0.0, 0.5, 1.0] {
        let law = mixture(rate, parts.clone(), Masks::PerDimension)?;
        let z = normal("z", (4, 5));
        assert!(law.log_ratio(&z).is_err() && law.log_prob(&z).is_err(), "rate {rate}");
    }
    Ok(())
}
