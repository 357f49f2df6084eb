//! What samples in the plane are worth, and the bound of test points.

use candle_core::{Device, Tensor};
use chains_core::{
    Seed,
    chain::{PathSummary, Step, TransitionOperator},
    noise,
    train::{Event, Observer},
};
use ndarray::{Array2, s};
use walkback::{
    Conditional, EstimateOptions, SampleOptions, Statistics, WalkbackChain, WalkbackModel,
    estimate, generate_from, heat,
};

use super::{super::examples::Points, geometry::Spread};
use crate::{
    arrays::{finite, rows, score},
    error::{Error, Result},
    results::Metric,
    run::Run,
    walkback::examples::Split,
};

/// Fresh sets of data that test points are compared with for the floor.
const FLOORS: u64 = 10;

/// Chains of a model from its start, and what they are compared with.
pub(in crate::walkback) struct Scored {
    /// Draws of `p*`, `(n, 2)`.
    pub(in crate::walkback) start: Array2<f32>,
    /// The last states.
    pub(in crate::walkback) samples: Array2<f32>,
    /// The means that they were drawn around.
    pub(in crate::walkback) means: Array2<f32>,
    /// Test points.
    pub(in crate::walkback) test: Array2<f32>,
    /// Energy distance of the samples to the test points.
    pub(in crate::walkback) energy: f64,
    /// That of the start.
    pub(in crate::walkback) energy_start: f64,
    /// That of fresh data, as many as samples: mean over ten sets.
    pub(in crate::walkback) floor: f64,
    /// Standard deviation of one such set.
    pub(in crate::walkback) floor_deviation: f64,
    /// Energy distance of heated test points to the start.
    pub(in crate::walkback) gap: f64,
}

impl Scored {
    /// Runs `n` chains as the model was trained and compares their ends with the test points.
    ///
    /// # Errors
    /// [`Error::Usage`] if a chain is no longer finite.
    pub(in crate::walkback) fn of(
        model: &WalkbackModel,
        points: &Points,
        n: usize,
        seed: Seed,
    ) -> Result<Self> {
        let mut noise = seed.child("samples").host_noise();
        let start = model.start()?.sample(n, &mut noise)?;
        let options = SampleOptions::of(model);
        let last = generate_from(model, start.clone(), &options, &mut noise, |_, _| Ok(()))?;
        if !finite(&last.position)? {
            return Err(Error::Usage("samples are no longer finite numbers".into()));
        }
        let gap = walk_gap(model, points.part(Split::Test), seed)?;
        let test = rows(points.part(Split::Test))?;
        let energy = |set: &Array2<f32>| -> Result<f64> {
            Ok(score(eval_metrics::energy_distance(test.view(), set.view()))?.value)
        };
        let (start, samples) = (rows(&start)?, rows(&last.position)?);
        let (energy_of_samples, energy_start) = (energy(&samples)?, energy(&start)?);
        let floors = (0..FLOORS)
            .map(|index| {
                let fresh =
                    Points::new(points.name(), [1, 1, n], seed.child("floor").indexed(index))?;
                energy(&rows(fresh.part(Split::Test))?)
            })
            .collect::<Result<Vec<_>>>()?;
        let floor = floors.iter().sum::<f64>() / FLOORS as f64;
        let scatter = floors.iter().map(|value| (value - floor).powi(2)).sum::<f64>();
        let floor_deviation = (scatter / (FLOORS - 1) as f64).sqrt();
        Ok(Self {
            means: rows(&last.mean)?,
            energy: energy_of_samples,
            energy_start,
            floor,
            floor_deviation,
            gap,
            start,
            samples,
            test,
        })
    }

    /// Adds energy distances and spreads to the results, their names ending as given.
    pub(in crate::walkback) fn metrics(&self, run: &mut Run<'_>, ending: &str) {
        let n = self.samples.nrows();
        for (name, value) in [
            ("samples", self.energy),
            ("start", self.energy_start),
            ("data", self.floor),
            ("data_deviation", self.floor_deviation),
        ] {
            let name = format!("energy_distance_{name}{ending}");
            let metric = Metric::new(name, value, "").n(n);
            run.metric(metric.setting("test_points", self.test.nrows()));
        }
        let name = format!("energy_distance_heated_to_start{ending}");
        run.metric(Metric::new(name, self.gap, "").n(self.test.nrows()));
        for (set, rows) in [("samples", &self.samples), ("data", &self.test)] {
            let [xx, xy, yy] = Spread::of(rows.view()).covariance;
            for (axes, value) in [("xx", xx), ("xy", xy), ("yy", yy)] {
                let name = format!("covariance_{axes}_{set}{ending}");
                run.metric(Metric::new(name, value, "").n(rows.nrows()));
            }
        }
    }

    /// No data come significantly nearer to the test points: three standard deviations below what
    /// fresh sets reach. Samples below that would be copies.
    pub(in crate::walkback) fn least_energy(&self) -> f64 {
        self.floor - 3.0 * self.floor_deviation
    }

    /// The smaller principal variance of the samples over that of the data: near zero for samples on
    /// a point or a line.
    pub(in crate::walkback) fn narrowest(&self) -> f64 {
        let [samples, data] = [&self.samples, &self.test].map(|rows| Spread::of(rows.view()));
        samples.principal()[0] / data.principal()[0]
    }
}

/// The first points of a part as rows.
pub(in crate::walkback) fn head(rows: &Array2<f32>, n: usize) -> Array2<f32> {
    rows.slice(s![..n.min(rows.nrows()), ..]).to_owned()
}

/// The test points that a picture or a bound begins from, the first ones, `(n, 2)`.
///
/// # Errors
/// Of the tensor library.
pub(in crate::walkback) fn test_points(
    points: &Points,
    n: usize,
    device: &Device,
) -> Result<Tensor> {
    let part = points.part(Split::Test);
    Ok(part.narrow(0, 0, n.min(part.dims()[0]))?.to_device(device)?)
}

/// The bound and the importance-sampling estimate of rows with frozen statistics, as a bound
/// needs; shows progress.
///
/// # Errors
/// Of the estimator or the observer.
pub(in crate::walkback) fn frozen_bound(
    model: &WalkbackModel,
    x: &Tensor,
    chains: usize,
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<PathSummary> {
    let (heat, cool) = (model.operator(Statistics::Heating), model.operator(Statistics::Cooling));
    let start = model.start()?;
    let heating = model.heating(0);
    let chain = WalkbackChain { heat: &heat, cool: &cool, start: &start, heating };
    let (mut noise, total) = (noise::of_device(seed, model.device()), 1000);
    observer.observe(&Event::Started { stage: "bound", step: 0, total: Some(total) })?;
    let options = EstimateOptions::new(chains);
    let found = estimate(&chain, x, &options, &mut *noise, &mut |share| {
        let step = (share * total as f64) as usize;
        observer.observe(&Event::Scalars { step, values: &[] })
    })?;
    observer.observe(&Event::Finished { step: total })?;
    Ok(PathSummary::of(&found.weights[0]))
}

/// Bound and estimate as metrics, their names ending as given.
pub(in crate::walkback) fn bound_metrics(run: &mut Run<'_>, found: &PathSummary, ending: &str) {
    run.metric(
        Metric::new(format!("lower_bound_test{ending}"), found.lower_bound, "nats")
            .std_error(found.lower_bound_se)
            .n(found.examples)
            .setting("k", found.chains),
    );
    run.metric(
        Metric::new(format!("importance_sampling_test{ending}"), found.importance_sampling, "nats")
            .std_error(found.importance_sampling_se)
            .n(found.examples)
            .setting("k", found.chains)
            .setting("effective_sample_size", found.effective_sample_size),
    );
}

/// Energy distance of the ends of walks from these states to as many draws of the start: near zero
/// where heating forgets the data, as generation supposes.
///
/// # Errors
/// Of the chains, or if an end is no longer finite.
pub(in crate::walkback) fn walk_gap(model: &WalkbackModel, x: &Tensor, seed: Seed) -> Result<f64> {
    let mut noise = seed.child("gap").host_noise();
    let x = x.to_device(model.device())?;
    let end = heat(model, &x, Statistics::Heating, &mut noise, |_, _| Ok(()))?.position;
    let start = model.start()?.sample(x.dims()[0], &mut noise)?;
    let (start, end) = (rows(&start)?, rows(&end)?);
    Ok(score(eval_metrics::energy_distance(start.view(), end.view()))?.value)
}

/// Root of the mean variance of a transition at temperature 1 from these states: what a step moves
/// by. An operator that learnt to stand still has next to none.
///
/// # Errors
/// Of the tensor library.
pub(in crate::walkback) fn step_deviation(model: &WalkbackModel, x: &Tensor) -> Result<f64> {
    let operator = model.operator(Statistics::Cooling);
    match operator.conditional(x, Step::at(0))? {
        Conditional::Gaussian(law) => {
            Ok(f64::from(law.variance().mean_all()?.to_scalar::<f32>()?).sqrt())
        }
        _ => Ok(0.0),
    }
}
