//! The smoke reproduction of every paper, twice, and the comparison of the two runs.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use super::{Line, Outcome};

/// The papers whose crate has experiments to run.
const PAPERS: [&str; 2] = ["infusion", "metrics"];
/// Fields of `results.json` that may differ between two runs.
const MAY_DIFFER: [&str; 2] = ["\"wall_s\"", "\"peak_rss_mb\""];
const THREADS: [&str; 2] = ["1", "2"];

/// Runs every paper with one thread and with two; the results must agree bit for bit.
pub(super) fn check(root: &Path) -> anyhow::Result<Outcome> {
    for paper in PAPERS {
        let mut results = Vec::new();
        for threads in THREADS {
            let out = PathBuf::from(format!("target/xtask-smoke/threads-{threads}/{paper}"));
            let folder = root.join(&out);
            if folder.exists() {
                // What an earlier run left must not pass for this one's.
                fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
            }
            let failed = line(paper, &out, threads).run(root);
            if failed != Outcome::Passed {
                return Ok(failed);
            }
            results.push(collect(&folder)?);
        }
        ensure!(!results[0].is_empty(), "{paper}: the smoke run wrote no results.json");
        let differences = compare(&results[0], &results[1]);
        if !differences.is_empty() {
            bail!(
                "{paper}: one thread and two give different results\n       {}",
                differences.join("\n       ")
            );
        }
    }
    Ok(Outcome::Passed)
}

/// In the dev profile, so that a whole test run builds one profile only.
fn line(paper: &str, out: &Path, threads: &'static str) -> Line {
    let mut argv: Vec<OsString> = ["cargo", "run", "--quiet", "-p", "reproduce", "--", "reproduce"]
        .map(OsString::from)
        .into();
    argv.extend([paper, "--experiment", "all", "--scale", "smoke", "--out"].map(OsString::from));
    argv.push(out.into());
    Line { environment: vec![("RAYON_NUM_THREADS", threads)], argv }
}

/// Every `results.json` below the folder, by its path from there.
fn collect(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).with_context(|| at.display().to_string())? {
            let path = entry.with_context(|| at.display().to_string())?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| name == "results.json") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                found.insert(path.strip_prefix(folder)?.to_path_buf(), text);
            }
        }
    }
    Ok(found)
}

/// What differs: files that only one run wrote, or the first line that is not the same.
///
/// The files are pretty-printed, one field a line, and numbers in their shortest exact form, so
/// that equal text is equal bits.
fn compare(one: &BTreeMap<PathBuf, String>, two: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut differences = Vec::new();
    let lonely = one.keys().filter(|path| !two.contains_key(*path));
    let lonely = lonely.chain(two.keys().filter(|path| !one.contains_key(*path)));
    differences.extend(lonely.map(|path| format!("{}: written by one run only", path.display())));
    for (path, left) in one {
        let Some(right) = two.get(path) else { continue };
        let (mut left, mut right) = (comparable(left), comparable(right));
        loop {
            match (left.next(), right.next()) {
                (None, None) => break,
                (a, b) if a == b => {}
                (a, b) => {
                    let shown =
                        |line: Option<&str>| line.unwrap_or("end of file").trim().to_owned();
                    let path = path.display();
                    differences.push(format!("{path}: {} against {}", shown(a), shown(b)));
                    break;
                }
            }
        }
    }
    differences
}

fn comparable(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !MAY_DIFFER.iter().any(|name| line.trim_start().starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> BTreeMap<PathBuf, String> {
        BTreeMap::from([(PathBuf::from("a/results.json"), text.to_owned())])
    }

    #[test]
    fn time_and_memory_may_differ_and_nothing_else() {
        let first = one("{\n  \"value\": 1.25,\n  \"wall_s\": 4.0,\n  \"peak_rss_mb\": 640\n}");
        let second = one("{\n  \"value\": 1.25,\n  \"wall_s\": 5.0,\n  \"peak_rss_mb\": 641\n}");
        assert_eq!(compare(&first, &second), [""; 0]);
        let other = one("{\n  \"value\": 1.2500000000000002,\n  \"wall_s\": 4.0\n}");
        let difference = &compare(&first, &other)[0];
        assert!(difference.contains("\"value\": 1.25, against"), "{difference}");
    }

    #[test]
    fn a_missing_file_and_a_missing_line_are_differences() {
        assert_eq!(compare(&one("{}"), &BTreeMap::new()).len(), 1);
        assert_eq!(compare(&BTreeMap::new(), &one("{}")).len(), 1);
        assert!(compare(&one("{\n}"), &one("{\n"))[0].contains("} against end of file"));
    }

    #[test]
    fn the_command_runs_the_dev_profile() {
        let line = line("infusion", Path::new("target/x"), "2");
        let argv: Vec<_> = line.argv.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(
            argv.join(" "),
            "cargo run --quiet -p reproduce -- reproduce infusion --experiment all --scale smoke --out target/x"
        );
        assert_eq!(line.environment, [("RAYON_NUM_THREADS", "2")]);
    }
}
