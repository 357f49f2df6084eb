//! What the tests of experiments share.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use candle_core::Device;

use crate::{
    registry::{Experiment, Paper},
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

/// The same with `--data`, outside of any repository.
pub(crate) fn elsewhere(scale: Scale, data: Option<&Path>, overrides: &[(&str, &str)]) -> Request {
    let data = data.map(Path::to_owned);
    Request { data, root: PathBuf::new(), ..request(scale, overrides) }
}

/// The experiment of that name.
pub(crate) fn experiment(paper: &'static Paper, id: &str) -> &'static Experiment {
    paper.experiments.iter().find(|experiment| experiment.id == id).unwrap()
}

/// Runs an experiment at smoke into a folder of its name; everything that is checked there must hold.
pub(crate) fn smoke(
    paper: &'static Paper,
    id: &str,
    overrides: &[(&str, &str)],
    out: &Path,
) -> Results {
    passes(paper, id, request(Scale::Smoke, overrides), out)
}

/// Runs an experiment into a folder of its name; everything that is checked must hold.
pub(crate) fn passes(paper: &'static Paper, id: &str, request: Request, out: &Path) -> Results {
    let request = Request { models: out.join("models"), ..request };
    let results = execute(&request, paper, experiment(paper, id), &out.join(id)).unwrap();
    for check in &results.checks {
        assert!(check.passed, "{id}: {}: {}", check.name, check.detail);
    }
    assert!(!results.checks.is_empty());
    results
}

/// Width and height of a picture.
pub(crate) fn size(png: &Path) -> (u32, u32) {
    image::image_dimensions(png).unwrap()
}
