//! Table 10.

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
    limits::{at_least, beside, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    training::cells,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MixtureSettings {
    #[serde(flatten)]
    plane: PlaneSettings,
    /// Gaussians.
    components: usize,
}

fn resolve(request: &Request) -> Result<MixtureSettings> {
    let scale = request.scale;
    let plane = PlaneSettings::of(scale, &SETS);
    let settings = request.settings(&MixtureSettings {
        plane: PlaneSettings {
            entropy_weights: scale.pick(vec![1.0, 0.0], WEIGHTS.to_vec(), WEIGHTS.to_vec()),
            chain_noise: scale.pick(vec![0.1], vec![0.1, 0.3], vec![0.03, 0.1, 0.3]),
            ..plane
        },
        components: scale.pick(10, 100, 100),
    })?;
    at_least(&[("components", settings.components, 1)])?;
    settings.plane.validate()?;
    Ok(settings)
}

/// The toys of Table 10.
const SETS: [&str; 3] = ["moons", "circles", "rings"];
/// Its weights of the entropy, from above.
const WEIGHTS: [f64; 4] = [1.0, 0.1, 0.01, 0.0];
/// Rows of Table 10: maximum likelihood, the weights, chains.
const PUBLISHED: [(&str, [f64; 6]); 3] = [
    ("moons", [-2.32, -2.58, -3.10, -3.63, -3.87, -3.82]),
    ("circles", [-3.17, -3.40, -3.74, -3.64, -3.58, -4.24]),
    ("rings", [-2.83, -3.17, -3.24, -3.44, -3.5, -4.13]),
];

fn published(set: &str, method: &Method) -> Option<f64> {
    let (_, row) = PUBLISHED.iter().find(|(name, _)| *name == set)?;
    match method {
        Method::Likelihood(_) => Some(row[0]),
        Method::Vera(config) => {
            let at = WEIGHTS.iter().position(|w| (w - config.entropy_weight).abs() < 1e-12)?;
            Some(row[1 + at])
        }
        // Which noise is not published.
        Method::Pcd(_) => Some(row[5]),
        _ => None,
    }
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let MixtureSettings { plane: settings, components } = resolve(run.request)?;
    let mut methods = vec![settings.likelihood()];
    methods.extend(settings.methods());
    let energy = EnergyConfig::Mixture { dim: 2, components };
    let grid = Grid { half: 6.0, cells: 200 };
    let trainings = settings.cells(run.request, &methods, &energy, grid)?;
    let fitted = cells(run, "train", trainings)?;
    run.paragraph(format!(
        "Exact log-likelihood of {} fresh points, nats; mean of the last five of {} looks over {} \
         updates of batches of {} (published: 100,000 updates, the best of looks at 200 points). Seeds \
         in brackets. The noise of the published chains is not known.",
        settings.test_points, settings.looks, settings.updates, settings.batch_size
    ));
    let per_set = methods.len() * settings.seeds;
    let mut rows = Vec::new();
    for (set, fitted) in settings.sets.iter().zip(fitted.chunks(per_set)) {
        let groups: Vec<&[Fitted]> = fitted.chunks(settings.seeds).collect();
        curves(run, set, &methods, &groups)?;
        rows.push((set.as_str(), groups));
    }
    table(run, &methods, &rows);
    for (set, groups) in &rows {
        checks(run, set, &methods, groups);
    }
    Ok(())
}

fn tails(group: &[Fitted]) -> Vec<f64> {
    group.iter().map(Fitted::tail).collect()
}

/// Columns are toys, as in the paper transposed; the published number stands below ours.
fn table(run: &mut Run<'_>, methods: &[(String, Method)], rows: &[(&str, Vec<&[Fitted]>)]) {
    let may = run.request.scale != Scale::Smoke;
    let mut columns = vec![("method".to_owned(), Align::Left)];
    for (set, _) in rows {
        columns.push(((*set).to_owned(), Align::Right));
        columns.push(("published".to_owned(), Align::Right));
    }
    columns.push(("diverged".to_owned(), Align::Right));
    columns.push(("ms an update".to_owned(), Align::Right));
    let mut table = Table::new(columns);
    for (index, (name, method)) in methods.iter().enumerate() {
        let mut cells = vec![name.clone()];
        let (mut diverged, mut seconds, mut updates) = (0, 0.0, 0);
        for (set, groups) in rows {
            let values = tails(groups[index]);
            cells.push(all(&values));
            let theirs = published(set, method);
            cells.push(theirs.map(|v| v.to_string()).unwrap_or_default());
            let mut metric =
                Metric::new(format!("log_likelihood_{set}_{name}"), mean(&values), "nats");
            if let Some(error) = mean_error(&values) {
                metric = metric.std_error(error);
            }
            if let Some(theirs) = theirs {
                metric = beside(metric, theirs, may);
            }
            run.metric(metric.n(values.len()));
            for fitted in groups[index] {
                diverged += usize::from(fitted.diverged.is_some());
                seconds += fitted.seconds;
                updates += fitted.looks.last().map_or(0, |look| look.update);
            }
        }
        cells.push(diverged.to_string());
        cells.push(format_number(1e3 * seconds / updates.max(1) as f64));
        table.row(cells);
    }
    run.table(table);
}

/// Likelihood over updates, the first seed of every method, with the densities at the end.
fn curves(
    run: &mut Run<'_>,
    set: &str,
    methods: &[(String, Method)],
    groups: &[&[Fitted]],
) -> Result<()> {
    let mut plot = Plot::new(format!("{set}: log-likelihood"), "update", "nats");
    let mut pictures = Vec::new();
    for ((name, _), group) in methods.iter().zip(groups) {
        let first = &group[0];
        let points = first.looks.iter().map(|look| (look.update as f64, look.log_prob));
        plot.series(Series::line(name.clone(), points));
        pictures.extend_from_slice(&first.picture);
    }
    run.plot(&format!("curves-{set}"), &plot, "The first seed; chains and players swing.")?;
    let names: Vec<&str> = methods.iter().map(|(name, _)| name.as_str()).collect();
    super::densities::pictures(
        run,
        &format!("densities-{set}"),
        pictures,
        &format!("{set}: densities of the first seed, from the left: {}.", names.join("; ")),
    )
}

/// The orderings that section 6 names for every seed.
fn checks(run: &mut Run<'_>, set: &str, methods: &[(String, Method)], groups: &[&[Fitted]]) {
    let values: Vec<Vec<f64>> = groups.iter().map(|group| tails(group)).collect();
    finite_check(run, &format!("{set}: likelihoods"), &values.concat());
    if run.request.scale == Scale::Smoke {
        return;
    }
    let find = |wanted: &dyn Fn(&Method) -> bool| {
        methods.iter().zip(&values).find(|((_, method), _)| wanted(method)).map(|(_, v)| v)
    };
    let weighted = |weight: f64| {
        find(&move |m| matches!(m, Method::Vera(c) if (c.entropy_weight - weight).abs() < 1e-12))
    };
    let likelihood = find(&|m| matches!(m, Method::Likelihood(_)));
    let mut order: Vec<(&str, &Vec<f64>)> = Vec::new();
    order.extend(likelihood.map(|v| ("maximum likelihood", v)));
    order.extend(weighted(1.0).map(|v| ("lambda 1", v)));
    for weight in [0.1, 0.01, 0.0] {
        let (Some(one), Some(less)) = (weighted(1.0), weighted(weight)) else { continue };
        // The published order of the smaller weights is another for every toy.
        let name = format!("{set}: lambda 1 is above lambda {weight} in every seed");
        let detail = format!("{} against {}", all(one), all(less));
        run.check(Check::new(name, above_in_every_seed(one, less), detail));
    }
    for pair in order.windows(2) {
        let [(upper, a), (lower, b)] = pair else { continue };
        let name = format!("{set}: {upper} is above {lower} in every seed");
        let detail = format!("{} against {}", all(a), all(b));
        run.check(Check::new(name, above_in_every_seed(a, b), detail));
    }
    order_sentence(run, set, [weighted(0.1), weighted(0.01), weighted(0.0)]);
    chains_sentence(run, set, methods, &values);
}

/// The order of the weights below one, as found.
fn order_sentence(run: &mut Run<'_>, set: &str, values: [Option<&Vec<f64>>; 3]) {
    let [Some(tenth), Some(hundredth), Some(zero)] = values else { return };
    let falls = above_in_every_seed(tenth, hundredth) && above_in_every_seed(hundredth, zero);
    let found = if falls { "fall in every seed" } else { "are not in this order in every seed" };
    run.paragraph(format!(
        "{set}: the likelihoods of lambda 0.1, 0.01 and 0 {found}: {}; {}; {}. (Published: they fall on \
         moons and rings, and rise on circles.)",
        all(tenth),
        all(hundredth),
        all(zero)
    ));
}

/// Which chains are below the game, as found.
fn chains_sentence(
    run: &mut Run<'_>,
    set: &str,
    methods: &[(String, Method)],
    values: &[Vec<f64>],
) {
    let one = methods.iter().zip(values).find(|((_, method), _)| {
        matches!(method, Method::Vera(c) if (c.entropy_weight - 1.0).abs() < 1e-12)
    });
    let Some((_, one)) = one else { return };
    for ((name, method), chain) in methods.iter().zip(values) {
        if !matches!(method, Method::Pcd(_)) {
            continue;
        }
        let beaten = above_in_every_seed(one, chain);
        let words = if beaten { "is below" } else { "is not below" };
        run.paragraph(format!(
            "{set}: {name} {words} lambda 1 in every seed: {} against {}. Single looks of chains swing; \
             see the curves.",
            all(chain),
            all(one)
        ));
    }
}
