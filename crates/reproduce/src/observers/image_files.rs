//! Sample sheets while training.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use chains_core::train::{Event, Observer};

use crate::{
    error::Result,
    sheet::{Sheet, save_png},
};

/// Writes every batch of images as one PNG sheet.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    dir: PathBuf,
    numbered: bool,
}

impl ImageFiles {
    /// One file a batch: `DIR/NAME-STEP.png`, the step with six digits so that files sort.
    pub fn numbered(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), numbered: true }
    }

    /// One file a name, `DIR/NAME.png`, which always shows the last batch.
    pub fn latest(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), numbered: false }
    }

    /// The file for that batch. Characters that do not belong in a file name become `-`.
    pub fn path(&self, name: &str, step: usize) -> PathBuf {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
        self.dir.join(if self.numbered {
            format!("{name}-{step:06}.png")
        } else {
            format!("{name}.png")
        })
    }
}

fn write(batch: &Tensor, path: &Path) -> Result<()> {
    save_png(&Sheet::of(batch)?.render_tensor(batch)?, path)
}

impl Observer for ImageFiles {
    fn observe(&mut self, event: &Event<'_>) -> chains_core::Result<()> {
        let Event::Images { step, name, batch } = event else {
            return Ok(());
        };
        let path = self.path(name, *step);
        write(batch, &path).map_err(|error| error.into_chains(&path))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn batches_become_files_named_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let batch = Tensor::ones((4, 1, 28, 28), DType::F32, &Device::Cpu).unwrap();
        for step in [0, 250] {
            let event = Event::Images { step, name: "chain/a", batch: &batch };
            ImageFiles::numbered(dir.path()).observe(&event).unwrap();
            ImageFiles::latest(dir.path()).observe(&event).unwrap();
        }
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["chain-a-000000.png", "chain-a-000250.png", "chain-a.png"]);
    }

    #[test]
    fn a_batch_that_is_not_images_is_an_error() {
        let batch = Tensor::ones((4, 7), DType::F32, &Device::Cpu).unwrap();
        let event = Event::Images { step: 0, name: "x", batch: &batch };
        assert!(ImageFiles::latest("nowhere").observe(&event).is_err());
    }
}
