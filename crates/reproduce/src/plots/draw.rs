//! Puts a plot on paper.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Axis, Mark, Plot, Series, axis::shows};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;
type Pixel = (i32, i32);

// Large letters in a small picture: it is read on phones.
pub(super) const WIDTH: i32 = 1000;
const BODY: i32 = 560;
const SQUARE: i32 = 900;
pub(super) const MARGIN: i32 = 18;
const Y_LABELS: i32 = 118;
const X_LABELS: i32 = 84;
const TEXT: i32 = 29;
pub(super) const LINE: i32 = 36;

// The report's dark colours replace these four by value.
pub(super) const PAPER: RGBColor = RGBColor(255, 255, 255);
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);
const REFERENCE: RGBColor = RGBColor(119, 119, 119);

/// The colours of Okabe and Ito (2008), told apart by nearly all eyes; yellow and black left out.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Lengths of dash and space.
const DASHES: [Pixel; 3] = [(14, 8), (4, 6), (24, 6)];

pub(super) fn draw(plot: &Plot) -> Drawn<String> {
    let legend = Legend::of(plot);
    let title = if plot.title.is_empty() { 0 } else { LINE + 6 };
    let header = MARGIN / 2 + title + legend.height();
    let body = if plot.equal { SQUARE } else { BODY };
    let mut svg = String::new();
    {
        let size = (WIDTH as u32, (header + body) as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&PAPER)?;
        let style = text(HPos::Left, true);
        root.draw_text(&clean(&plot.title), &style, (MARGIN, MARGIN / 2 + title / 2))?;
        legend.draw(&root, MARGIN / 2 + title)?;
        let frame = Frame::new(plot, &root, header, body)?;
        for (index, _, y) in plot.visible_references() {
            frame.reference(&root, index, y)?;
        }
        for (index, series) in plot.series.iter().enumerate() {
            frame.series(&root, plot, index, series)?;
        }
        if !plot.series.iter().any(|s| s.points.iter().any(|p| plot.visible(*p))) {
            let middle = (Y_LABELS + (WIDTH - Y_LABELS) / 2, header + body / 2 - X_LABELS / 2);
            root.draw_text("no finite data", &text(HPos::Center, false), middle)?;
        }
        root.present()?;
    }
    Ok(svg)
}

pub(super) fn text(side: HPos, bold: bool) -> TextStyle<'static> {
    let font = ("sans-serif", TEXT).into_font();
    let font = if bold { font.style(FontStyle::Bold) } else { font };
    font.color(&INK).pos(Pos::new(side, VPos::Center))
}

/// Control characters have no place in XML.
pub(super) fn clean(label: &str) -> String {
    label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The plotting area: where numbers are.
struct Frame {
    x: Axis,
    y: Axis,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Frame {
    /// Draws the mesh, the labels and the axes.
    fn new(plot: &Plot, root: &Area<'_>, header: i32, body: i32) -> Drawn<Self> {
        let (left, right) = (MARGIN + Y_LABELS, WIDTH - MARGIN - 12);
        let (top, bottom) = (header + MARGIN, header + body - MARGIN / 2 - X_LABELS);
        let (x, y) = plot.axes(f64::from(right - left), f64::from(bottom - top));
        let mut chart = ChartBuilder::on(root)
            .margin_left(MARGIN)
            .margin_right(MARGIN + 12)
            .margin_top(top)
            .margin_bottom(MARGIN / 2)
            .x_label_area_size(X_LABELS)
            .y_label_area_size(Y_LABELS)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let letters = ("sans-serif", TEXT).into_font().color(&INK);
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(letters.clone())
            .axis_desc_style(letters)
            .x_label_formatter(&|value| x.text(*value))
            .y_label_formatter(&|value| y.text(*value))
            .x_desc(clean(&plot.x_label))
            .y_desc(clean(&plot.y_label))
            .draw()?;
        Ok(Self { x, y, left, right, top, bottom })
    }

    fn pixel(&self, (x, y): (f64, f64)) -> Pixel {
        (self.x.pixel(x, self.left, self.right), self.y.pixel(y, self.bottom, self.top))
    }

    fn reference(&self, root: &Area<'_>, index: usize, y: f64) -> Drawn {
        let y = self.y.pixel(y, self.bottom, self.top);
        dashes(root, index, y, self.left..self.right)
    }

    fn series(&self, root: &Area<'_>, plot: &Plot, index: usize, series: &Series) -> Drawn {
        let colour = COLOURS[index % COLOURS.len()];
        let visible: Vec<_> = series.points.iter().filter(|p| plot.visible(**p)).collect();
        if series.mark == Mark::Dots {
            let dot = colour.mix(0.6).filled();
            let mut dots = visible.iter().map(|p| Circle::new(self.pixel(**p), 4, dot));
            return dots.try_for_each(|dot| root.draw(&dot));
        }
        for part in series.points.split(|p| !plot.visible(*p)).filter(|part| part.len() > 1) {
            let path: Vec<_> = part.iter().map(|p| self.pixel(*p)).collect();
            root.draw(&PathElement::new(path, colour.stroke_width(3)))?;
        }
        for (point, error) in series.points.iter().zip(&series.errors) {
            if plot.visible(*point) && error.is_finite() && error.abs() > 0.0 {
                self.error_bar(root, colour, *point, error.abs())?;
            }
        }
        // About twenty markers at most, first and last among them.
        let every = visible.len().div_ceil(20).max(1);
        for (i, point) in visible.iter().enumerate() {
            if i % every == 0 || i + 1 == visible.len() {
                marker(root, index, self.pixel(**point))?;
            }
        }
        Ok(())
    }

    fn error_bar(
        &self,
        root: &Area<'_>,
        colour: RGBColor,
        (x, y): (f64, f64),
        error: f64,
    ) -> Drawn {
        // On a logarithmic axis a bar may reach below everything.
        let end = |y: f64| if shows(self.y.log, y) { y } else { self.y.low };
        let ((px, high), (_, low)) =
            (self.pixel((x, end(y + error))), self.pixel((x, end(y - error))));
        for line in [
            [(px, low), (px, high)],
            [(px - 7, low), (px + 7, low)],
            [(px - 7, high), (px + 7, high)],
        ] {
            root.draw(&PathElement::new(line.to_vec(), colour.stroke_width(2)))?;
        }
        Ok(())
    }
}

fn marker(root: &Area<'_>, index: usize, (x, y): Pixel) -> Drawn {
    let style = COLOURS[index % COLOURS.len()].filled();
    match index % 4 {
        0 => root.draw(&Circle::new((x, y), 6, style)),
        1 => root.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], style)),
        2 => root.draw(&Polygon::new(vec![(x, y - 8), (x + 7, y + 5), (x - 7, y + 5)], style)),
        _ => root.draw(&Polygon::new(vec![(x, y - 8), (x + 8, y), (x, y + 8), (x - 8, y)], style)),
    }
}

fn dashes(root: &Area<'_>, index: usize, y: i32, across: std::ops::Range<i32>) -> Drawn {
    let (dash, space) = DASHES[index % DASHES.len()];
    for left in across.clone().step_by((dash + space) as usize) {
        let line = vec![(left, y), ((left + dash).min(across.end), y)];
        root.draw(&PathElement::new(line, REFERENCE.stroke_width(3)))?;
    }
    Ok(())
}

/// What an entry of the legend stands for.
enum Key {
    Series(usize, Mark),
    Reference(usize),
}

/// Entries in rows above the plot, where they hide nothing.
struct Legend {
    entries: Vec<(Key, String, Pixel)>,
}

impl Legend {
    const SAMPLE: i32 = 46;

    fn of(plot: &Plot) -> Self {
        let series =
            plot.series.iter().enumerate().map(|(i, s)| (Key::Series(i, s.mark), &*s.name));
        let references = plot.visible_references().map(|(i, label, _)| (Key::Reference(i), label));
        let (mut x, mut row) = (MARGIN, 0);
        let mut entries = Vec::new();
        for (key, label) in series.chain(references).filter(|(_, label)| !label.is_empty()) {
            // The width of letters is not known here; this is a little more than most need.
            let width = Self::SAMPLE + label.chars().count() as i32 * TEXT * 46 / 100 + 30;
            if x > MARGIN && x + width > WIDTH {
                (x, row) = (MARGIN, row + 1);
            }
            entries.push((key, clean(label), (x, row * LINE + LINE / 2)));
            x += width;
        }
        Self { entries }
    }

    fn height(&self) -> i32 {
        self.entries.last().map_or(0, |(_, _, (_, y))| y + LINE / 2)
    }

    fn draw(&self, root: &Area<'_>, top: i32) -> Drawn {
        for (key, label, (x, y)) in &self.entries {
            let (left, y) = (*x, top + y);
            let right = left + Self::SAMPLE - 10;
            let middle = ((left + right) / 2, y);
            match key {
                Key::Reference(index) => dashes(root, *index, y, left..right)?,
                Key::Series(index, Mark::Dots) => {
                    root.draw(&Circle::new(middle, 6, COLOURS[index % COLOURS.len()].filled()))?;
                }
                Key::Series(index, Mark::Line) => {
                    let stroke = COLOURS[index % COLOURS.len()].stroke_width(3);
                    root.draw(&PathElement::new(vec![(left, y), (right, y)], stroke))?;
                    marker(root, *index, middle)?;
                }
            }
            root.draw_text(label, &text(HPos::Left, false), (left + Self::SAMPLE, y))?;
        }
        Ok(())
    }
}
