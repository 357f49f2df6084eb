//! Events of a loop, and observers that listen.
//!
//! Loops emit events; progress bars, JSON lines, sample sheets and checkpoints are observers chosen
//! by the binary. Nothing in the libraries prints.

use std::path::Path;

use candle_core::Tensor;

use crate::error::Result;

/// One thing that happened. Events are framed by `Started` and `Finished`, in order.
#[non_exhaustive]
#[derive(Debug)]
pub enum Event<'a> {
    /// A loop begins. `step` is not zero when it resumes.
    Started {
        /// Name of the loop, such as `train` or `bound`.
        stage: &'a str,
        /// Steps already done.
        step: usize,
        /// Steps in all, if known.
        total: Option<usize>,
    },
    /// Numbers of one step.
    Scalars {
        /// Steps done.
        step: usize,
        /// Name and value, in a fixed order.
        values: &'a [(&'a str, f64)],
    },
    /// A batch of images worth looking at, `(b, c, h, w)` or `(b, h, w)`, pixels in `[0, 1]`.
    Images {
        /// Steps done.
        step: usize,
        /// File stem.
        name: &'a str,
        /// The images.
        batch: &'a Tensor,
    },
    /// A file was written.
    Saved {
        /// Steps done.
        step: usize,
        /// The file.
        path: &'a Path,
    },
    /// The loop ended.
    Finished {
        /// Steps done.
        step: usize,
    },
}

/// Listens to a loop.
pub trait Observer {
    /// Called for every event, in order.
    ///
    /// # Errors
    /// An error stops the loop.
    fn observe(&mut self, event: &Event<'_>) -> Result<()>;
}

/// Nobody listens.
impl Observer for () {
    fn observe(&mut self, _: &Event<'_>) -> Result<()> {
        Ok(())
    }
}

/// Several observers, called in order.
impl Observer for Vec<Box<dyn Observer + '_>> {
    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        self.iter_mut().try_for_each(|observer| observer.observe(event))
    }
}
