//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011): four words as a function of a key and a counter, and
//! normal numbers from them by Box and Muller with elementary functions of fixed bits.
//!
//! `philox.cu` is the same for CUDA, operation for operation.

use rayon::prelude::*;

use crate::ops::{math, vectorised};

/// Counters that are worked on side by side.
const LANES: usize = 16;
/// Numbers of a task.
const TASK: usize = 1 << 14;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Words of consecutive counters: word `k` of counter `i` in place `[k][i]`.
type Words = [[u32; LANES]; 4];

/// The words of the counters from `first` on.
#[allow(clippy::needless_range_loop, reason = "a lane of four rows at once")]
#[inline(always)]
fn words(first: u64, draw: u64, key: u64) -> Words {
    let mut x = [[0; LANES]; 4];
    for i in 0..LANES {
        let index = first.wrapping_add(i as u64);
        x[0][i] = index as u32;
        x[1][i] = (index >> 32) as u32;
        x[2][i] = draw as u32;
        x[3][i] = (draw >> 32) as u32;
    }
    let mut keys = [key as u32, (key >> 32) as u32];
    for _ in 0..10 {
        for i in 0..LANES {
            let a = u64::from(x[0][i]) * u64::from(MULTIPLIERS[0]);
            let b = u64::from(x[2][i]) * u64::from(MULTIPLIERS[1]);
            x[0][i] = (b >> 32) as u32 ^ x[1][i] ^ keys[0];
            x[1][i] = b as u32;
            x[2][i] = (a >> 32) as u32 ^ x[3][i] ^ keys[1];
            x[3][i] = a as u32;
        }
        keys[0] = keys[0].wrapping_add(WEYL[0]);
        keys[1] = keys[1].wrapping_add(WEYL[1]);
    }
    x
}

/// Two independent standard normal numbers from two words.
#[inline(always)]
fn pair(a: u32, b: u32) -> [f32; 2] {
    // 2^-32 (a + 1/2), never 0.
    let u = (a as f32).mul_add(2.328_306_4e-10, 1.164_153_2e-10);
    let r = (-2.0 * math::ln(u)).sqrt();
    // A quarter turn by the two highest bits of the nearest multiple, the rest within an eighth.
    let turned = b.wrapping_add(0x2000_0000);
    let rest = (turned & 0x3fff_ffff) as i32 - 0x2000_0000;
    // pi / 2^31
    let t = rest as f32 * 1.462_918_1e-9;
    let q = t * t;
    let s = math::horner(q, [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0]);
    let s = (s * q).mul_add(t, t);
    let c = [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0];
    let c = math::horner(q, c);
    let quarter = turned >> 30;
    let (x, y) = if quarter & 1 == 1 { (s, c) } else { (c, s) };
    let x = if quarter == 1 || quarter == 2 { -x } else { x };
    let y = if quarter >= 2 { -y } else { y };
    [r * x, r * y]
}

/// Fills a slice: number `4 i + k` is a function of counter `i`.
fn fill(
    out: &mut [f32],
    (key, draw): (u64, u64),
    turn: impl Fn(&Words) -> [[f32; LANES]; 4] + Sync,
) {
    out.par_chunks_mut(TASK).enumerate().for_each(|(task, out)| {
        vectorised(
            #[inline(always)]
            || {
                for (at, out) in out.chunks_mut(4 * LANES).enumerate() {
                    let first = (task * TASK / 4 + at * LANES) as u64;
                    let values = turn(&words(first, draw, key));
                    let mut row = [0.0; 4 * LANES];
                    for i in 0..LANES {
                        for (k, values) in values.iter().enumerate() {
                            row[4 * i + k] = values[i];
                        }
                    }
                    out.copy_from_slice(&row[..out.len()]);
                }
            },
        );
    });
}

/// Fills a slice with the standard normal numbers of a draw.
pub(super) fn normal(out: &mut [f32], key: u64, draw: u64) {
    fill(
        out,
        (key, draw),
        #[inline(always)]
        |x| {
            let mut y = [[0.0; LANES]; 4];
            for i in 0..LANES {
                [y[0][i], y[1][i]] = pair(x[0][i], x[1][i]);
                [y[2][i], y[3][i]] = pair(x[2][i], x[3][i]);
            }
            y
        },
    );
}

/// Fills a slice with the uniform numbers of a draw, multiples of 2^-24 in `[0, 1)`.
pub(super) fn uniform(out: &mut [f32], key: u64, draw: u64) {
    fill(
        out,
        (key, draw),
        #[inline(always)]
        |x| x.map(|words| words.map(|word| (word >> 8) as f32 * (1.0 / 16_777_216.0))),
    );
}

/// Fills a slice with uniform f64, multiples of 2^-53 in `[0, 1)`: numbers `2 i` and `2 i + 1` are a function
/// of counter `i`.
pub(super) fn wide(out: &mut [f64], key: u64, draw: u64) {
    const PAIRS: usize = 2 * LANES;
    out.par_chunks_mut(PAIRS).enumerate().for_each(|(block, out)| {
        let x = words((block * LANES) as u64, draw, key);
        for (at, out) in out.iter_mut().enumerate() {
            let (i, word) = (at / 2, 2 * (at % 2));
            let bits = u64::from(x[word][i]) << 32 | u64::from(x[word + 1][i]);
            *out = (bits >> 11) as f64 / 2_f64.powi(53);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_published_vectors() {
        // Known answers of Random123 for philox4x32, ten rounds: counter, key, result.
        let first = |index, draw, key| words(index, draw, key).map(|word| word[0]);
        assert_eq!(first(0, 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let all = u64::MAX;
        assert_eq!(first(all, all, all), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let (index, draw) = (0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e);
        let want = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        assert_eq!(first(index, draw, 0x299f_31d0_a409_3822), want);
        // Lanes are consecutive counters.
        let lanes = words(5, 7, 9);
        assert!((0..LANES).all(|i| first(5 + i as u64, 7, 9) == lanes.map(|word| word[i])));
    }

    #[test]
    fn pairs_are_those_of_box_and_muller() {
        for (a, b) in
            (0..20_000_u32).map(|i| (i.wrapping_mul(0x9E37_79B9), i.wrapping_mul(0x85EB_CA6B)))
        {
            let u = (f64::from(a) + 0.5) / 2_f64.powi(32);
            let angle = std::f64::consts::TAU * f64::from(b) / 2_f64.powi(32);
            let r = (-2.0 * u.ln()).sqrt();
            let [x, y] = pair(a, b);
            // The word is rounded to 24 bits, which near u = 1 is much of -ln u.
            let slack = 3e-7 * r + 6e-8 / r.max(1e-4);
            assert!((f64::from(x) - r * angle.cos()).abs() <= slack, "{a} {b}");
            assert!((f64::from(y) - r * angle.sin()).abs() <= slack, "{a} {b}");
        }
        for b in [0, 1 << 29, 1 << 30, 3 << 29, 1 << 31, u32::MAX] {
            assert!([0, u32::MAX].iter().all(|a| pair(*a, b).iter().all(|x| x.is_finite())));
        }
    }
}
