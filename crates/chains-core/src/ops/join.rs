//! Maps side by side.

use candle_core::{Device, Tensor};

use super::{fused, host, kernel::fresh_rows};
use crate::error::{Error, Result};

/// Maps of equal size joined by channel, in their order.
///
/// Copied in parallel on the host as long as nothing is to be differentiated, by candle's `cat`
/// otherwise.
///
/// # Shapes
/// `(b, c_i, h, w)`, at least one -> `(b, sum of c_i, h, w)`.
///
/// # Errors
/// [`Error::Shape`] for another rank, or if all but the channels differ.
pub fn join_channels(parts: &[Tensor]) -> Result<Tensor> {
    let refuse = |expected: String, got: &[usize]| {
        Err(Error::Shape { what: "join_channels", expected, got: got.to_vec() })
    };
    let Some(first) = parts.first() else {
        return refuse("at least one part".into(), &[]);
    };
    let Ok((b, _, h, w)) = first.dims4() else {
        return refuse("parts (b, c, h, w)".into(), first.dims());
    };
    let mut channels = 0;
    for part in parts {
        match *part.dims() {
            [n, c, height, width] if [n, height, width] == [b, h, w] => channels += c,
            _ => return refuse(format!("parts ({b}, c, {h}, {w})"), part.dims()),
        }
    }
    let all: Vec<&Tensor> = parts.iter().collect();
    let (len, tracked) = (channels * h * w, parts.iter().any(Tensor::track_op));
    if tracked || len == 0 || !fused(&all) {
        return Ok(Tensor::cat(parts, 1)?);
    }
    let parts = parts.iter().map(Tensor::contiguous).collect::<candle_core::Result<Vec<_>>>()?;
    let guards: Vec<_> = parts.iter().map(Tensor::storage_and_layout).collect();
    let values = guards.iter().map(|(storage, layout)| host(storage, layout));
    let values = values.collect::<candle_core::Result<Vec<_>>>()?;
    let joined = fresh_rows([b, 1, len], [1, 1], |image, _, rows| {
        for values in &values {
            let len = values.len() / b;
            rows.append([0, 0], &values[image * len..(image + 1) * len], |x| x);
        }
    });
    Ok(Tensor::from_vec(joined, (b, channels, h, w), &Device::Cpu)?)
}
