//! What may be committed: sizes, and no trace of the machine it was made on.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use super::Outcome;

const MB: u64 = 1_000_000;
/// All tracked files together.
const LARGEST_TREE: u64 = 40 * MB;
/// All checkpoints together.
const LARGEST_CHECKPOINTS: u64 = 27 * MB;
/// One model directory.
const LARGEST_CHECKPOINT: u64 = 9 * MB;

/// Checks the files that git tracks; skipped outside a git checkout.
pub(super) fn check(root: &Path) -> anyhow::Result<Outcome> {
    let Some(paths) = tracked(root) else {
        return Ok(Outcome::Skipped("not a git checkout".into()));
    };
    let mut sizes = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let file = root.join(&path);
        let meta = match fs::symlink_metadata(&file) {
            // Deleted and not yet committed: nothing to look at.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            meta => meta.with_context(|| path.clone())?,
        };
        sizes.push((path.clone(), meta.len()));
        if meta.is_file() {
            let bytes = fs::read(&file).with_context(|| path.clone())?;
            if let Some(at) = home_path(&bytes) {
                problems.push(format!("{path}, byte {at}: an absolute path of a home folder"));
            }
        }
    }
    problems.extend(too_large(&sizes));
    if !problems.is_empty() {
        bail!("{}", problems.join("\n       "));
    }
    Ok(Outcome::Passed)
}

/// Paths from the root with forward slashes; nothing if git has no answer.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z"]).stderr(Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success())?;
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn too_large(sizes: &[(String, u64)]) -> Vec<String> {
    let mut models: BTreeMap<&str, u64> = BTreeMap::new();
    for (path, size) in sizes {
        if let Some(rest) = path.strip_prefix("checkpoints/") {
            *models.entry(rest.split('/').next().unwrap_or(rest)).or_default() += size;
        }
    }
    let tree = sizes.iter().map(|(_, size)| size).sum();
    let totals = [
        ("all tracked files".to_owned(), tree, LARGEST_TREE),
        ("checkpoints".to_owned(), models.values().sum(), LARGEST_CHECKPOINTS),
    ];
    let each = models
        .iter()
        .map(|(name, &size)| (format!("checkpoints/{name}"), size, LARGEST_CHECKPOINT));
    let over = totals.into_iter().chain(each).filter(|(_, size, limit)| size > limit);
    over.map(|(what, size, limit)| {
        format!("{what}: {:.1} MB, at most {} allowed", size as f64 / MB as f64, limit / MB)
    })
    .collect()
}

/// Where an absolute path below somebody's home folder begins.
fn home_path(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&at| {
        let rest = &bytes[at..];
        // A host or a folder in front makes it part of a longer path or address.
        let inside =
            at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || b".-_".contains(&bytes[at - 1]));
        let named = |parent: &[u8], separator: u8| {
            rest.strip_prefix(parent).is_some_and(|rest| {
                let name = rest.iter().take_while(|byte| is_name(**byte)).count();
                name > 0 && rest.get(name) == Some(&separator)
            })
        };
        let rooted = || rest.starts_with(b"/root") && rest.get(5) == Some(&b'/');
        !inside
            && match rest[0] {
                b'/' => named(b"/home/", b'/') || named(b"/Users/", b'/') || rooted(),
                b'C' => named(b"C:\\Users\\", b'\\'),
                _ => false,
            }
    })
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive_and_name_what_is_over() {
        let size = |path: &str, size| (path.to_owned(), size);
        let fine = [
            size("checkpoints/a/model.safetensors", 8 * MB),
            size("checkpoints/a/config.json", MB),
            size("checkpoints/b/model.safetensors", 9 * MB),
            size("checkpoints/c/model.safetensors", 9 * MB),
            size("datasets/x.gz", 13 * MB),
        ];
        assert_eq!(too_large(&fine), [""; 0]);
        let over = [fine.as_slice(), &[size("checkpoints/b/README.md", 1)]].concat();
        let problems = too_large(&over);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("all tracked files: 40.0 MB"));
        assert!(problems[1].starts_with("checkpoints: 27.0 MB"));
        assert!(problems[2].starts_with("checkpoints/b: 9.0 MB"));
    }

    #[test]
    fn home_folders_are_found_and_addresses_are_not() {
        // Put together here, so that this file passes its own check.
        let home = |name: &str| format!("see /{}/{name}/data", "home");
        assert_eq!(home_path(home("ada").as_bytes()), Some(4));
        assert_eq!(home_path(format!("(/{}/ada/x", "Users").as_bytes()), Some(1));
        assert_eq!(home_path(format!("C:\\{}\\ada\\x", "Users").as_bytes()), Some(0));
        assert_eq!(home_path(format!("a=\"/{}/.cache\"", "root").as_bytes()), Some(3));
        assert_eq!(home_path(home("").as_bytes()), None);
        assert_eq!(home_path(home("<name>").as_bytes()), None);
        assert_eq!(home_path(format!("https://example.org/{}/ada/", "home").as_bytes()), None);
        let inside = format!("the /{0}ed/ tree, target/{0}/x, /{0}", "root");
        assert_eq!(home_path(inside.as_bytes()), None);
    }
}
