//! Small multiples: clouds of points in panels that share their axes.

use std::path::Path;

use plotters::{prelude::*, style::text_anchor::HPos};

use super::{
    Plot,
    axis::{Axis, shows},
    draw::{Area, COLOURS, Drawn, GRID, INK, LINE, MARGIN, PAPER, WIDTH, clean, text},
};
use crate::{
    error::{Error, Result},
    results::write_atomic,
};

/// Room for the labels of the shared axes.
const Y_LABELS: i32 = 62;
const X_LABELS: i32 = 40;
const GAP: i32 = 22;
/// Ticks on a narrow axis.
const TICKS: usize = 3;
const DOT: i32 = 2;

/// Clouds of points, one a panel, on the same axes with the same scale in both directions.
///
/// Points that are not finite are left out. The same panels give the same bytes.
///
/// # Example
/// ```
/// use reproduce::plots::Panels;
/// let mut panels = Panels::new("A chain", 2);
/// panels.panel("start", [(0.0, 0.0), (1.0, 1.0)]);
/// panels.panel("end", [(0.5, 0.5)]);
/// assert!(panels.to_svg()?.starts_with("<svg"));
/// # Ok::<(), reproduce::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    title: String,
    columns: usize,
    panels: Vec<(String, Vec<(f64, f64)>)>,
}

impl Panels {
    /// No panels yet; they fill rows of so many.
    pub fn new(title: impl Into<String>, columns: usize) -> Self {
        Self { title: title.into(), columns: columns.max(1), panels: Vec::new() }
    }

    /// Adds a panel.
    pub fn panel(
        &mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> &mut Self {
        self.panels.push((name.into(), points.into_iter().collect()));
        self
    }

    /// The panels as an SVG document.
    ///
    /// # Errors
    /// [`Error::Plot`] if the drawing library refuses.
    pub fn to_svg(&self) -> Result<String> {
        self.draw()
            .map_err(|reason| Error::Plot { title: self.title.clone(), reason: reason.to_string() })
    }

    /// Writes the panels as an SVG file: under a temporary name first, then renamed.
    ///
    /// # Errors
    /// As [`Panels::to_svg`]; [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomic(path, self.to_svg()?.as_bytes())
    }

    /// The axes of every panel.
    fn axes(&self) -> (Axis, Axis) {
        let mut all = Plot::new("", "", "").equal_axes();
        for (_, points) in &self.panels {
            all.series(super::Series::scatter("", points.iter().copied().filter(visible)));
        }
        all.axes(1.0, 1.0)
    }

    fn draw(&self) -> Drawn<String> {
        let columns = self.columns as i32;
        let side = (WIDTH - MARGIN - Y_LABELS - columns * GAP) / columns;
        let rows = self.panels.len().div_ceil(self.columns) as i32;
        let header = if self.title.is_empty() { MARGIN / 2 } else { MARGIN / 2 + LINE + 6 };
        let height = header + rows * (LINE + side) + X_LABELS + MARGIN / 2;
        let mut svg = String::new();
        {
            let size = (WIDTH as u32, height as u32);
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&PAPER)?;
            let bold = text(HPos::Left, true);
            root.draw_text(&clean(&self.title), &bold, (MARGIN, MARGIN / 2 + LINE / 2))?;
            let (x, y) = self.axes();
            for (index, (name, points)) in self.panels.iter().enumerate() {
                let (row, column) = ((index / self.columns) as i32, (index % self.columns) as i32);
                let left = MARGIN + Y_LABELS + column * (side + GAP);
                let top = header + row * (side + LINE) + LINE;
                let frame = Square { x: &x, y: &y, left, top, side };
                frame.mesh(&root)?;
                // Only where no other panel is below.
                let lowest = index + self.columns >= self.panels.len();
                frame.labels(&root, [column == 0, lowest])?;
                frame.points(&root, points)?;
                let middle = (left + side / 2, top - LINE / 2);
                root.draw_text(&clean(name), &text(HPos::Center, false), middle)?;
            }
            root.present()?;
        }
        Ok(svg)
    }
}

fn visible((x, y): &(f64, f64)) -> bool {
    shows(false, *x) && shows(false, *y)
}

/// One panel on the paper.
struct Square<'a> {
    x: &'a Axis,
    y: &'a Axis,
    left: i32,
    top: i32,
    side: i32,
}

impl Square<'_> {
    fn across(&self, value: f64) -> i32 {
        self.x.pixel(value, self.left, self.left + self.side)
    }

    fn up(&self, value: f64) -> i32 {
        self.y.pixel(value, self.top + self.side, self.top)
    }

    fn mesh(&self, root: &Area<'_>) -> Drawn {
        let (right, bottom) = (self.left + self.side, self.top + self.side);
        for tick in self.x.ticks(TICKS) {
            let line = vec![(self.across(tick), self.top), (self.across(tick), bottom)];
            root.draw(&PathElement::new(line, GRID))?;
        }
        for tick in self.y.ticks(TICKS) {
            let line = vec![(self.left, self.up(tick)), (right, self.up(tick))];
            root.draw(&PathElement::new(line, GRID))?;
        }
        root.draw(&Rectangle::new([(self.left, self.top), (right, bottom)], INK))
    }

    fn labels(&self, root: &Area<'_>, [beside, below]: [bool; 2]) -> Drawn {
        for tick in self.y.ticks(TICKS).into_iter().filter(|_| beside) {
            let at = (self.left - 8, self.up(tick));
            root.draw_text(&self.y.label(tick, TICKS), &text(HPos::Right, false), at)?;
        }
        for tick in self.x.ticks(TICKS).into_iter().filter(|_| below) {
            let at = (self.across(tick), self.top + self.side + X_LABELS / 2);
            root.draw_text(&self.x.label(tick, TICKS), &text(HPos::Center, false), at)?;
        }
        Ok(())
    }

    fn points(&self, root: &Area<'_>, points: &[(f64, f64)]) -> Drawn {
        let dot = COLOURS[0].mix(0.5).filled();
        points.iter().filter(|point| visible(point)).try_for_each(|(x, y)| {
            root.draw(&Circle::new((self.across(*x), self.up(*y)), DOT, dot))
        })
    }
}
