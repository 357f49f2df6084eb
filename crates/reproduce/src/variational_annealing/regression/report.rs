//! Tables and gates.

use variational_annealing::Reg;

use super::{
    data::{Set, find, load},
    fit::{Fitted, METHODS, Outcome, SVGD, UGAN, cell},
    settings::RegressionSettings,
};
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    seeds::{mean, mean_error, seeds},
    training::cells,
};

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = RegressionSettings::resolve(run.request)?;
    let device = run.request.device.clone();
    let mut tables = Vec::new();
    for name in &settings.sets {
        let set = find(name)?;
        tables.push((set, load(run.request, set, settings.one_hot)?));
    }
    let splits = seeds(run.request.seed, settings.splits);
    let mut jobs = Vec::new();
    for (set, table) in &tables {
        for index in &splits {
            jobs.push(cell(&settings, (table, *set), *index, &device)?);
        }
    }
    let fitted = cells(run, "train", jobs)?;
    words(run, &settings);
    for ((set, data), group) in tables.iter().zip(fitted.chunks(settings.splits)) {
        run.heading(format!("{}: {} inputs, {} rows train", set.title, data.dim(), set.train));
        table(run, *set, group);
        figure(run, *set, group)?;
        checks(run, *set, group);
    }
    Ok(())
}

fn words(run: &mut Run<'_>, settings: &RegressionSettings) {
    run.paragraph(format!(
        "Weights with a Gaussian prior whose precision has the prior Gamma(1, 0.01), the setting of the SVGD \
         paper; the supplement names neither prior nor compared methods nor numbers, so that all beside the \
         sizes of Table S3 is ours. Every method has the same {} random splits (means with standard deviations \
         over them, differences paired); other splits move the numbers by more than methods differ. U-GAN: a \
         proposal of {} blocks of [{h}, {h}] (the paper's: 8 of [512, 512]), {} updates. HMC: {} chains, {} \
         leapfrog steps, {} transitions kept after {}. SVGD: {} particles, {} steps. HMC and MAP are in f64, U-GAN and SVGD in f32.",
        settings.splits,
        settings.blocks,
        settings.updates,
        settings.chains,
        settings.leapfrog,
        settings.kept,
        settings.burn_in,
        settings.particles,
        settings.svgd_steps,
        h = settings.hidden,
    ));
    let heat = match settings.linear > 0.0 {
        true => format!(
            "U-GAN is heated: from the temperature 1 + {} on, its weight falls on a line to zero ({} form).",
            settings.linear,
            match settings.form {
                Reg::Entropy => "entropy",
                Reg::Likelihood => "likelihood",
            },
        ),
        false => "U-GAN is not annealed; what a first weight does is on the method's page.".into(),
    };
    run.paragraph(heat);
}

/// A number of a method on every split.
fn of(group: &[Fitted], method: usize, f: impl Fn(&Outcome) -> f64) -> Vec<f64> {
    group.iter().map(|fitted| f(&fitted.outcomes[method])).collect()
}

/// Mean and standard deviation.
fn spread(values: &[f64]) -> String {
    let m = mean(values);
    match mean_error(values) {
        Some(error) => format!("{m:.3} ± {:.3}", error * (values.len() as f64).sqrt()),
        None => format!("{m:.3}"),
    }
}

/// Differences from the chains on the same split.
fn paired(group: &[Fitted], method: usize, f: impl Fn(&Outcome) -> f64 + Copy) -> Vec<f64> {
    of(group, method, f).iter().zip(of(group, 0, f)).map(|(own, hmc)| own - hmc).collect()
}

fn table(run: &mut Run<'_>, set: Set, group: &[Fitted]) {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("method".to_owned(), Align::Left),
        right("accuracy"),
        right("less HMC"),
        right("test log-likelihood"),
        right("less HMC"),
        right("E[eta]"),
        right("seconds"),
    ]);
    for (i, name) in METHODS.into_iter().enumerate() {
        let accuracy = of(group, i, |outcome| outcome.accuracy);
        let likelihood = of(group, i, |outcome| outcome.log_likelihood);
        let eta = of(group, i, Outcome::eta);
        let less = |f: fn(&Outcome) -> f64| match i {
            0 => String::new(),
            _ => spread(&paired(group, i, f)),
        };
        table.row([
            name.to_owned(),
            spread(&accuracy),
            less(|outcome| outcome.accuracy),
            spread(&likelihood),
            less(|outcome| outcome.log_likelihood),
            if i == 3 { "0 (fixed)".into() } else { spread(&eta) },
            format_number(mean(&of(group, i, |outcome| outcome.seconds))),
        ]);
        for (what, values, unit) in [
            ("accuracy", &accuracy, ""),
            ("log_likelihood", &likelihood, "nats"),
            ("eta", &eta, ""),
        ] {
            let metric = Metric::new(format!("{what}_{}_{name}", set.name), mean(values), unit);
            let metric = match mean_error(values) {
                Some(error) => metric.std_error(error),
                None => metric,
            };
            run.metric(metric.n(values.len()));
        }
    }
    run.table(table);
    let acceptance: Vec<f64> = group.iter().map(|fitted| fitted.acceptance).collect();
    run.paragraph(format!("HMC accepts {} of its proposals.", spread(&acceptance)));
}

/// Marginals of the first split beside those of the chains.
fn figure(run: &mut Run<'_>, set: Set, group: &[Fitted]) -> Result<()> {
    let outcomes = &group[0].outcomes;
    let title = format!("{}: deviations of the marginals", set.title);
    let mut plot = Plot::new(title, "HMC", "other methods");
    for (i, name) in METHODS.iter().enumerate().take(3).skip(1) {
        let pairs =
            outcomes[0].deviation.iter().copied().zip(outcomes[i].deviation.iter().copied());
        plot.series(Series::scatter(*name, pairs));
    }
    let most = outcomes[0].deviation.iter().copied().fold(0.0, f64::max);
    plot.series(Series::line("equal", [(0.0, 0.0), (most, most)]));
    let caption = "Standard deviation of every weight and of eta, the first split.";
    run.plot(&format!("deviations-{}", set.name), &plot, caption)
}

/// What the limits of accuracy and log-likelihood are of.
type Number = (&'static str, f64, fn(&Outcome) -> f64);

/// U-GAN is judged by its distance from the chains on every split. That of SVGD is said and not judged:
/// its particles keep a part of the variance, which is a finding about the baseline. All must be finite.
fn checks(run: &mut Run<'_>, set: Set, group: &[Fitted]) {
    let every: Vec<f64> =
        (0..METHODS.len()).flat_map(|i| of(group, i, |outcome| outcome.log_likelihood)).collect();
    finite_check(run, &format!("{}: log-likelihoods", set.name), &every);
    if run.request.scale == Scale::Smoke {
        return;
    }
    let nats = if set.name == "sonar" { 0.05 } else { 0.03 };
    let numbers: [Number; 2] = [
        ("accuracy", 0.02, |outcome| outcome.accuracy),
        ("log-likelihood", nats, |outcome| outcome.log_likelihood),
    ];
    for (what, limit, f) in numbers {
        let apart = paired(group, UGAN, f);
        run.check(Check::new(
            format!("{}: {what} of U-GAN within {limit} of HMC on every split", set.name),
            apart.iter().all(|d| inside(*d, limit)),
            format!("mean difference {:.4}, largest {:.4}", mean(&apart), largest(&apart)),
        ));
    }
    let said = numbers.map(|(what, limit, f)| {
        let apart = paired(group, SVGD, f);
        let (splits, beyond) = (apart.len(), apart.iter().filter(|d| !inside(**d, limit)).count());
        let place = match beyond {
            0 => format!("inside {limit} of HMC on every split"),
            _ => format!("OUTSIDE {limit} of HMC on {beyond} of {splits} splits"),
        };
        format!("{what} {place} (largest difference {:.4})", largest(&apart))
    });
    let kept = mean(&group.iter().map(variance_kept).collect::<Vec<_>>());
    run.paragraph(format!(
        "SVGD, a baseline whose distance is not judged: {}. Its particles keep {:.1} % of the variance of a coordinate \
         in HMC's samples (mean over coordinates).",
        said.join(", "),
        100.0 * kept,
    ));
    // A chain that never moved has no variance to keep.
    if kept.is_finite() {
        let name = format!("variance_kept_{}_SVGD", set.name);
        run.metric(Metric::new(name, kept, "").n(group.len()));
    }
}

/// Not a number if one of them is none.
fn largest(apart: &[f64]) -> f64 {
    apart
        .iter()
        .map(|d| d.abs())
        .fold(0.0, |most: f64, d| if most.is_nan() || most >= d { most } else { d })
}

/// By comparison, so that what is no number is outside.
fn inside(difference: f64, limit: f64) -> bool {
    difference.abs() <= limit
}

/// Variance of the particles over that of the chains, mean over coordinates.
fn variance_kept(fitted: &Fitted) -> f64 {
    let [chains, particles] = [0, SVGD].map(|i| &fitted.outcomes[i].deviation);
    let shares = particles.iter().zip(chains).map(|(own, hmc)| (own / hmc).powi(2));
    mean(&shares.collect::<Vec<_>>())
}
