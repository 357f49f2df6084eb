//! Sets of images that are not part of the repository: their shapes, where their files come from, and
//! synthetic images in their place at `smoke`.

mod synthetic;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use datasets::{Cifar10, Colour, Crop, FolderOptions, ImageSet, contiguous_split, read_folder};

use self::synthetic::blobs;
use crate::{
    data::usage,
    error::{Error, Result},
    images::{Cut, Images},
    request::{Request, Scale},
};

/// Name endings of the files that count as images of a folder.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// A set of images that experiments of several papers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    /// CIFAR-10, 32x32 pixels in colour.
    Cifar10,
    /// Street View House Numbers, cropped digits, 32x32 pixels in colour.
    Svhn,
    /// Aligned CelebA faces, the largest central square shrunk to 64x64 pixels in colour.
    CelebA,
    /// The same faces cut closer: the central 148x148 pixels, shrunk to 64x64.
    CelebAClose,
    /// CelebA-HQ, faces of 256x256 pixels in colour.
    CelebAHq,
    /// LSUN, churches from outside: the largest central square, shrunk to 64x64 pixels in colour.
    LsunChurch,
    /// Toronto Face Database, 48x48 pixels in grey.
    Tfd,
}

impl Collection {
    /// Channels, height and width of its images; averages of 2x2 pixels if they are `pooled`.
    pub(crate) fn event(self, pooled: bool) -> [usize; 3] {
        let by = if pooled { 2 } else { 1 };
        let [channels, height, width] = match self {
            Self::Cifar10 | Self::Svhn => [3, 32, 32],
            Self::CelebA | Self::CelebAClose | Self::LsunChurch => [3, 64, 64],
            Self::CelebAHq => [3, 256, 256],
            Self::Tfd => [1, 48, 48],
        };
        [channels, height / by, width / by]
    }

    /// Images in training, validation and test at the scale of a paper, where the paper does not say.
    /// CIFAR-10 and SVHN have their last 5,000 training images for validation, CelebA its own three
    /// parts, CelebA-HQ the last 3,000 images, LSUN as many as its own file, TFD 90,000, 5,000 and 5,000
    /// images.
    pub(crate) fn sizes(self) -> [usize; 3] {
        match self {
            Self::Cifar10 => [45_000, 5_000, 10_000],
            Self::Svhn => [68_257, 5_000, 26_032],
            Self::CelebA | Self::CelebAClose => [162_770, 19_867, 19_962],
            Self::CelebAHq => [27_000, 3_000, 0],
            Self::LsunChurch => [126_000, 227, 0],
            Self::Tfd => [90_000, 5_000, 5_000],
        }
    }

    /// What it is, for a report.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Cifar10 => "CIFAR-10, 32x32 pixels",
            Self::Svhn => "SVHN, cropped digits, 32x32 pixels",
            Self::CelebA => "CelebA, aligned; the largest central square, shrunk to 64x64 pixels",
            Self::CelebAClose => "CelebA, aligned; the central 148x148 pixels, shrunk to 64x64",
            Self::CelebAHq => "CelebA-HQ, 256x256 pixels",
            Self::LsunChurch => "LSUN churches; the largest central square, shrunk to 64x64 pixels",
            Self::Tfd => "Toronto Face Database, 48x48 pixels",
        }
    }

    /// Are the files there? At `smoke` none is needed.
    ///
    /// # Errors
    /// [`Error::Missing`] that says which files, from where, and where to put them.
    pub(crate) fn ready(self, request: &Request) -> Result<()> {
        if request.scale == Scale::Smoke { Ok(()) } else { self.folder(request).map(drop) }
    }

    /// The images, training, validation and test in the order of the files: files, or synthetic ones
    /// at `smoke`. `noun` is how the settings call them, in keys such as `train_images`.
    ///
    /// # Errors
    /// [`Error::Missing`] as [`Collection::ready`]; [`Error::Usage`] if files are malformed or hold
    /// fewer images.
    pub(crate) fn images(self, request: &Request, cut: &Cut, noun: &str) -> Result<Images> {
        if request.scale == Scale::Smoke {
            let seed = request.stream().child("synthetic");
            let n = cut.train + cut.validation + cut.test;
            return parts(&blobs("synthetic", n, self.event(false), seed)?, cut, noun);
        }
        let folder = self.folder(request)?;
        let [_, side, _] = self.event(false);
        let read = |place: &Path, n| read(place, (side as u32, self.crop()), self.colours(), n);
        match self {
            Self::Cifar10 => {
                let Cifar10 { train, test } = Cifar10::load(&folder).map_err(usage)?;
                two_files(&train, &test, cut, noun)
            }
            Self::Svhn if has_parts(&folder) => {
                let train = read(&folder.join("train"), cut.train + cut.validation)?;
                let test = read(&folder.join("test"), cut.test)?;
                two_files(&train, &test, cut, noun)
            }
            _ => parts(&read(&folder, cut.train + cut.validation + cut.test)?, cut, noun),
        }
    }

    fn crop(self) -> Crop {
        match self {
            Self::CelebAClose => Crop::Window { height: 148, width: 148 },
            _ => Crop::Square,
        }
    }

    fn colours(self) -> Colour {
        if self == Self::Tfd { Colour::Grey } else { Colour::Rgb }
    }

    /// The folder with the files.
    fn folder(self, request: &Request) -> Result<PathBuf> {
        let child = match self {
            Self::Cifar10 => "cifar-10-batches-bin",
            Self::Svhn => "svhn",
            Self::CelebA | Self::CelebAClose => "celeba",
            Self::CelebAHq => "celeba-hq",
            Self::LsunChurch => "lsun-church",
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
            _ => has_image(place, 1),
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
            Self::Svhn => {
                "needs SVHN: the cropped digits (format 2, 32x32 pixels) of \"The Street View House \
                 Numbers (SVHN) Dataset\", from its page at Stanford University (non-commercial use \
                 only); it comes as MATLAB files train_32x32.mat and test_32x32.mat, which are not \
                 read: save their images as .png into DIR/svhn/train and DIR/svhn/test (or all into \
                 DIR/svhn, training images first by name) and give --data DIR;"
            }
            Self::CelebA | Self::CelebAClose => {
                "needs CelebA: the aligned and cropped faces (img_align_celeba), from the page \
                 \"Large-scale CelebFaces Attributes (CelebA) Dataset\" of the Multimedia \
                 Laboratory, Chinese University of Hong Kong (non-commercial research only, by its \
                 agreement); put the .jpg files into DIR/celeba and give --data DIR;"
            }
            Self::CelebAHq => {
                "needs CelebA-HQ: the 30,000 faces of \"Progressive Growing of GANs\" (Karras and others \
                 2018), made from CelebA by its authors' program (non-commercial research only, as \
                 CelebA); save them as .png or .jpg of 256x256 pixels or more into DIR/celeba-hq and \
                 give --data DIR;"
            }
            Self::LsunChurch => {
                "needs LSUN: the category church_outdoor of the \"Large-scale Scene Understanding\" \
                 challenge, from its page at Princeton University (no licence stated); it comes as an \
                 LMDB file, which is not read: save its training images as .jpg into DIR/lsun-church, \
                 those of validation last by name, and give --data DIR;"
            }
            Self::Tfd => {
                "needs the Toronto Face Database (Susskind, Anderson, Hinton 2010), which its \
                 authors at the University of Toronto hand out on request; save its 48x48 images as \
                 .png into DIR/tfd and give --data DIR;"
            }
        }
    }
}

/// Has the folder a training and a test part of its own?
fn has_parts(folder: &Path) -> bool {
    ["train", "test"].iter().all(|part| has_image(&folder.join(part), 0))
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

/// The first `n` images of a folder.
fn read(dir: &Path, (side, crop): (u32, Crop), colour: Colour, n: usize) -> Result<ImageSet> {
    let limit = Some(n);
    let options = FolderOptions { height: side, width: side, crop, colour, limit };
    Ok(read_folder(dir, &options).map_err(usage)?.set)
}

/// Training and validation images of one file, test images of another.
fn two_files(train: &ImageSet, test: &ImageSet, cut: &Cut, noun: &str) -> Result<Images> {
    let first = parts(train, &Cut { test: 0, ..cut.clone() }, noun)?;
    let last = parts(test, &Cut { train: 0, validation: 0, ..cut.clone() }, noun)?;
    Ok(Images { test: last.test, ..first })
}

/// Training, validation and test images one after the other. For CelebA that is the official
/// partition if all images are taken.
fn parts(all: &ImageSet, cut: &Cut, noun: &str) -> Result<Images> {
    let sizes = [cut.train, cut.validation, cut.test];
    let ranges = contiguous_split(all.len(), &sizes).map_err(|_| {
        let keys = format!("`train_{noun}`, `validation_{noun}` or `test_{noun}`");
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
        pooled: cut.pooled,
    })
}
