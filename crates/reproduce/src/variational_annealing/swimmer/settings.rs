//! What the control task is set by.

use serde::{Deserialize, Serialize};

use crate::{error::Result, limits::at_least, request::Request, run_dir::settings_table};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SwimmerSettings {
    /// Steps of an episode that is measured.
    pub(super) path: usize,
}

pub(super) fn resolve(request: &Request) -> Result<SwimmerSettings> {
    let scale = request.scale;
    let settings = request.settings(&SwimmerSettings { path: scale.pick(20, 500, 500) })?;
    at_least(&[("path", settings.path, 1)])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}
