//! Files that appear under their name only when they are whole.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Writes a file under a temporary name in the same folder, flushes it to the disk and renames it
/// to `path`. An existing file is replaced in one step. When `write` fails nothing is left behind.
///
/// # Errors
/// [`Error::Io`] if the folder does not exist, if `write` fails, or if the disk refuses.
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("state.json");
/// chains_core::checkpoint::write_atomic(&path, |writer| writeln!(writer, "{{}}"))?;
/// assert_eq!(std::fs::read(&path)?, b"{}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    Staged::write(path, write)?.commit()
}

/// [`write_atomic`] for bytes that are at hand.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_bytes_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |writer| writer.write_all(bytes))
}

/// A whole, flushed file that still has its temporary name; dropped without
/// [`commit`](Staged::commit), it is removed.
pub(crate) struct Staged {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Writes the temporary file, in the folder of `path`.
    pub(crate) fn write(
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self> {
        let temporary = create_beside(path).map_err(|error| Error::io(path, error))?;
        let mut writer = BufWriter::with_capacity(1 << 18, temporary.as_file());
        write(&mut writer)
            .and_then(|()| writer.flush())
            .and_then(|()| temporary.as_file().sync_all())
            .map_err(|error| Error::io(path, error))?;
        drop(writer);
        Ok(Self { temporary, path: path.to_path_buf() })
    }

    /// The temporary name, to check what was written.
    #[cfg(feature = "hub")]
    pub(crate) fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the file its name.
    pub(crate) fn commit(self) -> Result<()> {
        let Self { temporary, path } = self;
        temporary.persist(&path).map_err(|error| Error::io(&path, error.error))?;
        sync_folder(folder_of(&path));
        Ok(())
    }
}

/// The folder that holds `path`; a bare file name lies in the current one.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn create_beside(path: &Path) -> io::Result<NamedTempFile> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"));
    };
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // Temporary files are private by default; a checkpoint is as readable as any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(path))
}

/// The rename is durable once the folder is. Where a folder cannot be synchronised, the file is
/// whole all the same, so a refusal is not an error.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(handle) = File::open(folder)
    {
        let _ = handle.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_bytes_atomic(&path, b"old").unwrap();
        let error = write_atomic(&path, |writer| {
            writer.write_all(b"half of the new")?;
            Err(io::Error::other("out of ideas"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.bin") && error.to_string().contains("out of ideas"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_staged_file_has_no_name_until_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let staged = Staged::write(&path, |writer| writer.write_all(b"new")).unwrap();
        assert!(!path.exists());
        staged.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        drop(Staged::write(&path, |writer| writer.write_all(b"newer")).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_missing_folder_and_a_path_without_a_name_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_bytes_atomic(&folder.path().join("no/such/a.bin"), b"").is_err());
        assert!(write_bytes_atomic(Path::new("/"), b"").is_err());
        assert!(write_bytes_atomic(Path::new(""), b"").is_err());
    }

    #[test]
    #[cfg(unix)]
    fn the_file_is_as_readable_as_one_written_directly() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_bytes_atomic(&ours, b"x").unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ours), mode(&plain));
    }
}
