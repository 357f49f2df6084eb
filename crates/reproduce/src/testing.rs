//! What the tests of experiments share.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use candle_core::Device;

use crate::{
    registry::Paper,
    request::{Request, Scale},
    results::Results,
    run::execute,
};

/// What a command line without `--data`, in the repository, asks for.
pub(crate) fn request(scale: Scale, overrides: &[(&str, &str)]) -> Request {
    Request {
        scale,
        seed: 0,
        device: Device::Cpu,
        device_name: "cpu".into(),
        data: None,
        offline: true,
        root: Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned(),
        models: PathBuf::new(),
        resume: false,
        overrides: overrides.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        trained: RefCell::default(),
    }
}

/// Runs an experiment at smoke into a folder of its name; everything that is checked there must hold.
pub(crate) fn smoke(paper: &Paper, id: &str, overrides: &[(&str, &str)], out: &Path) -> Results {
    let request = Request { models: out.join("models"), ..request(Scale::Smoke, overrides) };
    let experiment = paper.experiments.iter().find(|experiment| experiment.id == id).unwrap();
    let results = execute(&request, paper, experiment, &out.join(id)).unwrap();
    for check in &results.checks {
        assert!(check.passed, "{id}: {}: {}", check.name, check.detail);
    }
    assert!(!results.checks.is_empty());
    results
}
