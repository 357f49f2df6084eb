//! The replay buffer.

use candle_core::{DType, Device, Tensor};
use chains_core::{Result, Seed};
use vaebm::{JointNoise, NoiseBuffer, NoiseShapes, ReplayConfig};

use crate::decoders::values;

fn shapes() -> NoiseShapes {
    NoiseShapes { latents: vec![vec![2], vec![1, 2]], pixels: vec![3] }
}

/// Chains whose numbers all say which chain they are of, their pixels -1.
fn tagged(tags: &[f32]) -> JointNoise {
    let fill = |tag: f32, n| vec![tag; n];
    let rows: Vec<f32> =
        tags.iter().flat_map(|t| [fill(*t, 2), fill(t + 0.5, 2), fill(-1.0, 3)].concat()).collect();
    let flat = Tensor::from_vec(rows, (tags.len(), 7), &Device::Cpu).unwrap();
    JointNoise::from_flat(&flat, &shapes()).unwrap()
}

fn tags(noise: &JointNoise) -> Vec<f64> {
    let (first, second) = (values(&noise.latents[0]), values(&noise.latents[1]));
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(*b, a + 0.5, "groups of one chain stay together");
    }
    first.chunks(2).map(|pair| pair[0]).collect()
}

fn buffer(capacity: usize, probability: f64, ramp: usize) -> NoiseBuffer {
    NoiseBuffer::new(ReplayConfig { capacity, probability, ramp, pixels: false }, shapes()).unwrap()
}

#[test]
fn the_oldest_chains_leave_first_and_groups_stay_together() -> Result<()> {
    let mut buffer = buffer(5, 1.0, 0);
    buffer.push(&tagged(&[1.0, 2.0, 3.0]))?;
    assert_eq!(buffer.len(), 3);
    buffer.push(&tagged(&[4.0, 5.0, 6.0, 7.0]))?;
    assert_eq!(buffer.len(), 5);
    let rows = buffer.tensor()?.unwrap().to_vec2::<f32>()?;
    let kept: Vec<f32> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(kept, [3.0, 4.0, 5.0, 6.0, 7.0]);
    assert!(rows.iter().all(|row| row.len() == 4), "pixel noise is not stored");
    let config = ReplayConfig { capacity: 5, probability: 1.0, ramp: 0, pixels: false };
    let again = NoiseBuffer::restore(config, shapes(), &buffer.tensor()?.unwrap())?;
    assert_eq!(again.tensor()?.unwrap().to_vec2::<f32>()?, rows);
    let small = ReplayConfig { capacity: 4, ..config };
    assert!(NoiseBuffer::restore(small, shapes(), &buffer.tensor()?.unwrap()).is_err());
    Ok(())
}

#[test]
fn replayed_chains_come_first_are_distinct_and_leave_pixels_fresh() -> Result<()> {
    let mut buffer = buffer(100, 0.5, 0);
    buffer.push(&tagged(&(0..100).map(|i| i as f32).collect::<Vec<_>>()))?;
    let mut noise = Seed::new(0).host_noise();
    let fresh = tagged(&(1000..1032).map(|i| i as f32).collect::<Vec<_>>());
    for _ in 0..50 {
        let begun = buffer.begin(fresh.clone(), 0, &mut noise)?;
        let tags = tags(&begun.noise);
        let (replayed, others) = tags.split_at(begun.replayed);
        assert!(replayed.iter().all(|tag| *tag < 100.0));
        let mut sorted = replayed.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        assert_eq!(sorted.len(), replayed.len());
        let want: Vec<f64> = (1000 + replayed.len()..1032).map(|i| i as f64).collect();
        assert_eq!(others, want);
        assert!(values(&begun.noise.pixels).iter().all(|e| *e == -1.0));
        assert_eq!(begun.noise.latents[1].dims(), [32, 1, 2]);
    }
    Ok(())
}

#[test]
fn the_number_of_replayed_chains_is_binomial_and_rows_are_equally_likely() -> Result<()> {
    let mut buffer = buffer(40, 0.6, 0);
    buffer.push(&tagged(&(0..40).map(|i| i as f32).collect::<Vec<_>>()))?;
    let fresh = tagged(&[1000.0; 16]);
    let mut noise = Seed::new(1).host_noise();
    let (mut counts, mut rows, n) = (Vec::new(), [0_usize; 40], 4000);
    for _ in 0..n {
        let begun = buffer.begin(fresh.clone(), 0, &mut noise)?;
        counts.push(begun.replayed as f64);
        for tag in &tags(&begun.noise)[..begun.replayed] {
            rows[*tag as usize] += 1;
        }
    }
    let mean = counts.iter().sum::<f64>() / n as f64;
    let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    // 16 * 0.6 = 9.6, variance 3.84; the variance of a variance is near 2 v^2 / n.
    assert!((mean - 9.6).abs() < 4.0 * (3.84 / n as f64).sqrt(), "{mean}");
    assert!((variance - 3.84).abs() < 5.0 * 3.84 * (2.0 / n as f64).sqrt(), "{variance}");
    let expected = n as f64 * 9.6 / 40.0;
    assert!(rows.iter().all(|c| (*c as f64 - expected).abs() < 5.0 * expected.sqrt()), "{rows:?}");
    Ok(())
}

#[test]
fn the_probability_grows_linearly_to_its_limit() {
    let config = ReplayConfig { capacity: 10_000, probability: 0.6, ramp: 5000, pixels: false };
    for (update, want) in [(0, 0.0), (1, 0.000_12), (2500, 0.3), (5000, 0.6), (20_000, 0.6)] {
        assert!((config.probability_at(update) - want).abs() < 1e-15);
    }
    assert_eq!(ReplayConfig { ramp: 0, ..config }.probability_at(0).to_bits(), 0.6_f64.to_bits());
}

#[test]
fn an_empty_buffer_and_the_first_update_leave_all_chains_fresh() -> Result<()> {
    let mut noise = Seed::new(2).host_noise();
    let fresh = tagged(&[5.0, 6.0]);
    let empty = buffer(10, 1.0, 0);
    assert!(empty.is_empty() && empty.tensor()?.is_none());
    assert_eq!(empty.begin(fresh.clone(), 100, &mut noise)?.replayed, 0);
    let mut ramped = buffer(10, 0.6, 100);
    ramped.push(&tagged(&[1.0, 2.0, 3.0]))?;
    let begun = ramped.begin(fresh.clone(), 0, &mut noise)?;
    assert_eq!((begun.replayed, tags(&begun.noise)), (0, vec![5.0, 6.0]));
    // Fewer chains than asked for: all of them, each once.
    let mut small = buffer(10, 1.0, 0);
    small.push(&tagged(&[1.0]))?;
    assert_eq!(tags(&small.begin(fresh, 0, &mut noise)?.noise), [1.0, 6.0]);
    Ok(())
}

#[test]
fn a_buffer_out_of_range_is_refused_by_field() {
    let config = ReplayConfig { capacity: 0, probability: 0.6, ramp: 1, pixels: false };
    let message = NoiseBuffer::new(config, shapes()).unwrap_err().to_string();
    assert!(message.contains("`capacity`"), "{message}");
    let config = ReplayConfig { capacity: 1, probability: 1.2, ramp: 1, pixels: false };
    let message = NoiseBuffer::new(config, shapes()).unwrap_err().to_string();
    assert!(message.contains("`probability`"), "{message}");
    let other = JointNoise {
        latents: vec![],
        pixels: Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap(),
    };
    let config = ReplayConfig { capacity: 1, probability: 0.6, ramp: 1, pixels: false };
    assert!(NoiseBuffer::new(config, shapes()).unwrap().push(&other).is_err());
}

#[test]
fn chains_that_keep_their_pixels_go_on_where_they_ended() -> Result<()> {
    let config = ReplayConfig { capacity: 3, probability: 1.0, ramp: 0, pixels: true };
    let mut buffer = NoiseBuffer::new(config, shapes())?;
    let ended = tagged(&[1.0, 2.0]);
    buffer.push(&ended)?;
    let rows = buffer.tensor()?.unwrap();
    assert_eq!(rows.dims(), [2, 7]);
    let fresh = tagged(&[10.0, 11.0, 12.0]);
    let fresh = JointNoise { pixels: (fresh.pixels * 9.0)?, ..fresh };
    let begun = buffer.begin(fresh, 0, &mut Seed::new(2).host_noise())?;
    assert_eq!(begun.replayed, 2);
    let mut found = tags(&begun.noise);
    assert_eq!(found.pop(), Some(12.0), "the last chain is fresh");
    found.sort_by(f64::total_cmp);
    assert_eq!(found, [1.0, 2.0]);
    assert_eq!(values(&begun.noise.pixels), [[-1.0; 6].as_slice(), &[-9.0; 3]].concat());
    let again = NoiseBuffer::restore(config, shapes(), &rows)?;
    assert_eq!(again.tensor()?.unwrap().to_vec2::<f32>()?, rows.to_vec2::<f32>()?);
    let without = ReplayConfig { pixels: false, ..config };
    assert!(NoiseBuffer::restore(without, shapes(), &rows).is_err());
    Ok(())
}
