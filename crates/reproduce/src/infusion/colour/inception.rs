//! Table 3: the Inception score of CIFAR-10.

use serde::{Deserialize, Serialize};

use super::{super::pictures::generated_means, Set, Settings, samples::sheet, trained};
use crate::{
    error::Result,
    inception::{self, LEAST, PUBLISHED_SAMPLES},
    limits::{at_least, bad},
    request::{Request, Scale},
    run::Run,
};

/// Samples on the sheet.
const SHOWN: usize = 100;

/// What is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Scored {
    /// Samples.
    samples: usize,
    /// Test images that are scored beside them.
    scored_test_images: usize,
}

fn resolve(request: &Request) -> Result<Settings<Scored>> {
    let scale = request.scale;
    let scored = Scored {
        samples: scale.pick(10, 500, PUBLISHED_SAMPLES),
        scored_test_images: scale.pick(8, 250, 10_000),
    };
    let settings = Settings::resolve(request, Set::Cifar10, scored)?;
    let Scored { samples, scored_test_images } = settings.shown;
    at_least(&[("samples", samples, LEAST)])?;
    if scale != Scale::Smoke {
        at_least(&[("scored_test_images", scored_test_images, LEAST)])?;
    }
    let test = settings.train.test_images;
    if scored_test_images > test {
        return bad("scored_test_images", &format!("must be at most `test_images`, {test}"));
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

/// Images, and beyond `smoke` the network.
pub(super) fn ready(request: &Request) -> Result<()> {
    Set::Cifar10.ready(request)?;
    inception::ready(request)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Set::Cifar10, &settings.train)?;
    let Scored { samples, scored_test_images } = settings.shown;
    let options = settings.sampling();
    let [_, means] = generated_means(run, &trained.model, samples, &options)?;
    sheet(run, &images, &means, SHOWN, options.steps)?;
    run.heading("Inception score (Table 3)");
    run.paragraph("Scored are the means of the last step, as on the sheet.");
    let scored = inception::Scored {
        samples: &means,
        of: "means of the last step",
        test: scored_test_images,
        table: PUBLISHED,
        published: 4.62,
    };
    inception::scores(run, &images, &scored)?;
    run.paragraph(
        "SP, -L and -MBF are the models of an ablation by Salimans et al. (2016): their best, which \
         is semi-supervised; the same without labels; supervised without minibatch features.",
    );
    Ok(())
}

/// Table 3.
const PUBLISHED: &[[&str; 2]] = &[
    ["Real data, published", "11.24 ± 0.12"],
    ["SP, published", "8.09 ± 0.07"],
    ["-L, published", "4.36 ± 0.06"],
    ["-MBF, published", "3.87 ± 0.03"],
    ["Infusion, published", "4.62 ± 0.06"],
];
