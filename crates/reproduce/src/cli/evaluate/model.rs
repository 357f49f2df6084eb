//! A trained model on test images.

use std::{cell::RefCell, path::PathBuf};

use candle_core::Tensor;
use chains_core::{
    Seed,
    chain::{PathEstimate, PathSummary},
};
use eval_metrics::parzen;
use serde::{Deserialize, Serialize};

use super::{Args, device, print, root};
use crate::{
    arrays::rows,
    cli::models::{Chains, Model, Opened, Source},
    data,
    digits::{self, View, classifier_score, halves, mnist_fid},
    error::{Error, Result},
    images::{Cut, Images},
    infusion,
    observers::Progress,
    report::{format_number, format_with_error},
    request::{Request, Scale},
    results::{Metric, save_metrics},
    walkback,
};

/// What a model can be scored by.
const METRICS: [&str; 6] = [
    "lower-bound",
    "importance-sampling",
    "bits-per-dim",
    "parzen",
    "mnist-fid",
    "classifier-score",
];
/// What has no value without a density.
const NEEDS_DENSITY: [&str; 3] = ["lower-bound", "importance-sampling", "bits-per-dim"];
/// What a model with a density is scored by when nothing is asked for.
const DEFAULT: [&str; 3] = ["lower-bound", "bits-per-dim", "parzen"];
/// The same without one.
const DEFAULT_WITHOUT_DENSITY: [&str; 3] = ["parzen", "mnist-fid", "classifier-score"];

/// How much work the scores are; what is absent depends on the metric.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Settings {
    /// Test images.
    images: Option<usize>,
    /// Chains for each image.
    chains: Option<usize>,
    /// Generated means under the Parzen window.
    samples: usize,
    /// Its standard deviation, pixels being in `[0, 1)`.
    window: f64,
    /// Steps of the generated chains; those of the training if absent.
    steps: Option<usize>,
}

impl Settings {
    fn of(request: &Request) -> Result<Self> {
        let usual = Self { images: None, chains: None, samples: 2000, window: 0.17, steps: None };
        let found: Self = request.settings(&usual)?;
        let counts =
            [("images", found.images), ("chains", found.chains), ("samples", Some(found.samples))];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Err(Error::Usage(format!("--set {key}=0: must be at least 1")));
        }
        if !found.window.is_finite() || found.window <= 0.0 {
            return Err(Error::Usage(format!("--set window={}: must be positive", found.window)));
        }
        Ok(found)
    }

    fn images(&self, metric: &str) -> usize {
        self.images.unwrap_or(if metric == "importance-sampling" { 200 } else { 1000 })
    }
}

/// Scores the model in a directory or on the hub.
pub(super) fn run(model: &str, args: &Args) -> Result<u8> {
    let source =
        Source { model: model.to_owned(), device: args.device.clone(), offline: args.offline };
    let request = Request {
        scale: Scale::Quick,
        seed: args.seed,
        device: device(&source.device)?,
        device_name: source.device.clone(),
        data: args.data.clone(),
        offline: source.offline,
        root: root(),
        models: PathBuf::new(),
        resume: false,
        overrides: args.overrides.clone(),
        trained: RefCell::default(),
    };
    match source.open(&request.device)? {
        Opened::Vera(vera) => super::vera::run(&vera, args, &request),
        Opened::Vaebm(model) => {
            on_its_own(args)?;
            super::vaebm::run(&model, args, &request)
        }
        Opened::Gan(model) => {
            on_its_own(args)?;
            super::variational_annealing::run(&model, args, &request)
        }
        Opened::Chain(model) => {
            on_its_own(args)?;
            let metrics = measure(args, &request, &model)?;
            metrics.iter().try_for_each(Metric::validate)?;
            if let Some(path) = &args.json {
                save_metrics(path, &metrics)?;
            }
            print(&table(&metrics));
            Ok(0)
        }
    }
}

/// Refuses what only models of VERA have beside them.
fn on_its_own(args: &Args) -> Result<()> {
    let beside = [("--reference", args.reference.is_some()), ("--scores", args.scores.is_some())];
    match beside.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Error::Usage(format!(
            "evaluate takes a model (here `{}`), or --reference and --samples, and not both; {option} \
             beside a model is for energies (vera)",
            args.model.as_deref().unwrap_or_default()
        ))),
    }
}

fn has_density(model: &Model) -> bool {
    match model {
        Model::Infusion(_) => true,
        Model::Walkback(model) => model.config().operator.has_density(),
    }
}

fn measure(args: &Args, request: &Request, model: &Model) -> Result<Vec<Metric>> {
    let settings = Settings::of(request)?;
    let dense = has_density(model);
    let known: Vec<_> =
        METRICS.into_iter().filter(|name| dense || !NEEDS_DENSITY.contains(name)).collect();
    let default = if dense { DEFAULT } else { DEFAULT_WITHOUT_DENSITY };
    let mut names = chosen(&args.metrics, &known, &default)?;
    let test = names.iter().map(|name| settings.images(name)).max().unwrap_or(0);
    let images = fitting(request, model.event(), test)?;
    // A density of means of dequantised pixels says nothing about bits of pixels.
    if images.pooled && names.contains(&"bits-per-dim") {
        if !args.metrics.is_empty() {
            return Err(Error::Usage(
                "--metric bits-per-dim: has no meaning for this model, whose images are means of \
                 2x2 pixels and not 8-bit pixels"
                    .into(),
            ));
        }
        names.retain(|name| *name != "bits-per-dim");
    }
    // The digit networks take 28x28 pixels.
    if images.event() != [1, 28, 28] {
        let digits = |name: &&str| ["mnist-fid", "classifier-score"].contains(name);
        if let Some(name) =
            names.iter().find(|name| digits(name)).filter(|_| !args.metrics.is_empty())
        {
            let [_, h, w] = images.event();
            return Err(Error::Usage(format!(
                "--metric {name}: the digit networks take 28x28 pixels, and this model has {h}x{w}"
            )));
        }
        names.retain(|name| !digits(name));
    }
    let scores = Scores { request, settings, model, images };
    let mut bound = None;
    let mut views = None;
    let mut metrics = Vec::new();
    for name in names {
        metrics.push(match name {
            "importance-sampling" => scores.importance_sampling()?,
            "parzen" => scores.parzen()?,
            "mnist-fid" | "classifier-score" => {
                let views: &Views = match &views {
                    Some(views) => views,
                    None => views.insert(scores.views()?),
                };
                scores.of_digits(name, views)?
            }
            // Two numbers of one estimate.
            name => {
                let bound = match bound {
                    Some(bound) => bound,
                    None => *bound.insert(scores.bound()?),
                };
                if name == "lower-bound" {
                    scores.lower_bound(&bound)
                } else {
                    scores.bits_per_dim(&bound)
                }
            }
        });
    }
    Ok(metrics)
}

/// The metrics asked for, each once, in the order of `known`.
fn chosen(
    asked: &[String],
    known: &[&'static str],
    default: &[&'static str],
) -> Result<Vec<&'static str>> {
    if asked.is_empty() {
        return Ok(default.to_vec());
    }
    if let Some(name) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(Error::Usage(format!(
            "--metric {name}: cannot be measured on this model; known are {known}"
        )));
    }
    Ok(known.iter().copied().filter(|name| asked.iter().any(|asked| asked == name)).collect())
}

/// The first `test` test images, at the size of the model: as they are, or 2x2 blocks averaged.
fn fitting(request: &Request, event: [usize; 3], test: usize) -> Result<Images> {
    let cut = Cut { train: 0, validation: 0, test, pooled: false };
    let images = Images::mnist(request, &cut)?;
    let [channels, height, width] = images.event();
    if event == [channels, height, width] {
        return Ok(images);
    }
    let even = height.is_multiple_of(2) && width.is_multiple_of(2);
    if even && event == [channels, height / 2, width / 2] {
        return Ok(Images { pooled: true, ..images });
    }
    let [c, h, w] = event;
    Err(Error::Usage(format!(
        "the model's images are {c}x{h}x{w} (channels x height x width), those of `{}` \
         {channels}x{height}x{width}; give a folder of fitting images with --data",
        images.test.name
    )))
}

/// Samples and the real digits that they are compared with, as a digit network sees them.
struct Views {
    samples: View,
    reference: View,
}

/// The scores of one model, with the streams of the experiments: the same seed gives the numbers of a
/// reproduction.
struct Scores<'a> {
    request: &'a Request,
    settings: Settings,
    model: &'a Model,
    images: Images,
}

impl Scores<'_> {
    fn bound(&self) -> Result<PathSummary> {
        let seed = self.request.stream().child("eval").child("bound");
        self.estimate("lower-bound", self.settings.chains.unwrap_or(20), seed)
    }

    fn lower_bound(&self, bound: &PathSummary) -> Metric {
        let metric = self.metric("lower-bound", bound.lower_bound, "nats");
        of_chains(metric, bound, bound.lower_bound_se)
    }

    /// A density of pixels as integer / 256 in bits, eight of which the scaling takes.
    fn bits_per_dim(&self, bound: &PathSummary) -> Metric {
        let dim = self.model.event().iter().product::<usize>() as f64;
        let nats = std::f64::consts::LN_2;
        // In the order of the experiment, which rounds differently from a product of the two.
        let value = 8.0 - bound.lower_bound / dim / nats;
        let metric = self.metric("bits-per-dim", value, "bits per dimension");
        of_chains(metric, bound, bound.lower_bound_se / dim / nats)
    }

    fn importance_sampling(&self) -> Result<Metric> {
        let chains = self.settings.chains.unwrap_or(1000);
        let seed = self.request.stream().child("eval").child("is").child("test");
        let seed = seed.indexed(chains as u64).indexed(0);
        let found = self.estimate("importance-sampling", chains, seed)?;
        let metric = self
            .metric("importance-sampling", found.importance_sampling, "nats")
            .setting("effective_sample_size", found.effective_sample_size);
        Ok(of_chains(metric, &found, found.importance_sampling_se))
    }

    fn estimate(&self, metric: &str, chains: usize, seed: Seed) -> Result<PathSummary> {
        let (n, test) = (self.settings.images(metric), &self.images.test);
        let data = self.request.stream().child("eval").child("test");
        let x = self.images.first(test, n, data, self.model.device())?;
        let mut progress = Progress::stderr();
        let found: PathEstimate = match self.model {
            Model::Infusion(model) => {
                let options = ::infusion::EstimateOptions::new(chains);
                infusion::estimates::frozen_estimate(model, &x, &options, seed, &mut progress)?
            }
            Model::Walkback(model) => {
                let options = ::walkback::EstimateOptions::new(chains);
                walkback::frozen_estimate(model, &x, &options, seed, &mut progress)?
            }
        };
        Ok(PathSummary::of(&found.weights[0]))
    }

    fn steps(&self) -> usize {
        self.settings.steps.unwrap_or_else(|| self.model.steps())
    }

    /// Means of generated chains.
    fn means(&self) -> Result<Tensor> {
        let (model, seed) = (self.model, self.request.stream().child("generate"));
        let chains = Chains { model, steps: self.steps(), seed, known: None };
        chains.run(self.settings.samples, &mut Progress::stderr(), |_, _| ())
    }

    /// As many real digits stand beside the samples, out of the whole test file.
    fn views(&self) -> Result<Views> {
        let judge = digits::open(&self.request.root, self.model.device())?.swap_remove(0);
        let test = &data::mnist(self.request)?.test;
        let [reference, _] = halves(test, self.settings.samples)?;
        let mut progress = Progress::stderr();
        let reference = View::of_set(&judge, &reference, &mut progress)?;
        let samples = View::of_floats(&judge, &self.means()?, &mut progress)?;
        Ok(Views { samples, reference })
    }

    fn of_digits(&self, name: &str, views: &Views) -> Result<Metric> {
        let metric = match name {
            "mnist-fid" => mnist_fid(&views.samples, &views.reference)?,
            _ => classifier_score(&views.samples)?,
        };
        let metric = metric.setting("steps", self.steps());
        Ok(metric.setting("seed", self.request.seed))
    }

    fn parzen(&self) -> Result<Metric> {
        let Settings { samples, window, .. } = self.settings;
        let (model, steps) = (self.model, self.steps());
        let centres = rows(&self.means()?)?;
        let n = self.settings.images("parzen");
        let points = rows(&self.images.scaled(&self.images.test, n, model.device())?)?;
        let found = parzen(centres.view(), points.view(), window)
            .map_err(|error| Error::Usage(format!("--metric parzen: {error}")))?;
        Ok(self
            .metric("parzen", found.mean, "nats")
            .std_error(found.std_error)
            .n(found.n)
            .setting("window", window)
            .setting("centres", samples)
            .setting("steps", steps))
    }

    fn metric(&self, name: &str, value: f64, unit: &str) -> Metric {
        Metric::new(name, value, unit)
            .setting("data", self.images.test.name.as_str())
            .setting("pooled", self.images.pooled)
            .setting("seed", self.request.seed)
    }
}

fn of_chains(metric: Metric, found: &PathSummary, std_error: f64) -> Metric {
    let metric =
        metric.n(found.examples).setting("k", found.chains).setting("statistics", "frozen");
    // One image has no standard error.
    if found.examples > 1 { metric.std_error(std_error) } else { metric }
}

fn table(metrics: &[Metric]) -> String {
    let line = |metric: &Metric| {
        let value = match metric.std_error {
            Some(error) => format_with_error(metric.value, error),
            None => format_number(metric.value),
        };
        let n = metric.n.map(|n| format!("  {n} images")).unwrap_or_default();
        let keys = ["k", "window", "centres", "steps"];
        let settings = keys.iter().filter_map(|key| Some((key, metric.settings.get(*key)?)));
        let settings: String = settings.map(|(key, value)| format!("  {key} {value}")).collect();
        format!("{:<20} {value} {}{n}{settings}\n", metric.name, metric.unit)
    };
    metrics.iter().map(line).collect()
}
