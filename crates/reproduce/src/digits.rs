//! The digit networks that ship with the repository, and the scores that they give.
//!
//! Two networks of two seeds: rankings of models by which they differ mean nothing. Scores compare
//! only with scores of the same weights, whose digest is in the id of every metric.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Seed,
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE},
    train::{Event, Observer},
};
use datasets::{ImageSet, permutation};
use eval_metrics::{
    Boundary, FrechetOptions, KidBlocks, classifier_score_from_logits, frechet_distance_of_rows,
    networks::{DigitClassifier, FeatureExtractor},
};
use ndarray::{Array2, Axis};

use crate::{
    arrays::{rows, score},
    error::{Error, Result},
    results::Metric,
};

/// Labels of the shipped networks, and their folders below the root of the repository.
pub const SHIPPED: [(&str, &str); 2] =
    [("a", "checkpoints/mnist-classifier"), ("b", "checkpoints/mnist-classifier-b")];

/// Images between two events of progress.
const BLOCK: usize = 1000;
/// How bytes came to be where they were given as such.
const BYTES: &str = "none, the images are bytes";
/// How floats become bytes.
const FLOOR: &str = "floor(256 x), clipped to 0..255";

/// A digit network that scores images.
pub struct Judge {
    /// `a` or `b`.
    pub label: String,
    /// The network.
    pub classifier: DigitClassifier,
}

/// The shipped networks.
///
/// # Errors
/// As [`ready`]; [`Error::Chains`] for a damaged one.
pub fn open(root: &Path, device: &Device) -> Result<Vec<Judge>> {
    ready(root)?;
    let one = |(label, folder): &(&str, &str)| {
        let classifier = DigitClassifier::load(&root.join(folder), device)?;
        Ok(Judge { label: (*label).to_owned(), classifier })
    };
    SHIPPED.iter().map(one).collect()
}

/// Are the shipped networks there?
///
/// # Errors
/// [`Error::Missing`] that names the folders and how to make them.
pub fn ready(root: &Path) -> Result<()> {
    let lacks = |dir: &PathBuf| [CONFIG_FILE, WEIGHTS_FILE].iter().any(|f| !dir.join(f).is_file());
    let missing: Vec<String> = SHIPPED
        .iter()
        .map(|(_, folder)| root.join(folder))
        .filter(lacks)
        .map(|dir| dir.display().to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Missing(format!(
        "the digit networks behind scores of MNIST samples are not there: {}; check them out again, \
         or train them with `cargo xtask reproduce metrics --experiment mnist-classifier --scale \
         paper` and copy its checkpoints there (other weights give other scores)",
        missing.join(", ")
    )))
}

/// The numbers `0..n` in a random order that is the same in every run: the first are a reference, the
/// next give its floor.
///
/// Files are no random order. The digits of the second half of MNIST's test file were written by other
/// people than those of the first, and are several times as far from them as two random halves.
pub fn order(n: usize) -> Vec<usize> {
    permutation(n, Seed::new(0).child("digit-reference"))
}

/// The images of the first `n` numbers of [`order()`], a reference, and of the next `n`, which show
/// what real images score against it.
///
/// # Errors
/// [`Error::Usage`] if there are fewer than `2 n` images.
pub fn halves(set: &ImageSet, n: usize) -> Result<[ImageSet; 2]> {
    if 2 * n > set.len() {
        let (name, len) = (&set.name, set.len());
        return Err(Error::Usage(format!("`{name}` has {len} images, not twice {n}")));
    }
    let order = order(set.len());
    Ok([&order[..n], &order[n..2 * n]].map(|half| set.select(half)))
}

/// What one network says about a set of images.
#[derive(Clone, Debug)]
pub struct View {
    /// `(n, 128)`.
    pub features: Array2<f32>,
    /// `(n, 10)`.
    pub logits: Array2<f32>,
    label: String,
    extractor: String,
    preprocessing: &'static str,
    quantisation: &'static str,
}

impl View {
    /// Of bytes `(n, 1, 28, 28)` or `(n, 1, 32, 32)`.
    ///
    /// # Errors
    /// [`Error::Chains`] for other images; those of the observer.
    pub fn of_bytes(judge: &Judge, images: &Tensor, observer: &mut dyn Observer) -> Result<Self> {
        let n = images.dims().first().copied().unwrap_or(0);
        observer.observe(&Event::Started { stage: "features", step: 0, total: Some(n) })?;
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        // An empty set is the network's to refuse.
        for start in (0..n.max(1)).step_by(BLOCK) {
            let block = images.narrow(0, start, BLOCK.min(n - start))?;
            let found = judge.classifier.activations(&block)?;
            features.push(found.features);
            logits.push(found.logits);
            observer.observe(&Event::Scalars { step: n.min(start + BLOCK), values: &[] })?;
        }
        observer.observe(&Event::Finished { step: n })?;
        Ok(Self {
            features: rows(&Tensor::cat(&features, 0)?)?,
            logits: rows(&Tensor::cat(&logits, 0)?)?,
            label: judge.label.clone(),
            extractor: judge.classifier.id().to_owned(),
            preprocessing: judge.classifier.preprocessing(),
            quantisation: BYTES,
        })
    }

    /// Of a set of grey images.
    ///
    /// # Errors
    /// As [`View::of_bytes`].
    pub fn of_set(judge: &Judge, set: &ImageSet, observer: &mut dyn Observer) -> Result<Self> {
        let shape = (set.len(), set.channels, set.height, set.width);
        let images = Tensor::from_slice(&set.images, shape, &Device::Cpu)?;
        Self::of_bytes(judge, &images, observer)
    }

    /// Of images in `[0, 1)`, quantised first, see [`quantise`].
    ///
    /// # Errors
    /// As [`View::of_bytes`] and [`quantise`].
    pub fn of_floats(judge: &Judge, images: &Tensor, observer: &mut dyn Observer) -> Result<Self> {
        let view = Self::of_bytes(judge, &quantise(images)?, observer)?;
        Ok(Self { quantisation: FLOOR, ..view })
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.features.nrows()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The view of the images with these numbers, in this order.
    ///
    /// # Panics
    /// If a number is not below [`View::len`], like a slice.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let (features, logits) =
            (self.features.select(Axis(0), indices), self.logits.select(Axis(0), indices));
        Self { features, logits, ..self.clone() }
    }

    /// Classes, of equal logits the first.
    pub fn classes(&self) -> Vec<usize> {
        let first_largest = |row: ndarray::ArrayView1<'_, f32>| {
            let mut best = (0, f32::NEG_INFINITY);
            for (class, &value) in row.iter().enumerate() {
                if value > best.1 {
                    best = (class, value);
                }
            }
            best.0
        };
        self.logits.outer_iter().map(first_largest).collect()
    }

    /// Mean probability of the class that an image is given.
    pub fn confidence(&self) -> f64 {
        let one = |row: ndarray::ArrayView1<'_, f32>| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| f64::from(v - largest).exp()).sum();
            1.0 / sum
        };
        self.logits.outer_iter().map(one).sum::<f64>() / self.len().max(1) as f64
    }

    /// A metric with what its settings must say of this view.
    pub fn metric(&self, name: impl Into<String>, value: f64, unit: &str) -> Metric {
        Metric::new(name, value, unit)
            .n(self.len())
            .setting("network", self.label.as_str())
            .setting("extractor", self.extractor.as_str())
            .setting("preprocessing", self.preprocessing)
            .setting("quantisation", self.quantisation)
    }

    fn against(&self, name: &str, value: f64, reference: &Self) -> Metric {
        self.metric(name, value, "").setting("n_real", reference.len())
    }
}

/// `mnist-fid`: the squared Frechet distance of the features of samples and of real images. It is
/// biased upwards for few images, so compare equal numbers only, and print the distance of two sets
/// of real images beside it.
///
/// # Errors
/// [`Error::Usage`] for fewer than two images, or views of different networks.
pub fn mnist_fid(samples: &View, reference: &View) -> Result<Metric> {
    check_same(samples, reference)?;
    let (real, fake) = (reference.features.view(), samples.features.view());
    let found = score(frechet_distance_of_rows(real, fake, &FrechetOptions::default()))?;
    Ok(samples.against("mnist-fid", found.value, reference))
}

/// `kid` on the features of the digit network, whole sets of at most 1,000 images, else 100 subsets
/// of 1,000. Not to be compared with numbers on the features of 2015.
///
/// # Errors
/// As [`mnist_fid`].
pub fn kid(samples: &View, reference: &View) -> Result<Metric> {
    check_same(samples, reference)?;
    let blocks = match samples.len().min(reference.len()) {
        n if n <= 1000 => KidBlocks::Whole,
        _ => KidBlocks::default(),
    };
    let found =
        score(eval_metrics::kid(reference.features.view(), samples.features.view(), blocks))?;
    let mut metric = samples.against("kid", found.value, reference);
    if let Some(spread) = found.std_dev {
        metric = metric.setting("spread", spread).setting("spread_of", "subsets");
    }
    if let KidBlocks::Subsets { count, size, seed } = blocks {
        let settings = [("subsets", count), ("subset_size", size)];
        metric = settings.into_iter().fold(metric, |metric, (key, n)| metric.setting(key, n));
        metric = metric.setting("subset_seed", seed);
    }
    Ok(metric)
}

/// `precision`, `recall`, `density` and `coverage` on the features, open balls to the fifth
/// neighbour.
///
/// # Errors
/// As [`mnist_fid`], for fewer than six images.
pub fn prdc(samples: &View, reference: &View) -> Result<[Metric; 4]> {
    check_same(samples, reference)?;
    let (real, fake) = (reference.features.view(), samples.features.view());
    let found = score(eval_metrics::prdc(real, fake, 5, Boundary::Open))?;
    let metric = |name, value| {
        samples.against(name, value, reference).setting("k", found.k).setting("balls", "open")
    };
    Ok([
        metric("precision", found.precision),
        metric("recall", found.recall),
        metric("density", found.density),
        metric("coverage", found.coverage),
    ])
}

/// `classifier-score`: the inception-score formula on the logits, one split; from 1 to 10.
///
/// # Errors
/// [`Error::Usage`] for no images.
pub fn classifier_score(samples: &View) -> Result<Metric> {
    let found = score(classifier_score_from_logits(samples.logits.view(), 1))?;
    Ok(samples.metric("classifier-score", found.mean, "exp nats").setting("splits", 1))
}

/// Bytes of images in `[0, 1)`: `floor(256 x)`, the inverse of dequantisation; what lies outside is
/// clipped.
///
/// # Shapes
/// `(n, 784)` or `(n, 1, 28, 28)`; the result `(n, 1, 28, 28)`, u8.
///
/// # Errors
/// [`Error::Usage`] for other shapes, and for pixels that are not numbers.
pub fn quantise(images: &Tensor) -> Result<Tensor> {
    let n = match *images.dims() {
        [n, 784] | [n, 1, 28, 28] => n,
        _ => {
            let got = images.dims();
            let message = format!("digits: expected (n, 784) or (n, 1, 28, 28), got {got:?}");
            return Err(Error::Usage(message));
        }
    };
    let values = images.to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::F32)?;
    let values = values.to_vec1::<f32>()?;
    if let Some(at) = values.iter().position(|value| value.is_nan()) {
        return Err(Error::Usage(format!("image {}: a pixel is not a number", at / 784)));
    }
    // The cast clips.
    let bytes = values.iter().map(|value| (256.0 * value).floor() as u8).collect::<Vec<_>>();
    Ok(Tensor::from_vec(bytes, (n, 1, 28, 28), images.device())?)
}

fn check_same(samples: &View, reference: &View) -> Result<()> {
    if samples.extractor == reference.extractor {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "features of `{}` and of `{}` do not compare",
        samples.extractor, reference.extractor
    )))
}

#[cfg(test)]
mod tests;
