//! CIFAR-10 and CIFAR-100 in their binary version.

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
};

/// Colour planes, height and width of every image.
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// The classes of CIFAR-10 in the order of their labels.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32, ten classes.
///
/// The file order is that of the images: red plane, green plane, blue plane, each by rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cifar10 {
    /// The five training batches, in order.
    pub train: ImageSet,
    /// The test batch.
    pub test: ImageSet,
}

impl Cifar10 {
    /// Reads `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` from a folder or from its
    /// child `cifar-10-batches-bin`. A batch may hold any number of records.
    ///
    /// # Errors
    /// [`Error::Missing`] if a file is not there; [`Error::Format`] with file and byte if a file ends
    /// within a record or a label is not below 10.
    pub fn load(dir: &Path) -> Result<Self> {
        let batches: Vec<String> = (1..=5).map(|i| format!("data_batch_{i}.bin")).collect();
        let names: Vec<&str> =
            batches.iter().map(String::as_str).chain(["test_batch.bin"]).collect();
        let dir = find("CIFAR-10", dir, "cifar-10-batches-bin", &names)?;
        let read = |name: &str| read_records(&dir.join(name), &[10]);
        let mut train = Records::default();
        for batch in &batches {
            let records = read(batch)?;
            train.pixels.extend(records.pixels);
            train.labels.extend(records.labels);
        }
        let test = read("test_batch.bin")?;
        Ok(Self {
            train: ImageSet::new("cifar10-train", train.pixels, train.labels, SHAPE)?,
            test: ImageSet::new("cifar10-test", test.pixels, test.labels, SHAPE)?,
        })
    }
}

/// CIFAR-100 (Krizhevsky 2009): as CIFAR-10 with 100 fine classes in 20 coarse ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cifar100 {
    /// Training images with fine labels.
    pub train: ImageSet,
    /// Test images with fine labels.
    pub test: ImageSet,
    /// Coarse labels of the training images, below 20.
    pub train_coarse: Vec<u8>,
    /// Coarse labels of the test images, below 20.
    pub test_coarse: Vec<u8>,
}

impl Cifar100 {
    /// Reads `train.bin` and `test.bin` from a folder or from its child `cifar-100-binary`.
    ///
    /// # Errors
    /// As [`Cifar10::load`], coarse labels being below 20 and fine ones below 100.
    pub fn load(dir: &Path) -> Result<Self> {
        let dir = find("CIFAR-100", dir, "cifar-100-binary", &["train.bin", "test.bin"])?;
        let train = read_records(&dir.join("train.bin"), &[20, 100])?;
        let test = read_records(&dir.join("test.bin"), &[20, 100])?;
        Ok(Self {
            train: ImageSet::new("cifar100-train", train.pixels, train.labels, SHAPE)?,
            test: ImageSet::new("cifar100-test", test.pixels, test.labels, SHAPE)?,
            train_coarse: train.coarse,
            test_coarse: test.coarse,
        })
    }
}

/// A set of the records in the bytes of one batch of CIFAR-10; the name stands for the path.
///
/// # Errors
/// As [`Cifar10::load`].
pub fn parse_cifar10(name: &Path, bytes: &[u8]) -> Result<ImageSet> {
    let records = parse(name, bytes, &[10])?;
    ImageSet::new(name.to_string_lossy(), records.pixels, records.labels, SHAPE)
}

/// What one file holds.
#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    /// The last label byte of each record.
    labels: Vec<u8>,
    /// The label byte before it, if there are two.
    coarse: Vec<u8>,
}

/// The folder itself or its usual child, whichever has all files.
fn find(what: &str, dir: &Path, child: &str, names: &[&str]) -> Result<PathBuf> {
    let places = vec![dir.to_owned(), dir.join(child)];
    let complete = |dir: &&PathBuf| names.iter().all(|name| dir.join(name).is_file());
    if let Some(dir) = places.iter().find(complete) {
        return Ok(dir.clone());
    }
    let advice = format!("put {} of the binary version there", names.join(", "));
    Err(Error::Missing { what: what.into(), searched: places, advice })
}

fn read_records(path: &Path, classes: &[usize]) -> Result<Records> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(path, &bytes, classes)
}

/// Records of as many label bytes as `classes` has entries, then the pixels.
fn parse(path: &Path, bytes: &[u8], classes: &[usize]) -> Result<Records> {
    let size = classes.len() + PIXELS;
    let whole = bytes.len() / size;
    if bytes.is_empty() || bytes.len() != whole * size {
        let begin = whole * size;
        let reason = format!(
            "the record that begins here has {} of {size} bytes; fetch the file again",
            bytes.len() - begin
        );
        return Err(Error::format(path, begin as u64, reason));
    }
    let mut records = Records::default();
    records.pixels.reserve_exact(whole * PIXELS);
    for (index, record) in bytes.chunks_exact(size).enumerate() {
        let (labels, pixels) = record.split_at(classes.len());
        for (place, (&label, &limit)) in labels.iter().zip(classes).enumerate() {
            if usize::from(label) >= limit {
                let reason = format!("label {label} is not below {limit}");
                return Err(Error::format(path, (index * size + place) as u64, reason));
            }
        }
        match *labels {
            [coarse, fine] => {
                records.coarse.push(coarse);
                records.labels.push(fine);
            }
            _ => records.labels.extend(labels),
        }
        records.pixels.extend_from_slice(pixels);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pixel that tells its channel, row and column apart, and its image.
    fn pixel(image: usize, channel: usize, row: usize, column: usize) -> u8 {
        ((image * 91 + channel * 67 + row * 32 + column) % 251) as u8
    }

    fn record(image: usize, labels: &[u8]) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        for channel in 0..3 {
            for row in 0..32 {
                bytes.extend((0..32).map(|column| pixel(image, channel, row, column)));
            }
        }
        bytes
    }

    fn check_pixels(set: &ImageSet, first: usize) {
        for image in 0..set.len() {
            for channel in 0..3 {
                for row in 0..32 {
                    for column in 0..32 {
                        let got = set.image(image)[(channel * 32 + row) * 32 + column];
                        assert_eq!(got, pixel(first + image, channel, row, column));
                    }
                }
            }
        }
    }

    #[test]
    fn cifar10_batches_are_joined_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cifar10::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("data_batch_1.bin") && error.contains("test_batch.bin"), "{error}");
        let child = dir.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&child).unwrap();
        for batch in 0..5 {
            let (a, b) = (2 * batch, 2 * batch + 1);
            let bytes = [record(a, &[a as u8]), record(b, &[b as u8])].concat();
            std::fs::write(child.join(format!("data_batch_{}.bin", batch + 1)), bytes).unwrap();
        }
        std::fs::write(child.join("test_batch.bin"), record(50, &[3])).unwrap();
        let set = Cifar10::load(dir.path()).unwrap();
        assert_eq!(set, Cifar10::load(&child).unwrap());
        assert_eq!(set.train.labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(set.test.labels, [3]);
        check_pixels(&set.train, 0);
        check_pixels(&set.test, 50);
    }

    #[test]
    fn cifar100_has_the_coarse_label_first() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = [record(0, &[19, 99]), record(1, &[4, 0])].concat();
        std::fs::write(dir.path().join("train.bin"), bytes).unwrap();
        std::fs::write(dir.path().join("test.bin"), record(2, &[0, 20])).unwrap();
        let set = Cifar100::load(dir.path()).unwrap();
        assert_eq!((&set.train.labels[..], &set.train_coarse[..]), (&[99, 0][..], &[19, 4][..]));
        assert_eq!((&set.test.labels[..], &set.test_coarse[..]), (&[20][..], &[0][..]));
        check_pixels(&set.train, 0);
        check_pixels(&set.test, 2);
    }

    #[test]
    fn short_files_and_wrong_labels_name_the_byte() {
        let path = Path::new("batch.bin");
        let bytes = [record(0, &[1]), record(1, &[10])].concat();
        let error = parse(path, &bytes, &[10]).err().unwrap().to_string();
        assert_eq!(error, "batch.bin: byte 3073: label 10 is not below 10");
        for n in (0..3073).chain([3074, 4000, 6145]) {
            let error = parse(path, &bytes[..n], &[10]).err().unwrap().to_string();
            let begin = if n < 3073 { 0 } else { 3073 };
            assert!(error.contains(&format!("byte {begin}: the record")), "{error}");
        }
        let error = parse(path, &record(0, &[3, 100]), &[20, 100]).err().unwrap().to_string();
        assert!(error.contains("byte 1: label 100"), "{error}");
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(seed: u8, n in 0..9_300_usize) {
            let bytes: Vec<u8> = (0..n).map(|i| (i as u8).wrapping_mul(seed)).collect();
            let _ = parse(Path::new("x"), &bytes, &[10]);
            let _ = parse(Path::new("x"), &bytes, &[20, 100]);
        }
    }
}
