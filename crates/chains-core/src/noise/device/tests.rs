use super::*;
use crate::testing::on_devices;

on_devices!(bits_are_those_of_the_host);

fn bits_are_those_of_the_host(device: &Device) -> Result<()> {
    let (n, key) = (10_007, noise().state().seed.value());
    let mut stream = noise();
    for (draw, fill) in (0..).zip([philox::normal, philox::uniform, philox::normal]) {
        let mut want = vec![0_f32; n];
        fill(&mut want, key, draw);
        let law = if draw == 1 { Law::Uniform } else { Law::Normal };
        let got = stream.draw(law, &n.into(), DType::F32, device)?;
        let got = got.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        assert!(got.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits()), "draw {draw}");
    }
    Ok(())
}

fn noise() -> DeviceNoise {
    DeviceNoise::new(Seed::new(7).child("test"))
}

fn drawn(noise: &mut DeviceNoise, law: Law, n: usize, dtype: DType) -> Vec<f64> {
    let x = noise.draw(law, &n.into(), dtype, &Device::Cpu).unwrap();
    crate::host::values(&x).unwrap()
}

fn moments(values: &[f64]) -> [f64; 4] {
    [1, 2, 3, 4].map(|k| values.iter().map(|v| v.powi(k)).sum::<f64>() / values.len() as f64)
}

#[test]
fn moments_are_those_of_the_distributions() {
    let (n, root) = (400_000, 400_000_f64.sqrt());
    for dtype in [DType::F32, DType::F64] {
        let values = drawn(&mut noise(), Law::Normal, n, dtype);
        // Five standard errors; the variance of a power is a difference of moments of the law.
        for ((got, want), variance) in
            moments(&values).iter().zip([0.0, 1.0, 0.0, 3.0]).zip([1.0, 2.0, 15.0, 96.0_f64])
        {
            assert!((got - want).abs() < 5.0 * variance.sqrt() / root, "{dtype:?}: {got}, {want}");
        }
        // Neighbours share a counter, and those four apart do not: neither may correlate.
        for gap in 1..=5 {
            let products = values.iter().zip(&values[gap..]).map(|(a, b)| a * b);
            let mean = products.sum::<f64>() / n as f64;
            assert!(mean.abs() < 5.0 / root, "{dtype:?}: gap {gap}: {mean}");
        }
        let values = drawn(&mut noise(), Law::Uniform, n, dtype);
        for (k, got) in (1..).zip(moments(&values)) {
            let (want, square) = (1.0 / f64::from(k + 1), 1.0 / f64::from(2 * k + 1));
            assert!((got - want).abs() < 5.0 * (square - want * want).sqrt() / root);
        }
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
    }
    for dtype in [DType::BF16, DType::F16] {
        let values = drawn(&mut noise(), Law::Uniform, n, dtype);
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)), "{dtype:?}");
    }
}

#[test]
fn thread_count_does_not_matter() {
    let draw = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| drawn(&mut noise(), Law::Normal, 100_003, DType::F32))
    };
    assert_eq!(draw(1), draw(3));
}

#[test]
fn numbers_are_a_function_of_seed_draw_and_place() {
    for (law, dtype) in [
        (Law::Normal, DType::F32),
        (Law::Uniform, DType::F32),
        (Law::Normal, DType::F64),
        (Law::Uniform, DType::F64),
    ] {
        let mut stream = noise();
        let long = drawn(&mut stream, law, 40_003, dtype);
        let next = drawn(&mut stream, law, 17, dtype);
        assert_eq!(long[..17], drawn(&mut noise(), law, 17, dtype), "{law:?} {dtype:?}");
        assert_ne!(long[..17], next);
        let other = drawn(&mut DeviceNoise::new(Seed::new(8)), law, 17, dtype);
        assert_ne!(long[..17], other);
    }
    assert!(drawn(&mut noise(), Law::Normal, 0, DType::F32).is_empty());
}

#[test]
fn a_restored_state_goes_on_with_the_same_bits() {
    let mut first = noise();
    drawn(&mut first, Law::Normal, 10, DType::F32);
    let state = serde_json::to_string(&first.state()).unwrap();
    let mut second = DeviceNoise::restore(&serde_json::from_str(&state).unwrap());
    let again = drawn(&mut second, Law::Uniform, 9, DType::F32);
    assert_eq!(drawn(&mut first, Law::Uniform, 9, DType::F32), again);
    assert_eq!(first, second);
}

#[test]
fn half_precision_is_rounded() {
    let wide = noise().normal(&5.into(), DType::F32, &Device::Cpu).unwrap();
    let half = noise().normal(&5.into(), DType::BF16, &Device::Cpu).unwrap();
    assert_eq!(half.dtype(), DType::BF16);
    let rounded = wide.to_dtype(DType::BF16).unwrap();
    assert_eq!(crate::host::values(&half).unwrap(), crate::host::values(&rounded).unwrap());
}

/// The kernels, compiled for the processor by the C compiler that links Rust programs, one thread at a
/// time: their bits are those of the host.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn the_kernels_compute_the_same_bits() {
    const PRELUDE: &str = "
        #include <math.h>
        #include <stdbool.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #define __device__ static
        #define __forceinline__ inline
        #define __global__
        struct place { unsigned x; };
        static struct place blockIdx, threadIdx, gridDim, blockDim;
        static float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
        static unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
    ";
    const MAIN: &str = "
        int main(int n, char **words) {
            u64 len = strtoull(words[1], 0, 10);
            u64 key = strtoull(words[2], 0, 10), draw = strtoull(words[3], 0, 10);
            float *out = calloc(2 * len, sizeof(float));
            gridDim.x = 3;
            blockDim.x = 5;
            for (blockIdx.x = 0; blockIdx.x < 3; ++blockIdx.x)
                for (threadIdx.x = 0; threadIdx.x < 5; ++threadIdx.x) {
                    philox_normal(out, len, key, draw);
                    philox_uniform(out + len, len, key, draw);
                }
            return fwrite(out, sizeof(float), 2 * len, stdout) != 2 * len;
        }
    ";
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("philox.c"), folder.path().join("philox"));
    let kernels = include_str!("../philox.cu").replace("extern \"C\" ", "");
    std::fs::write(&source, [PRELUDE, &kernels, MAIN].concat()).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-std=gnu11", "-O2", "-ffp-contract=off", "-o"])
        .args([&program, &source])
        .arg("-lm")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (n, key, draw) = (20_003_usize, 0x1234_5678_9abc_def0_u64, (1_u64 << 32) + 5);
    let words = [n as u64, key, draw].map(|word| word.to_string());
    let found = std::process::Command::new(&program).args(words).output().unwrap();
    assert!(found.status.success() && found.stdout.len() == 8 * n);
    let bits: Vec<u32> =
        found.stdout.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut values = vec![0_f32; n];
    for (law, bits) in [philox::normal, philox::uniform].into_iter().zip(bits.chunks_exact(n)) {
        law(&mut values, key, draw);
        for (i, (value, bits)) in values.iter().zip(bits).enumerate() {
            assert_eq!(value.to_bits(), *bits, "{i}: {value}, {}", f32::from_bits(*bits));
        }
    }
}

#[test]
fn value_stability() {
    // Frozen: a change alters every number of every run and belongs in the changelog. From a program of the
    // same operations in exact fractions, rounded where they say so.
    let mut stream = noise();
    assert_eq!(drawn(&mut stream, Law::Normal, 3, DType::F32), NORMALS);
    assert_eq!(drawn(&mut stream, Law::Uniform, 3, DType::F32), UNIFORMS);
    assert_eq!(drawn(&mut stream, Law::Uniform, 2, DType::F64), UNIFORMS_F64);
}

const NORMALS: [f64; 3] =
    [1.537_464_857_101_440_4, -0.361_762_940_883_636_5, 0.532_802_224_159_240_7];
const UNIFORMS: [f64; 3] =
    [0.277_689_397_335_052_5, 0.928_167_700_767_517_1, 0.703_375_399_112_701_4];
const UNIFORMS_F64: [f64; 2] = [0.128_130_498_231_600_94, 0.678_856_287_837_854_1];
