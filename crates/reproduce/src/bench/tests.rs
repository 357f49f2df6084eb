use std::path::Path;

use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

#[test]
fn names_choose_rows() {
    let ids = |only: &[&str]| -> Vec<&str> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        choose(&only).unwrap().iter().map(|workload| workload.id).collect()
    };
    assert_eq!(ids(&["W02", "W01b"]), ["W01b", "W02"]);
    assert_eq!(ids(&["W01"]), ["W01", "W01b", "W01t"]);
    assert_eq!(ids(&["W14a"]), ["W14a"]);
    assert_eq!(ids(&["W14e"]), ["W14e1", "W14e2"]);
    assert!(ids(&["W14"]).len() > 4 && ids(&["W14"]).iter().all(|id| id.starts_with("W14")));
    assert_eq!(ids(&[]).len(), workloads().len());
    for name in ["W1", "W", "", "w01", "W99"] {
        let Err(error) = choose(&[name.to_owned()]) else { panic!("`{name}` is a workload") };
        assert!(error.to_string().contains("W14a"), "{error}");
    }
}

#[test]
fn operations_are_those_of_the_definitions() {
    let gflop = |id: &str| {
        workloads().iter().find(|workload| workload.id == id).and_then(|w| w.gflop).unwrap()
    };
    for (id, want) in [
        ("W01", 45.49),
        ("W01b", 90.98),
        ("W01t", 90.98),
        ("W02", 255.74),
        ("W03", 1278.72),
        ("W04", 121.73),
        ("W05", 32.19),
        ("W06", 48.44),
        ("W07", 3.79),
        ("W08", 498.16),
        ("W09", 263.38),
        ("W10", 5.46),
        ("W11", 74.87),
        ("W12a", 2.17),
        ("W12b", 340.13),
        ("W12c", 5.67),
        ("W13a", 202.13),
        ("W13c", 1228.80),
        ("W13d", 156.80),
        ("W14a", 0.48),
        ("W14d", 8.59),
        ("W14e1", 2.42),
        ("W14f2", 10.07),
        ("W14g1", 3.36),
        ("W14h2", 0.08),
    ] {
        assert!((gflop(id) - want).abs() < 0.006, "{id}: {}", gflop(id));
    }
}

#[test]
fn a_row_has_times_in_order_and_its_distance_from_the_limit() {
    let workload = choose(&["W14c".to_owned()]).unwrap().remove(0);
    let timing = Workload { repeats: 4, ..workload }.time(root()).unwrap();
    assert_eq!(timing.n, 4);
    assert!(timing.ms_min > 0.0 && timing.ms_median >= timing.ms_min, "{timing:?}");
    let limit = timing.gflop.unwrap() / timing.sgemm_gflops * 1e3;
    assert!((timing.x_limit.unwrap() - timing.ms_min / limit).abs() < 1e-9, "{timing:?}");
    assert!((median(&[1.0, 2.0, 4.0]) - 2.0).abs() < 1e-15);
    assert!((median(&[1.0, 2.0, 4.0, 8.0]) - 3.0).abs() < 1e-15);
}

#[test]
fn twenty_updates_on_a_batch_lower_its_loss() {
    let mut update = infusion::updates(root(), [128, 15]).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| update().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
    // A walk has thirty updates.
    let mut update = walkback::updates(root()).unwrap();
    let losses = [update().unwrap(), update().unwrap()];
    assert!(losses[1] < losses[0], "{losses:?}");
    // Of the denoiser, whose features move with the critic.
    let mut update = gan::updates().unwrap();
    let losses: Vec<f64> = (0..6).map(|_| update().unwrap()).collect();
    assert!(losses[5] < losses[0], "{losses:?}");
    let mut update = flow::updates(root()).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| update().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
    let mut step = walkback::step().unwrap();
    let losses: Vec<f64> = (0..20).map(|_| step().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
}
