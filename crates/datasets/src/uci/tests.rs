//! Small files of the form that UCI ships, and files that are not.

use std::{fmt::Write as _, io::Write as _};

use super::*;

fn info(name: &str) -> UciInfo {
    *UCI_TABLES.iter().find(|info| info.name == name).unwrap()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// HEPMASS: feature `j` of row `i` is `i + j / 100`, but the even ones are 1 in the first six rows.
fn hepmass(rows: usize, spurious: &str) -> String {
    let mut text = "# label".to_owned();
    (0..27).for_each(|j| write!(text, ", f{j}").unwrap());
    text.push('\n');
    for i in 0..rows {
        write!(text, "{:.18e}", (i % 3 == 1) as u8 as f64).unwrap();
        for j in 0..27 {
            let value = if j % 2 == 0 && i < 6 { 1.0 } else { i as f64 + 2.0 + j as f64 / 100.0 };
            write!(text, ",{value:.18e}").unwrap();
        }
        text.push_str(spurious);
        text.push('\n');
    }
    text
}

#[test]
fn hepmass_is_read_by_position_without_its_discrete_columns() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    write(data, "hepmass/1000_train.csv.gz", gzip(&hepmass(40, "")));
    write(data, "hepmass/1000_test.csv", hepmass(5, ",1.0e+03"));
    let set = load_uci("hepmass", Some(data), data).unwrap();
    assert_eq!((set.table.len(), set.table.dim()), (40, 13));
    assert_eq!(set.table.columns[..2], ["f1", "f3"]);
    assert_eq!(set.table.row(7)[1].to_bits(), 9.03_f32.to_bits());
    assert_eq!(set.table.labels[..5], [Some(0), Some(1), Some(0), Some(0), Some(1)]);
    assert_eq!(set.table.classes, ["background", "signal"]);
    let test = set.test.as_ref().unwrap();
    assert_eq!((test.len(), test.dim(), test.row(0)[12].to_bits()), (5, 13, 2.25_f32.to_bits()));
    let split = set.split().unwrap();
    let sizes = [&split.train, &split.validation, &split.test].map(Table::len);
    assert_eq!(sizes, [36, 4, 5]);
    // No shuffle: the last rows are those of the file.
    assert_eq!(split.validation.labels, [0, 1, 0, 0].map(Some));
    assert!(split.train.features.chunks(13).is_sorted_by(|a, b| a[0] < b[0]));
}

/// CROP: feature `j` of row `i` is `i j mod 17`, the class runs from 1 to 7.
fn crop(rows: usize) -> String {
    let names: Vec<String> = (1..=174).map(|j| format!("f{j}")).collect();
    let mut text = format!("label,{}\n", names.join(","));
    for i in 0..rows {
        let cells: Vec<String> = (0..174).map(|j| (i * (j + 1) % 17).to_string()).collect();
        writeln!(text, "{},{}", i % 7 + 1, cells.join(",")).unwrap();
    }
    text
}

#[test]
fn crop_keeps_all_columns_and_is_shuffled() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "WinnipegDataset.txt", crop(200));
    let set = load_uci("crop", Some(dir.path()), dir.path()).unwrap();
    assert_eq!((set.table.len(), set.table.dim(), set.test.is_none()), (200, 174, true));
    assert_eq!((set.table.columns[173].as_str(), set.table.labels[8]), ("f174", Some(1)));
    assert_eq!(set.table.row(3)[..6], [3.0, 6.0, 9.0, 12.0, 15.0, 1.0]);
    let split = set.split().unwrap();
    let sizes = [&split.train, &split.validation, &split.test].map(Table::len);
    assert_eq!(sizes, [162, 18, 20]);
    let first = crate::legacy::shuffle(200, SPLIT_SEED)[0];
    assert_eq!(split.train.labels[0], Some(first as u32 % 7));
}

/// HUMAN: columns below `discrete` are -1 in the first six rows, all others grow.
fn human(rows: usize, discrete: usize) -> (String, String) {
    let (mut features, mut labels) = (String::new(), String::new());
    for i in 0..rows {
        for j in 0..561 {
            let value = if j < discrete && i < 6 { -1.0 } else { i as f64 / rows as f64 };
            write!(features, "{}{value:.3e}", if value < 0.0 { " " } else { "  " }).unwrap();
        }
        features.push('\n');
        writeln!(labels, "{}", i % 6 + 1).unwrap();
    }
    (features, labels)
}

fn write_human(dir: &Path, rows: [usize; 2], discrete: usize) {
    for (part, rows) in ["train", "test"].into_iter().zip(rows) {
        let (features, labels) = human(rows, discrete);
        write(dir, &format!("{part}/X_{part}.txt"), features);
        write(dir, &format!("{part}/y_{part}.txt"), labels);
    }
}

#[test]
fn human_of_the_published_rows_must_leave_the_published_columns() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("human/UCI HAR Dataset");
    write_human(&inner, [7352, 12], 38);
    let set = load_uci("human", Some(dir.path()), dir.path()).unwrap();
    assert_eq!((set.table.len(), set.table.dim()), (7352, 523));
    assert_eq!((set.table.columns[0].as_str(), set.table.columns[522].as_str()), ("x39", "x561"));
    assert_eq!((set.table.labels[8], set.table.classes[2].as_str()), (Some(2), "downstairs"));
    let split = set.split().unwrap();
    let sizes = [&split.train, &split.validation, &split.test].map(Table::len);
    assert_eq!(sizes, [6617, 735, 12]);
    assert_eq!(split.train.labels[0], Some(1470 % 6));

    write_human(&inner, [7352, 12], 37);
    let error = load_uci("human", Some(dir.path()), dir.path()).unwrap_err().to_string();
    assert!(error.contains("X_train.txt") && error.contains("524 columns remain"), "{error}");
    // Other rows, other columns: a part of the file is fine.
    write_human(&inner, [20, 12], 37);
    let set = load_uci("human", Some(dir.path()), dir.path()).unwrap();
    assert_eq!(set.table.dim(), 524);
}

#[test]
fn published_sizes_are_those_of_the_paper() {
    let sizes = UCI_TABLES.map(|info| (info.features, info.kept, info.classes.len()));
    assert_eq!(sizes, [(27, 15, 2), (174, 174, 7), (561, 523, 6)]);
    let rows = UCI_TABLES.map(|info| info.rows);
    assert_eq!(rows, [[7_000_000, 3_500_000], [325_834, 0], [7352, 2947]]);
}

#[test]
fn missing_files_are_named_with_their_origin() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "1000_train.csv", hepmass(20, ""));
    for (name, needles) in [
        ("hepmass", ["1000_test.csv", "`HEPMASS`"]),
        ("crop", ["WinnipegDataset.txt", "optical-radar"]),
        ("human", ["train/y_train.txt", "UCI HAR Dataset"]),
    ] {
        let error = load_uci(name, Some(dir.path()), Path::new("root")).unwrap_err().to_string();
        assert!(needles.iter().all(|needle| error.contains(needle)), "{error}");
        assert!(
            error.contains("archive.ics.uci.edu") && error.contains("root/datasets"),
            "{error}"
        );
    }
    let error = load_uci("iris", None, Path::new("root")).unwrap_err().to_string();
    assert!(error.contains("`iris` is none of hepmass, crop, human"), "{error}");
}

/// The error of a CROP file with this text.
#[track_caller]
fn crop_fails(bytes: impl AsRef<[u8]>, needle: &str) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "WinnipegDataset.txt", bytes);
    let error = load_uci("crop", Some(dir.path()), dir.path()).unwrap_err().to_string();
    assert!(error.contains("WinnipegDataset.txt") && error.contains(needle), "{error}");
}

#[test]
fn hostile_files_name_file_and_line() {
    crop_fails("", "no rows");
    crop_fails(crop(0), "line 2: no rows");
    crop_fails("label,f1\n1,2\n", "line 2, column `3`: the row ends before it; 175 numbers");
    crop_fails(crop(3).replace("\n2,", "\n2,1,"), "line 3, column `f174`: the row goes on");
    crop_fails(
        crop(3).replace("\n2,", "\n8,"),
        "line 3, column `label`: label 8 is none of 1 to 7",
    );
    crop_fails(crop(3).replace("\n2,", "\n1.5,"), "label 1.5 is none");
    crop_fails(crop(3).replace("\n2,", "\n,"), "line 3, column `label`: `` is not");
    crop_fails(crop(3).replace("\n2,1,", "\n2,one,"), "line 3, column `f1`: `one` is not");
    crop_fails(crop(9).split_once('\n').unwrap().1, "line 1: numbers where the names");
    let whole = gzip(&crop(2000));
    crop_fails(&whole[..whole.len() / 2], "cannot read on");
    crop_fails(&whole[..12], "line 1: cannot read on");
    let mut damaged = whole.clone();
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    crop_fails(&damaged, "line 2002: cannot read on");
}

#[test]
fn features_and_labels_of_unequal_length_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (rows, needle) in [(19, "y_train.txt"), (21, "X_train.txt")] {
        write_human(dir.path(), [20, 12], 0);
        write(dir.path(), "train/y_train.txt", human(rows, 0).1);
        let error = load_uci("human", Some(dir.path()), dir.path()).unwrap_err().to_string();
        assert!(error.contains(needle) && error.contains("end before"), "{error}");
    }
}

#[test]
fn repeats_are_counted_before_rounding_to_32_bits() {
    let dir = tempfile::tempdir().unwrap();
    let small = UciInfo { features: 2, kept: 2, rows: [8, 0], ..info("hepmass") };
    let mut text = "label,a,b\n".to_owned();
    // Column a: eight values that are one in f32. Column b: eight equal ones.
    (0..8).for_each(|i| writeln!(text, "0,1.00000000{i},0.5").unwrap());
    write(dir.path(), "train.csv", &text);
    write(dir.path(), "test.csv", &text);
    let files = ["train.csv", "test.csv"].map(|name| dir.path().join(name));
    let error = load(&small, &files).unwrap_err().to_string();
    assert!(error.contains("1 columns remain of 8 rows, 2 were published"), "{error}");
    let set = load(&UciInfo { kept: 1, ..small }, &files).unwrap();
    assert_eq!((set.table.columns.len(), set.table.columns[0].as_str()), (1, "a"));
    assert_eq!(set.test.unwrap().columns, set.table.columns);
    write(dir.path(), "train.csv", text.replace("1.00000000", "0.5 "));
    assert!(load(&small, &files).is_err());
}
