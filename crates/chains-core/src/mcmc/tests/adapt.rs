//! Adaptation of step sizes.

use candle_core::{DType, Device, Tensor};

use super::{Gaussian, normals};
use crate::{
    Result, Seed,
    chain::{Kernel, Step, check_kernel},
    mcmc::{Adapted, Hmc, StepSizeRule},
    testing::{assert_close, values, vector},
};

const RULE: StepSizeRule = StepSizeRule::decoder_models();

#[test]
fn the_published_rule_is_the_default() {
    let typed = StepSizeRule {
        target: 0.65,
        decay: 0.9,
        increase: 1.02,
        decrease: 0.98,
        smallest: 1e-4,
        largest: 0.5,
    };
    assert_eq!(RULE, typed);
    let text = serde_json::to_string(&RULE).unwrap();
    assert_eq!(serde_json::from_str::<StepSizeRule>(&text).unwrap(), RULE);
}

#[test]
fn steps_follow_the_recursion_of_each_chain() -> Result<()> {
    let history = [[1_u8, 0], [1, 0], [1, 0], [0, 1], [1, 1]];
    let (mut step, mut average) = (vector(&[0.01, 0.3]), vector(&[0.65, 0.65]));
    for accepted in history {
        let accepted = Tensor::new(&accepted, &Device::Cpu)?;
        (step, average) = RULE.update(&step, &average, &accepted)?;
    }
    for chain in 0..2 {
        let (mut size, mut mean) = ([0.01, 0.3][chain], 0.65_f64);
        for accepted in history {
            size *= if mean > 0.65 { 1.02 } else { 0.98 };
            mean = 0.9 * mean + 0.1 * f64::from(accepted[chain]);
        }
        assert!((values(&step)[chain] - size).abs() < 1e-15);
        assert!((values(&average)[chain] - mean).abs() < 1e-15);
    }
    // One chain grew, the other shrank.
    assert!(values(&step)[0] > 0.01 && values(&step)[1] < 0.3);
    Ok(())
}

#[test]
fn steps_stay_within_their_limits() -> Result<()> {
    let (step, average) = (vector(&[0.499, 1.005e-4]), vector(&[0.9, 0.1]));
    let (step, _) = RULE.update(&step, &average, &Tensor::new(&[1_u8, 0], &Device::Cpu)?)?;
    assert_eq!(values(&step), [0.5, 1e-4]);
    Ok(())
}

#[test]
fn the_acceptance_settles_at_its_target() -> Result<()> {
    for (dtype, begin) in [(DType::F64, 0.001), (DType::F32, 0.4)] {
        let kernel = Adapted::new(Hmc::new(Gaussian([0.01; 10]), 10, begin)?, RULE)?;
        let start = (normals("start", (200, 10)) * 0.1)?.to_dtype(dtype)?;
        let mut state = kernel.init(start)?;
        let (mut noise, mut rate) = (Seed::new(0).child("adapt").host_noise(), 0.0);
        for index in 0..600 {
            let (next, info) = kernel.step(&state, Step::at(index), &mut noise)?;
            state = next;
            if index >= 400 {
                rate += info.acceptance()? / 200.0;
            }
        }
        assert!((rate - 0.65).abs() < 0.05, "{rate}");
        // The kernel goes on with the step sizes that were found.
        let (next, _) = kernel.kernel().step(&state.state, Step::at(0), &mut noise)?;
        assert_eq!(values(&next.step_size), values(&state.state.step_size));
    }
    Ok(())
}

#[test]
fn the_contract_of_a_kernel_is_kept() -> Result<()> {
    let kernel = Adapted::new(Hmc::new(Gaussian([1.0, 9.0]), 5, 0.45)?, RULE)?;
    check_kernel(&kernel, &normals("start", (6, 2)), Seed::new(4))?;
    let mut noise = Seed::new(1).host_noise();
    let state = kernel.init(normals("start", (6, 2)))?;
    let (state, _) = kernel.step(&state, Step::at(0), &mut noise)?;
    let moved = kernel.moved(state.clone(), normals("other", (6, 2)))?;
    assert_eq!(values(&moved.acceptance), values(&state.acceptance));
    assert_close(
        "step sizes",
        &values(&moved.state.step_size),
        &values(&state.state.step_size),
        0.0,
    );
    Ok(())
}

#[test]
fn unusable_rules_are_named() -> Result<()> {
    let rules = [
        ("target", StepSizeRule { target: 1.0, ..RULE }),
        ("decay", StepSizeRule { decay: f64::NAN, ..RULE }),
        ("increase", StepSizeRule { increase: 0.9, ..RULE }),
        ("decrease", StepSizeRule { decrease: 0.0, ..RULE }),
        ("smallest", StepSizeRule { smallest: 0.6, ..RULE }),
        ("largest", StepSizeRule { largest: f64::INFINITY, ..RULE }),
    ];
    for (field, rule) in rules {
        let kernel = Hmc::new(Gaussian([1.0]), 5, 0.45)?;
        let text = Adapted::new(kernel, rule).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(&format!("`{field}`")), "{text}");
    }
    Ok(())
}
