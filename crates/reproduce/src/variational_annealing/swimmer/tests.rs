//! The control task at smoke.

use chains_core::train::StateDir;
use variational_annealing::soft_q::SoftQ;

use super::{
    super::PAPER,
    learn::{Fit, Learned},
    settings::resolve,
};
use crate::{
    request::Scale,
    testing::{request, size, smoke},
};

#[test]
fn every_learner_swims_and_is_drawn_and_kept() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "swimmer", &[], out.path());
    for actor in [
        "random",
        "gait_2.5",
        "u-gan_drawn",
        "u-gan-annealed_greedy",
        "stein_greedy",
        "gaussian_drawn",
    ] {
        let metric = results.metric(&format!("return_{actor}")).unwrap();
        assert!(metric.std_error.unwrap() > 0.0, "{metric:?}");
    }
    assert_eq!(results.checks.iter().filter(|check| check.name.contains("from rest")).count(), 4);
    let run = out.path().join("swimmer");
    assert!(run.join("plots/returns.svg").is_file());
    for name in ["gait", "learned"] {
        let (width, _) = size(&run.join(format!("samples/{name}-strip.png")));
        assert_eq!(width, 2 * 360 + 3 * 6);
        let moving = std::fs::read(run.join(format!("samples/{name}-moving.png"))).unwrap();
        assert!(moving.windows(4).any(|chunk| chunk == b"acTL"), "{name}");
    }
    for policy in super::settings::POLICIES {
        let model = run.join("checkpoints").join(policy);
        SoftQ::load(&model, &candle_core::Device::Cpu).unwrap();
    }
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("falls from 1 to zero"), "{report}");
}

#[test]
fn a_training_that_was_cut_off_goes_on_with_the_same_numbers() {
    let settings = resolve(&request(Scale::Smoke, &[])).unwrap();
    let temp = tempfile::tempdir().unwrap();
    for name in &settings.policies {
        let fit = Fit::of(&settings, name, 3).unwrap();
        let device = candle_core::Device::Cpu;
        let whole =
            fit.session(&device, &temp.path().join("whole").join(name), &|_, _| ()).unwrap();
        // The last saved state is of a tenth before the end: what came after is lost and done again.
        let dir = temp.path().join("cut").join(name);
        fit.session(&device, &dir, &|_, _| ()).unwrap();
        let at = StateDir::new(dir.join("states")).position().unwrap().unwrap();
        assert!(at < settings.steps);
        let again = fit.session(&device, &dir, &|_, _| ()).unwrap();
        let timeless = |learned: &Learned| Learned { seconds: [0.0; 2], ..learned.clone() };
        let json = |learned: &Learned| serde_json::to_string(&timeless(learned)).unwrap();
        assert_eq!(json(&again), json(&whole), "{name}");
    }
}

#[test]
fn unusable_settings_are_named() {
    for (key, value) in [
        ("policies", "[\"ppo\"]"),
        ("policies", "[]"),
        ("looks", "1000"),
        ("begin", "0"),
        ("discount", "1"),
        ("lambda", "-1.5"),
        ("proposal", "policy"),
        ("hidden", "[0]"),
        ("flow_hidden", "[0]"),
    ] {
        let message = resolve(&request(Scale::Smoke, &[(key, value)])).unwrap_err().to_string();
        let named = message.contains(key) || message.contains("hidden");
        assert!(named, "{key}: {message}");
    }
}
