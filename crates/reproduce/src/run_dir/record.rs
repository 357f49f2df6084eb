//! `run.json`: with what, where and when a run was made.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::RunInfo;

/// The version that the workspace pins; a test compares it with the manifest.
pub(super) const CANDLE_VERSION: &str = "0.11.1";

/// The contents of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Paper, as on the command line.
    pub paper: String,
    /// Experiment, as on the command line.
    pub experiment: String,
    /// `smoke`, `quick` or `paper`.
    pub scale: String,
    /// Versions by crate. The crates of the workspace carry one version, that of `reproduce`.
    pub versions: BTreeMap<String, String>,
    /// Features that were compiled in.
    pub features: Vec<String>,
    /// Device, as on the command line.
    pub device: String,
    /// Root seed.
    pub seed: u64,
    /// Worker threads on the CPU.
    pub threads: usize,
    /// When the run, or its last resumption, began: RFC 3339, UTC.
    pub started: String,
    /// How often the run was resumed.
    pub resumed: usize,
    /// Wall time in seconds, summed over resumptions; absent until the run has once ended properly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
    /// Largest resident set in MiB, 0 if unknown; absent while running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_mb: Option<u64>,
    /// The command line, program first.
    pub command: Vec<String>,
}

impl RunRecord {
    pub(super) fn start(info: &RunInfo, earlier: Option<&Self>) -> Self {
        let versions = [("reproduce", env!("CARGO_PKG_VERSION")), ("candle-core", CANDLE_VERSION)];
        Self {
            paper: info.paper.clone(),
            experiment: info.experiment.clone(),
            scale: info.scale.clone(),
            versions: versions.map(|(name, version)| (name.into(), version.into())).into(),
            features: features(),
            device: info.device.clone(),
            seed: info.seed,
            threads: rayon::current_num_threads(),
            started: rfc3339(SystemTime::now()),
            resumed: earlier.map_or(0, |record| record.resumed + 1),
            // Kept while the resumed run is going, so that a second interruption loses only itself.
            wall_s: earlier.and_then(|record| record.wall_s),
            peak_rss_mb: earlier.and_then(|record| record.peak_rss_mb),
            // `args` would panic on an argument that is not UTF-8.
            command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        }
    }
}

/// The features that change the arithmetic: numbers of builds that differ in them do not mix.
pub(crate) fn accelerators() -> Vec<String> {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("cudnn", cfg!(feature = "cudnn")),
        ("metal", cfg!(feature = "metal")),
        ("mkl", cfg!(feature = "mkl")),
        ("accelerate", cfg!(feature = "accelerate")),
    ];
    all.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect()
}

fn features() -> Vec<String> {
    let mut all = accelerators();
    all.extend(cfg!(feature = "hub").then(|| "hub".to_owned()));
    all
}

/// `2026-01-31T23:59:59Z`; times before 1970 read as its beginning.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(if year.is_multiple_of(100) { 400 } else { 4 });
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}
