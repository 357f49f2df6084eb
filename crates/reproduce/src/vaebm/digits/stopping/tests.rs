use candle_core::{DType, Device};
use candle_nn::Init;
use chains_core::{
    Seed,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
    train::Observer,
};
use serde_json::Value;

use super::*;
use crate::{
    registry::{Experiment, Paper},
    request::{Request, Scale},
    results::Metric,
    run::execute,
    testing::request,
    training::{Followed, UpdateAt},
};

/// A number that counts updates, and the differences that its guard is told.
struct Count {
    store: ParamStore,
    guard: Guard,
    difference: fn(usize) -> f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Point(usize);

impl Followed for Point {
    fn epoch(&self) -> usize {
        self.0
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

impl Count {
    fn new(difference: fn(usize) -> f64) -> Self {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        store.builder().get_with_hints(1, "x", Init::Const(0.0)).unwrap();
        Self { store, guard: Guard::default(), difference }
    }

    fn value(&self) -> f64 {
        f64::from(self.store.get("x").unwrap().to_vec1::<f32>().unwrap()[0])
    }
}

impl Guarded for Count {
    fn guard(&self) -> Guard {
        self.guard
    }
}

impl Learner for Count {
    type Epoch = Point;

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn update(&mut self, _: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let x = self.store.get("x").unwrap();
        x.set(&(x.as_detached_tensor() + 1.0)?)?;
        self.guard.push(at.update, (self.difference)(at.update))?;
        Ok(0.0)
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Point>) -> Result<Option<Point>> {
        self.guard.look(&self.store, at)?;
        Ok(Some(Point(at.epoch)))
    }

    fn finish(&mut self, _: &Path, _: &[Point], _: &mut dyn Observer) -> Result<()> {
        Ok(())
    }
}

/// A sequence without trend.
fn wave(i: usize) -> f64 {
    (i as f64 * 0.37).sin() + (i as f64 * 0.011).cos()
}

/// Beyond the bound from the 1,501st update on.
fn runs_away(i: usize) -> f64 {
    if i < 1500 { wave(i) } else { -1e6 }
}

/// No number from the 251st update on.
fn lost(i: usize) -> f64 {
    if i < 250 { 0.0 } else { f64::NAN }
}

/// 1,800 updates, a point of the curve every hundred.
fn count(run: &mut Run<'_>, difference: fn(usize) -> f64) -> Result<()> {
    let mut learner = Count::new(difference);
    let plan = Plan {
        examples: 100,
        batch_size: 1,
        epochs: 18,
        learning_rate: LearningRate::Constant { value: 0.1 },
        adam: AdamConfig::standard(),
        weight_average: 0.0,
        order: Seed::new(1),
    };
    let (finished, stopped) = train(run, "count", "00ff".into(), &plan, &mut learner)?;
    let end = stopped.as_ref().map_or(finished.updates, |stopped| stopped.healthy);
    if let Some(stopped) = stopped {
        run.paragraph(stopped.sentence());
    }
    run.metric(Metric::new("value", learner.value(), ""));
    run.metric(Metric::new("updates", finished.updates as f64, ""));
    run.metric(Metric::new("end", end as f64, ""));
    Ok(())
}

/// The value that is left, updates made, updates of the network that is left; the report.
fn outcome(go: fn(&mut Run<'_>) -> Result<()>) -> Result<([usize; 3], String)> {
    let temp = tempfile::tempdir().unwrap();
    let request = Request { models: temp.path().join("models"), ..request(Scale::Smoke, &[]) };
    let paper = Paper { id: "count", citation: "nobody", experiments: &[] };
    let experiment = Experiment {
        id: "count",
        anchor: "nowhere",
        title: "A count",
        headline: false,
        data: "none",
        time: ["1 s", "1 s", "1 s"],
        settings: |_| Ok(toml::Table::new()),
        ready: |_| Ok(()),
        run: go,
    };
    let dir = temp.path().join("run");
    let results = execute(&request, &paper, &experiment, &dir)?;
    let number = |name: &str| results.metric(name).unwrap().value as usize;
    let report = std::fs::read_to_string(dir.join("report.md")).unwrap();
    Ok((["value", "updates", "end"].map(number), report))
}

#[test]
fn a_training_that_runs_away_leaves_the_last_network_kept_before() {
    // The two-hundredth update beyond the bound stops.
    let (numbers, report) = outcome(|run| count(run, runs_away)).unwrap();
    assert_eq!(numbers, [1500, 1600, 1500]);
    for words in ["stopped by its rule", "up to update 1700", "after 1500 updates"] {
        assert!(report.contains(words), "{words}: {report}");
    }
}

#[test]
fn a_training_that_stays_together_leaves_its_last_network() {
    let (numbers, report) = outcome(|run| count(run, wave)).unwrap();
    assert_eq!(numbers, [1800; 3]);
    assert!(!report.contains("stopped"), "{report}");
}

#[test]
fn no_number_is_an_error_as_everywhere() {
    let error = outcome(|run| count(run, lost)).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }));
    assert!(error.to_string().contains("non-finite energy difference at step 250"), "{error}");
}

#[test]
fn a_guard_that_was_saved_stops_where_it_would_have() {
    let stops = |mut guard: Guard, from: usize| {
        (from..3000).find(|i| guard.push(*i, runs_away(*i)).is_err())
    };
    let mut guard = Guard { healthy: Some(300), ..Guard::default() };
    (0..1600).for_each(|i| guard.push(i, runs_away(i)).unwrap());
    let saved = serde_json::to_string(&guard).unwrap();
    // As a state is read: first as a value.
    let value: Value = serde_json::from_str(&saved).unwrap();
    let restored: Guard = serde_json::from_value(value).unwrap();
    assert_eq!(restored, guard);
    assert_eq!(stops(restored, 1600), Some(1699));
    assert_eq!(stops(Guard::default(), 0), Some(1699));
}
