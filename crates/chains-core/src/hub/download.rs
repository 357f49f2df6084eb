//! Fetches a snapshot into the cache, file by file, each checked before it gets its name.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    REQUIRED,
    cache::Repo,
    hub_error,
    id::{ModelId, is_commit, is_lower_hex},
};
use crate::{
    checkpoint::{CONFIG_FILE, Staged, WEIGHTS_FILE, folder_of, write_bytes_atomic},
    error::{Error, Result},
};

/// What is fetched, in this order: while the weights are missing the snapshot is not whole, so an
/// interrupted fetch is taken up again.
const WANTED: [&str; 4] = ["README.md", "metrics.json", CONFIG_FILE, WEIGHTS_FILE];

/// Why something was not fetched.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub did not answer, or not to the end: what is cached may be used.
    Network(String),
    /// The hub answered, or the disk did: trying again does not help.
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// What a revision is.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// A file about to be read.
pub(super) struct Remote {
    /// Without quotes; 64 hex digits are a SHA-256, 40 are a git blob id.
    pub(super) etag: String,
    /// Bytes announced.
    pub(super) size: Option<u64>,
    pub(super) body: Box<dyn Read>,
}

/// The two questions that a hub answers.
pub(super) trait Fetch {
    /// The commit and the files of a revision.
    fn list(&self, id: &ModelId, revision: &str) -> Result<Listing, Failure>;
    /// The head of a file's answer; the body is read by the caller, or not.
    fn open(&self, id: &ModelId, commit: &str, file: &str) -> Result<Remote, Failure>;
}

/// The whole snapshot of the revision in `id`, after asking what the revision is.
pub(super) fn download(fetch: &dyn Fetch, id: &ModelId, repo: &Repo) -> Result<PathBuf, Failure> {
    let revision = id.revision_or_main();
    let Listing { commit, files } = fetch.list(id, revision)?;
    let fatal = |reason: String| Failure::Fatal(hub_error(id, reason));
    if !is_commit(&commit) || (is_commit(revision) && commit != revision) {
        return Err(fatal(format!("the endpoint calls `{revision}` the commit `{commit}`")));
    }
    let listed = |name: &str| files.iter().any(|file| file == name);
    let absent: Vec<_> = REQUIRED.iter().filter(|name| !listed(name)).collect();
    if !absent.is_empty() {
        return Err(fatal(format!(
            "not a model directory: revision `{revision}` (commit {commit}) has no {absent:?}"
        )));
    }
    let snapshot = repo.snapshot(&commit);
    if repo.whole_snapshot(&commit).is_none() {
        fs::create_dir_all(&snapshot).map_err(|error| Error::io(&snapshot, error))?;
        for file in WANTED {
            let pointer = snapshot.join(file);
            if listed(file) && !pointer.is_file() {
                let remote = fetch.open(id, &commit, file)?;
                let blob = place_blob(id, repo, file, remote)?;
                link(&blob, &pointer)?;
            }
        }
    }
    if !is_commit(revision) {
        let reference = repo.reference(revision);
        let folder = folder_of(&reference);
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        write_bytes_atomic(&reference, commit.as_bytes())?;
    }
    Ok(snapshot)
}

/// The blob of a file: an old one of the same digest, or the body once it has been checked.
fn place_blob(id: &ModelId, repo: &Repo, file: &str, remote: Remote) -> Result<PathBuf, Failure> {
    let Remote { etag, size, body } = remote;
    if etag.is_empty() || !etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        let reason = format!("`{file}`: the endpoint gives the unusable etag `{etag}`");
        return Err(Failure::Fatal(hub_error(id, reason)));
    }
    let blob = repo.blob(&etag);
    if blob.is_file() {
        return Ok(blob);
    }
    let folder = folder_of(&blob);
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    // One byte more than announced is enough to know that there is too much.
    let mut body =
        Noted { inner: body.take(size.map_or(u64::MAX, |n| n.saturating_add(1))), error: None };
    let staged = Staged::write(&blob, |out| io::copy(&mut body, out).map(drop));
    if let Some(error) = body.error {
        return Err(Failure::Network(format!("`{file}` broke off: {error}")));
    }
    let staged = staged?;
    check(id, file, staged.temporary(), &etag, size)?;
    staged.commit()?;
    Ok(blob)
}

/// A reader that remembers its own error, so that it is not taken for one of the disk.
struct Noted<R> {
    inner: R,
    error: Option<String>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.error = Some(error.to_string());
            }
        })
    }
}

/// Compares length and digest of a downloaded file with what was announced. An etag that is no
/// digest (another kind of server) leaves the length alone to be compared.
fn check(
    id: &ModelId,
    file: &str,
    path: &Path,
    etag: &str,
    size: Option<u64>,
) -> Result<(), Failure> {
    let fail = |error| Failure::Fatal(Error::io(path, error));
    let mut reader = File::open(path).map_err(fail)?;
    let got = reader.metadata().map_err(fail)?.len();
    if let Some(size) = size
        && got != size
    {
        let amount = if got > size { "more".to_owned() } else { got.to_string() };
        let reason = format!("`{file}` is incomplete: {size} bytes announced, {amount} came");
        return Err(Failure::Network(reason));
    }
    let digest = match etag.len() {
        64 if is_lower_hex(etag) => digest::<Sha256>(&mut reader, &[]),
        40 if is_lower_hex(etag) => digest::<Sha1>(&mut reader, format!("blob {got}\0").as_bytes()),
        _ => return Ok(()),
    }
    .map_err(fail)?;
    if digest != etag {
        let reason = format!(
            "`{file}` is damaged: digest {digest}, but the endpoint announced {etag}; nothing was \
             kept, try again or another endpoint"
        );
        return Err(Failure::Fatal(hub_error(id, reason)));
    }
    Ok(())
}

fn digest<D: Digest>(reader: &mut impl Read, prefix: &[u8]) -> io::Result<String> {
    let mut state = D::new();
    state.update(prefix);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => state.update(&buffer[..n]),
        }
    }
    Ok(state.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes `pointer` a relative link to the blob, or a copy where there are no links; atomically, in
/// case another process does the same.
fn link(blob: &Path, pointer: &Path) -> Result<()> {
    #[cfg(unix)]
    if let Some(name) = blob.file_name() {
        let target = Path::new("../../blobs").join(name);
        let made = tempfile::Builder::new()
            .prefix(".link.")
            .make_in(folder_of(pointer), |path| std::os::unix::fs::symlink(&target, path))
            .and_then(|link| link.persist(pointer).map_err(|error| error.error));
        if made.is_ok() {
            return Ok(());
        }
    }
    let mut source = File::open(blob).map_err(|error| Error::io(blob, error))?;
    Staged::write(pointer, |out| io::copy(&mut source, out).map(drop))?.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8], etag: &str, size: Option<u64>) -> Result<(), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, bytes).unwrap();
        check(&"a/b".parse().unwrap(), "x", &path, etag, size)
    }

    #[test]
    fn digests_are_those_of_git_and_sha256sum() {
        // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for etag in [git, sha] {
            checked(b"hello\n", etag, Some(6)).unwrap();
            checked(b"hello\n", etag, None).unwrap();
            assert!(matches!(checked(b"hallo\n", etag, Some(6)), Err(Failure::Fatal(_))));
            assert!(matches!(checked(b"hello\n", etag, Some(7)), Err(Failure::Network(_))));
            assert!(matches!(checked(b"hello\n", etag, Some(5)), Err(Failure::Network(_))));
        }
        checked(b"hello\n", "5d41402a-2", Some(6)).unwrap();
    }

    #[test]
    fn an_etag_that_would_leave_the_cache_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let id: ModelId = "a/b".parse().unwrap();
        let repo = Repo::new(folder.path(), &id);
        for etag in ["", "../../x", "a/b", "a\\b", "."] {
            let remote = Remote { etag: etag.to_owned(), size: None, body: Box::new(io::empty()) };
            assert!(matches!(place_blob(&id, &repo, "x", remote), Err(Failure::Fatal(_))));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
