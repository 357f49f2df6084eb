//! Whether training and chains were healthy.

use vaebm::Health;

use super::energy::EnergyEpoch;
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
};

/// Curves of a training of the energy.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn curves(run: &mut Run<'_>, name: &str, curve: &[EnergyEpoch]) -> Result<()> {
    let line = |label: &str, term: &str| {
        Series::line(label, curve.iter().map(|point| (point.update as f64, point.mean(term))))
    };
    let mut plot = Plot::new(format!("Energies, {name}"), "update", "nats");
    plot.series(line("E(data) - E(negatives)", "difference"));
    plot.series(line("fall of E along a chain", "fall"));
    plot.reference("", 0.0);
    run.plot(
        &format!("energies-{name}"),
        &plot,
        "The difference should hover near zero, the fall be above it.",
    )?;
    let mut plot = Plot::new(format!("Chains, {name}"), "update", "");
    plot.series(line("drift / noise", "drift_to_noise"));
    plot.series(line("rms of latent noise", "latent_rms"));
    plot.series(line("share of clamped pixels", "clamped_share"));
    run.plot(
        &format!("chains-{name}"),
        &plot,
        "Displacement by gradients over that by noise; far below one the chain is noise alone.",
    )
}

/// What must hold whatever came out.
pub(crate) fn checks(run: &mut Run<'_>, name: &str, curve: &[EnergyEpoch], drawn: &Health) {
    let values: Vec<f64> = curve.iter().flat_map(|point| point.means.iter().copied()).collect();
    finite_check(run, &format!("energies and chains of `{name}`"), &values);
    run.check(Check::new(
        format!("no sample of `{name}` is lost"),
        drawn.non_finite == 0,
        format!("{} are not finite", drawn.non_finite),
    ));
    // A few updates of tiny networks say nothing.
    if run.request.scale != Scale::Smoke {
        let fall = drawn.energy_start - drawn.energy_end;
        run.check(Check::new(
            format!("the energy falls along the chains of `{name}`"),
            fall > 0.0,
            format!("by {} nats", format_number(fall)),
        ));
        // Where an energy runs away, its gradients take chains over before anything overflows.
        let drifts = curve.iter().map(|point| point.mean("drift_to_noise"));
        let most = drifts.fold(0.0, f64::max);
        run.check(Check::new(
            format!("gradients move training chains of `{name}` no farther than noise does"),
            most < 1.0,
            format!("{most:.2} times as far at most"),
        ));
    }
}

/// The chains of some samples.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) steps: usize,
    pub(super) health: &'a Health,
    /// Seconds of an update, of an energy.
    pub(super) each: Option<f64>,
}

/// The chains that samples came from, the autoencoder's first.
pub(super) fn health(run: &mut Run<'_>, rows: &[Row<'_>]) {
    let columns = [
        "Chains",
        "steps",
        "fall of E",
        "drift / noise",
        "latent rms",
        "clamped pixels",
        "s / update",
    ];
    let align = |name| if name == "Chains" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|name| (name, align(name))));
    for Row { name, steps, health, each } in rows {
        let fall = health.energy_start - health.energy_end;
        table.row([
            name.replace('_', " "),
            steps.to_string(),
            format_number(fall),
            format_number(health.drift_to_noise),
            format!("{:.4}", health.latent_rms),
            format!("{:.4}", health.clamped_share),
            each.map(|each| format!("{each:.2}")).unwrap_or_default(),
        ]);
        if each.is_some() {
            run.metric(Metric::new(format!("energy_fall_{name}"), fall, "nats"));
            let drift = health.drift_to_noise;
            run.metric(Metric::new(format!("drift_to_noise_{name}"), drift, ""));
            run.metric(Metric::new(format!("latent_rms_{name}"), health.latent_rms, ""));
        }
    }
    run.table(table);
    run.paragraph(
        "Chains of samples. Healthy ones have a latent rms of 0.9 to 1.1; where drift over noise is far \
         below one, a chain is noise alone.",
    );
}
