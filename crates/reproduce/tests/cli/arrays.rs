//! Array files built byte by byte, and the golden numbers that the specification of the scores has.

use std::{fs, path::Path};

/// `LCG(seed)`: `s = 1664525 s + 1013904223 mod 2^32`, each draw `(s + 0.5) / 2^32`.
pub(super) fn draws(seed: u32, n: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) + 0.5) / 4_294_967_296.0
    };
    (0..n).map(|_| next()).collect()
}

/// 200 rows of 8.
pub(super) fn real() -> Vec<f64> {
    draws(1, 1600)
}

/// 200 rows of 8, smaller and moved.
pub(super) fn fake() -> Vec<f64> {
    draws(2, 1600).into_iter().map(|u| 0.8 * u + 0.3).collect()
}

pub(super) fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An `.npy` file of version 1.
pub(super) fn npy(descr: &str, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let dims: String = dims.iter().map(|dim| format!("{dim},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

/// Rows of f64 as an `.npy` file.
pub(super) fn save_rows(path: &Path, columns: usize, values: &[f64]) {
    let bytes = npy("<f8", &[values.len() / columns, columns], &f64s(values));
    fs::write(path, bytes).unwrap();
}

/// An archive of stored members.
pub(super) fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut central) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let name = format!("{name}.npy");
        let mut entry = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for word in [crc(bytes), bytes.len() as u32, bytes.len() as u32] {
            entry.extend(word.to_le_bytes());
        }
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([0, 0]);
        let start = (file.len() as u32).to_le_bytes();
        central
            .extend([b"PK\x01\x02\x14\0", &entry[..], &[0; 10], &start, name.as_bytes()].concat());
        file.extend([b"PK\x03\x04", &entry[..], name.as_bytes(), bytes].concat());
    }
    let count = (members.len() as u16).to_le_bytes();
    let mut end = [b"PK\x05\x06\0\0\0\0", &count[..], &count].concat();
    end.extend((central.len() as u32).to_le_bytes());
    end.extend((file.len() as u32).to_le_bytes());
    end.extend([0, 0]);
    [file, central, end].concat()
}

/// The checksum of zip archives, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}
