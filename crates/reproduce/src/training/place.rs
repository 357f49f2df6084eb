//! Where trainings lie on the disk.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use chains_core::train::StateDir;

use crate::{
    error::{Error, Result},
    run::Run,
};

/// Written last.
pub(super) const DONE_FILE: &str = "done.json";

/// The saved states of the training in `dir`.
pub(super) fn states(dir: &Path) -> StateDir {
    StateDir::new(dir.join("states"))
}

/// The folder of the training with this name. What an earlier command left there is deleted unless
/// this one resumes.
pub(super) fn place(run: &Run<'_>, name: &str) -> Result<PathBuf> {
    let request = run.request;
    if let Some(dir) = request.trained.borrow().get(name) {
        return Ok(dir.clone());
    }
    let dir = request.models.join(name);
    if !request.resume {
        discard(&dir)?;
        return Ok(dir);
    }
    let root = run.dir().root();
    let root = fs::canonicalize(root).map_err(|e| Error::io(root, e))?;
    let mut places = vec![run.dir().checkpoints().join("training").join(name), dir.clone()];
    places.extend(root.ancestors().skip(1).take(3).map(|above| above.join(".models").join(name)));
    for place in places {
        if place.join(DONE_FILE).is_file() || states(&place).position()?.is_some() {
            return Ok(place);
        }
    }
    Ok(dir)
}

/// Deletes a training; cut off at any moment it leaves nothing that passes for a finished one.
fn discard(dir: &Path) -> Result<()> {
    let gone = dir.with_extension("gone");
    let tolerant = |path: &Path, done: std::io::Result<()>| match done {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::io(path, source)),
        _ => Ok(()),
    };
    tolerant(&gone, fs::remove_dir_all(&gone))?;
    let done = dir.join(DONE_FILE);
    tolerant(&done, fs::remove_file(&done))?;
    tolerant(dir, fs::rename(dir, &gone))?;
    tolerant(&gone, fs::remove_dir_all(&gone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discarded_training_leaves_nothing_even_after_a_discard_that_was_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("00ff");
        for name in ["00ff", "00ff.gone"] {
            fs::create_dir_all(temp.path().join(name).join("model")).unwrap();
            fs::write(temp.path().join(name).join(DONE_FILE), "{}").unwrap();
        }
        discard(&dir).unwrap();
        discard(&dir).unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
