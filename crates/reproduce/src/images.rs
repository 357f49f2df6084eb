//! Images as the experiments use them: cut, dequantised, pooled.

use candle_core::{Device, Tensor};
use chains_core::{Noise, Seed};
use datasets::{ImageSet, Mnist, mnist_split};
use serde::{Deserialize, Serialize};

use crate::{
    data::{self, usage},
    error::{Error, Result},
    request::Request,
};

/// `0..n` in blocks of at most `size`.
pub fn blocks(n: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..n).step_by(size.max(1)).map(move |start| (start..n.min(start + size)).collect())
}

/// Which images, and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Training images, the first of the training file.
    pub train: usize,
    /// Validation images, behind the first 50,000 of the training file.
    pub validation: usize,
    /// Test images, the first of the test file.
    pub test: usize,
    /// Average 2x2 blocks after dequantisation.
    pub pooled: bool,
}

/// Training, validation and test images of one kind.
#[derive(Clone, Debug)]
pub struct Images {
    /// To train on.
    pub train: ImageSet,
    /// To choose on.
    pub validation: ImageSet,
    /// To report on.
    pub test: ImageSet,
    /// 2x2 blocks are averaged.
    pub pooled: bool,
}

impl Images {
    /// MNIST from `--data` or the repository.
    ///
    /// # Errors
    /// [`Error::Missing`] that names the places searched and the files to put there;
    /// [`Error::Usage`] if they hold fewer images; [`Error::Data`] with file and byte for a malformed one.
    pub fn mnist(request: &Request, cut: &Cut) -> Result<Self> {
        let files = data::mnist(request)?;
        let Mnist { train, test } = files.as_ref();
        let start = cut.train.max(50_000.min(train.len().saturating_sub(cut.validation)));
        let (train, validation) =
            mnist_split(train, cut.train, start..start + cut.validation).map_err(usage)?;
        if cut.test > test.len() {
            return Err(Error::Usage(format!(
                "{} test images were asked for, `{}` has {}",
                cut.test,
                test.name,
                test.len()
            )));
        }
        Ok(Self { train, validation, test: test.range(0..cut.test), pooled: cut.pooled })
    }

    /// Channels, height and width as the network sees them.
    pub fn event(&self) -> [usize; 3] {
        let by = if self.pooled { 2 } else { 1 };
        [self.train.channels, self.train.height / by, self.train.width / by]
    }

    /// Dequantised images `(b, D)` in `[0, 1)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn rows(
        &self,
        set: &ImageSet,
        indices: &[usize],
        noise: &mut dyn Noise,
        device: &Device,
    ) -> Result<Tensor> {
        let (pixels, n) = (set.gather(indices), indices.len());
        let shape = (n, set.pixels());
        if !self.pooled {
            let pixels = Tensor::from_vec(pixels, shape, device)?;
            return Ok(datasets::dequantise_tensor(&pixels, noise)?);
        }
        let pixels = Tensor::from_vec(pixels, shape, &Device::Cpu)?;
        let values = datasets::dequantise_tensor(&pixels, noise)?;
        self.tensor(set, values.flatten_all()?.to_vec1()?, n, device)
    }

    /// The pixels of a set where a device reads them in every update, `(n, D)` of u8; none where
    /// [`Images::rows`] copies or pools on the host.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn resident(&self, set: &ImageSet, device: &Device) -> Result<Option<Tensor>> {
        if self.pooled || !device.is_cuda() {
            return Ok(None);
        }
        let all: Vec<usize> = (0..set.len()).collect();
        let pixels = Tensor::from_vec(set.gather(&all), (set.len(), set.pixels()), device)?;
        Ok(Some(pixels))
    }

    /// The first `n` images dequantised with the noise of `seed`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are fewer.
    pub fn first(&self, set: &ImageSet, n: usize, seed: Seed, device: &Device) -> Result<Tensor> {
        if n > set.len() {
            return Err(Error::Usage(format!("`{}` has {} images, not {n}", set.name, set.len())));
        }
        let indices: Vec<usize> = (0..n).collect();
        self.rows(set, &indices, &mut seed.host_noise(), device)
    }

    /// The first `n` images scaled to integer / 256 without noise.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn scaled(&self, set: &ImageSet, n: usize, device: &Device) -> Result<Tensor> {
        let indices: Vec<usize> = (0..n.min(set.len())).collect();
        self.scaled_at(set, &indices, device)
    }

    /// The images with these numbers scaled to integer / 256 without noise.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn scaled_at(&self, set: &ImageSet, indices: &[usize], device: &Device) -> Result<Tensor> {
        let values = datasets::scale_256(&set.gather(indices));
        self.tensor(set, values, indices.len(), device)
    }

    fn tensor(
        &self,
        set: &ImageSet,
        values: Vec<f32>,
        n: usize,
        device: &Device,
    ) -> Result<Tensor> {
        let values = if self.pooled {
            let shape = [set.channels, set.height, set.width];
            datasets::pool2(&values, shape).map_err(usage)?
        } else {
            values
        };
        let d = self.event().iter().product::<usize>();
        Ok(Tensor::from_vec(values, (n, d), device)?)
    }

    /// Identifies the data in the name of a shared model: what it is trained, chosen and followed on.
    pub fn digest(&self) -> [String; 3] {
        [&self.train, &self.validation, &self.test].map(ImageSet::digest)
    }
}
