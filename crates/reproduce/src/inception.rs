//! The ImageNet network behind FID and the inception score: where it lies, and the score of samples.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE},
    train::{Event, Observer},
};
use eval_metrics::{
    ClassifierScore, inception_score,
    networks::{FeatureExtractor, INCEPTION_FILES, Inception, InceptionOptions},
};
use ndarray::Array2;

use crate::{
    arrays::score,
    error::{Error, Result},
    images::{Images, blocks},
    report::{Align, Table},
    request::{Request, Scale},
    results::Metric,
    run::Run,
};

/// The name of the weights on the command line and of their folder.
pub(crate) const NAME: &str = "inception";
/// Splits of published scores.
const SPLITS: usize = 10;
/// Images in a call of the network.
const ROWS: usize = 32;
/// Samples behind every published score.
pub(crate) const PUBLISHED_SAMPLES: usize = 50_000;
/// Fewest images with a score: every split needs one.
pub(crate) const LEAST: usize = SPLITS;

/// Where converted weights are looked for below the root of the repository.
pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join(".cache").join(NAME)
}

/// The network.
///
/// # Errors
/// [`Error::Missing`] if it is not there, with how to get it; [`Error::Format`] if it is damaged.
pub(crate) fn open(root: &Path, device: &Device) -> Result<Inception> {
    if let Some(missing) = missing(root) {
        return Err(Error::Missing(missing));
    }
    Ok(Inception::load(&folder(root), InceptionOptions::default(), device)?)
}

/// Which file is missing and how to get it, if one is.
pub(crate) fn missing(root: &Path) -> Option<String> {
    let dir = folder(root);
    let files = [WEIGHTS_FILE, CONFIG_FILE].map(|name| dir.join(name));
    let gone = files.iter().find(|file| !file.is_file())?;
    Some(format!(
        "{} is not there; get {} and run `cargo xtask fetch inception --from FILE`",
        gone.display(),
        INCEPTION_FILES.join(" or ")
    ))
}

/// Beyond `smoke` there must be a network to score CIFAR-10 samples with, before they are trained for.
///
/// # Errors
/// [`Error::Missing`] with how to get it.
pub(crate) fn ready(request: &Request) -> Result<()> {
    match missing(&request.root).filter(|_| request.scale != Scale::Smoke) {
        None => Ok(()),
        Some(missing) => Err(Error::Missing(format!(
            "needs the Inception network of the FID papers: {missing}; `cifar10-samples` trains and \
             shows the same model without it"
        ))),
    }
}

/// What is scored for a table of a paper.
pub(crate) struct Scored<'a> {
    /// Samples, `(n, D)` with pixels in `[0, 1]`.
    pub(crate) samples: &'a Tensor,
    /// What they are of their chains.
    pub(crate) of: &'static str,
    /// Test images that are scored beside them.
    pub(crate) test: usize,
    /// The rows of the published table.
    pub(crate) table: &'static [[&'static str; 2]],
    /// The published score of this model.
    pub(crate) published: f64,
}

/// Scores samples and test images, and sets them beside the published table. At `smoke` nothing is
/// scored, and the report says so.
///
/// # Errors
/// As [`open`] and [`samples_score`].
pub(crate) fn scores(run: &mut Run<'_>, images: &Images, scored: &Scored<'_>) -> Result<()> {
    run.paragraph("Published scores are of 50,000 samples; fewer lower a score.");
    let mut ours = Vec::new();
    let smoke = run.request.scale == Scale::Smoke;
    if smoke {
        let why = missing(&run.request.root).unwrap_or_else(|| "it is there".into());
        run.paragraph(format!(
            "No number is claimed at this scale: the samples are drawn and shown, the Inception \
             network is not run ({why})."
        ));
        ours.push(["ours".to_owned(), "not computed".to_owned()]);
    } else {
        let network = open(&run.request.root, &run.request.device)?;
        let test = images.scaled(&images.test, scored.test, scored.samples.device())?;
        for (name, rows) in [("samples", scored.samples), ("test", &test)] {
            let found = samples_score(&network, rows, images.event(), run.observer()?)?;
            let (metric, row) = reported(network.id(), name, rows.dim(0)?, &found, scored);
            run.metric(metric);
            ours.push(row);
        }
    }
    let mut table = Table::new([("Model", Align::Left), ("score", Align::Right)]);
    for row in scored.table {
        table.row(*row);
    }
    for row in ours {
        table.row(row);
    }
    run.table(table);
    if !smoke {
        run.paragraph("Ours: ± is the standard deviation over ten splits.");
    }
    Ok(())
}

/// The metric of `n` images and its row of the table. The published score stands only beside that of
/// as many samples by the published weights.
fn reported(
    extractor: &str,
    name: &str,
    n: usize,
    found: &ClassifierScore,
    scored: &Scored<'_>,
) -> (Metric, [String; 2]) {
    // The score is defined by the published weights.
    let verified = !extractor.contains(":unverified-");
    let score = if verified { "inception_score" } else { "classifier_score" };
    let mut metric = Metric::new(format!("{score}_{name}"), found.mean, "").n(n);
    if let Some(std_error) = found.std_error {
        metric = metric.std_error(std_error);
    }
    metric = metric.setting("std_dev_over_splits", found.std_dev);
    metric = metric.setting("extractor", extractor);
    let samples = name == "samples";
    if samples {
        metric = metric.setting("of", scored.of);
    }
    if samples && n >= PUBLISHED_SAMPLES && verified {
        metric = metric.published(scored.published);
    }
    let what = if samples { "samples" } else { "test images" };
    let value = format!("{:.2} ± {:.2}", found.mean, found.std_dev);
    (metric, [format!("ours, {n} {what} ({})", score.replace('_', " ")), value])
}

/// The score of images `(n, D)` with pixels in `[0, 1]`, taken times 255 as published: over ten
/// splits, in their order.
///
/// # Errors
/// Of the network; [`Error::Usage`] for fewer images than splits.
pub(crate) fn samples_score(
    network: &dyn FeatureExtractor,
    images: &Tensor,
    event: [usize; 3],
    observer: &mut dyn Observer,
) -> Result<ClassifierScore> {
    let n = images.dim(0)?;
    observer.observe(&Event::Started { stage: NAME, step: 0, total: Some(n) })?;
    let mut logits = Vec::with_capacity(n * network.classes());
    for block in blocks(n, ROWS) {
        let rows = images.narrow(0, block[0], block.len())?;
        let [c, h, w] = event;
        let pixels = rows.clamp(0.0, 1.0)?.affine(255.0, 0.0)?.round()?.to_dtype(DType::U8)?;
        let found = network.activations(&pixels.reshape((block.len(), c, h, w))?)?;
        let found = found.logits.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        logits.extend(found.flatten_all()?.to_vec1::<f32>()?);
        observer.observe(&Event::Scalars { step: block[0] + block.len(), values: &[] })?;
    }
    observer.observe(&Event::Finished { step: n })?;
    let logits = Array2::from_shape_vec((n, network.classes()), logits)
        .map_err(|error| Error::Usage(error.to_string()))?;
    score(inception_score(logits.view(), SPLITS, None))
}

#[cfg(test)]
mod tests {
    use eval_metrics::networks::Activations;

    use super::*;

    /// Says of an image only what its first byte is.
    struct FirstByte;

    impl FeatureExtractor for FirstByte {
        fn id(&self) -> &str {
            "first-byte"
        }

        fn dim(&self) -> usize {
            1
        }

        fn classes(&self) -> usize {
            4
        }

        fn preprocessing(&self) -> &'static str {
            "none"
        }

        fn activations(&self, images: &Tensor) -> chains_core::Result<Activations> {
            assert_eq!((images.dtype(), &images.dims()[1..]), (DType::U8, &[3, 2, 1][..]));
            let bytes = images.flatten_from(1)?.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<u8>()?;
            let class = |byte: u8| [0, 100, 128, 255].iter().position(|known| *known == byte);
            let rows: Vec<f32> = bytes
                .iter()
                .flat_map(|byte| {
                    let mut row = [-1e4; 4];
                    row[class(*byte).unwrap()] = 0.0;
                    row
                })
                .collect();
            let logits = Tensor::from_vec(rows, (bytes.len(), 4), &Device::Cpu)?;
            Ok(Activations { features: logits.narrow(1, 0, 1)?, logits })
        }
    }

    #[test]
    fn pixels_reach_the_network_as_bytes_and_balanced_classes_score_their_number() {
        // 0.5 becomes 127.5, rounded away from zero; what leaves [0, 1] is clipped.
        let pixels = [-0.2_f32, 100.2 / 255.0, 0.5, 1.3];
        let rows: Vec<f32> = (0..80).flat_map(|n| [[pixels[n % 4]; 6]].concat()).collect();
        let images = Tensor::from_vec(rows, (80, 6), &Device::Cpu).unwrap();
        let mut nobody = ();
        let found = samples_score(&FirstByte, &images, [3, 2, 1], &mut nobody).unwrap();
        assert!((found.mean - 4.0).abs() < 1e-6, "{}", found.mean);
        assert_eq!(found.std_dev.to_bits(), 0.0_f64.to_bits());
        let few = images.narrow(0, 0, 9).unwrap();
        assert!(samples_score(&FirstByte, &few, [3, 2, 1], &mut nobody).is_err());
    }

    #[test]
    fn the_published_score_stands_only_beside_as_many_samples_of_the_published_network() {
        let samples = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        let table = &[["a model, published", "3.00"]];
        let scored = Scored { samples: &samples, of: "states", test: 1, table, published: 3.0 };
        let logits = Array2::<f32>::zeros((20, 4));
        let found = score(inception_score(logits.view(), SPLITS, None)).unwrap();
        for (extractor, name, n, published, metric) in [
            ("network", "samples", 50_000, Some(3.0), "inception_score_samples"),
            ("network", "samples", 49_999, None, "inception_score_samples"),
            ("network", "test", 50_000, None, "inception_score_test"),
            ("network:unverified-1", "samples", 50_000, None, "classifier_score_samples"),
        ] {
            let (got, [label, value]) = reported(extractor, name, n, &found, &scored);
            assert_eq!((got.name.as_str(), got.published, got.n), (metric, published, Some(n)));
            assert!(
                label.contains(&n.to_string()) && value.starts_with("1.00"),
                "{label}: {value}"
            );
        }
    }

    #[test]
    fn missing_weights_are_named_with_the_way_to_get_them() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(dir.path(), &Device::Cpu).map(drop).unwrap_err().to_string();
        for word in [".cache/inception/model.safetensors", "cargo xtask fetch inception --from"] {
            assert!(error.contains(word), "{error}");
        }
    }
}
