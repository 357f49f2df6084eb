//! Figure 5: faces whose top half is known, completed several times.

use serde::{Deserialize, Serialize};

use super::{super::figures::complete, Set, Settings, trained};
use crate::{completions::Extent, error::Result, request::Request, run::Run};

/// What is completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    /// Test images.
    faces: usize,
    /// Completions of each.
    completions: usize,
}

fn resolve(request: &Request) -> Result<Settings<Shown>> {
    let scale = request.scale;
    let shown = Shown { faces: scale.pick(2, 10, 10), completions: scale.pick(2, 6, 6) };
    Settings::resolve(request, Set::CelebA, shown)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Set::CelebA, &settings.train)?;
    let Shown { faces, completions } = settings.shown;
    let extent = Extent { name: "", bounded: true, images: faces, completions };
    complete(run, &images, &trained, extent, &settings.sampling())
}
