//! The directory of one run: settings, record, metrics, plots, samples, checkpoints.

mod record;
#[cfg(test)]
mod tests;

use std::{
    fs,
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
    earlier_s: f64,
}

impl RunDir {
    /// Opens `root` for a run.
    ///
    /// A fresh run (`resume` false) never mixes with an earlier one: the earlier directory moves
    /// to `<root>.previous` first and takes the place of an older one there, unless that one has
    /// results and the earlier run has none. With `resume`
    /// everything stays, and the settings must be those of the earlier run; where there is none,
    /// a fresh one starts.
    ///
    /// # Errors
    /// [`Error::Usage`] if `root` (or the `.previous` to be replaced) is not empty and not a run
    /// directory, if it cannot be written, or if settings, experiment, scale, seed or device differ
    /// (all that differ are listed); [`Error::Format`] if the stored `config.toml` is not TOML.
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
            set_aside(root)?;
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
        let earlier_s = earlier.as_ref().and_then(|record| record.wall_s).unwrap_or(0.0);
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
        Ok(Self { root: root.to_path_buf(), record, started: Instant::now(), earlier_s })
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

    /// Seconds since the run started, those recorded by the runs that it resumes included.
    pub fn wall_s(&self) -> f64 {
        self.earlier_s + self.started.elapsed().as_secs_f64()
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

/// Moves an earlier run to `<root>.previous`.
fn set_aside(root: &Path) -> Result<()> {
    // A root such as `.` has no name of its own until it is resolved.
    let root = fs::canonicalize(root).map_err(|source| Error::io(root, source))?;
    let Some(name) = root.file_name() else {
        return Err(Error::Usage(format!(
            "{}: cannot be set aside; give another --out",
            root.display()
        )));
    };
    let mut previous = name.to_os_string();
    previous.push(".previous");
    let previous = root.with_file_name(previous);
    if previous.exists() {
        // Deleting asks for more than moving: a folder with just some config.toml is not deleted.
        if !previous.join("run.json").is_file() {
            return Err(Error::Usage(format!(
                "{}: stands where the earlier run would move to and is not a run directory; \
                 move it away",
                previous.display()
            )));
        }
        // An unfinished run never takes the place of a finished one.
        let finished = |dir: &Path| dir.join("results.json").is_file();
        if finished(&previous) && !finished(&root) {
            return fs::remove_dir_all(&root).map_err(|source| Error::io(&root, source));
        }
        fs::remove_dir_all(&previous).map_err(|source| Error::io(&previous, source))?;
    }
    fs::rename(&root, &previous).map_err(|source| Error::io(&root, source))
}

fn to_toml(config: &Table) -> Result<String> {
    toml::to_string_pretty(config)
        .map_err(|error| Error::Usage(format!("settings as TOML: {error}")))
}

/// Another seed or experiment would mix two runs in one directory.
fn check_same_run(path: &Path, earlier: &RunRecord, info: &RunInfo) -> Result<()> {
    let [was, now] = [earlier.seed, info.seed].map(|seed| seed.to_string());
    let fields = [
        ("paper", &earlier.paper, &info.paper),
        ("experiment", &earlier.experiment, &info.experiment),
        ("scale", &earlier.scale, &info.scale),
        ("seed", &was, &now),
        ("device", &earlier.device, &info.device),
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
