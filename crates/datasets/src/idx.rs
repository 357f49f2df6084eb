//! IDX files, the format of MNIST and its relatives, plain or gzip.

use std::path::Path;

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
    source::Source,
};

/// Magic number of images: unsigned bytes, three dimensions.
const IMAGES: u32 = 0x803;
/// Magic number of labels: unsigned bytes, one dimension.
const LABELS: u32 = 0x801;
/// No image of this family is larger; a header that says so is not believed.
const LARGEST_SIDE: u32 = 1 << 14;

/// Reads a pair of IDX files, images and labels, as one set of grey images.
///
/// The files may be gzip, whatever their names. A label must be below `classes`.
///
/// # Errors
/// [`Error::Format`] with file and byte if a magic number, a size or a label is wrong, if the file is
/// shorter or longer than its header says, or if its gzip stream is damaged; [`Error::Io`] if it
/// cannot be opened.
pub fn read_idx(name: &str, images: &Path, labels: &Path, classes: usize) -> Result<ImageSet> {
    labelled(name, Source::open(images)?, Source::open(labels)?, classes)
}

/// Reads an IDX file of images as a set of grey images without labels.
///
/// # Errors
/// As [`read_idx`].
pub fn read_idx_images(name: &str, images: &Path) -> Result<ImageSet> {
    let (pixels, [_, height, width]) = parse_images(Source::open(images)?)?;
    ImageSet::new(name, pixels, Vec::new(), [1, height, width])
}

/// [`read_idx`] for the bytes of the two files.
///
/// # Errors
/// As [`read_idx`], with `images` and `labels` as the names of the files.
pub fn parse_idx(name: &str, images: &[u8], labels: &[u8], classes: usize) -> Result<ImageSet> {
    let images = Source::from_bytes(Path::new("images"), images.to_vec())?;
    let labels = Source::from_bytes(Path::new("labels"), labels.to_vec())?;
    labelled(name, images, labels, classes)
}

fn labelled(name: &str, images: Source, labels: Source, classes: usize) -> Result<ImageSet> {
    let (pixels, [n, height, width]) = parse_images(images)?;
    let values = parse_labels(labels, n, classes)?;
    ImageSet::new(name, pixels, values, [1, height, width])
}

/// Pixels and `[n, h, w]`.
fn parse_images(mut source: Source) -> Result<(Vec<u8>, [usize; 3])> {
    expect_magic(&mut source, IMAGES, "images")?;
    let n = source.take_u32("number of images")?;
    let mut sides = [0; 2];
    for (index, what) in ["height", "width"].into_iter().enumerate() {
        let side = source.take_u32(what)?;
        if !(1..=LARGEST_SIDE).contains(&side) {
            let reason = format!("{what} {side} is not between 1 and {LARGEST_SIDE}");
            return Err(Error::format(source.path(), 8 + 4 * index as u64, reason));
        }
        sides[index] = side;
    }
    // At most 2^32 * 2^28 bytes.
    let promised = u64::from(n) * u64::from(sides[0]) * u64::from(sides[1]);
    let pixels = source.take(promised, "pixels")?;
    source.finish()?;
    Ok((pixels, [n as usize, sides[0] as usize, sides[1] as usize]))
}

fn parse_labels(mut source: Source, images: usize, classes: usize) -> Result<Vec<u8>> {
    expect_magic(&mut source, LABELS, "labels")?;
    let n = source.take_u32("number of labels")?;
    if n as usize != images {
        let reason = format!("{n} labels for {images} images; are these files of one set?");
        return Err(Error::format(source.path(), 4, reason));
    }
    let labels = source.take(u64::from(n), "labels")?;
    let wrong = labels.iter().position(|&label| usize::from(label) >= classes);
    if let Some(index) = wrong {
        let reason = format!("label {} is not below {classes}", labels[index]);
        return Err(Error::format(source.path(), 8 + index as u64, reason));
    }
    source.finish()?;
    Ok(labels)
}

fn expect_magic(source: &mut Source, expected: u32, what: &str) -> Result<()> {
    let magic = source.take_u32("magic number")?;
    if magic == expected {
        return Ok(());
    }
    let reason = format!("magic number {magic:#x}, IDX {what} begin with {expected:#x}");
    Err(Error::format(source.path(), 0, reason))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    /// Two images of 2 x 3 with pixels 10 * image + 3 * row + column.
    fn images() -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]);
        bytes
    }

    fn labels() -> Vec<u8> {
        vec![0, 0, 8, 1, 0, 0, 0, 2, 9, 4]
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn parse(images: &[u8], labels: &[u8]) -> Result<ImageSet> {
        parse_idx("tiny", images, labels, 10)
    }

    #[test]
    fn every_pixel_is_where_its_row_and_column_say() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("images"), dir.path().join("labels"));
        for pack in [|b: &[u8]| b.to_vec(), gzip] {
            std::fs::write(&a, pack(&images())).unwrap();
            std::fs::write(&b, pack(&labels())).unwrap();
            let set = read_idx("tiny", &a, &b, 10).unwrap();
            assert_eq!((set.len(), set.channels, set.height, set.width), (2, 1, 2, 3));
            assert_eq!(set.labels, [9, 4]);
            for image in 0..2 {
                for row in 0..2 {
                    for column in 0..3 {
                        let expected = 10 * image + 3 * row + column;
                        assert_eq!(set.image(image)[row * set.width + column], expected as u8);
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_that_names_it() {
        for n in 0..images().len() {
            let error = parse(&images()[..n], &labels()).unwrap_err().to_string();
            assert!(error.contains("images: byte"), "{error}");
        }
        for n in 0..labels().len() {
            assert!(parse(&images(), &labels()[..n]).is_err());
        }
        let packed = gzip(&images());
        for n in 0..packed.len() {
            assert!(parse(&packed[..n], &labels()).is_err(), "{n}");
        }
    }

    #[test]
    fn a_damaged_gzip_byte_is_noticed() {
        let packed = gzip(&images());
        // The header's time stamp, extra flags and system carry no data; all else is checked.
        for index in (0..packed.len()).filter(|i| !(4..10).contains(i)) {
            let mut bad = packed.clone();
            bad[index] ^= 0x10;
            // A flag bit may announce a field that then swallows the data; either way, an error.
            assert!(parse(&bad, &labels()).is_err(), "byte {index}");
        }
    }

    #[test]
    fn huge_promises_cost_no_memory_and_name_the_byte() {
        let mut bytes = images();
        bytes[4..8].fill(0xff);
        let error = parse(&bytes, &labels()).unwrap_err().to_string();
        assert!(error.contains("byte 28"), "{error}");
        bytes[8..12].fill(0xff);
        let error = parse(&bytes, &labels()).unwrap_err().to_string();
        assert!(error.contains("byte 8: height 4294967295"), "{error}");
    }

    #[test]
    fn magic_counts_labels_and_trailing_bytes_are_checked() {
        let fails = |images: &[u8], labels: &[u8], needle: &str| {
            let error = parse(images, labels).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        };
        fails(&labels(), &labels(), "magic number 0x801");
        fails(&images(), &images(), "magic number 0x803");
        fails(&images(), &[0, 0, 8, 1, 0, 0, 0, 1, 9], "1 labels for 2 images");
        fails(&images(), &[0, 0, 8, 1, 0, 0, 0, 2, 9, 10], "byte 9: label 10");
        let longer = [images(), vec![0]].concat();
        fails(&longer, &labels(), "byte 28: bytes follow");
        fails(&gzip(&longer), &labels(), "byte 28: bytes follow");
        let garbage = [gzip(&images()), b"garbage".to_vec()].concat();
        fails(&garbage, &labels(), "cannot read on");
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, prefix in 0..17_usize) {
            let hostile = [&images()[..prefix.min(16)], &bytes[..]].concat();
            let _ = parse(&hostile, &labels());
            let _ = parse(&images(), &hostile);
            let _ = parse(&[&[0x1f, 0x8b, 8, 0], &bytes[..]].concat(), &bytes);
        }
    }
}
