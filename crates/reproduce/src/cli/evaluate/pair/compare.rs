//! Scores of features: both sides are computed as far as they are needed, then compared.

use std::{collections::BTreeMap, path::Path};

use chains_core::{Seed, train::Observer};
use datasets::arrays::{Element, ExtractorNote, FeatureStatistics};
use eval_metrics::{Real, networks::FeatureExtractor};
use serde_json::Value;

use super::{
    Found, Job, classes,
    extractors::{Extractors, Features},
    frechet,
    input::{Data, Input},
    origin,
    plan::{Given, Score},
    report,
    scored::Scored,
    scores::{self, Context, Half},
    side::{Need, Pass, Side},
    version,
};
use crate::error::{Error, Result};

/// A comparison, its network open.
struct Comparison<'a> {
    job: &'a Job<'a>,
    given: &'a Given<'a>,
    scores: &'a [Score],
    network: Option<&'a dyn FeatureExtractor>,
}

/// Computes the scores and stores the statistics.
pub(super) fn run(
    job: &Job<'_>,
    given: &Given<'_>,
    scores: &[Score],
    networks: &dyn Extractors,
    observer: &mut dyn Observer,
) -> Result<Found> {
    let inputs: Vec<&Input> = given.reference.into_iter().chain(given.samples).collect();
    let images = inputs.iter().any(|input| matches!(input.data, Data::Images(_)));
    let network = match given.features {
        Features::None => None,
        features => images.then(|| networks.open(features)).transpose()?,
    };
    let comparison = Comparison { job, given, scores, network: network.as_deref() };
    comparison.check()?;
    let double = |input: &&Input| matches!(&input.data, Data::Rows(rows) if rows.info.element == Element::F64);
    if inputs.iter().any(double) {
        comparison.measure::<f64>(observer)
    } else {
        comparison.measure::<f32>(observer)
    }
}

impl Comparison<'_> {
    /// Widths and origins, before anything is computed.
    fn check(&self) -> Result<()> {
        let (Some(reference), Some(samples)) = (self.given.reference, self.given.samples) else {
            return Ok(());
        };
        let (real, fake) = (self.note(reference), self.note(samples));
        origin::check((reference, real.as_ref()), (samples, fake.as_ref()))?;
        let widths = [reference, samples].map(|input| self.width(input));
        if self.scores != [Score::Modes] && widths[0] != widths[1] {
            return Err(Error::Usage(format!(
                "{} has {} features, {} has {}; features of one kind are equally many",
                reference.name, widths[0], samples.name, widths[1]
            )));
        }
        Ok(())
    }

    fn note(&self, input: &Input) -> Option<ExtractorNote> {
        origin::of(input, self.network, self.given.features)
    }

    /// Features of a side.
    fn width(&self, input: &Input) -> usize {
        match &input.data {
            Data::Images(images) => self.network.map_or(images.pixels(), |network| network.dim()),
            Data::Rows(rows) => rows.info.row_len(),
            Data::Statistics(statistics) => statistics.moments.width(),
            Data::Scores(_) | Data::Predictions(_) => 0,
        }
    }

    /// What the scores need of the reference and of the samples.
    fn needs(&self) -> [Need; 2] {
        let computed = |input: &Option<&Input>| {
            input.is_some_and(|input| !matches!(input.data, Data::Statistics(_)))
        };
        let both = [self.given.reference, self.given.samples];
        let fewest = both.iter().flatten().filter_map(|input| input.n()).min().unwrap_or(0);
        let width = both.iter().flatten().map(|input| self.width(input)).max().unwrap_or(0);
        let frechet = self.scores.contains(&Score::Frechet);
        // Few rows need no covariance: the root is that of a product of the rows themselves.
        let thin = frechet && both.iter().all(computed) && fewest < width;
        let extrapolated = frechet && self.job.settings.extrapolate.is_some();
        let rows = thin || extrapolated || self.scores.iter().any(|score| score.needs_rows());
        let moments = frechet && !thin;
        [
            Need { rows, moments: moments || self.job.save.is_some(), logits: false },
            Need { rows, moments, logits: self.scores.contains(&Score::Classifier) },
        ]
    }

    fn measure<T: Real>(&self, observer: &mut dyn Observer) -> Result<Found> {
        let [real_need, fake_need] = self.needs();
        let real = self.half::<T>("reference", self.given.reference, real_need, observer)?;
        if let (Some(path), Some(Half::Rows(side)), Some(input)) =
            (self.job.save, &real, self.given.reference)
        {
            self.save(path, input, side)?;
        }
        let fake = self.half::<T>("samples", self.given.samples, fake_need, observer)?;
        let context = self.context([real.as_ref(), fake.as_ref()]);
        let mut scored = Vec::new();
        for &score in self.scores {
            scored.extend(match (score, &real, &fake) {
                (Score::Classifier, _, Some(Half::Rows(side))) => {
                    let logits = side.logits.as_ref();
                    let one = logits.map(|logits| classes::diversity(&context, logits));
                    one.transpose()?.into_iter().collect()
                }
                (Score::Modes, ..) => self.modes(&context, observer)?,
                (_, Some(real), Some(fake)) => scores::score(&context, score, real, fake)?,
                _ => Vec::new(),
            });
        }
        let sides = [("reference", self.given.reference), ("samples", self.given.samples)];
        let notes = self.notes([real.as_ref(), fake.as_ref()]);
        Ok(report(&sides, &self.describe(), scored, &notes))
    }

    fn modes(&self, context: &Context<'_>, observer: &mut dyn Observer) -> Result<Vec<Scored>> {
        let data = self.given.samples.map(|input| &input.data);
        let (Some(Data::Images(images)), Some(network)) = (data, self.network) else {
            return Err(Error::Usage("--metric modes: needs images and a network".into()));
        };
        classes::modes(context, images, (network, self.job.device), self.batch(), observer)
    }

    /// Computes a side, or takes its statistics; nothing if no score looks at its features.
    fn half<'b, T: Real>(
        &self,
        stage: &str,
        input: Option<&'b Input>,
        need: Need,
        observer: &mut dyn Observer,
    ) -> Result<Option<Half<'b, T>>> {
        let Some(input) = input else {
            return Ok(None);
        };
        if let Data::Statistics(statistics) = &input.data {
            return Ok(Some(Half::Statistics(statistics)));
        }
        if need == Need::default() {
            return Ok(None);
        }
        let pass = Pass {
            stage,
            need,
            extractor: self.network,
            device: self.job.device,
            batch: self.batch(),
            seed: Seed::new(self.job.seed).child("floor"),
        };
        Ok(Some(Half::Rows(Box::new(pass.run(input, observer)?))))
    }

    fn batch(&self) -> usize {
        self.job.settings.batch.unwrap_or(self.given.features.batch())
    }

    /// Stores the statistics of the reference with its floor.
    fn save<T: Real>(&self, path: &Path, input: &Input, side: &Side<T>) -> Result<()> {
        let Some(moments) = &side.moments else {
            return Ok(());
        };
        let mut notes = BTreeMap::from([
            ("source".to_owned(), input.name.clone()),
            ("version".to_owned(), version().to_owned()),
        ]);
        if let Data::Images(images) = &input.data {
            let facts = images.facts.iter();
            notes.extend(facts.map(|(key, value)| ((*key).to_owned(), text(value))));
        }
        let floor = frechet::halves(side)
            .map_err(|error| Error::Usage(format!("{}: {error}", input.name)))?;
        if let Some((value, n)) = floor {
            notes.insert("floor".into(), value.to_string());
            notes.insert("floor_n".into(), n.to_string());
        }
        let statistics = FeatureStatistics {
            mean: moments.mean().to_vec(),
            covariance: moments.covariance().iter().copied().collect(),
            n: Some(side.n),
            extractor: self.note(input),
            notes,
        };
        statistics.save(path).map_err(Error::from)
    }

    /// Settings of every metric.
    fn context<T>(&self, halves: [Option<&Half<'_, T>>; 2]) -> Context<'_> {
        let mut common = super::plain_context(self.job, self.given).common;
        common.insert("features".into(), self.given.features.name().into());
        let notes = [self.given.samples, self.given.reference].map(|i| i.map(|i| self.note(i)));
        if let Some(note) = notes.iter().flatten().flatten().next() {
            common.insert("extractor".into(), note.id.as_str().into());
            common.insert("preprocessing".into(), note.preprocessing.as_str().into());
        }
        for ((side, input), half) in self.sides().into_iter().zip(halves) {
            let Some(input) = input else {
                continue;
            };
            match &input.data {
                Data::Images(images) => {
                    let facts = images.facts.iter();
                    common
                        .extend(facts.map(|(key, value)| (format!("{side}_{key}"), value.clone())));
                    common.insert("quantisation".into(), "8 bits, as stored".into());
                }
                Data::Statistics(statistics) if statistics.stored.extractor.is_none() => {
                    common.insert(format!("{side}_extractor"), "unstated".into());
                    if side == "reference" {
                        common.insert("n_real".into(), "unstated".into());
                    }
                }
                _ => {}
            }
            if let Some(Half::Rows(computed)) = half {
                let seconds = (computed.seconds * 1e3).round() / 1e3;
                common.insert(format!("{side}_seconds"), seconds.into());
                if computed.constant > 0 {
                    common.insert(format!("{side}_constant_features"), computed.constant.into());
                }
            }
        }
        Context { common, ..super::plain_context(self.job, self.given) }
    }

    /// What concerns all scores.
    fn notes<T>(&self, halves: [Option<&Half<'_, T>>; 2]) -> Vec<String> {
        let mut notes = Vec::new();
        for ((_, input), half) in self.sides().into_iter().zip(halves) {
            let Some(input) = input else {
                continue;
            };
            match &input.data {
                Data::Images(images) => notes.extend(images.notes.iter().cloned()),
                Data::Statistics(statistics) if statistics.stored.extractor.is_none() => {
                    notes.push(format!(
                        "{} does not say whose features these are, nor of how many rows; that they \
                         compare is an assumption",
                        input.name
                    ));
                }
                _ => {}
            }
            if let Some(Half::Rows(side)) = half
                && side.constant > 0
            {
                let (name, constant, width) = (&input.name, side.constant, side.width);
                notes.push(format!("{name}: {constant} of {width} features never change"));
            }
        }
        notes
    }

    fn sides(&self) -> [(&'static str, Option<&Input>); 2] {
        [("reference", self.given.reference), ("samples", self.given.samples)]
    }

    /// The features, for people.
    fn describe(&self) -> String {
        let name = self.given.features.name();
        let inputs = [self.given.samples, self.given.reference];
        match inputs.into_iter().flatten().find_map(|input| self.note(input)) {
            Some(note) if note.id == "none" => format!("{name}: {}", note.preprocessing),
            Some(note) => format!("{name}: {} ({})", note.id, note.preprocessing),
            None => format!("{name}: unstated"),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
