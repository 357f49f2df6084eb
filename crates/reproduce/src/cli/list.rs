//! `reproduce --list`.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    registry::{Experiment, Paper},
    request::{Request, Scale},
};

/// The experiments of the papers, and whether each can run now with the settings asked for.
///
/// # Errors
/// [`Error::UnknownKey`] for a key that no experiment has; the first complaint about a value if no
/// experiment can run with it.
pub(super) fn list(papers: &[&'static Paper], request: &mut Request) -> Result<String> {
    check(papers, request)?;
    Ok(papers.iter().map(|paper| of_paper(paper, request)).collect::<Vec<_>>().join("\n"))
}

fn check(papers: &[&'static Paper], request: &mut Request) -> Result<()> {
    let experiments = || papers.iter().flat_map(|paper| paper.experiments);
    let overrides = std::mem::take(&mut request.overrides);
    for pair in &overrides {
        request.overrides = vec![pair.clone()];
        let (mut known, mut found) = (BTreeSet::new(), false);
        for experiment in experiments() {
            match (experiment.settings)(request) {
                Err(Error::UnknownKey { known: keys, .. }) => {
                    known.extend(keys.split(", ").map(str::to_owned));
                }
                _ => found = true,
            }
        }
        if !found {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Error::UnknownKey { key: pair.0.clone(), known });
        }
    }
    request.overrides = overrides;
    let mut refused = None;
    for experiment in experiments() {
        match (experiment.settings)(request) {
            Ok(_) => return Ok(()),
            Err(Error::UnknownKey { .. }) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(()), Err)
}

fn of_paper(paper: &Paper, request: &Request) -> String {
    let mut out = format!("{}: {}\n", paper.id, paper.citation);
    for experiment in paper.experiments {
        let Experiment { id, anchor, title, data, time, .. } = experiment;
        let mark = if experiment.headline { "*" } else { " " };
        let [smoke, quick, paper] = [Scale::Smoke, Scale::Quick, Scale::Paper].map(Scale::name);
        let state = state(experiment, request);
        out += &format!(
            "\n{mark} {id:<22} {anchor:<22} {title}\n  {:<22} data: {data}; time: {smoke} {}, \
             {quick} {}, {paper} {}\n  {:<22} {state}\n",
            "", time[0], time[1], time[2], ""
        );
    }
    out + "\n* runs when no --experiment is given; times are those of two cores\n"
}

fn state(experiment: &Experiment, request: &Request) -> String {
    match (experiment.settings)(request) {
        Err(Error::UnknownKey { key, .. }) => {
            return format!("not with these settings: no setting `{key}`");
        }
        Err(error) => return format!("not with these settings: {error}"),
        Ok(_) => {}
    }
    match (experiment.ready)(request) {
        Ok(()) => "ready".to_owned(),
        Err(error) => format!("not now: {error}"),
    }
}
