//! Persistent chains: a buffer of positions that chains begin at and return to.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape, Tensor};

use crate::{
    error::{Error, Result},
    noise::Noise,
};

/// Positions of persistent chains, drawn at random and put back where they were drawn (Du and Mordatch
/// 2019; VERA's baseline of persistent contrastive divergence, 10,000 rows and a restart probability of
/// 0.05).
///
/// The buffer owns its memory: tensors that come in or go out are copies.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use chains_core::{Seed, mcmc::ReplayBuffer};
/// let mut noise = Seed::new(0).host_noise();
/// let mut buffer = ReplayBuffer::uniform(1000, (3, 2), &mut noise, &Device::Cpu)?;
/// let drawn = buffer.draw(64, 0.05, &mut noise, |n, noise| {
///     ReplayBuffer::uniform_rows(n, (3, 2), noise, &Device::Cpu)
/// })?;
/// let moved = (drawn.positions + 0.1)?; // a chain
/// buffer.put_back(&drawn.indices, &moved)?;
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ReplayBuffer {
    /// `(capacity, ..event)`, contiguous, shared with nobody: rows are written in place.
    rows: Tensor,
}

/// What [`ReplayBuffer::draw`] gives.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Where the chains begin, `(n, ..event)`.
    pub positions: Tensor,
    /// The rows of the buffer that the chains belong to, those of restarted chains too.
    pub indices: Vec<u32>,
    /// Which chains restarted.
    pub restarted: Vec<bool>,
}

impl ReplayBuffer {
    /// A buffer that begins with a copy of `rows`, on their device: a checkpoint's, or a draw of one's
    /// own.
    ///
    /// # Shapes
    /// `(capacity, ..event)`, of a floating type.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is a row, of one number at least, and a row's number fits u32;
    /// [`Error::Config`] for a type without fractions.
    pub fn from_tensor(rows: &Tensor) -> Result<Self> {
        let capacity = rows.dims().first().copied().unwrap_or(0);
        if rows.elem_count() == 0 || u32::try_from(capacity).is_err() || rows.rank() == 0 {
            let expected = "(capacity, ..event), not empty".into();
            return Err(Error::Shape { what: "replay buffer", expected, got: rows.dims().into() });
        }
        if !rows.dtype().is_float() {
            let reason = format!("positions are floating-point numbers, not {:?}", rows.dtype());
            return Err(Error::Config { field: "dtype", reason });
        }
        Ok(Self { rows: rows.detach().force_contiguous()? })
    }

    /// A buffer of `capacity` events, f32, that begins with [`ReplayBuffer::uniform_rows`].
    ///
    /// # Errors
    /// As [`ReplayBuffer::from_tensor`].
    pub fn uniform(
        capacity: usize,
        event: impl Into<Shape>,
        noise: &mut dyn Noise,
        device: &Device,
    ) -> Result<Self> {
        Self::from_tensor(&Self::uniform_rows(capacity, event, noise, device)?)
    }

    /// `n` events of independent numbers, uniform in `[-1, 1)`, `(n, ..event)`, f32.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn uniform_rows(
        n: usize,
        event: impl Into<Shape>,
        noise: &mut dyn Noise,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = [&[n], event.into().dims()].concat();
        Ok(noise.uniform(&shape.into(), DType::F32, device)?.affine(2.0, -1.0)?)
    }

    /// Number of rows.
    pub fn capacity(&self) -> usize {
        self.rows.dims()[0]
    }

    /// Shape of a row.
    pub fn event(&self) -> &[usize] {
        &self.rows.dims()[1..]
    }

    /// A copy of all rows, `(capacity, ..event)`, for a checkpoint.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(self.rows.copy()?)
    }

    /// The beginnings of `n` chains: each at a row drawn uniformly with replacement or, with
    /// `restart_probability` and independently of the others, at a fresh position.
    ///
    /// `fresh` makes as many positions as chains restart, `(count, ..event)`, and is not called if none
    /// does. Noise is drawn in this order: rows, restarts, what `fresh` draws. Rows and restarts come
    /// from uniform f64 on the host, so a row's probability is `1 / capacity` but for at most `2^-53`.
    ///
    /// # Errors
    /// [`Error::Config`] for no chains or a probability outside `[0, 1]`, [`Error::Shape`] if fresh
    /// positions have another shape, and those of `fresh`.
    pub fn draw(
        &self,
        n: usize,
        restart_probability: f64,
        noise: &mut dyn Noise,
        mut fresh: impl FnMut(usize, &mut dyn Noise) -> Result<Tensor>,
    ) -> Result<Drawn> {
        if n == 0 {
            return Err(Error::Config { field: "n", reason: "must be one or more".into() });
        }
        if !(0.0..=1.0).contains(&restart_probability) {
            let reason = format!("{restart_probability} is not from 0 to 1");
            return Err(Error::Config { field: "restart_probability", reason });
        }
        let mut uniforms = || -> Result<Vec<f64>> {
            Ok(noise.uniform(&n.into(), DType::F64, &Device::Cpu)?.to_vec1()?)
        };
        let last = self.capacity() - 1;
        let row = |u: f64| ((u * self.capacity() as f64) as usize).min(last) as u32;
        let indices: Vec<u32> = uniforms()?.into_iter().map(row).collect();
        let restarted: Vec<bool> =
            uniforms()?.into_iter().map(|u| u < restart_probability).collect();
        let device = self.rows.device();
        let kept = self.rows.index_select(&Tensor::new(indices.as_slice(), device)?, 0)?;
        let count = restarted.iter().filter(|restarted| **restarted).count();
        if count == 0 {
            return Ok(Drawn { positions: kept, indices, restarted });
        }
        let begun = self.like_rows("fresh positions", &fresh(count, noise)?, count)?;
        // Fresh rows stand behind the kept ones.
        let mut next = n as u32..;
        let order: Vec<u32> = (0_u32..)
            .zip(&restarted)
            .map(|(at, restarted)| if *restarted { next.next().unwrap_or(at) } else { at })
            .collect();
        let order = Tensor::new(order, device)?;
        let positions = Tensor::cat(&[&kept, &begun], 0)?.index_select(&order, 0)?;
        Ok(Drawn { positions, indices, restarted })
    }

    /// Writes `positions` to the rows `indices`; of several for one row the last stays.
    ///
    /// Whatever comes is written: leave out chains that are not finite, or they will be drawn again.
    ///
    /// # Shapes
    /// `positions`: `(indices.len(), ..event)`, of any floating type and on any device.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape, [`Error::Config`] for an index beyond the buffer; nothing is
    /// written then.
    pub fn put_back(&mut self, indices: &[u32], positions: &Tensor) -> Result<()> {
        let positions = self.like_rows("positions", positions, indices.len())?;
        if let Some(index) = indices.iter().find(|index| **index as usize >= self.capacity()) {
            let reason = format!("{index} is not a row of a buffer of {}", self.capacity());
            return Err(Error::Config { field: "indices", reason });
        }
        let writers: BTreeMap<u32, usize> = indices.iter().copied().zip(0..).collect();
        for (row, from) in writers {
            self.rows.slice_set(&positions.narrow(0, from, 1)?, 0, row as usize)?;
        }
        Ok(())
    }

    /// `rows` detached, contiguous, of the type and on the device of the buffer, if the shape is right.
    fn like_rows(&self, what: &'static str, rows: &Tensor, n: usize) -> Result<Tensor> {
        let expected = [&[n], self.event()].concat();
        if rows.dims() != expected {
            let expected = format!("{expected:?}");
            return Err(Error::Shape { what, expected, got: rows.dims().to_vec() });
        }
        let rows = rows.detach().to_device(self.rows.device())?.to_dtype(self.rows.dtype())?;
        Ok(rows.contiguous()?)
    }
}
