//! The product's commands: from arguments to the cargo command that builds and runs them.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, IsTerminal, Write},
    path::Path,
    process::{Child, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context;

use crate::{
    process::{command, exit_code, workspace_root},
    say::warn,
};

/// The commands that the product's binary understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    Reproduce,
    Sample,
    Evaluate,
    Fetch,
    Bench,
}

impl Forwarded {
    pub(crate) const ALL: [Self; 5] =
        [Self::Reproduce, Self::Sample, Self::Evaluate, Self::Fetch, Self::Bench];

    pub(crate) fn parse(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|command| name == command.as_str())
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reproduce => "reproduce",
            Self::Sample => "sample",
            Self::Evaluate => "evaluate",
            Self::Fetch => "fetch",
            Self::Bench => "bench",
        }
    }

    /// One line for `--help`.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Reproduce => {
                "Reproduce the experiments of a paper, ours beside the published numbers"
            }
            Self::Sample => {
                "Draw samples from a trained model, or fill in the unknown part of a picture"
            }
            Self::Evaluate => "Score a trained model, or samples against a reference",
            Self::Fetch => "Download models; say where data sets are",
            Self::Bench => "Time fixed units of work beside the best matrix product",
        }
    }
}

/// Long options of the product that take no value; any other is followed by one.
const FLAGS: [&str; 6] = ["--chain", "--dry-run", "--help", "--list", "--offline", "--resume"];

/// The features that the arguments need: an accelerator by `--device`, `hub` for downloads.
pub(crate) fn features(
    command: Forwarded,
    args: &[OsString],
    is_dir: &dyn Fn(&Path) -> bool,
) -> Vec<&'static str> {
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let mut device = None;
    let mut model = None;
    let mut at = 0;
    while at < words.len() {
        let word = words[at].as_ref();
        if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
            device = if name == "--device" { Some(value) } else { device };
        } else if word == "--device" {
            at += 1;
            device = words.get(at).map(AsRef::as_ref).or(device);
        } else if word.starts_with("--") && word.len() > 2 {
            at += usize::from(!FLAGS.contains(&word));
        } else if !word.starts_with('-') && model.is_none() {
            model = Some(word);
        }
        at += 1;
    }
    let mut features = Vec::new();
    match device.map(|device| device.split(':').next().unwrap_or(device)) {
        Some("cuda") => features.push("cuda"),
        Some("metal") => features.push("metal"),
        _ => {}
    }
    let downloads = match command {
        Forwarded::Fetch => true,
        Forwarded::Sample | Forwarded::Evaluate => {
            // A name below a folder that is here is a slip of the pen, not a model on the hub.
            let here = |model: &str| {
                let owner = model.split('/').next().unwrap_or(model);
                [model, owner].iter().any(|path| is_dir(Path::new(path)))
            };
            model.is_some_and(|model| is_hub_id(model) && !here(model))
        }
        Forwarded::Reproduce | Forwarded::Bench => false,
    };
    features.extend(downloads.then_some("hub"));
    features
}

/// `owner/name[@revision]`, and not a path that only looks like it.
fn is_hub_id(model: &str) -> bool {
    let (name, revision) = model.split_once('@').map_or((model, None), |(a, b)| (a, Some(b)));
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let id = name.split_once('/').is_some_and(|(owner, name)| word(owner) && word(name));
    id && revision.is_none_or(|revision| !revision.is_empty())
}

/// `cargo VERB --quiet --release -p reproduce ...` for that workspace and those features.
fn cargo_argv(verb: &str, manifest: &Path, features: &[&str], offline: bool) -> Vec<OsString> {
    let mut argv: Vec<OsString> =
        ["cargo", verb, "--quiet", "--manifest-path"].map(OsString::from).into();
    argv.push(manifest.into());
    argv.extend(["--release", "-p", "reproduce"].map(OsString::from));
    if !features.is_empty() {
        argv.extend(["--features".into(), features.join(",").into()]);
    }
    argv.extend(offline.then(|| "--offline".into()));
    argv
}

/// The command that builds the product for these arguments.
fn build_argv(manifest: &Path, features: &[&str], offline: bool) -> Vec<OsString> {
    cargo_argv("build", manifest, features, offline)
}

/// The command that runs the product: everything after `--` is passed on untouched.
fn run_argv(
    manifest: &Path,
    features: &[&str],
    offline: bool,
    command: Forwarded,
    args: &[OsString],
) -> Vec<OsString> {
    let mut argv = cargo_argv("run", manifest, features, offline);
    argv.extend(["--".into(), command.as_str().into()]);
    argv.extend(args.iter().cloned());
    argv
}

/// Builds the product and runs it in the directory of the caller; gives its exit status.
pub(crate) fn run(forwarded: Forwarded, args: &[OsString]) -> anyhow::Result<ExitCode> {
    let manifest = workspace_root().join("Cargo.toml");
    let features = features(forwarded, args, &|path| path.is_dir());
    let mut offline = false;
    let mut built = build(&build_argv(&manifest, &features, false))?;
    if built.network_failed {
        warn(format_args!("no registry could be reached; trying with what is already here"));
        offline = true;
        built = build(&build_argv(&manifest, &features, true))?;
    }
    if built.code != 0 {
        warn(format_args!("error: the product did not build, see above; nothing was run"));
        return Ok(ExitCode::from(built.code));
    }
    let argv = run_argv(&manifest, &features, offline, forwarded, args);
    let status = tuned(&mut command(&argv)).status().context("cargo could not be started")?;
    Ok(ExitCode::from(exit_code(status)))
}

/// Settings of the product's process that a variable already set by the user overrides.
///
/// Training frees and takes buffers of megabytes thousands of times a minute: glibc's allocator
/// should keep them instead of returning their pages to the system. A second arena cannot: it holds
/// 64 MB, and what is larger gets pages that are cleared anew each time. Candle's own pool should not
/// spin beside rayon's.
fn tuned(command: &mut std::process::Command) -> &mut std::process::Command {
    for (name, value) in [
        ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
        ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
        ("MALLOC_TOP_PAD_", "268435456"),
        ("MALLOC_ARENA_MAX", "1"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
        ("CANDLE_NUM_THREADS", "1"),
    ] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    command
}

/// How a build ended.
struct Built {
    code: u8,
    network_failed: bool,
}

/// Runs a quiet build, passes its diagnostics on, and says so when it takes long.
fn build(argv: &[OsString]) -> anyhow::Result<Built> {
    let mut command = command(argv);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if std::io::stderr().is_terminal() && std::env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let child = command.spawn().context("cargo could not be started: is it on the PATH?")?;
    let (done, finished) = mpsc::channel::<()>();
    let notice = thread::spawn(move || {
        if finished.recv_timeout(Duration::from_secs(3)) == Err(mpsc::RecvTimeoutError::Timeout) {
            warn(format_args!("building (the first time takes several minutes)..."));
        }
    });
    let built = pass_on(child);
    drop(done);
    // The thread only waits and prints; were it to panic, the build still counts.
    notice.join().ok();
    built
}

fn pass_on(mut child: Child) -> anyhow::Result<Built> {
    let mut network_failed = false;
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            network_failed |= is_network_failure(&String::from_utf8_lossy(&line));
            // Nobody may be listening any more; the build goes on.
            std::io::stderr().write_all(&line).ok();
            line.clear();
        }
    }
    let code = exit_code(child.wait()?);
    Ok(Built { code, network_failed: network_failed && code != 0 })
}

/// Does cargo complain about the registry, and not about the code?
fn is_network_failure(line: &str) -> bool {
    const SIGNS: [&str; 6] = [
        "failed to download",
        "download of config.json failed",
        "failed to query replaced source",
        "unable to update registry",
        "failed to fetch `",
        "could not resolve host",
    ];
    let line = line.to_lowercase();
    SIGNS.iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    /// Features when only `models/digits` is a directory.
    fn of(command: Forwarded, line: &[&str]) -> Vec<&'static str> {
        let is_dir =
            |path: &Path| [Path::new("models"), Path::new("models/digits")].contains(&path);
        features(command, &words(line), &is_dir)
    }

    #[test]
    fn arguments_are_passed_on_untouched_after_a_separator() {
        let odd = words(&["infusion", "--set", "note=two words $HOME 'x'", "--", "--offline", ""]);
        let manifest = Path::new("/a b/Cargo.toml");
        let argv = run_argv(manifest, &["cuda", "hub"], false, Forwarded::Reproduce, &odd);
        let mut expected = words(&[
            "cargo",
            "run",
            "--quiet",
            "--manifest-path",
            "/a b/Cargo.toml",
            "--release",
            "-p",
            "reproduce",
            "--features",
            "cuda,hub",
            "--",
            "reproduce",
        ]);
        expected.extend(odd);
        assert_eq!(argv, expected);
    }

    #[test]
    fn no_features_means_no_features_flag_and_offline_is_cargos_own() {
        let argv = run_argv(Path::new("Cargo.toml"), &[], true, Forwarded::Fetch, &[]);
        let expected = [
            "cargo",
            "run",
            "--quiet",
            "--manifest-path",
            "Cargo.toml",
            "--release",
            "-p",
            "reproduce",
            "--offline",
            "--",
            "fetch",
        ];
        assert_eq!(argv, words(&expected));
        assert_eq!(build_argv(Path::new("Cargo.toml"), &[], false)[1], "build");
    }

    #[test]
    fn the_device_chooses_the_accelerator() {
        use Forwarded::Reproduce;
        assert_eq!(of(Reproduce, &["all", "--device", "cuda:1"]), ["cuda"]);
        assert_eq!(of(Reproduce, &["all", "--device=cuda"]), ["cuda"]);
        assert_eq!(of(Reproduce, &["--device", "metal", "all"]), ["metal"]);
        assert_eq!(of(Reproduce, &["all", "--device", "cpu"]), [""; 0]);
        assert_eq!(of(Reproduce, &["all", "--out", "cuda:0"]), [""; 0]);
        assert_eq!(of(Reproduce, &["all", "--device"]), [""; 0]);
        assert_eq!(of(Forwarded::Sample, &["a/b", "--device", "cuda:0"]), ["cuda", "hub"]);
    }

    #[test]
    fn downloads_need_the_hub() {
        use Forwarded::{Evaluate, Fetch, Sample};
        assert_eq!(of(Fetch, &["mnist"]), ["hub"]);
        assert_eq!(of(Sample, &["owner/name"]), ["hub"]);
        assert_eq!(of(Sample, &["--n", "3", "--chain", "owner/name@v1.0"]), ["hub"]);
        assert_eq!(of(Evaluate, &["--metric=parzen", "owner/name"]), ["hub"]);
        assert_eq!(of(Sample, &["models/digits"]), [""; 0]);
        assert_eq!(of(Sample, &["models/digist"]), [""; 0], "a slip of the pen");
        assert_eq!(of(Sample, &["./owner/name"]), [""; 0]);
        assert_eq!(of(Sample, &["/owner/name"]), [""; 0]);
        assert_eq!(of(Sample, &["models/deep/digits"]), [""; 0]);
        assert_eq!(of(Evaluate, &["--reference", "a/b", "--samples", "c/d"]), [""; 0]);
        assert_eq!(of(Forwarded::Reproduce, &["owner/name"]), [""; 0]);
    }

    #[test]
    fn only_complaints_about_the_registry_are_network_failures() {
        assert!(is_network_failure("error: failed to download `serde v1.0.229`"));
        assert!(is_network_failure("  [6] Could not resolve host: index.crates.io"));
        assert!(!is_network_failure("error[E0433]: failed to resolve: use of undeclared type"));
    }

    #[test]
    fn commands_are_known_by_their_names_only() {
        for command in Forwarded::ALL {
            assert_eq!(Forwarded::parse(OsStr::new(command.as_str())), Some(command));
        }
        assert_eq!(Forwarded::parse(OsStr::new("test")), None);
        assert_eq!(Forwarded::parse(OsStr::new("--help")), None);
    }
}
