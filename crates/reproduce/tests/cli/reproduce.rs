//! `reproduce`: bad input is refused before an earlier run is touched; a run that breaks says so.

use std::{fs, path::Path, process::Stdio};

use super::{contents, folder, program, refuses, save_digits, succeeds, words};

const SMOKE: &str = "reproduce infusion --experiment mnist-likelihood --scale smoke";

#[test]
fn bad_usage_is_refused_and_an_earlier_run_stays() {
    let dir = folder();
    let root = dir.path().display();
    succeeds(&format!("{SMOKE} --out {root}/run"));
    fs::write(dir.path().join("file"), "").unwrap();
    fs::create_dir(dir.path().join("foreign")).unwrap();
    fs::write(dir.path().join("foreign/thesis.tex"), "").unwrap();
    let before = contents(dir.path());
    assert!(before.contains_key(&dir.path().join("run/results.json")));
    let refused = |rest: &str, parts: &[&str]| refuses(&format!("reproduce {rest}"), parts);
    let run = format!("infusion --experiment mnist-likelihood --scale smoke --out {root}");
    refused(&format!("{run}/run --set epoch=3"), &["epoch", "epochs", "learning_rate"]);
    refused(&format!("{run}/run --set epochs=many"), &["epochs=many"]);
    refused(&format!("{run}/run --device gpu"), &["gpu", "cuda:N"]);
    refused(
        &format!("{run}/run --set epochs=3 --resume"),
        &["config.toml", "epochs: was 2, now 3"],
    );
    refused(
        &format!("{run}/run --seed 1 --resume"),
        &["run.json", "seed: was 0, now 1", "--resume"],
    );
    refused(&format!("{run}/file"), &["/file"]);
    refused(&format!("{run}/file/below"), &["/file/below"]);
    refused(&format!("{run}/foreign"), &["/foreign", "not a run directory"]);
    refused(&format!("infusion --experiment x --out {root}/run"), &["`x`", "mnist-likelihood"]);
    refused(&format!("confusion --out {root}/run"), &["confusion", "infusion"]);
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn damaged_data_are_named_with_their_byte_and_an_earlier_run_stays() {
    let dir = folder();
    let root = dir.path().display();
    succeeds(&format!("{SMOKE} --out {root}/run"));
    let before = contents(&dir.path().join("run"));
    let data = dir.path().join("data");
    let images = data.join("train-images-idx3-ubyte");
    let labels = data.join("t10k-labels-idx1-ubyte");
    type Damage<'a> = &'a dyn Fn();
    let edit = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    let gzip = || fs::write(&images, [0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
    let magic = || edit(&images, &|bytes| bytes[3] = 1);
    let short = || edit(&images, &|bytes| bytes.truncate(100));
    let count = || edit(&labels, &|bytes| bytes[7] = 3);
    let gone = || fs::remove_file(&labels).unwrap();
    let cases: [(Damage<'_>, &[&str]); 4] = [
        (&gzip, &["train-images-idx3-ubyte", "byte"]),
        (&magic, &["train-images-idx3-ubyte", "byte 0", "0x801", "0x803"]),
        (&short, &["train-images-idx3-ubyte", "byte 100"]),
        (&count, &["t10k-labels-idx1-ubyte", "byte 4", "3 labels for 4 images"]),
    ];
    for (damage, parts) in cases {
        save_digits(&data, [8, 4], 28);
        damage();
        refuses(&format!("{SMOKE} --data {root}/data --out {root}/run"), parts);
        // With several experiments a damaged file is no reason to leave one out silently.
        let several = "reproduce infusion --experiment all --scale smoke";
        refuses(&format!("{several} --data {root}/data --out {root}/all"), parts);
        assert_eq!(contents(&dir.path().join("run")), before);
        assert!(!dir.path().join("run.previous").exists() && !dir.path().join("all").exists());
    }
    // Files that are missing are looked for in the repository instead.
    save_digits(&data, [8, 4], 28);
    gone();
    let dry = succeeds(&format!("{SMOKE} --data {root}/data --dry-run"));
    assert!(dry.contains("(ready)") && dry.contains("epochs"), "{dry}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_the_earlier_results_stay() {
    let dir = folder();
    let root = dir.path().display();
    succeeds(&format!("{SMOKE} --out {root}/run"));
    let results = fs::read(dir.path().join("run/results.json")).unwrap();
    let line = format!("{SMOKE} --set epochs=4 --set learning_rate=1e30 --out {root}/run");
    let outcome = words(&line);
    assert_eq!(outcome.status, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("non-finite loss"), "{}", outcome.stderr);
    assert!(!dir.path().join("run/results.json").exists());
    assert_eq!(fs::read(dir.path().join("run.previous/results.json")).unwrap(), results);
}

#[test]
fn of_several_experiments_each_takes_the_keys_that_it_knows() {
    let line = "reproduce infusion --scale smoke --dry-run --experiment mnist-likelihood \
                --experiment mnist-chains";
    let dry = succeeds(&format!("{line} --set epochs=7 --set half_precision=true"));
    assert_eq!(dry.matches("epochs = 7").count(), 2, "{dry}");
    assert_eq!(dry.matches("half_precision = true").count(), 1, "{dry}");
    refuses(
        &format!("{line} --set epoch=7"),
        &["epoch:", "mnist-likelihood knows", "mnist-chains knows", "half_precision"],
    );
    refuses(
        &format!("{line} --set half_precision=7"),
        &["mnist-likelihood: --set half_precision=7"],
    );
}

/// What `--list` says of an experiment: the third line under its name.
#[track_caller]
fn listed<'a>(list: &'a str, id: &str) -> &'a str {
    let mut lines = list.lines().skip_while(|line| !line.split(' ').any(|word| word == id));
    lines.nth(2).unwrap().trim()
}

#[test]
fn the_list_says_which_experiments_can_run_with_the_settings() {
    let line = "reproduce infusion --list --scale smoke";
    let list = succeeds(line);
    assert_eq!(listed(&list, "mnist-chains"), "ready");
    let list = succeeds(&format!("{line} --set epochs=3 --set half_precision=true"));
    assert_eq!(listed(&list, "mnist-likelihood"), "ready");
    let lacks = "not with these settings: no setting `half_precision`";
    assert_eq!(listed(&list, "mnist-chains"), lacks);
    assert_eq!(listed(&list, "cifar10-samples"), lacks);
    // Two keys of different experiments.
    let list = succeeds(&format!("{line} --set half_precision=true --set constant_rates=[0.1]"));
    assert!(list.lines().all(|line| line.trim() != "ready"), "{list}");
    let list = succeeds(&format!("{line} --set rate=0.1"));
    assert_eq!(listed(&list, "mnist-chains"), "ready");
    let refusal = listed(&list, "rate-grid");
    assert!(refusal.starts_with("not with these settings: --set rate: "), "{refusal}");
    for (set, parts) in [
        ("epoch=3", &["--set epoch: unknown key", "half_precision", "constant_rates"][..]),
        ("epochs=many", &["--set epochs=many"]),
        ("half_precision=7", &["--set half_precision=7"]),
    ] {
        let line = format!("{line} --set {set}");
        refuses(&line, parts);
        assert_eq!(words(&line).stderr.trim_end().lines().count(), 1);
    }
}

#[test]
fn an_objective_is_set_by_its_bare_name() {
    for (name, kind, weighted) in [
        ("denoising", "denoising", None),
        ("denoising-per-step", "denoising-per-step", None),
        ("lower-bound", "lower-bound", None),
        ("lower-bound-detached", "lower-bound-detached", Some(false)),
        ("lower-bound-detached-weighted", "lower-bound-detached", Some(true)),
    ] {
        let dry = succeeds(&format!("{SMOKE} --dry-run --set objective={name}"));
        // The line in front of the settings is a comment of TOML.
        let settings: toml::Table = toml::from_str(&dry).unwrap();
        let objective = &settings["objective"];
        assert_eq!(objective["kind"].as_str(), Some(kind), "{dry}");
        assert_eq!(objective.get("weighted").and_then(toml::Value::as_bool), weighted, "{dry}");
    }
    refuses(
        &format!("{SMOKE} --dry-run --set objective=bound"),
        &[
            "--set objective=bound",
            "`bound` is not denoising, denoising-per-step, lower-bound, lower-bound-detached or \
             lower-bound-detached-weighted",
        ],
    );
}

#[test]
fn an_experiment_asked_for_by_name_that_cannot_run_stops_all_before_they_begin() {
    let dir = folder();
    let out = dir.path().join("out");
    let line = "reproduce infusion --scale quick --experiment mnist-chains --experiment \
                cifar10-chains";
    refuses(&format!("{line} --out {}", out.display()), &["CIFAR-10", "--data"]);
    assert!(!out.exists());
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let mut command = program();
    command.args("reproduce infusion --experiment all --scale smoke --dry-run".split(' '));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
