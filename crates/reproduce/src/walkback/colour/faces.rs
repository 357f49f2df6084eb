//! Figure 1: faces whose top half is known, completed several times.

use serde::{Deserialize, Serialize};
use walkback::{SampleOptions, inpaint};

use super::{Model, Settings, at_most_test, trained};
use crate::{
    completions::{Extent, completions},
    error::Result,
    limits::at_least,
    request::Request,
    run::Run,
};

/// What is completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    /// Test images; they share the moments of a batch.
    faces: usize,
    /// Completions of each.
    completions: usize,
}

fn resolve(request: &Request) -> Result<Settings<Shown>> {
    let scale = request.scale;
    let shown = Shown { faces: scale.pick(4, 50, 100), completions: scale.pick(2, 4, 6) };
    let settings = Settings::resolve(request, Model::CelebA, shown)?;
    let Shown { faces, completions } = settings.shown;
    at_least(&[("faces", faces, 2), ("completions", completions, 1)])?;
    at_most_test(&settings.train, "faces", faces)?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Model::CelebA, &settings.train)?;
    let model = &trained.model;
    let (options, mean) = (SampleOptions::of(model), trained.moments.mean());
    let Shown { faces, completions: each } = settings.shown;
    let extent = Extent { name: "", bounded: false, images: faces, completions: each };
    run.heading("Completions");
    completions(run, &images, &mean, extent, |[x, mask], noise, visit| {
        let mut last = inpaint(model, x, mask, &options, noise, |_, generated| visit(generated))?;
        // States of this operator are clipped, so its means are too.
        last.mean = last.mean.clamp(0.0, 1.0)?;
        Ok(last)
    })
}
