//! The model that is studied.

use chains_core::Seed;
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyConfig, EnergyModel, EnergyTrainConfig, NvaeConfig,
    NvaeModel, Potential, VaebmModel,
};

use super::super::digits::stored::{SHIPPED, stored, stored_ready};
use crate::{error::Result, request::Request, run::Run};

/// The usual value of the setting `model`: the shipped model, at smoke a tiny one that is not trained.
pub(super) fn usual(request: &Request) -> String {
    request.scale.pick("", SHIPPED, SHIPPED).to_owned()
}

/// Is the model there?
///
/// # Errors
/// As [`stored_ready`].
pub(super) fn ready(request: &Request, model: &str) -> Result<()> {
    if model.is_empty() { Ok(()) } else { stored_ready(request, model) }
}

/// Loads the model, and says in the report which one it is.
///
/// # Errors
/// As [`stored`].
pub(super) fn open(run: &mut Run<'_>, model: &str) -> Result<VaebmModel> {
    if model.is_empty() {
        run.paragraph("A tiny model that was not trained: this scale shows that everything runs.");
        return untrained(run.request);
    }
    let found = stored(run.request, model)?;
    let chains = found.config().chains;
    run.paragraph(format!(
        "The model of `{model}`; its samples are chains of {} steps of {} in the noise space, {} potential. \
         The paper's numbers are of CIFAR-10 with networks a hundred times as large.",
        chains.steps,
        chains.step_size,
        found.config().potential,
    ));
    Ok(found)
}

fn untrained(request: &Request) -> Result<VaebmModel> {
    let seed: Seed = request.stream().child("untrained");
    let autoencoder = NvaeModel::new(&NvaeConfig::nano(), seed.child("a"), &request.device)?;
    let energy = EnergyConfig::Convolutional(ConvEnergyConfig::mnist(1, 2));
    let energy = EnergyModel::new(energy, seed.child("e"), &request.device)?;
    let step_size = EnergyTrainConfig::small_mnist().chains.step_size;
    Ok(VaebmModel::new(autoencoder, energy, ChainConfig { steps: 3, step_size }, Potential::Paper)?)
}
