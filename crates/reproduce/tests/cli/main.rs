//! The commands as a user meets them: the built program, its files, its exit status.
#![cfg(test)]

mod arrays;
mod evaluate;
mod fetch;
mod metrics;
mod pairs;
mod pairs_refused;
mod reproduce;
mod resume;
mod sample;
mod vaebm;
mod vera;
mod walkback;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use candle_core::Device;
use chains_core::Seed;
use infusion::{Architecture, ChainConfig, InfusionModel, ModelConfig, NetworkConfig};
use tempfile::TempDir;

/// How the program ended and what it said.
struct Outcome {
    status: i32,
    stdout: String,
    stderr: String,
}

/// The program without a network, with its cache in a folder that does not exist.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reproduce"));
    let gone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-cache");
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", gone);
    command
}

#[track_caller]
fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome {
    let output = program().args(args).output().unwrap();
    Outcome {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The words of a command line; paths without spaces only.
#[track_caller]
fn words(line: &str) -> Outcome {
    run(line.split_whitespace())
}

#[track_caller]
fn succeeds(line: &str) -> String {
    let outcome = words(line);
    assert_eq!(outcome.status, 0, "{line}: {}", outcome.stderr);
    outcome.stdout
}

/// Bad usage or input: status 2, one message with all `parts`, no panic, nothing on stdout.
#[track_caller]
fn refuses(line: &str, parts: &[&str]) {
    let Outcome { status, stdout, stderr } = words(line);
    assert_eq!(status, 2, "{line}: {stdout}{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{line}: `{part}` is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked") && stdout.is_empty(), "{line}: {stdout}{stderr}");
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Every file below a folder with its bytes.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A model with random weights and three steps, saved.
fn save_model(dir: &Path, event: [usize; 3]) -> InfusionModel {
    let network = NetworkConfig::with(event, Architecture::Mlp { hidden: vec![16] }, 3);
    let config = ModelConfig { network, chain: ChainConfig::paper() };
    let model = InfusionModel::new(config, Seed::new(1), &Device::Cpu).unwrap();
    let d = model.config().network.dim();
    model.set_prior(&vec![0.3; d], &vec![0.05; d]).unwrap();
    model.save(dir).unwrap();
    model
}

/// The four files of a set of digits: `train` and `test` images of `side` x `side`, plain.
fn save_digits(dir: &Path, [train, test]: [u32; 2], side: u32) {
    fs::create_dir_all(dir).unwrap();
    for (name, n) in [("train", train), ("t10k", test)] {
        let pixels = (0..n * side * side).map(|at| (at * 7 % 256) as u8);
        let images: Vec<u8> = [0x803, n, side, side]
            .iter()
            .flat_map(|word: &u32| word.to_be_bytes())
            .chain(pixels)
            .collect();
        let labels: Vec<u8> = [0x801, n]
            .iter()
            .flat_map(|word: &u32| word.to_be_bytes())
            .chain((0..n).map(|i| (i % 10) as u8))
            .collect();
        fs::write(dir.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        fs::write(dir.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn help_tells_every_option_of_the_contract() {
    for (command, options) in [
        (
            "reproduce",
            "--experiment --scale --seed --device --data --out --resume --offline --set --list \
             --dry-run",
        ),
        ("sample", "--n --steps --seed --out --chain --inpaint --mask --device --offline Figure"),
        (
            "evaluate",
            "--metric --data --seed --json --device --offline --set lower-bound --reference \
             --samples --features --save-statistics PATH:NAME frechet-distance Examples",
        ),
        ("fetch", "--to --offline mnist"),
    ] {
        let help = succeeds(&format!("{command} --help"));
        for option in options.split(' ') {
            assert!(help.contains(option), "{command}: `{option}` is not in: {help}");
        }
        assert!(succeeds("--help").contains(command));
    }
    refuses("", &["Usage"]);
    refuses("paint", &["paint"]);
}
