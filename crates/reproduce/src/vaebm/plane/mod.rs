//! 25 Gaussians: the experiment whose likelihoods can be computed (section 5.2, Figure 4).

mod autoencoder;
mod energy;
mod judge;
mod measure;
mod modes;
mod report;
mod settings;

use std::sync::Arc;

use chains_core::Seed;
use serde::{Deserialize, Serialize};

use self::{
    autoencoder::Autoencoder,
    energy::{EnergyFound, Training},
    measure::Points,
    modes::Hits,
    settings::{Negative, PlaneSettings},
};
use crate::{
    error::Result,
    registry::Experiment,
    run::Run,
    run_dir::settings_table,
    training::{Cell, cells, json},
};

/// Section 5.2 and Figure 4.
pub(super) const GAUSSIANS_25: Experiment = Experiment {
    id: "gaussians-25",
    anchor: "Section 5.2, Figure 4",
    title: "25 Gaussians: an autoencoder smears, the product does not",
    headline: true,
    data: "none",
    time: ["3 s", "9 min", "days"],
    settings: |request| settings_table(&PlaneSettings::resolve(request)?),
    ready: |_| Ok(()),
    run,
};

/// What the autoencoder alone is worth.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct AutoencoderFound {
    /// Draws of the posterior, and means and standard errors of `ln p` over points, nats.
    likelihoods: Vec<(usize, f64, f64)>,
    /// `ln p` of every point by the most draws.
    log_p: Vec<f64>,
    /// Mean `ln p` of the same points by kernels at draws of the prior.
    by_kernels: f64,
    hits: Hits,
    seconds: f64,
}

/// What a cell gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Found {
    Autoencoder(AutoencoderFound),
    Energy(Box<EnergyFound>),
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = PlaneSettings::resolve(run.request)?;
    let seed = run.request.stream().child("25-gaussians");
    let trained = autoencoder::train(run, &settings, seed)?;
    trained.model.save(&run.dir().checkpoints().join("autoencoder"))?;
    let autoencoder = Arc::new(trained);
    let points = Arc::new(Points::draw(&settings, seed)?);
    let mut work = vec![alone(&settings, seed, &autoencoder, &points)?];
    for negative in [Negative::Chains, Negative::Importance] {
        let training = Training {
            settings: settings.clone(),
            negative,
            seed,
            autoencoder: Arc::clone(&autoencoder),
            points: Arc::clone(&points),
            save: run.dir().checkpoints().join(negative.key()),
        };
        work.push(training.cell(run.request.seed)?);
    }
    // The longest first.
    work.rotate_left(1);
    let mut alone = None;
    let mut energies = Vec::new();
    for found in cells(run, "energies", work)? {
        match found {
            Found::Autoencoder(found) => alone = Some(found),
            Found::Energy(found) => energies.push(*found),
        }
    }
    let alone = alone.ok_or_else(|| crate::Error::Usage("no likelihood was measured".into()))?;
    report::write(
        run,
        &settings,
        &report::Measured {
            points: &points,
            autoencoder: &autoencoder,
            alone: &alone,
            energies: &energies,
        },
    )
}

/// The likelihood of the autoencoder as one of the cells.
fn alone(
    settings: &PlaneSettings,
    seed: Seed,
    autoencoder: &Arc<Autoencoder>,
    points: &Arc<Points>,
) -> Result<Cell<'static, Found>> {
    let key = json(&("25-gaussians", "autoencoder", settings))?;
    let (settings, autoencoder, points) =
        (settings.clone(), Arc::clone(autoencoder), Arc::clone(points));
    let work = move |_: &crate::training::Ticker| {
        let found = measure::autoencoder(&settings, seed, &autoencoder.model, &points)?;
        Ok(Found::Autoencoder(found))
    };
    Ok(Cell { key, updates: 0, work: Box::new(work) })
}
