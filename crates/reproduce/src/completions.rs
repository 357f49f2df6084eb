//! Images whose top half is known, completed several times.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    HostNoise, Noise,
    chain::{Generated, Half, half_mask},
};

use crate::{
    arrays::{ROUNDING, extremes, mean_square},
    error::Result,
    images::Images,
    report::{Align, Table},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Grey of the unknown half on the sheet.
const UNKNOWN: f64 = 0.5;
/// Images and completions of each that the sheet has room for.
const SHOWN: [usize; 2] = [10, 8];

/// How much is completed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Tells several sets of completions of a run apart: stands before metrics and file names. Empty
    /// for the only one.
    pub(crate) name: &'static str,
    /// Does the method promise values from 0 to 1?
    pub(crate) bounded: bool,
    /// Test images, the first of them.
    pub(crate) images: usize,
    /// Completions of each, from independent chains.
    pub(crate) completions: usize,
}

/// Shown every step of a chain of completions.
pub(crate) type Visit<'a> = dyn FnMut(&Generated) -> chains_core::Result<()> + 'a;

/// Several completions of the same images.
struct Completions {
    /// The images, `(n, D)`.
    x: Tensor,
    /// Uniform noise of the same shape, to compare with.
    noise: Tensor,
    /// One where known, else zero: u8, `(n, D)`.
    mask: Tensor,
    /// Means of the last step with the known half put back, `(n, D)` each.
    means: Vec<Tensor>,
    /// States, and returned means, in which a known pixel had other bits.
    altered: usize,
    /// All of them.
    states: usize,
}

/// Completes test images below their top half: checks, errors beside those of the mean training
/// image, `(D)`, and a sheet.
///
/// `complete` runs one chain of the images `(n, D)` with their mask (u8), shows it every step, and
/// returns the last one.
///
/// # Errors
/// [`crate::Error::Usage`] if there are fewer test images.
pub(crate) fn completions(
    run: &mut Run<'_>,
    images: &Images,
    mean_image: &[f64],
    extent: Extent,
    mut complete: impl FnMut(
        [&Tensor; 2],
        &mut HostNoise,
        &mut Visit<'_>,
    ) -> chains_core::Result<Generated>,
) -> Result<()> {
    let seed = run.request.stream().child("inpainting");
    let device = &run.request.device;
    let x = images.first(&images.test, extent.images, seed.child("test"), device)?;
    let mask = top_half(images.event(), extent.images, device)?;
    let (mut means, mut altered, mut states) = (Vec::new(), 0, 0);
    for restart in 0..extent.completions {
        let mut noise = seed.child("restart").indexed(restart as u64).host_noise();
        let last = complete([&x, &mask], &mut noise, &mut |generated| {
            states += 1;
            altered += usize::from(!keeps(&generated.position, &x, &mask)?);
            Ok(())
        })?;
        states += 1;
        altered += usize::from(!keeps(&last.mean, &x, &mask)?);
        means.push(last.mean);
    }
    let noise = seed.child("noise").host_noise().uniform(x.shape(), x.dtype(), device)?;
    let found = Completions { x, noise, mask, means, altered, states };
    report(run, &found, extent)?;
    errors(run, &found, mean_image, extent)?;
    show(run, &found, images.event(), extent)
}

/// One where a row is in the top half, for every channel: u8, `(n, D)`.
fn top_half(event: [usize; 3], n: usize, device: &Device) -> candle_core::Result<Tensor> {
    let one = half_mask(Half::Top, event);
    let d = one.len();
    Tensor::from_vec(one, (1, d), device)?.broadcast_as((n, d))?.contiguous()
}

/// Has `state` the bits of `x` wherever `mask` is not zero?
fn keeps(state: &Tensor, x: &Tensor, mask: &Tensor) -> candle_core::Result<bool> {
    let known = mask.flatten_all()?.to_vec1::<u8>()?;
    let (state, x) = (state.flatten_all()?, x.flatten_all()?);
    let (state, x) = (state.to_vec1::<f32>()?, x.to_vec1::<f32>()?);
    let same = |((a, b), known): ((&f32, &f32), &u8)| *known == 0 || a.to_bits() == b.to_bits();
    Ok(state.iter().zip(&x).zip(&known).all(same))
}

/// One where unknown, else zero, and the share of ones.
fn unknown(mask: &Tensor) -> candle_core::Result<(Tensor, f64)> {
    let unknown = mask.to_dtype(DType::F32)?.affine(-1.0, 1.0)?;
    let share = f64::from(unknown.mean_all()?.to_scalar::<f32>()?);
    Ok((unknown, share))
}

/// Standard deviation of an unknown element over completions, `(n, D)` each. Equal completions
/// deviate by rounding only, less than [`ROUNDING`].
fn deviation(means: &[Tensor], mask: &Tensor) -> candle_core::Result<f64> {
    let (unknown, share) = unknown(mask)?;
    let all = Tensor::stack(means, 0)?;
    let centred = all.broadcast_sub(&all.mean_keepdim(0)?)?.broadcast_mul(&unknown)?;
    Ok((f64::from(centred.sqr()?.mean_all()?.to_scalar::<f32>()?) / share).sqrt())
}

/// A name behind the one of the set.
fn named(extent: Extent, name: &str) -> String {
    let Extent { name: set, .. } = extent;
    if set.is_empty() { name.to_owned() } else { format!("{name}_{set}") }
}

fn report(run: &mut Run<'_>, found: &Completions, extent: Extent) -> Result<()> {
    let of = if extent.name.is_empty() { String::new() } else { format!("{}: ", extent.name) };
    run.check(Check::new(
        format!("{of}known pixels keep their bits at every step"),
        found.altered == 0,
        format!("{} of {} states altered", found.altered, found.states),
    ));
    let (low, high) = extremes(&Tensor::cat(&found.means, 0)?)?;
    if extent.bounded {
        run.check(Check::new(
            format!("{of}completions are pixels"),
            low >= 0.0 && high <= 1.0,
            format!("from {low:.3} to {high:.3}"),
        ));
    }
    if found.means.len() > 1 {
        let deviation = deviation(&found.means, &found.mask)?;
        let n = found.x.dim(0)?;
        run.metric(Metric::new(named(extent, "completion_deviation"), deviation, "of [0, 1]").n(n));
        run.check(Check::new(
            format!("{of}completions of one image differ"),
            deviation > ROUNDING,
            format!("standard deviation {deviation:.4} of an unknown pixel"),
        ));
    }
    Ok(())
}

/// Mean squared error of the unknown half: of one completion, of the average of all, and of the
/// mean training image, `(D)`.
fn errors(
    run: &mut Run<'_>,
    found: &Completions,
    mean_image: &[f64],
    extent: Extent,
) -> Result<()> {
    let x = &found.x;
    let (unknown, share) = unknown(&found.mask)?;
    let error = |guess: &Tensor| -> Result<f64> {
        Ok(mean_square(&(guess * &unknown)?, &(x * &unknown)?)? / share)
    };
    let each = found.means.iter().map(&error).collect::<Result<Vec<_>>>()?;
    let one = each.iter().sum::<f64>() / each.len().max(1) as f64;
    let average = error(&Tensor::stack(&found.means, 0)?.mean(0)?)?;
    let mean: Vec<f32> = mean_image.iter().map(|v| *v as f32).collect();
    let mean = Tensor::from_vec(mean, (1, x.dim(1)?), x.device())?.broadcast_as(x.shape())?;
    let baseline = error(&mean)?;
    let noise = error(&found.noise)?;
    let (n, completions) = (x.dim(0)?, found.means.len());
    for (name, value) in
        [("completion_squared_error", one), ("average_completion_squared_error", average)]
    {
        let metric = Metric::new(named(extent, name), value, "per pixel").n(n);
        run.metric(metric.setting("completions", completions));
    }
    let name = named(extent, "mean_image_squared_error");
    run.metric(Metric::new(name, baseline, "per pixel").n(n));
    if run.request.scale == Scale::Smoke {
        return Ok(());
    }
    run.paragraph(
        "A completion is one draw among many, so the mean image may have the lower squared error: \
         the table says how far apart they are, not which is better.",
    );
    let mut table =
        Table::new([("Unknown half from", Align::Left), ("squared error per pixel", Align::Right)]);
    for (name, value) in [
        ("a completion".to_owned(), one),
        (format!("the average of {completions} completions"), average),
        ("the mean training image".to_owned(), baseline),
        ("uniform noise".to_owned(), noise),
    ] {
        table.row([name, format!("{value:.4}")]);
    }
    run.table(table);
    Ok(())
}

/// Rows: the image, what is known of it, its completions.
fn show(run: &mut Run<'_>, found: &Completions, event: [usize; 3], extent: Extent) -> Result<()> {
    let [channels, height, width] = event;
    let Completions { x, mask, means, .. } = found;
    let grey = x.zeros_like()?.affine(0.0, UNKNOWN)?;
    let mut columns = vec![x.clone(), mask.where_cond(x, &grey)?];
    columns.extend(means.iter().take(SHOWN[1]).cloned());
    let sheet = Sheet { columns: columns.len(), lead: 2, ..Sheet::new(channels, height, width) };
    // One row an image: (n, columns, D) in order.
    let (n, d) = x.dims2()?;
    let n = n.min(SHOWN[0]);
    let rows = Tensor::stack(&columns, 1)?.narrow(0, 0, n)?.reshape((n * columns.len(), d))?;
    run.sheet(
        &named(extent, "completions").replace('_', "-"),
        &sheet,
        &rows,
        "Each row: a test image, its known half, completions from independent chains; the unknown \
         half shows means of the last step.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_half_is_the_top_of_every_channel() {
        let mask = top_half([2, 4, 3], 2, &Device::Cpu).unwrap().to_vec2::<u8>().unwrap();
        let plane = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(mask, vec![[plane, plane].concat(); 2]);
    }

    #[test]
    fn a_changed_bit_counts_only_where_the_mask_is_set() {
        let tensor = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).unwrap();
        let x = tensor([0.0, 0.25, 0.5]);
        let mask = Tensor::new(&[1_u8, 1, 0], &Device::Cpu).unwrap();
        let keeps = |values| super::keeps(&tensor(values), &x, &mask).unwrap();
        assert!(keeps([0.0, 0.25, 0.9]));
        assert!(!keeps([0.0, 0.25_f32.next_up(), 0.5]));
        assert!(!keeps([-0.0, 0.25, 0.5]));
    }

    #[test]
    fn only_unknown_pixels_deviate_and_equal_completions_stay_below_rounding() {
        let mask = Tensor::new(&[[1_u8, 0, 0]], &Device::Cpu).unwrap();
        let row = |values: [f32; 3]| Tensor::new(&[values], &Device::Cpu).unwrap();
        let deviation = |means: &[Tensor]| super::deviation(means, &mask).unwrap();
        // Unknown deviations of 0.1 and 0.2; the known element, were it counted, of 0.5.
        let found = deviation(&[row([0.0, 0.2, 0.3]), row([1.0, 0.4, 0.7])]);
        assert!((found - 0.025_f64.sqrt()).abs() < 1e-6, "{found}");
        // The mean of equal numbers is rounded.
        let equal = vec![row([0.1, 0.3, 0.7]); 7];
        assert!(deviation(&equal) < ROUNDING);
    }
}
