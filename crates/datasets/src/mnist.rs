//! MNIST and the sets that come as the same four files.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    digest::verify,
    error::{Error, Result},
    idx::read_idx,
    image_set::ImageSet,
};

/// The four files, without `.gz`.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The handwritten digits of LeCun, Cortes and Burges: 60,000 to train on and 10,000 to test, 28x28,
/// grey, ink bright. Fashion-MNIST and other sets with these file names and ten classes read alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mnist {
    /// The training file.
    pub train: ImageSet,
    /// The test file.
    pub test: ImageSet,
}

impl Mnist {
    /// Reads the four usual files of a folder, each plain or with `.gz`.
    ///
    /// If the folder has a `SHA256SUMS`, the files must agree with it. Other counts of images than
    /// MNIST's are fine; labels must be below 10.
    ///
    /// # Errors
    /// [`Error::Missing`] if a file is not there, [`Error::Digest`] if it is another one than listed,
    /// else as [`read_idx`].
    pub fn load(dir: &Path) -> Result<Self> {
        Self::load_classes(dir, 10)
    }

    /// As [`Mnist::load`] for a set whose labels are below `classes`, such as EMNIST's.
    ///
    /// # Errors
    /// As [`Mnist::load`].
    pub fn load_classes(dir: &Path, classes: usize) -> Result<Self> {
        let files = FILES.map(|name| find_file(dir, name));
        let [Some(train), Some(train_labels), Some(test), Some(test_labels)] = &files else {
            return Err(missing(vec![dir.to_owned()]));
        };
        let found: Vec<PathBuf> = files.iter().flatten().cloned().collect();
        verify(dir, &found)?;
        Ok(Self {
            train: read_idx("mnist-train", train, train_labels, classes)?,
            test: read_idx("mnist-test", test, test_labels, classes)?,
        })
    }
}

/// The folder that holds MNIST: `data` or `data/mnist` if given, else `root/datasets/mnist`, `root`
/// being the root of the repository.
///
/// # Errors
/// [`Error::Missing`] with the places searched and the names of the files to put there.
pub fn find_mnist(data: Option<&Path>, root: &Path) -> Result<PathBuf> {
    let mut places = Vec::with_capacity(3);
    if let Some(data) = data {
        places.extend([data.to_owned(), data.join("mnist")]);
    }
    places.push(root.join("datasets").join("mnist"));
    let complete = |dir: &&PathBuf| FILES.iter().all(|name| find_file(dir, name).is_some());
    match places.iter().find(complete) {
        Some(dir) => Ok(dir.clone()),
        None => Err(missing(places)),
    }
}

/// The first `n_train` images to train on, and a range behind them to validate.
///
/// The usual cuts of the 60,000: `(50_000, 50_000..60_000)`, and small ones such as
/// `(8_000, 50_000..51_000)`.
///
/// # Errors
/// If the range overlaps the training images, is reversed, or ends beyond the set.
pub fn mnist_split(
    train: &ImageSet,
    n_train: usize,
    validation: Range<usize>,
) -> Result<(ImageSet, ImageSet)> {
    let Range { start, end } = validation;
    if n_train > start || start > end || end > train.len() {
        let reason = format!(
            "{n_train} images to train on and {start}..{end} to validate must follow each other \
             within the {} of `{}`",
            train.len(),
            train.name
        );
        return Err(Error::argument("mnist split", reason));
    }
    Ok((train.range(0..n_train), train.range(start..end)))
}

fn find_file(dir: &Path, name: &str) -> Option<PathBuf> {
    [dir.join(name), dir.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

fn missing(searched: Vec<PathBuf>) -> Error {
    let advice = format!("put {} there, plain or with `.gz`", FILES.join(", "));
    Error::Missing { what: "MNIST".into(), searched, advice }
}
