//! Rows of an array, a few at a time.

use super::{ArrayInfo, Layout, Values};
use crate::{error::Result, source::Source};

/// The rows of an array in order; see [`ArrayFile::stream`](super::ArrayFile::stream).
pub struct ArrayStream {
    info: ArrayInfo,
    layout: Layout,
    /// Rows given out.
    next: usize,
    /// None once all bytes were read.
    source: Option<Source>,
    /// All elements of a column-major array, which has no first row before the last byte.
    held: Option<Values>,
}

impl ArrayStream {
    pub(super) fn new(info: ArrayInfo, layout: Layout, source: Source) -> Self {
        Self { info, layout, next: 0, source: Some(source), held: None }
    }

    /// What the array is.
    pub fn info(&self) -> &ArrayInfo {
        &self.info
    }

    /// The next `n` rows, fewer at the end, none after it, in row-major order.
    ///
    /// The last row is given only when the file ends there and the checksum of an archive holds. A
    /// column-major array is read as a whole first.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) with the byte where the file is damaged, cut short or
    /// too long.
    pub fn next_rows(&mut self, n: usize) -> Result<Values> {
        let (rows, row_len) = (self.info.rows(), self.info.row_len());
        let n = n.min(rows - self.next);
        let begin = self.next;
        self.next += n;
        if self.layout.fortran && self.layout.dims.len() > 1 {
            if self.held.is_none() {
                let all = self.take(rows * row_len)?;
                self.finish()?;
                self.held = Some(all.transposed(&self.layout.dims));
            }
            let held =
                self.held.as_ref().map(|held| held.part(begin * row_len..self.next * row_len));
            return Ok(held.unwrap_or(Values::U8(Vec::new())));
        }
        let values = self.take(n * row_len)?;
        if self.next == rows {
            self.finish()?;
        }
        Ok(values)
    }

    /// So many elements, in the order of the file.
    fn take(&mut self, elements: usize) -> Result<Values> {
        let element = self.layout.element;
        let bytes = match &mut self.source {
            Some(source) => source.take((elements * element.size()) as u64, "elements")?,
            None => Vec::new(),
        };
        Ok(Values::decode(element, bytes, self.layout.big_endian))
    }

    fn finish(&mut self) -> Result<()> {
        self.source.take().map_or(Ok(()), Source::finish)
    }
}
