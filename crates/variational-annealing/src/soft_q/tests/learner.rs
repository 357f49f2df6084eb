use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use chains_core::{Seed, optim::Adam};

use super::{noise, values};
use crate::{
    soft_q::{
        Batch, PolicyConfig, Proposal, RandomActions, SoftQ, SoftQConfig, Transition, Transitions,
    },
    swimmer::Swimmer,
};

fn small() -> SoftQConfig {
    SoftQConfig {
        hidden: vec![16, 16],
        particles: 4,
        batch_size: 32,
        target_every: 3,
        ..SoftQConfig::published()
    }
}

/// Every kind of policy, small.
fn policies() -> Vec<PolicyConfig> {
    let widths = [16, 16];
    vec![
        PolicyConfig::gaussian(&widths),
        PolicyConfig::stein(&widths),
        PolicyConfig::ugan(&widths, 2, &[16, 16]),
    ]
}

fn learner(policy: PolicyConfig) -> SoftQ {
    SoftQ::new(small(), policy, Seed::new(3), &Device::Cpu).unwrap()
}

/// A batch of what random actions gave.
fn batch() -> Batch {
    let mut pool = Transitions::new(100).unwrap();
    let mut draws = noise("pool");
    let mut swimmer = Swimmer::reset(&mut draws).unwrap();
    for _ in 0..60 {
        let state = swimmer.observation();
        let seen = Tensor::new(&[state.map(|x| x as f32)], &Device::Cpu).unwrap();
        let action =
            values(&crate::soft_q::Actor::act(&RandomActions, &seen, 0, &mut draws).unwrap());
        let action = [action[0], action[1]];
        let reward = swimmer.step(action).unwrap();
        pool.push(&Transition {
            state,
            action,
            reward,
            next_state: swimmer.observation(),
            done: false,
        });
    }
    pool.sample(32, &mut draws, &Device::Cpu).unwrap()
}

fn all(learner: &SoftQ) -> BTreeMap<String, Vec<f64>> {
    learner.tensors().iter().map(|(name, x)| (name.clone(), values(x))).collect()
}

#[test]
fn an_update_moves_every_tensor_of_q_and_policy_and_copies_q_when_it_is_time() {
    for policy in policies() {
        let mut learner = learner(policy.clone());
        let (before, mut draws, batch) = (all(&learner), noise("update"), batch());
        for (name, x) in before.iter().filter(|(name, _)| name.starts_with("target.")) {
            assert_eq!(x, &before[&name.replace("target.", "q.")], "{name}");
        }
        for update in 0..3 {
            let terms = learner.update(&batch, 0.0, &mut draws).unwrap();
            let finite = terms.policy.iter().all(|(_, value)| value.is_finite());
            assert!(terms.q_loss > 0.0 && finite, "{terms:?}");
            let now = all(&learner);
            for (name, x) in &now {
                let copied = name.starts_with("target.") && update < 2;
                assert_eq!(x == &before[name], copied, "{policy:?}, {update}: {name}");
            }
        }
        let now = all(&learner);
        for (name, x) in now.iter().filter(|(name, _)| name.starts_with("target.")) {
            assert_eq!(x, &now[&name.replace("target.", "q.")], "{name}");
        }
    }
}

#[test]
fn a_restored_learner_goes_on_with_the_same_bits() {
    for policy in policies() {
        let (mut one, mut draws, batch) = (learner(policy.clone()), noise("resume"), batch());
        for _ in 0..4 {
            one.update(&batch, 0.0, &mut draws).unwrap();
        }
        let (carried, progress) = one.carried();
        let carried = carried.into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
        let moments = one.adam().tensors().into_iter().map(|(n, t)| (n, t.copy().unwrap()));
        let (moments, steps) = (moments.collect(), one.adam().steps());
        let temp = tempfile::tempdir().unwrap();
        one.save(temp.path()).unwrap();
        let mut other = SoftQ::load(temp.path(), &Device::Cpu).unwrap();
        let json = serde_json::to_string(&progress).unwrap();
        let adam = Adam::restore(small().adam, steps, &moments, other.store()).unwrap();
        let progress = serde_json::from_str(&json).unwrap();
        other.restore(temp.path(), adam, &carried, &progress).unwrap();
        let mut same = draws.clone();
        for _ in 0..3 {
            let [a, b] = [(&mut one, &mut draws), (&mut other, &mut same)]
                .map(|(learner, draws)| learner.update(&batch, 0.0, draws).unwrap());
            assert_eq!(a, b);
        }
        assert_eq!(all(&one), all(&other));
    }
}

#[test]
fn q_learns_its_targets() {
    let mut learner = learner(PolicyConfig::gaussian(&[16]));
    let (mut draws, batch) = (noise("fit"), batch());
    let ended = Tensor::ones(32, candle_core::DType::F32, &Device::Cpu).unwrap();
    let batch = Batch { done: ended, ..batch };
    let losses: Vec<f64> =
        (0..600).map(|_| learner.update(&batch, 0.0, &mut draws).unwrap().q_loss).collect();
    // Rewards alone are left to learn, and 32 of them are few.
    assert!(losses[599] < 0.05 * losses[0], "{} {}", losses[0], losses[599]);
    let targets = values(&learner.targets(&batch, &mut draws).unwrap());
    for (target, reward) in targets.iter().zip(values(&batch.rewards)) {
        assert!((target - 30.0 * reward).abs() < 1e-5);
    }
}

#[test]
fn values_of_both_proposals_agree() {
    let config = SoftQConfig { particles: 20_000, ..small() };
    let states = batch().states.narrow(0, 0, 2).unwrap();
    let [uniform, own] = [Proposal::Uniform, Proposal::Policy].map(|proposal| {
        let config = SoftQConfig { proposal, ..config.clone() };
        // The flow begins as a standard normal, which covers the square after the squash.
        let policy = PolicyConfig::ugan(&[16], 2, &[16]);
        let learner = SoftQ::new(config, policy, Seed::new(3), &Device::Cpu).unwrap();
        values(&learner.value(&states, &mut noise("value")).unwrap())
    });
    for (uniform, own) in uniform.iter().zip(own) {
        // Weights have a deviation of about one: five errors of 20,000 are 0.035 on either side.
        assert!((uniform - own).abs() < 0.07, "{uniform} {own}");
    }
    let config = SoftQConfig { proposal: Proposal::Policy, ..config };
    assert!(SoftQ::new(config, PolicyConfig::stein(&[8]), Seed::new(0), &Device::Cpu).is_err());
}

#[test]
fn constants_that_cannot_be_are_named() {
    for (config, field) in [
        (SoftQConfig { temperature: 0.0, ..small() }, "temperature"),
        (SoftQConfig { discount: 1.0, ..small() }, "discount"),
        (SoftQConfig { particles: 0, ..small() }, "particles"),
        (SoftQConfig { pool: 0, ..small() }, "pool"),
        (SoftQConfig { hidden: vec![0], ..small() }, "hidden"),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
    // Appendix J.3 again, and the public soft Q-learning code.
    let SoftQConfig { hidden, batch_size, learning_rate, pool, .. } = SoftQConfig::published();
    assert_eq!((hidden, batch_size, pool), (vec![128, 128], 128, 1_000_000));
    assert!((learning_rate - 4e-4).abs() < 1e-12);
}
