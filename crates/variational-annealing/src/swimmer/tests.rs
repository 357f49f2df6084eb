//! Golden values and conservation laws.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_3, PI, TAU};

use chains_core::Seed;

use super::*;

/// Rounded to ten decimals.
fn assert_golden(found: &[f64], golden: &[f64]) {
    assert_eq!(found.len(), golden.len());
    for (found, golden) in found.iter().zip(golden) {
        let within = 1e-10 + 1e-8 * golden.abs();
        assert!((found - golden).abs() <= within, "{found} is not {golden}");
    }
}

const Q: Coordinates = [0.1, -0.2, 0.3, 0.4, -0.5];
const V: Coordinates = [0.5, -0.3, 0.8, -1.0, 0.6];

/// Returns the sum of rewards and the way of the centre of mass of an open-loop gait from rest.
fn gait(period: f64, lag: f64) -> [f64; 2] {
    let mut swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
    let rewards = (0..200).map(|i| {
        let phase = TAU * (0.05 * f64::from(i)) / period;
        swimmer.step([phase.sin(), (phase - lag).sin()]).unwrap()
    });
    let sum = rewards.sum();
    [sum, swimmer.centre()[0]]
}

#[test]
fn a_link_has_the_mass_and_the_inertia_of_its_capsule() {
    let (r, l, density) = (0.1_f64, 1.0_f64, 1000.0);
    let (cylinder, ball) = (density * PI * r * r * l, density * 4.0 / 3.0 * PI * r.powi(3));
    assert!((cylinder + ball - dynamics::MASS).abs() < 1e-12);
    // MuJoCo's capsule: the cylinder, and two half balls around its ends.
    let inertia = cylinder * (l * l / 12.0 + r * r / 4.0)
        + ball * (0.4 * r * r + l * l / 4.0 + 3.0 / 8.0 * l * r);
    let swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
    // The last joint turns the last link alone, half a link around its end.
    let last = swimmer.mass_matrix()[4][4] - dynamics::MASS * 0.25;
    assert!((last - inertia).abs() < 1e-10, "{last} {inertia}");
}

#[test]
fn the_mass_matrix_of_a_straight_swimmer_is_the_golden_one() {
    let golden = [
        [106.8141502221, 0.0, 0.0, 0.0, 0.0],
        [0.0, 106.8141502221, 0.0, -71.2094334814, -17.8023583703],
        [0.0, 0.0, 82.9621315984, 61.2422071891, 21.7199244094],
        [0.0, -71.2094334814, 61.2422071891, 96.8469239298, 30.6211035945],
        [0.0, -17.8023583703, 21.7199244094, 30.6211035945, 12.8187452242],
    ];
    for (row, golden) in Swimmer::at([0.0; 5], [0.0; 5]).mass_matrix().iter().zip(&golden) {
        assert_golden(row, golden);
    }
}

#[test]
fn accelerations_are_the_golden_ones_with_and_without_fluid() {
    let still = Swimmer::at([0.0; 5], [0.0; 5]);
    let golden = [0.0, 17.2895124168, -16.4730820121, 34.5790248337, -34.5790248337];
    assert_golden(&still.acceleration([50.0, -50.0]), &golden);
    let moving = Swimmer::at(Q, V);
    let golden = [-0.0991011365, 1.9611808196, -3.7480656695, 2.4262014299, 4.35229771];
    assert_golden(&moving.acceleration([10.0, 20.0]), &golden);
    let golden = [0.613040005, 0.5564859117, -0.7476597842, -0.8409951121, 5.1390474913];
    assert_golden(&moving.in_fluid(None).acceleration([10.0, 20.0]), &golden);
}

#[test]
fn one_action_moves_the_swimmer_as_the_golden_step_does() {
    let mut swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
    let reward = swimmer.step([1.0, -1.0]).unwrap();
    let q = [-0.0000214087, 0.021368439, -0.020341235, 0.042740077, -0.0427400759];
    let v = [-0.001623659, 0.8128254209, -0.7731194121, 1.6260038124, -1.6260036708];
    assert_golden(&swimmer.position(), &q);
    assert_golden(&swimmer.velocity(), &v);
    assert!((reward + 0.009935206470112274).abs() < 1e-12, "{reward}");
    // Beyond its range an action is the end of the range.
    let mut clipped = Swimmer::at([0.0; 5], [0.0; 5]);
    assert_eq!(clipped.step([7.0, f64::NEG_INFINITY]).unwrap().to_bits(), reward.to_bits());
    assert_eq!(clipped, swimmer);
}

#[test]
fn energy_and_momentum_stay_without_fluid_and_leave_with_it() {
    let start = Swimmer::at(Q, V);
    assert!((start.kinetic_energy() - 10.512678367128993).abs() < 1e-9);
    assert_golden(&start.momentum(), &[31.1055704797, 23.5695293238]);
    let mut free = start.in_fluid(None);
    let mut dragged = start;
    for _ in 0..20 {
        free.step([0.0; 2]).unwrap();
        dragged.step([0.0; 2]).unwrap();
    }
    assert!((free.kinetic_energy() / start.kinetic_energy() - 1.0).abs() < 1e-3);
    for (now, then) in free.momentum().iter().zip(start.momentum()) {
        assert!((now / then - 1.0).abs() < 1e-3, "{now} {then}");
    }
    let left = dragged.kinetic_energy();
    assert!((left - 2.883842886921748).abs() < 1e-8, "{left}");
}

#[test]
fn gaits_swim_as_far_as_the_golden_ones() {
    for (period, lag, golden) in [
        (2.5, FRAC_PI_3, 13.2212),
        (3.0, FRAC_PI_2, 8.0491),
        (2.0, -FRAC_PI_2, 0.5531),
        (1.0, FRAC_PI_2, -3.7932),
    ] {
        let [sum, _] = gait(period, lag);
        assert!((sum - golden).abs() < 1e-2, "period {period}, lag {lag}: {sum}");
    }
    let [_, way] = gait(2.5, FRAC_PI_3);
    assert!((way - 0.7082).abs() < 1e-3, "{way}");
}

#[test]
fn joints_are_pushed_back_from_a_hundred_degrees_on() {
    let angle = 1.05 * 100.0 / 180.0 * PI;
    let bent = |p2: f64, rate: f64| {
        Swimmer::at([0.0, 0.0, 0.0, p2, 0.0], [0.0, 0.0, 0.0, rate, 0.0]).in_fluid(None)
    };
    assert!(bent(angle, 0.0).acceleration([0.0; 2])[3] < -1.0);
    assert!(bent(-angle, 0.0).acceleration([0.0; 2])[3] > 1.0);
    assert!(bent(0.9 * angle, 0.0).acceleration([0.0; 2])[3].abs() < 1e-12);
    // Outwards there is damping, inwards none: compare without what turning itself gives.
    let push = |rate: f64| {
        let with = bent(angle, rate).acceleration([0.0; 2]);
        let bias = bent(angle, -rate).acceleration([0.0; 2]);
        with[3] - bias[3]
    };
    assert!(push(1.0) < -0.1);
    // A motor at full strength does not break a joint.
    let mut swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
    for _ in 0..200 {
        swimmer.step([1.0, 1.0]).unwrap();
        assert!(swimmer.position()[3..].iter().all(|p| p.abs() < 2.0));
    }
}

#[test]
fn a_reset_is_near_rest_and_an_observation_holds_everything() {
    let mut noise = Seed::new(0).host_noise();
    let swimmers: Vec<_> = (0..400).map(|_| Swimmer::reset(&mut noise).unwrap()).collect();
    let deviation = |of: fn(&Swimmer) -> Coordinates| {
        let sum: f64 = swimmers.iter().flat_map(of).map(|value| value * value).sum();
        (sum / 2000.0).sqrt()
    };
    // Four standard errors of a deviation from 2,000 numbers.
    assert!((deviation(Swimmer::position) / 0.01 - 1.0).abs() < 0.064);
    assert!((deviation(Swimmer::velocity) / 0.1 - 1.0).abs() < 0.064);
    let swimmer = Swimmer::at(Q, V);
    let seen = swimmer.observation();
    let [x, y] = swimmer.centre();
    assert_eq!(seen[..10], [Q, V].concat());
    assert_eq!(seen[10..], [x, y, 0.0]);
    // At zero the root is the centre of mass, and links touch end to end.
    assert!(Swimmer::at([0.0; 5], [0.0; 5]).centre().iter().all(|c| c.abs() < 1e-15));
    let links = swimmer.links();
    for pair in links.windows(2) {
        let gap = pair[0][1].iter().zip(pair[1][0]).map(|(a, b)| (a - b).abs()).sum::<f64>();
        assert!(gap < 1e-12, "{gap}");
    }
}

#[test]
fn what_is_no_number_is_refused_and_changes_nothing() {
    let mut swimmer = Swimmer::at(Q, V);
    let before = swimmer;
    assert!(matches!(swimmer.step([f64::NAN, 0.0]), Err(Error::NonFinite { .. })));
    assert_eq!(swimmer, before);
    let mut lost = Swimmer::at([f64::INFINITY; 5], V);
    assert!(lost.step([0.0; 2]).is_err());
}
