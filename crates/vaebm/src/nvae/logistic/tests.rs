use candle_core::Device;
use chains_core::Seed;

use super::*;

/// One pixel, one component, red of mean 0.8 and logarithm of the scale -2, no coefficients.
fn one(bits: u32) -> Result<LogisticMixture> {
    let mut raw = [0.0_f64; 10];
    raw[1] = 0.8;
    raw[2] = -2.0;
    LogisticMixture::new(&Tensor::new(&raw, &Device::Cpu)?.reshape((1, 10, 1, 1))?, 1, bits)
}

/// The sum over all levels of red, with green and blue where they are.
fn total(mixture: &LogisticMixture, bits: u32) -> Result<f64> {
    let levels = 2_u32.pow(bits);
    let mut sum = 0.0;
    for level in 0..levels {
        let y = 2.0 * f64::from(level) / f64::from(levels - 1) - 1.0;
        let y = Tensor::new(&[y, 0.0, 0.0], &Device::Cpu)?.reshape((1, 3, 1, 1))?;
        let mass = mixture.log_mass(&y)?.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<f64>()?;
        sum += mass[0].exp();
    }
    Ok(sum)
}

#[test]
fn levels_sum_to_one_with_the_exact_edge_and_to_more_with_the_official_one() -> Result<()> {
    for (bits, edge, want) in [
        (8, EXACT_EDGE, 1.0),
        (8, OFFICIAL_EDGE, 1.190_181),
        (5, EXACT_EDGE, 1.0),
        (5, OFFICIAL_EDGE, 1.0),
    ] {
        let got = total(&one(bits)?.with_edge(edge), bits)?;
        assert!((got - want).abs() < 1e-6, "{bits} bits, edge {edge}: {got}, expected {want}");
    }
    Ok(())
}

#[test]
fn all_colours_of_a_mixture_sum_to_one() -> Result<()> {
    let mut noise = Seed::new(0).host_noise();
    let raw = noise.normal(&(1, 20, 1, 1).into(), DType::F64, &Device::Cpu)?;
    let bits = 3;
    let mixture = LogisticMixture::new(&raw, 2, bits)?.with_edge(EXACT_EDGE);
    let mut total = 0.0;
    for code in 0..512 {
        let level = |at: u32| 2.0 * f64::from(code / 8_u32.pow(at) % 8) / 7.0 - 1.0;
        let y = Tensor::new(&[level(0), level(1), level(2)], &Device::Cpu)?;
        let log_p = mixture.log_density(&y.reshape((1, 3, 1, 1))?)?;
        total += log_p.flatten_all()?.to_vec1::<f64>()?[0].exp();
    }
    assert!((total - 1.0).abs() < 1e-6, "{total}");
    Ok(())
}

#[test]
fn a_small_mass_is_the_density_in_the_middle_times_the_width_of_a_level() -> Result<()> {
    // Far away from the mean, where sigmoids of f64 still differ.
    let mixture = one(8)?;
    let y = Tensor::new(&[-0.9, 0.0, 0.0], &Device::Cpu)?.reshape((1, 3, 1, 1))?;
    let got = mixture.log_mass(&y)?.flatten_all()?.to_vec1::<f64>()?[0];
    let scale = (-2.0_f64).exp();
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let mass = sigmoid((-1.7 + 1.0 / 255.0) / scale) - sigmoid((-1.7 - 1.0 / 255.0) / scale);
    assert!(mass < SMALL, "{mass}");
    assert!((got - mass.ln()).abs() < 1e-3, "{got} {}", mass.ln());
    Ok(())
}

#[test]
fn draws_have_the_frequencies_of_the_law() -> Result<()> {
    let side = 100;
    let mut noise = Seed::new(1).host_noise();
    let raw = noise.normal(&(1, 20, 1, 1).into(), DType::F64, &Device::Cpu)?;
    let mixture = LogisticMixture::new(&raw.broadcast_as((1, 20, side, side))?, 2, 8)?;
    let drawn = mixture.sample(&mut noise)?;
    // The share of blue below zero, by the law of total probability over draws of red and green.
    let blue = drawn.narrow(1, 2, 1)?;
    let share = blue.lt(0.0)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?;
    let means = mixture.shifted_means(&drawn.unsqueeze(2)?.broadcast_as((1, 3, 2, side, side))?)?;
    let of_blue = means.narrow(1, 2, 1)?.squeeze(1)?;
    let scale = mixture.log_scales.narrow(1, 2, 1)?.squeeze(1)?.exp()?;
    let below = ops::sigmoid(&(of_blue.neg()? / scale)?)?;
    // Given red and green the component has another law; so compare with its own posterior.
    let log_mass = mixture.log_mass(&drawn)?.narrow(1, 0, 2)?.sum(1)?;
    let joint = (log_mass + &mixture.logits)?.exp()?;
    let posterior = joint.broadcast_div(&joint.sum_keepdim(1)?)?;
    let want = posterior.mul(&below)?.sum(1)?.mean_all()?.to_scalar::<f64>()?;
    let error = (0.25 / (side * side) as f64).sqrt();
    assert!((share - want).abs() < 5.0 * error, "{share} {want}");
    Ok(())
}
