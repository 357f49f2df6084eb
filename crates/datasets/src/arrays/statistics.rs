//! Stored statistics of features: a mean and a covariance, all that a Frechet distance looks at.
//!
//! Two kinds are read. Our own are safetensors files whose metadata says what the features are.
//! Those of other programs (pytorch-fid and its relatives) are `.npz` files with arrays `mu` and
//! `sigma`, which say neither what the features are nor how many rows are behind them.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use chains_core::checkpoint::save_tensors;

use super::{ArrayFile, Values};
use crate::error::{Error, Result};

/// `format` in the metadata of our own files.
const FORMAT: &str = "feature-statistics";
/// `format_version` there.
const VERSION: &str = "1";

/// What made the features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractorNote {
    /// The kind of features as the command line has it, such as `inception`.
    pub features: String,
    /// Id of the network, or `none` for rows that were given.
    pub id: String,
    /// How images became its input, in words.
    pub preprocessing: String,
}

/// Mean and covariance of features with what is known of their origin.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureStatistics {
    /// The mean, `(d,)`.
    pub mean: Vec<f64>,
    /// The covariance with the divisor `n - 1`, `(d, d)` by rows.
    pub covariance: Vec<f64>,
    /// Rows behind it; other programs do not say.
    pub n: Option<usize>,
    /// What made the features; other programs do not say.
    pub extractor: Option<ExtractorNote>,
    /// More about the origin: the data, versions, settings.
    pub notes: BTreeMap<String, String>,
}

impl FeatureStatistics {
    /// The statistics in a file, none if it holds something else.
    ///
    /// # Errors
    /// [`Error::Format`] if arrays are missing, misshapen or damaged, or a field of the metadata is
    /// wrong. Whether the covariance is one is not checked here.
    pub fn find(file: &ArrayFile) -> Result<Option<Self>> {
        if file.metadata().get("format").is_some_and(|format| format == FORMAT) {
            return Self::own(file).map(Some);
        }
        if file.contains("mu") && file.contains("sigma") {
            let (mean, covariance) = moments(file, "mu", "sigma")?;
            let notes = BTreeMap::new();
            return Ok(Some(Self { mean, covariance, n: None, extractor: None, notes }));
        }
        Ok(None)
    }

    fn own(file: &ArrayFile) -> Result<Self> {
        let mut notes = file.metadata().clone();
        notes.remove("format");
        let mut field = |name: &str| {
            notes.remove(name).ok_or_else(|| {
                Error::format(file.path(), 8, format!("metadata: field `{name}` is missing"))
            })
        };
        let wrong = |name: &str, value: &str, expected: &str| {
            let reason = format!("metadata: field `{name}` is `{value}`, expected {expected}");
            Error::format(file.path(), 8, reason)
        };
        let version = field("format_version")?;
        if version != VERSION {
            return Err(wrong("format_version", &version, VERSION));
        }
        let n = field("n")?;
        let rows = n.parse().map_err(|_| wrong("n", &n, "a whole number"))?;
        let extractor = ExtractorNote {
            features: field("features")?,
            id: field("extractor")?,
            preprocessing: field("preprocessing")?,
        };
        let (mean, covariance) = moments(file, "mean", "covariance")?;
        Ok(Self { mean, covariance, n: Some(rows), extractor: Some(extractor), notes })
    }

    /// Writes a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::Argument`] for statistics without origin or number of rows, or whose covariance is
    /// not `(d, d)`; [`Error::Core`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let (Some(n), Some(extractor)) = (self.n, &self.extractor) else {
            let reason = "the number of rows and the extractor must be known";
            return Err(Error::argument("statistics", reason));
        };
        let d = self.mean.len();
        if d.checked_mul(d) != Some(self.covariance.len()) {
            let reason = format!("{} entries for a mean of {d}", self.covariance.len());
            return Err(Error::argument("covariance", reason));
        }
        let tensors = [
            ("mean".to_owned(), Tensor::from_slice(&self.mean, d, &Device::Cpu)?),
            ("covariance".to_owned(), Tensor::from_slice(&self.covariance, (d, d), &Device::Cpu)?),
        ];
        let mut metadata = self.notes.clone();
        for (key, value) in [
            ("format", FORMAT.to_owned()),
            ("format_version", VERSION.to_owned()),
            ("n", n.to_string()),
            ("features", extractor.features.clone()),
            ("extractor", extractor.id.clone()),
            ("preprocessing", extractor.preprocessing.clone()),
        ] {
            metadata.insert(key.to_owned(), value);
        }
        Ok(save_tensors(path, &tensors, Some(metadata))?)
    }
}

/// The arrays of those names, `(d,)` and `(d, d)`.
fn moments(file: &ArrayFile, mean: &str, covariance: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let wrong = |reason: String| Error::format(file.path(), 0, reason);
    let dims = (file.info(mean)?.dims, file.info(covariance)?.dims);
    match (&dims.0[..], &dims.1[..]) {
        (&[d], &[rows, columns]) if rows == d && columns == d => {}
        (mu, sigma) => {
            return Err(wrong(format!(
                "`{mean}` is {mu:?} and `{covariance}` {sigma:?}, expected [d] and [d, d]"
            )));
        }
    }
    let read = |name: &str| match file.read(name)?.values {
        Values::F64(values) => Ok(values),
        Values::F32(values) => Ok(values.into_iter().map(f64::from).collect()),
        Values::U8(_) | Values::I64(_) => Err(wrong(format!("`{name}` holds integers"))),
    };
    Ok((read(mean)?, read(covariance)?))
}
