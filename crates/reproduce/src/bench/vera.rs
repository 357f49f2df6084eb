//! W06 to W08: updates of VERA on a flow, a table and images.

use candle_core::Tensor;
use chains_core::Seed;
use datasets::{Mnist, Standardiser, find_mnist, load_table};
use vera::{
    EnergyConfig, GeneratorConfig, Labels, ModelConfig, TrainConfig, TrainState, VeraModel,
    config::Output, update,
};

use super::{Bed, Workload};
use crate::{data::usage, error::Result};

/// Multiply-adds of a row of energy and generator, of the energy's first layer, whose input needs no
/// gradient where it is constant, and of the generator's.
struct Cost {
    energy: f64,
    generator: f64,
    first: [f64; 2],
}

const NICE: Cost =
    Cost { energy: 15_136_000.0, generator: 942_000.0, first: [392_000.0, 50_000.0] };
const TABULAR: Cost =
    Cost { energy: 1_066_500.0, generator: 596_000.0, first: [64_000.0, 64_000.0] };
const WIDE: Cost =
    Cost { energy: 505_858_560.0, generator: 400_162_816.0, first: [442_368.0, 262_144.0] };

impl Cost {
    /// Operations of an update of so many examples, in units of 1e9: `rows` passes through the energy,
    /// of which `constant` begin at constants; 25 through the generator.
    fn gflop(&self, batch: usize, rows: f64, constant: f64) -> f64 {
        let [energy, generator] = self.first;
        let per_row = rows * self.energy - constant * energy + 25.0 * self.generator - generator;
        2e-9 * batch as f64 * per_row
    }
}

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        Workload {
            id: "W06",
            title: "vera-nice-train: 1 update, batch 128",
            gflop: Some(NICE.gflop(128, 11.0, 2.0)),
            repeats: 15,
            host: false,
            build: |bed| {
                let mut update = nice(bed)?;
                Ok(Box::new(move || update().map(drop)))
            },
        },
        Workload {
            id: "W07",
            title: "vera-tabular-train: 1 update, batch 64 + 64",
            gflop: Some(TABULAR.gflop(64, 14.0, 3.0)),
            repeats: 60,
            host: false,
            build: |bed| {
                let mut update = tabular(bed)?;
                Ok(Box::new(move || update().map(drop)))
            },
        },
        Workload {
            id: "W08",
            title: "vera-wrn-train: 1 update, batch 16",
            gflop: Some(WIDE.gflop(16, 11.0, 2.0)),
            repeats: 5,
            host: false,
            build: |bed| {
                let mut update = wide(bed)?;
                Ok(Box::new(move || update().map(drop)))
            },
        },
    ]
}

/// Examples of an update on the host.
struct Data {
    x: Tensor,
    labelled: Option<(Tensor, Tensor)>,
    classes: Option<Tensor>,
}

fn updates(
    bed: &Bed,
    model: ModelConfig,
    train: TrainConfig,
    data: Data,
) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let model = VeraModel::new(model, Seed::new(0), &bed.device)?;
    let mut state = TrainState::new(&train);
    let mut noise = bed.noise("train");
    Ok(move || {
        let labels = match (&data.labelled, &data.classes) {
            (Some((x, y)), _) => Labels::Other(x, y),
            (None, Some(y)) => Labels::Same(y),
            (None, None) => Labels::None,
        };
        let terms = update(&model, &mut state, &train, (&data.x, labels), &mut *noise)?;
        Ok(terms.energy_loss)
    })
}

/// Updates of NICE on 128 digits.
pub(super) fn nice(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let files = Mnist::load(&find_mnist(None, &bed.root).map_err(usage)?)?;
    let indices: Vec<usize> = (0..128).collect();
    let logit = |v: u8| {
        let p = (f32::from(v) / 255.0).clamp(0.001, 0.999);
        (p / (1.0 - p)).ln()
    };
    let x: Vec<f32> = files.train.gather(&indices).iter().map(|v| logit(*v)).collect();
    let x = Tensor::from_vec(x, (128, 784), &bed.device)?;
    let data = Data { x, labelled: None, classes: None };
    updates(bed, ModelConfig::nice_mnist(), TrainConfig::nice(1.0), data)
}

/// Updates on 64 unlabelled and 64 labelled rows of optdigits.
pub(super) fn tabular(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let table = load_table("optdigits", None, &bed.root)?;
    let rows: Vec<usize> = (0..512).collect();
    let table = Standardiser::fit(&table, &rows)?.apply(&table)?;
    let (first, second) = (0..64, 128..192);
    let classes: Vec<u32> = second.clone().filter_map(|i| table.labels[i]).collect();
    let y = Tensor::from_vec(classes, 64, &bed.device)?;
    let on = |rows: &[usize]| -> Result<Tensor> { Ok(table.tensor(rows)?.to_device(&bed.device)?) };
    let x = on(&first.collect::<Vec<_>>())?;
    let labelled = Some((on(&second.collect::<Vec<_>>())?, y));
    let train = TrainConfig::tabular(1e-4, 1.0, Vec::new());
    updates(bed, ModelConfig::tabular(64, 10, 128), train, Data { x, labelled, classes: None })
}

/// Updates of the wide residual network 16-4 on 16 labelled images. Smooth images stand for
/// photographs, which do not influence the time.
pub(super) fn wide(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let energy =
        EnergyConfig::WideResNet { depth: 16, widening: 4, channels: 3, outputs: 10, dropout: 0.0 };
    let generator =
        GeneratorConfig::ResNet { latent: 128, channels: 3, width: 128, output: Output::Tanh };
    let level = bed.values("level", &[16, 3, 1, 1])?;
    let x = (bed.values("pixels", &[16, 3, 32, 32])? * 0.2)?.broadcast_add(&(level * 0.3)?)?;
    let classes = Tensor::from_vec((0..16_u32).map(|i| i % 10).collect(), 16, &bed.device)?;
    let train = TrainConfig { batch_size: 16, ..TrainConfig::jem(1) };
    let train = TrainConfig {
        energy_rate: chains_core::schedule::MultiStep::constant(3e-5),
        generator_rate: chains_core::schedule::MultiStep::constant(6e-5),
        ..train
    };
    let data = Data { x: x.clamp(-1.0, 1.0)?, labelled: None, classes: Some(classes) };
    updates(bed, ModelConfig::of(energy, generator), train, data)
}
