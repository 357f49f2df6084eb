use candle_core::Device;

use super::{noise, values};
use crate::soft_q::{Transition, Transitions};

/// The transition of a number.
fn numbered(i: usize) -> Transition {
    let x = i as f64;
    Transition {
        state: std::array::from_fn(|k| x + 0.01 * k as f64),
        action: [x, -x],
        reward: 10.0 * x,
        next_state: std::array::from_fn(|k| x + 0.5 + 0.01 * k as f64),
        done: i % 2 == 1,
    }
}

fn filled(capacity: usize, n: usize) -> Transitions {
    let mut pool = Transitions::new(capacity).unwrap();
    (0..n).for_each(|i| pool.push(&numbered(i)));
    pool
}

#[test]
fn a_draw_keeps_the_parts_of_a_transition_together() {
    let batch = filled(10, 7).sample(200, &mut noise("draw"), &Device::Cpu).unwrap();
    let [states, actions, rewards, next, done] =
        [&batch.states, &batch.actions, &batch.rewards, &batch.next_states, &batch.done];
    let all = [states, actions, next].map(values);
    let mut seen = [0; 7];
    for (row, (reward, done)) in values(rewards).into_iter().zip(values(done)).enumerate() {
        let i = (reward / 10.0).round() as usize;
        seen[i] += 1;
        let wanted = numbered(i);
        let close = |found: &[f64], wanted: &[f64]| {
            found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-5)
        };
        assert!(close(&all[0][13 * row..13 * (row + 1)], &wanted.state));
        assert!(close(&all[1][2 * row..2 * (row + 1)], &wanted.action));
        assert!(close(&all[2][13 * row..13 * (row + 1)], &wanted.next_state));
        assert!((done > 0.5) == wanted.done);
    }
    // 200 draws from 7: each about 28.6 times, deviation 5.
    assert!(seen.iter().all(|n| (9..=48).contains(n)), "{seen:?}");
}

#[test]
fn a_full_pool_forgets_the_oldest_and_a_restored_one_goes_on_with_the_same_bits() {
    let pool = filled(5, 12);
    assert_eq!((pool.len(), pool.cursor()), (5, 2));
    let batch = pool.sample(100, &mut noise("full"), &Device::Cpu).unwrap();
    assert!(values(&batch.rewards).iter().all(|reward| *reward >= 70.0));
    for (capacity, n) in [(5, 12), (20, 12)] {
        let pool = filled(capacity, n);
        let (rows, cursor) = (pool.tensor().unwrap(), pool.cursor());
        let mut restored = Transitions::restore(capacity, &rows, cursor).unwrap();
        assert_eq!(restored, pool);
        let mut pool = pool;
        for i in 12..16 {
            pool.push(&numbered(i));
            restored.push(&numbered(i));
        }
        assert_eq!(restored, pool);
    }
}

#[test]
fn what_is_no_pool_is_refused() {
    assert!(Transitions::new(0).is_err());
    let empty = Transitions::new(3).unwrap();
    assert!(empty.is_empty());
    assert!(empty.sample(1, &mut noise("empty"), &Device::Cpu).is_err());
    let rows = filled(5, 3).tensor().unwrap();
    for (capacity, cursor) in [(2, 0), (5, 1), (5, 5), (3, 3)] {
        assert!(Transitions::restore(capacity, &rows, cursor).is_err(), "{capacity} {cursor}");
    }
    assert!(Transitions::restore(5, &rows.narrow(1, 0, 29).unwrap(), 3).is_err());
}
