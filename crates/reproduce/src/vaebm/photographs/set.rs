//! Sets of photographs, their published networks and numbers.

use datasets::ImageSet;
use vaebm::{ConvEnergyConfig, EnergyTrainConfig, NvaeConfig, NvaeTrainConfig};

use crate::{
    colour_sets::Collection, error::Result, images::Cut, request::Request,
    vaebm::digits::data::Digits,
};

/// A set of colour photographs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photographs {
    Cifar10,
    CelebA64,
    LsunChurch64,
    CelebAHq256,
}

/// The published pair of networks and their trainings.
pub(super) struct Published {
    pub(super) autoencoder: NvaeConfig,
    pub(super) autoencoder_training: NvaeTrainConfig,
    pub(super) energy: ConvEnergyConfig,
    pub(super) energy_training: EnergyTrainConfig,
    /// Updates of the energy.
    pub(super) updates: usize,
}

impl Photographs {
    pub(super) fn collection(self) -> Collection {
        match self {
            Self::Cifar10 => Collection::Cifar10,
            Self::CelebA64 => Collection::CelebAClose,
            Self::LsunChurch64 => Collection::LsunChurch,
            Self::CelebAHq256 => Collection::CelebAHq,
        }
    }

    pub(super) fn side(self) -> usize {
        self.collection().event(false)[1]
    }

    /// Are the images there? None are needed at `smoke`.
    pub(super) fn ready(self, request: &Request) -> Result<()> {
        self.collection().ready(request)
    }

    /// Training images, half of them to be mirrored, and the first that nobody trains on.
    pub(super) fn images(
        self,
        request: &Request,
        train: usize,
        validation: usize,
    ) -> Result<Digits> {
        let cut = Cut { train, validation, test: 0, pooled: false };
        let found = self.collection().images(request, &cut, "images")?;
        let unlabelled = |set: &ImageSet| set.range(0..set.len());
        let (train, validation) = (unlabelled(&found.train), unlabelled(&found.validation));
        Ok(Digits { train, validation, flip: true })
    }

    pub(super) fn published(self) -> Published {
        let (autoencoder, autoencoder_training, energy, energy_training, updates) = match self {
            Self::Cifar10 => (
                NvaeConfig::cifar10(),
                NvaeTrainConfig::cifar10(),
                ConvEnergyConfig::cifar10(),
                EnergyTrainConfig::cifar10(),
                25_000,
            ),
            Self::CelebA64 => (
                NvaeConfig::celeba64(),
                NvaeTrainConfig::celeba64(),
                ConvEnergyConfig::celeba64(),
                EnergyTrainConfig::celeba64(),
                20_000,
            ),
            Self::LsunChurch64 => (
                NvaeConfig::celeba64(),
                NvaeTrainConfig::lsun_church64(),
                ConvEnergyConfig::lsun_church64(),
                EnergyTrainConfig::lsun_church64(),
                20_000,
            ),
            Self::CelebAHq256 => (
                NvaeConfig::celeba_hq256(),
                NvaeTrainConfig::celeba_hq256(),
                ConvEnergyConfig::celeba_hq256(),
                EnergyTrainConfig::celeba_hq256(),
                9_000,
            ),
        };
        Published { autoencoder, autoencoder_training, energy, energy_training, updates }
    }

    /// What the paper reports, in words.
    pub(super) fn scores(self) -> &'static str {
        match self {
            Self::Cifar10 => {
                "inception score 8.21 and Fréchet inception distance 12.26 without a buffer, 8.43 and \
                 12.19 with one; the autoencoder alone 5.51 and 51.67"
            }
            Self::CelebA64 => "Fréchet inception distance 5.31; the autoencoder alone 14.74",
            Self::LsunChurch64 => "Fréchet inception distance 13.51; the autoencoder alone 41.3",
            Self::CelebAHq256 => "Fréchet inception distance 20.38; the autoencoder alone 45.11",
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chains_core::Seed;

    use super::*;

    #[test]
    fn half_of_the_training_images_are_mirrored() {
        // Every image counts its columns.
        let pixels: Vec<u8> = (0..200 * 3 * 4 * 4).map(|at| (at % 4) as u8 * 50).collect();
        let set = ImageSet::new("columns", pixels, Vec::new(), [3, 4, 4]).unwrap();
        let mut digits = Digits { train: set.clone(), validation: set, flip: true };
        let mut first = |flip: bool| -> Vec<f32> {
            digits.flip = flip;
            let mut flips = Seed::new(0).host_noise();
            let all: Vec<usize> = (0..200).collect();
            let x = digits.training(&all, &mut flips, None, &Device::Cpu).unwrap();
            assert_eq!(x.dims(), [200, 3, 4, 4]);
            x.flatten_from(1)
                .unwrap()
                .narrow(1, 0, 1)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        let mirrored = first(true).iter().filter(|v| **v > 0.5).count();
        // Five standard deviations of a binomial of 200.
        assert!(mirrored.abs_diff(100) < 36, "{mirrored}");
        assert!(first(false).iter().all(|v| *v < 0.1));
    }
}
