//! The model that ships with the repository, for experiments that need one and train none.

use std::path::PathBuf;

use chains_core::checkpoint::{CONFIG_FILE, WEIGHTS_FILE};
use sha2::{Digest, Sha256};
use vaebm::VaebmModel;

use crate::{
    error::{Error, Result},
    request::Request,
};

/// The folder of the shipped model below the root of the repository: the usual value of a setting `model`.
pub(crate) const SHIPPED: &str = "checkpoints/vaebm-mnist";

fn place(request: &Request, model: &str) -> PathBuf {
    request.root.join(model)
}

/// Is a model there? `model` is a folder, if relative then below the root of the repository.
///
/// # Errors
/// [`Error::Missing`] that names the folder and says what to do.
pub(crate) fn stored_ready(request: &Request, model: &str) -> Result<()> {
    let dir = place(request, model);
    if [CONFIG_FILE, WEIGHTS_FILE].iter().all(|file| dir.join(file).is_file()) {
        return Ok(());
    }
    Err(Error::Missing(format!(
        "there is no model of VAEBM in {}; check `{SHIPPED}` out again, or train one with `cargo xtask \
         reproduce vaebm --experiment mnist` and give its folder with --set model=RUN/checkpoints/model",
        dir.display()
    )))
}

/// Loads it, see [`stored_ready`].
///
/// # Errors
/// As there; [`Error::Chains`] for a damaged model, or one of another method.
pub(crate) fn stored(request: &Request, model: &str) -> Result<VaebmModel> {
    stored_ready(request, model)?;
    Ok(VaebmModel::load(&place(request, model), &request.device)?)
}

/// What tells the stored model from all others.
///
/// # Errors
/// If its weights cannot be read.
pub(crate) fn stored_digest(request: &Request, model: &str) -> Result<String> {
    let path = place(request, model).join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
    Ok(Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
