//! Sizes of the hierarchical autoencoder.

use chains_core::{Error, Result, config::event_dim};
use serde::{Deserialize, Serialize};

/// Largest number of channels of a map, and of cells, groups or blocks.
const WIDEST: usize = 1 << 13;
const MOST: usize = 1 << 8;

/// The law of the pixels given the latent variables.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Head {
    /// A Gaussian of continuous pixels in `[-1, 1]`, the one that chains run on (VAEBM).
    Gaussian {
        /// Least standard deviation; 0.01 in the published models, 0.1 here for greyscale images, whose
        /// constant background would drive it down.
        floor: f64,
    },
    /// A mixture of discretised logistics of RGB levels (NVAE).
    LogisticMixture {
        /// Number of logistics; 10 in the published models.
        components: usize,
    },
    /// Binary pixels of one channel (NVAE on MNIST).
    Bernoulli,
}

/// The hierarchical autoencoder (NVAE, with residual cells `res_mbconv`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvaeConfig {
    /// Channels of the images.
    pub channels: usize,
    /// Side of the images.
    pub side: usize,
    /// Channels of the encoder's first map.
    pub encoder_width: usize,
    /// Channels of the decoder's last map.
    pub decoder_width: usize,
    /// Groups of latent variables in each scale, the highest resolution first.
    pub groups: Vec<usize>,
    /// Channels of a group; 20 in the published models.
    pub latent: usize,
    /// Cells of the encoder in a group.
    pub encoder_cells: usize,
    /// Cells of the decoder in a group.
    pub decoder_cells: usize,
    /// Halvings of the resolution before the encoder's tower.
    pub pre_blocks: usize,
    /// Cells in each of them, the halving one included.
    pub pre_cells: usize,
    /// Doublings of the resolution behind the decoder's tower.
    pub post_blocks: usize,
    /// Cells in each of them, the doubling one included.
    pub post_cells: usize,
    /// Pairs of autoregressive cells behind each posterior.
    pub flows: usize,
    /// Squeeze and excitation in every cell.
    pub squeeze: bool,
    /// The posterior's raw parameters are added to those of the prior; not to be told from weights.
    pub residual_posterior: bool,
    /// The law of the pixels.
    pub head: Head,
    /// Bits of a pixel's level that the model was trained on.
    pub bits: u32,
}

/// Groups per scale by the adaptive rule of NVAE: halved, rounding down, from scale to scale of falling
/// resolution, not below `least`.
pub fn adaptive_groups(first: usize, scales: usize, least: usize) -> Vec<usize> {
    let halved = |scale: usize| first.checked_shr(u32::try_from(scale).unwrap_or(u32::MAX));
    (0..scales).map(|scale| halved(scale).unwrap_or(0).max(least)).collect()
}

impl NvaeConfig {
    /// What all published models share: 20 channels a group, two cells a group, blocks of two cells.
    fn published(side: usize, width: usize, groups: Vec<usize>, flows: usize) -> Self {
        Self {
            channels: 3,
            side,
            encoder_width: width,
            decoder_width: width,
            groups,
            latent: 20,
            encoder_cells: 2,
            decoder_cells: 2,
            pre_blocks: 1,
            pre_cells: 2,
            post_blocks: 1,
            post_cells: 2,
            flows,
            squeeze: true,
            residual_posterior: true,
            head: Head::Gaussian { floor: 0.01 },
            bits: 8,
        }
    }

    /// The backbone of VAEBM on CIFAR-10: 30 groups of one scale, width 128 (published command).
    pub fn cifar10() -> Self {
        Self::published(32, 128, vec![30], 1)
    }

    /// The backbone of the ablations of VAEBM on CIFAR-10 (Table 4): 20 groups. Its width is not
    /// printed; 128 is the choice here.
    pub fn cifar10_small() -> Self {
        Self::published(32, 128, vec![20], 1)
    }

    /// The backbone of VAEBM on CelebA-64 and on LSUN churches of side 64: five groups of each of three
    /// scales, width 48 (published commands).
    pub fn celeba64() -> Self {
        Self::published(64, 48, vec![5; 3], 1)
    }

    /// The backbone of VAEBM on CelebA-HQ-256: four groups of each of five scales, width 32, two flows,
    /// five bits (published command).
    pub fn celeba_hq256() -> Self {
        Self { bits: 5, ..Self::published(256, 32, vec![4; 5], 2) }
    }

    /// The original NVAE of binary MNIST (published command).
    pub fn nvae_mnist() -> Self {
        Self {
            channels: 1,
            pre_blocks: 2,
            pre_cells: 3,
            post_blocks: 2,
            post_cells: 3,
            head: Head::Bernoulli,
            ..Self::published(32, 32, adaptive_groups(10, 2, 1), 0)
        }
    }

    /// The original NVAE of CIFAR-10 (published command).
    pub fn nvae_cifar10() -> Self {
        Self { head: Head::LogisticMixture { components: 10 }, ..Self::cifar10() }
    }

    /// The original NVAE of CelebA-64 (published command).
    pub fn nvae_celeba64() -> Self {
        let groups = adaptive_groups(20, 3, 1);
        let head = Head::LogisticMixture { components: 10 };
        Self { head, ..Self::published(64, 64, groups, 1) }
    }

    /// The original NVAE of ImageNet-32 (published command).
    pub fn nvae_imagenet32() -> Self {
        let head = Head::LogisticMixture { components: 10 };
        Self { head, ..Self::published(32, 192, vec![28], 1) }
    }

    /// The original NVAE of CelebA-HQ-256 and of FFHQ-256 (published commands).
    pub fn nvae_celeba_hq256() -> Self {
        let groups = adaptive_groups(16, 5, 4);
        let head = Head::LogisticMixture { components: 10 };
        Self { head, bits: 5, ..Self::published(256, 30, groups, 2) }
    }

    /// What the small models for greyscale images of side 32 share: width 8, one cell a group, no flow.
    fn small(channels: usize, groups: Vec<usize>, latent: usize) -> Self {
        Self {
            channels,
            latent,
            encoder_cells: 1,
            decoder_cells: 1,
            pre_blocks: 2,
            pre_cells: 1,
            post_blocks: 2,
            post_cells: 1,
            head: Head::Gaussian { floor: 0.1 },
            ..Self::published(32, 8, groups, 0)
        }
    }

    /// Two groups of four channels: for tests (a size of this crate's own, as the next three).
    pub fn nano() -> Self {
        Self::small(1, vec![2], 4)
    }

    /// Two groups of each of two scales.
    pub fn extra_small() -> Self {
        Self::small(1, vec![2; 2], 8)
    }

    /// Two groups of each of three scales: MNIST on a processor.
    pub fn small_mnist() -> Self {
        Self::small(1, vec![2; 3], 8)
    }

    /// The same for StackedMNIST.
    pub fn small_stacked_mnist() -> Self {
        Self::small(3, vec![2; 3], 8)
    }

    /// L: groups of latent variables.
    pub fn latent_groups(&self) -> usize {
        self.groups.iter().sum()
    }

    /// Shape of an image.
    pub fn event(&self) -> [usize; 3] {
        [self.channels, self.side, self.side]
    }

    /// Channels of the decoder's result.
    pub fn head_channels(&self) -> usize {
        match self.head {
            Head::Gaussian { .. } => 2 * self.channels,
            Head::LogisticMixture { components } => components * (1 + 3 * self.channels),
            Head::Bernoulli => self.channels,
        }
    }

    /// `2^(halvings)` at a scale, 0 being the highest resolution.
    pub(crate) fn scaling(&self, scale: usize) -> usize {
        let halvings = u32::try_from(self.pre_blocks.saturating_add(scale)).unwrap_or(u32::MAX);
        1_usize.checked_shl(halvings).unwrap_or(usize::MAX)
    }

    /// Scales in the order of generation, lowest resolution first.
    pub(crate) fn scales_up(&self) -> impl Iterator<Item = usize> {
        (0..self.groups.len()).rev()
    }

    /// Shapes of the latent groups in the order of generation, lowest resolution first.
    pub fn latent_shapes(&self) -> Vec<[usize; 3]> {
        let of = |scale: usize| {
            let side = self.side / self.scaling(scale);
            vec![[self.latent, side, side]; self.groups[scale]]
        };
        self.scales_up().flat_map(of).collect()
    }

    /// Has it a single group and so no towers?
    pub fn is_vanilla(&self) -> bool {
        self.latent_groups() == 1
    }

    /// Checks ranges and that the sides can be halved as often as the scales ask for.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        event_dim(self.event())?;
        check(!self.groups.is_empty() && self.groups.len() <= 16, "groups", || {
            format!("{} scales are not 1 to 16", self.groups.len())
        })?;
        for (field, value, most) in [
            ("encoder_width", self.encoder_width, WIDEST),
            ("decoder_width", self.decoder_width, WIDEST),
            ("latent", self.latent, MOST),
            ("encoder_cells", self.encoder_cells, MOST),
            ("decoder_cells", self.decoder_cells, MOST),
            ("pre_blocks", self.pre_blocks, 8),
            ("pre_cells", self.pre_cells, MOST),
            ("post_blocks", self.post_blocks, 8),
            ("post_cells", self.post_cells, MOST),
        ] {
            check((1..=most).contains(&value), field, || format!("{value} is not 1 to {most}"))?;
        }
        for groups in &self.groups {
            check((1..=MOST).contains(groups), "groups", || {
                format!("{groups} is not 1 to {MOST}")
            })?;
        }
        check(self.flows <= 16, "flows", || format!("{} is above 16", self.flows))?;
        check(self.pre_blocks == self.post_blocks, "post_blocks", || {
            format!("{} doublings for {} halvings", self.post_blocks, self.pre_blocks)
        })?;
        let last = self.scaling(self.groups.len() - 1);
        check(self.side.is_multiple_of(last), "side", || {
            format!("{} is not a multiple of {last}, which the scales halve it by", self.side)
        })?;
        // Four convolutions share the channels of a halving.
        let wide = |width: usize| width.checked_mul(last).is_some_and(|wide| wide <= 8 * WIDEST);
        check(wide(self.encoder_width) && self.encoder_width >= 2, "encoder_width", || {
            format!("{} is below 2, or {last} times it too wide", self.encoder_width)
        })?;
        check(wide(self.decoder_width), "decoder_width", || {
            format!("{last} times {} is too wide", self.decoder_width)
        })?;
        check(
            !self.is_vanilla() || self.encoder_width == self.decoder_width,
            "decoder_width",
            || "must be the encoder's in a model of one group".into(),
        )?;
        check((1..=8).contains(&self.bits), "bits", || format!("{} is not 1 to 8", self.bits))?;
        self.validate_head()
    }

    fn validate_head(&self) -> Result<()> {
        match self.head {
            Head::Gaussian { floor } => {
                check(floor.is_finite() && (0.0..=1.0).contains(&floor), "floor", || {
                    format!("{floor} is not 0 to 1")
                })
            }
            Head::LogisticMixture { components } => {
                check((1..=MOST).contains(&components), "components", || {
                    format!("{components} is not 1 to {MOST}")
                })?;
                check(self.channels == 3, "channels", || {
                    "a mixture of logistics is of three channels".into()
                })
            }
            Head::Bernoulli => {
                check(self.channels == 1, "channels", || "binary pixels are of one channel".into())
            }
        }
    }
}

fn check(holds: bool, field: &'static str, reason: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config { field, reason: reason() }) }
}
