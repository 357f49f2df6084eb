//! The test with a network.

use ndarray::{Array2, Axis};

use super::*;
use crate::golden::{assert_mean, normals};

fn network(epochs: usize) -> C2stClassifier {
    C2stClassifier::Network(MlpConfig { epochs, ..MlpConfig::small() })
}

fn run(real: &Array2<f64>, fake: &Array2<f64>, classifier: C2stClassifier) -> Result<C2st> {
    c2st_with(real.view(), fake.view(), classifier, 2)
}

/// Points of the plane whose radius is uniform on an interval.
fn ring(seed: u32, low: f64, high: f64) -> Array2<f64> {
    let draws = crate::golden::array(seed, 400, 2);
    Array2::from_shape_fn((400, 2), |(row, column)| {
        let radius = low + (high - low) * draws[(row, 0)];
        let angle = std::f64::consts::TAU * draws[(row, 1)];
        radius * if column == 0 { angle.cos() } else { angle.sin() }
    })
}

#[test]
fn a_network_tells_what_no_plane_does() -> Result<()> {
    // A disc inside of a ring: equal means.
    let (real, fake) = (ring(1, 0.0, 1.0), ring(2, 1.2, 2.0));
    let linear = run(&real, &fake, C2stClassifier::Logistic { penalty: 1.0 })?;
    let found = run(&real, &fake, network(60))?;
    assert!(linear.interval.0 < 0.6 && found.value > 0.97, "{linear:?} {found:?}");
    assert_eq!((found.n, found.n_train, found.classifier), (400, 400, network(60)));
    assert!(found.interval.0 < found.value && found.interval.1 > found.value);
    Ok(())
}

#[test]
fn a_shifted_normal_has_its_closed_form() -> Result<()> {
    // Two standard deviations apart nothing is right more often than Phi(1).
    let (real, fake) = (normals(81, 4000), normals(82, 4000) + 2.0);
    let found = run(&real, &fake, network(10))?;
    assert!((found.value - 0.841_344_746).abs() < 3.0 * found.std_error, "{found:?}");
    Ok(())
}

#[test]
fn a_network_does_not_tell_equal_distributions() -> Result<()> {
    let values: Vec<f64> = (0..30)
        .map(|seed| {
            let all = normals(700 + seed, 400).into_shape_with_order((200, 2)).unwrap();
            let (real, fake) = all.view().split_at(Axis(0), 100);
            c2st_with(real, fake, network(10), u64::from(seed)).map(|found| found.value)
        })
        .collect::<Result<_>>()?;
    assert_mean(&values, 0.5);
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let (real, fake) = (normals(83, 300), normals(84, 300) + 0.5);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&real, &fake, network(5)))
    };
    assert_eq!(on(1)?, on(3)?);
    Ok(())
}

#[test]
fn unusable_settings_are_named() {
    let rows = normals(1, 9);
    let text = |classifier| run(&rows, &rows, classifier).unwrap_err().to_string();
    for penalty in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(text(C2stClassifier::Logistic { penalty }).contains("`penalty`"));
    }
    assert!(text(network(0)).contains("`epochs`"));
}
