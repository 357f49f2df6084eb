//! The directory of one run: settings, record, metrics, plots, samples, checkpoints.

mod aside;
mod record;
#[cfg(test)]
mod tests;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use toml::{Table, Value};

use crate::{
    error::{Error, Result},
    observers::JsonLines,
    results::{read_json, write_atomic, write_json},
};
pub use record::RunRecord;
pub(crate) use record::accelerators;

/// What a run is: the part of its record that is known before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInfo {
    /// Paper, as on the command line.
    pub paper: String,
    /// Experiment, as on the command line.
    pub experiment: String,
    /// `smoke`, `quick` or `paper`.
    pub scale: String,
    /// Root seed.
    pub seed: u64,
    /// Device, as on the command line.
    pub device: String,
    /// The resolved settings; see [`settings_table`].
    pub config: Table,
}

/// Settings as the table that `config.toml` holds. Absent options are left out.
///
/// # Errors
/// [`Error::Usage`] if the value is not a struct or map, or has a number that TOML cannot hold
/// (integers of more than 63 bits).
pub fn settings_table<T: Serialize>(settings: &T) -> Result<Table> {
    Table::try_from(settings).map_err(|error| Error::Usage(format!("settings as TOML: {error}")))
}

/// An open run directory.
///
/// It holds `config.toml`, `run.json`, `metrics.jsonl`, and the folders `plots`, `samples`,
/// `checkpoints`; the experiment adds `results.json`, `report.md`, `report.html`.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    record: RunRecord,
    started: Instant,
    earlier: Earlier,
}

/// Wall time of the runs that this one resumes, in seconds.
#[derive(Clone, Copy, Debug)]
enum Earlier {
    /// The run was cut off and goes on: both count.
    CutOff(f64),
    /// The run had ended: what is done again does not count twice.
    Ended(f64),
}

impl RunDir {
    /// Opens `root` for a run.
    ///
    /// A fresh run (`resume` false) never mixes with an earlier one: the earlier directory moves
    /// to `<root>.previous` first and takes the place of an older one there, unless that one has
    /// results and the earlier run has none. With `resume`
    /// everything stays but `results.json`, which is there again when the run has ended; settings
    /// and build must be those of the earlier run; where there is none, a fresh one starts.
    ///
    /// # Errors
    /// [`Error::Usage`] if `root` (or the `.previous` to be replaced) is not empty and not a run
    /// directory, if it cannot be written, or if settings, experiment, scale, seed, device, version
    /// or the features that change the arithmetic differ (all that differ are listed);
    /// [`Error::Format`] if the stored `config.toml` is not TOML.
    pub fn create(root: &Path, info: &RunInfo, resume: bool) -> Result<Self> {
        let found = Contents::of(root)?;
        if found == Contents::Foreign {
            return Err(Error::Usage(format!(
                "{}: is not empty and is not a run directory (no run.json, no config.toml); \
                 give another --out or empty it",
                root.display()
            )));
        }
        let resume = resume && found == Contents::Run;
        if found == Contents::Run && !resume {
            aside::set_aside(root)?;
        }
        let writable = |path: &Path, source| {
            Error::Usage(format!("cannot write to the run directory {}: {source}", path.display()))
        };
        for folder in ["plots", "samples", "checkpoints"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(|source| writable(root, source))?;
        }
        let config = root.join("config.toml");
        if resume && config.exists() {
            check_same_settings(&config, &info.config)?;
        }
        let record_path = root.join("run.json");
        let earlier = match resume && record_path.exists() {
            true => Some(read_json::<RunRecord>(&record_path)?),
            false => None,
        };
        if let Some(earlier) = &earlier {
            check_same_run(&record_path, earlier, info)?;
        }
        let time = Earlier::of(root, earlier.as_ref())?;
        remove_file(&root.join("results.json"))?;
        let record = RunRecord::start(info, earlier.as_ref());
        // The record comes first: it is what marks the directory as a run.
        let write = || {
            write_json(&record_path, &record)?;
            write_atomic(&config, to_toml(&info.config)?.as_bytes())
        };
        write().map_err(|error| match error {
            Error::Io { source, .. } => writable(root, source),
            other => other,
        })?;
        Ok(Self { root: root.to_path_buf(), record, started: Instant::now(), earlier: time })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the SVG plots.
    pub fn plots(&self) -> PathBuf {
        self.root.join("plots")
    }

    /// The folder of the PNG sheets.
    pub fn samples(&self) -> PathBuf {
        self.root.join("samples")
    }

    /// The folder of training states and models.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// `results.json`.
    pub fn results(&self) -> PathBuf {
        self.root.join("results.json")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The record as it was last written.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Seconds since the run started, with those of the parts that it resumes. A run that had ended
    /// keeps its time when it is resumed, unless doing it again takes longer.
    pub fn wall_s(&self) -> f64 {
        let own = self.started.elapsed().as_secs_f64();
        match self.earlier {
            Earlier::CutOff(seconds) => seconds + own,
            Earlier::Ended(seconds) => seconds.max(own),
        }
    }

    /// The observer that writes `metrics.jsonl`, after what is there already.
    ///
    /// # Errors
    /// As [`JsonLines::append`].
    pub fn json_lines(&self) -> Result<JsonLines> {
        JsonLines::append(&self.metrics(), self.record.seed)
    }

    /// Drops from `metrics.jsonl` what came after the checkpoint at `step` of `stage`; call it
    /// before [`RunDir::json_lines`] when resuming.
    ///
    /// # Errors
    /// As [`JsonLines::truncate_after`].
    pub fn truncate_after(&self, stage: &str, step: usize) -> Result<()> {
        JsonLines::truncate_after(&self.metrics(), stage, step)
    }

    /// Completes `run.json` with wall time and peak memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self) -> Result<()> {
        self.record.wall_s = Some(self.wall_s());
        self.record.peak_rss_mb = Some(crate::results::peak_rss_mb());
        write_json(&self.root.join("run.json"), &self.record)
    }
}

impl Earlier {
    /// A run that was killed has no time in its record; the last line of its metrics tells.
    fn of(root: &Path, record: Option<&RunRecord>) -> Result<Self> {
        let recorded = record.and_then(|record| record.wall_s).unwrap_or(0.0);
        if root.join("results.json").is_file() {
            return Ok(Self::Ended(recorded));
        }
        let last = JsonLines::last(&root.join("metrics.jsonl"), None)?;
        Ok(Self::CutOff(recorded.max(last.map_or(0.0, |(_, time_s)| time_s))))
    }
}

/// A file that is not there is fine.
fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::io(path, source)),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// Absent or empty.
    Nothing,
    /// An earlier run.
    Run,
    /// Something that is not ours to touch.
    Foreign,
}

impl Contents {
    fn of(root: &Path) -> Result<Self> {
        if !root.exists() {
            return Ok(Self::Nothing);
        }
        let mut entries = fs::read_dir(root).map_err(|source| {
            Error::Usage(format!("cannot use {} as a run directory: {source}", root.display()))
        })?;
        if root.join("run.json").is_file() || root.join("config.toml").is_file() {
            return Ok(Self::Run);
        }
        Ok(if entries.next().is_none() { Self::Nothing } else { Self::Foreign })
    }
}

fn to_toml(config: &Table) -> Result<String> {
    toml::to_string_pretty(config)
        .map_err(|error| Error::Usage(format!("settings as TOML: {error}")))
}

/// Another seed, experiment or build would mix two runs in one directory.
fn check_same_run(path: &Path, earlier: &RunRecord, info: &RunInfo) -> Result<()> {
    let [was, now] = [earlier.seed, info.seed].map(|seed| seed.to_string());
    let version = earlier.versions.get("reproduce").cloned().unwrap_or_default();
    let words = |features: &[String]| match features {
        [] => "none".to_owned(),
        features => features.join(" "),
    };
    // The other features change no number.
    let mut compiled = earlier.features.clone();
    compiled.retain(|feature| feature != "hub");
    let (compiled, present) = (words(&compiled), words(&accelerators()));
    let fields = [
        ("paper", &earlier.paper, &info.paper),
        ("experiment", &earlier.experiment, &info.experiment),
        ("scale", &earlier.scale, &info.scale),
        ("seed", &was, &now),
        ("device", &earlier.device, &info.device),
        ("version", &version, &env!("CARGO_PKG_VERSION").to_owned()),
        ("features", &compiled, &present),
    ];
    let differing = fields.iter().filter(|(_, was, now)| was != now);
    let lines = differing.map(|(field, was, now)| format!("{field}: was {was}, now {now}"));
    no_differences(path, &lines.collect::<Vec<_>>())
}

fn check_same_settings(path: &Path, present: &Table) -> Result<()> {
    let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let stored: Table =
        text.parse().map_err(|error: toml::de::Error| Error::format(path, error.to_string()))?;
    let mut differences = Vec::new();
    differing_keys("", &stored, present, &mut differences);
    no_differences(path, &differences)
}

fn no_differences(path: &Path, differences: &[String]) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{}: the run was started with other settings, so it cannot be resumed with these:\n  {}\n\
         give the earlier settings, or leave out --resume",
        path.display(),
        differences.join("\n  ")
    )))
}

/// Dotted keys whose values differ, with both values.
fn differing_keys(prefix: &str, stored: &Table, present: &Table, out: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<_> = stored.keys().chain(present.keys()).collect();
    for key in keys {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (stored.get(key), present.get(key)) {
            (Some(Value::Table(a)), Some(Value::Table(b))) => differing_keys(&name, a, b, out),
            (a, b) if a == b => {}
            (a, b) => {
                let show = |v: Option<&Value>| v.map_or("absent".to_owned(), Value::to_string);
                out.push(format!("{name}: was {}, now {}", show(a), show(b)));
            }
        }
    }
}
