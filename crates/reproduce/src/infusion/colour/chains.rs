//! Figures 8 and 9: the chain that is infused with an image, and the chain that makes one up.

use candle_core::Tensor;
use chains_core::nn::Statistics;
use infusion::{InfusionModel, SampleOptions, generate_from};
use serde::{Deserialize, Serialize};

use super::{Set, Settings, trained};
use crate::{
    arrays::{extremes, finite, mean_square},
    error::Result,
    images::Images,
    plots::{Plot, Series},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
};

/// What is shown of the chains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    /// Test images whose infused chains are shown, and generated chains.
    chains: usize,
}

fn resolve(request: &Request, set: Set) -> Result<Settings<Shown>> {
    Settings::resolve(request, set, Shown { chains: request.scale.pick(4, 10, 10) })
}

pub(super) fn settings(request: &Request, set: Set) -> Result<toml::Table> {
    resolve(request, set)?.table()
}

pub(super) fn run(run: &mut Run<'_>, set: Set) -> Result<()> {
    let settings = resolve(run.request, set)?;
    let (images, trained) = trained(run, set, &settings.train)?;
    let n = settings.shown.chains;
    infused(run, &images, &trained.model, n)?;
    generated(run, &images, &trained.model, n, &settings.sampling())
}

/// Chains of test images under the model's own statistics, the image itself in the last column.
fn infused(run: &mut Run<'_>, images: &Images, model: &InfusionModel, n: usize) -> Result<()> {
    let seed = run.request.stream().child("infused-chains");
    let x = images.first(&images.test, n, seed.child("test"), model.device())?;
    let (operator, prior) = (model.operator(Statistics::Running), model.prior()?);
    let chain = model.infusion_chain(&operator, &prior);
    let mut columns = chain.states(&x, &mut seed.host_noise())?;
    let all_finite = columns.iter().map(finite).collect::<Result<Vec<_>>>()?;
    run.check(Check::new(
        "every state of the infused chains is finite",
        all_finite.iter().all(|finite| *finite),
        format!("{n} chains of {} states", columns.len()),
    ));
    nearer(run, &columns, &x)?;
    columns.push(x);
    run.heading("Infused chains");
    let caption = "Each row a test image: the states z_0 to z_(T-1) of its infusion chain, then the \
                   image itself.";
    run.chains("infused", images.event(), &columns, caption)
}

/// How the states come nearer to their targets.
fn nearer(run: &mut Run<'_>, states: &[Tensor], x: &Tensor) -> Result<()> {
    // Every chain beside the target of another one.
    let n = x.dim(0)?;
    let others = Tensor::cat(&[x.narrow(0, 1, n - 1)?, x.narrow(0, 0, 1)?], 0)?;
    let distance = |target: &Tensor| -> Result<Vec<f64>> {
        states.iter().map(|state| mean_square(state, target)).collect()
    };
    let (own, other) = (distance(x)?, distance(&others)?);
    let last = own.len() - 1;
    for (name, value) in [("first", own[0]), ("last", own[last])] {
        run.metric(
            Metric::new(format!("squared_distance_to_target_{name}"), value, "per pixel").n(n),
        );
    }
    if n > 1 && last > 0 {
        run.check(Check::new(
            "infused chains end nearer to their own targets than to others",
            own[last] < other[last],
            format!("{:.4} against {:.4} per pixel", own[last], other[last]),
        ));
    }
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "infused chains end nearer to their targets than they began",
            own[last] < own[0],
            format!("{:.4} against {:.4} per pixel", own[last], own[0]),
        ));
    }
    let mut plot = Plot::new("Distance of infused states", "t", "mean squared distance per pixel");
    let line = |values: Vec<f64>| values.into_iter().enumerate().map(|(t, v)| (t as f64, v));
    plot.series(Series::line("to their own targets", line(own)));
    plot.series(Series::line("to other test images", line(other)));
    let caption = "Mean squared distance of z_t to the image that is infused, and to another one.";
    run.plot("distance", &plot, caption)
}

/// Chains from the prior: states and the means they are drawn around. Column t shows `z_t`, as on
/// the sheet of the infused chains.
fn generated(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    n: usize,
    options: &SampleOptions,
) -> Result<()> {
    let mut noise = run.request.stream().child("chains").host_noise();
    let prior = model.prior()?;
    let start = prior.sample(n, &mut noise)?;
    let mut states = vec![start.clone()];
    let mut means = vec![prior.batch(n)?.mean().clone()];
    generate_from(model, start, options, &mut noise, |_, generated| {
        states.push(generated.position.clone());
        means.push(generated.mean.clone());
        Ok(())
    })?;
    let (low, high) = extremes(&Tensor::cat(&means, 0)?)?;
    run.check(Check::new(
        "generated means are pixels",
        low >= 0.0 && high <= 1.0 && finite(&Tensor::cat(&states, 0)?)?,
        format!("from {low:.3} to {high:.3}; states finite"),
    ));
    run.heading("Generated chains");
    let caption = "Each row a chain from the prior: z_0, then the drawn states after every step.";
    run.chains("generated", images.event(), &states, caption)?;
    let caption = "The same chains: the means that the states were drawn around, that of the prior \
                   first.";
    run.chains("generated-means", images.event(), &means, caption)
}
