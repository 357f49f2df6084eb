//! `reproduce metrics`: the digit networks, and what is scored with them.

use std::{
    fs,
    process::{Output, Stdio},
};

use reproduce::results::Results;

use super::{
    contents, folder, program, refuses,
    resume::{kill_after, losses, metrics, newest_state},
    save_digits, succeeds,
};

#[test]
fn a_killed_training_of_the_digit_networks_resumes_to_the_same_bits() {
    const LINE: &str =
        "reproduce metrics --experiment mnist-classifier --scale smoke --set epochs=4 --out";
    let dir = folder();
    let (killed, whole) = (dir.path().join("killed"), dir.path().join("whole"));
    succeeds(&format!("{LINE} {}", whole.display()));
    let mut command = program();
    command.args(LINE.split_whitespace()).arg(&killed).stdout(Stdio::null());
    let mut child = command.arg("--resume").stderr(Stdio::null()).spawn().unwrap();
    assert!(kill_after(&mut child, &killed, 16), "too quick to be killed");
    assert!(!killed.join("results.json").exists());
    assert!((16..32).contains(&newest_state(&killed)));
    succeeds(&format!("{LINE} {} --resume", killed.display()));
    assert_eq!(metrics(&killed), metrics(&whole));
    assert_eq!(losses(&killed), losses(&whole));
    // Eight updates an epoch, of two networks that differ.
    assert_eq!(losses(&whole).len(), 64);
    let files = |run: &std::path::Path, name: &str| {
        let found = contents(&run.join("checkpoints").join(name)).into_values();
        found.collect::<Vec<_>>()
    };
    for name in ["mnist-classifier", "mnist-classifier-b"] {
        assert!(files(&killed, name) == files(&whole, name), "{name}");
    }
    assert!(files(&whole, "mnist-classifier") != files(&whole, "mnist-classifier-b"));
}

#[test]
fn floors_are_measured_with_both_networks() {
    let dir = folder();
    let out = dir.path().display();
    succeeds(&format!("reproduce metrics --experiment mnist-floors --scale smoke --out {out}"));
    let results = Results::load(&dir.path().join("results.json")).unwrap();
    for name in
        ["mnist-fid", "kid", "precision", "recall", "density", "coverage", "classifier-score"]
    {
        for network in ["a", "b"] {
            let found: Vec<_> = results
                .metrics
                .iter()
                .filter(|metric| metric.name == name && metric.settings["network"] == network)
                .collect();
            // Training, test, halves of the test digits at random and in the file; four anchors.
            assert_eq!(found.len(), 8, "{name} {network}");
            let id = found[0].settings["extractor"].as_str().unwrap();
            assert!(id.starts_with("mnist-classifier:"), "{id}");
        }
    }
    let modes = results.metrics.iter().filter(|metric| metric.name == "modes");
    assert!(modes.count() >= 3);
    for file in ["samples/anchors.png", "samples/stacked.png", "report.html"] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
    refuses(
        &format!("reproduce metrics --experiment mnist-floors --set sizes=[40000] --out {out}"),
        &["sizes", "40000", "60000"],
    );
}

#[test]
fn without_the_digit_networks_what_needs_them_says_so() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("crates")).unwrap();
    save_digits(&dir.path().join("datasets/mnist"), [400, 200], 28);
    let run = |line: &str| -> (i32, String) {
        let mut command = program();
        command.current_dir(dir.path()).args(line.split_whitespace());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (status.code().unwrap(), text)
    };
    for line in [
        "reproduce metrics --experiment mnist-floors --scale smoke",
        "reproduce infusion --experiment mnist-samples --scale smoke",
    ] {
        let (status, text) = run(line);
        assert_eq!(status, 2, "{line}: {text}");
        for part in ["checkpoints/mnist-classifier", "mnist-classifier-b", "--scale paper"] {
            assert!(text.contains(part), "{line}: {text}");
        }
    }
    let (status, list) = run("reproduce infusion --scale smoke --list");
    assert_eq!(status, 0, "{list}");
    assert!(list.contains("not now: the digit networks"), "{list}");
    assert!(!dir.path().join("target").exists());
}
