//! SHA-256 digests of files, checked against the list that lies beside them.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Name of the list, in the format of `sha256sum`.
const LIST: &str = "SHA256SUMS";

/// Lower-case hexadecimal of a finished hash.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares files with the list `SHA256SUMS` of their folder, if it has one; files that are not
/// listed pass.
pub(crate) fn verify(dir: &Path, files: &[PathBuf]) -> Result<()> {
    let list = dir.join(LIST);
    if !list.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&list).map_err(|e| Error::io(&list, e))?;
    for file in files {
        let Some(expected) = listed(&text, file) else {
            continue;
        };
        let got = file_digest(file)?;
        if !got.eq_ignore_ascii_case(expected) {
            return Err(Error::Digest { path: file.clone(), expected: expected.into(), got });
        }
    }
    Ok(())
}

/// The digest that a list gives for a file, from a line `digest  name`.
fn listed<'a>(text: &'a str, file: &Path) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(char::is_whitespace)).find_map(
        |(digest, name)| {
            let name = name.trim().trim_start_matches('*');
            file.file_name().is_some_and(|f| f == name).then_some(digest)
        },
    )
}

fn file_digest(path: &Path) -> Result<String> {
    let mut reader =
        BufReader::with_capacity(1 << 16, File::open(path).map_err(|e| Error::io(path, e))?);
    let mut hash = Sha256::new();
    loop {
        let block = reader.fill_buf().map_err(|e| Error::io(path, e))?;
        if block.is_empty() {
            return Ok(hex(hash));
        }
        hash.update(block);
        let n = block.len();
        reader.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`, FIPS 180-2 appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_changed_file_is_named_and_an_unlisted_one_passes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a.bin"), dir.path().join("b.bin"));
        std::fs::write(&file, "abc").unwrap();
        std::fs::write(&other, "anything").unwrap();
        let files = [file.clone(), other];
        verify(dir.path(), &files).unwrap();
        std::fs::write(dir.path().join(LIST), format!("{ABC}  a.bin\n")).unwrap();
        verify(dir.path(), &files).unwrap();
        std::fs::write(dir.path().join(LIST), format!("{ABC} *a.bin\n")).unwrap();
        verify(dir.path(), &files).unwrap();
        std::fs::write(&file, "abd").unwrap();
        let error = verify(dir.path(), &files).unwrap_err().to_string();
        assert!(error.contains("a.bin") && error.contains(ABC), "{error}");
    }
}
