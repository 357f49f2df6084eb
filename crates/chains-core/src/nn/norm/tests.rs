use candle_core::{DType, Device};

use super::*;
use crate::{
    Seed,
    autograd::value_and_weighted_gradients,
    nn::{Statistics, StepNorm, StepNormConfig},
    testing::{assert_close, normal, values},
};

const SETS: &[&str] = &["heat", "cool"];

fn config(kind: NormKind, gains: Gains) -> NormConfig {
    NormConfig {
        kind,
        gains,
        gain_stdev: 0.0,
        steps: 3,
        channels: 4,
        eps: 1e-4.into(),
        slope: Some(0.0),
        sets: SETS,
    }
}

fn input(label: &str, shape: &[usize]) -> Result<Tensor> {
    Ok(normal(label, shape).to_dtype(DType::F32)?)
}

/// A layer whose variables are all different.
fn layer(config: NormConfig) -> Result<(ParamStore, Norm)> {
    let store = ParamStore::new(Seed::new(3), DType::F32, &Device::Cpu);
    let norm = Norm::new(config, store.builder().pp("layer"))?;
    for (name, var) in store.all() {
        var.set(&(input(&name, var.dims())?.abs()? + 0.5)?)?;
    }
    Ok((store, norm))
}

fn names(store: &ParamStore) -> Vec<String> {
    store.all().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn variables_are_those_of_the_steps_and_directions() -> Result<()> {
    let of = |kind, gains| -> Result<Vec<String>> { Ok(names(&layer(config(kind, gains))?.0)) };
    let numbered = |parts: [&str; 2], leaves: [&str; 2]| -> Vec<String> {
        let [before, after] = parts;
        (0..3)
            .flat_map(|step| leaves.map(|leaf| format!("layer.{before}{step}{after}.{leaf}")))
            .collect()
    };
    let gains = numbered(["norms.", ""], ["bias", "weight"]);
    let moments: Vec<_> = ["cool.", "heat."]
        .into_iter()
        .flat_map(|set| numbered([set, ""], ["running_mean", "running_var"]))
        .collect();
    let shared = ["layer.norm.bias", "layer.norm.weight"].map(str::to_owned).to_vec();
    assert_eq!(of(NormKind::Layer, Gains::PerStep)?, gains);
    assert_eq!(of(NormKind::Layer, Gains::Shared)?, shared);
    assert!(of(NormKind::Layer, Gains::None)?.is_empty());
    assert_eq!(of(NormKind::Batch, Gains::None)?, moments);
    assert_eq!(of(NormKind::Batch, Gains::PerStep)?, [moments.clone(), gains].concat());
    assert_eq!(of(NormKind::Batch, Gains::Shared)?, [moments, shared].concat());
    Ok(())
}

#[test]
fn gains_begin_at_one_or_near_it() -> Result<()> {
    let begun = |gain_stdev| -> Result<(Vec<f64>, Vec<f64>)> {
        let store = ParamStore::new(Seed::new(3), DType::F32, &Device::Cpu);
        let config =
            NormConfig { gain_stdev, channels: 10_000, ..config(NormKind::Batch, Gains::Shared) };
        Norm::new(config, store.builder())?;
        let get = |name: &str| values(store.get(name).unwrap().as_tensor());
        Ok((get("norm.weight"), get("norm.bias")))
    };
    let (weight, bias) = begun(0.0)?;
    assert!(weight.iter().all(|w| w.to_bits() == 1_f64.to_bits()));
    assert!(bias.iter().all(|b| b.to_bits() == 0));
    let (weight, _) = begun(0.001)?;
    let n = weight.len() as f64;
    let variance = weight.iter().map(|w| (w - 1.0).powi(2)).sum::<f64>() / n;
    assert!((variance - 1e-6).abs() < 5e-6 * (2.0 / n).sqrt(), "{variance}");
    Ok(())
}

#[test]
fn a_step_gives_gradients_to_its_own_gains_alone() -> Result<()> {
    let touched = |norm: &Norm, store: &ParamStore, shape: &[usize], step| -> Result<Vec<String>> {
        let x = input("x", shape)?;
        let y = || norm.forward(&x, step, MomentSource::Batch);
        let (_, grads) = value_and_weighted_gradients(y, &input("weights", shape)?)?;
        let moved = |var: &Var| {
            grads.get(var.as_tensor()).is_some_and(|g| values(g).iter().any(|g| *g != 0.0))
        };
        let all = store.all().into_iter();
        Ok(all.filter(|(_, var)| moved(var)).map(|(name, _)| name).collect())
    };
    for (kind, shape) in [(NormKind::Batch, &[6, 4, 2, 2][..]), (NormKind::Layer, &[6, 4])] {
        let (store, norm) = layer(config(kind, Gains::PerStep))?;
        for (step, owner) in [(0, 0), (2, 2), (7, 2)] {
            let want = ["bias", "weight"].map(|leaf| format!("layer.norms.{owner}.{leaf}"));
            assert_eq!(touched(&norm, &store, shape, step)?, want);
        }
        let (store, norm) = layer(config(kind, Gains::Shared))?;
        let want = ["layer.norm.bias", "layer.norm.weight"];
        assert_eq!(touched(&norm, &store, shape, 1)?, want);
        let (store, norm) = layer(config(kind, Gains::None))?;
        assert!(touched(&norm, &store, shape, 1)?.is_empty());
    }
    Ok(())
}

#[test]
fn per_step_batch_norm_is_that_of_the_grouped_layer() -> Result<()> {
    let (store, norm) = layer(config(NormKind::Batch, Gains::PerStep))?;
    let other = ParamStore::new(Seed::new(3), DType::F32, &Device::Cpu);
    let grouped = StepNormConfig { steps: 3, channels: 4, eps: 1e-4.into(), relu: true };
    let grouped = StepNorm::new(grouped, other.builder().pp("layer"))?;
    for (name, var) in other.all() {
        let from = match name.rsplit('.').next() {
            Some("running_mean" | "running_var") => name.replace("norms", "cool"),
            _ => name.clone(),
        };
        var.set(store.get(&from).unwrap().as_tensor())?;
    }
    let x = input("x", &[6, 4, 3])?;
    for (source, statistics) in
        [(MomentSource::Batch, Statistics::Batch), (MomentSource::Set(1), Statistics::Running)]
    {
        for step in [0, 2, 5] {
            let (want, _) = grouped.forward(&x.unsqueeze(0)?, &[step], statistics)?;
            assert_eq!(values(&norm.forward(&x, step, source)?), values(&want));
        }
    }
    let heat = values(&norm.forward(&x, 1, MomentSource::Set(0))?);
    assert_ne!(heat, values(&norm.forward(&x, 1, MomentSource::Set(1))?));
    Ok(())
}

#[test]
fn stored_moments_of_a_batch_reproduce_it_and_touch_nothing_else() -> Result<()> {
    for shape in [&[20, 4][..], &[9, 4, 2, 3]] {
        let (store, norm) = layer(config(NormKind::Batch, Gains::PerStep))?;
        let x = input("x", shape)?.affine(3.0, 1.5)?;
        let before = |name: &str| values(store.get(name).unwrap().as_tensor());
        let untouched = ["layer.heat.0.running_var", "layer.cool.1.running_mean"];
        let old = untouched.map(before);
        let mut gathered = MomentAverage::default();
        gathered.push(1, &ops::batch_moments(&x.unsqueeze(0)?)?, shape[0])?;
        norm.store_moments(&store, "layer", [0, 1], &gathered)?;
        let want = values(&norm.forward(&x, 1, MomentSource::Batch)?);
        assert_close("output", &values(&norm.forward(&x, 1, MomentSource::Set(0))?), &want, 2e-6);
        assert_eq!(untouched.map(before), old);
        for at in [[2, 1], [0, 2]] {
            let error = norm.store_moments(&store, "layer", at, &gathered).unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{error}");
        }
        let error = norm.store_moments(&store, "elsewhere", [0, 1], &gathered).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
    Ok(())
}

#[test]
fn the_slope_is_that_of_the_activation() -> Result<()> {
    for kind in [NormKind::Batch, NormKind::Layer] {
        let with = |slope| -> Result<Vec<f64>> {
            let (_, norm) = layer(NormConfig { slope, ..config(kind, Gains::PerStep) })?;
            Ok(values(&norm.forward(&input("x", &[6, 4])?, 1, MomentSource::Batch)?))
        };
        let plain = with(None)?;
        assert!(plain.iter().any(|y| *y < 0.0));
        for slope in [0.0, 0.02] {
            let want: Vec<_> =
                plain.iter().map(|y| if *y > 0.0 { *y } else { slope * y }).collect();
            assert_close("activation", &with(Some(slope))?, &want, 1e-7);
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let (_, batch) = layer(config(NormKind::Batch, Gains::PerStep))?;
    let (_, rows) = layer(config(NormKind::Layer, Gains::PerStep))?;
    let forward = |norm: &Norm, shape: &[usize], source| {
        norm.forward(&input("x", shape).unwrap(), 0, source).map(|_| ())
    };
    let source = MomentSource::Batch;
    for (norm, shape) in [(&batch, &[4][..]), (&batch, &[6, 3]), (&rows, &[6, 4, 2])] {
        assert!(matches!(forward(norm, shape, source), Err(Error::Shape { .. })), "{shape:?}");
    }
    let missing = forward(&batch, &[6, 4], MomentSource::Set(2));
    assert!(matches!(missing, Err(Error::Config { .. })));
    // A layer norm has no moments to choose from.
    assert!(forward(&rows, &[6, 4], MomentSource::Set(2)).is_ok());
    let none = NormConfig { steps: 0, ..config(NormKind::Batch, Gains::None) };
    let store = ParamStore::new(Seed::new(3), DType::F32, &Device::Cpu);
    assert!(Norm::new(none, store.builder()).is_err());
    Ok(())
}
