//! Adaptation of step sizes.

use candle_core::{DType, Device, Tensor};

use super::{Gaussian, normals};
use crate::{
    Result, Seed,
    chain::{Kernel, Step, check_kernel},
    mcmc::{Adapted, Hmc, Mala, ProportionalRule, StepSizeAdaptation, StepSizeRule, StepSized},
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

#[test]
fn the_proportional_rules_are_those_of_vera() {
    assert_eq!(ProportionalRule::vera_hmc(), ProportionalRule { rate: 0.02, target: 0.67 });
    assert_eq!(ProportionalRule::vera_mala(), ProportionalRule { rate: 0.02, target: 0.57 });
    let text = serde_json::to_string(&ProportionalRule::vera_mala()).unwrap();
    assert_eq!(text, r#"{"rate":0.02,"target":0.57}"#);
}

#[test]
fn a_proportional_step_follows_the_share_of_the_batch() -> Result<()> {
    let rule = ProportionalRule { rate: 0.1, target: 0.6 };
    let (step, kept) = (vector(&[0.5; 4]), vector(&[0.6; 4]));
    // Three of four: 0.5 + 0.1 (0.75 - 0.6) 0.5; then none: 0.5075 - 0.1 * 0.6 * 0.5075.
    let (step, kept) = rule.update(&step, &kept, &Tensor::new(&[1_u8, 1, 0, 1], &Device::Cpu)?)?;
    assert_close("steps", &values(&step), &[0.5075; 4], 1e-15);
    assert_eq!(values(&kept), [0.75; 4]);
    let (step, kept) = rule.update(&step, &kept, &Tensor::new(&[0_u8; 4], &Device::Cpu)?)?;
    assert_close("steps", &values(&step), &[0.477_05; 4], 1e-15);
    assert_eq!(values(&kept), [0.0; 4]);
    assert!((rule.next(rule.next(0.5, 0.75), 0.0) - 0.477_05).abs() < 1e-15);
    let error = rule.update(&step, &kept, &Tensor::new(&[1_u8], &Device::Cpu)?).unwrap_err();
    assert!(error.to_string().contains("accepted chains"), "{error}");
    Ok(())
}

/// Mean acceptance over 200 transitions after 400 of adaptation; the step sizes stay equal.
fn settled<K: StepSized>(kernel: K, rule: ProportionalRule) -> Result<f64> {
    let kernel = Adapted::new(kernel, rule)?;
    let mut state = kernel.init(normals("start", (300, 10)))?;
    let (mut noise, mut rate) = (Seed::new(0).child("adapt").host_noise(), 0.0);
    for index in 0..600 {
        state = kernel.step(&state, Step::at(index), &mut noise)?.0;
        if index >= 400 {
            rate += values(&state.acceptance)[0] / 200.0;
        }
    }
    let steps = values(kernel.kernel().step_size(&state.state));
    assert!(steps.iter().all(|step| step.to_bits() == steps[0].to_bits()));
    Ok(rate)
}

#[test]
fn the_acceptance_settles_at_the_target_of_the_proportional_rules() -> Result<()> {
    for begin in [0.2, 1.0] {
        let rate = settled(Mala::new(Gaussian([1.0; 10]), begin)?, ProportionalRule::vera_mala())?;
        assert!((rate - 0.57).abs() < 0.03, "MALA from {begin}: {rate}");
        // Of several frequencies: on one alone acceptance comes back at a half period.
        let variances = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
        let kernel = Hmc::new(Gaussian(variances), 5, begin)?;
        let rate = settled(kernel, ProportionalRule::vera_hmc())?;
        assert!((rate - 0.67).abs() < 0.03, "HMC from {begin}: {rate}");
    }
    Ok(())
}

#[test]
fn either_rule_keeps_the_contract_with_either_kernel() -> Result<()> {
    fn check<K: StepSized + Clone>(kernel: &K) -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let start = normals("start", (6, 2)).to_dtype(dtype)?;
            check_kernel(&Adapted::new(kernel.clone(), RULE)?, &start, Seed::new(4))?;
            let rule = ProportionalRule::vera_mala();
            check_kernel(&Adapted::new(kernel.clone(), rule)?, &start, Seed::new(4))?;
        }
        Ok(())
    }
    check(&Mala::new(Gaussian([1.0, 9.0]), 0.4)?)?;
    check(&Hmc::new(Gaussian([1.0, 9.0]), 5, 0.45)?)
}

#[test]
fn unusable_proportional_rules_are_named() -> Result<()> {
    for value in [0.0, 1.0, -0.1, f64::NAN] {
        for (field, rule) in [
            ("rate", ProportionalRule { rate: value, target: 0.5 }),
            ("target", ProportionalRule { rate: 0.02, target: value }),
        ] {
            let kernel = Mala::new(Gaussian([1.0]), 0.4)?;
            let text = Adapted::new(kernel, rule).map(|_| ()).unwrap_err().to_string();
            assert!(text.contains(&format!("`{field}`")), "{text}");
        }
    }
    Ok(())
}
