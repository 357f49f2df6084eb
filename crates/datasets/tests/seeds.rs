//! A small whole file for every reader that takes foreign bytes. They are read here, and are where
//! the fuzzer begins: `FUZZ_CORPUS=../../fuzz/corpus cargo test -p datasets --test seeds` writes
//! them to a folder for each target.
#![cfg(test)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use datasets::{
    Colour, Crop, FolderOptions,
    arrays::{ArrayFile, ExtractorNote, FeatureStatistics},
    decode_image, parse_cifar10, parse_idx,
};
use flate2::{Compression, write::GzEncoder};
use image::{DynamicImage, ImageFormat};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arrays").join(name)).unwrap()
}

fn statistics() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.safetensors");
    let statistics = FeatureStatistics {
        mean: vec![0.5, -1.0],
        covariance: vec![1.0, 0.25, 0.25, 2.0],
        n: Some(10),
        extractor: Some(ExtractorNote {
            features: "none".into(),
            id: "none".into(),
            preprocessing: "none".into(),
        }),
        notes: BTreeMap::new(),
    };
    statistics.save(&path).unwrap();
    fs::read(path).unwrap()
}

fn pictures() -> Vec<(String, Vec<u8>)> {
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_fn(7, 6, |x, y| {
        image::Luma([(40 * x + 3 * y) as u8])
    }));
    let colour = DynamicImage::ImageRgb8(grey.to_rgb8());
    let clear = DynamicImage::ImageRgba16(grey.to_rgba16());
    let mut found = Vec::new();
    for (name, picture, format) in [
        ("grey.png", &grey, ImageFormat::Png),
        ("colour.png", &colour, ImageFormat::Png),
        ("clear16.png", &clear, ImageFormat::Png),
        ("grey.jpg", &grey, ImageFormat::Jpeg),
        ("colour.jpg", &colour, ImageFormat::Jpeg),
    ] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        found.push((name.to_owned(), bytes.into_inner()));
    }
    found
}

/// Two images of 1x2 with their labels, both plain or both gzip.
fn idx(packed: bool) -> [Vec<u8>; 2] {
    let images = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4];
    let labels = vec![0, 0, 8, 1, 0, 0, 0, 2, 9, 0];
    let gzip = |bytes: Vec<u8>| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    if packed { [gzip(images), gzip(labels)] } else { [images, labels] }
}

/// The name of the target, the name of the seed, and its bytes.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arrays")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let target = match name.rsplit_once('.') {
            Some((_, "npy")) => "npy",
            Some((_, "npz")) => "npz",
            _ => continue,
        };
        let bytes = fixture(&name);
        seeds.push((target, name, bytes));
    }
    seeds.push(("safetensors", "statistics.safetensors".into(), statistics()));
    seeds.extend(pictures().into_iter().map(|(name, bytes)| ("image", name, bytes)));
    for (name, packed) in [("plain", false), ("gzip", true)] {
        let [images, labels] = idx(packed);
        let bytes = [&(images.len() as u16).to_le_bytes()[..], &images, &labels].concat();
        seeds.push(("idx", name.into(), bytes));
    }
    seeds.push(("cifar", "one".into(), [vec![9], vec![7; 3072]].concat()));
    seeds
}

/// As the target reads it.
fn reads(target: &str, bytes: &[u8]) -> datasets::Result<()> {
    match target {
        "image" => {
            let (crop, colour) = (Crop::Square, Colour::Rgb);
            let options = FolderOptions { height: 4, width: 4, crop, colour, limit: None };
            decode_image(Path::new("x"), bytes, &options).map(drop)
        }
        "idx" => {
            let cut = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let (images, labels) = bytes[2..].split_at(cut.min(bytes.len() - 2));
            parse_idx("x", images, labels, 10).map(drop)
        }
        "cifar" => parse_cifar10(Path::new("x"), bytes).map(drop),
        ending => {
            let name = PathBuf::from(format!("x.{ending}"));
            let file = ArrayFile::from_bytes(&name, bytes.to_vec())?;
            FeatureStatistics::find(&file).map(drop)
        }
    }
}

#[test]
fn every_seed_is_a_file_that_its_reader_takes() {
    for (target, name, bytes) in seeds() {
        if let Err(error) = reads(target, &bytes) {
            panic!("{target}/{name}: {error}");
        }
        assert!(reads(target, &bytes[..bytes.len() / 2]).is_err(), "{target}/{name}");
        if let Some(corpus) = std::env::var_os("FUZZ_CORPUS") {
            let folder = Path::new(&corpus).join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
