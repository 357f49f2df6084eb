//! A number with what people need beside it, and the table of all.

use super::input::Input;
use crate::{
    report::{format_number, format_with_error},
    results::Metric,
};

/// A metric and how it is shown.
pub(super) struct Scored {
    pub(super) metric: Metric,
    /// Printed after the value: a standard error, or another spread that the remark names.
    pub(super) spread: Option<f64>,
    /// The settings that matter most, in words.
    pub(super) remark: String,
    /// What a reader of the number should know.
    pub(super) notes: Vec<String>,
}

impl Scored {
    /// A metric without spread, remark and notes.
    pub(super) fn new(metric: Metric) -> Self {
        let spread = metric.std_error;
        Self { metric, spread, remark: String::new(), notes: Vec::new() }
    }

    /// With a spread that is no standard error: `kind` says what it is.
    pub(super) fn spread(mut self, spread: f64, kind: &str) -> Self {
        self.spread = Some(spread);
        self.metric = self.metric.setting("spread", spread).setting("spread_kind", kind);
        self
    }

    /// With words in the table.
    pub(super) fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// With a note, in the table and in the settings.
    pub(super) fn note(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }

    /// Under another name if the weights behind it are not the published ones: FID and the inception
    /// score are defined by those.
    pub(super) fn named_by_weights(mut self) -> Self {
        let extractor = self.metric.settings.get("extractor").and_then(|id| id.as_str());
        let name = match self.metric.name.as_str() {
            "fid" => "frechet-distance",
            "inception-score" => "classifier-score",
            _ => return self,
        };
        if extractor.is_some_and(|id| id.contains(":unverified-")) {
            let note =
                format!("the weights are not the published ones: {name}, not {}", self.metric.name);
            self.metric.name = name.into();
            self.notes.push(note);
        }
        self
    }

    /// The metric, its notes among its settings.
    pub(super) fn into_metric(self) -> Metric {
        if self.notes.is_empty() { self.metric } else { self.metric.setting("notes", self.notes) }
    }
}

/// What was compared, one line a number, and the notes.
pub(super) fn table(
    sides: &[(&str, Option<&Input>)],
    features: &str,
    scored: &[Scored],
    notes: &[String],
) -> String {
    let mut text = String::new();
    for (side, input) in sides {
        if let Some(input) = input {
            text += &format!("{side:<9}  {}: {}\n", input.name, input.describe());
        }
    }
    text += &format!("{:<9}  {features}\n", "features");
    let value = |scored: &Scored| match scored.spread {
        Some(spread) => format_with_error(scored.metric.value, spread),
        None => format_number(scored.metric.value),
    };
    let n = |scored: &Scored| {
        let n = scored.metric.n.map_or(String::new(), |n| n.to_string());
        match scored.metric.settings.get("n_real") {
            Some(real) => format!("{n} vs {}", real.to_string().trim_matches('"')),
            None => n,
        }
    };
    let header = ["metric", "value", "unit", "n", "settings"].map(str::to_owned);
    let lines = scored.iter().map(|scored| {
        let metric = &scored.metric;
        let unit = if metric.unit.is_empty() { "-" } else { &metric.unit };
        [metric.name.clone(), value(scored), unit.into(), n(scored), scored.remark.clone()]
    });
    let lines: Vec<[String; 5]> = std::iter::once(header).chain(lines).collect();
    let widths: Vec<usize> = (0..5)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    if lines.len() > 1 {
        text.push('\n');
        for line in lines {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
    }
    let mut seen: Vec<&String> = Vec::new();
    for note in notes.iter().chain(scored.iter().flat_map(|scored| &scored.notes)) {
        if !seen.contains(&note) {
            seen.push(note);
            text += &format!("{}note: {note}\n", if seen.len() == 1 { "\n" } else { "" });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_other_weights_have_other_names() {
        let named = |name: &str, id: &str| {
            let metric = Metric::new(name, 1.0, "").setting("extractor", id);
            Scored::new(metric).named_by_weights().metric.name
        };
        assert_eq!(named("fid", "inception-2015-12-05:6726825d"), "fid");
        let other = "inception-2015-12-05:unverified-01234567";
        assert_eq!(named("fid", other), "frechet-distance");
        assert_eq!(named("inception-score", other), "classifier-score");
        assert_eq!(named("kid", other), "kid");
    }
}
