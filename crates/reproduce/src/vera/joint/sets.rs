//! Labelled photographs, and what a model of them should find unlikely.

use candle_core::{Device, Tensor};
use chains_core::{HostNoise, Seed};
use datasets::{
    Augmentation, Cifar100, Colour, Crop, FolderOptions, ImageSet, permutation, read_folder,
};
use vera::VeraModel;

use super::{super::game::Examples, evaluate::Look};
use crate::{
    colour_sets::Collection,
    data::{self, usage},
    error::{Error, Result},
    images::{Cut, Images},
    request::{Request, Scale},
};

/// A labelled set of 32x32 colour images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photographs {
    Cifar10,
    Cifar100,
    Svhn,
}

impl Photographs {
    /// K.
    pub(super) fn classes(self) -> usize {
        if self == Self::Cifar100 { 100 } else { 10 }
    }

    /// Images of the training and of the test file.
    pub(super) fn sizes(self) -> [usize; 2] {
        match self {
            Self::Cifar10 | Self::Cifar100 => [50_000, 10_000],
            Self::Svhn => [73_257, 26_032],
        }
    }

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
            Self::Svhn => "SVHN",
        }
    }

    /// Shifted crops of the reflected images; house numbers are not mirrored.
    pub(super) fn augmentation(self) -> Augmentation {
        Augmentation { flip: self != Self::Svhn, ..Augmentation::cifar() }
    }

    /// Table 3: accuracy in per cent of the classifier, of joint energy models by chains, of VERA
    /// with alpha 100.
    pub(super) fn published(self) -> [f64; 3] {
        match self {
            Self::Cifar10 => [95.8, 92.9, 93.2],
            Self::Cifar100 => [74.2, 72.2, 72.2],
            Self::Svhn => [97.7, 96.6, 96.8],
        }
    }

    /// Are the files there? At `smoke` none is needed.
    ///
    /// # Errors
    /// [`Error::Missing`] that says which files, and where to put them.
    pub(super) fn ready(self, request: &Request) -> Result<()> {
        if request.scale == Scale::Smoke {
            return Ok(());
        }
        match (self, &request.data) {
            (Self::Cifar10, _) => Collection::Cifar10.ready(request),
            (Self::Cifar100, None) => {
                Err(Error::Missing(format!("{CIFAR100_WANTED} no --data DIR was given")))
            }
            (Self::Cifar100, Some(dir)) => {
                let files = ["train.bin", "test.bin"];
                let child = dir.join("cifar-100-binary");
                let complete =
                    [dir, &child].iter().any(|dir| files.iter().all(|f| dir.join(f).is_file()));
                if complete {
                    return Ok(());
                }
                let (dir, child) = (dir.display(), child.display());
                Err(Error::Missing(format!("{CIFAR100_WANTED} searched `{dir}`, `{child}`")))
            }
            (Self::Svhn, data) => {
                let parts = data.as_ref().map(|dir| dir.join("svhn"));
                let there = parts.is_some_and(|dir| {
                    ["train", "test"].iter().all(|part| {
                        (0..10).all(|class| dir.join(part).join(class.to_string()).is_dir())
                    })
                });
                if there {
                    return Ok(());
                }
                Err(Error::Missing(SVHN_WANTED.into()))
            }
        }
    }

    /// The images of a cut, training images in a random order that is the same in every run; synthetic
    /// ones at `smoke`.
    ///
    /// # Errors
    /// As [`Photographs::ready`]; if files are malformed or hold too few images.
    pub(super) fn images(self, request: &Request, cut: &Cut) -> Result<Images> {
        if request.scale == Scale::Smoke {
            let Images { train, validation, test, pooled } =
                Collection::Cifar10.images(request, cut, "images")?;
            let with_labels = |set: ImageSet| {
                let labels = (0..set.len()).map(|i| (i % self.classes()) as u8).collect();
                ImageSet { labels, ..set }
            };
            let [train, validation, test] = [train, validation, test].map(with_labels);
            return Ok(Images { train, validation, test, pooled });
        }
        self.ready(request)?;
        let [train, test] = match (self, &request.data) {
            (Self::Cifar100, Some(dir)) => {
                let Cifar100 { train, test, .. } = Cifar100::load(dir).map_err(usage)?;
                [train, test]
            }
            (Self::Svhn, Some(dir)) => {
                let part = |part: &str| -> Result<ImageSet> {
                    let options = FolderOptions {
                        height: 32,
                        width: 32,
                        crop: Crop::Square,
                        colour: Colour::Rgb,
                        limit: None,
                    };
                    let dir = dir.join("svhn").join(part);
                    Ok(read_folder(&dir, &options).map_err(usage)?.set)
                };
                [part("train")?, part("test")?]
            }
            _ => {
                let [train, test] = self.sizes();
                let all = Cut { train, validation: 0, test, pooled: false };
                let Images { train, test, .. } =
                    Collection::Cifar10.images(request, &all, "images")?;
                [train, test]
            }
        };
        cut_of(&shuffled(&train), &shuffled(&test), cut)
    }
}

const CIFAR100_WANTED: &str = "needs CIFAR-100: train.bin and test.bin of the binary version, from the \
    CIFAR-10 page of Alex Krizhevsky (University of Toronto; no registration, no licence stated); put \
    them into DIR or DIR/cifar-100-binary and give --data DIR;";

const SVHN_WANTED: &str = "needs SVHN: the cropped digits (format 2, 32x32 pixels) of \"The Street View \
    House Numbers (SVHN) Dataset\", from its page at Stanford University (non-commercial use only); \
    save the images of its MATLAB files as .png into folders by class, DIR/svhn/train/0 to \
    DIR/svhn/train/9 and DIR/svhn/test/0 to DIR/svhn/test/9, and give --data DIR";

/// Files may be sorted by class.
fn shuffled(set: &ImageSet) -> ImageSet {
    let order = permutation(set.len(), Seed::new(0).child("photographs"));
    ImageSet { name: set.name.clone(), ..set.select(&order) }
}

fn cut_of(train: &ImageSet, test: &ImageSet, cut: &Cut) -> Result<Images> {
    for (set, wanted, keys) in [
        (train, cut.train + cut.validation, "train_images or validation_images"),
        (test, cut.test, "test_images"),
    ] {
        if wanted > set.len() {
            return Err(Error::Usage(format!(
                "`{}` has {} images, {wanted} were asked for; lower {keys} with --set",
                set.name,
                set.len()
            )));
        }
    }
    Ok(Images {
        train: train.range(0..cut.train),
        validation: train.range(cut.train..cut.train + cut.validation),
        test: test.range(0..cut.test),
        pooled: false,
    })
}

/// Images that are none of the model's: names as in Table 5 where it has them.
///
/// Further sets are taken where their files are found under `--data`.
///
/// # Errors
/// If files that are there are malformed.
pub(super) fn outliers(
    request: &Request,
    own: Photographs,
    test: &ImageSet,
    n: usize,
) -> Result<Vec<(String, ImageSet)>> {
    let n = n.min(test.len());
    let shape = [3, 32, 32];
    let mut noise = request.stream().child("outliers").host_noise();
    let mut sets = vec![
        ("uniform noise".to_owned(), ImageSet::uniform_noise(n, shape, &mut noise).map_err(usage)?),
        ("one level".to_owned(), ImageSet::constant(n, shape, &mut noise).map_err(usage)?),
    ];
    if n > 1 {
        sets.push(("interpolations".to_owned(), test.range(0..n).interpolated()));
    }
    match data::mnist(request) {
        Ok(files) => {
            let digits = files.test.range(0..n.min(files.test.len())).coloured(32);
            sets.push(("digits in colour".to_owned(), digits.map_err(usage)?));
        }
        Err(Error::Missing(_)) => {}
        Err(error) => return Err(error),
    }
    if request.scale == Scale::Smoke {
        return Ok(sets);
    }
    let cut = Cut { train: 0, validation: 0, test: n, pooled: false };
    for other in [Photographs::Svhn, Photographs::Cifar100, Photographs::Cifar10] {
        if other != own && other.ready(request).is_ok() {
            sets.push((other.name().to_owned(), other.images(request, &cut)?.test));
        }
    }
    if Collection::CelebA.ready(request).is_ok() {
        let faces = Collection::CelebA.images(request, &cut, "images")?.test;
        sets.push(("CelebA".to_owned(), faces.pooled2().map_err(usage)?));
    }
    Ok(sets)
}

/// Table 5, the area under the curve of `f` for VERA on CIFAR-10.
pub(super) fn published_area(own: Photographs, set: &str) -> Option<f64> {
    if own != Photographs::Cifar10 {
        return None;
    }
    match set {
        "SVHN" => Some(0.83),
        "CIFAR-100" => Some(0.73),
        "interpolations" => Some(0.86),
        "CelebA" => Some(0.33),
        _ => None,
    }
}

/// Labelled images, augmented, and those that are followed.
pub(super) struct Labelled<'a> {
    pub(super) images: &'a Images,
    pub(super) augmentation: Option<Augmentation>,
    /// Validation images that are classified after every epoch.
    pub(super) followed: usize,
}

impl Examples for Labelled<'_> {
    fn count(&self) -> usize {
        self.images.train.len()
    }

    fn digest(&self) -> String {
        let [train, validation, _] = self.images.digest();
        let (augmentation, followed) = (self.augmentation, self.followed);
        format!("{train} {augmentation:?}, following {followed} of {validation}")
    }

    fn batch(
        &self,
        indices: &[usize],
        noise: &mut HostNoise,
        device: &Device,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let set = &self.images.train;
        let x = match &self.augmentation {
            Some(augmentation) => set.augmented(indices, augmentation, noise),
            None => set.symmetric(indices),
        };
        let x = x.map_err(usage)?.reshape((indices.len(), set.channels, set.height, set.width))?;
        let classes: Vec<u32> = indices.iter().map(|i| u32::from(set.labels[*i])).collect();
        Ok((x.to_device(device)?, Some(Tensor::new(classes, device)?)))
    }

    fn accuracy(&self, model: &VeraModel) -> Result<Option<f64>> {
        let validation = &self.images.validation;
        let n = self.followed.min(validation.len());
        if n == 0 {
            return Ok(None);
        }
        let some = validation.range(0..n);
        Ok(Some(Look::of(model, &some, false)?.classes(&some.labels)?.0.value))
    }
}
