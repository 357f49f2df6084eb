//! What models are trained on: images, dequantised anew for every batch, or points of the plane.

use candle_core::{Device, Tensor};
use chains_core::{Noise, Seed};
use datasets::toys::toy;

use crate::{
    error::{Error, Result},
    images::{Images, blocks},
};

/// A part of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// To train on.
    Train,
    /// To choose on.
    Validation,
    /// To report on.
    Test,
}

/// Examples in three parts.
pub(super) trait Examples {
    /// Channels, height and width.
    fn event(&self) -> [usize; 3];

    /// Examples of a part.
    fn count(&self, split: Split) -> usize;

    /// The examples with these numbers, `(b, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    fn rows(
        &self,
        split: Split,
        indices: &[usize],
        noise: &mut dyn Noise,
        device: &Device,
    ) -> Result<Tensor>;

    /// What identifies the examples in the name of a training, besides the seed.
    fn digest(&self) -> Vec<String>;

    /// The first `n` examples of a part, or all if there are fewer, `(n, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    fn first(&self, split: Split, n: usize, seed: Seed, device: &Device) -> Result<Tensor> {
        let mut noise = seed.host_noise();
        let n = n.min(self.count(split));
        let parts = blocks(n, 1000)
            .map(|block| self.rows(split, &block, &mut noise, device))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }
}

impl Examples for Images {
    fn event(&self) -> [usize; 3] {
        Self::event(self)
    }

    fn count(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train.len(),
            Split::Validation => self.validation.len(),
            Split::Test => self.test.len(),
        }
    }

    fn rows(
        &self,
        split: Split,
        indices: &[usize],
        noise: &mut dyn Noise,
        device: &Device,
    ) -> Result<Tensor> {
        let set = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        Self::rows(self, set, indices, noise, device)
    }

    fn digest(&self) -> Vec<String> {
        let mut parts = Self::digest(self).to_vec();
        parts.push(format!("pooled {}", self.pooled));
        parts
    }
}

/// Points of the plane.
pub(super) struct Points {
    name: &'static str,
    parts: [Tensor; 3],
}

impl Points {
    /// Independent points of a toy, so many in each part; a part with more has the same first ones.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is no toy.
    pub(super) fn new(name: &'static str, sizes: [usize; 3], seed: Seed) -> Result<Self> {
        let cloud = toy(name).ok_or_else(|| Error::Usage(format!("`{name}` is no toy")))?;
        let part = |split: &str, n: usize| -> Result<Tensor> {
            Ok(cloud.sample(n, &mut seed.child(name).child(split).host_noise())?)
        };
        let [train, validation, test] = sizes;
        let parts = [part("train", train)?, part("validation", validation)?, part("test", test)?];
        Ok(Self { name, parts })
    }

    /// The name of the toy.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// All points of a part, `(n, 2)`.
    pub(super) fn part(&self, split: Split) -> &Tensor {
        match split {
            Split::Train => &self.parts[0],
            Split::Validation => &self.parts[1],
            Split::Test => &self.parts[2],
        }
    }
}

impl Examples for Points {
    fn event(&self) -> [usize; 3] {
        [1, 1, 2]
    }

    fn count(&self, split: Split) -> usize {
        self.part(split).dims()[0]
    }

    fn rows(
        &self,
        split: Split,
        indices: &[usize],
        _: &mut dyn Noise,
        device: &Device,
    ) -> Result<Tensor> {
        let indices: Vec<u32> = indices.iter().map(|at| *at as u32).collect();
        let points = self.part(split);
        let chosen = points.index_select(&Tensor::new(indices.as_slice(), points.device())?, 0)?;
        Ok(chosen.to_device(device)?)
    }

    fn digest(&self) -> Vec<String> {
        vec![self.name.to_owned(), format!("{:?}", self.parts.each_ref().map(Tensor::dims))]
    }
}
