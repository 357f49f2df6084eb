//! What the targets share.

use std::path::Path;

use datasets::arrays::{ArrayFile, FeatureStatistics};

/// Larger arrays are not read: their bytes would be zeros of a deflated member, and slow.
const LARGEST: usize = 1 << 24;

/// Reads a file of arrays as far as it can be read: statistics, every array, rows in two parts.
pub fn arrays(name: &str, bytes: &[u8]) {
    let Ok(file) = ArrayFile::from_bytes(Path::new(name), bytes.to_vec()) else {
        return;
    };
    let sizes = |name: &str| {
        let info = file.info(name).ok()?;
        Some((info.rows(), info.rows().checked_mul(info.row_len())? * info.element.size()))
    };
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    if names.iter().filter_map(|name| sizes(name)).any(|(_, size)| size > LARGEST) {
        return;
    }
    let _ = FeatureStatistics::find(&file);
    for name in &names {
        let Some((rows, _)) = sizes(name) else {
            continue;
        };
        let whole = file.read(name);
        let Ok(mut stream) = file.stream(name) else {
            assert!(whole.is_err());
            continue;
        };
        let first = stream.next_rows(rows / 2);
        let second = stream.next_rows(rows);
        match (&whole, first, second) {
            (Ok(whole), Ok(first), Ok(second)) => {
                assert_eq!(first.len() + second.len(), whole.values.len());
            }
            (Ok(_), ..) => panic!("`{name}` is read as a whole but not in parts"),
            _ => {}
        }
    }
}

/// Gives `f` a file of these bytes, for readers that open one.
pub fn in_a_file(name: &str, bytes: &[u8], f: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    f(&path);
}
