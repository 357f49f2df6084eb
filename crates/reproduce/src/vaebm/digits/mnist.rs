//! Table 1 on MNIST: samples of the autoencoder, and of its product with an energy.

use vaebm::{ChainConfig, VaebmModel};

use super::{
    base::{Base, base, product},
    data::{Digits, judged_images},
    energy::{EnergyRecipe, TrainedEnergy, train_energy},
    health::{Row, checks, curves, health},
    samples::{Drawn, draw, watch},
    settings::DigitSettings,
};
use crate::{
    digit_scores::{Set, digit_scores},
    digits::{self, View, mnist_fid},
    error::Result,
    report::{Align, Table, format_number},
    request::Scale,
    results::Metric,
    run::Run,
    sheet::Sheet,
    training::took,
};

/// Steps from one column of the sheet of chains to the next.
const EVERY: usize = 2;
/// Rows of it.
const ROWS: usize = 10;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = DigitSettings::resolve(run.request)?;
    let variants = [Variant { name: "vaebm", stage: "train-energy", recipe: settings.energy() }];
    compare(run, &settings, &variants)
}

pub(super) fn run_buffer(run: &mut Run<'_>) -> Result<()> {
    let settings = DigitSettings::resolve_buffer(run.request)?;
    let variants = [
        Variant { name: "vaebm", stage: "train-energy", recipe: settings.energy() },
        Variant {
            name: "vaebm_buffer",
            stage: "train-energy-buffer",
            recipe: settings.energy_with_buffer(),
        },
    ];
    compare(run, &settings, &variants)
}

/// A way to train the energy.
struct Variant {
    /// In names of metrics and files.
    name: &'static str,
    stage: &'static str,
    recipe: EnergyRecipe,
}

/// An energy, chosen and made into a model.
struct Found {
    name: &'static str,
    model: VaebmModel,
    /// Seconds of an update.
    each: f64,
    drawn: Drawn,
}

fn compare(run: &mut Run<'_>, settings: &DigitSettings, variants: &[Variant]) -> Result<()> {
    let digits = Digits::load(run.request, settings.train_images, settings.validation_images)?;
    describe(run, settings);
    for variant in variants {
        buffer(run, variant);
    }
    let base = base(run, &digits, &settings.model, &settings.autoencoder())?;
    let mut all = Vec::new();
    let mut plain = None;
    for variant in variants {
        let found = fit(run, settings, &digits, &base, variant)?;
        if plain.is_none() {
            // The same seed: the two sets compare position by position.
            let none = ChainConfig { steps: 0, ..found.model.config().chains };
            plain = Some(samples(run, settings, &found.model, none)?);
        }
        all.push(found);
    }
    let Some(plain) = plain else { return Ok(()) };
    run.heading("Samples");
    sheet(
        run,
        settings,
        "autoencoder",
        &plain,
        "Samples of the autoencoder: chains without steps.",
    )?;
    for found in &all {
        let steps = found.model.config().chains.steps;
        let caption = format!(
            "Samples of `{}`: the same noise after {steps} steps, position by position.",
            found.name
        );
        sheet(run, settings, found.name, &found.drawn, &caption)?;
        chains(run, found)?;
    }
    let mut rows = vec![Row { name: "autoencoder", steps: 0, health: &plain.health, each: None }];
    rows.extend(all.iter().map(|found| Row {
        name: found.name,
        steps: found.model.config().chains.steps,
        health: &found.drawn.health,
        each: Some(found.each),
    }));
    health(run, &rows);
    scores(run, &plain, &all)
}

fn describe(run: &mut Run<'_>, settings: &DigitSettings) {
    let DigitSettings {
        train_images, validation_images, energy_width, updates, data_noise, ..
    } = settings;
    let train = &settings.energy_training;
    let shortened = match run.request.scale {
        Scale::Quick => {
            " Both trainings are shortened to minutes; the shipped model of `checkpoints/vaebm-mnist` was \
             trained for longer."
        }
        _ => "",
    };
    run.paragraph(format!(
        "The first {train_images} digits of the training file in a black frame of 32x32, the next \
         {validation_images} to follow and choose on. First a hierarchical autoencoder with Gaussian \
         pixels, dequantised digits; then, the autoencoder frozen, an energy of width {energy_width} by \
         {updates} updates of {} digits and as many chains of {} steps of {} in the noise space, {} potential. \
         Digits have noise of {data_noise} there, as samples have on black ground from the decoder's floor: \
         without it an energy tells the two apart by noise alone. Pictures are the decoder's means, clamped. The paper's table is of CIFAR-10 with networks a \
         hundred times as large; the digit networks' scores do not compare with its numbers.{shortened}",
        train.batch_size, train.chains.steps, train.chains.step_size, train.potential,
    ));
}

/// What is otherwise with a buffer.
fn buffer(run: &mut Run<'_>, Variant { name, recipe, .. }: &Variant) {
    let EnergyRecipe { train, updates, .. } = recipe;
    let Some(replay) = train.replay else { return };
    let reached = replay.probability_at(updates.saturating_sub(1));
    run.paragraph(format!(
        "Energy `{name}`: chains of {} steps of {} in training. A buffer keeps the ends of the last {} chains, \
         {}; a chain begins there with a probability that grows from 0 to {} over {} updates, and was \
         {reached:.2} in the last of the {updates} made.",
        train.chains.steps,
        train.chains.step_size,
        replay.capacity,
        if replay.pixels { "with the noise of pixels" } else { "without the noise of pixels" },
        replay.probability,
        replay.ramp,
    ));
}

/// Trains, chooses and draws.
fn fit(
    run: &mut Run<'_>,
    settings: &DigitSettings,
    digits: &Digits,
    base: &Base,
    variant: &Variant,
) -> Result<Found> {
    let Variant { name, stage, recipe } = variant;
    run.heading(format!("Energy `{name}`"));
    let trained = train_energy(run, digits, (&base.model, &base.name), recipe, stage)?;
    run.paragraph(took(trained.updates, trained.seconds));
    curves(run, name, &trained.curve)?;
    let model = choose(run, settings, digits, base, (&trained, recipe))?;
    let place = match variant.name {
        "vaebm" => "model".to_owned(),
        other => other.replace('_', "-"),
    };
    let dir = run.dir().checkpoints().join(place);
    if settings.half_precision {
        model.save_half(&dir)?
    } else {
        model.save(&dir)?
    }
    // Numbers are of the file.
    let model = VaebmModel::load(&dir, &run.request.device)?;
    let drawn = samples(run, settings, &model, model.config().chains)?;
    checks(run, name, trained.followed(), &drawn.health);
    let each = trained.seconds / trained.updates.max(1) as f64;
    let metric = Metric::new(format!("seconds_per_update_{name}"), each, "s");
    run.metric(metric.n(trained.updates));
    Ok(Found { name: variant.name, model, each, drawn })
}

/// The kept network whose samples are nearest to validation digits, or the last one.
fn choose(
    run: &mut Run<'_>,
    settings: &DigitSettings,
    digits: &Digits,
    base: &Base,
    (trained, recipe): (&TrainedEnergy, &EnergyRecipe),
) -> Result<VaebmModel> {
    let device = &run.request.device;
    if settings.choose_every == 0 {
        return product(run, base, trained.last(device)?, recipe);
    }
    let judge = digits::open(&run.request.root, device)?.swap_remove(0);
    let n = settings.choice_samples;
    let reference = View::of_set(&judge, &digits.validation.range(0..n), run.observer()?)?;
    let seed = run.request.stream().child("vaebm").child("choice");
    let mut table =
        Table::new([("updates", Align::Right), ("mnist-fid, validation", Align::Right)]);
    let mut best: Option<(f64, VaebmModel)> = None;
    let none = std::iter::once(None);
    for update in none.chain(trained.kept.iter().copied().map(Some)) {
        let energy = match update {
            Some(update) => trained.after(update, device)?,
            None => trained.last(device)?,
        };
        let model = product(run, base, energy, recipe)?;
        let chains = match update {
            Some(_) => model.config().chains,
            None => ChainConfig { steps: 0, ..model.config().chains },
        };
        let drawn = draw(&model, n, chains, seed, run.observer()?)?;
        let view = View::of_floats(&judge, &drawn.images, run.observer()?)?;
        let fid = mnist_fid(&view, &reference)?.value;
        let name = update.map_or("no chain".to_owned(), |update| update.to_string());
        table.row([name, format_number(fid)]);
        if update.is_some() && best.as_ref().is_none_or(|(least, _)| fid < *least) {
            best = Some((fid, model));
        }
    }
    run.paragraph(format!(
        "{n} samples after {} steps by networks kept along the way, beside {n} validation digits, network a; \
         the nearest is taken.",
        recipe.train.test_steps
    ));
    run.table(table);
    match best {
        Some((_, model)) => Ok(model),
        None => product(run, base, trained.last(device)?, recipe),
    }
}

fn samples(
    run: &mut Run<'_>,
    settings: &DigitSettings,
    model: &VaebmModel,
    chains: ChainConfig,
) -> Result<Drawn> {
    let seed = run.request.stream().child("generate");
    draw(model, settings.samples, chains, seed, run.observer()?)
}

fn sheet(
    run: &mut Run<'_>,
    settings: &DigitSettings,
    name: &str,
    drawn: &Drawn,
    caption: &str,
) -> Result<()> {
    let shown = drawn.images.narrow(0, 0, settings.shown)?;
    run.sheet(&format!("samples-{}", name.replace('_', "-")), &Sheet::of(&shown)?, &shown, caption)
}

fn chains(run: &mut Run<'_>, found: &Found) -> Result<()> {
    let seed = run.request.stream().child("chain-sheet");
    let watched = watch(&found.model, ROWS, found.model.config().chains, EVERY, seed)?;
    let steps: Vec<String> = watched.steps.iter().map(usize::to_string).collect();
    let caption =
        format!("Chains of `{}`, one a row, after {} steps.", found.name, steps.join(", "));
    run.chains(
        &format!("chains-{}", found.name.replace('_', "-")),
        [1, 28, 28],
        &watched.images,
        &caption,
    )?;
    let energies: Vec<String> = watched.energies.iter().map(|e| format_number(*e)).collect();
    run.paragraph(format!("Their mean energies: {} nats.", energies.join(", ")));
    Ok(())
}

/// The order of real digits and samples is checked; whether chains improve samples is reported.
fn scores(run: &mut Run<'_>, plain: &Drawn, all: &[Found]) -> Result<()> {
    let images = judged_images(run.request)?;
    let mut sets: Vec<Set<'_>> =
        all.iter().map(|found| (found.name, &found.drawn.images)).collect();
    sets.push(("autoencoder", &plain.images));
    // No order is expected of them.
    let beside = sets.split_off(1);
    digit_scores(run, &images, &sets, &beside)
}
