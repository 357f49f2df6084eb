//! The three sets: their shapes, the papers' models for them, where their files come from.

use std::path::{Path, PathBuf};

use datasets::{Cifar10, Colour, Crop, FolderOptions, ImageSet, contiguous_split, read_folder};
use infusion::{Architecture, ModelConfig};

use super::{
    super::{
        data::{Images, usage},
        settings::TrainSettings,
    },
    synthetic::blobs,
};
use crate::{
    error::{Error, Result},
    request::{Request, Scale},
};

/// Name endings of the files that count as images of a folder.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// A set of images that is not part of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// CIFAR-10, 32x32 pixels in colour.
    Cifar10,
    /// Aligned CelebA faces, the largest central square shrunk to 64x64 pixels in colour.
    CelebA,
    /// Toronto Face Database, 48x48 pixels in grey.
    Tfd,
}

impl Set {
    /// The paper's model (section 4).
    fn preset(self) -> ModelConfig {
        match self {
            Self::Cifar10 => ModelConfig::cifar10(),
            Self::CelebA => ModelConfig::celeba(),
            Self::Tfd => ModelConfig::tfd(),
        }
    }

    /// Channels, height and width of the images that these settings give.
    pub(super) fn event(self, settings: &TrainSettings) -> [usize; 3] {
        let by = if settings.pooled { 2 } else { 1 };
        let [channels, height, width] = self.preset().network.event;
        [channels, height / by, width / by]
    }

    /// Has the network transposed convolutions?
    pub(super) fn is_convolutional(self) -> bool {
        matches!(self.preset().network.architecture, Architecture::Deconv { .. })
    }

    /// How the model is trained.
    ///
    /// `paper`: network, T and rates are the paper's, section 4. Given nowhere, so chosen here: Adam
    /// with 1e-3 as in the published MNIST code, batches of 128, 500 epochs, the epoch with the best
    /// validation bound; CIFAR-10 has its last 5,000 training images for validation, CelebA its own
    /// three parts, TFD 90,000, 5,000 and 5,000 images.
    ///
    /// `quick`: an eighth of the channels (TFD: two layers of 400 units), fewer images and epochs, a
    /// rate that decays by half a cosine. `smoke`: two steps, two updates on synthetic images.
    pub(super) fn training(self, scale: Scale) -> TrainSettings {
        let ModelConfig { network, chain } = self.preset();
        let (Architecture::Deconv { widths: hidden } | Architecture::Mlp { hidden }) =
            network.architecture;
        let (train, validation, test) = match self {
            Self::Cifar10 => (45_000, 5_000, 10_000),
            Self::CelebA => (162_770, 19_867, 19_962),
            Self::Tfd => (90_000, 5_000, 5_000),
        };
        let paper = TrainSettings {
            train_images: train,
            validation_images: validation,
            test_images: test,
            hidden,
            steps: network.steps,
            rate: chain.rate.initial,
            rate_increment: chain.rate.increment,
            epochs: 500,
            batch_size: 128,
            statistics_images: train,
            ..TrainSettings::paper()
        };
        match scale {
            Scale::Paper => paper,
            Scale::Quick => self.quick(paper),
            Scale::Smoke => self.smoke(paper),
        }
    }

    /// Hidden layers of the small networks.
    fn narrow(self, hidden: &[usize], units: usize) -> Vec<usize> {
        if self.is_convolutional() {
            hidden.iter().map(|width| width / 8).collect()
        } else {
            vec![units; hidden.len()]
        }
    }

    /// Sizes from the time of an update: transposed convolutions take most of it on a CPU, 3 s for 32
    /// images of CIFAR-10 and 4 s for 16 of CelebA; an update of 64 images of TFD takes 0.25 s.
    fn quick(self, paper: TrainSettings) -> TrainSettings {
        let (train, epochs, batch_size) = match self {
            Self::Cifar10 => (1_920, 2, 32),
            Self::CelebA => (800, 2, 16),
            Self::Tfd => (8_000, 10, 64),
        };
        TrainSettings {
            train_images: train,
            validation_images: 256,
            test_images: 256,
            hidden: self.narrow(&paper.hidden, 400),
            epochs,
            batch_size,
            last_learning_rate: 1e-5,
            warmup: 10,
            followed: 64,
            statistics_images: 256,
            ..paper
        }
    }

    fn smoke(self, paper: TrainSettings) -> TrainSettings {
        TrainSettings {
            train_images: 8,
            validation_images: 4,
            test_images: 8,
            hidden: self.narrow(&paper.hidden, 32),
            steps: 2,
            // High enough that a state shows its target after one step.
            rate_increment: 0.2,
            epochs: 1,
            batch_size: 4,
            followed: 0,
            select: false,
            statistics_images: 8,
            ..paper
        }
    }

    /// What stands in the report about images and network.
    pub(super) fn description(self, scale: Scale) -> String {
        let images = match self {
            Self::Cifar10 => "CIFAR-10, 32x32 pixels",
            Self::CelebA => {
                "CelebA, aligned; the largest central square, shrunk to 64x64 pixels (the paper does \
                 not give its cut)"
            }
            Self::Tfd => "Toronto Face Database, 48x48 pixels",
        };
        match scale {
            Scale::Smoke => {
                "Synthetic images and two updates: this shows that the path works. No number is \
                 claimed at this scale."
                    .to_owned()
            }
            Scale::Quick => format!(
                "{images}. A network with an eighth of the paper's width and a short training on a \
                 part of the images: pictures fall short of the published ones."
            ),
            Scale::Paper => format!(
                "{images}. Optimiser, batches, epochs and splits are not in the paper; those used \
                 are below."
            ),
        }
    }

    /// Are the files there? At `smoke` none is needed.
    ///
    /// # Errors
    /// [`Error::Usage`] that says which files, from where, and where to put them.
    pub(super) fn ready(self, request: &Request) -> Result<()> {
        if request.scale == Scale::Smoke { Ok(()) } else { self.folder(request).map(drop) }
    }

    /// The images of the settings: files, or synthetic ones at `smoke`.
    ///
    /// # Errors
    /// [`Error::Usage`] if files are missing or malformed, or hold fewer images.
    pub(super) fn images(self, request: &Request, settings: &TrainSettings) -> Result<Images> {
        let sizes = [settings.train_images, settings.validation_images, settings.test_images];
        let pooled = settings.pooled;
        if request.scale == Scale::Smoke {
            let seed = request.stream().child("synthetic");
            let shape = self.preset().network.event;
            let all = blobs("synthetic", sizes.iter().sum(), shape, seed)?;
            return parts(&all, sizes, pooled);
        }
        let folder = self.folder(request)?;
        match self {
            Self::Cifar10 => {
                let Cifar10 { train, test } = Cifar10::load(&folder).map_err(usage)?;
                let Images { train, validation, .. } =
                    parts(&train, [sizes[0], sizes[1], 0], pooled)?;
                let [_, _, test_size] = sizes;
                let test = parts(&test, [0, 0, test_size], pooled)?.test;
                Ok(Images { train, validation, test, pooled })
            }
            Self::CelebA => parts(&read(&folder, 64, Colour::Rgb, sizes)?, sizes, pooled),
            Self::Tfd => parts(&read(&folder, 48, Colour::Grey, sizes)?, sizes, pooled),
        }
    }

    /// The folder with the files.
    fn folder(self, request: &Request) -> Result<PathBuf> {
        let child = match self {
            Self::Cifar10 => "cifar-10-batches-bin",
            Self::CelebA => "celeba",
            Self::Tfd => "tfd",
        };
        let places = match (&request.data, self) {
            (Some(dir), Self::Cifar10) => vec![dir.clone(), dir.join(child)],
            (Some(dir), _) => vec![dir.join(child)],
            (None, _) => Vec::new(),
        };
        if let Some(found) = places.iter().find(|place| self.holds(place)) {
            return Ok(found.clone());
        }
        let searched = if places.is_empty() {
            "no --data DIR was given".to_owned()
        } else {
            let places: Vec<_> = places.iter().map(|p| format!("`{}`", p.display())).collect();
            format!("searched {}", places.join(", "))
        };
        Err(Error::Missing(format!("{} {searched}", self.wanted())))
    }

    /// Does the folder look like the set? The files are checked when they are read.
    fn holds(self, place: &Path) -> bool {
        match self {
            Self::Cifar10 => {
                let batch = |i| place.join(format!("data_batch_{i}.bin")).is_file();
                (1..=5).all(batch) && place.join("test_batch.bin").is_file()
            }
            Self::CelebA | Self::Tfd => has_image(place, 1),
        }
    }

    /// Which files are needed, where they come from, where to put them.
    fn wanted(self) -> &'static str {
        match self {
            Self::Cifar10 => {
                "needs CIFAR-10: data_batch_1.bin to data_batch_5.bin and test_batch.bin of the \
                 binary version, from the CIFAR-10 page of Alex Krizhevsky (University of Toronto; \
                 no registration, no licence stated); put them into DIR or \
                 DIR/cifar-10-batches-bin and give --data DIR;"
            }
            Self::CelebA => {
                "needs CelebA: the aligned and cropped faces (img_align_celeba), from the page \
                 \"Large-scale CelebFaces Attributes (CelebA) Dataset\" of the Multimedia \
                 Laboratory, Chinese University of Hong Kong (non-commercial research only, by its \
                 agreement); put the .jpg files into DIR/celeba and give --data DIR;"
            }
            Self::Tfd => {
                "needs the Toronto Face Database (Susskind, Anderson, Hinton 2010), which its \
                 authors at the University of Toronto hand out on request; save its 48x48 images as \
                 .png into DIR/tfd and give --data DIR;"
            }
        }
    }
}

/// Is there an image in the folder, or `depth` folders below it?
fn has_image(place: &Path, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(place) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ENDINGS.contains(&ending.as_str()) || (depth > 0 && has_image(&path, depth - 1))
    })
}

/// As many images of a folder as the three parts need.
fn read(dir: &Path, side: u32, colour: Colour, sizes: [usize; 3]) -> Result<ImageSet> {
    let limit = Some(sizes.iter().sum());
    let options = FolderOptions { height: side, width: side, crop: Crop::Square, colour, limit };
    Ok(read_folder(dir, &options).map_err(usage)?.set)
}

/// Training, validation and test images one after the other. For CelebA that is the official
/// partition if all images are taken.
fn parts(all: &ImageSet, sizes: [usize; 3], pooled: bool) -> Result<Images> {
    let ranges = contiguous_split(all.len(), &sizes).map_err(|_| {
        let keys = "`train_images`, `validation_images` or `test_images`";
        Error::Usage(format!(
            "`{}` has {} images, {} + {} + {} were asked for; add images or lower {keys} with --set",
            all.name,
            all.len(),
            sizes[0],
            sizes[1],
            sizes[2],
        ))
    })?;
    let part = |range: &std::ops::Range<usize>| all.range(range.clone());
    Ok(Images {
        train: part(&ranges[0]),
        validation: part(&ranges[1]),
        test: part(&ranges[2]),
        pooled,
    })
}
