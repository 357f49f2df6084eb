//! Gaussians whose proposals are shifted.

use candle_core::{DType, Device};
use chains_core::Noise;
use serde::{Deserialize, Serialize};

use super::measure::mean_and_error;
use crate::{
    error::{Error, Result},
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number, format_with_error},
    request::Scale,
    results::{Check, Metric},
    run::Run,
};

/// How many proposals in how many dimensions, and how often.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Shifts {
    /// Dimensions.
    pub(super) dim: usize,
    /// k.
    pub(super) proposals: usize,
    /// Sets of proposals of every shift.
    pub(super) sets: usize,
}

/// Effective numbers of 20 proposals that are shifted by a length, known beforehand, each with the
/// worth of its last digit.
const CURVE: [(f64, f64, f64); 13] = [
    (0.0, 20.0, 0.001),
    (0.25, 18.9, 0.1),
    (0.5, 16.0, 0.1),
    (1.0, 9.99, 0.01),
    (1.5, 6.4, 0.1),
    (2.0, 4.5, 0.1),
    (3.0, 2.88, 0.01),
    (4.0, 2.22, 0.01),
    (5.0, 1.89, 0.01),
    (8.0, 1.48, 0.01),
    (11.3, 1.31, 0.01),
    (22.6, 1.14, 0.01),
    (56.6, 1.05, 0.01),
];

/// Effective number, and its standard error, of `k` proposals `N(mu, I)` for the target `N(0, I)` with
/// `mu` of a length, the same in every coordinate.
fn shifted(settings: &Shifts, length: f64, noise: &mut dyn Noise) -> Result<[f64; 2]> {
    let Shifts { dim, proposals, sets } = *settings;
    let each = length / (dim as f64).sqrt();
    let mut found = Vec::with_capacity(sets);
    for block in crate::images::blocks(sets, 1_000) {
        let shape = (block.len() * proposals, dim).into();
        let u = noise.normal(&shape, DType::F64, &Device::Cpu)?;
        // ln N(u + mu; 0, I) - ln N(u + mu; mu, I).
        let logs = (u.sum(1)? * -each)?.affine(1.0, -0.5 * length * length)?.to_vec1::<f64>()?;
        for logs in logs.chunks(proposals) {
            let weights = eval_metrics::weight_ess(logs)
                .map_err(|error| Error::Usage(format!("weights: {error}")))?;
            found.push(weights.ess);
        }
    }
    Ok(mean_and_error(&found))
}

pub(super) fn shifts(run: &mut Run<'_>, settings: &Shifts) -> Result<()> {
    let mut noise = run.request.stream().child("shifts").host_noise();
    let known = settings.proposals == 20;
    run.heading("Shifted Gaussians");
    run.paragraph(format!(
        "{} proposals N(mu, I) for the target N(0, I) in {} dimensions, {} times. The effective number \
         depends on the length of mu alone. The paper's figure shifts every coordinate by 0 to 5: in 128 \
         dimensions the length is 11.3 times that.",
        settings.proposals, settings.dim, settings.sets
    ));
    let mut table = Table::new([
        ("length of mu", Align::Right),
        ("a coordinate", Align::Right),
        ("ESS", Align::Right),
        ("known", Align::Right),
    ]);
    let (mut ours, mut theirs, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (length, expected, digit) in CURVE {
        let [value, error] = shifted(settings, length, &mut noise)?;
        table.row([
            format_number(length),
            format_number(length / (settings.dim as f64).sqrt()),
            // All proposals of no shift are alike.
            if error < 1e-9 { format_number(value) } else { format_with_error(value, error) },
            if known { format_number(expected) } else { String::new() },
        ]);
        run.metric(Metric::new(format!("ess_length_{length}"), value, "").std_error(error));
        ours.push((length, value));
        theirs.push((length, expected));
        errors.push(error);
        if known && run.request.scale != Scale::Smoke {
            let name = format!("shift of length {length}: the effective number is the known one");
            run.check(Check::close(name, value, expected, digit + 4.0 * error));
        }
    }
    finite_check(run, "effective numbers", &ours.iter().map(|(_, v)| *v).collect::<Vec<_>>());
    run.table(table);
    let mut plot = Plot::new("Effective number of proposals", "length of the shift", "ESS");
    // The longest ones would press the curve against the axis.
    let near = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        points.iter().copied().filter(|(length, _)| *length < 12.0).collect()
    };
    plot.series(Series::line("measured", near(&ours)).errors(errors));
    if known {
        plot.series(Series::scatter("known", near(&theirs)));
    }
    let caption = "A shift by one in each of 128 coordinates has length 11.3, the last point.";
    run.plot("shifts", &plot, caption)?;
    figure(run, settings, &mut noise)
}

/// The axis of the paper's figure.
fn figure(run: &mut Run<'_>, settings: &Shifts, noise: &mut dyn Noise) -> Result<()> {
    let mut points = Vec::new();
    for step in 0..=20 {
        let each = 0.25 * f64::from(step);
        let [value, _] = shifted(settings, each * (settings.dim as f64).sqrt(), noise)?;
        points.push((each, value));
    }
    let beyond = points.iter().filter(|(each, _)| *each >= 2.0).map(|(_, value)| *value);
    let beyond = beyond.fold(0.0, f64::max);
    run.paragraph(format!(
        "From a shift of two in every coordinate on, the effective number is at most {} (published: \
         about 1.0 above two).",
        format_number(beyond)
    ));
    let mut plot = Plot::new(
        format!("Effective number, {} dimensions", settings.dim),
        "shift of every coordinate",
        "ESS",
    )
    .log_y();
    plot.series(Series::line("measured", points));
    run.plot("figure-6", &plot, "As the paper's figure has it.")
}

#[cfg(test)]
mod tests {
    use chains_core::Seed;

    use super::*;

    #[test]
    fn the_effective_number_depends_on_the_length_alone() {
        let mut noise = Seed::new(1).host_noise();
        for dim in [1, 16] {
            let settings = Shifts { dim, proposals: 20, sets: 4_000 };
            let [value, error] = shifted(&settings, 1.0, &mut noise).unwrap();
            assert!((value - 9.99).abs() < 0.01 + 4.0 * error, "{dim}: {value} {error}");
            let [value, _] = shifted(&settings, 0.0, &mut noise).unwrap();
            assert!((value - 20.0).abs() < 1e-9);
        }
    }
}
