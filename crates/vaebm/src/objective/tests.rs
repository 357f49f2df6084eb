use candle_core::{Device, Var};

use super::*;

#[test]
fn divergences_rise_to_their_weight() {
    let at = |update| kl_weight(update, 10_000, [1e-4, 0.3]);
    for (update, want) in [(0, 1e-4), (1501, 0.5), (3001, 1.0), (9999, 1.0)] {
        assert!((at(update) - want).abs() < 1e-12, "{update}: {}", at(update));
    }
}

#[test]
fn sizes_of_groups_follow_the_square_of_the_side() {
    let of = |groups: Vec<usize>| {
        let mut sizes = group_sizes(&NvaeConfig { groups, ..NvaeConfig::nano() });
        sizes.dedup();
        sizes
    };
    assert_eq!(of(vec![5; 3]), [1.0, 4.0, 16.0]);
    assert_eq!(of(vec![20, 10, 5]), [1.0, 2.0, 4.0]);
    assert_eq!(of(vec![4; 5]), [1.0, 4.0, 16.0, 64.0, 256.0]);
    assert_eq!(of(vec![30]), [1.0]);
    assert_eq!(group_sizes(&NvaeConfig::cifar10()).len(), 30);
}

#[test]
fn balancing_has_its_known_weights() {
    let weights = balance(&[4.0, 1.0], &[1.0, 4.0]);
    for (got, want) in weights.iter().zip([1.881_525, 0.118_475]) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
    let sum = 4.0 * weights[0] + weights[1];
    assert!((sum - 7.644_575).abs() < 1e-6, "{sum}");
}

#[test]
fn the_spectral_weight_falls_geometrically() {
    let annealed = SpectralWeight::Annealed { first: 10.0, last: 1e-2 };
    for (beta, want) in [(0.0, 10.0), (0.5, 0.316_228), (1.0, 1e-2)] {
        assert!((annealed.at(beta) - want).abs() < 1e-6);
    }
    assert_eq!(SpectralWeight::Constant { value: 0.1 }.at(0.3).to_bits(), 0.1_f64.to_bits());
}

#[test]
fn the_learning_rate_rises_by_updates_and_falls_by_epochs() {
    let config = NvaeTrainConfig::cifar10();
    for (update, want) in [
        (0, 0.0),
        (250, 5e-3),
        (500, 1e-2),
        (599, 1e-2),
        (600, 1e-4 + 0.5 * 9.9e-3 * (1.0 + (std::f64::consts::PI / 394.0).cos())),
        (202 * 100, 5.05e-3),
        (39_900, 1e-4),
        (39_999, 1e-4),
    ] {
        let got = config.rate(update, 100);
        assert!((got - want).abs() < 1e-9, "{update}: {got} {want}");
    }
    let short = NvaeTrainConfig { epochs: 2, warmup_epochs: 1, ..config };
    assert!((short.rate(10, 10) - 1e-2).abs() < 1e-12 && short.rate(25, 10).is_finite());
}

#[test]
fn equal_gains_share_the_gradient_of_the_greatest() -> Result<()> {
    let gains = [[1.0, -3.0, 2.0], [2.0, -2.0, 1.0]];
    let gains = gains.map(|gain| Var::new(&gain, &Device::Cpu).unwrap());
    let tensors = gains.each_ref().map(|var| var.as_tensor().clone());
    let total = greatest_gains(&tensors)?;
    assert_eq!(total.to_scalar::<f64>()?.to_bits(), 5.0_f64.to_bits());
    let grads = total.backward()?;
    let of = |i: usize| grads.get(gains[i].as_tensor()).unwrap().to_vec1::<f64>();
    assert_eq!(of(0)?, [0.0, -1.0, 0.0]);
    assert_eq!(of(1)?, [0.5, -0.5, 0.0]);
    Ok(())
}

#[test]
fn the_total_is_the_weighted_sum_of_its_parts() -> Result<()> {
    let new = |values: &[f64]| Tensor::new(values, &Device::Cpu);
    let parts = LossParts {
        reconstruction: new(&[10.0, 20.0])?,
        kl: new(&[1.0, 3.0, -4.0, 8.0])?.reshape((2, 2))?,
        spectral: Tensor::new(7.0, &Device::Cpu)?,
        gains: Tensor::new(5.0, &Device::Cpu)?,
    };
    assert_eq!(parts.mean_sizes()?, [2.0, 6.0]);
    let weights = LossWeights { kl: 0.5, groups: vec![1.5, 0.25], spectral: 0.1 };
    let want = 15.0 + 0.5 * (1.5 * 2.0 + 0.25 * 2.0) + 0.1 * 12.0;
    assert!((parts.total(&weights)?.to_scalar::<f64>()? - want).abs() < 1e-12);
    Ok(())
}
