//! Noise of many chains, a stream for each.

use std::ops::Range;

use candle_core::{DType, Device, Shape, Tensor};
use chains_core::{Error, HostNoise, Noise, Result, Seed};

/// A stream for every row of a batch, so that a chain's numbers do not depend on its company.
///
/// Numbers are drawn in f64 and rounded to the type asked for.
pub(super) struct ChainNoise {
    streams: Vec<HostNoise>,
}

impl ChainNoise {
    /// The streams of chains `rows`, counted through all points with `chains` each.
    pub(super) fn new(seed: Seed, rows: Range<usize>, chains: usize) -> Self {
        let stream = |row: usize| {
            seed.indexed((row / chains) as u64).indexed((row % chains) as u64).host_noise()
        };
        Self { streams: rows.map(stream).collect() }
    }

    fn draw(
        &mut self,
        shape: &Shape,
        draw: impl Fn(&mut HostNoise, &Shape) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let rows = self.streams.len();
        if shape.dims().first() != Some(&rows) {
            return Err(Error::Shape {
                what: "noise of chains",
                expected: format!("({rows}, ..)"),
                got: shape.dims().to_vec(),
            });
        }
        let event = Shape::from(shape.elem_count() / rows.max(1));
        let mut values = Vec::with_capacity(shape.elem_count());
        for stream in &mut self.streams {
            values.extend(draw(stream, &event)?.to_vec1::<f64>()?);
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

impl Noise for ChainNoise {
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        let values = self.draw(shape, |s, event| s.normal(event, DType::F64, &Device::Cpu))?;
        Ok(values.to_dtype(dtype)?.to_device(device)?)
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        let values = self.draw(shape, |s, event| s.uniform(event, DType::F64, &Device::Cpu))?;
        Ok(values.to_dtype(dtype)?.to_device(device)?)
    }
}
