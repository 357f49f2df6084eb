//! Stored moments: those of which states, in which order, and the start that belongs to them.

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result, Seed,
    chain::{Step, TransitionOperator},
    dist::Law,
    ops,
};
use common::{
    assert_close, assert_same_bits, gaussian, model_bits, networks, norm_variants, reconstruction,
    rows, values,
};
use walkback::{Moments, Start, Statistics, WalkbackModel, freeze, heat, refit_start};

fn frozen(model: &WalkbackModel, x: &Tensor, rows: usize, seed: u64) -> Result<()> {
    freeze(model, x, rows, &mut Seed::new(seed).host_noise(), &mut |_| Ok(()))
}

/// Positions of a heated walk.
fn walk(model: &WalkbackModel, x: &Tensor, statistics: Statistics) -> Result<Vec<Vec<f64>>> {
    let mut seen = Vec::new();
    heat(model, x, statistics, &mut Seed::new(2).host_noise(), |_, step| {
        seen.push(values(&step.position)?);
        Ok(())
    })?;
    Ok(seen)
}

#[test]
fn moments_of_one_batch_reproduce_its_walk_in_both_directions() -> Result<()> {
    for network in networks(3) {
        for network in norm_variants(&network) {
            for config in [gaussian(network.clone()), reconstruction(network.clone())] {
                let model = common::model(config)?;
                let x = rows(&model, 24, 9)?;
                let want = walk(&model, &x, Statistics::Batch)?;
                frozen(&model, &x, 24, 2)?;
                let got = walk(&model, &x, Statistics::Heating)?;
                let scale = want.concat().iter().fold(1.0_f64, |m, v| m.max(v.abs()));
                for (got, want) in got.concat().iter().zip(want.concat()) {
                    assert_close(*got, want, 1e-3 * scale, "state");
                }
                // Backwards: the later states through the batch and through what is stored.
                for (index, state) in got.iter().enumerate() {
                    let state: Vec<f32> = state.iter().map(|v| *v as f32).collect();
                    let state = Tensor::from_vec(state, x.shape(), &Device::Cpu)?;
                    let at = Step { index, temperature: 1.0 };
                    let mean = |statistics| -> Result<Vec<f64>> {
                        values(&model.operator(statistics).conditional(&state, at)?.centre()?)
                    };
                    let (batch, stored) = (mean(Statistics::Batch)?, mean(Statistics::Cooling)?);
                    for (got, want) in stored.iter().zip(&batch) {
                        assert_close(*got, *want, 1e-3 * scale, "mean of the way back");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_first_layer_has_the_exact_moments_of_all_rows() -> Result<()> {
    let model = common::model(gaussian(networks(3)[1].clone()))?;
    let x = rows(&model, 40, 2)?;
    let weight = model.store().get("operator.hidden.0.weight").unwrap();
    let h = x.matmul(&weight.t()?)?.to_dtype(DType::F64)?;
    let want = ops::batch_moments(&h.unsqueeze(0)?)?;
    for rows in [40, 7, 1, 100] {
        frozen(&model, &x, rows, 1)?;
        for (leaf, want) in [("running_mean", &want.mean), ("running_var", &want.variance)] {
            let name = format!("operator.hidden.0.heat.0.{leaf}");
            let got = values(model.store().get(&name).unwrap().as_tensor())?;
            for (got, want) in got.iter().zip(values(want)?) {
                assert_close(*got, want, 1e-5, &name);
            }
        }
    }
    Ok(())
}

#[test]
fn directions_and_steps_have_moments_of_their_own_and_parameters_stay() -> Result<()> {
    for network in &networks(3)[1..] {
        let model = common::model(gaussian(network.clone()))?;
        let before = model_bits(&model)?;
        let x = rows(&model, 30, 2)?;
        let mut shares = Vec::new();
        let mut noise = Seed::new(1).host_noise();
        freeze(&model, &x, 8, &mut noise, &mut |share| {
            shares.push(share);
            Ok(())
        })?;
        assert_eq!(shares.len(), 3);
        assert_close(shares[2], 1.0, 1e-12, "progress");
        let after = model_bits(&model)?;
        let mut seen: Vec<&[u32]> = Vec::new();
        let first = if network.event == [1, 2, 3] { "hidden.0" } else { "encoder.0" };
        let first = format!("operator.{first}.");
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            let statistic = name.contains(".running_");
            assert_eq!(before != after, statistic, "{name}");
            // What no gain of a step has touched is the same from both sides of a state.
            let early = ["operator.encoder.", "operator.hidden.0."];
            let early = early.iter().any(|layer| name.starts_with(layer));
            if name.ends_with("running_mean") && !early {
                assert!(!seen.contains(&after.as_slice()), "{name} equals another");
                seen.push(after);
            }
        }
        // In front of the first norm a state looks the same from both sides.
        let of = |name: String| after.iter().find(|(found, _)| *found == name).unwrap();
        for step in 0..2 {
            for leaf in ["running_mean", "running_var"] {
                let cool = of(format!("{first}cool.{step}.{leaf}"));
                let heat = of(format!("{first}heat.{}.{leaf}", step + 1));
                assert_eq!(cool.1, heat.1);
                assert_ne!(heat.1, of(format!("{first}heat.{step}.{leaf}")).1);
            }
        }
    }
    Ok(())
}

#[test]
fn with_stored_moments_rows_do_not_interact() -> Result<()> {
    for network in networks(3) {
        let model = common::model(gaussian(network))?;
        frozen(&model, &rows(&model, 30, 2)?, 30, 1)?;
        let x = rows(&model, 5, 3)?;
        for statistics in [Statistics::Heating, Statistics::Cooling] {
            let operator = model.operator(statistics);
            let all = operator.conditional(&x, Step::at(1))?.centre()?;
            for row in 0..5 {
                let one = operator.conditional(&x.narrow(0, row, 1)?, Step::at(1))?.centre()?;
                let want = values(&all.narrow(0, row, 1)?)?;
                for (got, want) in values(&one)?.iter().zip(want) {
                    assert_close(*got, want, 1e-4, "mean");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_start_is_fitted_to_the_ends_of_walks_with_stored_moments() -> Result<()> {
    let model = common::model(gaussian(networks(3)[1].clone()))?;
    let x = rows(&model, 30, 2)?;
    frozen(&model, &x, 30, 1)?;
    let fitted = |model: &WalkbackModel| -> Result<(Vec<f64>, Vec<f64>)> {
        let Start::Gaussian(start) = model.start()? else { panic!("no Gaussian") };
        let law = start.batch(1)?;
        Ok((values(law.mean())?, values(law.variance())?))
    };
    // One block: the pass draws what a walk draws.
    let check = |(mean, variance): (Vec<f64>, Vec<f64>), seed: u64| -> Result<()> {
        let mut noise = Seed::new(seed).host_noise();
        let last = heat(&model, &x, Statistics::Heating, &mut noise, |_, _| Ok(()))?;
        let mut moments = Moments::default();
        moments.push(&last.position)?;
        for (got, want) in mean.iter().zip(moments.mean()) {
            assert_close(*got, want, 1e-4, "mean");
        }
        for (got, want) in variance.iter().zip(moments.variance()) {
            assert_close(*got, want, 1e-4, "variance");
        }
        Ok(())
    };
    check(fitted(&model)?, 1)?;
    refit_start(&model, &x, 30, &mut Seed::new(8).host_noise())?;
    check(fitted(&model)?, 8)?;
    // A start that is not fitted stays.
    let model = common::model(reconstruction(networks(3)[1].clone()))?;
    let before = model_bits(&model)?;
    refit_start(&model, &x, 30, &mut Seed::new(8).host_noise())?;
    assert_same_bits(&model_bits(&model)?, &before);
    Ok(())
}

#[test]
fn nothing_to_see_is_an_error() -> Result<()> {
    let model = common::model(gaussian(networks(3)[1].clone()))?;
    let x = rows(&model, 4, 2)?;
    let bad = |x: &Tensor, rows| {
        let result = frozen(&model, x, rows, 1);
        assert!(matches!(result, Err(Error::Config { field: "rows", .. })), "{result:?}");
    };
    bad(&x, 0);
    bad(&x.narrow(0, 0, 0)?, 4);
    let narrow = frozen(&model, &x.narrow(1, 0, 5)?, 4, 1);
    assert!(matches!(narrow, Err(Error::Shape { .. })), "{narrow:?}");
    Ok(())
}
