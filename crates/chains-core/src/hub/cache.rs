//! The hub's cache on the disk: `refs/REVISION` names a commit, `snapshots/COMMIT/FILE` points
//! into `blobs/DIGEST`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    REQUIRED,
    id::{ModelId, is_commit},
};

/// The cache folder of one model.
pub(super) struct Repo {
    dir: PathBuf,
}

impl Repo {
    pub(super) fn new(cache_dir: &Path, id: &ModelId) -> Self {
        Self { dir: cache_dir.join(format!("models--{}--{}", id.owner(), id.name())) }
    }

    /// The commit that a revision meant when it was last looked up.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.reference(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    pub(super) fn reference(&self, revision: &str) -> PathBuf {
        self.dir.join("refs").join(revision)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    /// The snapshot of a revision, if all that a model needs is there.
    pub(super) fn whole_snapshot(&self, revision: &str) -> Option<PathBuf> {
        let dir = self.snapshot(&self.commit(revision)?);
        missing(&dir).is_empty().then_some(dir)
    }

    /// For an error: which files are not there, and where they should be.
    pub(super) fn describe_missing(&self, revision: &str) -> String {
        let (files, place) = match self.commit(revision) {
            Some(commit) => {
                let dir = self.snapshot(&commit);
                (missing(&dir), dir)
            }
            None => (REQUIRED.to_vec(), self.dir.clone()),
        };
        let files: Vec<_> = files.iter().map(|file| format!("`{file}`")).collect();
        format!("{} of revision `{revision}` in {}", files.join(", "), place.display())
    }

    #[cfg(feature = "hub")]
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.dir.join("blobs").join(etag)
    }
}

/// A link whose target is gone counts as missing.
fn missing(snapshot: &Path) -> Vec<&'static str> {
    REQUIRED.into_iter().filter(|file| !snapshot.join(file).is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_cache_is_found_and_a_partial_one_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repo::new(folder.path(), &"owner/name".parse().unwrap());
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let dir = folder.path().join("models--owner--name/snapshots").join(commit);
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(folder.path().join("models--owner--name/refs/refs/pr")).unwrap();
        assert!(repo.describe_missing("main").contains("`config.json`, `model.safetensors`"));

        fs::write(repo.reference("main"), format!("{commit}\n")).unwrap();
        fs::write(repo.reference("refs/pr/1"), commit).unwrap();
        fs::write(repo.reference("odd"), "../../../etc").unwrap();
        fs::write(dir.join("config.json"), "{}").unwrap();
        assert_eq!(repo.whole_snapshot("main"), None);
        let message = repo.describe_missing("main");
        assert!(message.starts_with("`model.safetensors` of revision `main`"), "{message}");

        fs::write(dir.join("model.safetensors"), "").unwrap();
        for revision in ["main", "refs/pr/1", commit] {
            assert_eq!(repo.whole_snapshot(revision).as_deref(), Some(dir.as_path()));
        }
        for revision in ["odd", "other", &commit.replace('0', "1")] {
            assert_eq!(repo.whole_snapshot(revision), None);
        }
    }
}
