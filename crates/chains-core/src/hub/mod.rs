//! Models by name: a directory, or a repository on the hub that is fetched once and then cached.
//!
//! The cache is the one that the hub's other clients use (`models--OWNER--NAME/` with `refs/`,
//! `snapshots/` and `blobs/`), so a model fetched by any of them is found here, also without the
//! feature `hub` and without a network.
//!
//! # What is promised
//! * A downloaded file gets its name only after its length and its digest (SHA-256 of large files,
//!   the git blob id of small ones) agree with what the hub announced.
//! * `refs/REVISION` names a commit only once its snapshot is whole, so a reader without a network
//!   never lands on half a model. Renames are atomic: two processes may fetch at once.
//! * A revision that is a commit is never asked for again once it is cached. A branch or a tag is
//!   looked up each time; if the hub does not answer, the cached commit is used, with a warning.
//! * The token goes to the endpoint's own host, never to where a redirect leads.
//!
//! # Why a client of its own
//! With the feature `hub`, files come through a thin client over `ureq`. The hub's official crate
//! brings an asynchronous runtime, a second HTTP stack and a C-built TLS library, some 280 crates
//! in all, to fetch four files, reads part of its settings from the environment, and does not
//! compare a plain download with its digest. Everything that talks to the network is behind one
//! small private trait, so the choice can be changed.

mod cache;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod http;
mod id;
mod options;

use std::path::{Path, PathBuf};

use cache::Repo;
pub use id::ModelId;
pub use options::HubOptions;

use crate::{
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE},
    error::{Error, Result},
};

/// A model directory is not one without these.
const REQUIRED: [&str; 2] = [CONFIG_FILE, WEIGHTS_FILE];

/// The directory of a model: `arg` itself if it is a directory, else the snapshot of the hub
/// repository `owner/name[@revision]`.
///
/// # Errors
/// [`Error::Checkpoint`] if `arg` looks like a path and is no directory; otherwise as
/// [`fetch_model`], and [`Error::Hub`] if `arg` is no id.
pub fn resolve_model(arg: &str, options: &HubOptions) -> Result<PathBuf> {
    let path = Path::new(arg);
    if path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let refuse = |reason: &str| {
        Err(Error::Checkpoint { path: path.to_path_buf(), reason: reason.to_owned() })
    };
    if path.exists() {
        return refuse("is a file; give the directory with `config.json` and `model.safetensors`");
    }
    if looks_like_a_path(arg) {
        return refuse("no such directory (a model on the hub is written `owner/name[@revision]`)");
    }
    fetch_model(&arg.parse()?, options).map_err(|error| match error {
        // `checkpoints/mnist` may have been meant as a directory.
        Error::Hub { id, reason } => {
            Error::Hub { id, reason: format!("{reason} (nor is there a directory `{arg}`)") }
        }
        other => other,
    })
}

/// An id has one slash before its revision and begins with a letter or a digit.
fn looks_like_a_path(arg: &str) -> bool {
    let id = arg.split('@').next().unwrap_or(arg);
    id.matches('/').count() != 1
        || id.ends_with('/')
        || id.contains('\\')
        || id.starts_with(['/', '.', '~'])
}

/// The snapshot directory of a model on the hub, fetched if it is not cached.
///
/// It holds `config.json` and `model.safetensors`, and `README.md` and `metrics.json` if the
/// repository has them; they may be links into the cache and are not to be written to.
///
/// # Errors
/// [`Error::Hub`] if the model is not cached and cannot be fetched, with the reason and what to do;
/// [`Error::Io`] if the cache cannot be written.
pub fn fetch_model(id: &ModelId, options: &HubOptions) -> Result<PathBuf> {
    let repo = Repo::new(&options.cache_dir, id);
    let revision = id.revision_or_main();
    let cached = repo.whole_snapshot(revision);
    match cached {
        // A commit does not change: there is nothing to ask.
        Some(dir) if options.offline || id::is_commit(revision) => Ok(dir),
        None if options.offline => Err(hub_error(
            id,
            format!(
                "offline, and the cache lacks {}; fetch it once with a connection, without \
                 `--offline` and `HF_HUB_OFFLINE`",
                repo.describe_missing(revision)
            ),
        )),
        cached => online(id, options, &repo, cached),
    }
}

#[cfg(feature = "hub")]
fn online(
    id: &ModelId,
    options: &HubOptions,
    repo: &Repo,
    cached: Option<PathBuf>,
) -> Result<PathBuf> {
    let client = http::Client::new(options).map_err(|reason| hub_error(id, reason))?;
    match (download::download(&client, id, repo), cached) {
        (Ok(dir), _) => Ok(dir),
        (Err(download::Failure::Network(reason)), Some(dir)) => {
            tracing::warn!(%id, reason, dir = %dir.display(), "the cached revision is used");
            Ok(dir)
        }
        (Err(download::Failure::Network(reason)), None) => Err(hub_error(
            id,
            format!(
                "{reason}, and the cache lacks {}; check the connection and the endpoint `{}`",
                repo.describe_missing(id.revision_or_main()),
                options.endpoint
            ),
        )),
        (Err(download::Failure::Fatal(error)), _) => Err(error),
    }
}

#[cfg(not(feature = "hub"))]
fn online(id: &ModelId, _: &HubOptions, repo: &Repo, cached: Option<PathBuf>) -> Result<PathBuf> {
    cached.ok_or_else(|| {
        let missing = repo.describe_missing(id.revision_or_main());
        hub_error(
            id,
            format!(
                "the cache lacks {missing}, and this was built without `hub`; rebuild with \
                 `--features hub`"
            ),
        )
    })
}

fn hub_error(id: &ModelId, reason: String) -> Error {
    Error::Hub { id: id.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline(cache_dir: &Path) -> HubOptions {
        HubOptions {
            endpoint: "http://127.0.0.1:9".to_owned(),
            cache_dir: cache_dir.to_path_buf(),
            token: None,
            offline: true,
        }
    }

    #[test]
    fn a_directory_is_its_own_answer() {
        let folder = tempfile::tempdir().unwrap();
        let arg = folder.path().to_str().unwrap();
        assert_eq!(resolve_model(arg, &offline(folder.path())).unwrap(), folder.path());
    }

    #[test]
    fn a_path_that_is_no_directory_is_not_taken_for_an_id() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        std::fs::write(&file, b"").unwrap();
        let options = offline(folder.path());
        let file = file.to_str().unwrap();
        let message = resolve_model(file, &options).unwrap_err().to_string();
        assert!(message.contains("is a file"), "{message}");
        for arg in ["./x", "../x", "/no/such", "~/x", "a/b/c", "a\\b", "name", "a/b/", ""] {
            let error = resolve_model(arg, &options).unwrap_err();
            assert!(matches!(error, Error::Checkpoint { .. }), "{arg}: {error}");
            assert!(error.to_string().contains("no such directory"), "{arg}: {error}");
        }
    }

    #[test]
    fn a_cold_cache_offline_lists_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let message = resolve_model("owner/name", &offline(folder.path())).unwrap_err().to_string();
        for part in ["owner/name", "offline", "`config.json`", "`model.safetensors`", "`main`"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(message.contains("nor is there a directory `owner/name`"), "{message}");
    }

    #[test]
    #[cfg(not(feature = "hub"))]
    fn without_the_feature_a_cold_cache_names_the_feature_to_add() {
        let folder = tempfile::tempdir().unwrap();
        let options = HubOptions { offline: false, ..offline(folder.path()) };
        let message = resolve_model("owner/name", &options).unwrap_err().to_string();
        assert!(message.contains("rebuild with `--features hub`"), "{message}");
    }
}
