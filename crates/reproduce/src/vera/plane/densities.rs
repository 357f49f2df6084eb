//! Figure 1.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use vera::EnergyConfig;

use super::{
    super::{
        methods::Method,
        seeds::{above_in_every_seed, all, mean, mean_error},
    },
    fit::Fitted,
    grid::Grid,
    settings::PlaneSettings,
};
use crate::{
    error::Result,
    limits::{at_least, bad, finite_check},
    plots::{Panels, Plot, Series},
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
    training::cells,
};

/// Mass at the edge of the box above which an energy counts as without a normaliser.
const EDGE: f64 = 0.01;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct DensitySettings {
    #[serde(flatten)]
    plane: PlaneSettings,
    /// Half the side of the box in which energies are normalised.
    box_half: f64,
    /// Cells along its side.
    box_cells: usize,
}

fn resolve(request: &Request) -> Result<DensitySettings> {
    let scale = request.scale;
    let quick: &[&str] = &["moons", "rings"];
    let plane = PlaneSettings::of(scale, scale.pick(quick, quick, &TOYS));
    let wide = vec![0.01, 0.03, 0.1, 0.3, 1.0];
    let settings = request.settings(&DensitySettings {
        plane: PlaneSettings {
            entropy_weights: scale.pick(vec![1.0, 0.1], vec![0.01, 0.1, 1.0], vec![0.01, 0.1, 1.0]),
            chain_noise: scale.pick(vec![0.1], vec![0.03, 0.1, 0.3], wide),
            width: scale.pick(16, 64, 100),
            updates: scale.pick(40, 10_000, 100_000),
            batch_size: scale.pick(50, 128, 200),
            test_points: scale.pick(200, 5_000, 10_000),
            looks: scale.pick(4, 20, 50),
            ..plane
        },
        box_half: 6.0,
        box_cells: scale.pick(50, 400, 400),
    })?;
    settings.plane.validate()?;
    at_least(&[("box_cells", settings.box_cells, 10)])?;
    if !(settings.box_half.is_finite() && settings.box_half >= 4.0) {
        return bad("box_half", "must be a number of at least 4");
    }
    Ok(settings)
}

/// The toys of the published code.
const TOYS: [&str; 8] = [
    "moons",
    "circles",
    "rings",
    "8-gaussians",
    "pinwheel",
    "two-spirals",
    "checkerboard",
    "swiss-roll",
];

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let DensitySettings { plane: settings, box_half, box_cells } = resolve(run.request)?;
    let methods = settings.methods();
    let hidden = vec![settings.width; 2];
    let energy = EnergyConfig::Mlp { dim: 2, hidden, outputs: 1, weight_norm: false };
    let grid = Grid { half: box_half, cells: box_cells };
    let trainings = settings.cells(run.request, &methods, &energy, grid)?;
    let fitted = cells(run, "train", trainings)?;
    run.paragraph(format!(
        "Energies of two layers of {} units after {} updates of batches of {} (published: 100 units, \
         100,000 updates of 200, pictures only). Normalised on a grid of {}^2 cells over [-{}, {}]^2; an \
         energy with more than 1 % of its mass within half a unit of the edge has no normaliser worth the \
         name, and its numbers are in brackets.",
        settings.width, settings.updates, settings.batch_size, box_cells, box_half, box_half
    ));
    for (set, fitted) in settings.sets.iter().zip(fitted.chunks(methods.len() * settings.seeds)) {
        let groups: Vec<&[Fitted]> = fitted.chunks(settings.seeds).collect();
        run.heading(set.clone());
        table(run, set, &methods, &groups);
        figure(run, set, &methods, &groups)?;
        checks(run, set, &settings, &methods, &groups);
    }
    Ok(())
}

/// Has the density of a seed too much mass at the edge of the box?
fn reaches_edge(group: &[Fitted]) -> bool {
    group.iter().any(|fitted| fitted.law.edge > EDGE)
}

fn table(run: &mut Run<'_>, set: &str, methods: &[(String, Method)], groups: &[&[Fitted]]) {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("method".to_owned(), Align::Left),
        right("test log-likelihood"),
        right("entropy of the density"),
        right("mass within 0.3 of data"),
        right("mass at the edge"),
        right("sigma"),
        right("diverged"),
        right("ms an update"),
    ]);
    for ((name, _), group) in methods.iter().zip(groups) {
        let of = |f: &dyn Fn(&Fitted) -> f64| group.iter().map(f).collect::<Vec<f64>>();
        let tails = of(&Fitted::tail);
        let edge = of(&|fitted| fitted.law.edge);
        let rejected = reaches_edge(group);
        let bracketed = |text: String| if rejected { format!("[{text}]") } else { text };
        let entropy = of(&|fitted| fitted.law.entropy);
        let last = |fitted: &Fitted| fitted.looks.last().map_or(1, |look| look.update).max(1);
        table.row([
            name.clone(),
            bracketed(all(&tails)),
            bracketed(all(&entropy)),
            bracketed(all(&of(&|fitted| fitted.near))),
            all(&edge),
            format_number(mean(&of(&|fitted| fitted.sigma))),
            group.iter().filter(|fitted| fitted.diverged.is_some()).count().to_string(),
            format_number(mean(&of(&|fitted| 1e3 * fitted.seconds / last(fitted) as f64))),
        ]);
        for (what, values) in [("log_likelihood", &tails), ("entropy", &entropy)] {
            let metric = Metric::new(format!("{what}_{set}_{name}"), mean(values), "nats");
            let metric = match mean_error(values) {
                Some(error) => metric.std_error(error),
                None => metric,
            };
            run.metric(metric.n(values.len()).setting("edge", mean(&edge)));
        }
    }
    run.table(table);
}

/// Densities and samples of the first seed, and likelihoods over updates.
fn figure(
    run: &mut Run<'_>,
    set: &str,
    methods: &[(String, Method)],
    groups: &[&[Fitted]],
) -> Result<()> {
    let mut densities = Vec::new();
    let mut plot = Plot::new(format!("{set}: log-likelihood"), "update", "nats");
    let mut panels = Panels::new("", methods.len());
    for ((name, method), group) in methods.iter().zip(groups) {
        let first = &group[0];
        densities.extend_from_slice(&first.picture);
        let points = first.looks.iter().map(|look| (look.update as f64, look.log_prob));
        plot.series(Series::line(name.clone(), points));
        if matches!(method, Method::Vera(_)) {
            let cloud = first.samples.iter().map(|p| (f64::from(p[0]), f64::from(p[1])));
            panels.panel(name.clone(), cloud);
        }
    }
    let names: Vec<&str> = methods.iter().map(|(name, _)| name.as_str()).collect();
    let caption = format!("Figure 1, {set}, densities from the left: {}.", names.join("; "));
    pictures(run, &format!("densities-{set}"), densities, &caption)?;
    run.panels(&format!("samples-{set}"), &panels, "Samples of the generators, first seed.")?;
    run.plot(&format!("curves-{set}"), &plot, "Test points, the first seed.")
}

/// Densities of 100x100 cells side by side.
pub(super) fn pictures(
    run: &mut Run<'_>,
    name: &str,
    densities: Vec<f32>,
    caption: &str,
) -> Result<()> {
    let n = densities.len() / 10_000;
    let sheet = Sheet { columns: n.max(1), scale: 1, ..Sheet::new(1, 100, 100) };
    let images = Tensor::from_vec(densities, (n, 10_000), &Device::Cpu)?;
    run.sheet(name, &sheet, &images, caption)
}

fn checks(
    run: &mut Run<'_>,
    set: &str,
    settings: &PlaneSettings,
    methods: &[(String, Method)],
    groups: &[&[Fitted]],
) {
    let tails: Vec<f64> = groups.iter().flat_map(|group| group.iter().map(Fitted::tail)).collect();
    finite_check(run, &format!("{set}: likelihoods"), &tails);
    if run.request.scale == Scale::Smoke {
        return;
    }
    let mut weighted: Vec<(f64, &[Fitted])> = methods
        .iter()
        .zip(groups)
        .filter_map(|((_, method), group)| match method {
            Method::Vera(config) => Some((config.entropy_weight, *group)),
            _ => None,
        })
        .collect();
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let games = weighted.len();
    weighted.retain(|(_, group)| !reaches_edge(group));
    let left_out = match games - weighted.len() {
        0 => String::new(),
        n => format!(" {n} of {games} weights are left out, whose densities reach the edge."),
    };
    let [(_, least), .., (_, greatest)] = weighted.as_slice() else {
        run.paragraph(format!("On {set} there are no two weights to compare.{left_out}"));
        return;
    };
    let of = |group: &[Fitted]| group.iter().map(|fitted| fitted.law.entropy).collect::<Vec<_>>();
    let [flat, sharp] = [of(least), of(greatest)];
    run.check(Check::new(
        format!("{set}: the greatest weight gives a sharper density than the least in every seed"),
        above_in_every_seed(&flat, &sharp),
        format!("entropies {} against {}", all(&sharp), all(&flat)),
    ));
    let (mut ordered, mut best) = (0, 0);
    for seed in 0..settings.seeds {
        let of = |f: &dyn Fn(&Fitted) -> f64| {
            weighted.iter().map(|(_, group)| f(&group[seed])).collect::<Vec<f64>>()
        };
        let entropies = of(&|fitted| fitted.law.entropy);
        ordered += usize::from(entropies.windows(2).all(|pair| pair[1] < pair[0]));
        let likelihoods = of(&Fitted::tail);
        let top = likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        best += usize::from(likelihoods.last().is_some_and(|last| *last >= top));
    }
    let n = settings.seeds;
    run.paragraph(format!(
        "Section 3 leads one to expect densities that sharpen from weight to weight, and the best \
         likelihood at the weight one: on {set} the first is so in {ordered} of {n} seeds, the second in \
         {best} of {n}.{left_out} The paper shows pictures only."
    ));
}

#[cfg(test)]
mod tests {
    use super::{super::grid::GridLaw, *};

    #[test]
    fn one_seed_at_the_edge_of_the_box_is_enough_to_leave_a_row_out() {
        let with = |edge: f64| Fitted {
            looks: Vec::new(),
            diverged: None,
            seconds: 0.0,
            sigma: 0.1,
            law: GridLaw { log_z: 0.0, entropy: 1.0, edge },
            near: 1.0,
            samples: Vec::new(),
            picture: Vec::new(),
        };
        assert!(!reaches_edge(&[with(0.0), with(0.01)]));
        assert!(reaches_edge(&[with(0.0), with(0.011)]));
    }
}
