//! The scheme of nine products for 2 x 2 results of 2 x 2 taps: the scheme of three along both axes.
//!
//! Written out, since a closure that is called by the standard library is not compiled for the vectors
//! of the machine.

use pulp::Simd;

use super::PRODUCTS;

/// A value for each product.
type Products<T> = [T; PRODUCTS];

/// The factors of 3 x 3 pixels: `[d0 - d1, d1, d2 - d1]` along both axes.
#[inline(always)]
pub(super) fn differences<S: Simd>(simd: S, d: [S::f32s; 9]) -> Products<S::f32s> {
    let [a, b, c] = [
        minus(simd, d[0], d[3], d[6]),
        minus(simd, d[1], d[4], d[7]),
        minus(simd, d[2], d[5], d[8]),
    ];
    let [x, y, z] = [
        minus(simd, a[0], b[0], c[0]),
        minus(simd, a[1], b[1], c[1]),
        minus(simd, a[2], b[2], c[2]),
    ];
    [x[0], x[1], x[2], y[0], y[1], y[2], z[0], z[1], z[2]]
}

#[inline(always)]
fn minus<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> [S::f32s; 3] {
    [simd.sub_f32s(a, b), b, simd.sub_f32s(c, b)]
}

/// The transpose of [`differences`].
#[inline(always)]
pub(super) fn undone<S: Simd>(simd: S, m: Products<S::f32s>) -> [S::f32s; 9] {
    let [a, b, c] =
        [less(simd, m[0], m[3], m[6]), less(simd, m[1], m[4], m[7]), less(simd, m[2], m[5], m[8])];
    let [x, y, z] =
        [less(simd, a[0], b[0], c[0]), less(simd, a[1], b[1], c[1]), less(simd, a[2], b[2], c[2])];
    [x[0], x[1], x[2], y[0], y[1], y[2], z[0], z[1], z[2]]
}

#[inline(always)]
fn less<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> [S::f32s; 3] {
    [a, simd.sub_f32s(simd.sub_f32s(b, a), c), c]
}

/// The factors of 2 x 2 taps, or results: `[g0, g0 + g1, g1]` along both axes.
#[inline(always)]
pub(super) fn sums<S: Simd>(simd: S, g: [S::f32s; 4]) -> Products<S::f32s> {
    let [a, b] = [simd.add_f32s(g[0], g[2]), simd.add_f32s(g[1], g[3])];
    [
        g[0],
        simd.add_f32s(g[0], g[1]),
        g[1],
        a,
        simd.add_f32s(a, b),
        b,
        g[2],
        simd.add_f32s(g[2], g[3]),
        g[3],
    ]
}

/// The transpose of [`sums`].
#[inline(always)]
pub(super) fn folded<S: Simd>(simd: S, m: Products<S::f32s>) -> [S::f32s; 4] {
    let [a, b, c] =
        [simd.add_f32s(m[0], m[3]), simd.add_f32s(m[1], m[4]), simd.add_f32s(m[2], m[5])];
    let [d, e, f] =
        [simd.add_f32s(m[3], m[6]), simd.add_f32s(m[4], m[7]), simd.add_f32s(m[5], m[8])];
    [simd.add_f32s(a, b), simd.add_f32s(b, c), simd.add_f32s(d, e), simd.add_f32s(e, f)]
}

/// The values of the products that are `product` apart.
#[inline(always)]
pub(super) fn got<T: Copy>(values: &[T], from: usize, product: usize) -> Products<T> {
    let mut out = [values[from]; PRODUCTS];
    for (p, out) in out.iter_mut().enumerate() {
        *out = values[from + p * product];
    }
    out
}

/// The reverse of [`got`].
#[inline(always)]
pub(super) fn put<T: Copy>(out: &mut [T], to: usize, product: usize, values: Products<T>) {
    for (p, value) in values.into_iter().enumerate() {
        out[to + p * product] = value;
    }
}
