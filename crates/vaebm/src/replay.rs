//! The replay buffer: latent noise where earlier chains ended.

use std::collections::VecDeque;

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Noise, Result};
use serde::{Deserialize, Serialize};

use crate::noise_decoder::{JointNoise, NoiseShapes};

/// Size of the buffer and how often chains begin there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// Chains that are kept, `M`: 10,000, for CelebA-HQ 8,000 (appendix E).
    pub capacity: usize,
    /// The probability that a chain begins in the buffer, once it is reached: 0.6 (appendix E).
    pub probability: f64,
    /// Updates until it is reached, linearly from zero: 5,000, for CelebA-HQ 3,000 (appendix E).
    pub ramp: usize,
    /// Keep the noise of pixels, too, so that a replayed chain goes on where it ended. The published code
    /// does not: its short chains then never reach the law of pixels given latent variables.
    #[serde(default)]
    pub pixels: bool,
}

impl ReplayConfig {
    /// `min(p, p update / ramp)` of the update with that number, counted from 0.
    pub fn probability_at(&self, update: usize) -> f64 {
        if update >= self.ramp {
            return self.probability;
        }
        self.probability * update as f64 / self.ramp as f64
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.capacity == 0 {
            return Err(Error::Config { field: "capacity", reason: "must be one or more".into() });
        }
        probability(self.probability)
    }
}

fn probability(p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::Config { field: "probability", reason: format!("{p} is not from 0 to 1") })
}

/// Latent noise at the ends of earlier chains, the oldest leaving first; a chain's groups stay together.
/// Its pixel noise is kept only with [`ReplayConfig::pixels`] (VAEBM, section 3.3, keeps none).
///
/// Unlike [`chains_core::mcmc::ReplayBuffer`], whose rows are there from the beginning, are drawn with
/// replacement and are written back in place, this one is empty at first, draws distinct rows and
/// appends. It is on the host.
#[derive(Clone, Debug)]
pub struct NoiseBuffer {
    config: ReplayConfig,
    shapes: NoiseShapes,
    /// The oldest first; groups one after the other, then pixels if they are kept.
    chains: VecDeque<Tensor>,
}

/// Where chains begin.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Replayed chains first, then fresh ones; pixel noise is fresh unless the buffer keeps it.
    pub noise: JointNoise,
    /// Number of replayed chains.
    pub replayed: usize,
}

impl NoiseBuffer {
    /// An empty buffer for noise of these shapes.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration out of range.
    pub fn new(config: ReplayConfig, shapes: NoiseShapes) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, shapes, chains: VecDeque::new() })
    }

    /// Takes the chains of [`NoiseBuffer::tensor`].
    ///
    /// # Errors
    /// [`Error::Shape`] unless `rows` is `(n, kept width)` with `n` at most the capacity.
    pub fn restore(config: ReplayConfig, shapes: NoiseShapes, rows: &Tensor) -> Result<Self> {
        let mut buffer = Self::new(config, shapes)?;
        let width = buffer.width();
        if rows.rank() != 2 || rows.dims()[1] != width || rows.dims()[0] > config.capacity {
            let expected = format!("(n <= {}, {width})", config.capacity);
            return Err(Error::Shape { what: "replay buffer", expected, got: rows.dims().into() });
        }
        buffer.append(&rows.to_device(&Device::Cpu)?)?;
        Ok(buffer)
    }

    /// Chains in the buffer.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// All chains, the oldest first, `(n, latent_width)`, or the whole width if pixels are kept; none if
    /// there is none.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tensor(&self) -> Result<Option<Tensor>> {
        if self.chains.is_empty() {
            return Ok(None);
        }
        Ok(Some(Tensor::stack(&self.chains.iter().collect::<Vec<_>>(), 0)?))
    }

    /// Appends the noise of chains that have ended, one after the other; beyond the capacity the
    /// oldest leave.
    ///
    /// # Errors
    /// [`Error::Shape`] if the noise has other shapes.
    pub fn push(&mut self, ended: &JointNoise) -> Result<()> {
        ended.check(&self.shapes)?;
        if ended.batch() == 0 {
            return Ok(());
        }
        let width = self.width();
        self.append(&ended.flat()?.narrow(1, 0, width)?.to_device(&Device::Cpu)?)
    }

    /// Numbers of a chain that are kept.
    fn width(&self) -> usize {
        if self.config.pixels { self.shapes.width() } else { self.shapes.latent_width() }
    }

    fn append(&mut self, rows: &Tensor) -> Result<()> {
        for row in 0..rows.dims()[0] {
            if self.chains.len() == self.config.capacity {
                self.chains.pop_front();
            }
            // A view would keep the batch alive, and so would a copy of it.
            self.chains.push_back(rows.get(row)?.detach().force_contiguous()?);
        }
        Ok(())
    }

    /// Where `fresh.batch()` chains of the update with that number, counted from 0, begin.
    ///
    /// The number of replayed chains is binomial with [`ReplayConfig::probability_at`], at most that of
    /// the buffer; they are distinct, every set of them equally likely, and stand before the others,
    /// which stay as `fresh` has them. Noise is drawn in this order: the number, the chains.
    ///
    /// # Errors
    /// [`Error::Shape`] if `fresh` has other shapes.
    pub fn begin(&self, fresh: JointNoise, update: usize, noise: &mut dyn Noise) -> Result<Begun> {
        fresh.check(&self.shapes)?;
        let b = fresh.batch();
        let mut uniforms = |n: usize| -> Result<Vec<f64>> {
            Ok(noise.uniform(&n.into(), DType::F64, &Device::Cpu)?.to_vec1()?)
        };
        let p = self.config.probability_at(update);
        let count = uniforms(b)?.into_iter().filter(|u| *u < p).count().min(self.len());
        let chosen = distinct(self.len(), &uniforms(count)?);
        if count == 0 {
            return Ok(Begun { noise: fresh, replayed: 0 });
        }
        let rows: Vec<&Tensor> = chosen.iter().map(|row| &self.chains[*row]).collect();
        let (flat, width) = (fresh.flat()?, self.width());
        let replayed = Tensor::stack(&rows, 0)?.to_device(flat.device())?.to_dtype(flat.dtype())?;
        let rest = flat.narrow(0, 0, count)?.narrow(1, width, self.shapes.width() - width)?;
        let replayed = Tensor::cat(&[&replayed, &rest], 1)?;
        let flat = Tensor::cat(&[&replayed, &flat.narrow(0, count, b - count)?], 0)?;
        Ok(Begun { noise: JointNoise::from_flat(&flat, &self.shapes)?, replayed: count })
    }
}

/// The beginning of a shuffle of `0..n` (Fisher and Yates), as long as there are uniforms.
fn distinct(n: usize, uniforms: &[f64]) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n).collect();
    for (i, u) in uniforms.iter().enumerate() {
        let left = n - i;
        rows.swap(i, i + ((u * left as f64) as usize).min(left - 1));
    }
    rows.truncate(uniforms.len());
    rows
}
