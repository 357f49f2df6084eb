//! Rows in ascending order of confidence, cut into bins.

use super::Row;

/// The bin `(b / bins, (b + 1) / bins]` of a confidence; zero belongs to the first.
pub(super) fn bin_of(confidence: f64, bins: usize) -> usize {
    let count = bins as f64;
    let bin = ((confidence * count).ceil() as usize).clamp(1, bins) - 1;
    // The product rounds; the edges decide.
    if bin > 0 && confidence <= bin as f64 / count {
        bin - 1
    } else if bin + 1 < bins && confidence > (bin + 1) as f64 / count {
        bin + 1
    } else {
        bin
    }
}

/// The bins of equal width that hold a row.
pub(super) fn equal_width(rows: &[Row], bins: usize) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(move |a, b| bin_of(a.confidence, bins) == bin_of(b.confidence, bins))
}

/// Bins of equally many rows, up to one; rows of equal confidence share a bin, so that their order
/// does not matter.
pub(super) fn equal_mass(rows: &[Row], bins: usize) -> impl Iterator<Item = &[Row]> {
    let (n, bins) = (rows.len(), bins.min(rows.len()));
    let mut start = 0;
    (1..=bins).map(move |bin| {
        // Not `bin * n / bins`, which may overflow.
        let mut end = start.max(n / bins * bin + n % bins * bin / bins);
        while end > start && end < n && rows[end].confidence <= rows[end - 1].confidence {
            end += 1;
        }
        let rows = &rows[start..end];
        start = end;
        rows
    })
}
