//! Masked layers that read prefixes, and autoregressive steps.

use candle_core::{DType, Device, Tensor};

use crate::{
    Error, Result,
    ops::{PrefixLayer, Prefixes, autoregressive_affine, autoregressive_inverse, prefix_linear},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, normal, on_devices, values,
    },
};

on_devices!(masked_layers_equal_the_composed_path, steps_equal_the_composed_path);

/// Inputs, outputs, examples: tiny, odd, with rows that read nothing, large enough for several tasks.
const SHAPES: [[usize; 3]; 7] =
    [[1, 1, 1], [3, 5, 7], [60, 130, 128], [17, 9, 16], [64, 3, 260], [2, 40, 33], [300, 500, 64]];

/// A staircase over all inputs, from none on.
fn stairs([inner, out, _]: [usize; 3]) -> Prefixes {
    Prefixes::new(inner, (0..out).map(|i| i * inner / out.max(2)).collect()).unwrap()
}

fn operands([inner, out, b]: [usize; 3]) -> [Tensor; 3] {
    [normal("x", (inner, b)), normal("weight", (out, inner)), normal("bias", out)]
}

fn masked_layers_equal_the_composed_path(device: &Device) -> Result<()> {
    for shape in SHAPES {
        let prefixes = stairs(shape);
        for relu in [false, true] {
            let f = |i: &[Tensor]| prefix_linear(&i[0], &i[1], &i[2], &prefixes, relu);
            assert_agrees(&format!("{shape:?} {relu}"), &f, &operands(shape), device, 3e-6)?;
        }
    }
    // Rows of the input behind those that are read.
    let prefixes = stairs([3, 4, 5]);
    let f = |i: &[Tensor]| prefix_linear(&i[0], &i[1], &i[2], &prefixes, false);
    let inputs = [normal("x", (6, 5)), normal("weight", (4, 3)), normal("bias", 4)];
    assert_agrees("further rows", &f, &inputs, device, 3e-6)
}

fn states([d, b]: [usize; 2]) -> [Tensor; 2] {
    // Log scales on both sides of the clip.
    [normal("state", (d + 1, b)), (normal("raw", (2 * d, b)) * 2.0).unwrap()]
}

fn steps_equal_the_composed_path(device: &Device) -> Result<()> {
    let f = |i: &[Tensor]| autoregressive_affine(&i[0], &i[1], [-1.5, 1.0]);
    for shape in [[1, 1], [2, 7], [5, 128], [62, 33]] {
        assert_agrees(&format!("{shape:?}"), &f, &states(shape), device, 2e-5)?;
    }
    Ok(())
}

#[test]
fn gradients_are_central_differences_where_nothing_is_clipped() -> Result<()> {
    let prefixes = stairs([4, 6, 3]);
    let f = |i: &[Tensor]| prefix_linear(&i[0], &i[1], &i[2], &prefixes, false);
    assert_differences("masked layer", &f, &operands([4, 6, 3]))?;
    let f = |i: &[Tensor]| autoregressive_affine(&i[0], &i[1], [-50.0, 50.0]);
    assert_differences("step", &f, &states([3, 5]))
}

#[test]
fn a_clipped_log_scale_keeps_its_gradient() -> Result<()> {
    // log scales 9 -> 3 and -9 -> -5 with u = x exp(-a).
    for dtype in [DType::F32, DType::F64] {
        for (raw, clipped) in [(9.0, 3.0_f64), (-9.0, -5.0), (1.0, 1.0)] {
            let state = Tensor::new(&[[2.0], [0.5]], &Device::Cpu)?.to_dtype(dtype)?;
            let heads = Tensor::new(&[[0.0], [raw]], &Device::Cpu)?.to_dtype(dtype)?;
            let heads = candle_core::Var::from_tensor(&heads)?;
            let y = autoregressive_affine(&state, heads.as_tensor(), [-5.0, 3.0])?;
            let u = 2.0 * (-clipped).exp();
            assert_close("value", &values(&y), &[u, 0.5 - clipped], 1e-6);
            // d(u + 2 log det) / da = -u - 2, as without the clip at the clipped value.
            let weights = Tensor::new(&[[1.0], [2.0]], &Device::Cpu)?.to_dtype(dtype)?;
            let grads = y.mul(&weights)?.sum_all()?.backward()?;
            let grad = values(grads.get(heads.as_tensor()).unwrap());
            assert_close("gradient", &grad, &[-(-clipped).exp(), -u - 2.0], 1e-6);
        }
    }
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    let prefixes = stairs([4, 6, 3]);
    let f = |i: &[Tensor]| prefix_linear(&i[0], &i[1], &i[2], &prefixes, true);
    for frozen in 0..3 {
        assert_untracked("masked layer", &f, &operands([4, 6, 3]), frozen)?;
    }
    let f = |i: &[Tensor]| autoregressive_affine(&i[0], &i[1], [-5.0, 3.0]);
    for frozen in 0..2 {
        assert_untracked("step", &f, &states([3, 5]), frozen)?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    let prefixes = stairs([300, 500, 128]);
    let f = |i: &[Tensor]| prefix_linear(&i[0], &i[1], &i[2], &prefixes, true);
    assert_thread_count_free("masked layer", f, &operands([300, 500, 128]))
}

/// A network for `d` coordinates and `c` numbers of context with hidden layers of 9 and 14.
fn network([c, d]: [usize; 2], dtype: DType) -> Vec<PrefixLayer> {
    let mut below: Vec<usize> = std::iter::repeat_n(0, c).chain(1..=d).collect();
    let mut layers = Vec::new();
    for (l, width) in [9, 14, 2 * d].into_iter().enumerate() {
        let last = l == 2;
        let own: Vec<usize> =
            (0..width).map(|k| if last { 1 + k / 2 } else { k * d / width }).collect();
        let reads = |g: &usize| below.partition_point(|b| if last { b < g } else { b <= g });
        let ends = own.iter().map(reads).collect();
        let inputs = below.len();
        layers.push(PrefixLayer {
            weight: normal(&format!("w{l}"), (width, inputs)).to_dtype(dtype).unwrap(),
            bias: normal(&format!("b{l}"), width).to_dtype(dtype).unwrap(),
            prefixes: Prefixes::new(inputs, ends).unwrap(),
        });
        below = own;
    }
    layers
}

#[test]
fn the_incremental_inverse_undoes_the_step_and_equals_that_by_passes() -> Result<()> {
    for [c, d, b] in [[0, 1, 5], [0, 2, 130], [3, 1, 16], [3, 5, 300], [0, 20, 7]] {
        let u = (normal("u", (d, b)) * 0.5)?;
        let context = (c > 0).then(|| normal("context", (c, b)));
        let mut found = Vec::new();
        for dtype in [DType::F32, DType::F64] {
            let layers = network([c, d], dtype);
            let u = u.to_dtype(dtype)?;
            let context = context.as_ref().map(|x| x.to_dtype(dtype)).transpose()?;
            let x = autoregressive_inverse(&u, context.as_ref(), &layers, [-1.0, 0.5])?;
            let mut h = match &context {
                Some(context) => Tensor::cat(&[context, &x], 0)?,
                None => x.clone(),
            };
            for (l, layer) in layers.iter().enumerate() {
                h = prefix_linear(&h, &layer.weight, &layer.bias, &layer.prefixes, l < 2)?;
            }
            let state = Tensor::cat(&[&x, &Tensor::zeros((1, b), dtype, &Device::Cpu)?], 0)?;
            let back = autoregressive_affine(&state, &h, [-1.0, 0.5])?;
            let reversed: Vec<u32> = (0..d as u32).rev().collect();
            let back = back.index_select(&Tensor::new(reversed, &Device::Cpu)?, 0)?;
            // Coordinate by coordinate rounding grows by what the network makes of it.
            let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-3 };
            assert_close(&format!("{c} {d} {b}"), &values(&back), &values(&u), tolerance);
            found.push(values(&x));
        }
        assert_close(&format!("{c} {d} {b}, f32"), &found[0], &found[1], 1e-3);
    }
    Ok(())
}

#[test]
fn an_inverse_has_the_same_bits_for_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let u = normal("u", (5, 300)).to_dtype(DType::F32).unwrap();
            let layers = network([0, 5], DType::F32);
            values(&autoregressive_inverse(&u, None, &layers, [-1.0, 0.5]).unwrap())
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    assert!(Prefixes::new(3, vec![2, 1]).is_err() && Prefixes::new(3, vec![4]).is_err());
    let prefixes = stairs([3, 4, 2]);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let (x, weight, bias) = (zeros(&[3, 2])?, zeros(&[4, 3])?, zeros(&[4])?);
    for (result, words) in [
        (prefix_linear(&zeros(&[2, 2])?, &weight, &bias, &prefixes, false), "input of a masked"),
        (prefix_linear(&x, &zeros(&[4, 2])?, &bias, &prefixes, false), "weight of a masked"),
        (prefix_linear(&x, &weight, &zeros(&[3])?, &prefixes, false), "bias of a masked"),
        (autoregressive_affine(&x, &zeros(&[3, 2])?, [0.0, 1.0]), "shift and log scale"),
        (autoregressive_inverse(&x, None, &[], [0.0, 1.0]), "layers of a flow"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // A head that reads its own coordinate.
    let layers = [PrefixLayer {
        weight: zeros(&[2, 1])?,
        bias: zeros(&[2])?,
        prefixes: Prefixes::new(1, vec![1, 1])?,
    }];
    let error = autoregressive_inverse(&zeros(&[1, 4])?, None, &layers, [0.0, 1.0]).unwrap_err();
    assert!(error.to_string().contains("reads that coordinate"), "{error}");
    Ok(())
}
