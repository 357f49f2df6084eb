//! `fetch`: what ships is copied, what does not is told where to find.

use std::fs;

use super::{folder, refuses, save_model, succeeds};

#[test]
fn sets_of_the_repository_are_shown_and_copied_where_data_finds_them() {
    let dir = folder();
    let root = dir.path().display();
    let shown = succeeds("fetch mnist magic");
    let places: Vec<_> = shown.lines().collect();
    assert!(places[0].ends_with("mnist") && places[1].ends_with("magic.csv.gz"), "{shown}");
    // Twice: an earlier copy is no obstacle.
    for _ in 0..2 {
        let stdout = succeeds(&format!("fetch mnist magic --to {root}/data"));
        assert_eq!(stdout, format!("{root}/data/mnist\n{root}/data/tabular\n"));
    }
    for entry in fs::read_dir(places[0]).unwrap() {
        let from = entry.unwrap().path();
        let to = dir.path().join("data/mnist").join(from.file_name().unwrap());
        assert_eq!(fs::read(&from).unwrap(), fs::read(to).unwrap());
    }
    datasets::Mnist::load(&dir.path().join("data/mnist")).unwrap();
    datasets::load_table("magic", Some(&dir.path().join("data")), dir.path()).unwrap();
}

#[test]
fn a_cached_model_is_copied_under_its_name() {
    let dir = folder();
    let snapshot = dir.path().join("cache/models--owner--digits/snapshots").join("0a".repeat(20));
    save_model(&snapshot, [1, 28, 28]);
    let refs = dir.path().join("cache/models--owner--digits/refs");
    fs::create_dir(&refs).unwrap();
    fs::write(refs.join("main"), "0a".repeat(20)).unwrap();
    let fetch = |to: &[&str]| {
        let mut command = super::program();
        command.env("HF_HUB_CACHE", dir.path().join("cache"));
        let output = command.args(["fetch", "owner/digits"]).args(to).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(fetch(&[]).trim(), snapshot.display().to_string());
    let to = dir.path().join("to");
    let copy = fetch(&["--to", to.to_str().unwrap()]);
    assert_eq!(copy.trim(), to.join("digits").display().to_string());
    succeeds(&format!("sample {} --n 1 --out {}/s.png", copy.trim(), dir.path().display()));
}

#[test]
fn what_is_not_given_out_here_is_told_where_to_find() {
    for name in ["cifar10", "cifar100", "celeba", "tfd", "svhn", "lsun", "fashion-mnist"] {
        refuses(&format!("fetch {name}"), &[name, "--data DIR"]);
    }
    refuses("fetch", &["DATASET|MODEL", "Usage"]);
    // The bad name is found before anything is done for the good one.
    refuses("fetch mnist imagenet", &["imagenet", "mnist", "magic", "owner/name", "cifar10"]);
    refuses("fetch owner/name", &["owner/name", "offline"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = folder();
    fs::write(dir.path().join("file"), "").unwrap();
    let to = dir.path().join("file/data");
    refuses(&format!("fetch magic --to {}", to.display()), &["--to", "file/data"]);
}
