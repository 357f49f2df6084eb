//! The control task of appendix J.3: a swimmer of three links learns to swim.

mod learn;
mod picture;
mod report;
mod settings;
#[cfg(test)]
mod tests;

use std::f64::consts::{FRAC_PI_2, FRAC_PI_3};

use candle_core::Device;
use variational_annealing::{
    soft_q::{Gait, RandomActions, SoftQ, episodes},
    swimmer::Swimmer,
};

use self::{
    learn::{Fit, Learned, Swum, evaluation},
    picture::{View, strip, swimmers},
    settings::SwimmerSettings,
};
use crate::{
    error::Result,
    registry::Experiment,
    results::Check,
    run::Run,
    seeds::seeds,
    training::{cells, json, name},
};

/// Appendix J.3: soft Q-learning with policies from an unnormalised density.
pub(super) const SWIMMER: Experiment = Experiment {
    id: "swimmer",
    anchor: "Appendix J.3",
    title: "Soft Q-learning on the swimmer: U-GAN, amortised SVGD, a Gaussian",
    headline: false,
    data: "none",
    time: ["2 s", "5 min", "1 day"],
    settings: settings::settings,
    ready: |_| Ok(()),
    run,
};

/// Open-loop gaits: name, period in s, lag in rad, and the return of 200 steps from rest that the
/// reference program of the equations of motion gives.
const GAITS: [(&str, Gait, f64); 4] = [
    ("gait, period 2.5 s, lag pi/3", Gait { period: 2.5, lag: FRAC_PI_3 }, 13.2212),
    ("gait, period 3 s, lag pi/2", Gait { period: 3.0, lag: FRAC_PI_2 }, 8.0491),
    ("gait, period 2 s, lag -pi/2", Gait { period: 2.0, lag: -FRAC_PI_2 }, 0.5531),
    ("gait, period 1 s, lag pi/2", Gait { period: 1.0, lag: FRAC_PI_2 }, -3.7932),
];
/// Steps of those.
const GAIT_STEPS: usize = 200;
/// Frames a second: a step lasts 0.05 s.
const FRAMES: u16 = 20;
/// Steps that are shown at most, and pictures of a strip.
const SHOWN: usize = 200;
const PICTURES: usize = 8;

/// What everything is compared with.
struct Baselines {
    random: Swum,
    gaits: Vec<Swum>,
}

/// Everything of one policy.
struct Policy {
    name: String,
    /// One a seed.
    trained: Vec<Learned>,
}

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = settings::resolve(run.request)?;
    let baselines = baselines(run, &settings)?;
    let mut fits = Vec::new();
    for policy in &settings.policies {
        for seed in seeds(run.request.seed, settings.seeds) {
            fits.push(Fit::of(&settings, policy, seed)?);
        }
    }
    let keys = fits.iter().map(json).collect::<Result<Vec<_>>>()?;
    let device = run.request.device.clone();
    let trainings = fits.into_iter().map(|fit| fit.cell(device.clone())).collect::<Result<_>>()?;
    let mut trained = cells(run, "train", trainings)?.into_iter();
    let policies: Vec<Policy> = settings
        .policies
        .iter()
        .map(|name| Policy {
            name: name.clone(),
            trained: trained.by_ref().take(settings.seeds).collect(),
        })
        .collect();
    for (policy, keys) in settings.policies.iter().zip(keys.chunks(settings.seeds)) {
        keep(run, policy, &keys[0])?;
    }
    report::report(run, &settings, &baselines, &policies)?;
    pictures(run, &policies)
}

/// Random actions and gaits from the same resets, and gaits from rest beside their golden returns.
fn baselines(run: &mut Run<'_>, settings: &SwimmerSettings) -> Result<Baselines> {
    let sizes = [settings.episodes, settings.path];
    let device = &run.request.device;
    let seed = evaluation(run.request.seed);
    let random = episodes(&RandomActions, sizes, device, &mut seed.host_noise())?;
    let mut gaits = Vec::new();
    for (_, gait, _) in GAITS {
        gaits.push(Swum::of(&episodes(&gait, sizes, device, &mut seed.host_noise())?));
    }
    for (name, gait, golden) in GAITS {
        let sum: f64 = from_rest(gait, GAIT_STEPS)?.iter().map(|(_, reward)| reward).sum();
        let name = format!("{name}: return of {GAIT_STEPS} steps from rest");
        run.check(Check::close(name, sum, golden, 1e-2));
    }
    Ok(Baselines { random: Swum::of(&random), gaits })
}

/// The swimmer after every action of a gait, with the reward.
fn from_rest(gait: Gait, steps: usize) -> Result<Vec<(Swimmer, f64)>> {
    let mut swimmer = Swimmer::at([0.0; 5], [0.0; 5]);
    let one = |step: usize| -> Result<(Swimmer, f64)> {
        let reward = swimmer.step(gait.at(step))?;
        Ok((swimmer, reward))
    };
    (0..steps).map(one).collect()
}

/// Copies the model of a training into the run directory.
fn keep(run: &Run<'_>, policy: &str, key: &String) -> Result<()> {
    let name = name(run.request, std::slice::from_ref(key))?;
    let Some(dir) = run.request.trained.borrow().get(&name).cloned() else { return Ok(()) };
    let learner = SoftQ::load(&dir.join("model"), &Device::Cpu)?;
    Ok(learner.save(&run.dir().checkpoints().join(policy))?)
}

/// Strips and animations of the first gait and of the best learned episode.
fn pictures(run: &mut Run<'_>, policies: &[Policy]) -> Result<()> {
    run.heading("Pictures");
    let (name, gait, _) = GAITS[0];
    let mut swum = vec![Swimmer::at([0.0; 5], [0.0; 5])];
    swum.extend(from_rest(gait, SHOWN)?.into_iter().map(|(swimmer, _)| swimmer));
    show(run, "gait", &swum, &format!("The {name}, from rest"))?;
    let all = policies.iter().flat_map(|policy| {
        let runs = policy.trained.iter().flat_map(|t| [&t.sampled, &t.greedy]);
        runs.map(move |swum| (policy.name.as_str(), swum))
    });
    let highest = |swum: &Swum| swum.returns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let best = all.max_by(|a, b| highest(a.1).total_cmp(&highest(b.1)));
    if let Some((name, swum)) = best {
        let caption =
            format!("The best episode of a learned policy ({name}, return {:.1})", highest(swum));
        show(run, "learned", &swimmers(&swum.best), &caption)?;
    }
    Ok(())
}

/// A strip of eight moments, and an animation, of the first ten seconds.
fn show(run: &mut Run<'_>, name: &str, swum: &[Swimmer], caption: &str) -> Result<()> {
    let shown = &swum[..swum.len().min(SHOWN + 1)];
    let last = shown.len() - 1;
    let moments: Vec<usize> = (0..PICTURES).map(|i| i * last / (PICTURES - 1)).collect();
    let each = 0.05 * last as f64 / (PICTURES - 1) as f64;
    let text = format!(
        "{caption}: every {each:.2} s, row by row, lines of the ground 0.5 m apart, the head's link dark, the \
         path of the centre of mass in orange."
    );
    let frames = View::around(shown, 360).frames(shown, &moments);
    run.picture(&format!("{name}-strip"), &strip(&frames, 2), &text)?;
    let all: Vec<usize> = (0..shown.len()).step_by(2).collect();
    let frames = View::around(shown, 420).frames(shown, &all);
    let text = format!("{caption}, in real time.");
    run.animation(&format!("{name}-moving"), (&frames, FRAMES / 2), &text)
}
