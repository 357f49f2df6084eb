use super::*;

fn close(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
}

#[test]
fn temperatures_follow_corollary_2_2() {
    for lambda in [-0.9, -0.5, 0.0, 0.3, 1.0, 4.0] {
        close(Reg::Likelihood.beta(lambda).unwrap(), 1.0 + lambda, 1e-15);
        close(Reg::Entropy.beta(lambda).unwrap(), 1.0 / (1.0 + lambda), 1e-12);
    }
    // Positive: colder in one form, hotter in the other.
    assert!(Reg::Likelihood.beta(0.5).unwrap() > 1.0 && Reg::Entropy.beta(0.5).unwrap() < 1.0);
}

#[test]
fn weights_of_one_form_become_those_of_the_other_at_the_same_temperature() {
    for beta in [0.1, 0.5, 1.0, 2.0, 7.0] {
        let [likelihood, entropy] =
            [Reg::Likelihood, Reg::Entropy].map(|r| r.lambda(beta).unwrap());
        close(Reg::Likelihood.convert(likelihood, Reg::Entropy).unwrap(), entropy, 1e-12);
        close(Reg::Entropy.convert(entropy, Reg::Likelihood).unwrap(), likelihood, 1e-12);
        close(Reg::Entropy.convert(entropy, Reg::Entropy).unwrap(), entropy, 0.0);
        for (reg, lambda) in [(Reg::Likelihood, likelihood), (Reg::Entropy, entropy)] {
            close(reg.weights(lambda).unwrap().beta(), beta, 1e-12);
        }
    }
    assert_eq!(Reg::Likelihood.weights(0.5).unwrap(), Weights { c_q: 1.0, c_u: 1.5 });
    assert_eq!(Reg::Entropy.weights(0.5).unwrap(), Weights { c_q: 1.5, c_u: 1.0 });
}

#[test]
fn weights_without_a_temperature_are_refused() {
    for reg in [Reg::Likelihood, Reg::Entropy] {
        for lambda in [-1.0, -1.5, f64::NAN, f64::INFINITY] {
            let message = reg.beta(lambda).unwrap_err().to_string();
            assert!(message.contains("`lambda`"), "{message}");
            assert!(reg.convert(lambda, Reg::Entropy).is_err());
        }
        assert!(reg.lambda(0.0).is_err() && reg.lambda(f64::NAN).is_err());
    }
}

#[test]
fn a_swinging_schedule_is_clamped_in_the_entropy_form_and_refused_in_the_other() {
    close(Reg::Entropy.admissible(-0.9).unwrap(), COLDEST_ENTROPY, 0.0);
    close(Reg::Entropy.admissible(-4.0).unwrap(), COLDEST_ENTROPY, 0.0);
    close(Reg::Entropy.admissible(-0.2).unwrap(), -0.2, 0.0);
    close(Reg::Likelihood.admissible(-0.9).unwrap(), -0.9, 0.0);
    assert!(
        Reg::Likelihood.admissible(-1.0).is_err() && Reg::Entropy.admissible(f64::NAN).is_err()
    );

    let sine = Annealing { reg: Reg::Entropy, schedule: Schedule::sine(4.0) };
    sine.validate().unwrap();
    let betas: Vec<_> = (0..1000).map(|t| sine.beta(t, 1000).unwrap()).collect();
    close(betas[0], 0.2, 1e-12);
    // Half a swing later the weight would be -3.6: beta is 2 instead of negative.
    close(betas[80], 2.0, 1e-12);
    assert!(betas.iter().all(|beta| (0.2..=2.0).contains(beta)));
    assert!(Annealing { reg: Reg::Likelihood, ..sine }.validate().is_err());
    assert!(Annealing { reg: Reg::Likelihood, schedule: Schedule::linear(4.0) }.validate().is_ok());
    assert!(
        Annealing { reg: Reg::Likelihood, schedule: Schedule::linear(-1.0) }.validate().is_err()
    );
}

#[test]
fn the_zigzag_has_the_values_of_released_code() {
    let five = Schedule::zigzag(1.0, 15_000);
    for (t, want) in [
        (0, 1.0),
        (7_500, 0.05),
        (15_000, -0.9),
        (22_500, -0.05),
        (30_000, 0.8),
        (149_999, -6.667e-6),
    ] {
        close(five.at(t, 150_000), want, 1e-9);
    }
    let script = Schedule::zigzag(1.0, 10_000);
    for (t, want) in [(5_000, 0.033_333_3), (10_000, -0.933_333_3), (145_000, 0.033_333_3)] {
        close(script.at(t, 150_000), want, 1e-7);
    }
    // Where the intervals do not fill the training the rest is zero.
    let rest = Schedule::zigzag(1.0, 40);
    assert!((80..100).all(|t| rest.at(t, 100) == 0.0) && rest.at(79, 100) != 0.0);
    assert!(five.ends_at_zero(150_000) && rest.ends_at_zero(100));
}

#[test]
fn decaying_schedules_are_exactly_zero_from_four_fifths_on() {
    let step = Schedule::of(-2.0, Course::Step { cycles: 5.0 });
    let flat = Schedule::of(-2.0, Course::FlatSine { cycles: 5.0 });
    let others = [Schedule::linear(-2.0), Schedule::exponential(-2.0), Schedule::sine(-2.0)];
    for schedule in others.into_iter().chain([step, flat]) {
        close(schedule.at(0, 1000), -2.0, 1e-15);
        assert!((800..1000).all(|t| schedule.at(t, 1000) == 0.0), "{schedule:?}");
        assert!((0..1000).all(|t| schedule.at(t, 1000).abs() <= 2.0), "{schedule:?}");
        assert!(schedule.at(790, 1000) != 0.0 && schedule.ends_at_zero(1000));
    }
    assert!(!Schedule::constant(0.06).ends_at_zero(1000) && Schedule::none().ends_at_zero(1000));
}

#[test]
fn every_course_follows_its_formula() {
    let at = |schedule: Schedule, t| schedule.at(t, 1000);
    close(at(Schedule::constant(0.06), 999), 0.06, 0.0);
    close(at(Schedule::linear(3.0), 200), 2.25, 1e-12);
    // A thousandth would be reached at the end: the tenth root of it after a tenth.
    close(at(Schedule::exponential(1.0), 100), 10f64.powf(-0.3), 1e-12);
    // Five swings in 800: a peak every 160, a trough between, with the envelope.
    for (t, want) in [(40, 0.0), (80, -0.9), (160, 0.8), (240, -0.7), (720, -0.1)] {
        close(at(Schedule::sine(1.0), t), want, 1e-12);
    }
    let flat = Schedule::of(1.0, Course::FlatSine { cycles: 5.0 });
    for (t, want) in [(40, 0.0), (80, -1.0), (160, 1.0), (720, -1.0)] {
        close(at(flat, t), want, 1e-12);
    }
    let step = Schedule::of(1.0, Course::Step { cycles: 5.0 });
    for (t, want) in [(79, 0.901_25), (80, -0.9), (159, -0.801_25), (160, 0.8)] {
        close(at(step, t), want, 1e-12);
    }
}

#[test]
fn schedules_out_of_range_are_named() {
    let linear = Schedule::linear(1.0);
    for (bad, field) in [
        (Schedule { initial: f64::NAN, ..linear }, "schedule.initial"),
        (Schedule { zero_from: 0.0, ..linear }, "schedule.zero_from"),
        (Schedule { zero_from: 1.5, ..linear }, "schedule.zero_from"),
        (Schedule::of(1.0, Course::Sine { cycles: 0.0 }), "schedule.cycles"),
        (Schedule::zigzag(1.0, 0), "schedule.interval"),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
    assert!(linear.validate().is_ok());
}

#[test]
fn a_weight_per_element_is_the_number_of_features_times_that_per_sample() {
    close(LambdaNorm::PerElement.per_sample(10.0, 2048), 10.0 / 2048.0, 1e-15);
    close(LambdaNorm::PerSample.per_sample(0.5, 2048), 0.5, 0.0);
    close(LambdaNorm::PerElement.divisor(576), 576.0, 0.0);
}

#[test]
fn configurations_are_written_by_kind() {
    let annealing = Annealing { reg: Reg::Entropy, schedule: Schedule::sine(4.0) };
    let text = serde_json::to_string(&annealing).unwrap();
    let want = r#"{"reg":"entropy","schedule":{"initial":4.0,"zero_from":0.8,"course":{"kind":"sine","cycles":5.0}}}"#;
    assert_eq!(text, want);
    assert_eq!(serde_json::from_str::<Annealing>(&text).unwrap(), annealing);
}

/// `[E log q, E log mu]` of `q = N(a, r^2)`, `mu = N(0, s^2)` by the trapezoid rule.
fn moments([a, r, s]: [f64; 3]) -> [f64; 2] {
    let log_normal =
        |x: f64, m: f64, v: f64| -0.5 * ((std::f64::consts::TAU * v).ln() + (x - m) * (x - m) / v);
    let (n, reach) = (4000, 12.0 * r);
    let h = 2.0 * reach / f64::from(n);
    let mut sums = [0.0; 2];
    for i in 0..=n {
        let x = a - reach + h * f64::from(i);
        let log_q = log_normal(x, a, r * r);
        sums[0] += h * log_q.exp() * log_q;
        sums[1] += h * log_q.exp() * log_normal(x, 0.0, s * s);
    }
    sums
}

#[test]
fn the_three_forms_of_the_free_energy_agree_and_are_least_at_the_tempered_law() {
    let s = 1.3;
    for beta in [0.5, 1.0, 2.0] {
        let [likelihood, entropy] =
            [Reg::Likelihood, Reg::Entropy].map(|r| r.lambda(beta).unwrap());
        let free = |a: f64, r: f64| {
            // beta E[psi] + E[log rho].
            let [log_q, log_mu] = moments([a, r, s]);
            log_q - beta * log_mu
        };
        for (a, r) in [(0.3, 0.7), (-1.0, 1.3), (0.0, 2.0)] {
            let [log_q, log_mu] = moments([a, r, s]);
            let kl = log_q - log_mu;
            let want = free(a, r);
            // KL - lambda E log mu, and (KL + lambda S) beta with S the negative entropy.
            close(kl - likelihood * log_mu, want, 1e-9);
            close((kl + entropy * log_q) * beta, want, 1e-9);
            for (reg, lambda, scale) in
                [(Reg::Likelihood, likelihood, 1.0), (Reg::Entropy, entropy, beta)]
            {
                let Weights { c_q, c_u } = reg.weights(lambda).unwrap();
                close(scale * (c_q * log_q - c_u * log_mu), want, 1e-9);
            }
            // The closed forms.
            let tau = std::f64::consts::TAU;
            close(log_q, -0.5 * (tau * r * r).ln() - 0.5, 1e-9);
            close(log_mu, -0.5 * (tau * s * s).ln() - (a * a + r * r) / (2.0 * s * s), 1e-9);
        }
        // More entropy is rewarded by a positive weight: the least value is at r^2 = s^2 / beta.
        let r = s / beta.sqrt();
        let h = 1e-4;
        close((free(h, r) - free(-h, r)) / (2.0 * h), 0.0, 1e-6);
        close((free(0.0, r + h) - free(0.0, r - h)) / (2.0 * h), 0.0, 1e-6);
        assert!(free(0.1, r) > free(0.0, r) && free(0.0, 1.1 * r) > free(0.0, r));
        assert!(free(0.0, 0.9 * r) > free(0.0, r));
    }
}
