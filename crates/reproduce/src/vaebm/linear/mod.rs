//! Appendix B.1 on a model where everything is known: why chains run on the noise.

mod gaussian;
mod quadratic;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise,
    chain::{StepSchedule, chain},
    mcmc::Langevin,
};
use serde::{Deserialize, Serialize};

use self::{
    gaussian::{Law, Space},
    quadratic::Quadratic,
};
use crate::{
    error::Result,
    limits::{at_least, bad},
    plots::{Plot, Series},
    registry::Experiment,
    report::{Align, Table, format_number, scientific},
    request::Request,
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

/// Appendix B.1, the part with closed forms.
pub(super) const STEP_SIZE_LINEAR: Experiment = Experiment {
    id: "step-size-linear",
    anchor: "Appendix B.1",
    title: "Step sizes of chains on points and latents, and on noise: a linear model",
    headline: false,
    data: "none",
    time: ["1 s", "2 s", "2 s"],
    settings,
    ready: |_| Ok(()),
    run,
};

/// Standard errors within which moments of chains are held against closed forms.
const ERRORS: f64 = 5.0;
/// Step sizes that the paper tried on points and latents.
const PUBLISHED: [f64; 3] = [8e-4, 8e-5, 8e-6];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LinearSettings {
    /// The decoder's standard deviation, `s`.
    scale: f64,
    /// Chains of the simulation.
    chains: usize,
    /// Their steps.
    steps: usize,
    /// Steps over which the divergence from the model is followed.
    followed: usize,
}

fn resolve(request: &Request) -> Result<LinearSettings> {
    let scale = request.scale;
    let settings = request.settings(&LinearSettings {
        scale: 0.02,
        chains: scale.pick(2_000, 20_000, 20_000),
        steps: 200,
        followed: scale.pick(1_000, 100_000, 100_000),
    })?;
    at_least(&[
        ("chains", settings.chains, 100),
        ("steps", settings.steps, 10),
        ("followed", settings.followed, 10),
    ])?;
    if !(settings.scale > 0.0 && settings.scale.is_finite()) {
        return bad("scale", "must be positive");
    }
    Ok(settings)
}

fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

/// A space in which chains may run.
struct Row {
    name: &'static str,
    key: &'static str,
    space: Space,
    /// Smallest and largest eigenvalue of the precision.
    ends: [f64; 2],
}

impl Row {
    fn new(name: &'static str, key: &'static str, space: Space) -> Self {
        let ends = quadratic::extreme_eigenvalues(&space.precision);
        Self { name, key, space, ends }
    }

    /// The largest stable step, `4 / lambda_max`.
    fn limit(&self) -> f64 {
        4.0 / self.ends[1]
    }

    fn condition(&self) -> f64 {
        self.ends[1] / self.ends[0]
    }

    /// Steps in which the mean forgets its start by a factor `e` in the slowest direction.
    fn steps(&self, step_size: f64) -> Option<f64> {
        let factor = self
            .ends
            .map(|lambda| (1.0 - 0.5 * step_size * lambda).abs())
            .into_iter()
            .fold(0.0, f64::max);
        (factor < 1.0).then(|| -1.0 / factor.ln())
    }
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = gaussian::Model { scale: settings.scale };
    let rows = [
        Row::new("points and latents (x, z)", "points_and_latents", model.points_and_latents()),
        Row::new("noise (e_z, e_x)", "noise", model.noise()),
    ];
    run.paragraph(format!(
        "z is a standard normal number, x = W z + b + s e in the plane with W = (1, 0.5), b = (0.2, \
         -0.1), s = {}, and E(x) = (x - m)' A (x - m) / 2 with A = [[2, 0.3], [0.3, 0.5]], m = (0.5, \
         -1). Both potentials are quadratic, so that the law of a chain after any number of steps is \
         a Gaussian with a closed form, and a step of size eta is stable below 4 over the largest \
         eigenvalue of the precision. On (x, z) that eigenvalue is near (1 + |W|^2) / s^2, and the \
         smallest one does not grow with it: one step size for both is either unstable or slow. On \
         noise all coordinates have the scale one. The paper shows pictures only.",
        settings.scale
    ));
    limits(run, &rows);
    steps(run, &rows);
    simulate(run, &settings, &rows)?;
    divergence(run, &settings, &rows)
}

fn right(name: &str) -> (String, Align) {
    (name.to_owned(), Align::Right)
}

fn limits(run: &mut Run<'_>, rows: &[Row]) {
    let mut table = Table::new([
        ("chains on".to_owned(), Align::Left),
        right("smallest eigenvalue"),
        right("largest eigenvalue"),
        right("condition number"),
        right("largest stable step"),
    ]);
    for row in rows {
        table.row([
            row.name.to_owned(),
            format_number(row.ends[0]),
            format_number(row.ends[1]),
            format_number(row.condition()),
            format_number(row.limit()),
        ]);
        run.metric(Metric::new(format!("limit_{}", row.key), row.limit(), ""));
        run.metric(Metric::new(format!("condition_{}", row.key), row.condition(), ""));
    }
    run.heading("Limits");
    run.table(table);
}

/// What the step sizes of the paper do here, and half the limit on noise.
fn steps(run: &mut Run<'_>, rows: &[Row]) {
    let mut table = Table::new([
        ("chains on".to_owned(), Align::Left),
        right("step size"),
        right("steps to forget the start by e, slowest direction"),
    ]);
    let sizes = |row: &Row| match row.key {
        "noise" => vec![0.5 * row.limit()],
        _ => PUBLISHED.to_vec(),
    };
    for row in rows {
        for size in sizes(row) {
            let steps = row.steps(size).map_or("unstable".into(), format_number);
            table.row([row.name.to_owned(), scientific(size, 2), steps]);
        }
    }
    run.paragraph("The three step sizes on (x, z) are those that the paper tried on CIFAR-10.");
    run.table(table);
}

/// Runs chains and holds their moments against the closed form; beyond the limit they explode.
fn simulate(run: &mut Run<'_>, settings: &LinearSettings, rows: &[Row]) -> Result<()> {
    run.heading("Simulation");
    let mut table = Table::new([
        ("chains on".to_owned(), Align::Left),
        right("step size over limit"),
        right("steps"),
        right("root mean square, simulated"),
        right("closed form"),
        right("largest error of a moment, standard errors"),
    ]);
    for row in rows {
        for share in [0.5, 0.95, 1.05] {
            let eta = share * row.limit();
            let mut law = row.space.start.clone();
            (0..settings.steps).for_each(|_| law = law.after_step(&row.space, eta));
            let seed = run.request.stream().child("linear").child(row.key);
            let rows_found =
                ends(settings, row, eta, &mut seed.child(&share.to_string()).host_noise())?;
            let error = law.largest_error(&rows_found);
            let rms = gaussian::root_mean_square(&rows_found);
            table.row([
                row.name.to_owned(),
                format!("{share}"),
                settings.steps.to_string(),
                format_number(rms),
                format_number(law.root_mean_square()),
                format!("{error:.2}"),
            ]);
            run.check(Check::new(
                format!("{}, {share} of the limit: moments are those of the closed form", row.name),
                error <= ERRORS,
                format!("within {error:.2} standard errors, {ERRORS} are allowed"),
            ));
            if share > 1.0 {
                let grown = rms / row.space.start.root_mean_square();
                run.check(Check::new(
                    format!("{}: beyond the limit chains grow", row.name),
                    grown > 10.0,
                    format!("by a factor of {}", format_number(grown)),
                ));
            }
        }
    }
    run.paragraph(format!(
        "{} chains from samples of the model without its energy; means and covariances of all \
         coordinates beside m' = (I - eta P / 2) m + .. and C' = (I - eta P / 2) C (I - eta P / 2) + eta I.",
        settings.chains
    ));
    run.table(table);
    Ok(())
}

/// Where chains are after all steps.
fn ends(
    settings: &LinearSettings,
    row: &Row,
    eta: f64,
    noise: &mut dyn Noise,
) -> Result<Vec<[f64; 3]>> {
    let normal = noise.normal(&(settings.chains, 3).into(), DType::F64, &Device::Cpu)?;
    let start = row.space.draw(&normal)?;
    let energy = Quadratic::new(&row.space)?;
    let kernel = Langevin::matched(energy, eta.sqrt())?;
    let schedule = StepSchedule { len: settings.steps };
    let mut last: Tensor = start.clone();
    for draw in chain(&kernel, start, &schedule, noise)? {
        last = draw?.state.position;
    }
    let flat = last.flatten_all()?.to_vec1::<f64>()?;
    Ok(flat.chunks_exact(3).map(|row| [row[0], row[1], row[2]]).collect())
}

/// The divergence of the law of a chain from the model over steps, in closed form.
fn divergence(run: &mut Run<'_>, settings: &LinearSettings, rows: &[Row]) -> Result<()> {
    let mut plot =
        Plot::new("Divergence of a chain from the model", "step", "KL, nats").log_x().log_y();
    for row in rows {
        let sizes = match row.key {
            "noise" => vec![0.1 * row.limit()],
            _ => vec![0.5 * row.limit(), PUBLISHED[1], PUBLISHED[2]],
        };
        for eta in sizes {
            let mut law: Law = row.space.start.clone();
            let (mut points, mut next) = (Vec::new(), 1.0);
            for step in 1..=settings.followed {
                law = law.after_step(&row.space, eta);
                if step as f64 >= next {
                    points.push((step as f64, law.divergence(&row.space)));
                    next *= 1.25;
                }
            }
            let name = format!("{}, {}", row.key.replace('_', " "), scientific(eta, 1));
            plot.series(Series::line(name, points));
        }
    }
    run.plot(
        "divergence",
        &plot,
        "Closed forms; the divergence does not depend on the coordinates. On noise a tenth of the \
         limit; on points and latents half of it, and the smaller two of the paper's step sizes. Every \
         curve ends at the bias of its step size.",
    )
}
