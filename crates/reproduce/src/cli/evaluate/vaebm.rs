//! Samples of a model of VAEBM beside test digits.

use ::vaebm::VaebmModel;
use serde::{Deserialize, Serialize};

use super::{super::vaebm, Args, print};
use crate::{
    data,
    digits::{self, View, classifier_score, halves, mnist_fid},
    error::{Error, Result},
    observers::Progress,
    report::format_number,
    request::Request,
    results::{Metric, save_metrics},
};

/// What can be measured; both when nothing is asked for.
const METRICS: [&str; 2] = ["mnist-fid", "classifier-score"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Settings {
    /// Samples, and test digits beside them.
    samples: usize,
    /// Steps of a chain; none shows the autoencoder.
    steps: usize,
}

/// Draws samples and scores them.
pub(super) fn run(model: &VaebmModel, args: &Args, request: &Request) -> Result<u8> {
    let usual = Settings { samples: 2_000, steps: model.config().chains.steps };
    let settings: Settings = request.settings(&usual)?;
    if settings.samples < 2 {
        return Err(Error::Usage("--set samples: must be at least 2".into()));
    }
    if let Some(name) = args.metrics.iter().find(|name| !METRICS.contains(&name.as_str())) {
        return Err(Error::Usage(format!(
            "--metric {name}: cannot be measured on this model, which knows its density up to a constant \
             only; known are {}",
            METRICS.join(", ")
        )));
    }
    if !vaebm::is_of_digits(model) {
        let [c, h, w] = vaebm::event(model);
        return Err(Error::Usage(format!(
            "this model is of images {c}x{h}x{w}; only framed digits, 1x32x32, are scored here: draw \
             samples and compare them with --reference and --samples"
        )));
    }
    let metrics = measure(model, args, request, settings)?;
    metrics.iter().try_for_each(Metric::validate)?;
    if let Some(path) = &args.json {
        save_metrics(path, &metrics)?;
    }
    let line = |metric: &Metric| {
        let Settings { samples, steps } = settings;
        let value = format_number(metric.value);
        let text =
            format!("{:<20} {value} {}  {samples} images  steps {steps}", metric.name, metric.unit);
        text.trim_end().to_owned() + "\n"
    };
    print(&metrics.iter().map(line).collect::<String>());
    Ok(0)
}

fn measure(
    model: &VaebmModel,
    args: &Args,
    request: &Request,
    settings: Settings,
) -> Result<Vec<Metric>> {
    let Settings { samples, steps } = settings;
    let judge = digits::open(&request.root, &request.device)?.swap_remove(0);
    let [reference, _] = halves(&data::mnist(request)?.test, samples)?;
    let mut progress = Progress::stderr();
    let chains = vaebm::chains(model, Some(steps));
    // The stream of the experiment: the same seed gives its numbers again.
    let seed = request.stream().child("generate");
    let bytes = vaebm::digits(model, samples, chains, seed, &mut progress)?;
    let view = View::of_bytes(&judge, &bytes, &mut progress)?;
    let mut metrics = Vec::new();
    for name in METRICS {
        if !args.metrics.is_empty() && !args.metrics.iter().any(|asked| asked == name) {
            continue;
        }
        let metric = match name {
            "mnist-fid" => {
                let reference = View::of_set(&judge, &reference, &mut progress)?;
                mnist_fid(&view, &reference)?
            }
            _ => classifier_score(&view)?,
        };
        metrics.push(
            metric
                .setting("quantisation", "floor(256 x), clipped to 0..255")
                .setting("steps", steps)
                .setting("step_size", chains.step_size)
                .setting("potential", model.config().potential.to_string())
                .setting("seed", request.seed),
        );
    }
    Ok(metrics)
}
