//! Convolutions against a sum over all triples of pixel, weight and result in f64.

use candle_core::{DType, Device, Tensor};
use proptest::{prelude::*, sample::select};

use crate::{
    Result,
    ops::{Padding, conv_transpose2d, conv2d, conv2d_relu, conv2d_rows, depthwise_conv2d, relu},
    testing::{
        Outcome, assert_differences, assert_thread_count_free, assert_untracked, evaluate, normal,
        values,
    },
};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Dense,
    Transposed,
    Depthwise,
}

/// A convolution of some kind; `x` is `(b, input, h, w)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) x: [usize; 4],
    /// Channels of the result, those of `x` if depthwise.
    pub(super) out: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    /// Of rows and of columns; a transposed one has equal ones.
    pub(super) padding: [usize; 2],
    /// Output padding of a transposed one.
    pub(super) extra: usize,
}

impl Case {
    fn weight(&self) -> [usize; 4] {
        let ([_, c, ..], [kh, kw]) = (self.x, self.kernel);
        match self.kind {
            Kind::Dense => [self.out, c, kh, kw],
            Kind::Transposed => [c, self.out, kh, kw],
            Kind::Depthwise => [c, 1, kh, kw],
        }
    }

    /// Channels and sides of the result; no sides if it would be empty.
    fn result(&self) -> Option<[usize; 3]> {
        let side = |n: usize, axis: usize| {
            let (k, padding) = (self.kernel[axis], 2 * self.padding[axis]);
            match self.kind {
                Kind::Transposed => ((n - 1) * self.stride + k + self.extra)
                    .checked_sub(padding)
                    .filter(|side| *side > 0),
                _ => (n + padding).checked_sub(k).map(|room| room / self.stride + 1),
            }
        };
        let channels = if self.kind == Kind::Depthwise { self.x[1] } else { self.out };
        let [_, _, h, w] = self.x;
        Some([channels, side(h, 0)?, side(w, 1)?])
    }

    pub(super) fn apply(&self, i: &[Tensor]) -> Result<Tensor> {
        let (stride, padding) = (self.stride, self.padding);
        match self.kind {
            Kind::Dense => conv2d(&i[0], &i[1], i.get(2), stride, padding),
            Kind::Transposed => {
                conv_transpose2d(&i[0], &i[1], i.get(2), stride, padding[0], self.extra)
            }
            Kind::Depthwise => depthwise_conv2d(&i[0], &i[1], i.get(2), stride, padding),
        }
    }

    pub(super) fn operands(&self) -> [Tensor; 3] {
        let channels = if self.kind == Kind::Depthwise { self.x[1] } else { self.out };
        let [x, weight] = [("x", self.x), ("weight", self.weight())]
            .map(|(label, shape)| normal(label, &shape[..]));
        [x, weight, normal("bias", channels)]
    }

    /// Calls `f(index in x, index in the weight, index in the result)` for every product.
    fn for_products(&self, mut f: impl FnMut(usize, usize, usize)) {
        let ([b, c, h, w], [kh, kw]) = (self.x, self.kernel);
        let [o, oh, ow] = self.result().unwrap();
        // Where tap `k` at position `i` of the shorter side lies on the longer one.
        let place = |i: usize, k: usize, axis: usize, side: usize| {
            (i * self.stride + k).checked_sub(self.padding[axis]).filter(|at| *at < side)
        };
        let (n, m) = if self.kind == Kind::Transposed { (h, w) } else { (oh, ow) };
        for at in 0..b * o * c * n * m * kh * kw {
            let (v, u, j, i) = (at % kw, at / kw % kh, at / (kw * kh) % m, at / (kw * kh * m) % n);
            let rest = at / (kw * kh * m * n);
            let (input, output, row) = (rest % c, rest / c % o, rest / (c * o));
            if self.kind == Kind::Depthwise && input != output {
                continue;
            }
            let (x, y, weight) = match self.kind {
                Kind::Transposed => {
                    let (Some(y), Some(z)) = (place(i, u, 0, oh), place(j, v, 1, ow)) else {
                        continue;
                    };
                    ((i, j), (y, z), input * o + output)
                }
                kind => {
                    let (Some(y), Some(z)) = (place(i, u, 0, h), place(j, v, 1, w)) else {
                        continue;
                    };
                    let dense = output * c + input;
                    ((y, z), (i, j), if kind == Kind::Depthwise { input } else { dense })
                }
            };
            f(
                ((row * c + input) * h + x.0) * w + x.1,
                (weight * kh + u) * kw + v,
                ((row * o + output) * oh + y.0) * ow + y.1,
            );
        }
    }

    /// Value and gradients in f64, by the definition; `of` is applied to all numbers first.
    fn expected(&self, inputs: &[Tensor], of: fn(f64) -> f64) -> Outcome {
        let [o, oh, ow] = self.result().unwrap();
        let gy = normal("weights", (self.x[0], o, oh, ow));
        let [x, weight, bias, gy] = [&inputs[0], &inputs[1], &inputs[2], &gy]
            .map(|t| values(t).into_iter().map(of).collect::<Vec<f64>>());
        let mut value: Vec<f64> = (0..gy.len()).map(|i| bias[i / (oh * ow) % o]).collect();
        let (mut gx, mut gw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
        self.for_products(|i, j, k| {
            value[k] += x[i] * weight[j];
            gx[i] += gy[k] * weight[j];
            gw[j] += gy[k] * x[i];
        });
        let mut gb = vec![0.0; o];
        gy.iter().enumerate().for_each(|(i, g)| gb[i / (oh * ow) % o] += g);
        Outcome { value, grads: vec![Some(gx), Some(gw), Some(gb)] }
    }

    fn check(&self, dtype: DType, tolerance: f64) -> Result<()> {
        let inputs = self.operands();
        let want = self.expected(&inputs, |x| x);
        // Sums of many terms cancel, so errors are measured by the sums of absolute values.
        let size = self.expected(&inputs, f64::abs);
        let got = evaluate(&|i| self.apply(i), &inputs, dtype, &Device::Cpu)?;
        let near = |what: &str, got: &[f64], want: &[f64], size: &[f64]| {
            assert_eq!(got.len(), want.len(), "{self:?} {what}");
            for (i, got) in got.iter().enumerate() {
                let near = (got - want[i]).abs() <= tolerance * size[i];
                assert!(near, "{self:?} {what} {i}: {got}, expected {} +- {}", want[i], size[i]);
            }
        };
        near("value", &got.value, &want.value, &size.value);
        for (i, got) in got.grads.iter().enumerate() {
            let [got, want, size] = [got, &want.grads[i], &size.grads[i]].map(|g| g.as_deref());
            near(&format!("gradient {i}"), got.unwrap(), want.unwrap(), size.unwrap());
        }
        Ok(())
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = select(vec![Kind::Dense, Kind::Transposed, Kind::Depthwise]);
    let x = (1..4_usize, select(vec![1, 2, 3, 5]), 1..12_usize, 1..12_usize);
    let window = (1..6_usize, 1..6_usize, 1..4_usize, [0..3_usize, 0..3_usize], 0..3_usize);
    (kinds, x, select(vec![1, 3, 4, 7]), window)
        .prop_map(|(kind, (b, c, h, w), out, (kh, kw, stride, [rows, columns], extra))| Case {
            kind,
            x: [b, c, h, w],
            out,
            kernel: [kh, kw],
            stride,
            padding: [rows, if kind == Kind::Transposed { rows } else { columns }],
            extra: extra % stride,
        })
        .prop_filter("an empty result", |case| case.result().is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn value_and_gradients_are_those_of_the_definition(case in cases()) {
        case.check(DType::F32, 2e-6).unwrap();
    }

    #[test]
    fn the_composed_path_has_the_same_definition(case in cases()) {
        case.check(DType::F64, 1e-13).unwrap();
    }
}

/// Sizes beyond every block of the kernels: positions, values of a patch, channels.
pub(super) const LARGE: [Case; 33] = {
    const fn case(
        kind: Kind,
        x: [usize; 4],
        out: usize,
        kernel: [usize; 2],
        [stride, padding, extra]: [usize; 3],
    ) -> Case {
        Case { kind, x, out, kernel, stride, padding: [padding; 2], extra }
    }
    const fn uneven(x: [usize; 4], out: usize, kernel: [usize; 2], padding: [usize; 2]) -> Case {
        Case { kind: Kind::Dense, x, out, kernel, stride: 1, padding, extra: 0 }
    }
    [
        case(Kind::Dense, [2, 17, 13, 18], 70, [3, 3], [1, 1, 0]),
        case(Kind::Dense, [1, 35, 24, 24], 50, [3, 3], [1, 1, 0]),
        case(Kind::Dense, [9, 16, 4, 4], 130, [3, 3], [1, 1, 0]),
        case(Kind::Dense, [5, 130, 12, 9], 20, [1, 1], [1, 0, 0]),
        case(Kind::Dense, [6, 9, 41, 40], 30, [5, 5], [2, 2, 0]),
        case(Kind::Transposed, [5, 70, 7, 8], 12, [5, 5], [2, 2, 1]),
        case(Kind::Transposed, [1, 140, 15, 15], 10, [4, 4], [2, 1, 0]),
        case(Kind::Transposed, [4, 60, 9, 9], 20, [3, 3], [1, 1, 0]),
        case(Kind::Depthwise, [4, 19, 20, 37], 0, [5, 5], [1, 2, 0]),
        // Whole vectors, read where they lie; the last run of a panel short, padded or not.
        case(Kind::Dense, [5, 20, 16, 32], 24, [3, 3], [1, 1, 0]),
        case(Kind::Dense, [200, 2, 2, 2], 3, [1, 1], [1, 0, 0]),
        case(Kind::Dense, [1, 3, 2, 2], 5, [1, 1], [1, 0, 0]),
        case(Kind::Transposed, [1, 2, 3, 6], 4, [3, 3], [1, 2, 0]),
        // Layers of the 2015 network: one axis padded, rows that are no whole vectors, many channels.
        uneven([2, 40, 17, 17], 33, [1, 7], [0, 3]),
        uneven([2, 40, 17, 17], 33, [7, 1], [3, 0]),
        uneven([3, 70, 8, 8], 50, [3, 1], [1, 0]),
        case(Kind::Dense, [2, 300, 35, 35], 70, [1, 1], [1, 0, 0]),
        case(Kind::Dense, [17, 700, 8, 8], 100, [1, 1], [1, 0, 0]),
        // Several images that together are shorter than a vector.
        case(Kind::Dense, [2, 1, 4, 1], 1, [1, 1], [1, 0, 0]),
        case(Kind::Transposed, [2, 1, 4, 1], 1, [1, 1], [1, 0, 0]),
        // Maps of few pixels, channels that are whole vectors and others.
        case(Kind::Depthwise, [9, 37, 8, 8], 0, [5, 5], [1, 2, 0]),
        case(Kind::Depthwise, [20, 64, 4, 4], 0, [5, 5], [1, 2, 0]),
        case(Kind::Depthwise, [3, 33, 2, 2], 0, [5, 5], [1, 2, 0]),
        case(Kind::Depthwise, [3, 17, 7, 5], 0, [3, 3], [1, 0, 0]),
        // By minimal filtering: one image, several and panels of them; sides that are no whole tiles,
        // channels that are no whole vectors, more channels than a task has.
        case(Kind::Dense, [5, 32, 16, 16], 48, [4, 4], [2, 1, 0]),
        case(Kind::Dense, [1, 24, 34, 37], 30, [4, 4], [2, 0, 0]),
        case(Kind::Dense, [17, 45, 16, 15], 24, [4, 4], [2, 1, 0]),
        case(Kind::Dense, [9, 28, 12, 14], 61, [4, 4], [2, 2, 0]),
        case(Kind::Dense, [70, 156, 4, 4], 192, [4, 4], [2, 1, 0]),
        case(Kind::Transposed, [70, 40, 2, 2], 26, [4, 4], [2, 1, 0]),
        case(Kind::Transposed, [7, 26, 7, 8], 76, [4, 4], [2, 1, 1]),
        case(Kind::Transposed, [1, 32, 17, 18], 48, [4, 4], [2, 0, 1]),
        case(Kind::Transposed, [9, 48, 16, 16], 32, [4, 4], [2, 2, 0]),
    ]
};

#[test]
fn sizes_beyond_every_block_agree_with_the_definition() -> Result<()> {
    LARGE.iter().try_for_each(|case| case.check(DType::F32, 2e-6))
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for kind in [Kind::Dense, Kind::Transposed, Kind::Depthwise] {
        for (kernel, stride, padding, extra) in
            [([3, 3], 1, 1, 0), ([5, 4], 2, 2, 1), ([2, 2], 3, 0, 1), ([1, 1], 1, 0, 0)]
        {
            let padding = [padding; 2];
            let case = Case { kind, x: [2, 3, 5, 6], out: 2, kernel, stride, padding, extra };
            assert_differences(&format!("{case:?}"), &|i| case.apply(i), &case.operands())?;
        }
    }
    for kind in [Kind::Dense, Kind::Depthwise] {
        for (kernel, padding) in [([1, 7], [0, 3]), ([7, 1], [3, 0]), ([3, 2], [1, 2])] {
            let x = [2, 3, 5, 6];
            let case = Case { kind, x, out: 2, kernel, stride: 1, padding, extra: 0 };
            assert_differences(&format!("{case:?}"), &|i| case.apply(i), &case.operands())?;
        }
    }
    Ok(())
}

#[test]
fn a_rectified_convolution_is_the_rectifier_of_a_convolution() -> Result<()> {
    let small = |stride, padding| Case {
        kind: Kind::Dense,
        x: [2, 3, 6, 7],
        out: 5,
        kernel: [3, 2],
        stride,
        padding,
        extra: 0,
    };
    let cases = [
        small(1, [1, 0]),
        small(2, [0, 1]),
        LARGE[0],
        LARGE[9],
        LARGE[13],
        LARGE[16],
        LARGE[24],
        LARGE[25],
    ];
    for case in cases {
        let (what, inputs) = (format!("{case:?}"), case.operands());
        let apply = |i: &[Tensor]| conv2d_relu(&i[0], &i[1], i.get(2), case.stride, case.padding);
        let composed = |i: &[Tensor]| relu(&case.apply(i)?);
        for operands in [&inputs[..], &inputs[..2]] {
            for dtype in [DType::F32, DType::F64] {
                let got = evaluate(&apply, operands, dtype, &Device::Cpu)?;
                let want = evaluate(&composed, operands, dtype, &Device::Cpu)?;
                assert!(want.value.contains(&0.0), "{what}: nothing to rectify");
                assert!(got == want, "{what} {dtype:?}: other bits");
            }
        }
        assert_thread_count_free(&what, apply, &inputs)?;
        assert_untracked(&what, &apply, &inputs, 0)?;
    }
    Ok(())
}

#[test]
fn known_maps_and_rows_without_a_bias_are_those_of_separate_convolutions() -> Result<()> {
    for [input, out, taps, stride] in [[3, 5, 3, 1], [32, 48, 4, 2]] {
        let tensor = |name, shape: &[usize]| normal(name, shape).to_dtype(DType::F32);
        let x = tensor("x", &[5, input, 16, 16])?;
        let (weight, bias) = (tensor("w", &[out, input, taps, taps])?, tensor("b", &[out])?);
        let plain = conv2d(&x, &weight, None, stride, 1)?;
        let shift = bias.reshape((1, out, 1, 1))?;
        let want = Tensor::cat(
            &[&plain.narrow(0, 0, 3)?.broadcast_add(&shift)?, &plain.narrow(0, 3, 2)?],
            0,
        )?;
        let known = conv2d(&x.narrow(0, 0, 2)?, &weight, Some(&bias), stride, 1)?;
        for known in [None, Some(&known)] {
            let geometry = (stride, Padding::from(1));
            let got = conv2d_rows(&x, &weight, (Some(&bias), 3), geometry, known)?;
            let apart = (got - &want)?.abs()?.max_all()?.to_scalar::<f32>()?;
            let size = want.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(apart <= 2e-6 * size, "{taps} taps, known {}: {apart}", known.is_some());
        }
    }
    Ok(())
}
