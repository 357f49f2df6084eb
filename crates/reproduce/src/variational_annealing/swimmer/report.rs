//! What the learners are told by: returns beside those of random actions and gaits.

use super::{
    Baselines, GAITS, Policy,
    learn::{Learned, Look, Swum},
    settings::{ANNEALED, SwimmerSettings},
};
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    report::{Align, Table, format_number, format_with_error},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    seeds::{mean, mean_error},
};

/// Standard errors by which a learned return must exceed a random one.
const ERRORS: f64 = 3.0;

/// Which of the episodes of a learner.
type Episodes = fn(&Learned) -> &Swum;

/// Mean and its standard error.
fn moments(values: &[f64]) -> [f64; 2] {
    [mean(values), mean_error(values).unwrap_or(0.0)]
}

fn shown(values: &[f64]) -> String {
    let [mean, error] = moments(values);
    format_with_error(mean, error)
}

/// The numbers of all seeds together.
fn pooled(policy: &Policy, of: Episodes, what: fn(&Swum) -> &[f64]) -> Vec<f64> {
    policy.trained.iter().flat_map(|learned| what(of(learned)).to_vec()).collect()
}

fn returns(swum: &Swum) -> &[f64] {
    &swum.returns
}

fn ways(swum: &Swum) -> &[f64] {
    &swum.ways
}

/// By how many standard errors of their difference are returns above the random ones?
fn above(found: &[f64], random: &[f64]) -> f64 {
    let ([a, ea], [b, eb]) = (moments(found), moments(random));
    (a - b) / ea.hypot(eb)
}

pub(super) fn report(
    run: &mut Run<'_>,
    settings: &SwimmerSettings,
    baselines: &Baselines,
    policies: &[Policy],
) -> Result<()> {
    run.paragraph(words(settings));
    table(run, settings, baselines, policies);
    curves(run, settings, baselines, policies)?;
    costs(run, settings, policies);
    let all: Vec<f64> = policies
        .iter()
        .flat_map(|policy| {
            let of = |learned: Episodes| pooled(policy, learned, returns);
            [of(|l| &l.sampled), of(|l| &l.greedy)].concat()
        })
        .collect();
    finite_check(run, "returns", &all);
    let broken = |policy: &&Policy| policy.trained.iter().any(|learned| learned.diverged.is_some());
    let broken: Vec<&str> = policies.iter().filter(broken).map(|p| p.name.as_str()).collect();
    run.check(Check::new("no learner broke off", broken.is_empty(), broken.join(", ")));
    Ok(())
}

fn words(settings: &SwimmerSettings) -> String {
    let updates = (settings.steps.saturating_sub(settings.begin)).div_ceil(settings.update_every);
    let annealed = if settings.policies.iter().any(|name| name == ANNEALED) {
        format!(
            "The weight of the entropy form of {ANNEALED} falls from {} to zero over the first 80 % of the \
             steps, so that beta = 1 / (1 + lambda) rises to one; the others have lambda = 0.",
            format_number(settings.lambda)
        )
    } else {
        "There is no annealing (lambda = 0, beta = 1).".into()
    };
    let rhythm = match settings.update_every {
        1 => "one a step".to_owned(),
        n => format!("one every {n} steps"),
    };
    let SwimmerSettings { steps, begin, target_every, path, episodes, seeds, .. } = settings;
    format!(
        "{steps} steps in the environment for each learner, the first {begin} with uniform actions, then \
         {updates} updates of Q and policy, {rhythm}; Q becomes its own target every {target_every} updates \
         (1000 in the public soft Q-learning code, which makes 500,000 steps). Returns are sums of rewards, \
         velocities in m/s less the price of actions, over {path} steps of 0.05 s; a return times 0.05 is about the \
         way in m. All actors start from the same {episodes} resets (further seeds of learners from their own); errors are standard errors over \
         episodes, for learners those of all seeds ({seeds}). {annealed} The paper's own curves could not be \
         recovered."
    )
}

fn table(
    run: &mut Run<'_>,
    settings: &SwimmerSettings,
    baselines: &Baselines,
    policies: &[Policy],
) {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("actor".to_owned(), Align::Left),
        right(&format!("return of {} steps", settings.path)),
        right("way, m"),
        right("errors above random"),
    ]);
    let random = &baselines.random.returns;
    let mut row = |run: &mut Run<'_>, name: &str, id: &str, returns: &[f64], ways: &[f64]| {
        let [value, error] = moments(returns);
        let errors = above(returns, random);
        let errors = if id == "random" { "".into() } else { format!("{errors:.1}") };
        table.row([name.to_owned(), shown(returns), shown(ways), errors]);
        let metric = Metric::new(format!("return_{id}"), value, "m/s").std_error(error);
        run.metric(metric.n(returns.len()).setting("steps", settings.path));
    };
    row(run, "uniform actions", "random", random, &baselines.random.ways);
    for ((name, gait, _), swum) in GAITS.iter().zip(&baselines.gaits) {
        let id = format!("gait_{}", format_number(gait.period));
        row(run, name, &id, &swum.returns, &swum.ways);
    }
    for policy in policies {
        let kinds: [(&str, Episodes); 2] = [("drawn", |l| &l.sampled), ("greedy", |l| &l.greedy)];
        for (kind, of) in kinds {
            let (found, ways) = (pooled(policy, of, returns), pooled(policy, of, ways));
            let words = match kind {
                "greedy" => {
                    format!("{}, best of {} draws by Q", policy.name, settings.greedy_draws)
                }
                _ => format!("{}, actions drawn", policy.name),
            };
            row(run, &words, &format!("{}_{kind}", policy.name), &found, &ways);
        }
    }
    run.table(table);
    for policy in policies.iter().filter(|_| run.request.scale != Scale::Smoke) {
        let found = pooled(policy, |l| &l.sampled, returns);
        let errors = above(&found, random);
        let detail = format!("{} beside {}: {errors:.1} errors", shown(&found), shown(random));
        if policy.name == "u-gan" {
            let name = "u-gan: the learned return exceeds the random one by three standard errors";
            run.check(Check::new(name, errors > ERRORS, detail));
        }
    }
}

/// Returns on the way with their standard errors.
fn curves(
    run: &mut Run<'_>,
    settings: &SwimmerSettings,
    baselines: &Baselines,
    policies: &[Policy],
) -> Result<()> {
    let title = format!("Returns of {} steps", settings.path);
    let mut plot = Plot::new(title, "step in the environment", "return, m/s");
    for policy in policies {
        let (mut points, mut errors) = (Vec::new(), Vec::new());
        let longest = policy.trained.iter().max_by_key(|learned| learned.looks.len());
        for at in 0..longest.map_or(0, |learned| learned.looks.len()) {
            let looks: Vec<&Look> =
                policy.trained.iter().filter_map(|learned| learned.looks.get(at)).collect();
            let all: Vec<f64> = looks.iter().flat_map(|look| look.returns.clone()).collect();
            let [value, error] = moments(&all);
            points.push((looks[0].step as f64, value));
            errors.push(error);
        }
        plot.series(Series::line(policy.name.clone(), points).errors(errors));
    }
    plot.reference("uniform actions", mean(&baselines.random.returns));
    plot.reference("gait, period 2.5 s", mean(&baselines.gaits[0].returns));
    let caption = format!(
        "Actions drawn from the policies; bars are standard errors over {} episodes.",
        settings.look_episodes * settings.seeds
    );
    run.plot("returns", &plot, &caption)
}

/// What time went into, and the last losses.
fn costs(run: &mut Run<'_>, settings: &SwimmerSettings, policies: &[Policy]) {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        ("learner".to_owned(), Align::Left),
        right("updates"),
        right("ms a step"),
        right("of it in the environment"),
        right("mean Q at the end"),
        right("loss of Q"),
        right("broke at step"),
    ]);
    for policy in policies {
        for learned in &policy.trained {
            let last = learned.looks.last();
            let of = |name: &str| last.and_then(|look| look.means.get(name)).copied();
            let number = |value: Option<f64>| value.map_or_else(String::new, format_number);
            let each = learned.seconds.map(|seconds| 1e3 * seconds / settings.steps as f64);
            table.row([
                policy.name.clone(),
                learned.updates.to_string(),
                format_number(each[0]),
                format_number(each[1]),
                number(of("q")),
                number(of("q_loss")),
                learned.diverged.map_or_else(|| "no".into(), |step| step.to_string()),
            ]);
        }
    }
    run.table(table);
}
