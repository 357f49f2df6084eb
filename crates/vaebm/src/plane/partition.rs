//! Partition functions in the plane.

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Result, chain::LogMeanExp, density::Energy, host};

/// Deviations beyond which a kernel is taken as zero.
const WINDOW: f64 = 6.0;
/// Nodes whose energies are taken at once.
const BATCH: usize = 4096;

/// A square of `nodes * nodes` cells; a node is the centre of its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    low: [f64; 2],
    side: f64,
    nodes: usize,
}

/// An integral over a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GridPartition {
    /// `ln Z`, nats.
    pub log_partition: f64,
    /// The sum of the density itself, which should be 1: otherwise the square or the cells are too
    /// small or too large.
    pub mass: f64,
}

/// A Monte-Carlo estimate of `ln Z`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogPartition {
    /// `ln Z`, nats.
    pub log_partition: f64,
    /// Its standard error by the delta method.
    pub std_error: f64,
    /// Number of samples.
    pub samples: u64,
}

impl Grid {
    /// A square by its lower left corner and its side.
    ///
    /// # Errors
    /// [`Error::Config`] without nodes or for a side that is not positive and finite.
    pub fn new(low: [f64; 2], side: f64, nodes: usize) -> Result<Self> {
        if nodes == 0 {
            return Err(Error::Config { field: "nodes", reason: "must be one or more".into() });
        }
        chains_core::config::positive("side", side)?;
        Ok(Self { low, side, nodes })
    }

    /// The least square around points, `(n, 2)`, with a margin, in cells of at most `step`.
    ///
    /// The step should be half the smallest scale of the density or less.
    ///
    /// # Errors
    /// [`Error::Shape`] for other points or none, [`Error::Config`] for a step that is not positive or
    /// points that are not finite.
    pub fn around(points: &Tensor, margin: f64, step: f64) -> Result<Self> {
        let rows = rows(points)?;
        chains_core::config::positive("step", step)?;
        let fold = |axis: usize, pick: fn(f64, f64) -> f64, start: f64| {
            rows.iter().map(|row| row[axis]).fold(start, pick)
        };
        let low = [0, 1].map(|axis| fold(axis, f64::min, f64::INFINITY) - margin);
        let high = [0, 1].map(|axis| fold(axis, f64::max, f64::NEG_INFINITY) + margin);
        let side = (high[0] - low[0]).max(high[1] - low[1]);
        // Not a number loses every comparison of the folds.
        let finite = rows.iter().flatten().all(|x| x.is_finite());
        if !(finite && side.is_finite() && side / step < 1e5) {
            let reason = format!("{side} in steps of {step} is no square to sum over");
            return Err(Error::Config { field: "points", reason });
        }
        Self::new(low, side, (side / step).ceil().max(1.0) as usize)
    }

    /// Cells along a side.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The side of a cell.
    pub fn step(&self) -> f64 {
        self.side / self.nodes as f64
    }

    fn at(&self, axis: usize, index: usize) -> f64 {
        self.low[axis] + (index as f64 + 0.5) * self.step()
    }

    /// Every node, `(nodes^2, 2)`, f64, the second coordinate varying fastest.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn points(&self) -> Result<Tensor> {
        let n = self.nodes;
        let values = (0..n * n).flat_map(|i| [self.at(0, i / n), self.at(1, i % n)]);
        Ok(Tensor::from_vec(values.collect::<Vec<f64>>(), (n * n, 2), &Device::Cpu)?)
    }

    /// The energy of every node, of a network of that type and device, in the order of
    /// [`Grid::points`].
    ///
    /// # Errors
    /// Of the network.
    pub fn energies(
        &self,
        energy: &impl Energy,
        dtype: DType,
        device: &Device,
    ) -> Result<Vec<f64>> {
        let points = self.points()?.to_dtype(dtype)?.to_device(device)?;
        let (n, mut energies) = (self.nodes * self.nodes, Vec::new());
        for at in (0..n).step_by(BATCH) {
            let part = points.narrow(0, at, BATCH.min(n - at))?.contiguous()?;
            energies.extend(host::vector(&energy.energy(&part)?)?);
        }
        Ok(energies)
    }

    /// `ln sum p exp(-E) step^2` by the rectangle rule, densities and energies in the order of
    /// [`Grid::points`].
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one of each for every node.
    pub fn partition(&self, density: &[f64], energies: &[f64]) -> Result<GridPartition> {
        let n = self.nodes * self.nodes;
        if density.len() != n || energies.len() != n {
            let got = vec![density.len(), energies.len()];
            return Err(Error::Shape { what: "nodes", expected: format!("{n} each"), got });
        }
        let area = self.step() * self.step();
        let mut sum = LogMeanExp::default();
        for (p, energy) in density.iter().zip(energies) {
            sum.push(p.ln() - energy);
        }
        let log_partition = sum.value() + (n as f64 * area).ln();
        Ok(GridPartition { log_partition, mass: density.iter().sum::<f64>() * area })
    }
}

/// An even mixture of Gaussians along the axes: `p(x) = 1/n sum_i N(x; mean_i, scale_i^2)`, which of
/// means and scales of a decoder at latents of the prior is an estimate of its density.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernels {
    means: Vec<[f64; 2]>,
    scales: Vec<[f64; 2]>,
}

impl Kernels {
    /// Of means and standard deviations.
    ///
    /// # Shapes
    /// Both: `(n, 2)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for others, [`Error::Config`] for a deviation that is not positive.
    pub fn new(means: &Tensor, scales: &Tensor) -> Result<Self> {
        let (means, scales) = (rows(means)?, rows(scales)?);
        if means.len() != scales.len() {
            let (expected, got) = (format!("{} scales", means.len()), vec![scales.len()]);
            return Err(Error::Shape { what: "kernels", expected, got });
        }
        for scale in scales.iter().flatten() {
            chains_core::config::positive("scale", *scale)?;
        }
        Ok(Self { means, scales })
    }

    /// The smallest deviation of any kernel.
    pub fn smallest_scale(&self) -> f64 {
        self.scales.iter().flatten().copied().fold(f64::INFINITY, f64::min)
    }

    /// The density at every node, in the order of [`Grid::points`]; a kernel is added within six
    /// deviations of its centre.
    pub fn density(&self, grid: &Grid) -> Vec<f64> {
        let n = grid.nodes;
        let mut density = vec![0.0; n * n];
        let weight = 1.0 / (2.0 * std::f64::consts::PI * self.means.len() as f64);
        for (mean, scale) in self.means.iter().zip(&self.scales) {
            let [first, second] =
                [0, 1].map(|axis| Window::of(grid, axis, mean[axis], scale[axis]));
            let weight = weight / (scale[0] * scale[1]);
            for (i, a) in first.values.iter().enumerate() {
                let row = (first.from + i) * n + second.from;
                let nodes = &mut density[row..row + second.values.len()];
                nodes.iter_mut().zip(&second.values).for_each(|(p, b)| *p += weight * a * b);
            }
        }
        density
    }
}

/// One axis of a kernel: `exp(-d^2 / 2)` at the nodes within reach.
struct Window {
    from: usize,
    values: Vec<f64>,
}

impl Window {
    fn of(grid: &Grid, axis: usize, mean: f64, scale: f64) -> Self {
        let index =
            |x: f64| ((x - grid.low[axis]) / grid.step() - 0.5).clamp(0.0, grid.nodes as f64);
        let from = index(mean - WINDOW * scale).ceil() as usize;
        let to = (index(mean + WINDOW * scale).floor() as usize + 1).min(grid.nodes);
        let value = |i| (-0.5 * ((grid.at(axis, i) - mean) / scale).powi(2)).exp();
        Self { from: from.min(grid.nodes), values: (from..to.max(from)).map(value).collect() }
    }
}

/// `ln Z = ln mean exp(-E(x))` over `n` samples of the autoencoder, `batch` at a time.
///
/// `draw` makes as many samples as it is asked for, `(b, 2)` or of any other event. The standard error
/// is `sqrt((n / ess - 1) / n)`, the relative error of the mean weight.
///
/// # Errors
/// [`Error::Config`] without samples; those of `draw` and of the network.
pub fn monte_carlo(
    energy: &impl Energy,
    n: usize,
    batch: usize,
    mut draw: impl FnMut(usize) -> Result<Tensor>,
) -> Result<LogPartition> {
    if n == 0 || batch == 0 {
        let reason = "samples and batch must be one or more".into();
        return Err(Error::Config { field: "samples", reason });
    }
    let (mut sum, mut left) = (LogMeanExp::default(), n);
    while left > 0 {
        let b = left.min(batch);
        for energy in host::vector(&energy.energy(&draw(b)?.detach())?)? {
            sum.push(-energy);
        }
        left -= b;
    }
    let count = sum.count() as f64;
    let std_error = ((count / sum.effective_sample_size() - 1.0).max(0.0) / count).sqrt();
    Ok(LogPartition { log_partition: sum.value(), std_error, samples: sum.count() })
}

/// Rows of `(n, 2)` on the host.
fn rows(tensor: &Tensor) -> Result<Vec<[f64; 2]>> {
    if tensor.rank() != 2 || tensor.dims()[1] != 2 || tensor.dims()[0] == 0 {
        let (expected, got) = ("(n, 2), not empty".into(), tensor.dims().to_vec());
        return Err(Error::Shape { what: "points", expected, got });
    }
    let flat = host::vector(&tensor.flatten_all()?)?;
    Ok(flat.chunks_exact(2).map(|row| [row[0], row[1]]).collect())
}
