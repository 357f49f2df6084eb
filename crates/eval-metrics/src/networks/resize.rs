//! Bytes of images as the input of a network of fixed size: bilinear resizing by the rules of three
//! code bases, and scaling.
//!
//! None of the rules smooths before it shrinks. They differ in where a pixel of the result lies in
//! the image, which moves a published distance by a tenth and more: a score names its rule.

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;

/// How a pixel of the result finds its place in the image, and how bytes become numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// TensorFlow 1: pixel `i` lies at `i in / out`, in f32; values `(x - 128) / 128`. The rule of the
    /// original scores and of torch-fidelity.
    #[default]
    TensorFlow1,
    /// Pixel centres match: `(i + 1/2) in / out - 1/2`, not below zero; values `(x - 127.5) / 127.5`.
    /// The rule of pytorch-fid.
    HalfPixel,
    /// Corners match: `i (in - 1) / (out - 1)`; values `(x - 128) / 128`. The rule of the Chainer port.
    Corners,
}

impl Resize {
    /// The rule in words, for reports.
    pub fn describe(self) -> &'static str {
        match self {
            Self::TensorFlow1 => "bilinear as in TensorFlow 1, (x - 128) / 128",
            Self::HalfPixel => "bilinear, half-pixel centres, (x - 127.5) / 127.5",
            Self::Corners => "bilinear, corners aligned, (x - 128) / 128",
        }
    }

    /// Images of any size as images of `side` x `side`, in 0 to 255, not scaled.
    ///
    /// # Shapes
    /// `images`: `(b, c, h, w)`, u8; the result `(b, c, side, side)`, f32, on the host.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the images are bytes of four axes, none of them empty.
    pub fn resized(self, images: &Tensor, side: usize) -> Result<Tensor> {
        let (b, c, h, w) = check(images)?;
        let bytes = images.flatten_all()?.to_vec1::<u8>()?;
        let (rows, columns) = (self.taps(h, side), self.taps(w, side));
        let mut out = vec![0.0_f32; b * c * side * side];
        let planes = bytes.par_chunks(h * w);
        out.par_chunks_mut((side * side).max(1)).zip(planes).for_each(|(out, plane)| {
            enlarge(plane, w, [&rows, &columns], out);
        });
        Ok(Tensor::from_vec(out, (b, c, side, side), &Device::Cpu)?)
    }

    /// Images as the input of a network of `side` x `side` pixels in three colours; one channel
    /// stands for three equal ones.
    ///
    /// # Shapes
    /// `images`: `(b, 1 or 3, h, w)`, u8; the result `(b, 3, side, side)`, f32, on the host.
    ///
    /// # Errors
    /// [`Error::Shape`] for other images.
    pub fn input(self, images: &Tensor, side: usize) -> Result<Tensor> {
        let (_, c, _, _) = check(images)?;
        if c != 1 && c != 3 {
            return Err(shape("(b, 1 or 3, h, w)", images));
        }
        let resized = self.resized(images, side)?;
        let (shift, scale) = match self {
            Self::HalfPixel => (-1.0, 1.0 / 127.5),
            Self::TensorFlow1 | Self::Corners => (-1.0, 1.0 / 128.0),
        };
        let scaled = resized.affine(scale, shift)?;
        Ok(if c == 1 { scaled.repeat((1, 3, 1, 1))? } else { scaled })
    }

    /// Where every pixel along an axis of the result lies in the image.
    fn taps(self, from: usize, to: usize) -> Vec<Tap> {
        let ratio = from as f64 / to as f64;
        let corners = (from - 1) as f64 / to.saturating_sub(1).max(1) as f64;
        let place = |i: usize| match self {
            // The reference multiplies in f32, which decides which pixels lie exactly on another.
            Self::TensorFlow1 => i as f32 * ratio as f32,
            Self::HalfPixel => ((i as f64 + 0.5) * ratio - 0.5).max(0.0) as f32,
            Self::Corners => (i as f64 * corners) as f32,
        };
        (0..to)
            .map(|i| {
                let low = (place(i) as usize).min(from - 1);
                Tap { low, high: (low + 1).min(from - 1), weight: place(i) - low as f32 }
            })
            .collect()
    }
}

/// Resizes a plane of rows of `w` bytes: across first, then down, as the original does.
fn enlarge(plane: &[u8], w: usize, [rows, columns]: [&[Tap]; 2], out: &mut [f32]) {
    let across = |row: usize, line: &mut [f32]| {
        let row = &plane[row * w..][..w];
        for (value, tap) in line.iter_mut().zip(columns) {
            let [low, high] = [row[tap.low], row[tap.high]].map(f32::from);
            *value = low + (high - low) * tap.weight;
        }
    };
    // The two rows of the image that a row of the result lies between, resized across; neighbours
    // share them.
    let mut lines = [(); 2].map(|()| (usize::MAX, vec![0.0; columns.len()]));
    for (line, tap) in out.chunks_mut(columns.len().max(1)).zip(rows) {
        if lines[1].0 == tap.low {
            lines.swap(0, 1);
        }
        for ((held, line), row) in lines.iter_mut().zip([tap.low, tap.high]) {
            if *held != row {
                across(row, line);
                *held = row;
            }
        }
        let [(_, above), (_, below)] = &lines;
        for ((value, low), high) in line.iter_mut().zip(above).zip(below) {
            *value = low + (high - low) * tap.weight;
        }
    }
}

/// Two neighbours along an axis, and how far the place is from the first.
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

pub(super) fn check(images: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match images.dims4() {
        Ok(dims) if images.dtype() == DType::U8 && images.elem_count() > 0 => Ok(dims),
        _ => Err(shape("(b, c, h, w) of u8, none empty", images)),
    }
}

fn shape(expected: &str, images: &Tensor) -> Error {
    let (what, got) = ("images", images.dims().to_vec());
    Error::Shape { what, expected: expected.into(), got }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enlarged(rule: Resize) -> Result<Vec<Vec<f32>>> {
        let image = Tensor::new(&[[[[0_u8, 10], [20, 40]]]], &Device::Cpu)?;
        Ok(rule.resized(&image, 5)?.reshape((5, 5))?.to_vec2()?)
    }

    fn assert_rows(rule: Resize, expected: [[f32; 5]; 5]) -> Result<()> {
        for (row, expected) in enlarged(rule)?.iter().zip(expected) {
            for (a, b) in row.iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{rule:?}: {row:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn tensorflow_places_a_pixel_at_its_index_times_the_ratio() -> Result<()> {
        assert_rows(
            Resize::TensorFlow1,
            [
                [0.0, 4.0, 8.0, 10.0, 10.0],
                [8.0, 13.6, 19.2, 22.0, 22.0],
                [16.0, 23.2, 30.4, 34.0, 34.0],
                [20.0, 28.0, 36.0, 40.0, 40.0],
                [20.0, 28.0, 36.0, 40.0, 40.0],
            ],
        )
    }

    #[test]
    fn half_pixels_match_the_centres() -> Result<()> {
        assert_rows(
            Resize::HalfPixel,
            [
                [0.0, 1.0, 5.0, 9.0, 10.0],
                [2.0, 3.1, 7.5, 11.9, 13.0],
                [10.0, 11.5, 17.5, 23.5, 25.0],
                [18.0, 19.9, 27.5, 35.1, 37.0],
                [20.0, 22.0, 30.0, 38.0, 40.0],
            ],
        )
    }

    #[test]
    fn corners_stay_corners() -> Result<()> {
        let rows = enlarged(Resize::Corners)?;
        for (at, expected) in [((0, 0), 0.0), ((0, 4), 10.0), ((4, 0), 20.0), ((4, 4), 40.0)] {
            assert!((rows[at.0][at.1] - expected).abs() < 1e-5);
        }
        assert!((rows[2][2] - 17.5).abs() < 1e-5 && (rows[0][1] - 2.5).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn a_size_that_fits_changes_nothing_but_the_scale() -> Result<()> {
        let image = Tensor::arange(0_u8, 75, &Device::Cpu)?.reshape((1, 3, 5, 5))?;
        for rule in [Resize::TensorFlow1, Resize::HalfPixel, Resize::Corners] {
            let same = rule.resized(&image, 5)?.flatten_all()?.to_vec1::<f32>()?;
            assert!(same.iter().zip(0_u8..).all(|(a, b)| (a - f32::from(b)).abs() < 1e-5));
        }
        Ok(())
    }

    #[test]
    fn bytes_are_scaled_as_each_rule_says_and_grey_stands_for_three_colours() -> Result<()> {
        let bytes = Tensor::new(&[[[[0_u8, 255], [128, 1]]]], &Device::Cpu)?;
        for (rule, expected) in [
            (Resize::TensorFlow1, [-1.0, 127.0 / 128.0, 0.0, -127.0 / 128.0]),
            (Resize::HalfPixel, [-1.0, 1.0, 0.5 / 127.5, -126.5 / 127.5]),
            (Resize::Corners, [-1.0, 127.0 / 128.0, 0.0, -127.0 / 128.0]),
        ] {
            let input = rule.input(&bytes, 2)?;
            assert_eq!(input.dims(), [1, 3, 2, 2]);
            for colour in input.flatten_from(2)?.squeeze(0)?.to_vec2::<f32>()? {
                for (a, b) in colour.iter().zip(expected) {
                    assert!((a - b).abs() < 1e-7, "{rule:?}: {colour:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn images_of_other_shapes_are_refused() -> Result<()> {
        let text = |images: Tensor| Resize::default().input(&images, 9).unwrap_err().to_string();
        assert!(text(Tensor::zeros((1, 3, 4, 4), DType::F32, &Device::Cpu)?).contains("u8"));
        assert!(text(Tensor::zeros((3, 4, 4), DType::U8, &Device::Cpu)?).contains("(b, c, h, w)"));
        assert!(text(Tensor::zeros((1, 2, 4, 4), DType::U8, &Device::Cpu)?).contains("1 or 3"));
        assert!(text(Tensor::zeros((0, 3, 4, 4), DType::U8, &Device::Cpu)?).contains("none empty"));
        Ok(())
    }
}
