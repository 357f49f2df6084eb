//! What a PATH of the command line holds.

use std::path::Path;

use datasets::{
    Cifar10, ImageSet, Mnist,
    arrays::{
        ARRAY_ENDINGS, ArrayFile, ArrayInfo, Element, FeatureStatistics, Values, split_member,
    },
    read_idx_images,
};
use eval_metrics::Moments;
use ndarray::{Array1, Array2};

use super::{images::Images, settings::Settings};
use crate::error::{Error, Result};

/// Arrays that are meant where a file holds several and only one of these.
const USUAL: [&str; 4] = ["images", "samples", "features", "arr_0"];

/// A PATH and what it holds.
pub(super) struct Input {
    /// As the command line has it.
    pub(super) name: String,
    pub(super) data: Data,
}

/// What a PATH can hold.
pub(super) enum Data {
    Images(Images),
    Rows(Rows),
    Statistics(Statistics),
    /// One number for each example.
    Scores(Vec<f64>),
    Predictions(Predictions),
}

/// Rows of numbers, read anew by every pass.
pub(super) struct Rows {
    pub(super) file: ArrayFile,
    pub(super) info: ArrayInfo,
}

/// Mean and covariance that were computed earlier.
pub(super) struct Statistics {
    pub(super) moments: Moments,
    pub(super) stored: FeatureStatistics,
}

/// What a classifier said, and what was right.
pub(super) struct Predictions {
    pub(super) logits: Array2<f64>,
    pub(super) labels: Vec<i64>,
}

impl Input {
    /// Looks at what lies at a path; images and rows are read later.
    pub(super) fn open(path: &Path, settings: &Settings) -> Result<Self> {
        let name = path.display().to_string();
        let (file, member) = split_member(path);
        let member = member.as_deref();
        let ending = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let data = if !file.exists() {
            return Err(Error::Usage(format!("{name}: no such file or folder")));
        } else if file.is_dir() {
            Data::Images(folder(&name, &file, member, settings)?)
        } else if ARRAY_ENDINGS.contains(&ending.as_str()) {
            arrays(&name, ArrayFile::open(&file)?, member)?
        } else if name.contains("idx3-ubyte") {
            Data::Images(Images::set(&name, read_idx_images(&name, &file)?))
        } else {
            return Err(Error::Usage(format!(
                "{name}: expected a folder of images or a file that ends in .{}",
                ARRAY_ENDINGS.join(", .")
            )));
        };
        let input = Self { name, data };
        if input.n() == Some(0) {
            return Err(Error::Usage(format!("{}: there is nothing in it", input.name)));
        }
        Ok(input)
    }

    /// Images, rows or scores; not known for statistics of other programs.
    pub(super) fn n(&self) -> Option<usize> {
        match &self.data {
            Data::Images(images) => Some(images.n),
            Data::Rows(rows) => Some(rows.info.rows()),
            Data::Statistics(statistics) => statistics.stored.n,
            Data::Scores(scores) => Some(scores.len()),
            Data::Predictions(predictions) => Some(predictions.labels.len()),
        }
    }

    /// What it is, for people.
    pub(super) fn describe(&self) -> String {
        match &self.data {
            Data::Images(images) => {
                let [c, h, w] = images.shape;
                format!("{} images of {c}x{h}x{w} (channels x height x width)", images.n)
            }
            Data::Rows(rows) => {
                format!(
                    "{} rows of {} ({})",
                    rows.info.rows(),
                    rows.info.row_len(),
                    rows.info.element
                )
            }
            Data::Statistics(statistics) => {
                let n =
                    statistics.stored.n.map_or("an unstated number of".into(), |n| n.to_string());
                format!("statistics of {n} rows of {}", statistics.moments.width())
            }
            Data::Scores(scores) => format!("{} scores", scores.len()),
            Data::Predictions(predictions) => {
                let (n, classes) = predictions.logits.dim();
                format!("{n} rows of logits of {classes} classes with labels")
            }
        }
    }
}

/// Images of a folder, or a part of a data set that lies there in its own format.
fn folder(name: &str, dir: &Path, member: Option<&str>, settings: &Settings) -> Result<Images> {
    let Some((what, train, test)) = data_set(dir)? else {
        return match member {
            None => Images::folder(name, dir, settings),
            Some(member) => Err(Error::Usage(format!(
                "{name}: `{member}` selects a part of MNIST or CIFAR-10, and {} holds neither",
                dir.display()
            ))),
        };
    };
    match member {
        Some("train") => Ok(Images::set(name, train)),
        Some("test") => Ok(Images::set(name, test)),
        _ => Err(Error::Usage(format!(
            "{name}: holds {what}; say which part: {0}:train or {0}:test",
            dir.display()
        ))),
    }
}

/// Training and test images of MNIST or CIFAR-10, if they are in a folder.
fn data_set(dir: &Path) -> Result<Option<(&'static str, ImageSet, ImageSet)>> {
    let missing = |error: &datasets::Error| matches!(error, datasets::Error::Missing { .. });
    match Mnist::load(dir) {
        Ok(set) => return Ok(Some(("files of MNIST's kind", set.train, set.test))),
        Err(error) if missing(&error) => {}
        Err(error) => return Err(error.into()),
    }
    match Cifar10::load(dir) {
        Ok(set) => Ok(Some(("CIFAR-10", set.train, set.test))),
        Err(error) if missing(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn arrays(name: &str, file: ArrayFile, member: Option<&str>) -> Result<Data> {
    if let Some(member) = member {
        let info = file.info(member)?;
        return array(name, file, info);
    }
    if let Some(stored) = FeatureStatistics::find(&file)? {
        return statistics(name, stored).map(Data::Statistics);
    }
    if file.contains("logits") && file.contains("labels") {
        return predictions(name, &file).map(Data::Predictions);
    }
    let names: Vec<&str> = file.names().collect();
    let usual: Vec<&str> = USUAL.into_iter().filter(|usual| names.contains(usual)).collect();
    let info = match (&names[..], &usual[..]) {
        ([only], _) | (_, [only]) => file.info(only)?,
        ([], _) => return Err(Error::Usage(format!("{name}: holds no array"))),
        _ => {
            return Err(Error::Usage(format!(
                "{name}: holds `{}`; say which with {}:NAME",
                names.join("`, `"),
                file.path().display()
            )));
        }
    };
    array(name, file, info)
}

fn array(name: &str, file: ArrayFile, info: ArrayInfo) -> Result<Data> {
    let float = matches!(info.element, Element::F16 | Element::Bf16 | Element::F32 | Element::F64);
    match info.dims.len() {
        2 if float || info.element == Element::U8 => Ok(Data::Rows(Rows { file, info })),
        3 | 4 if info.element == Element::U8 => Images::array(name, file, &info).map(Data::Images),
        1 if float => {
            let values = floats(file.read(&info.name)?.values);
            Ok(Data::Scores(values))
        }
        3 | 4 => Err(Error::Usage(format!(
            "{name}: `{}` holds images as {} {:?}; scores are of 8-bit images, and the rule that \
             makes them is a choice of yours: save for example \
             (255 * x).round().clip(0, 255).astype('uint8')",
            info.name, info.element, info.dims
        ))),
        _ => Err(Error::Usage(format!(
            "{name}: `{}` is {} {:?}; expected u8 images, rows of floats (n, d), or scores (n)",
            info.name, info.element, info.dims
        ))),
    }
}

fn statistics(name: &str, stored: FeatureStatistics) -> Result<Statistics> {
    let d = stored.mean.len();
    let wrong = |error: &dyn std::fmt::Display| Error::Usage(format!("{name}: {error}"));
    let covariance =
        Array2::from_shape_vec((d, d), stored.covariance.clone()).map_err(|e| wrong(&e))?;
    // An unstated number is taken for a large one: the root is then factored by the other side.
    let n = stored.n.unwrap_or(usize::MAX);
    let moments = Moments::new(Array1::from_vec(stored.mean.clone()), covariance, n)
        .map_err(|error| wrong(&error))?;
    Ok(Statistics { moments, stored })
}

fn predictions(name: &str, file: &ArrayFile) -> Result<Predictions> {
    let (logits, labels) = (file.read("logits")?, file.read("labels")?);
    let wrong = |what: &str, info: &ArrayInfo, expected: &str| {
        let (element, dims) = (info.element, &info.dims);
        Error::Usage(format!("{name}: `{what}` is {element} {dims:?}, expected {expected}"))
    };
    let expected = "floats (n, classes)";
    let (&[n, classes], false) = (&logits.info.dims[..], matches!(logits.values, Values::I64(_)))
    else {
        return Err(wrong("logits", &logits.info, expected));
    };
    let shaped = Array2::from_shape_vec((n, classes), floats(logits.values));
    let logits = shaped.map_err(|_| wrong("logits", &logits.info, expected))?;
    let values = match (labels.info.dims.len(), labels.values) {
        (1, Values::I64(values)) => values,
        (1, Values::U8(values)) => values.into_iter().map(i64::from).collect(),
        _ => return Err(wrong("labels", &labels.info, "integers (n)")),
    };
    Ok(Predictions { logits, labels: values })
}

/// Numbers in f64.
fn floats(values: Values) -> Vec<f64> {
    match values {
        Values::U8(values) => values.into_iter().map(f64::from).collect(),
        Values::I64(values) => values.into_iter().map(|value| value as f64).collect(),
        Values::F32(values) => values.into_iter().map(f64::from).collect(),
        Values::F64(values) => values,
    }
}
