//! The published networks without any data: sizes, names, an update of both stages.

use std::time::Instant;

use candle_core::DType;
use chains_core::{Noise, Seed};
use serde::{Deserialize, Serialize};
use vaebm::{
    ConvEnergyConfig, EnergyConfig, EnergyModel, EnergyNetwork, EnergyTrainConfig, NoiseDecoder,
    NvaeConfig, NvaeModel, NvaeTrainConfig,
    nvae::{TensorShapes, tensor_shapes},
    train::{EnergyState, NvaeTrainState, update_energy, update_vae},
};

use crate::{
    error::Result,
    limits::{at_least, finite_check},
    report::{Align, Table},
    request::Request,
    results::{Check, Metric},
    run::Run,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StructureSettings {
    /// Images of an update.
    batch_size: usize,
    /// Steps of the chains of an update of the energy.
    chain_steps: usize,
    /// Update small networks in place of the published ones.
    small: bool,
}

impl StructureSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let settings = request.settings(&Self {
            batch_size: 1,
            chain_steps: scale.pick(1, 2, 10),
            small: scale.pick(true, false, false),
        })?;
        at_least(&[("batch_size", settings.batch_size, 1)])?;
        Ok(settings)
    }
}

/// What a network should have: trained numbers and, of files as the published programs write them,
/// trained tensors, tensors of batch norms with their counters, kernels that are there twice.
type Wanted = [usize; 4];

fn autoencoders() -> [(&'static str, NvaeConfig, Wanted); 4] {
    [
        ("autoencoder, CIFAR-10", NvaeConfig::cifar10(), [130_744_004, 2_566, 1_092, 180]),
        (
            "autoencoder, CIFAR-10, 20 groups",
            NvaeConfig::cifar10_small(),
            [87_188_164, 1_726, 732, 120],
        ),
        (
            "autoencoder, CelebA-64 and LSUN-64",
            NvaeConfig::celeba64(),
            [65_005_372, 1_392, 588, 96],
        ),
        ("autoencoder, CelebA-HQ-256", NvaeConfig::celeba_hq256(), [365_372_032, 2_178, 804, 132]),
    ]
}

fn energies() -> [(&'static str, ConvEnergyConfig, Wanted); 4] {
    [
        ("energy, CIFAR-10", ConvEnergyConfig::cifar10(), [5_137_921, 47, 0, 0]),
        ("energy, CelebA-64", ConvEnergyConfig::celeba64(), [4_337_537, 63, 0, 0]),
        ("energy, LSUN church 64", ConvEnergyConfig::lsun_church64(), [5_813_633, 75, 0, 0]),
        ("energy, CelebA-HQ-256", ConvEnergyConfig::celeba_hq256(), [14_207_105, 89, 0, 0]),
    ]
}

/// The same numbers of tensors by name.
fn counts(shapes: &TensorShapes) -> Wanted {
    let running = |name: &str| name.ends_with(".running_mean") || name.ends_with(".running_var");
    let trained: Vec<_> = shapes.iter().filter(|(name, _)| !running(name)).collect();
    let numbers = trained.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let norms = shapes.keys().filter(|name| name.ends_with(".running_mean")).count();
    let twice = trained.iter().filter(|(name, shape)| {
        let norm = name.replace(".weight", ".log_weight_norm");
        name.ends_with(".weight") && shape.len() == 4 && !shapes.contains_key(&norm)
    });
    [numbers, trained.len(), 3 * norms, twice.count()]
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = StructureSettings::resolve(run.request)?;
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("network".to_owned(), Align::Left),
        right("parameters"),
        right("trained tensors"),
        right("of batch norms"),
        right("kernels held twice"),
        right("entries of a file"),
    ]);
    for (name, config, wanted) in autoencoders() {
        row(run, &mut table, name, counts(&tensor_shapes(&config)?), wanted);
    }
    for (name, config, wanted) in energies() {
        // The only tensors of an energy are trained ones, named as in the published files.
        let config = EnergyConfig::Convolutional(config);
        let model = EnergyModel::new(config, Seed::new(0), &run.request.device)?;
        let all = model.store().all().into_iter();
        let shapes = all.map(|(name, var)| (name, var.dims().to_vec())).collect();
        let [numbers, tensors, norms, _] = counts(&shapes);
        row(run, &mut table, name, [numbers, tensors, norms, 0], wanted);
    }
    run.paragraph(
        "Networks with random parameters, of the autoencoders names and shapes alone. The published \
         files have all of these tensors: of batch norms running mean, running variance and a counter; \
         plain kernels are in them a second time. Numbers follow from the published commands.",
    );
    run.table(table);
    updates(run, &settings)
}

fn row(run: &mut Run<'_>, table: &mut Table, name: &str, found: Wanted, wanted: Wanted) {
    let entries = found[1] + found[2] + found[3];
    let mut cells = vec![name.to_owned()];
    cells.extend(found.map(|n| n.to_string()));
    cells.push(entries.to_string());
    table.row(cells);
    let words = |counts: Wanted| counts.map(|n| n.to_string()).join(", ");
    let detail = format!("{} and {}", words(found), words(wanted));
    run.check(Check::new(format!("{name}: parameters and tensors"), found == wanted, detail));
}

/// One update of either stage at 64 pixels, with random images.
fn updates(run: &mut Run<'_>, settings: &StructureSettings) -> Result<()> {
    run.heading("Updates at 64 pixels");
    let device = run.request.device.clone();
    let seed = run.request.stream().child("structures");
    let (autoencoder, energies) = if settings.small {
        let nano = NvaeConfig { channels: 3, side: 64, ..NvaeConfig::nano() };
        let small = ConvEnergyConfig { side: 64, ..ConvEnergyConfig::mnist(3, 4) };
        (nano, vec![("small energy", small)])
    } else {
        let all = [
            ("CelebA-64", ConvEnergyConfig::celeba64()),
            ("LSUN church 64", ConvEnergyConfig::lsun_church64()),
        ];
        (NvaeConfig::celeba64(), all.to_vec())
    };
    let mut noise = seed.child("noise").host_noise();
    let shape = (settings.batch_size, 3, 64, 64);
    let x = noise.uniform(&shape.into(), DType::F32, &device)?;
    let mut table = Table::new([
        ("update".to_owned(), Align::Left),
        ("loss, nats".to_owned(), Align::Right),
        ("seconds".to_owned(), Align::Right),
    ]);
    let mut losses = Vec::new();
    let started = Instant::now();
    let model = NvaeModel::new(&autoencoder, seed.child("autoencoder"), &device)?;
    let config = NvaeTrainConfig::celeba64();
    let mut state = NvaeTrainState::new(&config, 1_000);
    let terms = update_vae(&model, &mut state, &config, &x, &mut noise)?;
    let seconds = started.elapsed().as_secs_f64();
    table.row(["autoencoder".to_owned(), format!("{:.1}", terms.loss), format!("{seconds:.1}")]);
    run.metric(Metric::new("seconds_autoencoder", seconds, "s").n(settings.batch_size));
    losses.push(terms.loss);
    drop(state);
    let decoder = model.decoder()?;
    for (name, network) in energies {
        let started = Instant::now();
        let network = EnergyConfig::Convolutional(network);
        let energy = EnergyModel::new(network, seed.child(name), &device)?;
        energy.live().initialise(&x)?;
        let mut config = EnergyTrainConfig::celeba64();
        config.chains.steps = settings.chain_steps;
        let mut state = EnergyState::new(&config, &decoder.noise_shapes())?;
        let terms = update_energy(&energy, &decoder, &mut state, &config, &x, &mut noise)?;
        let seconds = started.elapsed().as_secs_f64();
        let what = format!("{name}, chain of {}", settings.chain_steps);
        table.row([what, format!("{:.3}", terms.contrast.loss), format!("{seconds:.1}")]);
        losses.push(terms.contrast.loss);
    }
    run.paragraph(format!(
        "{} uniform image in a batch: seconds include building the network with random parameters and \
         the 40 power iterations of the first update.",
        settings.batch_size
    ));
    run.table(table);
    finite_check(run, "losses", &losses);
    Ok(())
}
