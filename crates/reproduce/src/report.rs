//! Reports: a small document model, written as Markdown and as one self-contained HTML file.

mod html;
mod markdown;
mod numbers;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::{
    error::Result,
    results::{Check, Metric, Results, write_atomic},
};
pub(crate) use numbers::scientific;
pub use numbers::{format_number, format_with_error};

/// How a column of a table is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// To the left, for words.
    #[default]
    Left,
    /// Centred.
    Centre,
    /// To the right, for numbers.
    Right,
}

/// One cell of a table: plain text, perhaps bold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    bold: bool,
}

impl Cell {
    /// Bold text.
    pub fn bold(text: impl Into<String>) -> Self {
        Self { text: text.into(), bold: true }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), bold: false }
    }
}

/// A table with a header.
///
/// # Example
/// ```
/// use reproduce::report::{Align, Cell, Table};
/// let mut table = Table::new([("data", Align::Left), ("ours", Align::Right), ("published", Align::Right)]);
/// table.row([Cell::from("mnist"), Cell::bold("1312 ± 2"), Cell::from("1310")]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = (T, Align)>) -> Self {
        let columns = columns.into_iter().map(|(name, align)| (name.into(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty; further ones get columns without a name.
    pub fn row<T: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut cells: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        cells.resize_with(cells.len().max(self.columns.len()), Cell::default);
        if cells.len() > self.columns.len() {
            self.columns.resize_with(cells.len(), Default::default);
            for row in &mut self.rows {
                row.resize_with(cells.len(), Cell::default);
            }
        }
        self.rows.push(cells);
        self
    }

    /// Ours beside the published: name and unit, value with its standard error, then the published
    /// value, the count and the settings where some metric has them. A long setting that several metrics
    /// share is a note, whose number stands in their rows: see [`Table::notes`].
    pub fn of_metrics(metrics: &[Metric]) -> Self {
        let notes = Self::notes(metrics);
        let published = metrics.iter().any(|metric| metric.published.is_some());
        let counted = metrics.iter().any(|metric| metric.n.is_some());
        let set = metrics.iter().any(|metric| !metric.settings.is_empty());
        let optional = |shown: bool, name, align| shown.then_some((name, align));
        let columns = [("metric", Align::Left), ("ours", Align::Right)].into_iter();
        let mut table = Self::new(
            columns
                .chain(optional(published, "published", Align::Right))
                .chain(optional(counted, "n", Align::Right))
                .chain(optional(set, "settings", Align::Left)),
        );
        for metric in metrics {
            let mut cells = vec![Cell::from(name_and_unit(metric)), Cell::bold(ours(metric))];
            if published {
                cells.push(metric.published.map_or(String::new(), as_printed).into());
            }
            if counted {
                cells.push(metric.n.map_or(String::new(), |n| n.to_string()).into());
            }
            if set {
                let settings = settings(metric).map(|setting| {
                    let note = notes.iter().position(|note| *note == setting);
                    note.map_or(setting, |at| format!("note {}", at + 1))
                });
                cells.push(settings.collect::<Vec<_>>().join(", ").into());
            }
            table.row(cells);
        }
        table
    }

    /// The settings that [`Table::of_metrics`] gives as notes, in the order of their numbers.
    pub fn notes(metrics: &[Metric]) -> Vec<String> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for setting in metrics.iter().flat_map(settings).filter(|text| text.len() > LONG) {
            match counts.iter_mut().find(|(known, _)| *known == setting) {
                Some((_, count)) => *count += 1,
                None => counts.push((setting, 1)),
            }
        }
        counts.into_iter().filter(|(_, count)| *count > 2).map(|(setting, _)| setting).collect()
    }
}

/// A setting of more bytes is written once if it is that of more than two metrics.
const LONG: usize = 32;

fn settings(metric: &Metric) -> impl Iterator<Item = String> {
    metric.settings.iter().map(|(key, value)| format!("{key} = {}", plain(value)))
}

fn name_and_unit(metric: &Metric) -> String {
    match metric.unit.as_str() {
        "" => metric.name.clone(),
        unit => format!("{} ({unit})", metric.name),
    }
}

fn ours(metric: &Metric) -> String {
    match metric.std_error {
        Some(error) => format_with_error(metric.value, error),
        None => format_number(metric.value),
    }
}

/// A number out of a paper, with the digits that it has as an `f64`: zeros at the end of a printed
/// number are not kept.
fn as_printed(value: f64) -> String {
    let plain = (1e-6..1e9).contains(&value.abs());
    if plain { value.to_string() } else { format_number(value) }
}

/// A setting as a person writes it: strings without quotes, five digits of a fraction.
pub(crate) fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), format_number)
        }
        other => other.to_string(),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Block {
    Heading(String),
    Subheading(String),
    Paragraph(String),
    Table(Table),
    /// Path relative to the report, and caption.
    Plot(PathBuf, String),
    Sheet(PathBuf, String),
    Checks(Vec<Check>),
    Settings(Vec<(String, String)>),
}

/// A document under construction. All text is plain: nothing in it is read as markup.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    title: String,
    blocks: Vec<Block>,
}

impl Report {
    /// A report without contents.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Heading(text.into()))
    }

    /// Adds a heading of the second level.
    pub fn subheading(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Subheading(text.into()))
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Paragraph(text.into()))
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.push(Block::Table(table))
    }

    /// Adds an SVG plot by its path relative to the report, such as `plots/loss.svg`.
    pub fn plot(&mut self, path: impl Into<PathBuf>, caption: impl Into<String>) -> &mut Self {
        self.push(Block::Plot(path.into(), caption.into()))
    }

    /// Adds a PNG sheet by its path relative to the report, such as `samples/chain.png`.
    pub fn sheet(&mut self, path: impl Into<PathBuf>, caption: impl Into<String>) -> &mut Self {
        self.push(Block::Sheet(path.into(), caption.into()))
    }

    /// Adds the list of outcomes.
    pub fn checks(&mut self, checks: &[Check]) -> &mut Self {
        self.push(Block::Checks(checks.to_vec()))
    }

    /// Adds the resolved settings, nested ones under dotted keys.
    pub fn settings(&mut self, config: &toml::Table) -> &mut Self {
        let mut pairs = Vec::new();
        flatten("", config, &mut pairs);
        self.push(Block::Settings(pairs))
    }

    /// Adds what the results say about themselves: the run in one sentence, the metrics, the checks.
    pub fn results(&mut self, results: &Results) -> &mut Self {
        let Results { paper, experiment, anchor, scale, seed, wall_s, peak_rss_mb, .. } = results;
        let memory = match peak_rss_mb {
            0 => String::new(),
            mb => format!(", at most {mb} MiB of memory"),
        };
        let wall = numbers::format_seconds(*wall_s);
        self.paragraph(format!(
            "{paper}, experiment {experiment} ({anchor}), scale {scale}, seed {seed}: {wall}{memory}."
        ));
        self.heading("Results").table(Table::of_metrics(&results.metrics));
        for (at, note) in Table::notes(&results.metrics).iter().enumerate() {
            self.paragraph(format!("Note {}: {note}.", at + 1));
        }
        if !results.checks.is_empty() {
            self.heading("Checks").checks(&results.checks);
        }
        self
    }

    /// The report as Markdown, with links to plots and sheets.
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }

    /// The report as one HTML document that needs nothing else; plots and sheets are read from
    /// `dir`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) for a plot or sheet that is not there;
    /// [`Error::Format`](crate::Error::Format) for one that is not an SVG or PNG file.
    pub fn to_html(&self, dir: &Path) -> Result<String> {
        html::render(self, dir)
    }

    /// Writes `report.md` and `report.html` into `dir`.
    ///
    /// # Errors
    /// As [`Report::to_html`].
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_atomic(&dir.join("report.md"), self.to_markdown().as_bytes())?;
        write_atomic(&dir.join("report.html"), self.to_html(dir)?.as_bytes())
    }

    fn push(&mut self, block: Block) -> &mut Self {
        self.blocks.push(block);
        self
    }
}

fn flatten(prefix: &str, table: &toml::Table, out: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, out),
            toml::Value::String(text) => out.push((key, text.clone())),
            other => out.push((key, other.to_string())),
        }
    }
}
