//! What a person sees while a run is going.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use chains_core::train::{Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::format_number;

/// Progress on stderr: a bar with elapsed time, time left and the last scalars on a terminal,
/// plain lines otherwise.
///
/// A line reads `train 120/3900 loss=0.4312 1.23/s ETA 3m10s`; one comes every ten seconds
/// unless [`Progress::every`] says otherwise, and one when a stage ends.
pub struct Progress {
    /// Where lines go; `None` draws bars.
    out: Option<Box<dyn Write + Send>>,
    every: Duration,
    /// Loops may nest; the last one is running.
    stages: Vec<Stage>,
}

struct Stage {
    name: String,
    first: usize,
    step: usize,
    total: Option<usize>,
    started: Instant,
    shown: Instant,
    scalars: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// On stderr, in the form that fits it.
    pub fn stderr() -> Self {
        let stderr = std::io::stderr();
        if stderr.is_terminal() {
            return Self { out: None, every: Duration::from_secs(10), stages: Vec::new() };
        }
        Self::lines(Box::new(stderr))
    }

    /// Plain lines into `out`.
    pub fn lines(out: Box<dyn Write + Send>) -> Self {
        Self { out: Some(out), every: Duration::from_secs(10), stages: Vec::new() }
    }

    /// The least time between two plain lines of a stage.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    fn start(&mut self, name: &str, step: usize, total: Option<usize>) {
        let now = Instant::now();
        let bar = self.out.is_none().then(|| new_bar(name, step, total));
        let (name, scalars) = (name.to_owned(), String::new());
        let stage =
            Stage { name, first: step, step, total, started: now, shown: now, scalars, bar };
        self.stages.push(stage);
    }

    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> std::io::Result<()> {
        let Some(stage) = self.stages.last_mut() else {
            return Ok(());
        };
        stage.step = step;
        if let Some(bar) = &stage.bar {
            bar.set_position(step as u64);
            bar.set_message(join(values));
            return Ok(());
        }
        stage.scalars = join(values);
        if stage.shown.elapsed() < self.every {
            return Ok(());
        }
        stage.shown = Instant::now();
        let line = stage.line(stage.started.elapsed());
        self.write(&line)
    }

    fn finish(&mut self, step: usize) -> std::io::Result<()> {
        let Some(mut stage) = self.stages.pop() else {
            return Ok(());
        };
        stage.step = step;
        if let Some(bar) = &stage.bar {
            bar.set_position(step as u64);
            bar.abandon();
            return Ok(());
        }
        let elapsed = stage.started.elapsed();
        self.write(&format!("{} in {}", stage.head(elapsed), clock(elapsed)))
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        match &mut self.out {
            Some(out) => writeln!(out, "{line}").and_then(|()| out.flush()),
            None => Ok(()),
        }
    }
}

impl Observer for Progress {
    fn observe(&mut self, event: &Event<'_>) -> chains_core::Result<()> {
        match event {
            Event::Started { stage, step, total } => self.start(stage, *step, *total),
            // A closed pipe is no reason to stop a run of hours.
            Event::Scalars { step, values } => drop(self.scalars(*step, values)),
            Event::Finished { step } => drop(self.finish(*step)),
            _ => {}
        }
        Ok(())
    }
}

impl Stage {
    /// Updates a second since the start, those of an earlier run not counted.
    fn rate(&self, elapsed: Duration) -> f64 {
        let done = self.step.saturating_sub(self.first) as f64;
        done / elapsed.as_secs_f64().max(1e-9)
    }

    fn head(&self, elapsed: Duration) -> String {
        let total = self.total.map_or(String::new(), |total| format!("/{total}"));
        let gap = if self.scalars.is_empty() { "" } else { " " };
        let rate = self.rate(elapsed);
        let digits = if rate < 10.0 { 2 } else { 0 };
        let Self { name, step, scalars, .. } = self;
        format!("{name} {step}{total}{gap}{scalars} {rate:.digits$}/s")
    }

    fn line(&self, elapsed: Duration) -> String {
        let mut line = self.head(elapsed);
        let rate = self.rate(elapsed);
        if let Some(total) = self.total.filter(|_| rate > 0.0) {
            let left = total.saturating_sub(self.step) as f64 / rate;
            // A year is as good as never, and always fits a duration.
            line += &format!(" ETA {}", clock(Duration::from_secs_f64(left.min(3.2e7))));
        }
        line
    }
}

fn new_bar(name: &str, step: usize, total: Option<usize>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total as u64),
            "{prefix} {bar:24} {pos}/{len} {elapsed} left {eta} {wide_msg}",
        ),
        None => (ProgressBar::no_length(), "{prefix} {spinner} {pos} {elapsed} {wide_msg}"),
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    bar.set_position(step as u64);
    // The time left is estimated from this run's steps only.
    bar.reset_eta();
    bar
}

fn join(values: &[(&str, f64)]) -> String {
    let parts: Vec<_> = values.iter().map(|(k, v)| format!("{k}={}", format_number(*v))).collect();
    parts.join(" ")
}

/// `9.3s`, `3m10s`, `2h05m`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn run(every: Duration) -> String {
        let out = Shared::default();
        let mut progress = Progress::lines(Box::new(out.clone())).every(every);
        progress.observe(&Event::Started { stage: "train", step: 0, total: Some(2) }).unwrap();
        for step in 1..=2 {
            progress.observe(&Event::Scalars { step, values: &[("loss", 0.25)] }).unwrap();
        }
        progress.observe(&Event::Finished { step: 2 }).unwrap();
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_keep_the_cadence_and_the_end_is_always_told() {
        let often = run(Duration::ZERO);
        let lines: Vec<_> = often.lines().collect();
        assert_eq!(lines.len(), 3, "{often}");
        assert!(lines[0].starts_with("train 1/2 loss=0.25 ") && lines[0].contains("/s ETA "));
        assert!(lines[2].starts_with("train 2/2 loss=0.25 ") && lines[2].contains("/s in "));
        let seldom = run(Duration::from_secs(3600));
        assert!(seldom.starts_with("train 2/2 loss=0.25 ") && seldom.lines().count() == 1);
    }

    #[test]
    fn rate_and_time_left_count_this_runs_steps() {
        let now = Instant::now();
        let mut stage = Stage {
            name: "train".into(),
            first: 100,
            step: 120,
            total: Some(500),
            started: now,
            shown: now,
            scalars: "loss=1.5".into(),
            bar: None,
        };
        // 20 updates in 10 s: 2 a second, 380 to go.
        let elapsed = Duration::from_secs(10);
        assert_eq!(stage.line(elapsed), "train 120/500 loss=1.5 2.00/s ETA 3m10s");
        stage.total = None;
        assert_eq!(stage.line(elapsed), "train 120 loss=1.5 2.00/s");
        stage.step = 100;
        stage.total = Some(500);
        assert_eq!(stage.line(elapsed), "train 100/500 loss=1.5 0.00/s");
    }

    #[test]
    fn times_read_as_people_write_them() {
        let shown = |seconds| clock(Duration::from_secs_f64(seconds));
        assert_eq!([shown(9.34), shown(59.0), shown(190.0)], ["9.3s", "59s", "3m10s"]);
        assert_eq!(shown(7500.0), "2h05m");
    }
}
