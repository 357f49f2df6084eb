//! The network of the operator: shared trunk, one branch for the mean and one for the variance.

mod stage;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Error, Result,
    chain::Step,
    nn::{Gains, MomentSource, Norm, NormConfig, NormKind},
    ops,
};

pub(crate) use self::stage::Stage;
use self::stage::{dense, doubling, halving};
use crate::config::{Architecture, NetworkConfig};

/// Standard deviation of initial convolution weights (published code).
const CONV_STDEV: f64 = 0.02;
/// Of initial weights of dense heads (published code).
const HEAD_STDEV: f64 = 0.01;
/// Of initial gains after convolutions around one (published code).
const CONV_GAIN_STDEV: f64 = 0.001;
/// The directions whose moments are stored; see [`Statistics`].
const SETS: &[&str] = &["heat", "cool"];

/// Which moments normalise batch-normalised layers.
///
/// States that a walk heats and states that it cools have different laws at the same step, so their
/// moments are stored apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Those of the batch itself: examples interact. Training, and sampling without densities.
    Batch,
    /// The stored ones of transition t seen from `s_{t-1}`: the proposal of a bound, and fitting the
    /// start.
    Heating,
    /// The stored ones of transition t seen from `s_t`: the model of a bound, sampling, reversibility.
    Cooling,
}

impl Statistics {
    pub(crate) fn source(self) -> MomentSource {
        match self {
            Self::Batch => MomentSource::Batch,
            Self::Heating => MomentSource::Set(0),
            Self::Cooling => MomentSource::Set(1),
        }
    }
}

/// Reads a state and a transition, gives the raw mean `F_mu` and raw variance `F_sig`.
///
/// Tensors are `encoder.<i>.*`, `hidden.<i>.*`, and `mean.<i>.*`, `variance.<i>.*` for branches of
/// maps or `mean_head.*`, `variance_head.*` for dense heads; behind each of them `weight`, `bias`, and
/// what [`Norm`] asks for. Layers in front of a norm have no bias, whose gradient would be zero.
#[derive(Clone, Debug)]
pub struct OperatorNetwork {
    trunk: Vec<Stage>,
    /// Of the mean and of the variance.
    branches: [Vec<Stage>; 2],
    config: NetworkConfig,
}

/// Which outputs are wanted; a branch that is not costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// `F_mu` alone.
    Mean,
    /// Both.
    Both,
}

/// The raw outputs, `(b, D)`.
#[derive(Clone, Debug)]
pub struct Raw {
    /// `F_mu`.
    pub mean: Tensor,
    /// `F_sig`, if it was wanted.
    pub variance: Option<Tensor>,
}

impl OperatorNetwork {
    /// Asks `vb` for every tensor, for those of the variance branch `variance_vb`: the same builder,
    /// or one of tensors that do not learn.
    ///
    /// # Errors
    /// If the configuration is invalid or a builder holds tensors of other shapes.
    pub fn new(
        config: &NetworkConfig,
        vb: VarBuilder<'_>,
        variance_vb: VarBuilder<'_>,
    ) -> Result<Self> {
        config.validate()?;
        let (trunk, branches) = match &config.architecture {
            Architecture::Mlp { .. } => Self::mlp(config, vb, variance_vb)?,
            Architecture::Conv { channels, .. } => Self::conv(config, channels, vb, variance_vb)?,
        };
        Ok(Self { trunk, branches, config: config.clone() })
    }

    fn mlp(
        config: &NetworkConfig,
        vb: VarBuilder<'_>,
        variance_vb: VarBuilder<'_>,
    ) -> Result<(Vec<Stage>, [Vec<Stage>; 2])> {
        let input = config.dim() + usize::from(config.temp_input);
        let (trunk, width) = hidden(config, input, &vb)?;
        let head = |name: &str, vb: VarBuilder<'_>| -> Result<Vec<Stage>> {
            let map = dense([width, config.dim()], true, HEAD_STDEV, vb.pp(name))?;
            Ok(vec![Stage::plain(name.into(), map, vec![width], None)])
        };
        Ok((trunk, [head("mean_head", vb.clone())?, head("variance_head", variance_vb)?]))
    }

    fn conv(
        config: &NetworkConfig,
        channels: &[usize],
        vb: VarBuilder<'_>,
        variance_vb: VarBuilder<'_>,
    ) -> Result<(Vec<Stage>, [Vec<Stage>; 2])> {
        let [c, mut h, mut w] = config.event;
        let mut trunk = Vec::new();
        let mut from = c + usize::from(config.temp_input);
        for (index, &to) in channels.iter().enumerate() {
            let name = format!("encoder.{index}");
            let (map, at) = (halving([from, to], CONV_STDEV, vb.pp(&name))?, vb.pp(&name));
            let norm = map_norm(config, to, at)?;
            trunk.push(Stage::normalised(name, map, vec![from, h, w], norm));
            (from, h, w) = (to, h / 2, w / 2);
        }
        let (dense, _) = hidden(config, from * h * w, &vb)?;
        trunk.extend(dense);
        let widths: Vec<usize> = channels.iter().rev().copied().chain([c]).collect();
        let branch = |root: &str, vb: VarBuilder<'_>| -> Result<Vec<Stage>> {
            let [mut h, mut w] = [h, w];
            let mut stages = Vec::new();
            for (index, pair) in widths.windows(2).enumerate() {
                let (name, last) = (format!("{root}.{index}"), index + 2 == widths.len());
                let map = doubling([pair[0], pair[1]], last, CONV_STDEV, vb.pp(&name))?;
                let input = vec![pair[0], h, w];
                stages.push(if last {
                    Stage::plain(name, map, input, None)
                } else {
                    let norm = map_norm(config, pair[1], vb.pp(&name))?;
                    Stage::normalised(name, map, input, norm)
                });
                (h, w) = (2 * h, 2 * w);
            }
            Ok(stages)
        };
        Ok((trunk, [branch("mean", vb.clone())?, branch("variance", variance_vb)?]))
    }

    /// Runs states through the network at the transition `at`.
    ///
    /// # Shapes
    /// `s`: `(b, D)`; the outputs the same.
    ///
    /// # Errors
    /// [`Error::Shape`] for another input.
    pub fn raw(
        &self,
        s: &Tensor,
        at: Step,
        statistics: Statistics,
        outputs: Outputs,
    ) -> Result<Raw> {
        let (index, source) = (at.index, statistics.source());
        let b = s.dims().first().copied().unwrap_or(0);
        let mut h = self.entrance(s, at.temperature)?;
        for stage in &self.trunk {
            h = stage.forward(&h, index, source)?;
        }
        let run = |branch: &[Stage]| -> Result<Tensor> {
            let mut y = h.clone();
            for stage in branch {
                y = stage.forward(&y, index, source)?;
            }
            ops::reshape(&y, (b, self.config.dim()))
        };
        let [mean, variance] = &self.branches;
        let variance = match outputs {
            Outputs::Mean => None,
            Outputs::Both => Some(run(variance)?),
        };
        Ok(Raw { mean: run(mean)?, variance })
    }

    /// The input of the first stage: the state, with the logarithm of the temperature if that is an
    /// input; temperatures below 1 count as 1.
    pub(crate) fn entrance(&self, s: &Tensor, temperature: f64) -> Result<Tensor> {
        let d = self.config.dim();
        if s.rank() != 2 || s.dims()[1] != d {
            let (expected, got) = (format!("(b, {d})"), s.dims().to_vec());
            return Err(Error::Shape { what: "state", expected, got });
        }
        if !self.config.temp_input {
            return Ok(s.clone());
        }
        let b = s.dim(0)?;
        let more = match self.config.architecture {
            Architecture::Mlp { .. } => 1,
            Architecture::Conv { .. } => d / self.config.event[0],
        };
        let column = Tensor::full(temperature.max(1.0).ln() as f32, (b, more), s.device())?;
        Ok(Tensor::cat(&[s, &column.to_dtype(s.dtype())?], 1)?)
    }

    /// The stages that lead to the mean and to the variance, and how many of them are common.
    pub(crate) fn routes(&self) -> ([Vec<&Stage>; 2], usize) {
        let routes =
            self.branches.each_ref().map(|branch| self.trunk.iter().chain(branch).collect());
        (routes, self.trunk.len())
    }

    /// The configuration.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }
}

/// The hidden dense layers, and the width of the last one.
fn hidden(
    config: &NetworkConfig,
    mut width: usize,
    vb: &VarBuilder<'_>,
) -> Result<(Vec<Stage>, usize)> {
    let mut stages = Vec::new();
    for (index, to) in config.dense_widths().into_iter().enumerate() {
        let name = format!("hidden.{index}");
        let (at, kind) = (vb.pp(&name), config.dense_norm.kind());
        let map = dense([width, to], kind.is_none(), config.dense_init.stdev(), at.clone())?;
        let input = vec![width];
        stages.push(match kind {
            None => Stage::plain(name, map, input, Some(config.dense_slope)),
            Some(kind) => Stage::normalised(name, map, input, dense_norm(config, kind, to, at)?),
        });
        width = to;
    }
    Ok((stages, width))
}

fn dense_norm(
    config: &NetworkConfig,
    kind: NormKind,
    channels: usize,
    vb: VarBuilder<'_>,
) -> Result<Norm> {
    let (gains, steps, slope) = (config.dense_gains, config.steps, Some(config.dense_slope));
    let eps = config.norm_eps.of_dense(kind, gains);
    let (gain_stdev, sets) = (0.0, SETS);
    Norm::new(NormConfig { kind, gains, gain_stdev, steps, channels, eps, slope, sets }, vb)
}

fn map_norm(config: &NetworkConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Norm> {
    let (gains, steps, slope) = (config.conv_gains, config.steps, Some(config.conv_slope));
    let gain_stdev = if gains == Gains::PerStep { 0.0 } else { CONV_GAIN_STDEV };
    let (kind, eps, sets) = (NormKind::Batch, config.norm_eps.of_maps(), SETS);
    Norm::new(NormConfig { kind, gains, gain_stdev, steps, channels, eps, slope, sets }, vb)
}
