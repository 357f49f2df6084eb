use candle_core::{DType, Device};
use chains_core::{Noise, Seed};

use super::*;

fn vector(values: &[f64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_divergence_has_its_known_value() -> Result<()> {
    let (mean, log_scale) = (vector(&[0.3]), vector(&[-0.5]));
    let prior = SoftNormal::new(&mean, &log_scale)?;
    // Raw parameters are added before the clamp.
    let posterior = SoftNormal::new(&(mean + 0.2)?, &(log_scale - 0.3)?)?;
    for (got, want) in [
        (&prior.mean, 0.299_641),
        (&prior.scale, 0.617_538),
        (&posterior.mean, 0.498_340),
        (&posterior.scale, 0.462_376),
        (&posterior.kl(&prior)?, 0.121_434),
    ] {
        assert!((values(got)[0] - want).abs() < 1e-6, "{} {want}", values(got)[0]);
    }
    Ok(())
}

#[test]
fn the_divergence_is_the_mean_of_the_log_ratio() -> Result<()> {
    let mut noise = Seed::new(0).host_noise();
    let n = 1_000_000;
    for case in 0..3 {
        let raw = noise.normal(&4.into(), DType::F64, &Device::Cpu)?;
        let at = |i: usize| raw.narrow(0, i, 1);
        let p = SoftNormal::new(&at(0)?, &at(1)?)?;
        let q = SoftNormal::new(&at(2)?, &at(3)?)?;
        let wide = |law: &SoftNormal| -> Result<SoftNormal> {
            let of = |t: &Tensor| t.broadcast_as(n)?.contiguous();
            Ok(SoftNormal { mean: of(&law.mean)?, scale: of(&law.scale)? })
        };
        let (wide_p, wide_q) = (wide(&p)?, wide(&q)?);
        let v = wide_q.sample(&noise.normal(&n.into(), DType::F64, &Device::Cpu)?)?;
        let ratio = values(&(wide_q.log_density(&v)? - wide_p.log_density(&v)?)?);
        let mean = ratio.iter().sum::<f64>() / n as f64;
        let square = ratio.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n as f64;
        let error = (square / n as f64).sqrt();
        let want = values(&q.kl(&p)?)[0];
        assert!((mean - want).abs() < 4.0 * error, "{case}: {mean} +- {error}, {want}");
    }
    Ok(())
}

#[test]
fn deviations_have_their_bounds() -> Result<()> {
    let raw = vector(&[-1e4, 1e4, 0.0]);
    let law = SoftNormal::new(&raw, &raw)?;
    for (got, want) in values(&law.scale).iter().zip([0.016_738, 148.423_2, 1.01]) {
        assert!((got / want - 1.0).abs() < 1e-4, "{got} {want}");
    }
    assert_eq!(values(&law.mean), [-5.0, 5.0, 0.0]);
    let cool = law.tempered(0.5)?;
    assert_eq!(values(&cool.scale)[2].to_bits(), 0.505_f64.to_bits());
    let v = vector(&[0.3, -0.2, 0.7]);
    let back = law.sample(&law.noise_of(&v)?)?;
    for (got, want) in values(&back).iter().zip(values(&v)) {
        assert!((got - want).abs() < 1e-12);
    }
    assert!(law.sample(&vector(&[1.0])).is_err());
    Ok(())
}

#[test]
fn the_density_integrates_to_one_and_sums_over_an_event() -> Result<()> {
    let law = SoftNormal::new(&vector(&[0.4]), &vector(&[-0.7]))?;
    let n = 20_001;
    let grid: Vec<f64> = (0..n).map(|i| -8.0 + 16.0 * f64::from(i) / f64::from(n - 1)).collect();
    let n = grid.len();
    let of = |t: &Tensor| t.broadcast_as(n).unwrap().contiguous().unwrap();
    let wide = SoftNormal { mean: of(&law.mean), scale: of(&law.scale) };
    let density = wide.log_density(&vector(&grid))?.exp()?;
    let total = values(&density).iter().sum::<f64>() * 16.0 / (n - 1) as f64;
    assert!((total - 1.0).abs() < 1e-9, "{total}");
    let event = |t: &Tensor| t.narrow(0, 9000, 12)?.reshape((2, 3, 2));
    let small = SoftNormal { mean: event(&wide.mean)?, scale: event(&wide.scale)? };
    let v = event(&vector(&grid))?;
    let want = sum_event(&small.log_density(&v)?)?;
    for (got, want) in values(&small.log_prob(&v)?).iter().zip(values(&want)) {
        assert!((got - want).abs() < 1e-10);
    }
    Ok(())
}
