//! Normalisations.

use std::sync::Mutex;

use candle_core::{
    CudaDevice, CudaStorage, Shape, Tensor, cuda_backend::cudarc::driver::CudaSlice,
};

use super::{made, wanted};
use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{Arg, Grid, device, fresh, launch, storage, tensor},
    error::Result,
    ops::{BatchMoments, Eps, NormActivation, NormOptions},
};

/// The number, and whether it is added to the deviation.
fn small(eps: Eps) -> (f32, bool) {
    match eps {
        Eps::InVariance(eps) => (eps as f32, false),
        Eps::OnDeviation(eps) => (eps as f32, true),
    }
}

/// Moments of `(g, b, c, s)`.
pub(in crate::ops) fn batch_moments(x: &Tensor, [g, b, c, s]: [usize; 4]) -> Result<BatchMoments> {
    let x = x.detach().contiguous()?;
    let device = device(&x)?;
    let (mean, variance) = (fresh(device, g * c)?, fresh(device, g * c)?);
    if s == 1 {
        let args = [
            (&mean).into(),
            (&variance).into(),
            Arg::None,
            (&x).into(),
            Arg::None,
            Arg::None,
            0.0.into(),
            0.0.into(),
            false.into(),
            0.into(),
            b.into(),
            c.into(),
        ];
        launch(device, "batch_moments_lanes", Grid::Lanes(c, g), &args)?;
    } else {
        let args = [(&mean).into(), (&variance).into(), (&x).into(), b.into(), c.into(), s.into()];
        launch(device, "batch_moments_maps", Grid::Channels(g, c), &args)?;
    }
    Ok(BatchMoments {
        mean: tensor(mean, device, (g, c)),
        variance: tensor(variance, device, (g, c)),
    })
}

/// See [`crate::ops::normalise`].
pub(in crate::ops) fn batch_norm(
    x: &Tensor,
    moments: &BatchMoments,
    [gain, shift]: [&Tensor; 2],
    eps: Eps,
    options: NormOptions,
    axes: [usize; 4],
) -> Result<Tensor> {
    let constant = |t: &Tensor| t.detach().contiguous();
    let moments = [constant(&moments.mean)?, constant(&moments.variance)?];
    let op = BatchNorm { moments, known: Mutex::default(), eps, options, axes };
    Ok(apply_on_device(op, &[x, gain, shift])?)
}

/// See [`crate::ops::batch_normalise`]: moments and values of rows in one launch.
pub(in crate::ops) fn batch_normalise(
    x: &Tensor,
    [gain, shift]: [&Tensor; 2],
    eps: Eps,
    options: NormOptions,
    axes: [usize; 4],
) -> Result<(Tensor, BatchMoments)> {
    let ([g, b, c, _], [x, gain, shift]) =
        (axes, [x.contiguous()?, gain.contiguous()?, shift.contiguous()?]);
    let (device, [mean, variance]) =
        (device(&x)?, [fresh(device(&x)?, g * c)?, fresh(device(&x)?, g * c)?]);
    let out = fresh(device, x.elem_count())?;
    let (small, slope, on_deviation, kind) = constants(eps, options);
    let args = [
        (&mean).into(),
        (&variance).into(),
        (&out).into(),
        (&x).into(),
        (&gain).into(),
        (&shift).into(),
        small.into(),
        slope.into(),
        on_deviation.into(),
        kind.into(),
        b.into(),
        c.into(),
    ];
    launch(device, "batch_moments_lanes", Grid::Lanes(c, g), &args)?;
    let [mean, variance] = [mean, variance].map(|values| tensor(values, device, (g, c)));
    let moments = BatchMoments { mean: mean.clone(), variance: variance.clone() };
    let known = Mutex::new(Some(storage(out, device)));
    let op = BatchNorm { moments: [mean, variance], known, eps, options, axes };
    Ok((apply_on_device(op, &[&x, &gain, &shift])?, moments))
}

struct BatchNorm {
    moments: [Tensor; 2],
    /// The value, if it was computed with the moments.
    known: Mutex<Option<CudaStorage>>,
    eps: Eps,
    options: NormOptions,
    axes: [usize; 4],
}

/// Small number, slope, where the number stands, and the activation.
fn constants(eps: Eps, options: NormOptions) -> (f32, f32, bool, usize) {
    let (eps, on_deviation) = small(eps);
    let (kind, slope) = match options.activation {
        NormActivation::None => (0, 0.0),
        NormActivation::Relu => (1, 0.0),
        NormActivation::LeakyRelu(slope) => (2, slope),
        NormActivation::Swish => (3, 0.0),
    };
    (eps, slope, on_deviation, kind)
}

impl BatchNorm {
    /// The sums of every channel: of the gradient times the normalised value, and of the gradient.
    fn sums(
        &self,
        device: &CudaDevice,
        [x, grad, gain, shift]: [&Tensor; 4],
    ) -> candle_core::Result<[CudaSlice<f32>; 2]> {
        let [g, b, c, s] = self.axes;
        let (eps, slope, on_deviation, kind) = constants(self.eps, self.options);
        let sums = [fresh(device, g * c)?, fresh(device, g * c)?];
        let mut args: Vec<Arg<'_>> = vec![
            (&sums[0]).into(),
            (&sums[1]).into(),
            x.into(),
            grad.into(),
            (&self.moments[0]).into(),
            (&self.moments[1]).into(),
            gain.into(),
            shift.into(),
            eps.into(),
            slope.into(),
            on_deviation.into(),
            kind.into(),
            b.into(),
            c.into(),
        ];
        if s == 1 {
            launch(device, "batch_norm_sums_lanes", Grid::Lanes(c, g), &args)?;
        } else {
            args.push(s.into());
            launch(device, "batch_norm_sums_maps", Grid::Channels(g, c), &args)?;
        }
        Ok(sums)
    }
}

impl DeviceOp for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [x, gain, shift] = [&operands[0], &operands[1], &operands[2]];
        let known = self.known.lock().ok().and_then(|mut known| known.take());
        if let Some(known) = known {
            return Ok((known, x.shape().clone()));
        }
        let ([_, b, c, s], device, n) = (self.axes, device(x)?, x.elem_count());
        let (eps, slope, on_deviation, kind) = constants(self.eps, self.options);
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            (&self.moments[0]).into(),
            (&self.moments[1]).into(),
            gain.into(),
            shift.into(),
            eps.into(),
            slope.into(),
            on_deviation.into(),
            kind.into(),
            b.into(),
            c.into(),
            s.into(),
            n.into(),
        ];
        launch(device, "batch_norm", Grid::Elements(n), &args)?;
        Ok((storage(out, device), x.shape().clone()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [x, gain, shift] = [&operands[0], &operands[1], &operands[2]];
        let ([g, b, c, s], device, n) = (self.axes, device(x)?, x.elem_count());
        let (eps, slope, on_deviation, kind) = constants(self.eps, self.options);
        // Where the moments are constants no sum enters the gradient of the input.
        let summed = self.options.batch || gain.track_op() || shift.track_op();
        let sums = summed.then(|| self.sums(device, [x, grad, gain, shift])).transpose()?;
        let (gains, shifts) =
            sums.map_or((None, None), |[gains, shifts]| (Some(gains), Some(shifts)));
        let gx = wanted(x, device)?;
        if let Some(out) = &gx {
            let count = if self.options.batch { 1.0 / (b * s) as f32 } else { 0.0 };
            let args = [
                out.into(),
                x.into(),
                grad.into(),
                (&self.moments[0]).into(),
                (&self.moments[1]).into(),
                gain.into(),
                shift.into(),
                gains.as_ref().into(),
                shifts.as_ref().into(),
                eps.into(),
                slope.into(),
                count.into(),
                on_deviation.into(),
                kind.into(),
                b.into(),
                c.into(),
                s.into(),
                n.into(),
            ];
            launch(device, "batch_norm_grad", Grid::Elements(n), &args)?;
        }
        let sums = |values: Option<CudaSlice<f32>>, of: &Tensor| {
            values.filter(|_| of.track_op()).map(|values| tensor(values, device, (g, c)))
        };
        Ok(vec![made(gx, x, device), sums(gains, gain), sums(shifts, shift)])
    }
}

/// Over the last axis.
pub(in crate::ops) fn layer_norm(
    x: &Tensor,
    gain: &Tensor,
    shift: &Tensor,
    eps: Eps,
) -> Result<Tensor> {
    Ok(apply_on_device(LayerNorm { eps }, &[x, gain, shift])?)
}

struct LayerNorm {
    eps: Eps,
}

impl DeviceOp for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [x, gain, shift] = [&operands[0], &operands[1], &operands[2]];
        let (device, n, d) = (device(x)?, x.elem_count(), gain.elem_count());
        let (eps, on_deviation) = small(self.eps);
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            gain.into(),
            shift.into(),
            eps.into(),
            on_deviation.into(),
            d.into(),
        ];
        launch(device, "layer_norm", Grid::Rows(n / d), &args)?;
        Ok((storage(out, device), x.shape().clone()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [x, gain, shift] = [&operands[0], &operands[1], &operands[2]];
        let (device, d) = (device(x)?, gain.elem_count());
        let rows = x.elem_count() / d;
        let (eps, on_deviation) = small(self.eps);
        let gx = wanted(x, device)?;
        let stats = fresh(device, 2 * rows)?;
        let args = [
            gx.as_ref().into(),
            (&stats).into(),
            x.into(),
            gain.into(),
            grad.into(),
            eps.into(),
            on_deviation.into(),
            d.into(),
        ];
        launch(device, "layer_norm_grad", Grid::Rows(rows), &args)?;
        let mut parameters = [None, None];
        if gain.track_op() || shift.track_op() {
            let (blocks, step) = super::linear::row_blocks(rows);
            let parts = [fresh(device, blocks * d)?, fresh(device, blocks * d)?];
            let stats = tensor(stats, device, (rows, 2));
            let args = [
                (&parts[0]).into(),
                (&parts[1]).into(),
                x.into(),
                grad.into(),
                (&stats).into(),
                rows.into(),
                d.into(),
                step.into(),
            ];
            launch(device, "layer_norm_sums", Grid::Lanes(d, blocks), &args)?;
            for ((sum, part), of) in parameters.iter_mut().zip(parts).zip([gain, shift]) {
                let part = tensor(part, device, (blocks, d));
                let total = if blocks == 1 { part } else { super::linear::column_sums(&part)? };
                *sum = of.track_op().then(|| total.reshape(of.shape())).transpose()?;
            }
        }
        let [gg, gs] = parameters;
        Ok(vec![made(gx, x, device), gg, gs])
    }
}
