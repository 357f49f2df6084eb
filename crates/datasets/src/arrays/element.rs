//! Element types of stored arrays, and their bytes as numbers.

use std::fmt;

use half::{bf16, f16};

/// Type of the elements of a stored array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Unsigned bytes, as pixels come.
    U8,
    /// 32-bit integers.
    I32,
    /// 64-bit integers, as labels come.
    I64,
    /// Half precision, five bits of exponent.
    F16,
    /// Half precision, eight bits of exponent; safetensors only.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// Numbers of an array in row-major order, in the smallest of four types that holds all of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// From [`Element::U8`].
    U8(Vec<u8>),
    /// From [`Element::I32`] and [`Element::I64`].
    I64(Vec<i64>),
    /// From [`Element::F16`], [`Element::Bf16`] and [`Element::F32`].
    F32(Vec<f32>),
    /// From [`Element::F64`].
    F64(Vec<f64>),
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Is there no element?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whole elements from their bytes, which are big-endian or little-endian.
    pub(super) fn decode(element: Element, mut bytes: Vec<u8>, big_endian: bool) -> Self {
        if big_endian && element.size() > 1 {
            bytes.chunks_exact_mut(element.size()).for_each(<[u8]>::reverse);
        }
        match element {
            Element::U8 => Self::U8(bytes),
            Element::I32 => Self::I64(each(&bytes, |b| i32::from_le_bytes(b).into())),
            Element::I64 => Self::I64(each(&bytes, i64::from_le_bytes)),
            Element::F16 => Self::F32(each(&bytes, |b| f16::from_le_bytes(b).to_f32())),
            Element::Bf16 => Self::F32(each(&bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Element::F32 => Self::F32(each(&bytes, f32::from_le_bytes)),
            Element::F64 => Self::F64(each(&bytes, f64::from_le_bytes)),
        }
    }

    /// Column-major elements of those dimensions in row-major order.
    pub(super) fn transposed(self, dims: &[usize]) -> Self {
        match self {
            Self::U8(values) => Self::U8(transpose(&values, dims)),
            Self::I64(values) => Self::I64(transpose(&values, dims)),
            Self::F32(values) => Self::F32(transpose(&values, dims)),
            Self::F64(values) => Self::F64(transpose(&values, dims)),
        }
    }

    /// The elements of a range, all of which exist.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::U8(values) => Self::U8(values[range].to_vec()),
            Self::I64(values) => Self::I64(values[range].to_vec()),
            Self::F32(values) => Self::F32(values[range].to_vec()),
            Self::F64(values) => Self::F64(values[range].to_vec()),
        }
    }
}

fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
}

/// `dims` has a product of `values.len()`.
fn transpose<T: Copy>(values: &[T], dims: &[usize]) -> Vec<T> {
    // Distance in `values` of two neighbours along an axis.
    let mut strides = Vec::with_capacity(dims.len());
    let mut stride = 1;
    for &dim in dims {
        strides.push(stride);
        stride *= dim;
    }
    let mut index = vec![0; dims.len()];
    let mut out = Vec::with_capacity(values.len());
    let mut at = 0;
    while out.len() < values.len() {
        out.push(values[at]);
        // Count up, the last axis fastest.
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            at -= strides[axis] * dims[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_decoded_in_both_byte_orders() {
        let check = |element: Element, little: &[u8], expected: Values| {
            assert_eq!(Values::decode(element, little.to_vec(), false), expected, "{element}");
            let big: Vec<u8> =
                little.chunks(element.size()).flat_map(|b| b.iter().rev().copied()).collect();
            assert_eq!(Values::decode(element, big, true), expected, "{element}");
        };
        check(Element::U8, &[1, 255], Values::U8(vec![1, 255]));
        let bytes = [(-2_i32).to_le_bytes(), 70_000_i32.to_le_bytes()].concat();
        check(Element::I32, &bytes, Values::I64(vec![-2, 70_000]));
        check(Element::I64, &i64::MIN.to_le_bytes(), Values::I64(vec![i64::MIN]));
        // 1.5 and -2: signs, exponents and fractions by hand.
        check(Element::F16, &[0x00, 0x3e, 0x00, 0xc0], Values::F32(vec![1.5, -2.0]));
        check(Element::Bf16, &[0xc0, 0x3f, 0x00, 0xc0], Values::F32(vec![1.5, -2.0]));
        check(Element::F32, &0.1_f32.to_le_bytes(), Values::F32(vec![0.1]));
        check(Element::F64, &0.1_f64.to_le_bytes(), Values::F64(vec![0.1]));
    }

    #[test]
    fn column_major_elements_come_out_by_rows() {
        // Entry (i, j, k) is 100 i + 10 j + k; the first index runs fastest.
        let dims = [2, 3, 4];
        let mut stored = Vec::new();
        for k in 0..4 {
            for j in 0..3 {
                stored.extend((0..2).map(|i| 100 * i + 10 * j + k));
            }
        }
        let mut expected = Vec::new();
        for i in 0..2 {
            for j in 0..3 {
                expected.extend((0..4).map(|k| 100 * i + 10 * j + k));
            }
        }
        assert_eq!(Values::I64(stored).transposed(&dims), Values::I64(expected));
        assert_eq!(Values::U8(vec![7]).transposed(&[]), Values::U8(vec![7]));
        assert_eq!(Values::U8(vec![]).transposed(&[3, 0]), Values::U8(vec![]));
    }
}
