//! Making room for a fresh run without losing the earlier one, whenever the program is killed.

use std::{fs, path::Path};

use super::Contents;
use crate::error::{Error, Result};

/// Everything that a run directory holds.
const NAMES: [&str; 9] = [
    "config.toml",
    "run.json",
    "metrics.jsonl",
    "results.json",
    "report.md",
    "report.html",
    "plots",
    "samples",
    "checkpoints",
];

/// Moves an earlier run to `<root>.previous`; what stood there goes through `<root>.previous.old`,
/// so that at every moment one complete earlier run has a name.
pub(super) fn set_aside(root: &Path) -> Result<()> {
    // A root such as `.` has no name of its own until it is resolved.
    let root = fs::canonicalize(root).map_err(|source| Error::io(root, source))?;
    let Some(name) = root.file_name() else {
        return Err(Error::Usage(format!(
            "{}: cannot be set aside; give another --out",
            root.display()
        )));
    };
    let beside = |ending: &str| {
        let mut name = name.to_os_string();
        name.push(ending);
        root.with_file_name(name)
    };
    let (previous, old) = (beside(".previous"), beside(".previous.old"));
    tidy(&previous, &old)?;
    if previous.exists() {
        // Deleting asks for more than moving: a folder with just some config.toml is not deleted.
        if !previous.join("run.json").is_file() {
            return Err(foreign(&previous));
        }
        // An unfinished run never takes the place of a finished one.
        let finished = |dir: &Path| dir.join("results.json").is_file();
        if finished(&previous) && !finished(&root) {
            rename(&root, &old)?;
            return remove(&old);
        }
        rename(&previous, &old)?;
    }
    rename(&root, &previous)?;
    remove(&old)
}

/// Ends what a killed program began: an old run that has been replaced is deleted, one that has not
/// goes back.
fn tidy(previous: &Path, old: &Path) -> Result<()> {
    if !old.exists() {
        return Ok(());
    }
    // A deletion that was cut off leaves some of the names.
    let entries = fs::read_dir(old).map_err(|source| Error::io(old, source))?;
    let ours = |name: std::ffi::OsString| NAMES.iter().any(|known| name == *known);
    if !entries.flatten().all(|entry| ours(entry.file_name())) {
        return Err(foreign(old));
    }
    if !previous.exists() && Contents::of(old)? == Contents::Run {
        return rename(old, previous);
    }
    remove(old)
}

fn foreign(path: &Path) -> Error {
    Error::Usage(format!(
        "{}: stands where the earlier run would move to and is not a run directory; move it away",
        path.display()
    ))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| Error::io(from, source))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if path.exists() => Err(Error::io(path, source)),
        _ => Ok(()),
    }
}
