//! Head biases that begin at the training moments.

mod common;

use chains_core::{
    Error, Result,
    chain::{Step, TransitionOperator},
    nn::Statistics,
    schedule::InfusionRate,
};
use common::{assert_same_bits, model_bits, rows, values};

const RATE: InfusionRate = InfusionRate::increasing(0.05, 0.1);

/// Channels differ in both moments; half of the pixels of the first are brighter.
fn moments(dim: usize, channels: usize) -> (Vec<f64>, Vec<f64>) {
    let channel = |i: usize| i / (dim / channels);
    let mean =
        |i| 0.2 + 0.1 * channel(i) as f64 + if channel(i) == 0 && i % 2 == 0 { 0.2 } else { 0.0 };
    let variance = |i| 0.01 * (1 + channel(i)) as f64;
    ((0..dim).map(mean).collect(), (0..dim).map(variance).collect())
}

#[test]
fn without_weights_the_heads_give_the_moments_that_their_biases_were_set_to() -> Result<()> {
    for (network, channels, maps) in [(common::mlp(2), 3, false), (common::deconv(2), 2, true)] {
        let model = common::model(network, RATE)?;
        let dim = model.config().network.dim();
        let (mean, variance) = moments(dim, channels);
        model.set_head_biases(&mean, &variance)?;
        for head in ["mean_head", "variance_head"] {
            let weight = model.store().get(&format!("operator.{head}.weight")).unwrap();
            weight.set(&weight.zeros_like()?)?;
        }
        let z = rows(&model, 4, 0)?;
        let conditional = model.operator(Statistics::Batch).conditional(&z, Step::at(0))?;
        let (got_mean, got_variance) =
            (values(conditional.mean())?, values(conditional.variance())?);
        for i in 0..dim {
            // One bias a channel: the moments of its pixels, here 0.3 +- 0.1 in the first.
            let (m, v) = match (maps, i < dim / channels) {
                (true, true) => (0.3, 0.01 + 0.01),
                _ => (mean[i], variance[i]),
            };
            assert!((got_mean[i] - m).abs() < 1e-5, "{maps} {i}: {} {m}", got_mean[i]);
            assert!((got_variance[i] - v).abs() < 1e-5, "{maps} {i}: {} {v}", got_variance[i]);
        }
    }
    Ok(())
}

#[test]
fn head_biases_stay_finite_at_the_ends_of_the_heads_and_refuse_other_shapes() -> Result<()> {
    let model = common::model(common::mlp(2), RATE)?;
    let mean: Vec<f64> = (0..12).map(|i| [0.0, 1.0, 0.5][i % 3]).collect();
    let variance: Vec<f64> = (0..12).map(|i| [0.0, 1e-4, 0.25][i % 3]).collect();
    model.set_head_biases(&mean, &variance)?;
    for head in ["mean_head", "variance_head"] {
        let bias =
            values(model.store().get(&format!("operator.{head}.bias")).unwrap().as_tensor())?;
        assert!(bias.iter().all(|b| b.abs() < 9.22), "{head}: {bias:?}");
    }
    let before = model_bits(&model)?;
    assert!(matches!(model.set_head_biases(&[0.5; 12], &[0.1; 11]), Err(Error::Shape { .. })));
    assert!(matches!(model.set_head_biases(&[0.5; 3], &[0.1; 12]), Err(Error::Shape { .. })));
    assert_same_bits(&model_bits(&model)?, &before);
    Ok(())
}
