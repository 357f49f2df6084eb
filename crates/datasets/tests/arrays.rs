//! Array files as NumPy writes them (`arrays/make.py`), and our own statistics.
#![cfg(test)]

use std::path::{Path, PathBuf};

use datasets::arrays::{
    Array, ArrayFile, Element, ExtractorNote, FeatureStatistics, Values, split_member,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arrays").join(name)
}

fn only(name: &str) -> Array {
    let file = ArrayFile::open(&fixture(name)).unwrap();
    let names: Vec<_> = file.names().collect();
    assert_eq!(names, [name.strip_suffix(".npy").unwrap()]);
    file.read(names[0]).unwrap()
}

#[test]
fn npy_files_of_every_version_and_order_are_read() {
    let table = [0, 1, 2, 10, 11, 12];
    for version in 1..=3 {
        let array = only(&format!("version{version}.npy"));
        assert_eq!((array.info.dims, array.info.element), (vec![2, 3], Element::I32));
        assert_eq!(array.values, Values::I64(table.to_vec()));
    }
    let array = only("fortran_big_endian.npy");
    assert_eq!((array.info.dims, array.info.element), (vec![2, 3], Element::F64));
    assert_eq!(array.values, Values::F64(table.map(|x| x as f64).to_vec()));
    let array = only("half.npy");
    assert_eq!((array.info.dims, array.info.element), (vec![2, 3], Element::F16));
    assert_eq!(array.values, Values::F32(table.map(|x| x as f32).to_vec()));
    let array = only("number.npy");
    assert_eq!((array.info.rows(), array.info.row_len()), (1, 1));
    assert_eq!((array.info.dims, array.values), (vec![], Values::I64(vec![-5])));
}

#[test]
fn members_of_archives_are_read_by_name_and_a_few_rows_at_a_time() {
    for name in ["stored.npz", "deflated.npz"] {
        let file = ArrayFile::open(&fixture(name)).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["images", "labels", "features", "words"]);
        let images = file.read("images").unwrap();
        assert_eq!((images.info.dims, images.info.element), (vec![2, 3, 4, 5], Element::U8));
        let pixels: Vec<u8> = (0..120_u32).map(|i| (i * 7 % 256) as u8).collect();
        assert_eq!(images.values, Values::U8(pixels.clone()));
        assert_eq!(file.read("labels").unwrap().values, Values::I64(vec![3, -1]));
        let mut rows = file.stream("features").unwrap();
        assert_eq!(rows.next_rows(2).unwrap(), Values::F32(vec![0.0, 0.125, 0.25, 0.375]));
        assert_eq!(rows.next_rows(2).unwrap(), Values::F32(vec![0.5, 0.625]));
        assert!(rows.next_rows(2).unwrap().is_empty());
        let mut rows = file.stream("images").unwrap();
        assert_eq!(rows.next_rows(1).unwrap(), Values::U8(pixels[..60].to_vec()));
        // One member that is not read does not spoil the others.
        let error = file.read("words").unwrap_err().to_string();
        assert!(error.contains(&format!("{name}:words: byte ")), "{error}");
        assert!(error.contains("field `descr`") && error.contains("<U2"), "{error}");
        let error = file.read("word").unwrap_err().to_string();
        assert!(error.contains("no array `word`; it has `images`, `labels`"), "{error}");
    }
}

#[test]
fn statistics_of_other_programs_have_no_origin() {
    let file = ArrayFile::open(&fixture("statistics.npz")).unwrap();
    let found = FeatureStatistics::find(&file).unwrap().unwrap();
    assert_eq!((found.n, &found.extractor), (None, &None));
    // `numpy.cov` of the rows of make.py.
    assert_eq!(found.mean, [3.0, 2.6, 2.8]);
    assert_eq!(found.covariance.len(), 9);
    for (at, expected) in [(0, 46.0 / 9.0), (1, 4.0 / 9.0), (5, -2.2), (7, -2.2), (8, 37.6 / 9.0)] {
        assert!((found.covariance[at] - expected).abs() < 1e-14, "{at}");
    }
    let file = ArrayFile::open(&fixture("stored.npz")).unwrap();
    assert_eq!(FeatureStatistics::find(&file).unwrap(), None);
}

fn own() -> FeatureStatistics {
    FeatureStatistics {
        mean: vec![1.0, -2.5],
        covariance: vec![2.0, 0.25, 0.25, 1.0],
        n: Some(50),
        extractor: Some(ExtractorNote {
            features: "inception".into(),
            id: "inception-2015-abc".into(),
            preprocessing: "bilinear".into(),
        }),
        notes: [("data".to_owned(), "cifar10-train".to_owned())].into(),
    }
}

#[test]
fn our_own_statistics_come_back_as_they_were_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.safetensors");
    own().save(&path).unwrap();
    let read = |path: &Path| FeatureStatistics::find(&ArrayFile::open(path).unwrap());
    assert_eq!(read(&path).unwrap(), Some(own()));
    let refused = |statistics: FeatureStatistics| statistics.save(&path).unwrap_err().to_string();
    assert!(refused(FeatureStatistics { n: None, ..own() }).contains("must be known"));
    assert!(refused(FeatureStatistics { extractor: None, ..own() }).contains("must be known"));
    assert!(refused(FeatureStatistics { mean: vec![0.0], ..own() }).contains("4 entries"));
    assert_eq!(read(&path).unwrap(), Some(own()));
    // The header is JSON of known length: what is changed in it is named.
    let bytes = std::fs::read(&path).unwrap();
    for (from, to, part) in [
        ("\"n\":\"50\"", "\"n\":\"5x\"", "field `n` is `5x`, expected a whole number"),
        ("\"extractor\":", "\"extrakt0r\":", "field `extractor` is missing"),
        ("\"format_version\":\"1\"", "\"format_version\":\"2\"", "`2`, expected 1"),
        ("\"shape\":[2,2]", "\"shape\":[4,1]", "`covariance` [4, 1], expected [d] and [d, d]"),
        ("\"F64\",\"shape\":[2],", "\"I64\",\"shape\":[2],", "`mean` holds integers"),
        ("\"covariance\":", "\"covarianze\":", "no array `covariance`; it has `covarianze`"),
    ] {
        let text = |part: &str| part.as_bytes().to_vec();
        let at = bytes.windows(from.len()).position(|window| window == text(from)).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + from.len()].copy_from_slice(&text(to));
        std::fs::write(&path, changed).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("s.safetensors"), "{error}");
    }
}

#[test]
fn a_colon_selects_a_member_of_a_file_that_is_there() {
    let path = fixture("stored.npz");
    let with = |name: &str| PathBuf::from(format!("{}{name}", path.display()));
    assert_eq!(split_member(&path), (path.clone(), None));
    assert_eq!(split_member(&with(":images")), (path.clone(), Some("images".into())));
    assert_eq!(split_member(&with(":")), (with(":"), None));
    assert_eq!(split_member(&fixture("gone.npz:x")), (fixture("gone.npz:x"), None));
}
