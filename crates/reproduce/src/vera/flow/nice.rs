//! Runs Table 2 and draws it.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{
    super::{
        methods::Method,
        seeds::{all, mean, mean_error, seeds},
    },
    data::{FlowData, Size},
    fit::{Fit, Fitted},
    outcome,
    settings::{FlowSettings, measures, published, resolve},
};
use crate::{
    error::Result,
    limits::beside,
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Request,
    results::Metric,
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
    training::cells,
};

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    resolve(request)?.data(request).map(drop)
}

/// What a method gave, one training a seed.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) method: &'a Method,
    pub(super) fits: &'a [Fitted],
}

impl Row<'_> {
    /// The tail of every seed.
    pub(super) fn tails(&self) -> Vec<f64> {
        self.fits.iter().map(Fitted::tail).collect()
    }

    fn selected(&self) -> Vec<f64> {
        self.fits.iter().map(|fitted| fitted.selected().test).collect()
    }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let data = Arc::new(settings.data(run.request)?);
    let methods = settings.methods();
    let mut trainings = Vec::new();
    for (name, method) in &methods {
        for seed in seeds(run.request.seed, settings.seeds) {
            let fit = Fit {
                name: name.clone(),
                model: settings.model(data.dim()),
                method: method.clone(),
                seed,
                updates: settings.updates,
                batch_size: settings.batch_size,
                looks: settings.looks,
                shown: settings.shown,
                generated: settings.generated,
                digest: data.digest(),
            };
            trainings.push(fit.cell(Arc::clone(&data), run.request.device.clone())?);
        }
    }
    let fitted = cells(run, "train", trainings)?;
    let rows: Vec<Row<'_>> = methods
        .iter()
        .zip(fitted.chunks(settings.seeds))
        .map(|((name, method), fits)| Row { name, method, fits })
        .collect();
    introduction(run, &settings, &data, &rows);
    likelihoods(run, &settings, &rows);
    generators(run, &rows);
    curves(run, &rows)?;
    sheets(run, &settings, &data, &rows)?;
    outcome::tell(run, &rows);
    Ok(())
}

fn introduction(run: &mut Run<'_>, settings: &FlowSettings, data: &FlowData, rows: &[Row<'_>]) {
    let untrained: Vec<f64> = rows
        .iter()
        .take(1)
        .flat_map(|row| row.fits.iter().filter_map(|fitted| Some(fitted.looks.first()?.test)))
        .collect();
    run.paragraph(format!(
        "Exact log-likelihood of held-out digits as logits, nats, D = {}, {} training, {} validation and \
         {} test examples; no Jacobian of the logit is added. Every method makes {} updates of {} \
         examples. The final value is the mean of the last five of {} looks, the selected one is the test \
         value where validation was best. Seeds in brackets. Untrained: {}.",
        data.dim(),
        data.train.len(),
        data.validation.len(),
        data.test.len(),
        settings.updates,
        settings.batch_size,
        settings.looks,
        all(&untrained)
    ));
    let comparable = match settings.size {
        Size::Mnist28 => "",
        _ => " These digits are smaller, so that its numbers cannot be compared, only their order.",
    };
    run.paragraph(format!(
        "Published are the numbers of Table 2 for MNIST of 28x28.{comparable} \"Quoted\" ones were taken \
         from Song et al. 2020, with 100 epochs and a choice by validation. The published PCD and DSM are \
         the best of a search over noises; every noise stands beside them. The published VERA-HMC ran with \
         the gradient of the code; both stand beside it."
    ));
    if measures(run.request) && settings.size != Size::Mnist28 {
        run.paragraph(
            "Rates were fixed before any of these numbers was seen and not searched on this test set: \
             those of maximum likelihood, VERA and PCD are of an earlier trial of a prototype on 8x8 \
             digits with one seed, MEG and CoopNets have those of VERA, the score matching methods that \
             of maximum likelihood.",
        );
    }
}

fn likelihoods(run: &mut Run<'_>, settings: &FlowSettings, rows: &[Row<'_>]) {
    let may = measures(run.request) && settings.size == Size::Mnist28;
    let mut table = Table::new([
        ("method", Align::Left),
        ("final", Align::Right),
        ("selected", Align::Right),
        ("published", Align::Right),
        ("diverged", Align::Right),
        ("ms an update", Align::Right),
    ]);
    for row in rows {
        let (tails, selected) = (row.tails(), row.selected());
        let theirs = published(row.method);
        let updates: usize = row.fits.iter().map(|fitted| fitted.updates).sum();
        let seconds: f64 = row.fits.iter().map(|fitted| fitted.seconds).sum();
        let ms = 1e3 * seconds / updates.max(1) as f64;
        table.row([
            row.name.to_owned(),
            all(&tails),
            all(&selected),
            theirs.map_or(String::new(), |(value, quoted)| {
                format!("{value}{}", if quoted { " (quoted)" } else { "" })
            }),
            diverged(row.fits),
            format_number(ms),
        ]);
        for (what, values) in [("final", &tails), ("selected", &selected)] {
            let name = format!("log_likelihood_{what}_{}", row.name);
            let mut metric = Metric::new(name, mean(values), "nats").n(values.len());
            if let Some(error) = mean_error(values) {
                metric = metric.std_error(error);
            }
            run.metric(match theirs {
                Some((theirs, _)) => beside(metric, theirs, may),
                None => metric,
            });
        }
        run.metric(Metric::new(format!("update_ms_{}", row.name), ms, "ms"));
    }
    run.table(table);
}

/// How many seeds diverged, and where.
fn diverged(fits: &[Fitted]) -> String {
    let at: Vec<String> =
        fits.iter().filter_map(|fitted| Some(fitted.diverged?.to_string())).collect();
    match at.len() {
        0 => "0".into(),
        n => format!("{n} (at update {})", at.join(", ")),
    }
}

/// What the flow says of its generator.
fn generators(run: &mut Run<'_>, rows: &[Row<'_>]) {
    let mut table = Table::new([
        ("method", Align::Left),
        ("f of generator samples", Align::Right),
        ("E_data f - E_q f", Align::Right),
    ]);
    let mut any = false;
    for row in rows {
        let generated: Vec<f64> = row.fits.iter().filter_map(|fitted| fitted.generated).collect();
        if generated.is_empty() {
            continue;
        }
        any = true;
        let gaps: Vec<f64> = row.fits.iter().filter_map(Fitted::gap).collect();
        table.row([row.name.to_owned(), all(&generated), all(&gaps)]);
        let names = [
            (format!("generator_log_likelihood_{}", row.name), &generated),
            (format!("gap_{}", row.name), &gaps),
        ];
        for (name, values) in names {
            run.metric(Metric::new(name, mean(values), "nats").n(values.len()));
        }
    }
    if any {
        run.paragraph(
            "The flow's log-likelihood of what its generator makes at the end, and that of test digits \
             minus it. A negative gap: the flow finds the generator's samples more likely than digits, as \
             near its modes. A large one: the generator has lost the flow.",
        );
        run.table(table);
    }
}

/// Likelihood over updates of the first seed: players and chains, score matching.
fn curves(run: &mut Run<'_>, rows: &[Row<'_>]) -> Result<()> {
    let score = |row: &Row<'_>| matches!(row.method, Method::Score(_) | Method::Curvature(_));
    let likelihood = |row: &Row<'_>| matches!(row.method, Method::Likelihood(_));
    let groups: [(&str, &str, bool); 2] = [
        ("curves-players", "Players and chains", false),
        ("curves-score-matching", "Score matching", true),
    ];
    for (name, title, wanted) in groups {
        let mut plot = Plot::new(title, "update", "- log-likelihood, nats").log_y();
        for row in rows.iter().filter(|row| likelihood(row) || score(row) == wanted) {
            let Some(first) = row.fits.first() else { continue };
            let points = first.looks.iter().map(|look| (look.update as f64, -look.test));
            plot.series(Series::line(row.name, points));
        }
        let caption = "Test digits, the first seed, negative log-likelihood on a logarithmic axis: lower is \
                       better.";
        run.plot(name, &plot, caption)?;
    }
    Ok(())
}

/// Rows of samples of the first seed below a row of digits.
fn sheets(
    run: &mut Run<'_>,
    settings: &FlowSettings,
    data: &FlowData,
    rows: &[Row<'_>],
) -> Result<()> {
    let shown = settings.shown.min(data.test.len());
    let indices: Vec<usize> = (0..shown).collect();
    let mut noise = run.request.stream().child("shown").host_noise();
    let digits = data.logits(&data.test, &indices, &mut noise, &Device::Cpu)?;
    let digits = datasets::sigmoid(&digits.flatten_all()?.to_vec1::<f32>()?);
    let [_, height, width] = data.event();
    let sheet = Sheet { columns: shown, ..Sheet::new(1, height, width) };
    let sheet = Sheet { scale: (40 / height.max(1)).max(2), ..sheet };
    let pictures: [(&str, &str, Samples); 2] = [
        ("flow-samples", "Exact samples of the flows", flow_samples),
        ("generator-samples", "Samples of the generators", generator_samples),
    ];
    for (name, what, samples) in pictures {
        let (mut values, mut names) = (digits.clone(), vec!["test digits".to_owned()]);
        for row in rows {
            let Some(own) = row.fits.first().and_then(samples) else { continue };
            values.extend_from_slice(&own[..(shown * data.dim()).min(own.len())]);
            names.push(row.name.to_owned());
        }
        let n = values.len() / data.dim();
        let images = Tensor::from_vec(values, (n, data.dim()), &Device::Cpu)?;
        let caption =
            format!("{what} as pixels, the first seed, from above: {}.", names.join("; "));
        run.sheet(name, &sheet, &images, &caption)?;
    }
    Ok(())
}

type Samples = fn(&Fitted) -> Option<&[f32]>;

fn flow_samples(fitted: &Fitted) -> Option<&[f32]> {
    Some(&fitted.flow_samples)
}

fn generator_samples(fitted: &Fitted) -> Option<&[f32]> {
    fitted.generator_samples.as_deref()
}
