//! Gradients of the bound through the chain, in f64, on an operator with free parameters.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{HostNoise, Noise, Result, Seed, dist::Masks, schedule::InfusionRate};
use common::{
    LinearGaussian, REFERENCE, Setting, assert_close, assert_within, log_normal, mean_se,
};

const NAMES: [&str; 3] = ["a", "b", "ln s2"];

/// The reference set with free parameters and D = 4, and targets that differ.
fn free(rate: InfusionRate, masks: Masks, values: [f64; 3]) -> Result<(Setting, [Var; 3], Tensor)> {
    let setting = REFERENCE.setting(rate, 3, 4, DType::F64)?;
    let (operator, vars) = LinearGaussian::free(values)?;
    let mut setting = Setting { operator, ..setting };
    setting.config.masks = masks;
    let mut noise = Seed::new(9).child("targets").host_noise();
    let x = noise.normal(&(6, 4).into(), DType::F64, &Device::Cpu)?;
    Ok((setting, vars, (x * 0.5)?))
}

fn loss(setting: &Setting, x: &Tensor, noise: &HostNoise) -> Result<Tensor> {
    let mut noise = HostNoise::restore(&noise.state());
    Ok(setting.chain().log_weight(x, &mut noise)?.mean(0)?.neg()?)
}

/// Central differences with the noise held.
fn differences(
    setting: &Setting,
    vars: &[Var; 3],
    x: &Tensor,
    noise: &HostNoise,
) -> Result<[f64; 3]> {
    let h = 1e-5;
    let mut found = [0.0; 3];
    for (var, found) in vars.iter().zip(&mut found) {
        let centre = var.as_tensor().copy()?;
        let at = |shift: f64| -> Result<f64> {
            var.set(&(&centre + shift)?)?;
            Ok(loss(setting, x, noise)?.to_scalar()?)
        };
        *found = (at(h)? - at(-h)?) / (2.0 * h);
        var.set(&centre)?;
    }
    Ok(found)
}

#[test]
fn the_gradient_of_the_bound_agrees_with_central_differences() -> Result<()> {
    let cases = [
        (InfusionRate::increasing(0.0, 0.2), Masks::PerDimension),
        (InfusionRate::increasing(0.1, 0.3), Masks::PerDimension),
        (InfusionRate::increasing(0.0, 0.5), Masks::PerDimension),
        (InfusionRate::increasing(0.1, 0.3), Masks::PerPixel { channels: 2 }),
    ];
    for (rate, masks) in cases {
        let (setting, vars, x) = free(rate, masks, [0.6, 0.1, -1.2])?;
        for seed in common::SEEDS {
            let noise = Seed::new(seed).child("common").host_noise();
            let grads = loss(&setting, &x, &noise)?.backward()?;
            let want = differences(&setting, &vars, &x, &noise)?;
            for ((var, want), name) in vars.iter().zip(want).zip(NAMES) {
                let got = grads.get(var.as_tensor()).map(common::values).transpose()?;
                let got = got.and_then(|g| g.first().copied()).unwrap_or(f64::NAN);
                // Truncation is of order h^2, rounding of order 1e-16 / h, both about 1e-10.
                let scale = want.abs().max(1.0);
                assert_close(got, want, 1e-7 * scale, &format!("{name}, {rate:?}, {masks:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_detached_chain_has_another_gradient() -> Result<()> {
    // The negative control of the test above: states that are constants lose a part.
    let (setting, vars, x) =
        free(InfusionRate::increasing(0.1, 0.3), Masks::PerDimension, [0.6, 0.1, -1.2])?;
    let noise = Seed::new(0).child("common").host_noise();
    let mut sum = x.zeros_like()?.sum(1)?;
    setting.chain().walk(&x, &mut noise.clone(), true, |visit| {
        let term = match visit.drawn {
            Some((proposal, z)) => {
                assert!(!z.track_op());
                proposal.log_ratio(z)?
            }
            None => chains_core::density::LogDensity::log_prob(visit.conditional, &x)?,
        };
        sum = (&sum + term)?;
        Ok(())
    })?;
    let value: f64 = sum.mean(0)?.neg()?.to_scalar()?;
    let live: f64 = loss(&setting, &x, &noise)?.to_scalar()?;
    assert_close(value, live, 1e-12, "the value is the same");
    let grads = sum.mean(0)?.neg()?.backward()?;
    let want = differences(&setting, &vars, &x, &noise)?;
    let got = grads.get(vars[0].as_tensor()).map(common::values).transpose()?.unwrap_or_default();
    assert!((got[0] - want[0]).abs() > 0.1 * want[0].abs(), "{got:?} {want:?}");
    Ok(())
}

#[test]
fn a_chain_with_a_graph_visits_the_states_of_one_without() -> Result<()> {
    let rate = InfusionRate::increasing(0.1, 0.3);
    for masks in [Masks::PerDimension, Masks::PerPixel { channels: 2 }] {
        let (setting, _, x) = free(rate, masks, [0.6, 0.1, -1.2])?;
        let mut states = Vec::new();
        setting.chain().walk(&x, &mut Seed::new(1).host_noise(), false, |visit| {
            states.extend(visit.drawn.map(|(_, z)| z.clone()));
            Ok(())
        })?;
        // The start depends on no parameter, later states do.
        assert_eq!(states.iter().map(Tensor::track_op).collect::<Vec<_>>(), [false, true, true]);
        let detached = setting.chain().states(&x, &mut Seed::new(1).host_noise())?;
        for (a, b) in states.iter().zip(&detached) {
            assert_eq!(common::values(a)?, common::values(b)?);
        }
    }
    Ok(())
}

/// Data with mean `c` and variance `v` to rounding, `(n, 1)`.
fn data(c: f64, v: f64, n: usize) -> Result<Tensor> {
    let mut noise = Seed::new(2).child("data").host_noise();
    let raw = noise.normal(&(n, 1).into(), DType::F64, &Device::Cpu)?;
    let centred = raw.broadcast_sub(&raw.mean_all()?)?;
    let scale = (centred.sqr()?.mean_all()?.recip()? * v)?.sqrt()?;
    Ok((centred.broadcast_mul(&scale)? + c)?)
}

/// The mean log density of the best Gaussian on data of that variance.
fn ceiling(v: f64) -> f64 {
    -0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * v).ln()
}

const DATA: (f64, f64) = (0.4, 0.09);

fn one_step(rate: f64, values: [f64; 3]) -> Result<(Setting, [Var; 3])> {
    let setting = REFERENCE.setting(InfusionRate::constant(rate), 1, 1, DType::F64)?;
    let (operator, vars) = LinearGaussian::free(values)?;
    Ok((Setting { operator, ..setting }, vars))
}

#[test]
fn no_linear_operator_has_a_bound_above_the_entropy_of_the_data() -> Result<()> {
    let (c, v) = DATA;
    let x = data(c, v, 20_000)?;
    // Near the optimum of each rate and away from it; b = c - a c keeps the mean.
    for rate in [0.0, 0.1, 0.3, 0.6, 0.9] {
        for a in [-0.2, 0.0, 0.1, 0.3, 0.7] {
            for s2 in [0.5 * v, 0.9 * v, v, 1.5 * v] {
                for b in [c, c - a * c] {
                    let (setting, _) = one_step(rate, [a, b, s2.ln()])?;
                    let mut noise = Seed::new(0).child("entropy").host_noise();
                    let found = setting.chain().log_weights(&x, &[None], &mut noise)?;
                    let (mean, se) = mean_se(&found.weights[0]);
                    let at = format!("rate {rate}, a {a}, b {b}, s2 {s2}");
                    assert!(mean <= ceiling(v) + 5.0 * se, "{at}: {mean} +- {se}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn without_infusion_the_bound_reaches_the_entropy_of_the_data_and_descent_finds_it() -> Result<()> {
    let (c, v) = DATA;
    let x = data(c, v, 2_000)?;
    let (setting, vars) = one_step(0.0, [0.3, 0.0, 0.0])?;
    for update in 0..3_000_u64 {
        // Decreasing steps average the noise of the chain away.
        let rate = 0.05 / (1.0 + update as f64 / 100.0);
        let noise = Seed::new(0).child("descent").indexed(update).host_noise();
        let grads = loss(&setting, &x, &noise)?.backward()?;
        for var in &vars {
            let grad =
                grads.get(var.as_tensor()).map_or_else(|| var.zeros_like(), |g| Ok(g.clone()))?;
            var.set(&(var.as_tensor() - (grad * rate)?)?.detach())?;
        }
    }
    let found = vars.iter().map(|var| common::values(var)).collect::<Result<Vec<_>>>()?.concat();
    let mut noise = Seed::new(0).child("after").host_noise();
    let weights = setting.chain().log_weights(&x, &[None], &mut noise)?;
    let (mean, _) = mean_se(&weights.weights[0]);
    assert!(mean <= ceiling(v) + 1e-9 && mean > ceiling(v) - 1e-3, "{mean}, {found:?}");
    for (got, want) in found.iter().zip([0.0, c, v.ln()]) {
        assert_close(*got, want, 0.01, "optimum");
    }
    // At the optimum itself the bound is the entropy, whatever the noise.
    let (setting, _) = one_step(0.0, [0.0, c, v.ln()])?;
    let weights = setting.chain().log_weights(&x, &[None], &mut noise)?;
    assert_close(mean_se(&weights.weights[0]).0, ceiling(v), 1e-12, "the optimum");
    Ok(())
}

#[test]
fn the_bound_of_linear_gaussian_data_is_below_the_mean_log_likelihood() -> Result<()> {
    // Averaged over data, the weights of a linear chain stay below the marginal's log density.
    let (c, v) = DATA;
    let x = data(c, v, 20_000)?;
    for rate in [0.1, 0.4] {
        let (setting, _) = one_step(rate, [0.3, 0.28, (0.5 * v).ln()])?;
        let marginal = (0.3 * REFERENCE.m0 + 0.28, 0.09 * REFERENCE.v0 + 0.5 * v);
        let exact: Vec<f64> =
            common::values(&x)?.iter().map(|x| log_normal(*x, marginal.0, marginal.1)).collect();
        for seed in common::SEEDS {
            let mut noise = Seed::new(seed).child("marginal").host_noise();
            let found = setting.chain().log_weights(&x, &[None], &mut noise)?;
            let (mean, se) = mean_se(&found.weights[0]);
            assert!(mean + 5.0 * se < mean_se(&exact).0, "rate {rate}");
            // exp(l - ln p(x)) has mean one for every x.
            let ratio: Vec<f64> =
                found.weights[0].iter().zip(&exact).map(|(l, p)| (l - p).exp()).collect();
            assert_within(mean_se(&ratio), 1.0, &format!("rate {rate}"));
        }
    }
    Ok(())
}
