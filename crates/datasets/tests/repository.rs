//! The data that ship with the repository are what the readers and their README say.

use std::path::{Path, PathBuf};

use datasets::{
    Mnist, SPLIT_SEED, StackedMnist, TABLES, Table, find_mnist, legacy, load_table, mnist_split,
    tabular_split,
};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_repository_has_all_of_mnist() {
    let dir = find_mnist(None, &root()).unwrap();
    assert!(dir.join("SHA256SUMS").is_file());
    let Mnist { train, test } = Mnist::load(&dir).unwrap();
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    assert_eq!((train.channels, train.height, train.width), (1, 28, 28));
    assert_eq!(train.labels[..5], [5, 0, 4, 1, 9]);
    assert_eq!(test.labels[..5], [7, 2, 1, 0, 4]);
    // First digit: row 5 begins its ink with 3 at column 12, row 6 has 30 at column 8.
    assert_eq!(train.image(0)[5 * 28 + 11..5 * 28 + 17], [0, 3, 18, 18, 18, 126]);
    assert_eq!(train.image(0)[6 * 28 + 8], 30);
    let mut counts = [0; 10];
    train.labels.iter().for_each(|&label| counts[usize::from(label)] += 1);
    assert_eq!(counts, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);

    let (first, validation) = mnist_split(&train, 8_000, 50_000..51_000).unwrap();
    assert_eq!((first.len(), validation.len()), (8_000, 1_000));
    assert_eq!(validation.image(999), train.image(50_999));
    assert_eq!(validation.labels[0], train.labels[50_000]);
    assert!(mnist_split(&train, 50_001, 50_000..60_000).is_err());
    assert!(mnist_split(&train, 1, 50_000..60_001).is_err());

    let stacked = StackedMnist::new(train, 3, chains_core::Seed::new(0)).unwrap();
    let one = stacked.images(&[2]);
    assert_eq!(one.images.len(), 3 * 28 * 28);
    assert!(one.labels[0] < 1_000);
}

#[test]
fn every_table_has_the_rows_features_and_classes_of_the_registry() {
    for info in TABLES {
        let table = load_table(info.name, None, &root()).unwrap();
        let sizes = (table.len(), table.dim(), table.classes.len());
        assert_eq!(sizes, (info.rows, info.features, info.classes), "{}", info.name);
        assert_eq!(table.name, info.name);
        assert!(table.labels.iter().all(Option::is_some));
    }
}

/// First features and class of the first row, and the rows of the first two classes.
fn check(
    name: &str,
    values: &[f32],
    class: &str,
    counts: [(&str, usize); 2],
) -> datasets::Result<()> {
    let table = load_table(name, None, &root())?;
    assert_eq!(&table.row(0)[..values.len()], values, "{name}");
    let first = table.labels[0].map(|label| table.classes[label as usize].as_str());
    assert_eq!(first, Some(class), "{name}");
    for (label, (class, count)) in (0..).zip(counts) {
        let got = table.labels.iter().filter(|&&l| l == Some(label)).count();
        assert_eq!((table.classes[label as usize].as_str(), got), (class, count), "{name}");
    }
    Ok(())
}

#[test]
fn first_rows_and_class_counts_are_those_of_the_files() -> datasets::Result<()> {
    // The status A11 of the first applicant is one of four, then comes the duration.
    check("german", &[1.0, 0.0, 0.0, 0.0, 6.0], "1", [("1", 700), ("2", 300)])?;
    check("heart", &[70.0, 1.0, 4.0, 130.0, 322.0], "2", [("1", 150), ("2", 120)])?;
    check("letter", &[2.0, 4.0, 4.0, 3.0], "Z", [("A", 789), ("B", 766)])?;
    check("magic", &[28.7967, 16.0021], "g", [("g", 12_332), ("h", 6_688)])?;
    check("optdigits", &[0.0, 1.0, 6.0, 15.0], "0", [("0", 554), ("1", 571)])?;
    check("penbased", &[47.0, 100.0, 27.0], "8", [("0", 1_143), ("1", 1_143)])?;
    check("satimage", &[92.0, 115.0, 120.0], "3", [("1", 1_533), ("2", 703)])?;
    check("sonar", &[0.02, 0.037, 0.043], "R", [("M", 111), ("R", 97)])?;
    check("wdbc", &[17.99, 10.38, 122.8], "M", [("B", 357), ("M", 212)])
}

#[test]
fn satimage_is_split_and_labelled_as_numpy_does_it() {
    let table = load_table("satimage", None, &root()).unwrap().without_constant_columns();
    let split = tabular_split(table, None, Some(SPLIT_SEED)).unwrap();
    let parts = [&split.train, &split.validation, &split.test];
    assert_eq!(parts.map(Table::len), [5213, 579, 643]);
    // numpy: seed(1234), shuffle, last tenths, (x - mean) / std of the training rows.
    for (part, row, values, class) in [
        (&split.train, 0, [-0.762_651_94, -1.203_492_61, -1.152_356_6], "5"),
        (&split.validation, 0, [-0.395_516_97, 1.197_889_4, 1.242_061_14], "1"),
        (&split.test, 642, [-0.175_235_99, -0.461_247_26, -1.212_217_04], "7"),
    ] {
        for (got, expected) in part.row(row).iter().zip(values) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{got} {expected}");
        }
        assert_eq!(
            part.labels[row].map(|label| part.classes[label as usize].as_str()),
            Some(class)
        );
    }
    let labelled = legacy::labelled_subset(&split.train.labels, 2, 7).unwrap();
    assert_eq!(labelled, [1263, 651, 3663, 3262, 1730, 1374, 1592, 3341, 739, 2305, 2114, 2449]);
}

#[test]
fn the_constant_columns_of_optdigits_can_be_dropped() {
    let table = load_table("optdigits", None, &root()).unwrap().without_constant_columns();
    assert_eq!(table.dim(), 62);
    assert!(!table.columns.iter().any(|name| name == "x1" || name == "x40"));
}

#[test]
fn data_that_are_not_there_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let error = find_mnist(Some(dir.path()), dir.path()).unwrap_err().to_string();
    for needle in ["datasets/mnist", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", ".gz"] {
        assert!(error.contains(needle), "{error}");
    }
    let error = load_table("wdbc", None, dir.path()).unwrap_err().to_string();
    assert!(error.contains("wdbc.csv.gz"), "{error}");
    let error = load_table("iris", None, dir.path()).unwrap_err().to_string();
    assert!(error.contains("german, heart"), "{error}");
    assert!(Mnist::load(dir.path()).is_err());
}

#[test]
fn a_changed_copy_is_refused_by_its_digest_and_data_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let home = root().join("datasets").join("mnist");
    for entry in std::fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(find_mnist(Some(dir.path()), &root()).unwrap(), dir.path());
    let labels = dir.path().join("t10k-labels-idx1-ubyte.gz");
    let mut bytes = std::fs::read(&labels).unwrap();
    bytes[4] ^= 1;
    std::fs::remove_file(&labels).unwrap();
    std::fs::write(&labels, bytes).unwrap();
    let error = Mnist::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("t10k-labels-idx1-ubyte.gz: SHA-256"), "{error}");
    std::fs::remove_file(dir.path().join("SHA256SUMS")).unwrap();
    // The changed byte is the time stamp of the gzip header: the data are still whole.
    assert!(Mnist::load(dir.path()).is_ok());
}
