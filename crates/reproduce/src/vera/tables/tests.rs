use std::{fs, path::Path};

use vera::{
    ModelConfig, TrainConfig,
    baselines::{MegConfig, Optimisation, PcdConfig, VatConfig},
};

use super::{
    super::PAPER,
    TABULAR,
    methods::Method,
    settings::{Recipe, Settings},
};
use crate::{
    request::{Request, Scale},
    results::Results,
    run::execute,
    testing::{self, request},
};

pub(super) fn run_smoke(request: &Request, out: &Path) -> Results {
    let request = Request {
        models: out.join("trainings"),
        overrides: request.overrides.clone(),
        data: request.data.clone(),
        ..testing::request(request.scale, &[])
    };
    execute(&request, &PAPER, &TABULAR, out).unwrap()
}

#[test]
fn every_row_of_the_table_is_trained_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(Scale::Smoke, &[("sets", "[\"magic\",\"mnist\"]")]);
    let results = run_smoke(&request, dir.path());
    assert!(results.passed(), "{:?}", results.checks);
    for set in ["magic", "mnist"] {
        for method in ["supervised", "vat", "meg", "jem", "vera", "full_label"] {
            for part in ["validation", "test"] {
                let name = format!("accuracy_{part}_{set}_{method}");
                let metric = results.metric(&name).unwrap();
                assert!((0.0..=100.0).contains(&metric.value), "{name}");
                // What a moment's training gives is not to stand beside the paper.
                assert_eq!(metric.published, None);
            }
        }
    }
    assert_eq!(results.metric("diverged_jem").unwrap().n, Some(2));
    let report = fs::read_to_string(dir.path().join("report.md")).unwrap();
    for text in ["beta 0", "eps 1, beta 1", "plots/curves-mnist.svg", "88.3", "HEPMASS"] {
        assert!(report.contains(text), "{text}");
    }
}

#[test]
fn the_papers_settings_build_the_papers_trainings() {
    let settings = Settings::resolve(&request(Scale::Paper, &[])).unwrap();
    // Of HUMAN: 6,617 rows in batches of 64 are 103 a epoch; Table 8 typed again.
    let recipe = Recipe::of(&settings, "human", 6_617);
    let milestones = vec![20_600, 30_900, 41_200, 61_800];
    assert_eq!(recipe.updates, 82_400);
    let optimisation = Optimisation::tabular(1e-5, milestones.clone());
    let expected = [
        Method::Supervised(optimisation.clone()),
        Method::Vat(VatConfig::tabular(0.1, 1e-5, 10.0, milestones.clone())),
        Method::Meg(MegConfig::tabular(1e-5, 10.0, milestones.clone())),
        Method::Jem(PcdConfig::tabular(40, 10.0, 1e-5, milestones.clone())),
        Method::Vera(TrainConfig::tabular(1e-5, 10.0, milestones)),
        Method::FullLabel(optimisation),
    ];
    let built = [
        recipe.supervised(&settings),
        recipe.vat(&settings, recipe.vat_radii[0], 1.0),
        recipe.meg(&settings, 1.0),
        recipe.jem(&settings, 1.0),
        recipe.vera(&settings, 1.0),
        recipe.full_label(&settings),
    ];
    assert_eq!(format!("{built:?}"), format!("{expected:?}"));
    assert_eq!(recipe.model(&settings, [523, 6]), ModelConfig::tabular(523, 6, 128));
    // HEPMASS decays within its one epoch of 98,437 batches.
    let recipe = Recipe::of(&settings, "hepmass", 6_300_000);
    assert_eq!(recipe.updates, 98_437);
    let Method::Vera(config) = recipe.vera(&settings, 1.0) else { panic!() };
    assert_eq!(config.energy_rate.milestones, [4_921, 9_843]);
    assert_eq!(recipe.model(&settings, [15, 2]), ModelConfig::tabular(15, 2, 10));
}

#[test]
fn what_cannot_be_trained_is_refused_before() {
    for (key, value, part) in [
        ("sets", "[\"iris\"]", "`iris` is none of"),
        ("looks", "31", "at most updates"),
        ("seeds", "0", "at least 1"),
        ("rate", "-1", "rate"),
        ("vat_radii", "[-1]", "radius"),
        ("class_entropy_weights", "[]", "at least 1"),
    ] {
        let error = Settings::resolve(&request(Scale::Smoke, &[(key, value)])).unwrap_err();
        assert_eq!(error.exit_status(), 2, "{key}");
        assert!(error.to_string().contains(part), "{key}: {error}");
    }
    let absent = request(Scale::Smoke, &[("sets", "[\"hepmass\"]")]);
    let error = (TABULAR.ready)(&absent).unwrap_err().to_string();
    assert!(error.contains("1000_train.csv"), "{error}");
}
