//! MNIST digits in a black frame of 32x32, as the autoencoder takes them.

use candle_core::{Device, Tensor};
use chains_core::{HostNoise, Noise, Seed};
use datasets::{Augmentation, Cursor, ImageSet, Shuffle, dequantise, permutation};

use crate::{
    data::{self, usage},
    error::{Error, Result},
    images::Images,
    request::Request,
};

/// Side of the framed digits.
pub(crate) const SIDE: usize = 32;
/// Side of the digits as files and digit networks have them.
const INNER: usize = 28;
/// Width of the frame.
const FRAME: usize = (SIDE - INNER) / 2;

/// The first digits of the training file, framed.
pub(crate) struct Digits {
    /// To train on.
    pub(crate) train: ImageSet,
    /// To choose on: the next ones.
    pub(crate) validation: ImageSet,
    /// Mirror half of the training images.
    pub(crate) flip: bool,
}

impl Digits {
    /// The first `train` digits and the next `validation`.
    ///
    /// # Errors
    /// [`Error::Missing`] without MNIST; [`Error::Usage`] if it has fewer digits.
    pub(crate) fn load(request: &Request, train: usize, validation: usize) -> Result<Self> {
        let files = data::mnist(request)?;
        let all = train.saturating_add(validation);
        if all > files.train.len() {
            let (name, len) = (&files.train.name, files.train.len());
            return Err(Error::Usage(format!("`{name}` has {len} images, not {all}")));
        }
        let framed = |range| files.train.range(range).padded(SIDE).map_err(usage);
        Ok(Self { train: framed(0..train)?, validation: framed(train..all)?, flip: false })
    }

    /// What tells them from all others.
    pub(crate) fn digest(&self) -> [String; 3] {
        let [train, validation] = [&self.train, &self.validation].map(ImageSet::digest);
        [train, validation, format!("flip {}", self.flip)]
    }

    /// Training images as [`batch`], half of them mirrored by `flips` if the set is.
    ///
    /// # Errors
    /// Of the data and the tensor library.
    pub(crate) fn training(
        &self,
        indices: &[usize],
        flips: &mut HostNoise,
        noise: Option<&mut HostNoise>,
        device: &Device,
    ) -> Result<Tensor> {
        let set = &self.train;
        let shape = [set.channels, set.height, set.width];
        let mut levels = set.gather(indices);
        if self.flip {
            let mirror = Augmentation { pad: 0, flip: true };
            levels = mirror.apply(&levels, shape, flips).map_err(usage)?;
        }
        images(levels, shape, noise, device)
    }
}

/// The digits of a test as the scores of digits take them: 28x28.
///
/// # Errors
/// [`Error::Missing`] without MNIST.
pub(crate) fn judged_images(request: &Request) -> Result<Images> {
    let files = data::mnist(request)?;
    let none = || files.train.range(0..0);
    Ok(Images { train: none(), validation: none(), test: files.test.clone(), pooled: false })
}

/// Images `(b, c, h, w)` in `[0, 1]`: levels / 255, or `(255 x + u) / 256` with uniform `u` from `noise`.
///
/// # Errors
/// Of the tensor library.
pub(crate) fn batch(
    set: &ImageSet,
    indices: &[usize],
    noise: Option<&mut HostNoise>,
    device: &Device,
) -> Result<Tensor> {
    images(set.gather(indices), [set.channels, set.height, set.width], noise, device)
}

fn images(
    levels: Vec<u8>,
    [channels, height, width]: [usize; 3],
    noise: Option<&mut HostNoise>,
    device: &Device,
) -> Result<Tensor> {
    let n = levels.len() / (channels * height * width);
    let values = match noise {
        Some(noise) => dequantise(&levels, noise),
        None => levels.into_iter().map(|level| f32::from(level) / 255.0).collect(),
    };
    Ok(Tensor::from_vec(values, (n, channels, height, width), device)?)
}

/// Batches of updates that are counted through, whatever the loop around them calls an epoch.
pub(crate) struct Batches<'a> {
    pub(crate) digits: &'a Digits,
    pub(crate) batch_size: usize,
    /// See [`batch`].
    pub(crate) dequantise: bool,
    /// Standard deviation of noise on images, which are then clamped; 0 for none.
    pub(crate) data_noise: f64,
    /// Of orders and dequantisation.
    pub(crate) seed: Seed,
}

impl Batches<'_> {
    /// The images of an update.
    ///
    /// # Errors
    /// [`Error::Usage`] for a set smaller than a batch.
    pub(crate) fn of(&self, update: usize, device: &Device) -> Result<Tensor> {
        let (n, seed) = (self.digits.train.len(), self.seed.child("order"));
        let shuffle = Shuffle { n, batch_size: self.batch_size, seed, drop_last: true };
        let per_epoch = shuffle.batches_per_epoch().max(1);
        let cursor = Cursor {
            epoch: (update / per_epoch) as u64,
            position: update % per_epoch * self.batch_size,
        };
        let mut batches = shuffle.resume(cursor).map_err(usage)?;
        self.images(batches.next_batch(), "dequantise", update, device)
    }

    /// At most `batches` batches in one, for an initialisation by data.
    ///
    /// # Errors
    /// Of the tensor library.
    pub(crate) fn first(&self, batches: usize, device: &Device) -> Result<Tensor> {
        let n = self.digits.train.len().min(batches * self.batch_size);
        let order = permutation(self.digits.train.len(), self.seed.child("first"));
        self.images(&order[..n], "first-dequantise", 0, device)
    }

    fn images(&self, indices: &[usize], name: &str, at: usize, device: &Device) -> Result<Tensor> {
        let mut noise = self.seed.child(name).indexed(at as u64).host_noise();
        let mut flips = self.seed.child(name).child("flips").indexed(at as u64).host_noise();
        let levels = self.dequantise.then_some(&mut noise);
        let x = self.digits.training(indices, &mut flips, levels, device)?;
        if self.data_noise == 0.0 {
            return Ok(x);
        }
        let shift = (noise.normal(x.shape(), x.dtype(), device)? * self.data_noise)?;
        Ok((x + shift)?.clamp(0.0, 1.0)?)
    }
}

/// Framed digits without their frame, `(n, c, 28, 28)`, clamped to `[0, 1]`: what digit networks and sheets
/// take.
///
/// # Errors
/// Of the tensor library, for smaller images.
pub(crate) fn unframed(x: &Tensor) -> Result<Tensor> {
    whole(&x.narrow(2, FRAME, INNER)?.narrow(3, FRAME, INNER)?.contiguous()?)
}

/// Images clamped to `[0, 1]`.
///
/// # Errors
/// Of the tensor library.
pub(crate) fn whole(x: &Tensor) -> Result<Tensor> {
    Ok(x.clamp(0.0, 1.0)?)
}
