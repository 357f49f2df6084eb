//! Tables that are read, and tables that nobody should have.

use std::io::Write;

use proptest::prelude::*;

use super::*;

fn read(text: &str, label: Option<&str>) -> Result<Table> {
    parse(Path::new("t.csv"), "t", text.as_bytes(), label, &|_| true)
}

#[test]
fn a_row_without_end_and_words_for_more_than_memory_are_refused() {
    let endless = Path::new("t.csv");
    let input = b"x,y\n\"".chain(io::repeat(b'a'));
    let error = parse(endless, "t", input, None, &|_| true).unwrap_err().to_string();
    assert!(error.contains("a row of more than"), "{error}");
    let mut rows = Rows::new(endless, StringRecord::from(vec!["w"; 9]), None, &|_| true);
    for word in 0..256 {
        rows.push(&StringRecord::from(vec![format!("{word}a"); 9]), 1).unwrap();
    }
    // As many rows as would be needed, but not made.
    rows.n = 1 << 20;
    let error = rows.finish("t").unwrap_err().to_string();
    assert!(error.contains("1048576 rows of 2304 features"), "{error}");
}

fn fails(text: &str, needle: &str) {
    let error = read(text, Some("y")).unwrap_err().to_string();
    assert!(error.contains("t.csv") && error.contains(needle), "{error}");
}

#[test]
fn numbers_words_and_labels_find_their_columns() {
    let text = "a, w ,y,b\n1,red,10,-2.5e1\n2,blue,,0\n3, red,9,7\n4,green,?,8\n5,red,10,9\n";
    let table = read(text, Some("y")).unwrap();
    assert_eq!(table.columns, ["a", "w=blue", "w=green", "w=red", "b"]);
    assert_eq!(table.row(0), [1.0, 0.0, 0.0, 1.0, -25.0]);
    assert_eq!(table.row(1), [2.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(table.row(3), [4.0, 0.0, 1.0, 0.0, 8.0]);
    // Numerical order: 9 before 10.
    assert_eq!(table.classes, ["9", "10"]);
    assert_eq!(table.labels, [Some(1), None, Some(0), None, Some(1)]);
}

#[test]
fn a_missing_label_is_no_class_and_class_names_are_kept() {
    let text = "a,y\n1,cat\n2,\n3,?\n4,NA\n5,nan\n6,NaN\n7,<null>\n8, dog\n9,\"NA\"\n";
    let table = read(text, Some("y")).unwrap();
    assert_eq!(table.classes, ["cat", "dog"]);
    let labels = [Some(0), None, None, None, None, None, None, Some(1), None];
    assert_eq!(table.labels, labels);
    assert_eq!(table.labelled_rows(), [0, 7]);
    // Numbers stay in numerical order beside missing cells.
    let table = read("a,y\n1,10\n2,nan\n3,9\n", Some("y")).unwrap();
    assert_eq!(
        (table.classes, table.labels),
        (vec!["9".into(), "10".into()], vec![Some(1), None, Some(0)])
    );
    let none = read("a,y\n1,\n2,NA\n", Some("y")).unwrap();
    assert_eq!((none.classes.len(), none.labels), (0, vec![None, None]));
}

#[test]
fn a_mark_of_the_editor_before_the_header_is_no_part_of_a_name() {
    let table = read("\u{feff}y,a\r\nu,1\r\nv,2\r\n", Some("y")).unwrap();
    assert_eq!((table.columns, table.classes.len()), (vec!["a".to_owned()], 2));
}

#[test]
fn without_a_label_column_every_column_is_a_feature() {
    let table = read("a,y\n1,2\n3,4\n", None).unwrap();
    assert_eq!(table.columns, ["a", "y"]);
    assert_eq!(table.labels, [None, None]);
    assert!(table.classes.is_empty());
}

#[test]
fn class_names_that_are_words_sort_by_their_bytes() {
    let table = read("x,y\n1,g\n2,10\n3,9\n", Some("y")).unwrap();
    assert_eq!(table.classes, ["10", "9", "g"]);
    assert_eq!(table.labels, [Some(2), Some(0), Some(1)]);
}

#[test]
fn bad_cells_are_named_by_line_and_column() {
    fails("a,y\n1,0\n\n2,1\nx,0\n", "line 5, column `a`: `x` is not a finite number");
    fails("a,y\n1,0\nnan,0\n", "line 3, column `a`: `nan`");
    fails("a,b,y\n1,,0\n", "line 2, column `b`: the value is missing");
    fails("a,b,y\nNA,1,0\n", "line 2, column `a`: `NA` means that the value is missing");
    fails("a,b,y\n1,r,0\n2,NaN,0\n", "line 3, column `b`: `NaN` means that the value");
    fails("a,b,y\n1,r,0\n1,?,0\n", "line 3, column `b`: `?` means that the value is missing");
    fails("a,b\n1,2\n", "no label column `y`; the header has a, b");
    fails("a;y\n1;2\n", "the header has a;y; put commas between the columns");
    fails("a,y\n1,2\n1,2,3\n", "byte 8");
    fails("a,y\n", "no rows");
    fails("y\n1\n", "no feature columns");
    let many: String = (0..300).map(|i| format!("w{i},0\n")).collect();
    fails(&format!("a,y\n{many}"), "line 258, column `a`: more than 256");
}

#[test]
fn gzip_is_recognised_by_its_bytes_and_damage_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.csv");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"a,y\n1,u\n2,v\n").unwrap();
    let mut bytes = encoder.finish().unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let table = read_csv(&path, Some("y")).unwrap();
    assert_eq!((table.name.as_str(), table.len()), ("some", 2));
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = read_csv(&path, Some("y")).unwrap_err().to_string();
    assert!(error.contains("some.csv"), "{error}");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>) {
        let _ = parse(Path::new("x"), "x", &bytes[..], None, &|_| true);
        let _ = parse(Path::new("x"), "x", &[b"a,y\n1,2\n", &bytes[..]].concat()[..], Some("y"), &|_| true);
    }

    #[test]
    fn numbers_survive_the_file(rows in proptest::collection::vec((-1e6_f32..1e6, 0..3_u32), 1..20)) {
        let body: String = rows.iter().map(|(x, y)| format!("{x},{y}\n")).collect();
        let table = read(&format!("x,y\n{body}"), Some("y")).unwrap();
        for (i, (x, y)) in rows.iter().enumerate() {
            prop_assert_eq!(table.features[i].to_bits(), x.to_bits());
            let class = table.labels[i].map(|label| table.classes[label as usize].clone());
            prop_assert_eq!(class, Some(y.to_string()));
        }
    }
}
