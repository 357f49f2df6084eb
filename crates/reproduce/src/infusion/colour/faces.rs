//! Figure 5: faces whose top half is known, completed several times.

use serde::{Deserialize, Serialize};

use super::{
    super::inpaint::{Extent, completions},
    Set, Settings, trained,
};
use crate::{error::Result, request::Request, run::Run};

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
    let extent = Extent {
        images: settings.shown.faces,
        completions: settings.shown.completions,
        steps: settings.sample_steps,
    };
    completions(run, &images, &trained, extent)
}
