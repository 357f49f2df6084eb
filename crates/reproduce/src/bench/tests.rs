use std::path::Path;

use super::*;

fn bed(device: Device) -> Bed {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    Bed::new(root.to_owned(), device)
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
    let timing = Workload { repeats: 4, ..workload }.time(&bed(Device::Cpu)).unwrap();
    assert_eq!(timing.n, 4);
    assert!(timing.ms_min > 0.0 && timing.ms_median >= timing.ms_min, "{timing:?}");
    let limit = timing.gflop.unwrap() / timing.sgemm_gflops * 1e3;
    assert!((timing.x_limit.unwrap() - timing.ms_min / limit).abs() < 1e-9, "{timing:?}");
    assert!((median(&[1.0, 2.0, 4.0]) - 2.0).abs() < 1e-15);
    assert!((median(&[1.0, 2.0, 4.0, 8.0]) - 3.0).abs() < 1e-15);
}

#[test]
fn twenty_updates_on_a_batch_lower_its_loss() {
    let bed = bed(Device::Cpu);
    let mut update = infusion::updates(&bed, [128, 15]).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| update().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
    // A walk has thirty updates.
    let mut update = walkback::updates(&bed).unwrap();
    let losses = [update().unwrap(), update().unwrap()];
    assert!(losses[1] < losses[0], "{losses:?}");
    // Of the denoiser, whose features move with the critic.
    let mut update = gan::updates(&bed).unwrap();
    let losses: Vec<f64> = (0..6).map(|_| update().unwrap()).collect();
    assert!(losses[5] < losses[0], "{losses:?}");
    let mut update = flow::updates(&bed).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| update().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
    let mut step = walkback::step(&bed).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| step().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
}

/// Losses of a few updates, by the name of the method.
#[cfg(feature = "cuda")]
type Learner = (&'static str, fn(&Bed) -> Result<Vec<f64>>);

#[cfg(feature = "cuda")]
fn few(update: Result<impl FnMut() -> Result<f64>>) -> Result<Vec<f64>> {
    let mut update = update?;
    (0..3).map(|_| update()).collect()
}

/// One update of every method on the same numbers, and two more from where it led, so that a
/// wrong parameter shows too: losses are of the precision of f32 first, and then of an optimiser
/// whose first steps have the size of the rate whatever the size of the gradient.
#[cfg(feature = "cuda")]
#[test]
fn updates_on_cuda_are_those_of_the_processor() {
    const TOLERANCES: [f64; 3] = [1e-4, 1e-2, 1e-2];
    let learners: [Learner; 10] = [
        ("infusion", |bed| few(infusion::updates(bed, [128, 15]))),
        ("walkback", |bed| few(walkback::updates(bed))),
        ("walkback, colours", |bed| few(walkback::step(bed))),
        ("vera, flow", |bed| few(vera::nice(bed))),
        ("vera, table", |bed| few(vera::tabular(bed))),
        ("vera, images", |bed| few(vera::wide(bed))),
        ("vaebm, chains", |bed| few(vaebm::chains(bed))),
        ("vaebm, autoencoder", |bed| few(vaebm::updates(bed))),
        ("annealed GAN", |bed| few(gan::updates(bed))),
        ("flow", |bed| few(flow::updates(bed))),
    ];
    let device = chains_core::device::parse("cuda:0").unwrap();
    let mut wrong = Vec::new();
    for (name, losses) in learners {
        let here = losses(&bed(device.clone())).unwrap();
        let there = losses(&Bed { device_noise: true, ..bed(Device::Cpu) }).unwrap();
        for (i, tolerance) in TOLERANCES.iter().enumerate() {
            let far = (here[i] - there[i]).abs() / there[i].abs().max(1.0);
            // Not a number is far, too.
            if far.is_nan() || far > *tolerance {
                wrong.push(format!("{name}, update {i}: {} for {}", here[i], there[i]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
