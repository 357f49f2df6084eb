//! A model of VERA on a table or on images: its classes, and how likely it finds each example.

use std::path::Path;

use eval_metrics::{Bootstrap, auroc, calibration::calibration_from_logits};
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::{
    super::vera::{Examples, Vera},
    Args, print,
};
use crate::{
    arrays::score,
    error::{Error, Result},
    report::{format_number, format_with_error},
    request::Request,
    results::{Metric, save_metrics, write_atomic},
    vera::{Scores, csv_line},
};

/// What can be measured, in the order of the output.
const METRICS: [&str; 4] = ["accuracy", "ece", "log-likelihood", "auroc"];

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Settings {
    bins: usize,
    resamples: usize,
}

/// Scores every example of `--data`, and measures what the data allow.
pub(super) fn run(vera: &Vera, args: &Args, request: &Request) -> Result<u8> {
    let settings: Settings = request.settings(&Settings { bins: 15, resamples: 1000 })?;
    let seed = request.stream().child("eval");
    if let Some(name) = args.metrics.iter().find(|name| !METRICS.contains(&name.as_str())) {
        return Err(Error::Usage(format!(
            "--metric {name}: cannot be measured on this model; known are {}",
            METRICS.join(", ")
        )));
    }
    let examples = match &args.data {
        Some(path) => vera.read(path, seed.child("data"))?,
        None => vera.usual(request, seed.child("data"))?,
    };
    let inside = args.reference.as_deref().map(|path| vera.read(path, seed.child("reference")));
    let inside = inside.transpose()?;
    let scores = Scores::of(&vera.model, &examples.x)?;
    let found = Found { vera, request, settings, examples: &examples, scores: &scores };
    let metrics = found.measure(&args.metrics, inside.as_ref())?;
    metrics.iter().try_for_each(Metric::validate)?;
    if let Some(path) = &args.scores {
        found.save(path)?;
    }
    if let Some(path) = &args.json {
        save_metrics(path, &metrics)?;
    }
    print(&found.table(&metrics));
    Ok(0)
}

struct Found<'a> {
    vera: &'a Vera,
    request: &'a Request,
    settings: Settings,
    examples: &'a Examples,
    scores: &'a Scores,
}

impl Found<'_> {
    /// The metrics asked for, or all that can be had.
    fn measure(&self, asked: &[String], inside: Option<&Examples>) -> Result<Vec<Metric>> {
        let labelled = self.examples.labels.iter().flatten().count();
        let classes = self.vera.model.config().energy.outputs() > 1;
        let normalised = self.vera.model.config().energy.is_normalised();
        let possible = |name: &str| match name {
            "accuracy" | "ece" if !classes => Err("this model has no classes"),
            "accuracy" | "ece" if labelled == 0 => {
                Err("no example has a class that the model knows")
            }
            "log-likelihood" if !normalised => {
                Err("this model knows its log density up to a constant only; --scores writes that")
            }
            "auroc" if inside.is_none() => {
                Err("give in-distribution examples with --reference PATH; --data holds the others")
            }
            _ => Ok(()),
        };
        let mut metrics = Vec::new();
        for name in METRICS {
            let wanted = asked.iter().any(|asked| asked == name);
            match possible(name) {
                Ok(()) if wanted || asked.is_empty() => match (name, inside) {
                    ("accuracy", _) => metrics.push(self.accuracy(labelled)),
                    ("ece", _) => metrics.push(self.ece()?),
                    ("log-likelihood", _) => metrics.push(self.log_likelihood()),
                    (_, Some(inside)) => metrics.extend(self.separation(inside)?),
                    _ => {}
                },
                Err(reason) if wanted => {
                    return Err(Error::Usage(format!("--metric {name}: {reason}")));
                }
                _ => {}
            }
        }
        Ok(metrics)
    }

    fn metric(&self, name: &str, value: f64, unit: &str) -> Metric {
        Metric::new(name, value, unit).setting("data", self.examples.source.as_str())
    }

    fn accuracy(&self, n: usize) -> Metric {
        let answers = self.scores.answers().into_iter().zip(&self.examples.labels);
        let right = answers.filter(|((class, _), label)| **label == Some(*class as u32)).count();
        let share = right as f64 / n as f64;
        let error = (share * (1.0 - share) / n as f64).sqrt();
        self.metric("accuracy", share, "share").std_error(error).n(n)
    }

    fn ece(&self) -> Result<Metric> {
        let labels = &self.examples.labels;
        let rows: Vec<usize> = (0..labels.len()).filter(|&i| labels[i].is_some()).collect();
        let logits = self.scores.logits.select(Axis(0), &rows);
        let labels: Vec<u32> = labels.iter().flatten().copied().collect();
        let Settings { bins, resamples } = self.settings;
        let bootstrap = Bootstrap { resamples, level: 0.95, seed: self.request.seed };
        let of = score(calibration_from_logits(logits.view(), &labels, bins, bootstrap))?;
        Ok(self
            .metric("ece", of.ece, "share")
            .n(of.n)
            .setting("bins", bins)
            .setting("interval_low", of.ece_interval.0)
            .setting("interval_high", of.ece_interval.1))
    }

    /// In the space of the model: of flows on pixels that of logits.
    fn log_likelihood(&self) -> Metric {
        let values = &self.scores.log_density;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let metric = self.metric("log-likelihood", mean, "nats").n(values.len());
        if values.len() < 2 {
            return metric;
        }
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        metric.std_error((square / (n - 1.0) / n).sqrt())
    }

    /// How well three scores tell in-distribution examples, which are positive, from the others.
    fn separation(&self, inside: &Examples) -> Result<Vec<Metric>> {
        let reference = Scores::of(&self.vera.model, &inside.x)?;
        let mut metrics = Vec::new();
        for (name, of) in SCORES {
            // Of a single output every probability is one.
            if name == "max-probability" && self.scores.logits.ncols() < 2 {
                continue;
            }
            let found = score(auroc(&of(&reference), &of(self.scores)))?;
            let mut metric = self.metric("auroc", found.value, "");
            if let Some(error) = found.std_error {
                metric = metric.std_error(error);
            }
            metrics.push(
                metric
                    .n(found.n_positive + found.n_negative)
                    .setting("score", name)
                    .setting("reference", inside.source.as_str())
                    .setting("n_reference", found.n_positive)
                    .setting("fpr_at_95_tpr", found.fpr_at_95_tpr),
            );
        }
        Ok(metrics)
    }

    /// A line an example.
    fn save(&self, path: &Path) -> Result<()> {
        let classes = self.vera.classes();
        let mut header: Vec<String> = ["example", "label", "predicted"].map(String::from).into();
        header.extend(SCORES.iter().map(|(name, _)| (*name).to_owned()));
        header.extend(classes.iter().map(|class| format!("probability of {class}")));
        let mut text = csv_line(&header);
        let values = SCORES.map(|(_, of)| of(self.scores));
        let name = |class: usize| classes.get(class).cloned().unwrap_or_default();
        for (i, (class, _)) in self.scores.answers().into_iter().enumerate() {
            let label = self.examples.labels[i].map(|label| name(label as usize));
            let mut cells =
                vec![self.examples.names[i].clone(), label.unwrap_or_default(), name(class)];
            cells.extend(values.iter().map(|values| format!("{:.6}", values[i])));
            let probabilities = self.scores.probabilities.row(i);
            cells.extend(probabilities.iter().map(|p| format!("{p:.6}")));
            text += &csv_line(&cells);
        }
        write_atomic(path, text.as_bytes())
    }

    fn table(&self, metrics: &[Metric]) -> String {
        let Examples { names, source, foreign, .. } = self.examples;
        let mut text = format!("{} examples of {source}\n", names.len());
        if *foreign > 0 {
            text += &format!("{foreign} have a class that the model does not know\n");
        }
        for (name, of) in SCORES {
            let mut values = of(self.scores);
            values.sort_by(f64::total_cmp);
            let at = |share: f64| {
                let index = (share * values.len().saturating_sub(1) as f64).round() as usize;
                values.get(index).map_or_else(String::new, |value| format_number(*value))
            };
            text += &format!(
                "{name:<20} median {}  (5 % below {}, 5 % above {})\n",
                at(0.5),
                at(0.05),
                at(0.95)
            );
        }
        for metric in metrics {
            let value = match metric.std_error {
                Some(error) => format_with_error(metric.value, error),
                None => format_number(metric.value),
            };
            let of = metric.settings.get("score").map(crate::report::plain).unwrap_or_default();
            let n = metric.n.map(|n| format!("  {n} examples")).unwrap_or_default();
            text += format!("{:<20} {value} {}{n}  {of}", metric.name, metric.unit).trim_end();
            text.push('\n');
        }
        text
    }
}

type Of = fn(&Scores) -> Vec<f64>;
/// Larger where an example is more like the training data.
const SCORES: [(&str, Of); 3] = [
    ("log-density", |scores| scores.log_density.clone()),
    ("max-probability", |scores| scores.answers().into_iter().map(|(_, p)| p).collect()),
    ("minus-gradient-norm", |scores| scores.steepness.iter().map(|norm| -norm).collect()),
];
