//! Table 3: the Inception score of CIFAR-10.

use super::{
    Set, Settings,
    samples::{self, Shown},
    trained,
};
use crate::{
    error::{Error, Result},
    report::{Align, Table},
    request::{Request, Scale},
    run::Run,
};

/// Table 3 has the score of 50,000 samples.
fn resolve(request: &Request) -> Result<Settings<Shown>> {
    let shown = Shown { samples: request.scale.pick(10, 5_000, 50_000) };
    Settings::resolve(request, Set::Cifar10, shown)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

/// Only the path of `smoke` can run: the score needs a network that is not there.
pub(super) fn ready(request: &Request) -> Result<()> {
    if request.scale == Scale::Smoke {
        return Ok(());
    }
    Err(Error::Missing(
        "does not score by the Inception network yet; \
         `cifar10-samples` trains and shows the same model"
            .into(),
    ))
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Set::Cifar10, &settings.train)?;
    samples::sheet(run, &images, &trained.model, &settings)?;
    run.heading("Inception score (Table 3)");
    run.paragraph(
        "Published scores are of 50,000 samples. No number is claimed at this scale: the samples \
         are drawn and shown, and not scored by the Inception network yet.",
    );
    let mut table = Table::new([("Model", Align::Left), ("score", Align::Right)]);
    for row in [
        ["Real data, published", "11.24 ± 0.12"],
        ["SP, published", "8.09 ± 0.07"],
        ["-L, published", "4.36 ± 0.06"],
        ["-MBF, published", "3.87 ± 0.03"],
        ["Infusion, published", "4.62 ± 0.06"],
        ["ours", "not computed"],
    ] {
        table.row(row);
    }
    run.table(table);
    run.paragraph(
        "SP, -L and -MBF are the models of an ablation by Salimans et al. (2016): their best, which \
         is semi-supervised; the same without labels; supervised without minibatch features.",
    );
    Ok(())
}
