//! The networks without any data: parameters, shapes, an update.

use std::time::Instant;

use candle_core::DType;
use chains_core::{Noise, Seed};
use serde::{Deserialize, Serialize};
use variational_annealing::{
    AnnealTerm, DENOISER, DISCRIMINATOR, GENERATOR, GanConfig, GanModel, Objective, Schedule,
    TrainConfig, TrainState, update,
};

use super::settings::tiny;
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
    /// Update tiny networks in place of those of the tables.
    small: bool,
}

impl StructureSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let settings: Self = request.settings(&Self {
            batch_size: scale.pick(4, 64, 64),
            small: scale.pick(true, false, false),
        })?;
        at_least(&[("batch_size", settings.batch_size, 2)])?;
        Ok(settings)
    }
}

/// Parameters of critic, generator and denoiser as the tables give them; those of CelebA are not printed.
const CIFAR10: [(&str, [usize; 3]); 2] = [
    ("CIFAR-10, released code", [2_790_593, 3_828_739, 42_000_384]),
    ("CIFAR-10, Table S1", [2_790_593, 1_451_011, 29_399_040]),
];

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = StructureSettings::resolve(run.request)?;
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("networks".to_owned(), Align::Left),
        right("critic"),
        right("generator"),
        right("denoiser"),
        ("feature".to_owned(), Align::Left),
        ("image".to_owned(), Align::Left),
    ]);
    for ((name, wanted), config) in
        CIFAR10.into_iter().zip([GanConfig::cifar10(), GanConfig::cifar10_table()])
    {
        let found = row(run, &mut table, name, &config)?;
        let detail = format!("{found:?} and {wanted:?}");
        run.check(Check::new(format!("{name}: parameters"), found == wanted, detail));
    }
    let faces = GanConfig::celeba();
    row(run, &mut table, "CelebA 128x128, Table S2", &faces)?;
    let shapes = (faces.discriminator.feature()?, faces.generator.shapes()?.last().copied());
    let as_printed = shapes == ([512, 2, 2], Some([3, 128, 128]));
    run.check(Check::new("CelebA: shapes of Table S2", as_printed, format!("{shapes:?}")));
    run.paragraph(
        "Networks with random parameters: trained numbers, and shapes of feature and image.",
    );
    run.table(table);
    one_update(run, &settings)
}

fn row(run: &Run<'_>, table: &mut Table, name: &str, config: &GanConfig) -> Result<[usize; 3]> {
    let model = GanModel::new(config.clone(), Seed::new(0), &run.request.device)?;
    let count = |root| {
        let own = model.store().trainable_under(root);
        own.iter().map(|var| var.elem_count()).sum::<usize>()
    };
    let found = [DISCRIMINATOR, GENERATOR, DENOISER].map(count);
    let shape = |[c, h, w]: [usize; 3]| format!("{c}x{h}x{w}");
    let mut cells = vec![name.to_owned()];
    cells.extend(found.map(|n| n.to_string()));
    cells.extend([shape(config.discriminator.feature()?), shape(config.discriminator.event)]);
    table.row(cells);
    Ok(found)
}

/// One update of the networks of released code, with random images.
fn one_update(run: &mut Run<'_>, settings: &StructureSettings) -> Result<()> {
    run.heading("An update");
    let device = run.request.device.clone();
    let seed = run.request.stream().child("structures");
    let config = if settings.small { tiny() } else { GanConfig::cifar10() };
    let model = GanModel::new(config, seed.child("model"), &device)?;
    let train =
        TrainConfig::cifar10(Objective::Jsd).annealed(AnnealTerm::Score, Schedule::sine(-1.0));
    let train = TrainConfig { denoiser_warm_up: 0, ..train };
    let mut noise = seed.child("noise").host_noise();
    let shape = (settings.batch_size, 3, 32, 32);
    let x = noise.uniform(&shape.into(), DType::F32, &device)?.affine(2.0, -1.0)?;
    let mut state = TrainState::new(&train);
    let started = Instant::now();
    let terms = update(&model, &mut state, &train, &x, &mut noise)?;
    let seconds = started.elapsed().as_secs_f64();
    run.paragraph(format!(
        "{} uniform images, all three networks, {seconds:.1} s: losses {:.3} of the critic, {:.3} of the \
         generator, {:.3} of the denoiser; the term adds {:.4}.",
        settings.batch_size, terms.critic, terms.generator, terms.denoiser, terms.annealing
    ));
    run.metric(Metric::new("seconds_update", seconds, "s").n(settings.batch_size));
    finite_check(run, "losses", &[terms.critic, terms.generator, terms.denoiser, terms.annealing]);
    Ok(())
}
