//! Table 6: classifiers of tables from few labels, on known sets or on a file of the user's own.

mod benchmark;
mod card;
mod data;
mod fit;
mod methods;
mod own;
mod report;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    card::{TableCard, listed},
    own::csv_line,
};
use crate::{
    error::{Error, Result},
    registry::Experiment,
    request::{Request, Scale},
    run::Run,
};

/// Table 6: semi-supervised classification of tables.
pub(super) const TABULAR: Experiment = Experiment {
    id: "tabular",
    anchor: "Table 6",
    title: "Tables of which few rows are labelled: VERA beside other classifiers",
    headline: true,
    data: "optdigits, penbased, satimage, letter, magic; hepmass, crop, human at paper scale",
    time: ["3 s", "9 min", "weeks"],
    settings: resolved,
    ready,
    run,
};

/// `--data FILE` trains on the file, whatever else is asked for.
fn resolved(request: &Request) -> Result<toml::Table> {
    if let Some(path) = request.data.as_ref().filter(|path| !path.exists()) {
        return Err(Error::Usage(format!("--data {}: is not there", path.display())));
    }
    match own::file(request) {
        Some(_) => own::settings(request),
        None => benchmark::settings(request).map_err(|error| advised(request, error)),
    }
}

/// A key that only a file of one's own has: where is the file?
fn advised(request: &Request, error: Error) -> Error {
    let Error::UnknownKey { key, .. } = &error else { return error };
    if !["label", "drop", "held_out", "bins"].contains(&key.as_str()) {
        return error;
    }
    let found = match &request.data {
        Some(path) => format!("{} is no file", path.display()),
        None => "there is no --data".into(),
    };
    Error::Usage(format!("--set {key} goes with a table of your own, --data FILE.csv; {found}"))
}

fn ready(request: &Request) -> Result<()> {
    if let Some(file) = own::file(request) {
        return own::ready(request, file);
    }
    let settings = settings::Settings::resolve(request)?;
    let few = request.scale == Scale::Smoke;
    settings.sets.iter().try_for_each(|set| data::ready(request, set, few))
}

fn run(run: &mut Run<'_>) -> Result<()> {
    match own::file(run.request).map(std::path::Path::to_owned) {
        Some(file) => own::run(run, &file),
        None => benchmark::run(run),
    }
}
