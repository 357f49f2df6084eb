//! A swimmer on paper: its links, the ground behind them, the path of its centre of mass.

use image::{Rgb, RgbImage};
use variational_annealing::swimmer::Swimmer;

const PAPER: [f64; 3] = [255.0, 255.0, 255.0];
const GROUND: [f64; 3] = [226.0, 230.0, 234.0];
const PATH: [f64; 3] = [213.0, 94.0, 0.0];
/// The head's link first.
const LINKS: [[f64; 3]; 3] = [[0.0, 78.0, 130.0], [0.0, 114.0, 178.0], [86.0, 160.0, 215.0]];
/// Radius of a link, m.
const RADIUS: f64 = 0.1;
/// Half the widths of the path and of the lines of the ground, m.
const PATH_WIDTH: f64 = 0.025;
const GROUND_WIDTH: f64 = 0.008;
/// Distance between the lines of the ground, m.
const MESH: f64 = 0.5;
/// Room around what is seen, m.
const ROOM: f64 = 0.25;
/// Pixels between the pictures of a strip.
const GAP: u32 = 6;

/// What part of the plane is seen, and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    /// Left, top, m.
    corner: [f64; 2],
    /// Pixels a metre.
    scale: f64,
    size: [u32; 2],
}

/// Positions in time as swimmers.
pub(super) fn swimmers(positions: &[[f64; 5]]) -> Vec<Swimmer> {
    positions.iter().map(|position| Swimmer::at(*position, [0.0; 5])).collect()
}

impl View {
    /// Everything that the swimmers touch, `width` pixels wide.
    pub(super) fn around(swimmers: &[Swimmer], width: u32) -> Self {
        let ends = || swimmers.iter().flat_map(Swimmer::links).flatten();
        let range = |axis: usize| {
            let values = ends().map(|end| end[axis]);
            let range = [f64::INFINITY, f64::NEG_INFINITY];
            let [low, high] =
                values.fold(range, |[low, high], value| [low.min(value), high.max(value)]);
            if low <= high { [low - RADIUS - ROOM, high + RADIUS + ROOM] } else { [-1.0, 1.0] }
        };
        let ([left, right], [low, high]) = (range(0), range(1));
        let scale = f64::from(width) / (right - left);
        let height = ((high - low) * scale).ceil().max(1.0) as u32;
        Self { corner: [left, high], scale, size: [width, height] }
    }

    /// One moment: the swimmer, and the path of its centre of mass until then.
    pub(super) fn frame(&self, swimmer: &Swimmer, path: &[[f64; 2]]) -> RgbImage {
        let mut canvas = Canvas { view: *self, pixels: vec![PAPER; self.pixels()] };
        canvas.ground();
        for (link, colour) in swimmer.links().iter().zip(LINKS) {
            canvas.capsule(*link, RADIUS, colour);
        }
        for pair in path.windows(2) {
            canvas.capsule([pair[0], pair[1]], PATH_WIDTH, PATH);
        }
        canvas.image()
    }

    /// Frames at these moments.
    pub(super) fn frames(&self, swimmers: &[Swimmer], moments: &[usize]) -> Vec<RgbImage> {
        let path: Vec<[f64; 2]> = swimmers.iter().map(Swimmer::centre).collect();
        let moments = moments.iter().filter(|at| **at < swimmers.len());
        moments.map(|at| self.frame(&swimmers[*at], &path[..=*at])).collect()
    }

    fn pixels(&self) -> usize {
        self.size[0] as usize * self.size[1] as usize
    }
}

/// Colours of a frame, not yet rounded.
struct Canvas {
    view: View,
    pixels: Vec<[f64; 3]>,
}

impl Canvas {
    fn ground(&mut self) {
        let View { corner, scale, size } = self.view;
        let [right, low] =
            [corner[0] + f64::from(size[0]) / scale, corner[1] - f64::from(size[1]) / scale];
        let lines = |from: f64, to: f64| {
            let first = (from / MESH).ceil() as i64;
            (first..=(to / MESH).floor() as i64).map(|i| i as f64 * MESH)
        };
        for x in lines(corner[0], right) {
            self.capsule([[x, low], [x, corner[1]]], GROUND_WIDTH, GROUND);
        }
        for y in lines(low, corner[1]) {
            self.capsule([[corner[0], y], [right, y]], GROUND_WIDTH, GROUND);
        }
    }

    /// All points within a distance of a line, with soft edges.
    fn capsule(&mut self, [a, b]: [[f64; 2]; 2], radius: f64, colour: [f64; 3]) {
        let View { corner, scale, size } = self.view;
        let along = [b[0] - a[0], b[1] - a[1]];
        let length = along[0] * along[0] + along[1] * along[1];
        let reach = radius + 1.0 / scale;
        let span = |axis: usize, limit: u32| {
            let [low, high] = [a[axis].min(b[axis]) - reach, a[axis].max(b[axis]) + reach];
            let [from, to] = match axis {
                0 => [low - corner[0], high - corner[0]],
                _ => [corner[1] - high, corner[1] - low],
            };
            let pixel = |at: f64| (at * scale).clamp(0.0, f64::from(limit)) as u32;
            pixel(from)..(pixel(to) + 1).min(limit)
        };
        for row in span(1, size[1]) {
            for column in span(0, size[0]) {
                let x = corner[0] + (f64::from(column) + 0.5) / scale;
                let y = corner[1] - (f64::from(row) + 0.5) / scale;
                let off = [x - a[0], y - a[1]];
                let inner = off[0] * along[0] + off[1] * along[1];
                let t = if length > 0.0 { (inner / length).clamp(0.0, 1.0) } else { 0.0 };
                let distance = (off[0] - t * along[0]).hypot(off[1] - t * along[1]);
                let cover = ((radius - distance) * scale + 0.5).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[(row * size[0] + column) as usize];
                for (value, colour) in pixel.iter_mut().zip(colour) {
                    *value += cover * (colour - *value);
                }
            }
        }
    }

    fn image(&self) -> RgbImage {
        let [width, height] = self.view.size;
        RgbImage::from_fn(width, height, |x, y| {
            Rgb(self.pixels[(y * width + x) as usize].map(|value| value.round() as u8))
        })
    }
}

/// Frames side by side, so many in a row, in the order of reading.
pub(super) fn strip(frames: &[RgbImage], columns: u32) -> RgbImage {
    let (width, height) = frames.first().map_or((1, 1), RgbImage::dimensions);
    let rows = (frames.len() as u32).div_ceil(columns.max(1)).max(1);
    let grey = Rgb([180, 186, 192]);
    let side = |n: u32, each: u32| n * (each + GAP) + GAP;
    let mut all = RgbImage::from_pixel(side(columns, width), side(rows, height), grey);
    for (i, frame) in (0..).zip(frames) {
        let (x, y) = (side(i % columns, width), side(i / columns, height));
        image::imageops::replace(&mut all, frame, i64::from(x), i64::from(y));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_swimmer_lies_in_the_middle_of_its_picture() {
        let swimmer = swimmers(&[[0.0; 5]]);
        let view = View::around(&swimmer, 370);
        // Three links of length one and two of room: 3.7 by 0.7 m.
        assert_eq!(view.size, [370, 70]);
        let [frame] = &view.frames(&swimmer, &[0, 1])[..] else { panic!("one moment is there") };
        let link = |i: usize| Rgb(LINKS[i].map(|value| value as u8));
        // The head is ahead.
        for (column, expected) in [(300, link(0)), (185, link(1)), (70, link(2))] {
            assert_eq!(frame.get_pixel(column, 35), &expected, "{column}");
        }
        assert_eq!(frame.get_pixel(190, 5), &Rgb([255; 3]));
        let drawn = frame.pixels().filter(|pixel| pixel.0[0] < 100).count();
        // Capsules of 1 x 0.2 m with round ends, two of which overlap.
        let area = 3.0 * 0.2 + std::f64::consts::PI * 0.01;
        assert!((drawn as f64 / (1e4 * area) - 1.0).abs() < 0.03, "{drawn}");
    }

    #[test]
    fn paths_are_drawn_over_the_links_and_frames_stand_in_rows() {
        let moved: Vec<[f64; 5]> =
            (0..5).map(|i| [0.5 * f64::from(i), 0.0, 0.0, 0.0, 0.0]).collect();
        let swimmers = swimmers(&moved);
        let view = View::around(&swimmers, 570);
        let frames = view.frames(&swimmers, &[0, 2, 4]);
        let orange = |frame: &RgbImage| frame.pixels().filter(|p| p.0 == [213, 94, 0]).count();
        let [none, short, long] = [0, 1, 2].map(|i| orange(&frames[i]));
        assert!(none == 0 && short > 300 && long > 3 * short / 2, "{none} {short} {long}");
        let all = strip(&frames, 2);
        let (width, height) = frames[0].dimensions();
        assert_eq!(all.dimensions(), (2 * width + 3 * GAP, 2 * height + 3 * GAP));
    }
}
