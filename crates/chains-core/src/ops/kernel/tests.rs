//! Products against the definition, by either microkernel and through `gemm`.

use super::{
    driver::{self, Micro},
    scalar::Scalar,
    *,
};

fn naive(lhs: MatRef<'_>, rhs: MatRef<'_>) -> Vec<f32> {
    let at =
        |m: &MatRef<'_>, i: usize, j: usize| f64::from(m.data[i * m.row_stride + j * m.col_stride]);
    let mut out = Vec::new();
    for i in 0..lhs.rows {
        for j in 0..rhs.cols {
            out.push((0..lhs.cols).map(|p| at(&lhs, i, p) * at(&rhs, p, j)).sum::<f64>() as f32);
        }
    }
    out
}

#[test]
fn every_layout_agrees_with_the_definition() {
    for (m, n, k) in [(1, 1, 1), (3, 5, 7), (130, 20, 33), (20, 700, 90), (700, 300, 290)] {
        let a: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
        let pairs = [
            (MatRef::new(&a, m, k), MatRef::new(&b, k, n)),
            (MatRef::new(&a, k, m).t(), MatRef::new(&b, k, n)),
            (MatRef::new(&a, m, k), MatRef::new(&b, n, k).t()),
        ];
        for (lhs, rhs) in pairs {
            let out = product(lhs, rhs);
            for (got, want) in out.iter().zip(naive(lhs, rhs)) {
                assert!((got - want).abs() <= 1e-5 * k as f32, "{m} {n} {k}: {got} {want}");
            }
        }
    }
}

#[test]
fn thread_count_does_not_matter() {
    let (m, n, k) = (512, 300, 400);
    let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.53).cos()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| product(MatRef::new(&a, m, k), MatRef::new(&b, k, n)))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_block_is_written_or_added_between_its_strides() {
    for [m, n, k] in [[1, 1, 1], [16, 1, 3], [5, 7, 2], [64, 48, 130], [1, 9, 40], [33, 50, 17]] {
        let (ls, rs, os) = (m + 3, k + 2, m + 1);
        let a: Vec<f32> = (0..k * ls).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..n * rs).map(|i| (i as f32 * 0.53).cos()).collect();
        for accumulate in [false, true] {
            let old = if accumulate { 2.0 } else { f32::NAN };
            let mut out = vec![old; n * os];
            block_product((&mut out, os), (&a, ls), (&b, rs), [m, n, k], accumulate);
            for (at, got) in out.iter().enumerate() {
                let (j, i) = (at / os, at % os);
                let sum: f32 = (0..k).map(|p| a[p * ls + i.min(m - 1)] * b[j * rs + p]).sum();
                let want = sum + if accumulate { 2.0 } else { 0.0 };
                let outside = i == m && got.to_bits() == old.to_bits();
                assert!(outside || (got - want).abs() <= 1e-5 * k as f32, "{m} {n} {k}: {at}");
            }
        }
    }
}

#[test]
fn columns_in_strips_are_multiplied_by_every_weight() {
    for [m, n, k] in [[16_usize, 1, 1], [48, 9, 5], [64, 8, 33], [112, 61, 17], [304, 17, 70]] {
        let (ws, os) = (k + 3, m + 2);
        let weight: Vec<f32> = (0..n * ws).map(|i| (i as f32 * 0.53).cos()).collect();
        let value = |p: usize, i: usize| ((p * 311 + i) as f32 * 0.37).sin();
        let mut columns = vec![f32::NAN; m.div_ceil(STRIP) * strip_len(k)];
        for (at, cols) in strips(m).enumerate() {
            assert!(cols.len() <= STRIP && (cols.len() > 16 || m == 16), "{m}: {cols:?}");
            for (p, i) in (0..k).flat_map(|p| cols.clone().map(move |i| (p, i))) {
                columns[at * strip_len(k) + p * STRIP + i - cols.start] = value(p, i);
            }
        }
        for (accumulate, product) in [false, true]
            .into_iter()
            .flat_map(|a| [(a, strip_product as Strips), (a, strip_blocks)])
        {
            let old = if accumulate { 2.0 } else { f32::NAN };
            let mut out = vec![old; n * os];
            product((&mut out, os), (&weight, ws), &columns, [m, n, k], accumulate);
            for (j, row) in out.chunks(os).enumerate() {
                for (i, got) in row[..m].iter().enumerate() {
                    let sum: f32 = (0..k).map(|p| weight[j * ws + p] * value(p, i)).sum();
                    let want = sum + if accumulate { 2.0 } else { 0.0 };
                    assert!((got - want).abs() <= 1e-5 * k as f32, "{m} {n} {k}: {j} {i}");
                }
                assert!(row[m..].iter().all(|x| x.to_bits() == old.to_bits()));
            }
        }
    }
}

type Strips = fn((&mut [f32], usize), (&[f32], usize), &[f32], [usize; 3], bool);

#[test]
fn an_empty_inner_dimension_gives_zeros() {
    assert_eq!(product(MatRef::new(&[], 2, 0), MatRef::new(&[], 0, 2)), [0.0; 4]);
}

/// `f` with every microkernel that runs here.
macro_rules! each_micro {
    ($f:ident) => {
        $f(Scalar);
        #[cfg(target_arch = "x86_64")]
        if let Some(micro) = avx512::Avx512::detect() {
            $f(micro);
        }
    };
}

/// The product by one microkernel; an element that is not written stays NaN.
fn driven<M: Micro>(micro: M, lhs: MatRef<'_>, rhs: MatRef<'_>) -> Vec<f32> {
    let mut out = vec![MaybeUninit::new(f32::NAN); lhs.rows * rhs.cols];
    driver::run(micro, lhs, rhs, &mut out);
    // SAFETY: every element was initialised above.
    out.into_iter().map(|value| unsafe { value.assume_init() }).collect()
}

/// Values in `[-1, 1)`.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn views<'a>(a: &'a [f32], b: &'a [f32], [m, n, k]: [usize; 3]) -> [[MatRef<'a>; 2]; 4] {
    let lhs = [MatRef::new(a, m, k), MatRef::new(a, k, m).t()];
    let rhs = [MatRef::new(b, k, n), MatRef::new(b, n, k).t()];
    [[lhs[0], rhs[0]], [lhs[0], rhs[1]], [lhs[1], rhs[0]], [lhs[1], rhs[1]]]
}

fn agrees<M: Micro>(micro: M, shape: [usize; 3]) {
    let [m, n, k] = shape;
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for [lhs, rhs] in views(&a, &b, shape) {
        let out = driven(micro, lhs, rhs);
        for (got, want) in out.iter().zip(naive(lhs, rhs)) {
            assert!((got - want).abs() <= 1e-6 * k as f32, "{shape:?}: {got} {want}");
        }
    }
}

#[test]
fn blocks_of_every_small_shape_agree_with_the_definition() {
    fn check<M: Micro>(micro: M) {
        for m in (1..=9).chain([16, 17, 33]) {
            for n in [1, 2, 15, 16, 17, 31, 33, 47, 48, 49, 65, 97] {
                for k in [1, 2, 15, 16, 17, 33] {
                    agrees(micro, [m, n, k]);
                }
            }
        }
    }
    each_micro!(check);
}

#[test]
fn blocks_of_odd_shapes_agree_with_the_definition() {
    fn check<M: Micro>(micro: M) {
        // The last ones need several blocks, passes over the inner index or copies.
        for seed in 0..20 {
            let sizes = values(3, seed + 3);
            agrees(micro, [0, 1, 2].map(|at| 1 + (sizes[at].abs() * 150.0) as usize));
        }
        for shape in [[1000, 30, 70], [30, 900, 80], [40, 50, 1500], [300, 310, 321]] {
            agrees(micro, shape);
        }
        agrees(micro, [2100, 3, 20]);
        agrees(micro, [2048, 1, 2600]);
    }
    each_micro!(check);
}

#[test]
fn blocks_do_not_depend_on_the_threads() {
    fn check<M: Micro>(micro: M) {
        for shape in [[128, 300, 700], [500, 90, 400], [257, 259, 261], [1100, 64, 200]] {
            let [m, n, k] = shape;
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            for [lhs, rhs] in views(&a, &b, shape) {
                let run = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let out = pool.unwrap().install(|| driven(micro, lhs, rhs));
                    out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                let one = run(1);
                assert_eq!(one, run(2), "{shape:?}");
                assert_eq!(one, run(3), "{shape:?}");
            }
        }
    }
    each_micro!(check);
}

#[test]
fn a_value_that_is_not_finite_spoils_its_row_or_column_only() {
    fn check<M: Micro>(micro: M) {
        let shape = [37, 83, 45];
        let [m, n, k] = shape;
        let (clean_a, clean_b) = (values(m * k, 1), values(k * n, 2));
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 7, m * k - 1] {
                let mut a = clean_a.clone();
                a[at] = bad;
                for [lhs, rhs] in views(&a, &clean_b, shape) {
                    let row = if lhs.col_stride == 1 { at / k } else { at % m };
                    let out = driven(micro, lhs, rhs);
                    for (index, value) in out.iter().enumerate() {
                        assert_eq!(value.is_finite(), index / n != row, "{at} {index}");
                    }
                }
            }
            for at in [0, 50, k * n - 1] {
                let mut b = clean_b.clone();
                b[at] = bad;
                for [lhs, rhs] in views(&clean_a, &b, shape) {
                    let col = if rhs.col_stride == 1 { at % n } else { at / k };
                    let out = driven(micro, lhs, rhs);
                    for (index, value) in out.iter().enumerate() {
                        assert_eq!(value.is_finite(), index % n != col, "{at} {index}");
                    }
                }
            }
        }
    }
    each_micro!(check);
}

#[test]
fn what_earlier_products_left_in_the_buffers_does_not_matter() {
    fn check<M: Micro>(micro: M) {
        let run = |shape: [usize; 3], fill: Option<f32>| {
            let [m, n, k] = shape;
            let filled = |len, seed| fill.map_or_else(|| values(len, seed), |x| vec![x; len]);
            let (a, b) = (filled(m * k, 1), filled(k * n, 2));
            views(&a, &b, shape).map(|[lhs, rhs]| {
                let out = driven(micro, lhs, rhs);
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            })
        };
        let shapes = [[5, 7, 9], [70, 100, 90], [33, 17, 200], [9, 250, 3]];
        let first = shapes.map(|shape| run(shape, None));
        run([120, 260, 230], Some(f32::NAN));
        for (shape, first) in shapes.into_iter().zip(first).rev() {
            assert_eq!(run(shape, None), first, "{shape:?}");
        }
    }
    each_micro!(check);
}

#[test]
fn an_empty_result_has_no_values() {
    let some = [0.0; 6];
    assert!(product(MatRef::new(&[], 0, 3), MatRef::new(&some, 3, 2)).is_empty());
    assert!(product(MatRef::new(&some, 2, 3), MatRef::new(&[], 3, 0)).is_empty());
}

#[test]
fn inner_products_of_rows_are_those_of_the_definition() {
    for (m, n, k) in [(1, 1, 1), (3, 2, 5), (40, 50, 16), (65, 300, 700)] {
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.53).cos()).collect();
        let mut out = vec![f32::NAN; m * n];
        inner_products(&a, &b, k, &mut out);
        for (got, want) in out.iter().zip(naive(MatRef::new(&a, m, k), MatRef::new(&b, n, k).t())) {
            assert!((got - want).abs() <= 1e-5 * k as f32, "{m} {n} {k}: {got} {want}");
        }
    }
    inner_products(&[], &[1.0; 6], 3, &mut []);
}
