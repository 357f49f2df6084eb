//! `metrics.jsonl`: the record of truth of a run, one JSON object a line.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use chains_core::train::{Event, Observer};
use serde::{Deserialize, Serializer, ser::SerializeMap};

use crate::error::{Error, Result};

/// Appends scalars to a file: `step`, `time_s`, `seed`, `stage`, then the values in their order.
///
/// Every line is written at once. Numbers that are not finite are the strings `"NaN"`, `"inf"`,
/// `"-inf"`, so that each line stays JSON. `time_s` counts from the start of the run; a resumed
/// run goes on from the last line's.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    seed: u64,
    started: Instant,
    earlier_s: f64,
    /// Loops may nest; the last one is running.
    stages: Vec<String>,
}

/// What is read back from a line.
#[derive(Deserialize)]
struct Line {
    step: usize,
    time_s: f64,
    stage: String,
}

impl JsonLines {
    /// Opens the file, creating it if there is none. A last line that was cut off is removed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the byte offset of a line that is not ours.
    pub fn append(path: &Path, seed: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(|source| Error::io(path, source))?;
        let lines = read_lines(path, &file)?;
        let (end, earlier_s) = lines.last().map_or((0, 0.0), |(end, line)| (*end, line.time_s));
        let cut = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
        cut.map_err(|source| Error::io(path, source))?;
        let (started, stages) = (Instant::now(), Vec::new());
        Ok(Self { path: path.to_path_buf(), file, seed, started, earlier_s, stages })
    }

    /// Drops what came after a checkpoint: every line behind the last one of `stage` with at most
    /// `step` steps, and a last line that was cut off. Stages before `stage` stay; if `stage` has
    /// only later lines, it goes altogether. A missing file is left missing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the byte offset of a line that is not ours.
    pub fn truncate_after(path: &Path, stage: &str, step: usize) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| Error::io(path, source))?;
        let lines = read_lines(path, &file)?;
        let later = lines.iter().position(|(_, line)| line.stage == stage && line.step > step);
        let before = &lines[..later.unwrap_or(lines.len())];
        let kept = match before.iter().rposition(|(_, line)| line.stage == stage) {
            Some(last) => last + 1,
            None => before.len(),
        };
        let end = if kept == 0 { 0 } else { lines[kept - 1].0 };
        file.set_len(end).map_err(|source| Error::io(path, source))
    }

    /// The step and the time, in seconds, of the last line: of `stage`, or of the file if that is
    /// `None`. Nothing if there is no such line, or no file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the byte offset of a line that is not ours.
    pub fn last(path: &Path, stage: Option<&str>) -> Result<Option<(usize, f64)>> {
        if !path.exists() {
            return Ok(None);
        }
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let lines = read_lines(path, &file)?;
        let mut wanted = lines.iter().filter(|(_, line)| stage.is_none_or(|s| line.stage == s));
        Ok(wanted.next_back().map(|(_, line)| (line.step, line.time_s)))
    }

    fn write(&mut self, step: usize, values: &[(&str, f64)]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(128);
        let time_s = self.earlier_s + self.started.elapsed().as_secs_f64();
        let mut serializer = serde_json::Serializer::new(&mut bytes);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("step", &step)?;
        map.serialize_entry("time_s", &((time_s * 1e3).round() / 1e3))?;
        map.serialize_entry("seed", &self.seed)?;
        map.serialize_entry("stage", self.stages.last().map_or("", String::as_str))?;
        for (name, value) in values {
            if ["step", "time_s", "seed", "stage"].contains(name) {
                return Err(std::io::Error::other(format!(
                    "`{name}` cannot be the name of a scalar"
                )));
            }
            match value.is_finite() {
                true => map.serialize_entry(name, value)?,
                false => map.serialize_entry(name, &value.to_string())?,
            }
        }
        map.end()?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)
    }
}

impl Observer for JsonLines {
    fn observe(&mut self, event: &Event<'_>) -> chains_core::Result<()> {
        match event {
            Event::Started { stage, .. } => self.stages.push((*stage).to_owned()),
            // No values: only progress is told.
            Event::Scalars { values: [], .. } => {}
            Event::Scalars { step, values } => self
                .write(*step, values)
                .map_err(|source| chains_core::Error::io(self.path.clone(), source))?,
            Event::Finished { .. } => drop(self.stages.pop()),
            _ => {}
        }
        Ok(())
    }
}

/// Every whole line with the offset of its end. A last line without its newline is left out.
fn read_lines(path: &Path, file: &File) -> Result<Vec<(u64, Line)>> {
    let mut reader = BufReader::new(file);
    let (mut lines, mut start, mut bytes) = (Vec::new(), 0, Vec::new());
    loop {
        bytes.clear();
        let read =
            reader.read_until(b'\n', &mut bytes).map_err(|source| Error::io(path, source))?;
        if bytes.last() != Some(&b'\n') {
            return Ok(lines);
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| {
            let reason = format!("byte {start}: the line is not a record of a run: {error}");
            Error::format(path, reason + "; remove that line or start afresh")
        })?;
        start += read as u64;
        lines.push((start, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lines: &mut JsonLines, stage: &str, steps: &[usize]) {
        lines.observe(&Event::Started { stage, step: 0, total: None }).unwrap();
        for &step in steps {
            let values = [("loss", step as f64 / 8.0)];
            lines.observe(&Event::Scalars { step, values: &values }).unwrap();
        }
        lines.observe(&Event::Finished { step: 0 }).unwrap();
    }

    fn read(path: &Path) -> Vec<(String, usize)> {
        let text = std::fs::read_to_string(path).unwrap();
        let line = |line| serde_json::from_str::<Line>(line).unwrap();
        text.lines().map(line).map(|line| (line.stage, line.step)).collect()
    }

    fn pairs(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|(stage, step)| ((*stage).to_owned(), *step)).collect()
    }

    #[test]
    fn a_line_has_its_keys_in_order_and_stays_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut lines = JsonLines::append(&path, 7).unwrap();
        lines.observe(&Event::Started { stage: "train", step: 0, total: Some(2) }).unwrap();
        let values = [("loss", 0.5), ("bad", f64::NAN), ("worse", f64::NEG_INFINITY)];
        lines.observe(&Event::Scalars { step: 1, values: &values }).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let time = text.split("\"time_s\":").nth(1).unwrap().split(',').next().unwrap();
        let expected = format!(
            r#"{{"step":1,"time_s":{time},"seed":7,"stage":"train","loss":0.5,"bad":"NaN","worse":"-inf"}}"#
        );
        assert_eq!(text, expected + "\n");
        let clash = [("seed", 1.0)];
        assert!(lines.observe(&Event::Scalars { step: 2, values: &clash }).is_err());
    }

    #[test]
    fn truncation_keeps_what_the_checkpoint_has_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let all = pairs(&[
            ("pretrain", 10),
            ("pretrain", 20),
            ("train", 10),
            ("train", 20),
            ("bound", 1),
        ]);
        for (stage, step, kept) in [
            ("train", 20, 4),
            ("train", 15, 3),
            ("train", 10, 3),
            ("train", 5, 2),
            ("pretrain", 20, 2),
            ("pretrain", 0, 0),
            ("bound", 1, 5),
            ("bound", 0, 4),
            ("later", 9, 5),
        ] {
            let _ = std::fs::remove_file(&path);
            let mut lines = JsonLines::append(&path, 0).unwrap();
            record(&mut lines, "pretrain", &[10, 20]);
            record(&mut lines, "train", &[10, 20]);
            record(&mut lines, "bound", &[1]);
            JsonLines::truncate_after(&path, stage, step).unwrap();
            assert_eq!(read(&path), all[..kept], "{stage} {step}");
        }
    }

    #[test]
    fn nested_stages_keep_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut lines = JsonLines::append(&path, 0).unwrap();
        lines.observe(&Event::Started { stage: "train", step: 0, total: None }).unwrap();
        record(&mut lines, "bound", &[1]);
        lines.observe(&Event::Scalars { step: 2, values: &[("loss", 1.0)] }).unwrap();
        // Without values only progress is told.
        lines.observe(&Event::Scalars { step: 3, values: &[] }).unwrap();
        let step = |stage| JsonLines::last(&path, stage).unwrap().map(|(step, _)| step);
        assert_eq!([step(None), step(Some("bound")), step(Some("x"))], [Some(2), Some(1), None]);
        assert_eq!(read(&path), pairs(&[("bound", 1), ("train", 2)]));
    }

    #[test]
    fn a_cut_off_last_line_goes_and_time_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let whole = "{\"step\":1,\"time_s\":100.5,\"seed\":0,\"stage\":\"train\",\"loss\":1.0}\n";
        std::fs::write(&path, format!("{whole}{{\"step\":2,\"ti")).unwrap();
        JsonLines::truncate_after(&path, "train", 9).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        std::fs::write(&path, format!("{whole}{{\"step\":2,\"ti")).unwrap();
        record(&mut JsonLines::append(&path, 0).unwrap(), "train", &[2]);
        assert_eq!(read(&path), pairs(&[("train", 1), ("train", 2)]));
        let text = std::fs::read_to_string(&path).unwrap();
        let last: Line = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert!(last.time_s >= 100.5);
    }

    #[test]
    fn a_foreign_line_is_an_error_with_its_byte_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let whole = "{\"step\":1,\"time_s\":0.0,\"stage\":\"a\"}\n";
        std::fs::write(&path, format!("{whole}hello\n")).unwrap();
        let place = format!("byte {}:", whole.len());
        for error in [
            JsonLines::append(&path, 0).map(drop).unwrap_err(),
            JsonLines::truncate_after(&path, "a", 1).unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.contains("metrics.jsonl") && message.contains(&place), "{message}");
        }
        let missing = dir.path().join("missing.jsonl");
        JsonLines::truncate_after(&missing, "a", 1).unwrap();
        assert_eq!(JsonLines::last(&missing, None).unwrap(), None);
        assert!(!missing.exists());
    }
}
