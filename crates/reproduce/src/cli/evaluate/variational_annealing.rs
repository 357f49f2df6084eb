//! Digits of an image GAN beside test digits.

use ::variational_annealing::GanModel;
use serde::{Deserialize, Serialize};

use super::{super::variational_annealing::bytes, Args, print};
use crate::{
    data,
    digits::{self, View, classifier_score, halves, mnist_fid, prdc},
    error::{Error, Result},
    observers::Progress,
    report::format_number,
    request::Request,
    results::{Metric, save_metrics},
};

/// What can be measured of digits; all when nothing is asked for.
const METRICS: [&str; 3] = ["mnist-fid", "classifier-score", "prdc"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Settings {
    /// Samples, and test digits beside them.
    samples: usize,
}

/// Draws digits and scores them.
///
/// # Errors
/// [`Error::Usage`] for what cannot be measured.
pub(super) fn run(model: &GanModel, args: &Args, request: &Request) -> Result<u8> {
    let Settings { samples } = request.settings(&Settings { samples: 2_000 })?;
    if samples < 10 {
        return Err(Error::Usage("--set samples: must be at least 10".into()));
    }
    if let Some(name) = args.metrics.iter().find(|name| !METRICS.contains(&name.as_str())) {
        return Err(Error::Usage(format!(
            "--metric {name}: cannot be measured on this model, which has no density; known are {}",
            METRICS.join(", ")
        )));
    }
    let [c, h, w] = model.config().discriminator.event;
    if [c, h, w] != [1, 28, 28] {
        return Err(Error::Usage(format!(
            "this model is of images {c}x{h}x{w}; only digits, 1x28x28, are scored here: draw samples and \
             compare them with --reference and --samples"
        )));
    }
    let metrics = measure(model, args, request, samples)?;
    metrics.iter().try_for_each(Metric::validate)?;
    if let Some(path) = &args.json {
        save_metrics(path, &metrics)?;
    }
    let line = |metric: &Metric| {
        let value = format_number(metric.value);
        let text = format!("{:<20} {value} {}  {samples} images", metric.name, metric.unit);
        text.trim_end().to_owned() + "\n"
    };
    print(&metrics.iter().map(line).collect::<String>());
    Ok(0)
}

fn measure(
    model: &GanModel,
    args: &Args,
    request: &Request,
    samples: usize,
) -> Result<Vec<Metric>> {
    let judge = digits::open(&request.root, &request.device)?.swap_remove(0);
    let [reference, _] = halves(&data::mnist(request)?.test, samples)?;
    let mut progress = Progress::stderr();
    let drawn = bytes(model, samples, request.stream().child("generate"))?;
    let view = View::of_bytes(&judge, &drawn, &mut progress)?;
    let reference = View::of_set(&judge, &reference, &mut progress)?;
    let mut metrics = Vec::new();
    for name in METRICS {
        if !args.metrics.is_empty() && !args.metrics.iter().any(|asked| asked == name) {
            continue;
        }
        match name {
            "mnist-fid" => metrics.push(mnist_fid(&view, &reference)?),
            "classifier-score" => metrics.push(classifier_score(&view)?),
            _ => metrics.extend(prdc(&view, &reference)?),
        }
    }
    let told = |metric: Metric| {
        metric
            .setting("quantisation", "127.5 x + 127.5, clipped and cut")
            .setting("seed", request.seed)
    };
    Ok(metrics.into_iter().map(told).collect())
}
