//! The shape of a convolution and where its patches lie.

use super::Padding;
use crate::error::{Error, Result};

/// A convolution from images `(b, c, h, w)` to maps `(b, o, oh, ow)`; a transposed convolution is
/// the same with the roles of image and map exchanged.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Geometry {
    pub(in crate::ops) batch: usize,
    /// `(c, h, w)`.
    pub(in crate::ops) image: [usize; 3],
    /// `(o, oh, ow)`.
    pub(in crate::ops) map: [usize; 3],
    pub(in crate::ops) kernel: [usize; 2],
    pub(in crate::ops) stride: usize,
    /// Rows above and below, columns left and right.
    pub(in crate::ops) padding: [usize; 2],
}

impl Geometry {
    /// Of a convolution of `x` with `out` maps.
    pub(super) fn direct(
        what: &'static str,
        x: [usize; 4],
        out: usize,
        kernel: [usize; 2],
        (stride, Padding { rows, columns }): (usize, Padding),
    ) -> Result<Self> {
        let [batch, c, h, w] = x;
        let side = |n: usize, k: usize, padding: usize| match (n + 2 * padding).checked_sub(k) {
            Some(room) if stride > 0 => room / stride + 1,
            _ => 0,
        };
        let map = [out, side(h, kernel[0], rows), side(w, kernel[1], columns)];
        Self { batch, image: [c, h, w], map, kernel, stride, padding: [rows, columns] }
            .checked(what, x)
    }

    /// Of a transposed convolution of `x` to `out` channels.
    pub(super) fn transposed(
        what: &'static str,
        x: [usize; 4],
        out: usize,
        kernel: [usize; 2],
        [stride, padding, output_padding]: [usize; 3],
    ) -> Result<Self> {
        let [batch, c, h, w] = x;
        if output_padding > 0 && output_padding >= stride {
            return Err(Error::Shape {
                what,
                expected: format!("an output padding below the stride {stride}"),
                got: vec![output_padding],
            });
        }
        let side = |n: usize, k: usize| {
            (n.saturating_sub(1) * stride + k + output_padding).saturating_sub(2 * padding)
        };
        let image = [out, side(h, kernel[0]), side(w, kernel[1])];
        Self { batch, image, map: [c, h, w], kernel, stride, padding: [padding; 2] }
            .checked(what, x)
    }

    fn checked(self, what: &'static str, x: [usize; 4]) -> Result<Self> {
        let sides = [self.image, self.map, [self.kernel[0], self.kernel[1], self.stride]];
        if self.batch == 0 || sides.as_flattened().contains(&0) {
            let expected = format!(
                "no empty axis for a kernel {:?}, stride {}, padding {:?}: this gives {:?} and {:?}",
                self.kernel, self.stride, self.padding, self.image, self.map
            );
            return Err(Error::Shape { what, expected, got: x.to_vec() });
        }
        Ok(self)
    }

    /// The same operation with as few axes as it needs: positions of a pointwise one are a row.
    pub(super) fn flattened(mut self) -> Self {
        if self.kernel == [1, 1] && self.stride == 1 && self.padding == [0, 0] {
            self.image = [self.image[0], 1, self.image[1] * self.image[2]];
            self.map = [self.map[0], 1, self.map[1] * self.map[2]];
        }
        self
    }

    /// The convolution of the maps, taps reversed, that gives the gradient of the images.
    pub(super) fn mirror(&self) -> Option<Self> {
        let ([kh, kw], [above, left]) = (self.kernel, self.padding);
        (self.stride == 1 && above < kh && left < kw).then(|| Self {
            image: self.map,
            map: self.image,
            padding: [kh - 1 - above, kw - 1 - left],
            ..*self
        })
    }

    pub(in crate::ops) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Values of a patch.
    pub(in crate::ops) fn depth(&self) -> usize {
        self.image[0] * self.taps()
    }

    /// Positions of a map.
    pub(in crate::ops) fn positions(&self) -> usize {
        self.map[1] * self.map[2]
    }

    pub(in crate::ops) fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    pub(super) fn map_len(&self) -> usize {
        self.map.iter().product()
    }

    pub(in crate::ops) fn image_shape(&self) -> [usize; 4] {
        let [c, h, w] = self.image;
        [self.batch, c, h, w]
    }

    pub(in crate::ops) fn map_shape(&self) -> [usize; 4] {
        let [o, oh, ow] = self.map;
        [self.batch, o, oh, ow]
    }
}
