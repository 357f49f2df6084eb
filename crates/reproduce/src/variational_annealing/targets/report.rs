//! Tables, gates and pictures of a target.

use candle_core::{Device, Tensor};
use variational_annealing::Reg;

use super::{
    fit::{Fit, Fitted},
    settings::{Named, TargetSettings, gated},
    strip::{SIDE, contours, scatter},
    truth::Plane,
};
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    results::{Check, Metric},
    run::Run,
    seeds::{all, mean, mean_error, seeds},
    sheet::Sheet,
    training::cells,
};

/// Columns of the strip of pictures, the initial generator among them.
const COLUMNS: usize = 6;

pub(super) fn run(run: &mut Run<'_>, plane: Plane) -> Result<()> {
    let settings = TargetSettings::resolve(run.request)?;
    let schedules = settings.schedules()?;
    let mut trainings = Vec::new();
    for (_, schedule) in &schedules {
        for seed in seeds(run.request.seed, settings.seeds) {
            let fit = Fit {
                plane,
                networks: settings.networks(),
                training: settings.training(*schedule),
                seed,
                samples: settings.samples,
                looks: settings.looks,
            };
            trainings.push(fit.cell(run.request.device.clone())?);
        }
    }
    let fitted = cells(run, "train", trainings)?;
    let groups: Vec<&[Fitted]> = fitted.chunks(settings.seeds).collect();
    words(run, plane, &settings);
    table(run, plane, &schedules, &groups);
    moments(run, plane, &schedules, &groups)?;
    strip(run, plane, &schedules, &groups)?;
    balance(run, plane, &schedules, &groups)?;
    checks(run, plane, &schedules, &groups);
    Ok(())
}

fn words(run: &mut Run<'_>, plane: Plane, settings: &TargetSettings) {
    run.paragraph(format!(
        "A generator is trained from log u alone, with a masked autoregressive flow of {} blocks of [{h}, {h}] \
         as its proposal (the paper's: 8 of [512, 512]) and a critic, {} updates of {} samples after a \
         warm-up of {}. A schedule is an initial weight of the entropy form that is zero from 0.8 of the \
         updates on; positive is hotter, beta = 1 / (1 + lambda). The paper shows pictures only; generator, \
         critic and rates are ours.{} Evaluated is the average of the generator's weights, on {} samples.",
        settings.blocks,
        settings.updates,
        settings.batch_size,
        settings.warm_up,
        match settings.form {
            Reg::Entropy => "",
            Reg::Likelihood => " The trainings use the likelihood form with the weights of the same first temperatures.",
        },
        settings.samples,
        h = settings.hidden,
    ));
    if plane == Plane::Kidney {
        run.paragraph(
            "The paper prints the energy of the kidney with the name of its log density; as printed the \
             density diverges, so that the sign is turned here.",
        );
    }
}

fn table(run: &mut Run<'_>, plane: Plane, schedules: &[Named], groups: &[&[Fitted]]) {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("schedule".to_owned(), Align::Left),
        right("MMD^2"),
        right("MMD^2 of the proposal"),
        right("KSD^2"),
        right("share with x1 > 0"),
        right("log Z less the truth"),
        right("effective share"),
        right("ms an update"),
    ]);
    for ((name, _), group) in schedules.iter().zip(groups) {
        let of = |f: &dyn Fn(&Fitted) -> f64| group.iter().map(f).collect::<Vec<f64>>();
        let mmd = of(&|fitted| fitted.last().mmd);
        let ksd = of(&|fitted| fitted.ksd);
        let right = of(&|fitted| fitted.last().right);
        let error = of(&|fitted| fitted.log_z - plane.log_z());
        let effective = of(&|fitted| fitted.effective);
        table.row([
            name.clone(),
            all(&mmd),
            all(&of(&|fitted| fitted.proposal_mmd)),
            all(&ksd),
            all(&right),
            all(&error),
            all(&effective),
            format_number(mean(&of(&|fitted| 1e3 * fitted.seconds / fitted.updates as f64))),
        ]);
        for (what, values, unit) in [
            ("mmd2", &mmd, ""),
            ("ksd2", &ksd, ""),
            ("share_right", &right, ""),
            ("log_z_error", &error, "nats"),
            ("effective_share", &effective, ""),
        ] {
            let metric = Metric::new(format!("{what}_{name}"), mean(values), unit);
            let metric = match mean_error(values) {
                Some(error) => metric.std_error(error),
                None => metric,
            };
            run.metric(metric.n(values.len()));
        }
    }
    run.table(table);
    run.paragraph(
        "MMD^2 is the unbiased estimate with a Gaussian kernel of width 1 against exact samples, which for two \
         exact sets scatters about zero; KSD^2 that with an inverse multiquadric kernel of offset 1, which \
         hardly sees how mass is shared among modes. log Z is estimated by importance sampling from the \
         proposal. In brackets: every seed.",
    );
}

/// The generator's moments at the end beside those of `u^beta`.
fn moments(
    run: &mut Run<'_>,
    plane: Plane,
    schedules: &[Named],
    groups: &[&[Fitted]],
) -> Result<()> {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        (plane.name().to_owned(), Align::Left),
        right("mean of x1"),
        right("mean of x2"),
        right("variance of x1"),
        right("variance of x2"),
        right("E|x|"),
        right("log Z"),
        right("entropy"),
    ]);
    for beta in [0.5, 1.0, 2.0] {
        let truth = plane.truth(beta)?;
        let [a, b] = truth.mean.map(|value| if value.abs() < 1e-9 { 0.0 } else { value });
        let [c, d] = truth.variance;
        let numbers = [a, b, c, d, truth.norm, truth.log_z, truth.entropy].map(format_number);
        table.row(std::iter::once(format!("u^{beta}, quadrature")).chain(numbers));
    }
    for ((name, _), group) in schedules.iter().zip(groups) {
        let of = |f: &dyn Fn(&Fitted) -> f64| {
            format_number(mean(&group.iter().map(f).collect::<Vec<f64>>()))
        };
        table.row([
            format!("generator, {name}"),
            of(&|fitted| fitted.last().mean[0]),
            of(&|fitted| fitted.last().mean[1]),
            of(&|fitted| fitted.last().variance[0]),
            of(&|fitted| fitted.last().variance[1]),
            of(&|fitted| fitted.last().norm),
            of(&|fitted| fitted.log_z),
            String::new(),
        ]);
    }
    run.heading("Moments");
    run.table(table);
    Ok(())
}

/// Pictures of the first seed at a few times, a row for each schedule.
fn strip(run: &mut Run<'_>, plane: Plane, schedules: &[Named], groups: &[&[Fitted]]) -> Result<()> {
    let empty = contours(plane)?;
    let mut pixels = Vec::new();
    let mut times = Vec::new();
    let count = groups[0][0].looks.len();
    let columns = COLUMNS.min(count);
    let chosen: Vec<usize> =
        (0..columns).map(|i| (i * (count - 1)).div_ceil(columns.max(2) - 1)).collect();
    for group in groups {
        for at in &chosen {
            let mut image = empty.clone();
            scatter(plane, &mut image, &group[0].looks[*at].points);
            pixels.extend(image);
        }
    }
    for at in &chosen {
        times.push(groups[0][0].looks[*at].update.to_string());
    }
    let n = groups.len() * columns;
    let images = Tensor::from_vec(pixels, (n, 3 * SIDE * SIDE), &Device::Cpu)?;
    let sheet = Sheet { columns, scale: 1, ..Sheet::new(3, SIDE, SIDE) };
    let names: Vec<&str> = schedules.iter().map(|(name, _)| name.as_str()).collect();
    let caption = format!(
        "Samples of the generator over the contours of u (1, 2 and 3 deviations), the first seed. Rows from \
         the top: {}. Updates from the left: {}.",
        names.join("; "),
        times.join(", ")
    );
    run.heading("Training dynamics");
    run.sheet(&format!("dynamics-{}", plane.name()), &sheet, &images, &caption)
}

/// The course of the discrepancy, of the balance of the modes and of the radius.
fn balance(
    run: &mut Run<'_>,
    plane: Plane,
    schedules: &[Named],
    groups: &[&[Fitted]],
) -> Result<()> {
    let name = plane.name();
    let mut shares = Plot::new(format!("{name}: share with x1 > 0"), "update", "share");
    let mut radii = Plot::new(format!("{name}: mean distance from the origin"), "update", "E|x|");
    for ((schedule, _), group) in schedules.iter().zip(groups) {
        for (seed, fitted) in group.iter().enumerate() {
            let points = fitted.looks.iter().map(|look| (look.update as f64, look.right));
            shares.series(Series::line(format!("{schedule}, seed {seed}"), points));
        }
        let first = &group[0];
        let points = first.looks.iter().map(|look| (look.update as f64, look.norm));
        radii.series(Series::line(schedule.clone(), points));
        if schedule != "none" {
            let truths = first
                .looks
                .iter()
                .map(|look| Ok((look.update as f64, plane.truth(look.beta)?.norm)));
            let truths = truths.collect::<Result<Vec<_>>>()?;
            radii.series(Series::scatter(format!("u^beta, {schedule}"), truths));
        }
    }
    let truth = plane.truth(1.0)?;
    radii.reference("u", truth.norm);
    run.plot(&format!("share-{name}"), &shares, "The balance of the halves at every look.")?;
    let caption = "The generator's distance beside that of the tempered target at the same update, the first seed.";
    run.plot(&format!("radius-{name}"), &radii, caption)
}

fn checks(run: &mut Run<'_>, plane: Plane, schedules: &[Named], groups: &[&[Fitted]]) {
    let every: Vec<f64> =
        groups.iter().flat_map(|group| group.iter().map(|f| f.last().mmd)).collect();
    finite_check(run, "discrepancies", &every);
    if !gated(run.request) {
        return;
    }
    for ((name, _), group) in schedules.iter().zip(groups) {
        match plane {
            Plane::Banana => banana(run, name, group),
            Plane::Kidney if name == "linear 4" => kidney(run, group),
            Plane::Kidney => {}
        }
        if name.starts_with("linear") && (plane == Plane::Banana || name == "linear 4") {
            constant(run, plane, name, group);
        }
    }
    if plane == Plane::Kidney {
        let lost = groups[0].iter().filter(|f| (f.last().right - 0.5).abs() > 0.4).count();
        run.paragraph(format!(
            "Without annealing {lost} of {} seeds end with less than a tenth of the samples in one of the \
             wings. This is reported and not a gate.",
            groups[0].len()
        ));
    }
}

/// The larger number; none if one is none.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn banana(run: &mut Run<'_>, name: &str, group: &[Fitted]) {
    let of = |f: &dyn Fn(&Fitted) -> f64| group.iter().map(f).collect::<Vec<f64>>();
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let mmd = of(&|fitted| fitted.last().mmd);
    run.check(Check::new(
        format!("banana, {name}: MMD^2 below 0.006 in every seed"),
        mmd.iter().all(|mmd| *mmd < 0.006),
        all(&mmd),
    ));
    let apart = of(&|fitted| {
        let [a, b] = fitted.last().mean;
        larger((a - 1.0).abs(), b.abs())
    });
    run.check(Check::new(
        format!("banana, {name}: means within 0.2 in every seed"),
        apart.iter().all(|error| *error < 0.2),
        format!("largest error {}", format_number(most(&apart))),
    ));
    let ratio = of(&|fitted| {
        let [a, b] = fitted.last().variance;
        larger((a / 3.0 - 1.0).abs(), (b / 4.0 - 1.0).abs())
    });
    run.check(Check::new(
        format!("banana, {name}: variances within 25 % in every seed"),
        ratio.iter().all(|error| *error < 0.25),
        format!("largest error {} %", format_number(100.0 * most(&ratio))),
    ));
}

fn kidney(run: &mut Run<'_>, group: &[Fitted]) {
    let of = |f: &dyn Fn(&Fitted) -> f64| group.iter().map(f).collect::<Vec<f64>>();
    let (mmd, right) = (of(&|fitted| fitted.last().mmd), of(&|fitted| fitted.last().right));
    run.check(Check::new(
        "kidney, linear 4: MMD^2 below 0.02 in every seed",
        mmd.iter().all(|mmd| *mmd < 0.02),
        all(&mmd),
    ));
    run.check(Check::new(
        "kidney, linear 4: share with x1 > 0 within 0.42 and 0.58 in every seed",
        right.iter().all(|share| (0.42..=0.58).contains(share)),
        all(&right),
    ));
}

fn constant(run: &mut Run<'_>, plane: Plane, name: &str, group: &[Fitted]) {
    let error: Vec<f64> = group.iter().map(|fitted| fitted.log_z - plane.log_z()).collect();
    let effective: Vec<f64> = group.iter().map(|fitted| fitted.effective).collect();
    run.check(Check::new(
        format!("{}, {name}: log Z within 0.05 from an effective share above 0.3", plane.name()),
        error.iter().all(|error| error.abs() < 0.05) && effective.iter().all(|e| *e > 0.3),
        format!("errors {}, shares {}", all(&error), all(&effective)),
    ));
}
