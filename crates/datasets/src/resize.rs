//! Other sizes for sets of images: bilinear enlargement, a black frame, means of blocks.

use rayon::prelude::*;

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
};

/// Weights of two neighbours: `first` with `whole - second_weight`, the next with `second_weight`.
struct Tap {
    first: usize,
    next: usize,
    second_weight: u64,
}

/// The taps of an axis, as fractions of `2 target`.
///
/// Pixel `i` of the target lies at `(i + 1/2) source / target - 1/2`; what falls outside takes the edge.
fn taps(source: usize, target: usize) -> Vec<Tap> {
    let tap = |i: usize| {
        // In units of 1 / (2 target).
        let position = ((2 * i + 1) * source).saturating_sub(target);
        let first = (position / (2 * target)).min(source - 1);
        let second_weight = (position % (2 * target)) as u64;
        Tap { first, next: (first + 1).min(source - 1), second_weight }
    };
    (0..target).map(tap).collect()
}

/// One plane; exact in integers, halves rounded up.
fn enlarge(plane: &[u8], width: usize, rows: &[Tap], columns: &[Tap], out: &mut [u8]) {
    let (tall, wide) = (2 * rows.len() as u64, 2 * columns.len() as u64);
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(columns.len())) {
        let upper = &plane[row.first * width..][..width];
        let lower = &plane[row.next * width..][..width];
        for (column, out) in columns.iter().zip(out) {
            let across = |line: &[u8]| {
                u64::from(line[column.first]) * (wide - column.second_weight)
                    + u64::from(line[column.next]) * column.second_weight
            };
            let sum =
                across(upper) * (tall - row.second_weight) + across(lower) * row.second_weight;
            *out = ((sum + tall * wide / 2) / (tall * wide)) as u8;
        }
    }
}

impl ImageSet {
    /// The images enlarged by bilinear interpolation with half-pixel centres, rounded to bytes once.
    ///
    /// VERA's StackedMNIST goes from 28 to 64 pixels so. Shrinking would skip pixels: see
    /// [`ImageSet::pooled2`].
    ///
    /// # Errors
    /// If a side is smaller than it was, or longer than 65,536.
    pub fn enlarged(&self, height: usize, width: usize) -> Result<Self> {
        let longest = 1 << 16;
        if height < self.height || width < self.width || height.max(width) > longest {
            let reason = format!(
                "{height} x {width} must be {} x {} at least and {longest} at most",
                self.height, self.width
            );
            return Err(Error::argument("enlarged size", reason));
        }
        let (rows, columns) = (taps(self.height, height), taps(self.width, width));
        self.each_plane([height, width], |plane, out| {
            enlarge(plane, self.width, &rows, &columns, out);
        })
    }

    /// The images in the middle of a black square of `side` pixels; an odd pixel goes below and right.
    ///
    /// # Errors
    /// If the images are larger.
    pub fn padded(&self, side: usize) -> Result<Self> {
        let (height, width) = (self.height, self.width);
        if side < height || side < width {
            let reason = format!("{side} is less than the {height} x {width} of the images");
            return Err(Error::argument("padded size", reason));
        }
        let (top, left) = ((side - height) / 2, (side - width) / 2);
        self.each_plane([side, side], |plane, out| {
            let lines = out.chunks_exact_mut(side).skip(top);
            for (line, out) in plane.chunks_exact(width).zip(lines) {
                out[left..left + width].copy_from_slice(line);
            }
        })
    }

    /// The images at half the size: means of 2x2 blocks, rounded to bytes, halves up.
    ///
    /// # Errors
    /// If height or width is odd.
    pub fn pooled2(&self) -> Result<Self> {
        let (height, width) = (self.height / 2, self.width / 2);
        if 2 * height != self.height || 2 * width != self.width {
            let reason = format!("{} x {} must be even", self.height, self.width);
            return Err(Error::argument("pooled size", reason));
        }
        self.each_plane([height, width], |plane, out| {
            let pairs = plane.chunks_exact(4 * width);
            for (pair, out) in pairs.zip(out.chunks_exact_mut(width)) {
                for (x, out) in out.iter_mut().enumerate() {
                    let block = [2 * x, 2 * x + 1, 2 * (width + x), 2 * (width + x) + 1];
                    let sum: u16 = block.iter().map(|&at| u16::from(pair[at])).sum();
                    *out = ((sum + 2) / 4) as u8;
                }
            }
        })
    }

    /// Grey images as colours: the plane three times, see [`ImageSet::padded`] for the size.
    ///
    /// # Errors
    /// If the images are not grey, or larger than `side`.
    pub fn coloured(&self, side: usize) -> Result<Self> {
        if self.channels != 1 {
            let reason = format!("`{}` has {} channels already", self.name, self.channels);
            return Err(Error::argument("grey images", reason));
        }
        let grey = self.padded(side)?;
        let images = grey.images.chunks_exact(grey.pixels()).flat_map(|plane| plane.repeat(3));
        Self::new(&self.name, images.collect(), grey.labels, [3, side, side])
    }

    /// Images of another size, each plane made from its own, zero before.
    pub(crate) fn each_plane(
        &self,
        size: [usize; 2],
        make: impl Fn(&[u8], &mut [u8]) + Sync,
    ) -> Result<Self> {
        let [height, width] = size;
        let planes = self.len() * self.channels;
        let total = planes.checked_mul(height * width).ok_or_else(|| {
            Error::argument("image size", format!("{planes} planes of {height} x {width}"))
        })?;
        let mut images = vec![0; total];
        let planes = self.images.par_chunks_exact(self.height * self.width);
        planes
            .zip(images.par_chunks_exact_mut(height * width))
            .for_each(|(plane, out)| make(plane, out));
        Self::new(&self.name, images, self.labels.clone(), [self.channels, height, width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(images: Vec<u8>, shape: [usize; 3]) -> ImageSet {
        ImageSet::new("t", images, vec![], shape).unwrap()
    }

    #[test]
    fn doubling_a_row_gives_the_known_quarters() {
        let out = set(vec![0, 100, 200], [1, 1, 3]).enlarged(2, 6).unwrap();
        let row = [0, 25, 75, 125, 175, 200];
        assert_eq!(out.images, [row, row].concat());
        assert_eq!((out.height, out.width), (2, 6));
    }

    #[test]
    fn enlarging_agrees_with_interpolation_in_floating_point() {
        // torch.nn.functional.interpolate(x, (64, 64), mode="bilinear", align_corners=False)
        let image: Vec<u8> = (0..28 * 28).map(|i| (i * i * 7 + i * 13) as u8).collect();
        let out = set(image.clone(), [1, 28, 28]).enlarged(64, 64).unwrap();
        let at = |i: usize| ((i as f64 + 0.5) * 28.0 / 64.0 - 0.5).max(0.0);
        let pixel = |y: usize, x: usize| f64::from(image[28 * y.min(27) + x.min(27)]);
        for y in 0..64 {
            for x in 0..64 {
                let (v, u) = (at(y), at(x));
                let (j, i) = (v.floor(), u.floor());
                let (b, a) = (v - j, u - i);
                let (j, i) = (j as usize, i as usize);
                let value = (1.0 - b) * ((1.0 - a) * pixel(j, i) + a * pixel(j, i + 1))
                    + b * ((1.0 - a) * pixel(j + 1, i) + a * pixel(j + 1, i + 1));
                let got = f64::from(out.images[64 * y + x]);
                assert!((got - value).abs() <= 0.5 + 1e-9, "{y} {x}: {got} {value}");
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing_and_smaller_ones_are_refused() {
        let set = set((0..24).collect(), [2, 3, 4]);
        assert_eq!(set.enlarged(3, 4).unwrap(), set);
        for (height, width) in [(2, 4), (3, 3), (3, 1 << 17)] {
            assert!(set.enlarged(height, width).is_err());
        }
        // Planes do not mix.
        let two = ImageSet { images: [vec![0; 12], vec![9; 12]].concat(), ..set };
        let large = two.enlarged(7, 9).unwrap();
        assert_eq!(large.images, [vec![0; 63], vec![9; 63]].concat());
    }

    #[test]
    fn padding_keeps_the_image_in_the_middle() {
        let set = ImageSet::new("t", vec![1, 2, 3, 4, 5, 6], vec![7], [1, 2, 3]).unwrap();
        let out = set.padded(4).unwrap();
        #[rustfmt::skip]
        assert_eq!(out.images, [
            0, 0, 0, 0,
            1, 2, 3, 0,
            4, 5, 6, 0,
            0, 0, 0, 0,
        ]);
        assert_eq!(out.labels, [7]);
        assert!(set.padded(2).is_err());
        let colour = set.coloured(4).unwrap();
        assert_eq!((colour.channels, colour.images.len()), (3, 48));
        assert!(colour.images.chunks(16).all(|plane| plane == out.images));
        assert!(colour.coloured(4).is_err() && set.coloured(2).is_err());
        let digit = ImageSet::new("d", vec![9; 28 * 28], vec![], [1, 28, 28]).unwrap();
        let out = digit.padded(32).unwrap();
        assert_eq!((out.images[2 * 32 + 1], out.images[2 * 32 + 2]), (0, 9));
        assert_eq!((out.images[29 * 32 + 29], out.images[30 * 32 + 29]), (9, 0));
    }

    #[test]
    fn pooling_rounds_the_means_of_blocks() {
        let image = vec![0, 1, 255, 255, 0, 1, 255, 254, 3, 0, 0, 0, 0, 0, 0, 1];
        let out = set(image.repeat(2), [2, 4, 4]).pooled2().unwrap();
        // 2/4 goes up, 1019/4 = 254.75, 3/4, 1/4.
        assert_eq!(out.images, [1, 255, 1, 0, 1, 255, 1, 0]);
        assert!(set(vec![0; 6], [1, 2, 3]).pooled2().is_err());
    }
}
