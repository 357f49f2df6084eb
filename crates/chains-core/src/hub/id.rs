//! Names of models on the hub.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// A model on the hub, written `owner/name` or `owner/name@revision`.
///
/// The revision is a branch, a tag or a commit; without one, `main` is meant. The parts are safe
/// as names of files.
///
/// # Example
/// ```
/// use chains_core::hub::ModelId;
/// let id: ModelId = "owner/infusion-mnist@v1".parse()?;
/// assert_eq!((id.owner(), id.name(), id.revision()), ("owner", "infusion-mnist", Some("v1")));
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    owner: String,
    name: String,
    revision: Option<String>,
}

impl ModelId {
    /// The user or organisation.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The repository.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Branch, tag or commit, if one was given.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    pub(super) fn revision_or_main(&self) -> &str {
        self.revision().unwrap_or("main")
    }
}

impl FromStr for ModelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |reason: &str| {
            let reason = format!("{reason}; a model is written `owner/name[@revision]`");
            Err(Error::Hub { id: text.to_owned(), reason })
        };
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let Some((owner, name)) = repo.split_once('/') else {
            return fail("no `/`");
        };
        if !is_word(owner) || !is_word(name) {
            return fail(
                "owner and name are of letters, digits, `-`, `_` and `.`, without `--` or `..`, \
                 and neither begin nor end with `-` or `.`",
            );
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return fail("the revision is a branch, a tag or a commit");
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
        })
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

/// The hub's own rule for names; `--` separates the parts of a cache folder.
fn is_word(word: &str) -> bool {
    (1..=96).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !word.contains("--")
        && !word.contains("..")
        && !word.starts_with(['-', '.'])
        && !word.ends_with(['-', '.'])
}

/// A revision becomes a path below `refs/`: no empty, hidden or upward component.
fn is_revision(revision: &str) -> bool {
    revision.len() <= 200
        && revision.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.contains("..")
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b))
        })
}

/// A full commit id, which never means anything else.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_lower_hex(revision)
}

/// Digits of a digest as the hub writes them.
pub(super) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_and_written_back() {
        for text in ["a/b", "Owner_1/some.name-2", "a/b@main", "a/b@refs/pr/1", "a/b@v1.0+x"] {
            let id: ModelId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        let id: ModelId = "a/b@refs/pr/1".parse().unwrap();
        assert_eq!(id.revision(), Some("refs/pr/1"));
        assert_eq!("a/b".parse::<ModelId>().unwrap().revision_or_main(), "main");
    }

    #[test]
    fn what_would_leave_the_cache_is_no_id() {
        for text in [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a--b/c",
            "a b/c",
            ".a/b",
            "a/b@",
            "a/b@..",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x//y",
            "a/b@x\\y",
            "a/b@x y",
            "a/b@c@d",
            "a/b?c",
        ] {
            let message = text.parse::<ModelId>().unwrap_err().to_string();
            assert!(message.contains("`owner/name[@revision]`"), "{text}: {message}");
        }
    }

    #[test]
    fn only_forty_hex_digits_are_a_commit() {
        assert!(is_commit(&"0a".repeat(20)));
        for text in ["main", &"0a".repeat(19), &"0A".repeat(20), &"0g".repeat(20)] {
            assert!(!is_commit(text));
        }
    }
}
