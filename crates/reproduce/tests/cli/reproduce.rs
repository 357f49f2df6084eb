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
    refused(&format!("vera --out {root}/run"), &["vera", "yet", "infusion"]);
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
