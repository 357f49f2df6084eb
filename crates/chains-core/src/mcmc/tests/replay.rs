//! The buffer of persistent chains.

use candle_core::{DType, Device, Tensor};

use crate::{
    HostNoise, Noise, Result, Seed,
    mcmc::{Drawn, ReplayBuffer},
    testing::{values, vector},
};

fn noise() -> HostNoise {
    Seed::new(5).child("replay").host_noise()
}

/// Rows `i, i + 0.5` for `i` from 0.
fn numbered(capacity: usize) -> Result<Tensor> {
    let rows: Vec<f32> = (0..capacity).flat_map(|i| [i as f32, i as f32 + 0.5]).collect();
    Ok(Tensor::from_vec(rows, (capacity, 2), &Device::Cpu)?)
}

/// Fresh rows are negative and numbered.
fn fresh(n: usize, _: &mut dyn Noise) -> Result<Tensor> {
    let rows: Vec<f32> = (0..n).flat_map(|i| [-1.0 - i as f32; 2]).collect();
    Ok(Tensor::from_vec(rows, (n, 2), &Device::Cpu)?)
}

fn rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(tensor.to_vec2::<f32>()?)
}

#[test]
fn chains_restart_with_their_probability_and_else_begin_at_their_row() -> Result<()> {
    let buffer = ReplayBuffer::from_tensor(&numbered(50)?)?;
    let (n, p) = (40_000, 0.05);
    let Drawn { positions, indices, restarted } = buffer.draw(n, p, &mut noise(), fresh)?;
    let mut next = 0.0;
    for ((row, index), restarted) in rows(&positions)?.iter().zip(&indices).zip(&restarted) {
        let (index, begun) = (*index as f32, -1.0 - next);
        next += if *restarted { 1.0 } else { 0.0 };
        assert_eq!(*row, if *restarted { [begun; 2] } else { [index, index + 0.5] });
    }
    // Five standard deviations of binomial counts.
    let even = |count: f64, p: f64| {
        let n = n as f64;
        assert!((count - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "{count}, {p}");
    };
    even(f64::from(next), p);
    for row in 0..50 {
        even(indices.iter().filter(|index| **index == row).count() as f64, 0.02);
    }
    // A restart does not depend on the chain before, nor on the row.
    let pairs = restarted.windows(2).filter(|pair| pair[0] && pair[1]).count();
    even(pairs as f64, p * p);
    let low = indices.iter().zip(&restarted).filter(|(index, begun)| **index < 25 && **begun);
    even(low.count() as f64, p / 2.0);
    Ok(())
}

#[test]
fn positions_go_back_to_where_they_were_drawn() -> Result<()> {
    let mut buffer = ReplayBuffer::from_tensor(&numbered(6)?)?;
    let moved = Tensor::new(&[[10.0_f32, 11.0], [20.0, 21.0], [30.0, 31.0]], &Device::Cpu)?;
    // Of the two chains of row 4 the later wins, also over a smaller place in the list.
    buffer.put_back(&[4, 1, 4], &moved)?;
    let want = [[0.0, 0.5], [20.0, 21.0], [2.0, 2.5], [3.0, 3.5], [30.0, 31.0], [5.0, 5.5]];
    assert_eq!(rows(&buffer.tensor()?)?, want);
    buffer.put_back(
        &[1, 0, 1, 0],
        &Tensor::new(&[[1_f32; 2], [2.; 2], [3.; 2], [4.; 2]], &Device::Cpu)?,
    )?;
    assert_eq!(rows(&buffer.tensor()?)?[..2], [[4.0; 2], [3.0; 2]]);
    // And are drawn from there.
    let drawn = buffer.draw(200, 0.0, &mut noise(), |_, _| panic!("no chain restarts"))?;
    let all = rows(&buffer.tensor()?)?;
    for (row, index) in rows(&drawn.positions)?.iter().zip(&drawn.indices) {
        assert_eq!(*row, all[*index as usize]);
    }
    // All restart, and only those rows change that are written.
    let drawn = buffer.draw(3, 1.0, &mut noise(), fresh)?;
    assert_eq!(rows(&drawn.positions)?, [[-1.0; 2], [-2.0; 2], [-3.0; 2]]);
    assert_eq!(rows(&buffer.tensor()?)?, all);
    Ok(())
}

#[test]
fn the_buffer_shares_no_memory() -> Result<()> {
    let begin = numbered(4)?;
    let mut buffer = ReplayBuffer::from_tensor(&begin.narrow(0, 1, 3)?)?;
    let (before, drawn) = (buffer.tensor()?, buffer.draw(8, 0.0, &mut noise(), fresh)?);
    let seen = rows(&drawn.positions)?;
    buffer.put_back(&[0, 1, 2], &Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?)?;
    assert_eq!(values(&buffer.tensor()?), [0.0; 6]);
    assert_eq!(rows(&begin)?, rows(&numbered(4)?)?);
    assert_eq!(rows(&before)?, rows(&numbered(4)?)?[1..]);
    assert_eq!(rows(&drawn.positions)?, seen);
    Ok(())
}

#[test]
fn a_buffer_from_a_checkpoint_goes_on_with_the_same_bits() -> Result<()> {
    let run = |buffer: &mut ReplayBuffer, noise: &mut HostNoise| -> Result<()> {
        for _ in 0..3 {
            let drawn = buffer.draw(16, 0.2, noise, |n, noise| {
                ReplayBuffer::uniform_rows(n, (3, 2), noise, &Device::Cpu)
            })?;
            buffer.put_back(&drawn.indices, &(drawn.positions * 1.5)?)?;
        }
        Ok(())
    };
    let mut first = ReplayBuffer::uniform(20, (3, 2), &mut noise(), &Device::Cpu)?;
    assert_eq!((first.capacity(), first.event()), (20, &[3, 2][..]));
    let mut stream = noise();
    run(&mut first, &mut stream)?;
    let mut second = ReplayBuffer::from_tensor(&first.tensor()?)?;
    let mut restored = HostNoise::restore(&stream.state());
    run(&mut first, &mut stream)?;
    run(&mut second, &mut restored)?;
    assert_eq!(values(&first.tensor()?), values(&second.tensor()?));
    assert_eq!(stream.state(), restored.state());
    Ok(())
}

#[test]
fn a_new_buffer_is_uniform_between_minus_one_and_one() -> Result<()> {
    let buffer = ReplayBuffer::uniform(4000, 5, &mut noise(), &Device::Cpu)?;
    let tensor = buffer.tensor()?;
    assert_eq!((tensor.dims(), tensor.dtype()), (&[4000, 5][..], DType::F32));
    let numbers = values(&tensor);
    assert!(numbers.iter().all(|x| (-1.0..1.0).contains(x)));
    super::assert_mean("mean", &numbers, 0.0);
    let squares: Vec<f64> = numbers.iter().map(|x| x * x).collect();
    super::assert_mean("second moment", &squares, 1.0 / 3.0);
    Ok(())
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let draw = || -> Result<(Vec<f64>, Vec<u32>)> {
        let mut noise = noise();
        let buffer = ReplayBuffer::uniform(30_000, 3, &mut noise, &Device::Cpu)?;
        let drawn = buffer.draw(20_000, 0.05, &mut noise, |n, noise| {
            ReplayBuffer::uniform_rows(n, 3, noise, &Device::Cpu)
        })?;
        Ok((values(&drawn.positions), drawn.indices))
    };
    let run = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(draw)
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn unusable_arguments_are_named_and_change_nothing() -> Result<()> {
    let empty = Tensor::zeros((0, 2), DType::F32, &Device::Cpu)?;
    let text = |tensor: &Tensor| ReplayBuffer::from_tensor(tensor).unwrap_err().to_string();
    assert!(text(&empty).contains("replay buffer"));
    assert!(text(&Tensor::new(1.0_f32, &Device::Cpu)?).contains("replay buffer"));
    assert!(text(&Tensor::new(&[[1_u8]], &Device::Cpu)?).contains("floating-point"));
    let mut buffer = ReplayBuffer::from_tensor(&numbered(3)?)?;
    let draw = |n, p| buffer.draw(n, p, &mut noise(), fresh).unwrap_err().to_string();
    assert!(draw(0, 0.5).contains("`n`"));
    for p in [-0.1, 1.1, f64::NAN] {
        assert!(draw(2, p).contains("`restart_probability`"));
    }
    let wrong = buffer.draw(4, 1.0, &mut noise(), |_, _| Ok(vector(&[1.0]))).unwrap_err();
    assert!(wrong.to_string().contains("fresh positions"), "{wrong}");
    let ones = numbered(2)?.ones_like()?;
    let beyond = buffer.put_back(&[0, 3], &ones).unwrap_err().to_string();
    assert!(beyond.contains("`indices`"), "{beyond}");
    let few = buffer.put_back(&[0], &ones).unwrap_err().to_string();
    assert!(few.contains("positions"), "{few}");
    assert_eq!(rows(&buffer.tensor()?)?, rows(&numbered(3)?)?);
    Ok(())
}
