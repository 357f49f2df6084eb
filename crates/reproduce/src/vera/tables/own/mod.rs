//! A classifier of a user's own table, from the few labels that it has.

mod predictions;
mod prepare;
mod report;
mod settings;

use std::path::{Path, PathBuf};

use serde::Serialize;
use vera::VeraModel;

pub(crate) use self::predictions::line as csv_line;
use super::{
    fit::{Fit, Fitted},
    methods::Method,
};
use crate::{
    error::Result,
    request::Request,
    run::Run,
    run_dir::settings_table,
    training::{Cell, Ticker, cells, json},
    vera::scores::Scores,
};
use prepare::{Own, prepare};
use settings::OwnSettings;

/// The classifiers that are trained, and the folders of their models.
const CLASSIFIERS: [(&str, &str); 2] = [("VERA", "model"), ("supervised", "supervised")];

/// The user's file, if `--data` names one.
pub(super) fn file(request: &Request) -> Option<&Path> {
    request.data.as_deref().filter(|path| path.is_file())
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&OwnSettings::resolve(request)?)
}

/// Can the file be used as the settings say?
pub(super) fn ready(request: &Request, file: &Path) -> Result<()> {
    prepare(file, &OwnSettings::resolve(request)?, request.seed).map(|_| ())
}

/// A trained classifier with what it says of every row.
struct Trained {
    name: &'static str,
    fitted: Fitted,
    scores: Scores,
}

/// What determines a classifier beside its training.
#[derive(Serialize)]
struct Key<'a> {
    fit: &'a Fit,
    digest: &'a str,
    settings: &'a OwnSettings,
    /// The model lies there.
    place: &'a Path,
}

pub(super) fn run(run: &mut Run<'_>, file: &Path) -> Result<()> {
    let settings = OwnSettings::resolve(run.request)?;
    let own = prepare(file, &settings, run.request.seed)?;
    let places = CLASSIFIERS.map(|(_, folder)| run.dir().checkpoints().join(folder));
    let methods = [settings.vera(), settings.supervised()];
    let mut trainings = Vec::new();
    for (method, place) in methods.into_iter().zip(&places) {
        trainings.push(training(run, &settings, &own, method, place)?);
    }
    let fitted = cells(run, "train", trainings)?;
    let mut trained = Vec::new();
    for (((name, _), fitted), place) in CLASSIFIERS.into_iter().zip(fitted).zip(&places) {
        let model = VeraModel::load(place, &run.request.device)?;
        let all: Vec<usize> = (0..own.table.len()).collect();
        let x = own.table.tensor(&all).map_err(crate::data::usage)?;
        trained.push(Trained { name, fitted, scores: Scores::of(&model, &x)? });
    }
    if let Some(vera) = trained.first() {
        predictions::write(&run.dir().root().join(predictions::FILE), &own, &vera.scores)?;
    }
    report::write(run, &settings, &own, &trained)
}

/// A training that leaves its model, with the card of the table, at a place.
fn training<'a>(
    run: &Run<'_>,
    settings: &OwnSettings,
    own: &'a Own,
    method: Method,
    place: &'a PathBuf,
) -> Result<Cell<'a, Fitted>> {
    let fit = Fit {
        set: own.parts.name.clone(),
        model: settings.model([own.parts.train.dim(), own.parts.classes()]),
        method,
        seed: run.request.seed,
        labels_per_class: 0,
        updates: settings.updates,
        batch_size: settings.batch_size,
        looks: settings.looks,
    };
    let key = json(&Key { fit: &fit, digest: &own.digest, settings, place })?;
    let (updates, device) = (fit.updates, run.request.device.clone());
    let work = move |ticker: &Ticker| {
        let (fitted, model) = fit.run(&own.parts, &device, ticker)?;
        model.save(place)?;
        own.card.save(place)?;
        Ok(fitted)
    };
    Ok(Cell { key, updates, work: Box::new(work) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::run_smoke;
    use crate::request::{Request, Scale};
    use crate::testing::request;

    #[test]
    fn a_file_gives_predictions_calibration_a_comparison_and_a_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.csv");
        let mut text = String::from("x,y,kind\n");
        for i in 0..60 {
            let (kind, at) = if i % 2 == 0 { ("left, far", -2.0) } else { ("right", 2.0) };
            let kind = if i % 5 == 4 { "" } else { kind };
            let (x, y) = (at + f64::from(i % 7) * 0.1, f64::from(i % 3));
            text += &format!("{x},{y},\"{kind}\"\n");
        }
        fs::write(&path, text).unwrap();
        let request = Request {
            data: Some(path),
            ..request(Scale::Smoke, &[("label", "kind"), ("labels_per_class", "5")])
        };
        let out = dir.path().join("out");
        let results = run_smoke(&request, &out);
        assert!(results.passed(), "{:?}", results.checks);
        for name in ["accuracy", "ece", "accuracy_supervised", "ece_supervised"] {
            assert!(results.metric(name).is_some(), "{name}");
        }
        let predictions = fs::read_to_string(out.join("predictions.csv")).unwrap();
        let lines: Vec<&str> = predictions.lines().collect();
        assert_eq!(lines.len(), 61);
        assert_eq!(
            lines[0],
            "row,use,kind,predicted,\"probability of left, far\",probability of right,log density"
        );
        assert!(lines[1].starts_with("1,") && lines[1].contains("\"left, far\""), "{}", lines[1]);
        assert!(lines[5].starts_with("5,unlabelled,,"), "{}", lines[5]);
        let card = crate::vera::TableCard::load(&out.join("checkpoints/model")).unwrap().unwrap();
        assert_eq!((card.label.as_str(), card.columns.len()), ("kind", 2));
        let report = fs::read_to_string(out.join("report.md")).unwrap();
        assert!(report.contains("plots/reliability.svg") && report.contains("supervised"));
        assert!(out.join("plots/reliability.svg").is_file());
    }
}
