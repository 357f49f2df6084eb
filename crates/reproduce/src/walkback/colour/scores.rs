//! Table 5 of the supplement: inception scores of CIFAR-10.

use serde::{Deserialize, Serialize};

use super::{
    Model, Settings, at_most_test,
    samples::{draw, sheet},
    trained,
};
use crate::{
    error::Result,
    inception::{self, LEAST, PUBLISHED_SAMPLES},
    limits::at_least,
    request::{Request, Scale},
    run::Run,
};

/// What is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Scored {
    /// Samples.
    samples: usize,
    /// Test images that are scored beside them.
    scored_test_examples: usize,
}

fn resolve(request: &Request) -> Result<Settings<Scored>> {
    let scale = request.scale;
    let scored = Scored {
        samples: scale.pick(10, 500, PUBLISHED_SAMPLES),
        scored_test_examples: scale.pick(8, 500, 10_000),
    };
    let settings = Settings::resolve(request, Model::Cifar10, scored)?;
    let Scored { samples, scored_test_examples } = settings.shown;
    at_least(&[("samples", samples, LEAST)])?;
    if scale != Scale::Smoke {
        at_least(&[("scored_test_examples", scored_test_examples, LEAST)])?;
    }
    at_most_test(&settings.train, "scored_test_examples", scored_test_examples)?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

/// Images, and beyond `smoke` the network.
pub(super) fn ready(request: &Request) -> Result<()> {
    Model::Cifar10.collection().ready(request)?;
    inception::ready(request)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Model::Cifar10, &settings.train)?;
    let Scored { samples, scored_test_examples } = settings.shown;
    let drawn = draw(run, &trained.model, samples, 1)?;
    sheet(run, &images, &trained.model, &drawn.states)?;
    run.heading("Inception score (Table 5)");
    let scored = inception::Scored {
        samples: &drawn.states,
        of: "last states",
        test: scored_test_examples,
        table: PUBLISHED,
        published: 4.39,
    };
    inception::scores(run, &images, &scored)
}

/// Table 5.
const PUBLISHED: &[[&str; 2]] = &[
    ["Real data, published", "11.24"],
    ["Salimans et al., semi-supervised, published", "8.09"],
    ["Salimans et al., unsupervised, published", "4.36"],
    ["Salimans et al., supervised without minibatch features, published", "3.87"],
    ["Variational Walkback, 20 steps, published", "3.72"],
    ["Variational Walkback, 30 steps, published", "4.39 ± 0.2"],
];
