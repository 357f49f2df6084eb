//! What an experiment found: metrics beside the published numbers, checks, and `results.json`.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    report::format_number,
};

/// One measured number, with everything needed to compare it.
///
/// # Example
/// ```
/// use reproduce::results::Metric;
/// let metric = Metric::new("lower_bound_test", 1093.2, "nats").std_error(1.1).n(1000).setting("k", 100);
/// assert_eq!(metric.settings["k"], 100);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Name, such as `lower_bound_test`.
    pub name: String,
    /// The number, in `unit`.
    pub value: f64,
    /// Its standard error, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std_error: Option<f64>,
    /// Unit, such as `nats`; empty for a pure number.
    pub unit: String,
    /// Examples or samples it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// The number in the paper, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<f64>,
    /// Settings that the number depends on, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
}

impl Metric {
    /// A number without standard error, count, published value or settings.
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value,
            std_error: None,
            unit: unit.into(),
            n: None,
            published: None,
            settings: BTreeMap::new(),
        }
    }

    /// With its standard error, in the metric's unit.
    #[must_use]
    pub fn std_error(mut self, std_error: f64) -> Self {
        self.std_error = Some(std_error);
        self
    }

    /// With the number of examples or samples.
    #[must_use]
    pub fn n(mut self, n: usize) -> Self {
        self.n = Some(n);
        self
    }

    /// With the paper's number, in the metric's unit.
    #[must_use]
    pub fn published(mut self, published: f64) -> Self {
        self.published = Some(published);
        self
    }

    /// With one more setting.
    #[must_use]
    pub fn setting(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.insert(key.into(), value.into());
        self
    }

    /// Are all numbers finite? JSON would write the others as `null`, which reads as "not measured".
    ///
    /// # Errors
    /// [`Error::NonFinite`] names the first field that is not.
    pub fn validate(&self) -> Result<()> {
        let fields = [
            ("value", Some(self.value)),
            ("std_error", self.std_error),
            ("published", self.published),
        ];
        for (field, value) in fields {
            finite(|| format!("metric `{}`, field `{field}`", self.name), value.unwrap_or(0.0))?;
        }
        for (key, value) in &self.settings {
            // `Value::from(f64::NAN)` is null: the only way that a null gets here.
            if has_null(value) {
                return Err(Error::NonFinite {
                    what: format!("metric `{}`, setting `{key}`", self.name),
                    value: "null".into(),
                });
            }
        }
        Ok(())
    }
}

/// An outcome that the method promises, and whether it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What should hold, in words.
    pub name: String,
    /// Whether it does.
    pub passed: bool,
    /// The numbers that decided.
    pub detail: String,
}

impl Check {
    /// A check with the numbers that decided it.
    pub fn new(name: impl Into<String>, passed: bool, detail: impl Into<String>) -> Self {
        Self { name: name.into(), passed, detail: detail.into() }
    }

    /// `left <= right`; fails when either is not a number.
    ///
    /// # Example
    /// ```
    /// use reproduce::results::Check;
    /// let check = Check::at_most("lower bound <= estimate", 1093.2, 1310.7);
    /// assert!(check.passed);
    /// assert_eq!(check.detail, "1093.2 <= 1310.7");
    /// ```
    pub fn at_most(name: impl Into<String>, left: f64, right: f64) -> Self {
        let passed = left <= right;
        let sign = if passed { "<=" } else { "is not <=" };
        // Numbers that would look the same are given in full.
        let shown = match [left, right].map(format_number) {
            [a, b] if a == b && left.to_bits() != right.to_bits() => {
                [left, right].map(|x| x.to_string())
            }
            shown => shown,
        };
        Self::new(name, passed, format!("{} {sign} {}", shown[0], shown[1]))
    }

    /// `|value - expected| <= tolerance`; fails when one is not a number.
    pub fn close(name: impl Into<String>, value: f64, expected: f64, tolerance: f64) -> Self {
        let gap = (value - expected).abs();
        let passed = gap <= tolerance;
        let sign = if passed { "<=" } else { "is not <=" };
        let [value, expected, gap] = [value, expected, gap].map(format_number);
        Self::new(name, passed, format!("|{value} - {expected}| = {gap} {sign} {tolerance}"))
    }
}

/// The contents of `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Paper, as on the command line.
    pub paper: String,
    /// Experiment, as on the command line.
    pub experiment: String,
    /// Table or figure that it answers to.
    pub anchor: String,
    /// `smoke`, `quick` or `paper`.
    pub scale: String,
    /// Root seed.
    pub seed: u64,
    /// The numbers.
    pub metrics: Vec<Metric>,
    /// The outcomes.
    pub checks: Vec<Check>,
    /// Wall time in seconds.
    pub wall_s: f64,
    /// Largest resident set in MiB, 0 where it is not known; see [`peak_rss_mb`].
    pub peak_rss_mb: u64,
}

impl Results {
    /// Did every check pass? True when there are none.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// The first metric of that name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// Writes `results.json`: under a temporary name first, then renamed.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a number is not finite (nothing is written then); [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        self.metrics.iter().try_for_each(Metric::validate)?;
        finite(|| "wall_s".into(), self.wall_s)?;
        write_json(path, self)
    }

    /// Reads a `results.json`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the field, line and column of what does not fit.
    pub fn load(path: &Path) -> Result<Self> {
        read_json(path)
    }
}

/// Writes `{"metrics": [...]}`, the file of an evaluation without an experiment.
///
/// # Errors
/// As [`Results::save`].
pub fn save_metrics(path: &Path, metrics: &[Metric]) -> Result<()> {
    #[derive(Serialize)]
    struct File<'a> {
        metrics: &'a [Metric],
    }
    metrics.iter().try_for_each(Metric::validate)?;
    write_json(path, &File { metrics })
}

/// The largest resident set of this process so far, in MiB.
///
/// Read from the kernel's `VmHWM` line, which only Linux has; 0 elsewhere, meaning unknown.
pub fn peak_rss_mb() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| high_water(&text))
        .unwrap_or(0)
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.div_ceil(1024))
}

fn finite(what: impl Fn() -> String, value: f64) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Error::NonFinite { what: what(), value: value.to_string() })
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// Pretty JSON with a final newline, atomically.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::format(path, format!("cannot be written as JSON: {error}")))?;
    bytes.push(b'\n');
    write_atomic(path, &bytes)
}

/// JSON whose errors name the field, the line and the column.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        Error::format(path, format!("field `{field}`: {}", error.into_inner()))
    })?;
    reader.end().map_err(|error| Error::format(path, error.to_string()))?;
    Ok(value)
}

/// Writes a file under a temporary name beside it and renames it, so that no reader ever sees half.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    chains_core::checkpoint::write_bytes_atomic(path, bytes).map_err(|error| match error {
        chains_core::Error::Io { path, source } => Error::Io { path, source },
        other => other.into(),
    })
}

#[cfg(test)]
mod tests;
