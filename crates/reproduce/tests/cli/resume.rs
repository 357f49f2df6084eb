//! A killed run that is resumed gives the bits of one that was never killed.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{contents, folder, program, refuses, succeeds};

const LINE: &str =
    "reproduce infusion --experiment mnist-likelihood --scale smoke --set epochs=60 --out";

/// Updates in the newest saved state below a folder; 0 if there is none.
pub(super) fn newest_state(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok();
    paths.map(|path| step(&path).unwrap_or_else(|| newest_state(&path))).max().unwrap_or(0)
}

/// Kills the child once it has saved a state after `update` updates; true if it was still running.
pub(super) fn kill_after(child: &mut Child, dir: &Path, update: usize) -> bool {
    let limit = Instant::now() + Duration::from_secs(120);
    while newest_state(dir) < update && Instant::now() < limit {
        sleep(Duration::from_millis(2));
    }
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

pub(super) fn metrics(dir: &Path) -> Value {
    let bytes = fs::read(dir.join("results.json")).unwrap();
    let results: Value = serde_json::from_slice(&bytes).unwrap();
    results["metrics"].clone()
}

/// Steps and losses of the training lines.
pub(super) fn losses(dir: &Path) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| Some((line["step"].as_u64()?, line["loss"].as_f64()?))).collect()
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let dir = folder();
    let (killed, whole) = (dir.path().join("killed"), dir.path().join("whole"));
    succeeds(&format!("{LINE} {}", whole.display()));
    for update in [40, 120] {
        let mut command = program();
        command.args(LINE.split_whitespace()).arg(&killed).stdout(Stdio::null());
        let mut child = command.arg("--resume").stderr(Stdio::null()).spawn().unwrap();
        assert!(kill_after(&mut child, &killed, update), "too quick to be killed at {update}");
        assert!(!killed.join("results.json").exists());
        assert!((update..240).contains(&newest_state(&killed)));
    }
    succeeds(&format!("{LINE} {} --resume", killed.display()));
    assert_eq!(metrics(&killed), metrics(&whole));
    // Every update once, although two parts were lost and done again.
    assert_eq!(losses(&killed), losses(&whole));
    assert_eq!(losses(&whole).len(), 240);
    for folder in ["checkpoints/model", "samples"] {
        let files = |dir: &Path| contents(&dir.join(folder)).into_values().collect::<Vec<_>>();
        assert!(files(&killed) == files(&whole), "{folder}");
    }
}

#[test]
fn one_experiment_of_several_resumes_from_its_own_folder() {
    let dir = folder();
    let (all, root) = (dir.path().join("all"), dir.path().join("all/mnist-chains"));
    let smoke = "reproduce infusion --scale smoke --experiment mnist-chains";
    succeeds(&format!("{smoke} --experiment mnist-curves --out {}", all.display()));
    assert_eq!(fs::read_dir(all.join(".models")).unwrap().count(), 1, "trained once");
    // Who takes the model of another has the followed bounds all the same.
    let epochs = |dir: &Path| {
        let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = |line: Value| Some((line["step"].as_u64()?, line["bound_test"].as_f64()?));
        lines.filter_map(of).collect::<Vec<_>>()
    };
    assert!(!epochs(&root).is_empty());
    assert_eq!(epochs(&root), epochs(&all.join("mnist-curves")));
    let (before, shared) = (metrics(&root), contents(&all.join(".models")));
    fs::remove_file(root.join("results.json")).unwrap();
    succeeds(&format!("{smoke} --resume --out {}", root.display()));
    assert_eq!(metrics(&root), before);
    assert_eq!(contents(&all.join(".models")), shared);
    assert!(!root.join("checkpoints/training").exists(), "nothing was trained again");
    // Afresh it trains in its own folder, to the same bits, and leaves the others' model alone.
    succeeds(&format!("{smoke} --out {}", root.display()));
    assert_eq!(metrics(&root), before);
    assert_eq!(contents(&all.join(".models")), shared);
    assert_eq!(fs::read_dir(root.join("checkpoints/training")).unwrap().count(), 1);
}

#[test]
fn a_lost_best_epoch_is_an_error_and_not_the_last_one() {
    let dir = folder();
    let run = dir.path().join("run");
    let line = "reproduce infusion --experiment mnist-likelihood --scale smoke";
    succeeds(&format!("{line} --out {}", run.display()));
    let training = fs::read_dir(run.join("checkpoints/training")).unwrap().next().unwrap();
    for file in ["done.json", "best.safetensors"] {
        fs::remove_file(training.as_ref().unwrap().path().join(file)).unwrap();
    }
    refuses(&format!("{line} --resume --out {}", run.display()), &["best.safetensors", "--resume"]);
    assert!(!run.join("results.json").exists(), "an unfinished run has no results");
}
