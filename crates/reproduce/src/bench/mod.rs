//! Fixed units of work, timed beside the best matrix product of the same machine and process.
//!
//! A workload's distance from the arithmetic limit, `x_limit`, is its shortest time multiplied by the
//! rate of large f32 products and divided by its own count of operations. It changes less from
//! machine to machine, and from hour to hour, than the time itself.

mod flow;
mod gan;
mod infusion;
mod metrics;
mod primitives;
mod swimmer;
#[cfg(test)]
mod tests;
mod vaebm;
mod vera;
mod walkback;

use std::{
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Seed, noise::DeviceNoise, ops};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    results::peak_rss_mb,
};

/// One unit of work, ready to run; everything that the clock must not see is done.
pub type Unit = Box<dyn FnMut() -> Result<()>>;

/// What a unit of work needs from outside.
#[derive(Clone, Debug)]
pub struct Bed {
    /// The repository, where the data are.
    pub root: PathBuf,
    /// Where it computes.
    pub device: Device,
    /// Whether noise is [`DeviceNoise`], drawn where the unit computes, instead of the host's.
    pub device_noise: bool,
}

impl Bed {
    /// For a device: an accelerator draws its noise itself.
    pub fn new(root: PathBuf, device: Device) -> Self {
        let device_noise = !device.is_cpu();
        Self { root, device, device_noise }
    }

    /// The noise of a name.
    fn noise(&self, name: &str) -> Box<dyn Noise> {
        let seed = Seed::new(0).child("bench").child(name);
        if self.device_noise {
            Box::new(DeviceNoise::new(seed))
        } else {
            Box::new(seed.host_noise())
        }
    }

    /// Standard normal values of a name, the same in every run.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(values(name, shape)?.to_device(&self.device)?)
    }
}

/// Standard normal values of a name on the host.
fn values(name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut noise = Seed::new(0).child("bench").child(name).host_noise();
    Ok(noise.normal(&shape.into(), DType::F32, &Device::Cpu)?)
}

/// A fixed unit of work.
pub struct Workload {
    /// Such as `W01`.
    pub id: &'static str,
    /// What it is, in words.
    pub title: &'static str,
    /// Operations of one unit in units of 1e9, products and convolutions only; none where they do
    /// not count.
    pub gflop: Option<f64>,
    /// How often it is timed.
    pub repeats: usize,
    /// Whether it is work of the host, whatever the device.
    pub host: bool,
    /// Makes parameters and inputs.
    pub build: fn(&Bed) -> Result<Unit>,
}

/// All workloads, in order.
pub fn workloads() -> Vec<Workload> {
    let all = [
        infusion::workloads(),
        walkback::workloads(),
        vera::workloads(),
        vaebm::workloads(),
        gan::workloads(),
        flow::workloads(),
        metrics::workloads(),
        primitives::workloads(),
        swimmer::workloads(),
    ];
    all.into_iter().flatten().collect()
}

/// What was measured of one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// Such as `W01`.
    pub workload: &'static str,
    /// What it is, in words.
    pub title: &'static str,
    /// Median of the repetitions, milliseconds.
    pub ms_median: f64,
    /// Shortest repetition, milliseconds.
    pub ms_min: f64,
    /// Operations of one unit, in units of 1e9.
    pub gflop: Option<f64>,
    /// Rate of large products directly before or after, GFLOP/s.
    pub sgemm_gflops: f64,
    /// Shortest time over the time that the operations take at that rate.
    pub x_limit: Option<f64>,
    /// Largest resident set while it ran, MiB; 0 where it is not known.
    pub peak_rss_mb: u64,
    /// Repetitions.
    pub n: usize,
}

/// The machine that a table is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Processor, as the system names it; empty where it is not known.
    pub processor: String,
    /// Threads that share the work.
    pub threads: usize,
    /// Load of the last minute when the measurement began.
    pub load: Option<f64>,
    /// The device that computes, as the command names it.
    pub device: String,
}

/// A table of timings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// Where it was measured.
    pub machine: Machine,
    /// Best rate of large products over all rows, GFLOP/s.
    pub sgemm_gflops: f64,
    /// The rows.
    pub workloads: Vec<Timing>,
}

/// No repetition begins after this.
const BUDGET: Duration = Duration::from_secs(60);

impl Workload {
    /// Times the workload: two warm-up units, one if it is long, then repetitions. A repetition ends when
    /// the device has done all of it.
    ///
    /// # Errors
    /// Of the workload.
    pub fn time(&self, bed: &Bed) -> Result<Timing> {
        reset_peak();
        let mut work = (self.build)(bed)?;
        let mut unit = || {
            work()?;
            Ok::<_, Error>(bed.device.synchronize()?)
        };
        // An accelerator's rate shows at once.
        let budget = Duration::from_millis(if bed.device.is_cpu() { 500 } else { 60 });
        let before = sgemm_rate(bed, budget)?;
        for _ in 0..if self.gflop.is_some_and(|gflop| gflop >= 300.0) { 1 } else { 2 } {
            unit()?;
        }
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < self.repeats && (times.len() < 3 || start.elapsed() < BUDGET) {
            let begin = Instant::now();
            unit()?;
            times.push(begin.elapsed().as_secs_f64());
        }
        let peak_rss_mb = peak_rss_mb();
        let sgemm_gflops = before.max(sgemm_rate(bed, budget)?);
        times.sort_by(f64::total_cmp);
        let shortest = times[0];
        Ok(Timing {
            workload: self.id,
            title: self.title,
            ms_median: 1e3 * median(&times),
            ms_min: 1e3 * shortest,
            gflop: self.gflop,
            sgemm_gflops,
            x_limit: self.gflop.map(|gflop| shortest * sgemm_gflops / gflop),
            peak_rss_mb,
            n: times.len(),
        })
    }
}

/// Of sorted numbers, at least one.
fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
}

/// The workloads that `only` names; the name of a group, such as `W14`, names all of its rows.
///
/// # Errors
/// [`Error::Usage`] for a name that no workload has.
pub fn choose(only: &[String]) -> Result<Vec<Workload>> {
    // `W14` and `W14e` name groups, `W1` does not.
    let digit = |c: char| c.is_ascii_digit();
    let named = |workload: &Workload, name: &str| match workload.id.strip_prefix(name) {
        Some("") => true,
        Some(rest) => name.len() >= 3 && !(name.ends_with(digit) && rest.starts_with(digit)),
        None => false,
    };
    let mut all = workloads();
    if let Some(name) = only.iter().find(|name| !all.iter().any(|workload| named(workload, name))) {
        let known: Vec<&str> = all.iter().map(|workload| workload.id).collect();
        let known = known.join(", ");
        return Err(Error::Usage(format!("--only {name}: no such workload; known are {known}")));
    }
    all.retain(|workload| only.is_empty() || only.iter().any(|name| named(workload, name)));
    Ok(all)
}

/// The best f32 product rate of this machine now, GFLOP/s, over the shapes m x k x n 2048 x 2048 x
/// 2048, 4096 x 1024 x 1024 and 4096 x 4096 x 1024, about `budget` in all.
fn sgemm_rate(bed: &Bed, budget: Duration) -> Result<f64> {
    let mut best = 0.0_f64;
    for (m, k, n) in [(2048, 2048, 2048), (4096, 1024, 1024), (4096, 4096, 1024)] {
        let (a, b) = (bed.values("sgemm-a", &[m, k])?, bed.values("sgemm-b", &[n, k])?);
        let product = || {
            black_box(ops::linear(&a, &b, None)?);
            Ok::<_, Error>(bed.device.synchronize()?)
        };
        product()?;
        let start = Instant::now();
        while start.elapsed() < budget / 3 {
            let begin = Instant::now();
            product()?;
            best = best.max(2e-9 * (m * k * n) as f64 / begin.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

/// Makes the next [`peak_rss_mb`] that of what follows, where the system can; else it is that of the
/// whole process so far.
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").ok();
}

impl Machine {
    /// The machine that this runs on, and the device.
    pub fn here(device: &str) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = name.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned();
        Self {
            processor,
            threads: rayon::current_num_threads(),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
            device: device.to_owned(),
        }
    }
}
