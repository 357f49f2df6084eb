//! The operator's network.

use chains_core::{
    Error, Result,
    config::{LARGEST_CHAIN, LARGEST_NETWORK, LARGEST_WIDTH, event_dim},
    nn::{Gains, NormKind},
    ops::Eps,
};
use serde::{Deserialize, Serialize};

/// The layers between a state and the two heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Architecture {
    /// Dense layers of these widths, dense heads.
    Mlp {
        /// Units of the hidden layers.
        hidden: Vec<usize>,
    },
    /// Convolutions 5x5 with stride 2, each halving the side; dense layers; then for mean and variance
    /// a branch each of transposed convolutions back to the event.
    Conv {
        /// Channels of the convolutions' maps.
        channels: Vec<usize>,
        /// Units of the dense layers; one more leads back to the size of the last maps.
        hidden: Vec<usize>,
    },
}

/// What follows a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenseNorm {
    /// A bias alone.
    None,
    /// Batch norm.
    Batch,
    /// Layer norm.
    Layer,
}

impl DenseNorm {
    pub(crate) fn kind(self) -> Option<NormKind> {
        match self {
            Self::None => None,
            Self::Batch => Some(NormKind::Batch),
            Self::Layer => Some(NormKind::Layer),
        }
    }
}

/// Where the small number of a normalisation stands, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormEps {
    /// As published: added to the standard deviation, 0.01 for maps, 0.0001 for dense layers with
    /// gains, 0.001 for layer norm; dense layers without gains divide by `sqrt(variance + 1e-8)`.
    AddedToStd,
    /// Added to the variance: 1e-4 for batch norm, 1e-6 for layer norm. Not in the paper.
    InVariance,
}

impl NormEps {
    pub(crate) fn of_maps(self) -> Eps {
        match self {
            Self::AddedToStd => Eps::OnDeviation(0.01),
            Self::InVariance => Eps::InVariance(1e-4),
        }
    }

    pub(crate) fn of_dense(self, kind: NormKind, gains: Gains) -> Eps {
        match (self, kind) {
            (Self::AddedToStd, NormKind::Layer) => Eps::OnDeviation(0.001),
            (Self::AddedToStd, NormKind::Batch) if gains == Gains::None => Eps::InVariance(1e-8),
            (Self::AddedToStd, NormKind::Batch) => Eps::OnDeviation(0.0001),
            (Self::InVariance, NormKind::Layer) => Eps::InVariance(1e-6),
            (Self::InVariance, NormKind::Batch) => Eps::InVariance(1e-4),
        }
    }
}

/// How the weights of hidden dense layers begin (published code).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum DenseInit {
    /// `N(0, stdev^2)`.
    Normal {
        /// Standard deviation.
        stdev: f64,
    },
    /// Square matrices orthogonal, others `N(0, stdev^2)`; the scripts with per-step norms.
    Orthogonal {
        /// Standard deviation of matrices that are not square.
        stdev: f64,
    },
}

impl DenseInit {
    pub(crate) fn stdev(self) -> f64 {
        match self {
            Self::Normal { stdev } | Self::Orthogonal { stdev } => stdev,
        }
    }
}

/// The network `F_mu(s; t)`, `F_sig(s; t)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Channels, height and width of a state; points of a plane are `[1, 1, 2]`.
    pub event: [usize; 3],
    /// Hidden layers.
    pub architecture: Architecture,
    /// K: transitions with an index of their own.
    pub steps: usize,
    /// What follows a dense layer.
    pub dense_norm: DenseNorm,
    /// Who has gains and shifts after dense layers.
    pub dense_gains: Gains,
    /// Slope below zero of the activation of dense layers; 0 is a ReLU.
    pub dense_slope: f64,
    /// How dense layers begin.
    pub dense_init: DenseInit,
    /// Who has gains and shifts after convolutions, which are batch normalised.
    pub conv_gains: Gains,
    /// Slope below zero of the activation of convolutions; 0 is a ReLU.
    pub conv_slope: f64,
    /// The small number of normalisations.
    pub norm_eps: NormEps,
    /// Give the network `ln T` as one more input.
    pub temp_input: bool,
}

impl NetworkConfig {
    /// D = channels * height * width.
    pub fn dim(&self) -> usize {
        self.event.iter().product()
    }

    /// Channels, height and width of the last maps of the encoder; of an MLP the event.
    pub fn bottom(&self) -> [usize; 3] {
        let [_, h, w] = self.event;
        match &self.architecture {
            Architecture::Conv { channels, .. } => {
                let halvings = u32::try_from(channels.len()).unwrap_or(u32::MAX);
                let side = |n: usize| n.checked_shr(halvings).unwrap_or(0);
                [channels.last().copied().unwrap_or(0), side(h), side(w)]
            }
            Architecture::Mlp { .. } => self.event,
        }
    }

    /// Widths of the hidden dense layers, the one that leads back to the maps included.
    pub(crate) fn dense_widths(&self) -> Vec<usize> {
        match &self.architecture {
            Architecture::Mlp { hidden } => hidden.clone(),
            Architecture::Conv { hidden, .. } => {
                let back = self.bottom().iter().product();
                hidden.iter().copied().chain([back]).collect()
            }
        }
    }

    /// A bound of the numbers in all tensors: weights, and six numbers a unit and step. A foreign file
    /// may say anything.
    fn size(&self) -> u128 {
        let wide = |n: usize| n as u128;
        let units = |n: usize| wide(n).saturating_mul(6 * wide(self.steps));
        let (mut size, mut input) = (0_u128, wide(self.dim()) + 1);
        if let Architecture::Conv { channels, .. } = &self.architecture {
            let mut from = wide(self.event[0]) + 1;
            for &to in channels {
                size = size.saturating_add(from.saturating_mul(75 * wide(to)));
                size = size.saturating_add(units(to).saturating_mul(3));
                from = wide(to);
            }
            input = self.bottom().iter().map(|n| wide(*n)).product();
        }
        for width in self.dense_widths() {
            size = size.saturating_add(input.saturating_mul(wide(width)));
            size = size.saturating_add(units(width));
            input = wide(width);
        }
        if matches!(self.architecture, Architecture::Mlp { .. }) {
            size = size.saturating_add(input.saturating_mul(2 * wide(self.dim())));
        }
        size
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, reason: String| Err(Error::Config { field, reason });
        event_dim(self.event)?;
        if self.steps == 0 {
            return bad("steps", "must be at least 1".into());
        }
        for (field, slope) in [("dense_slope", self.dense_slope), ("conv_slope", self.conv_slope)] {
            if !(0.0..1.0).contains(&slope) {
                return bad(field, format!("{slope} must be from 0 to below 1"));
            }
        }
        chains_core::config::positive("dense_init.stdev", self.dense_init.stdev())?;
        let (channels, hidden) = match &self.architecture {
            Architecture::Mlp { hidden } => (None, hidden),
            Architecture::Conv { channels, hidden } => (Some(channels), hidden),
        };
        if hidden.contains(&0) || hidden.iter().any(|width| *width > LARGEST_WIDTH) {
            return bad("hidden", format!("a layer has not 1 to {LARGEST_WIDTH} units"));
        }
        if self.steps > LARGEST_CHAIN {
            return bad("steps", format!("{} are more than {LARGEST_CHAIN}", self.steps));
        }
        if let Some(channels) = channels {
            self.check_channels(channels)?;
        }
        if self.size() > LARGEST_NETWORK {
            let reason = format!("a network of more than {LARGEST_NETWORK} numbers");
            return bad("architecture", reason);
        }
        Ok(())
    }

    fn check_channels(&self, channels: &[usize]) -> Result<()> {
        let bad = |reason| Err(Error::Config { field: "channels", reason });
        if channels.is_empty() || channels.contains(&0) {
            return bad("needs at least one map, each with a channel".into());
        }
        let sides = &self.event[1..];
        let halved = u32::try_from(channels.len()).ok().and_then(|n| 1_usize.checked_shl(n));
        if !halved.is_some_and(|halved| sides.iter().all(|side| side.is_multiple_of(halved))) {
            let reason = format!(
                "{} halvings do not divide the event {} x {}",
                channels.len(),
                sides[0],
                sides[1]
            );
            return bad(reason);
        }
        // Channels times sides must not overflow.
        if channels.iter().any(|c| *c > LARGEST_WIDTH) {
            return bad(format!("more than {LARGEST_WIDTH} channels"));
        }
        Ok(())
    }
}
