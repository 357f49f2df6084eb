use std::f64::consts::FRAC_PI_3;

use candle_core::Device;
use chains_core::Seed;

use super::{noise, values, vector};
use crate::{
    soft_q::{
        Actor, Gait, Greedy, PolicyConfig, RandomActions, Sampled, SoftQ, SoftQConfig, episodes,
    },
    swimmer::Swimmer,
};

fn learner() -> SoftQ {
    let config = SoftQConfig { hidden: vec![16], ..SoftQConfig::published() };
    SoftQ::new(config, PolicyConfig::gaussian(&[16]), Seed::new(1), &Device::Cpu).unwrap()
}

#[test]
fn a_gait_swims_as_far_as_the_golden_one() {
    let gait = Gait { period: 2.5, lag: FRAC_PI_3 };
    let mut swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
    let sum: f64 = (0..200).map(|step| swimmer.step(gait.at(step)).unwrap()).sum();
    assert!((sum - 13.2212).abs() < 1e-2, "{sum}");
    let seen = vector(&[0.0; 26]).reshape((2, 13)).unwrap();
    let acted = values(&gait.act(&seen, 7, &mut noise("gait")).unwrap());
    for (found, exact) in acted.iter().zip(gait.at(7).iter().cycle()) {
        assert!((found - exact).abs() < 1e-6);
    }
}

#[test]
fn episodes_add_up_rewards_and_are_the_same_for_the_same_noise() {
    let swim = || episodes(&RandomActions, [3, 5], &Device::Cpu, &mut noise("swim")).unwrap();
    let all = swim();
    assert_eq!(all, swim());
    assert_eq!((all.len(), all[0].states.len()), (3, 6));
    assert_ne!(all[0].states[0], all[1].states[0]);
    let ways = all.iter().map(|e| e.states[5].centre()[0] - e.states[0].centre()[0]);
    assert!(ways.zip(&all).all(|(way, e)| (way - e.way).abs() < 1e-15));
    // The price of an action is at most 0.01, the rest of a reward is a velocity.
    for episode in &all {
        let speeds: f64 = episode.states[1..].iter().map(|s| s.centre_velocity()[0]).sum();
        assert!((0.0..0.05).contains(&(speeds - episode.sum)), "{speeds} {}", episode.sum);
    }
}

#[test]
fn a_reward_is_a_velocity_of_the_whole_body_and_no_way() {
    let gait = Gait { period: 2.5, lag: FRAC_PI_3 };
    for episode in episodes(&gait, [2, 200], &Device::Cpu, &mut noise("way")).unwrap() {
        let speeds: f64 = episode.states[1..].iter().map(|s| s.centre_velocity()[0]).sum();
        // A step lasts 0.05 s; speeds are those at its end.
        assert!((0.05 * speeds - episode.way).abs() < 0.02, "{speeds} {}", episode.way);
        assert!(episode.way > 0.4, "{}", episode.way);
        // The price of two motors in quadrature is about 0.005 a step.
        assert!((speeds - episode.sum - 200.0 * 0.005).abs() < 0.03);
    }
}

#[test]
fn a_greedy_actor_takes_the_best_of_the_draws_of_each_state() {
    let learner = learner();
    let seen = vector(&(0..39).map(|i| f64::from(i).sin()).collect::<Vec<_>>());
    let seen = seen.reshape((3, 13)).unwrap();
    let greedy = Greedy { learner: &learner, draws: 8 };
    let chosen = greedy.act(&seen, 0, &mut noise("greedy")).unwrap();
    let best = values(&learner.q().forward(&seen, &chosen).unwrap());
    // The same draws.
    let all = crate::soft_q::q_function::repeated(&seen, 8).unwrap();
    let draws = Sampled(learner.policy()).act(&all, 0, &mut noise("greedy")).unwrap();
    let q = learner.q().of_particles(&seen, &draws).unwrap().to_vec2::<f32>().unwrap();
    for (best, q) in best.iter().zip(q) {
        let highest = q.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!((best - f64::from(highest)).abs() < 1e-5, "{best} {highest}");
    }
    assert!(values(&chosen).iter().all(|a| a.abs() <= 1.0));
}
