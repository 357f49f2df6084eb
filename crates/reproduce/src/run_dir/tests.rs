use std::time::{Duration, UNIX_EPOCH};

use super::*;

#[derive(Serialize)]
struct Settings {
    updates: usize,
    rate: Option<f64>,
    net: Net,
}
#[derive(Serialize)]
struct Net {
    width: usize,
    activation: &'static str,
}

fn info(updates: usize, width: usize) -> RunInfo {
    let net = Net { width, activation: "tanh" };
    RunInfo {
        paper: "walkback".into(),
        experiment: "spiral".into(),
        scale: "smoke".into(),
        seed: 3,
        device: "cpu".into(),
        config: settings_table(&Settings { updates, rate: None, net }).unwrap(),
    }
}

#[test]
fn a_fresh_directory_has_its_files_and_folders() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b");
    let mut run = RunDir::create(&root, &info(10, 64), false).unwrap();
    assert!(run.plots().is_dir() && run.samples().is_dir() && run.checkpoints().is_dir());
    let config: Table = fs::read_to_string(root.join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(config, info(10, 64).config);
    assert_eq!(config["net"]["width"].as_integer(), Some(64));
    assert!(!config.contains_key("rate"));
    let record: RunRecord = read_json(&root.join("run.json")).unwrap();
    assert_eq!((record.wall_s, record.seed, record.resumed), (None, 3, 0));
    assert!(record.threads >= 1 && !record.command.is_empty());
    run.finish().unwrap();
    let record: RunRecord = read_json(&root.join("run.json")).unwrap();
    assert!(record.wall_s.unwrap() >= 0.0 && record.peak_rss_mb.is_some());
    assert_eq!(&record, run.record());
}

#[test]
fn an_earlier_run_moves_to_previous_and_replaces_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    for round in 0..3 {
        let run = RunDir::create(&root, &info(round, 64), false).unwrap();
        assert!(!run.results().exists(), "nothing of the earlier run is left");
        fs::write(run.results(), round.to_string()).unwrap();
    }
    let previous = dir.path().join("run.previous");
    assert_eq!(fs::read_to_string(root.join("results.json")).unwrap(), "2");
    assert_eq!(fs::read_to_string(previous.join("results.json")).unwrap(), "1");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    for resume in [false, true] {
        let error = RunDir::create(dir.path(), &info(1, 1), resume).unwrap_err();
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_foreign_previous_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (root, previous) = (dir.path().join("run"), dir.path().join("run.previous"));
    RunDir::create(&root, &info(1, 1), false).unwrap();
    fs::create_dir(&previous).unwrap();
    fs::write(previous.join("config.toml"), "mine = true").unwrap();
    let error = RunDir::create(&root, &info(1, 1), false).unwrap_err();
    assert!(error.to_string().contains("run.previous"), "{error}");
    assert!(previous.join("config.toml").exists() && root.join("run.json").exists());
}

#[test]
fn a_path_that_cannot_be_written_is_one_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for root in [file.clone(), file.join("below")] {
        let error = RunDir::create(&root, &info(1, 1), false).unwrap_err();
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
    }
}

#[test]
fn resuming_keeps_everything_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(dir.path(), &info(10, 64), true).unwrap();
    assert_eq!(run.record().resumed, 0, "nothing to resume is a fresh run");
    fs::write(run.results(), "old").unwrap();
    run.record.wall_s = Some(100.0);
    write_json(&dir.path().join("run.json"), &run.record).unwrap();
    let again = RunDir::create(dir.path(), &info(10, 64), true).unwrap();
    assert_eq!(again.record().resumed, 1);
    assert!(again.wall_s() >= 100.0);
    assert!(!again.results().exists(), "results come last, so these are not the resumed run's");
}

#[test]
fn a_killed_run_counts_its_time_once_and_an_ended_one_is_not_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), &info(10, 64), false).unwrap();
    let line = "{\"step\":1,\"time_s\":50.0,\"seed\":3,\"stage\":\"train\",\"loss\":1.0}\n";
    fs::write(run.metrics(), line).unwrap();
    let mut again = RunDir::create(dir.path(), &info(10, 64), true).unwrap();
    assert!((50.0..60.0).contains(&again.wall_s()));
    again.finish().unwrap();
    fs::write(again.results(), "{}").unwrap();
    let ended = RunDir::create(dir.path(), &info(10, 64), true).unwrap();
    assert!((50.0..60.0).contains(&ended.wall_s()));
    // Killed while it was done again: the recorded time is not added to that of the lines.
    let killed = RunDir::create(dir.path(), &info(10, 64), true).unwrap();
    assert!((50.0..60.0).contains(&killed.wall_s()));
}

#[test]
fn what_a_kill_left_while_a_run_was_set_aside_is_put_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| {
        RunDir::create(&path(name), &info(1, 1), false).unwrap();
        fs::write(path(name).join("results.json"), text).unwrap();
    };
    let read = |name: &str| fs::read_to_string(path(name).join("results.json")).unwrap();
    // Killed before the earlier run took the place of the previous one.
    write("run.previous.old", "older");
    write("run", "earlier");
    RunDir::create(&path("run"), &info(2, 1), false).unwrap();
    assert_eq!(read("run.previous"), "earlier");
    assert!(!path("run.previous.old").exists());
    // Killed there without results: the previous run comes back and stays.
    fs::rename(path("run.previous"), path("run.previous.old")).unwrap();
    RunDir::create(&path("run"), &info(3, 1), false).unwrap();
    assert_eq!(read("run.previous"), "earlier");
    // Killed while the old one was being deleted.
    fs::create_dir_all(path("run.previous.old/plots")).unwrap();
    write("run", "latest");
    RunDir::create(&path("run"), &info(4, 1), false).unwrap();
    assert_eq!(read("run.previous"), "latest");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    fs::create_dir(path("run.previous.old")).unwrap();
    fs::write(path("run.previous.old/thesis.tex"), "years of work").unwrap();
    let error = RunDir::create(&path("run"), &info(5, 1), false).unwrap_err();
    assert!(error.to_string().contains("run.previous.old"), "{error}");
    assert!(path("run.previous.old/thesis.tex").exists());
}

#[test]
fn resuming_with_another_build_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(dir.path(), &info(10, 64), false).unwrap();
    run.record.versions.insert("reproduce".into(), "0.0.7".into());
    run.record.features = vec!["abacus".into(), "hub".into()];
    write_json(&dir.path().join("run.json"), &run.record).unwrap();
    let error = RunDir::create(dir.path(), &info(10, 64), true).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.exit_status(), 2);
    for part in ["version: was 0.0.7, now ", "features: was abacus, now "] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn resuming_with_other_settings_lists_the_differing_keys_only() {
    let dir = tempfile::tempdir().unwrap();
    RunDir::create(dir.path(), &info(10, 64), false).unwrap();
    let mut changed = info(20, 32);
    changed.config.insert("rate".into(), Value::Float(0.5));
    let error = RunDir::create(dir.path(), &changed, true).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.exit_status(), 2);
    for part in
        ["updates: was 10, now 20", "net.width: was 64, now 32", "rate: was absent, now 0.5"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("activation"), "{message}");
    let stored: Table =
        fs::read_to_string(dir.path().join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(stored, info(10, 64).config, "the stored settings stay");
    fs::write(dir.path().join("config.toml"), "updates = [").unwrap();
    let message = RunDir::create(dir.path(), &info(10, 64), true).unwrap_err().to_string();
    assert!(message.contains("config.toml") && message.contains("line 1"), "{message}");
}

#[test]
fn resuming_with_another_seed_or_experiment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    RunDir::create(dir.path(), &info(10, 64), false).unwrap();
    let record = fs::read(dir.path().join("run.json")).unwrap();
    let changed = RunInfo { seed: 4, experiment: "rings".into(), ..info(10, 64) };
    let error = RunDir::create(dir.path(), &changed, true).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.exit_status(), 2);
    for part in ["run.json", "experiment: was spiral, now rings", "seed: was 3, now 4"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("scale"), "{message}");
    assert_eq!(fs::read(dir.path().join("run.json")).unwrap(), record);
}

#[test]
fn times_are_those_of_the_calendar() {
    // `date -u -d @N +%FT%TZ` of GNU coreutils 9.1.
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"),
        (1_798_761_599, "2026-12-31T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(record::rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }
}

#[test]
fn the_recorded_candle_version_is_the_one_in_the_manifest() {
    let manifest =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("candle-core = \"={}\"", record::CANDLE_VERSION)));
}
