//! Figure 5: faces whose top half is known, completed several times.

use candle_core::{DType, Device, Tensor};
use infusion::{InfusionModel, SampleOptions, inpaint};
use serde::{Deserialize, Serialize};

use super::{super::data::Images, ROUNDING, Set, Settings, extremes, mean_square, trained};
use crate::{
    error::Result,
    report::{Align, Table},
    request::Request,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Grey of the unknown half on the sheet.
const UNKNOWN: f64 = 0.5;

/// What is completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    /// Test images.
    faces: usize,
    /// Completions of each.
    completions: usize,
    /// Steps of a chain; T as trained.
    sample_steps: usize,
}

fn resolve(request: &Request) -> Result<Settings<Shown>> {
    let sample_steps = Set::CelebA.training(request.scale).steps;
    let scale = request.scale;
    let shown =
        Shown { faces: scale.pick(2, 10, 10), completions: scale.pick(2, 6, 6), sample_steps };
    Settings::resolve(request, Set::CelebA, shown)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Set::CelebA, &settings.train)?;
    let seed = run.request.stream().child("inpainting");
    let model = &trained.model;
    let n = settings.shown.faces;
    let x = images.first(&images.test, n, seed.child("test"), model.device())?;
    let mask = top_half(images.event(), n, model.device())?;
    let found = complete(run, model, &x, &mask, &settings.shown)?;
    report(run, &found, &x)?;
    errors(run, &found, &x, &mask, &trained.moments.mean())?;
    show(run, &images, &found, &x, &mask)
}

/// One where a row is in the top half, for every channel: u8, `(n, D)`.
pub(super) fn top_half(
    [channels, height, width]: [usize; 3],
    n: usize,
    device: &Device,
) -> Result<Tensor> {
    let plane = |at: usize| u8::from(at / width < height / 2);
    let one: Vec<u8> = (0..channels).flat_map(|_| (0..height * width).map(plane)).collect();
    let d = one.len();
    Ok(Tensor::from_vec(one, (1, d), device)?.broadcast_as((n, d))?.contiguous()?)
}

/// Several completions of the same images.
struct Completions {
    /// Means of the last step with the known half put back, `(n, D)` each.
    means: Vec<Tensor>,
    /// Steps after which a known pixel had other bits.
    altered: usize,
    /// All steps.
    steps: usize,
}

fn complete(
    run: &Run<'_>,
    model: &InfusionModel,
    x: &Tensor,
    mask: &Tensor,
    shown: &Shown,
) -> Result<Completions> {
    let seed = run.request.stream().child("inpainting").child("restart");
    let mut found = Completions { means: Vec::new(), altered: 0, steps: 0 };
    for restart in 0..shown.completions {
        let mut noise = seed.indexed(restart as u64).host_noise();
        let options = SampleOptions::new(shown.sample_steps);
        let last = inpaint(model, x, mask, &options, &mut noise, |_, generated| {
            found.steps += 1;
            found.altered += usize::from(!keeps(&generated.position, x, mask)?);
            Ok(())
        })?;
        found.steps += 1;
        found.altered += usize::from(!keeps(&last.mean, x, mask)?);
        found.means.push(last.mean);
    }
    Ok(found)
}

/// Has `state` the bits of `x` wherever `mask` is not zero?
pub(super) fn keeps(state: &Tensor, x: &Tensor, mask: &Tensor) -> candle_core::Result<bool> {
    let known = mask.flatten_all()?.to_vec1::<u8>()?;
    let (state, x) = (state.flatten_all()?, x.flatten_all()?);
    let (state, x) = (state.to_vec1::<f32>()?, x.to_vec1::<f32>()?);
    let same = |((a, b), known): ((&f32, &f32), &u8)| *known == 0 || a.to_bits() == b.to_bits();
    Ok(state.iter().zip(&x).zip(&known).all(same))
}

fn report(run: &mut Run<'_>, found: &Completions, x: &Tensor) -> Result<()> {
    run.check(Check::new(
        "known pixels keep their bits at every step",
        found.altered == 0,
        format!("{} of {} states altered", found.altered, found.steps),
    ));
    let all = Tensor::stack(&found.means, 0)?;
    let (low, high) = extremes(&all)?;
    run.check(Check::new(
        "completions are pixels",
        low >= 0.0 && high <= 1.0,
        format!("from {low:.3} to {high:.3}"),
    ));
    if found.means.len() > 1 {
        // The known half adds nothing.
        let centred = all.broadcast_sub(&all.mean_keepdim(0)?)?;
        let deviation = (2.0 * f64::from(centred.sqr()?.mean_all()?.to_scalar::<f32>()?)).sqrt();
        let n = x.dim(0)?;
        run.metric(Metric::new("completion_deviation", deviation, "of [0, 1]").n(n));
        run.check(Check::new(
            "completions of one image differ",
            deviation > ROUNDING,
            format!("standard deviation {deviation:.4} of an unknown pixel"),
        ));
    }
    Ok(())
}

/// Mean squared error of the unknown half, beside that of the mean training image.
fn errors(
    run: &mut Run<'_>,
    found: &Completions,
    x: &Tensor,
    mask: &Tensor,
    mean: &[f64],
) -> Result<()> {
    let unknown = mask.to_dtype(DType::F32)?.affine(-1.0, 1.0)?;
    let share = f64::from(unknown.mean_all()?.to_scalar::<f32>()?);
    let error = |guess: &Tensor| -> Result<f64> {
        Ok(mean_square(&(guess * &unknown)?, &(x * &unknown)?)? / share)
    };
    let each = found.means.iter().map(&error).collect::<Result<Vec<_>>>()?;
    let ours = each.iter().sum::<f64>() / each.len().max(1) as f64;
    let mean: Vec<f32> = mean.iter().map(|v| *v as f32).collect();
    let mean = Tensor::from_vec(mean, (1, x.dim(1)?), x.device())?.broadcast_as(x.shape())?;
    let baseline = error(&mean)?;
    let n = x.dim(0)?;
    run.metric(
        Metric::new("completion_squared_error", ours, "per pixel")
            .n(n)
            .setting("completions", found.means.len()),
    );
    run.metric(Metric::new("mean_image_squared_error", baseline, "per pixel").n(n));
    run.heading("Completions (Figure 5)");
    run.paragraph(
        "A completion is one draw among many, so the mean image may have the lower squared error: \
         the table says how far apart they are, not which is better.",
    );
    let mut table =
        Table::new([("Unknown half from", Align::Left), ("squared error per pixel", Align::Right)]);
    table.row(["a completion".to_owned(), format!("{ours:.4}")]);
    table.row(["the mean training image".to_owned(), format!("{baseline:.4}")]);
    run.table(table);
    Ok(())
}

/// Rows: the image, what is known of it, its completions.
fn show(
    run: &mut Run<'_>,
    images: &Images,
    found: &Completions,
    x: &Tensor,
    mask: &Tensor,
) -> Result<()> {
    let [channels, height, width] = images.event();
    let grey = x.zeros_like()?.affine(0.0, UNKNOWN)?;
    let mut columns = vec![x.clone(), mask.where_cond(x, &grey)?];
    columns.extend(found.means.iter().cloned());
    let sheet = Sheet { columns: columns.len(), lead: 2, ..Sheet::new(channels, height, width) };
    // One row an image: (n, columns, D) in order.
    let (n, d) = x.dims2()?;
    let rows = Tensor::stack(&columns, 1)?.reshape((n * columns.len(), d))?;
    run.sheet(
        "completions",
        &sheet,
        &rows,
        "Each row: a test image, its known half, completions; the unknown half shows means of the \
         last step.",
    )
}
