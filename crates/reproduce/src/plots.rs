//! Line and scatter plots as SVG files: text stays text, no font is needed to write them.

mod axis;
mod draw;
mod panels;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::{
    error::{Error, Result},
    results::write_atomic,
};
use axis::{Axis, shows};
pub use panels::Panels;

/// How the points of a series are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// A line, with markers while they can be told apart.
    Line,
    /// Small dots.
    Dots,
}

/// Named points.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    errors: Vec<f64>,
    mark: Mark,
}

impl Series {
    /// Points joined in their order; the line breaks where a number cannot be shown.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().collect();
        Self { name: name.into(), points, errors: Vec::new(), mark: Mark::Line }
    }

    /// Points on their own, such as samples in the plane. Each costs about 80 bytes of file.
    pub fn scatter(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { mark: Mark::Dots, ..Self::line(name, points) }
    }

    /// With vertical bars from `y - error` to `y + error`, one for each point in order; those that
    /// are zero or not finite are left out.
    #[must_use]
    pub fn errors(mut self, errors: impl IntoIterator<Item = f64>) -> Self {
        self.errors = errors.into_iter().collect();
        self
    }
}

/// A plot: axes, series, and horizontal lines to compare with.
///
/// Numbers that cannot be shown (not finite, or not positive on a logarithmic axis) are left out.
/// The same plot gives the same bytes.
///
/// # Example
/// ```
/// use reproduce::plots::{Plot, Series};
/// let mut plot = Plot::new("Loss", "update", "nats").log_x();
/// plot.series(Series::line("ours", [(1.0, 3.0), (10.0, 2.0), (100.0, 1.5)]));
/// plot.reference("published", 1.4);
/// assert!(plot.to_svg()?.starts_with("<svg"));
/// # Ok::<(), reproduce::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    title: String,
    x_label: String,
    y_label: String,
    log_x: bool,
    log_y: bool,
    equal: bool,
    series: Vec<Series>,
    references: Vec<(String, f64)>,
}

impl Plot {
    /// An empty plot. An empty title or label takes no room.
    pub fn new(
        title: impl Into<String>,
        x_label: impl Into<String>,
        y_label: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            log_x: false,
            log_y: false,
            equal: false,
            series: Vec::new(),
            references: Vec::new(),
        }
    }

    /// With a logarithmic x axis.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.log_x = true;
        self
    }

    /// With a logarithmic y axis.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.log_y = true;
        self
    }

    /// With the same scale on both axes, for points in the plane; no effect on logarithmic axes.
    #[must_use]
    pub fn equal_axes(mut self) -> Self {
        self.equal = true;
        self
    }

    /// Adds a series. Colours and markers follow the order; series with an empty name are not in
    /// the legend.
    pub fn series(&mut self, series: Series) -> &mut Self {
        self.series.push(series);
        self
    }

    /// Adds a dashed horizontal line, such as a published value or a closed form.
    pub fn reference(&mut self, label: impl Into<String>, y: f64) -> &mut Self {
        self.references.push((label.into(), y));
        self
    }

    /// The plot as an SVG document.
    ///
    /// # Errors
    /// [`Error::Plot`] if the drawing library refuses.
    pub fn to_svg(&self) -> Result<String> {
        draw::draw(self)
            .map_err(|reason| Error::Plot { title: self.title.clone(), reason: reason.to_string() })
    }

    /// Writes the plot as an SVG file: under a temporary name first, then renamed.
    ///
    /// # Errors
    /// As [`Plot::to_svg`]; [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomic(path, self.to_svg()?.as_bytes())
    }

    fn visible(&self, (x, y): (f64, f64)) -> bool {
        shows(self.log_x, x) && shows(self.log_y, y)
    }

    /// References that the y axis can show, with their place in the order.
    fn visible_references(&self) -> impl Iterator<Item = (usize, &str, f64)> {
        let all = self.references.iter().enumerate().map(|(i, (label, y))| (i, label.as_str(), *y));
        all.filter(|(_, _, y)| shows(self.log_y, *y))
    }

    /// Axes around everything, for a plotting area of that many pixels.
    fn axes(&self, width: f64, height: f64) -> (Axis, Axis) {
        let points = || {
            let series = self.series.iter();
            series.flat_map(|s| s.points.iter()).copied().filter(|p| self.visible(*p))
        };
        let ends = self.series.iter().flat_map(|s| {
            let bars = s.points.iter().zip(&s.errors).filter(|(p, _)| self.visible(**p));
            bars.flat_map(|(p, error)| [p.1 - error, p.1 + error])
        });
        let references = self.visible_references().map(|(_, _, y)| y);
        let x = Axis::around(points().map(|p| p.0), self.log_x);
        let y = Axis::around(points().map(|p| p.1).chain(ends).chain(references), self.log_y);
        if !self.equal || self.log_x || self.log_y {
            return (x, y);
        }
        let unit = ((x.high - x.low) / width).max((y.high - y.low) / height);
        (x.widened(unit * width), y.widened(unit * height))
    }
}
