//! Models of VERA on the command line: what they read and what they write.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use chains_core::{Seed, density::Sample, nn::BatchNormMoments};
use datasets::{Colour, Crop, FolderOptions, ImageSet, Mnist, read_folder, read_table};
use vera::{EnergyConfig, GeneratorConfig, VeraModel, config::Output};

use crate::{
    data::{self, usage},
    error::{Error, Result},
    request::Request,
    vera::{TableCard, listed},
};

/// A model with what its folder says of tables.
pub(super) struct Vera {
    pub(super) model: VeraModel,
    pub(super) card: Option<TableCard>,
}

/// What numbers of an image are to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pixels {
    /// In `[-1, 1]`.
    Symmetric,
    /// In `[0, 1]`.
    Unit,
    /// Logits of dequantised pixels, as flows have them.
    Logit,
}

impl Pixels {
    fn of(model: &VeraModel) -> Self {
        let config = model.config();
        let output = match &config.generator {
            GeneratorConfig::Mlp { output, .. } | GeneratorConfig::ResNet { output, .. } => *output,
            GeneratorConfig::Dcgan { .. } => Output::Tanh,
            GeneratorConfig::Linear { .. } => Output::Linear,
        };
        match (&config.energy, output) {
            (EnergyConfig::Nice { .. }, _) => Self::Logit,
            (_, Output::Sigmoid) => Self::Unit,
            _ => Self::Symmetric,
        }
    }

    /// Values as a sheet shows them, in `[0, 1]`.
    pub(super) fn shown(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Symmetric => x.affine(0.5, 0.5)?.clamp(0.0, 1.0)?,
            Self::Unit => x.clamp(0.0, 1.0)?,
            Self::Logit => candle_nn::ops::sigmoid(x)?,
        })
    }

    fn read(self, set: &ImageSet, seed: Seed) -> Result<Tensor> {
        let all: Vec<usize> = (0..set.len()).collect();
        match self {
            Self::Symmetric => set.symmetric(&all),
            Self::Unit => Ok(set.scaled(&all).map_err(usage)?.affine(256.0 / 255.0, 0.0)?),
            Self::Logit => set.logits(&all, &mut seed.host_noise()),
        }
        .map_err(usage)
    }
}

/// What a model is given to score.
pub(super) struct Examples {
    /// `(n, ..event)`.
    pub(super) x: Tensor,
    pub(super) labels: Vec<Option<u32>>,
    /// Rows of a class that the model does not know.
    pub(super) foreign: usize,
    /// Numbers of rows, or files.
    pub(super) names: Vec<String>,
    /// For the settings of metrics.
    pub(super) source: String,
}

impl Vera {
    pub(super) fn open(dir: &Path, device: &Device) -> Result<Self> {
        let (model, card) = (VeraModel::load(dir, device)?, TableCard::load(dir)?);
        let config = &model.config().energy;
        let sizes = [config.event().iter().product(), config.outputs()];
        if let Some(card) = card.as_ref().filter(|c| [c.columns.len(), c.classes.len()] != sizes) {
            let reason = format!(
                "{} columns and {} classes are not the model's {} and {}",
                card.columns.len(),
                card.classes.len(),
                sizes[0],
                sizes[1]
            );
            return Err(Error::format(dir.join("table.json"), reason));
        }
        Ok(Self { model, card })
    }

    /// Channels, height and width of its images, if it has any: a flat model of a table has none.
    pub(super) fn image(&self) -> Option<[usize; 3]> {
        if self.card.is_some() {
            return None;
        }
        match self.model.config().energy.event()[..] {
            [channels, height, width] => Some([channels, height, width]),
            [3_072] => Some([3, 32, 32]),
            [dim] => {
                let side = dim.isqrt();
                (side >= 8 && side * side == dim).then_some([1, side, side])
            }
            _ => None,
        }
    }

    pub(super) fn pixels(&self) -> Pixels {
        Pixels::of(&self.model)
    }

    /// Names of the classes, numbers where the model does not know better.
    pub(super) fn classes(&self) -> Vec<String> {
        let numbers = || (0..self.model.config().energy.outputs()).map(|k| k.to_string());
        self.card.as_ref().map_or_else(|| numbers().collect(), |card| card.classes.clone())
    }

    /// Names of the columns, numbers where the model does not know better.
    pub(super) fn columns(&self) -> Vec<String> {
        let dim = self.model.config().energy.event().iter().product::<usize>();
        match &self.card {
            Some(card) => card.columns.iter().map(|column| column.name.clone()).collect(),
            None => (0..dim).map(|j| format!("x{j}")).collect(),
        }
    }

    /// Rows `(n, D)` in the units of the table.
    pub(super) fn rows(&self, x: &Tensor) -> Result<Vec<Vec<f64>>> {
        let rows = x.to_device(&Device::Cpu)?.flatten_from(1)?.to_vec2::<f32>()?;
        let one = |row: Vec<f32>| match &self.card {
            None => row.into_iter().map(f64::from).collect(),
            Some(card) => {
                let columns = row.iter().zip(&card.columns);
                columns.map(|(v, c)| f64::from(*v) * c.std + c.mean).collect()
            }
        };
        Ok(rows.into_iter().map(one).collect())
    }

    /// Reads `path` as the model sees it: a table, a folder of images, or the files of MNIST.
    ///
    /// # Errors
    /// If the path holds nothing that fits the model.
    pub(super) fn read(&self, path: &Path, seed: Seed) -> Result<Examples> {
        let source = path.display().to_string();
        if !path.exists() {
            return Err(Error::Usage(format!("{source}: is not there")));
        }
        match self.image() {
            Some(event) if path.is_dir() => self.folder(path, event, seed),
            Some([channels, height, width]) => Err(Error::Usage(format!(
                "{source}: this model is of images {channels}x{height}x{width}; give a folder of them"
            ))),
            None if path.is_dir() => Err(Error::Usage(format!(
                "{source}: this model is of tables; give a CSV file with the columns {}",
                listed(&self.columns())
            ))),
            None => self.table(path),
        }
    }

    fn table(&self, path: &Path) -> Result<Examples> {
        let (x, labels, foreign) = match &self.card {
            Some(card) => {
                let rows = card.read(path)?;
                (rows.x, rows.labels, rows.foreign)
            }
            None => {
                let table = read_table(path, None).map_err(usage)?;
                let dim = self.columns().len();
                if table.dim() != dim {
                    let reason = format!("{} columns, the model has {dim}", table.dim());
                    return Err(Error::format(path, reason));
                }
                let all: Vec<usize> = (0..table.len()).collect();
                (table.tensor(&all).map_err(usage)?, vec![None; table.len()], 0)
            }
        };
        let names = (1..=labels.len()).map(|row| row.to_string()).collect();
        Ok(Examples { x, labels, foreign, names, source: path.display().to_string() })
    }

    fn folder(&self, dir: &Path, event: [usize; 3], seed: Seed) -> Result<Examples> {
        let idx = ["", ".gz"].map(|end| dir.join(format!("t10k-images-idx3-ubyte{end}")));
        if idx.iter().any(|file| file.is_file()) {
            return self.of_set(&Mnist::load(dir)?.test, event, seed);
        }
        let [channels, height, width] = event;
        let colour = if channels == 1 { Colour::Grey } else { Colour::Rgb };
        let [height, width] = [height, width].map(|side| side as u32);
        let options = FolderOptions { height, width, crop: Crop::Whole, colour, limit: None };
        let found = read_folder(dir, &options).map_err(usage)?;
        let fits = found.classes.len() == self.model.config().energy.outputs();
        let mut examples = self.of_set(&found.set, event, seed)?;
        let name = |file: &PathBuf| file.strip_prefix(dir).unwrap_or(file).display().to_string();
        examples.names = found.files.iter().map(name).collect();
        examples.source = dir.display().to_string();
        if !fits {
            examples.labels = vec![None; examples.labels.len()];
        }
        Ok(examples)
    }

    fn of_set(&self, set: &ImageSet, event: [usize; 3], seed: Seed) -> Result<Examples> {
        let own = [set.channels, set.height, set.width];
        if own != event {
            let [c, h, w] = event;
            return Err(Error::Usage(format!(
                "the model's images are {c}x{h}x{w} (channels x height x width), those of `{}` are \
                 {}x{}x{}; give a folder of fitting images with --data",
                set.name, own[0], own[1], own[2]
            )));
        }
        let x = self.pixels().read(set, seed)?;
        let flat = self.model.config().energy.event();
        let x = x.reshape([&[set.len()], flat.as_slice()].concat())?;
        let known = self.model.config().energy.outputs() as u32;
        let labels: Vec<Option<u32>> = match set.labels.is_empty() {
            true => vec![None; set.len()],
            false => {
                set.labels.iter().map(|&l| Some(u32::from(l)).filter(|l| *l < known)).collect()
            }
        };
        let names = (1..=set.len()).map(|row| row.to_string()).collect();
        Ok(Examples { x, labels, foreign: 0, names, source: set.name.clone() })
    }

    /// `n` samples of the generator with its output noise, its batch norms using running moments.
    pub(super) fn generated(&self, n: usize, seed: Seed) -> Result<Tensor> {
        let generator = self.model.generator();
        Ok(generator.draw(n, BatchNormMoments::Running, &mut seed.host_noise())?.x)
    }

    /// `n` exact samples of a flow.
    pub(super) fn exact(&self, n: usize, seed: Seed) -> Result<Option<Tensor>> {
        let flow = self.model.energy().as_nice();
        Ok(flow.map(|flow| flow.sample(n, &mut seed.host_noise())).transpose()?)
    }

    /// The test digits, where nothing else is given and the model is of digits.
    pub(super) fn usual(&self, request: &Request, seed: Seed) -> Result<Examples> {
        match self.image() {
            Some(event @ [1, 28, 28]) => self.of_set(&data::mnist(request)?.test, event, seed),
            Some([c, h, w]) => Err(Error::Usage(format!(
                "--data FOLDER: say which images of {c}x{h}x{w} are to be scored"
            ))),
            None => Err(Error::Usage(format!(
                "--data FILE.csv: say which table is to be scored; it needs the columns {}",
                listed(&self.columns())
            ))),
        }
    }
}
