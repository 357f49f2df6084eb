//! The steps of the test command and what each of them runs.

use std::{ffi::OsString, fs, path::Path};

use anyhow::Context;

use super::{Outcome, files, smoke};

/// One step.
pub(super) struct Step {
    /// For `--only`.
    pub(super) name: &'static str,
    /// What it finds out.
    pub(super) about: &'static str,
    /// A command that answers when the program is installed; the step is skipped when it does not.
    pub(super) tool: Option<&'static [&'static str]>,
    /// What it does.
    pub(super) work: Work,
}

/// What a step does.
pub(super) enum Work {
    /// Command lines, one after the other.
    Lines(Vec<Line>),
    /// A function of the workspace root.
    Call(fn(&Path) -> anyhow::Result<Outcome>),
}

/// One command line with its environment.
pub(super) struct Line {
    pub(super) environment: Vec<(&'static str, &'static str)>,
    pub(super) argv: Vec<OsString>,
}

impl Line {
    pub(super) fn new(argv: &[&str]) -> Self {
        Self { environment: Vec::new(), argv: argv.iter().map(OsString::from).collect() }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }
}

/// The step that `--quick` leaves out.
pub(super) const SMOKE: &str = "smoke";

/// All steps, cheapest first.
///
/// # Errors
/// If the folder of the crates cannot be read.
pub(super) fn all(root: &Path) -> anyhow::Result<Vec<Step>> {
    let mut steps = without_building();
    steps.push(each_crate_alone(root)?);
    steps.extend(lints());
    steps.extend(tests());
    Ok(steps)
}

fn step(name: &'static str, about: &'static str, lines: Vec<Line>) -> Step {
    Step { name, about, tool: None, work: Work::Lines(lines) }
}

fn without_building() -> Vec<Step> {
    vec![
        step("fmt", "formatting", vec![Line::new(&["cargo", "fmt", "--all", "--check"])]),
        Step {
            name: "files",
            about: "sizes of tracked files, no paths of somebody's home",
            tool: None,
            work: Work::Call(files::check),
        },
        Step {
            tool: Some(&["typos", "--version"]),
            ..step("typos", "spelling", vec![Line::new(&["typos"])])
        },
        Step {
            tool: Some(&["cargo", "deny", "--version"]),
            ..step(
                "deny",
                "licences, advisories, bans, sources",
                vec![Line::new(&["cargo", "deny", "check"])],
            )
        },
    ]
}

/// Unified features could hide a missing one in any crate that others build on.
fn each_crate_alone(root: &Path) -> anyhow::Result<Step> {
    let lines = library_crates(root)?
        .iter()
        .map(|name| Line::new(&["cargo", "check", "--quiet", "-p", name]))
        .collect();
    Ok(step("alone", "every library crate compiles by itself", lines))
}

fn lints() -> Vec<Step> {
    let doc = words("cargo doc --workspace --no-deps").with("RUSTDOCFLAGS", "-D warnings");
    let clippy = words("cargo clippy --workspace --all-targets -- -D warnings");
    let hub = words("cargo clippy -p chains-core --features hub --all-targets -- -D warnings");
    let hack =
        words("cargo hack check --workspace --each-feature --skip cuda,cudnn,metal,mkl,accelerate");
    vec![
        step("clippy", "lints, warnings are errors", vec![clippy]),
        step("doc", "documentation, warnings are errors", vec![doc]),
        step("clippy-hub", "lints of the code behind feature `hub`", vec![hub]),
        Step {
            tool: Some(&["cargo", "hack", "--version"]),
            ..step("hack", "each feature alone, accelerators left out", vec![hack])
        },
    ]
}

fn tests() -> Vec<Step> {
    let hub = words("cargo test -p chains-core --features hub");
    vec![
        step("tests", "every test", vec![words("cargo test --workspace")]),
        step("tests-hub", "the tests behind feature `hub`, against a local server", vec![hub]),
        Step {
            name: SMOKE,
            about: "every paper from data to report, with one thread and with two",
            tool: None,
            work: Work::Call(smoke::check),
        },
    ]
}

/// A command line without spaces inside its words.
fn words(line: &str) -> Line {
    Line::new(&line.split(' ').collect::<Vec<_>>())
}

/// The folders of `crates/` that hold a library, in order; folder and package have one name.
fn library_crates(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("crates");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        if entry.path().join("src/lib.rs").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::process::workspace_root;

    #[test]
    fn steps_have_different_names_and_the_cheap_ones_come_first() -> anyhow::Result<()> {
        let names: Vec<_> = all(&workspace_root())?.iter().map(|step| step.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!((names[0], names[names.len() - 1]), ("fmt", SMOKE));
        let at = |name| names.iter().position(|other| *other == name);
        assert!(at("files") < at("clippy") && at("clippy") < at("tests"));
        Ok(())
    }

    #[test]
    fn every_library_crate_is_checked_alone() -> anyhow::Result<()> {
        let names = library_crates(&workspace_root())?;
        for name in ["chains-core", "datasets", "eval-metrics", "infusion", "vera"] {
            assert!(names.iter().any(|other| other == name), "{names:?}");
        }
        Ok(())
    }
}
