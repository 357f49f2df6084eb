//! One run of one experiment: its directory, its listeners, what it found.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use chains_core::train::{Event, Observer};

use crate::{
    animation,
    error::Result,
    observers::{JsonLines, Progress},
    plots::{Panels, Plot},
    registry::{Experiment, Paper},
    report::{Report, Table},
    request::{Request, Scale},
    results::{Check, Metric, Results, peak_rss_mb, write_atomic},
    run_dir::{RunDir, RunInfo},
    sheet::{Sheet, save_png},
};

enum Block {
    Heading(String),
    Paragraph(String),
    Table(Table),
    Plot(PathBuf, String),
    Sheet(PathBuf, String),
}

/// An experiment that is running.
pub struct Run<'a> {
    /// What the command line asked for.
    pub request: &'a Request,
    dir: RunDir,
    settings: toml::Table,
    metrics: Vec<Metric>,
    checks: Vec<Check>,
    blocks: Vec<Block>,
    listeners: Option<Listeners>,
}

/// Progress on stderr, lines in `metrics.jsonl`.
struct Listeners {
    all: Vec<Box<dyn Observer>>,
}

impl Observer for Listeners {
    fn observe(&mut self, event: &Event<'_>) -> chains_core::Result<()> {
        self.all.observe(event)
    }
}

/// Runs an experiment in `out` and writes its results and report.
///
/// # Errors
/// Those of the experiment; bad settings and missing data are found before `out` is touched.
pub fn execute(
    request: &Request,
    paper: &Paper,
    experiment: &Experiment,
    out: &Path,
) -> Result<Results> {
    let settings = (experiment.settings)(request)?;
    (experiment.ready)(request)?;
    let info = RunInfo {
        paper: paper.id.into(),
        experiment: experiment.id.into(),
        scale: request.scale.name().into(),
        seed: request.seed,
        device: request.device_name.clone(),
        config: settings.clone(),
    };
    let dir = RunDir::create(out, &info, request.resume)?;
    let mut run = Run {
        request,
        dir,
        settings,
        metrics: Vec::new(),
        checks: Vec::new(),
        blocks: Vec::new(),
        listeners: None,
    };
    (experiment.run)(&mut run)?;
    run.finish(paper, experiment)
}

impl Run<'_> {
    /// The directory.
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Who hears of progress.
    ///
    /// # Errors
    /// If `metrics.jsonl` cannot be opened.
    pub fn observer(&mut self) -> Result<&mut dyn Observer> {
        if self.listeners.is_none() {
            let all: Vec<Box<dyn Observer>> =
                vec![Box::new(self.dir.json_lines()?), Box::new(Progress::stderr())];
            self.listeners = Some(Listeners { all });
        }
        // Just filled.
        Ok(self.listeners.get_or_insert(Listeners { all: Vec::new() }))
    }

    /// Drops from `metrics.jsonl` what came after update `step` of `stage`, for a loop that resumes
    /// there.
    ///
    /// # Errors
    /// If the file cannot be rewritten.
    pub fn rewind(&mut self, stage: &str, step: usize) -> Result<()> {
        self.listeners = None;
        JsonLines::truncate_after(&self.dir.metrics(), stage, step)
    }

    /// Adds a number to the results.
    pub fn metric(&mut self, metric: Metric) {
        self.metrics.push(metric);
    }

    /// Adds an outcome to the results.
    pub fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Adds a heading to the report.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    /// Adds a paragraph to the report.
    pub fn paragraph(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph(text.into()));
    }

    /// Adds a table to the report.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Writes a plot to `plots/NAME.svg` and adds it to the report.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn plot(&mut self, name: &str, plot: &Plot, caption: &str) -> Result<()> {
        let file = format!("{name}.svg");
        plot.save(&self.dir.plots().join(&file))?;
        self.blocks.push(Block::Plot(Path::new("plots").join(file), caption.into()));
        Ok(())
    }

    /// Writes panels to `plots/NAME.svg` and adds them to the report.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn panels(&mut self, name: &str, panels: &Panels, caption: &str) -> Result<()> {
        let file = format!("{name}.svg");
        panels.save(&self.dir.plots().join(&file))?;
        self.blocks.push(Block::Plot(Path::new("plots").join(file), caption.into()));
        Ok(())
    }

    /// Writes images `(n, D)` to `samples/NAME.png` and adds the sheet to the report.
    ///
    /// # Errors
    /// If the shapes do not fit or the file cannot be written.
    pub fn sheet(
        &mut self,
        name: &str,
        sheet: &Sheet,
        images: &Tensor,
        caption: &str,
    ) -> Result<()> {
        let picture = sheet.render_tensor(images)?;
        self.picture(name, &picture, caption)
    }

    /// Writes chains, one row each, to `samples/NAME.png` and adds them to the report; `steps[t]`
    /// holds step t of all chains, `(n, D)`.
    ///
    /// # Errors
    /// As [`Run::sheet`].
    pub fn chains(
        &mut self,
        name: &str,
        event: [usize; 3],
        steps: &[Tensor],
        caption: &str,
    ) -> Result<()> {
        let [channels, height, width] = event;
        let sheet = Sheet {
            columns: steps.len(),
            scale: if height < 20 { 3 } else { 2 },
            ..Sheet::new(channels, height, width)
        };
        let picture = sheet.render_chains(steps)?;
        self.picture(name, &picture, caption)
    }

    /// Writes a picture to `samples/NAME.png` and adds it to the report.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn picture(&mut self, name: &str, picture: &image::RgbImage, caption: &str) -> Result<()> {
        let file = format!("{name}.png");
        save_png(picture, &self.dir.samples().join(&file))?;
        self.blocks.push(Block::Sheet(Path::new("samples").join(file), caption.into()));
        Ok(())
    }

    /// Writes an animation of `per_second` frames a second to `samples/NAME.png` and adds it to the report.
    ///
    /// # Errors
    /// As [`animation::encode`]; if the file cannot be written.
    pub fn animation(
        &mut self,
        name: &str,
        (frames, per_second): (&[image::RgbImage], u16),
        caption: &str,
    ) -> Result<()> {
        let file = format!("{name}.png");
        let bytes = animation::encode(frames, per_second)?;
        write_atomic(&self.dir.samples().join(&file), &bytes)?;
        self.blocks.push(Block::Sheet(Path::new("samples").join(file), caption.into()));
        Ok(())
    }

    fn finish(mut self, paper: &Paper, experiment: &Experiment) -> Result<Results> {
        self.listeners = None;
        self.dir.finish()?;
        let results = Results {
            paper: paper.id.into(),
            experiment: experiment.id.into(),
            anchor: experiment.anchor.into(),
            scale: self.request.scale.name().into(),
            seed: self.request.seed,
            metrics: self.metrics,
            checks: self.checks,
            wall_s: (self.dir.wall_s() * 10.0).round() / 10.0,
            peak_rss_mb: peak_rss_mb(),
        };
        let mut report = Report::new(format!("{} ({})", experiment.title, experiment.anchor));
        report.paragraph(format!("{}.", paper.citation));
        if self.request.scale == Scale::Smoke {
            report
                .paragraph("A smoke run: it shows that the path works; its numbers mean nothing.");
        }
        if self.request.device_name != "cpu" {
            report.paragraph(format!("Computed on {}.", self.request.device_name));
        }
        report.results(&results);
        for block in self.blocks {
            match block {
                Block::Heading(text) => report.heading(text),
                Block::Paragraph(text) => report.paragraph(text),
                Block::Table(table) => report.table(table),
                Block::Plot(path, caption) => report.plot(path, caption),
                Block::Sheet(path, caption) => report.sheet(path, caption),
            };
        }
        report.heading("Settings");
        report.settings(&self.settings);
        report.write(self.dir.root())?;
        // Last: results.json says that everything else is there.
        results.save(&self.dir.results())?;
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;

    #[test]
    fn a_report_names_the_device_and_a_smoke_run() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let paper = Paper { id: "none", citation: "nobody", experiments: &[] };
        let experiment = Experiment {
            id: "nothing",
            anchor: "nowhere",
            title: "Nothing",
            headline: false,
            data: "none",
            time: ["1 s", "1 s", "1 s"],
            settings: |_| Ok(toml::Table::new()),
            ready: |_| Ok(()),
            run: |_| Ok(()),
        };
        for (name, words) in [("cpu", ""), ("cuda:0, tf32 products", "Computed on cuda:0, tf32")] {
            let request = Request { device_name: name.into(), ..request(Scale::Smoke, &[]) };
            let out = temp.path().join(&name[..3]);
            execute(&request, &paper, &experiment, &out)?;
            let report = std::fs::read_to_string(out.join("report.md")).unwrap();
            assert!(report.contains(words) && report.contains("A smoke run"), "{report}");
            assert_eq!(report.contains("Computed on"), !words.is_empty());
        }
        Ok(())
    }
}
