//! The transforms of the tiles of images and maps.
//!
//! Both work on vectors of 16 channels. A table says where a tile finds its pixels; those in the padding
//! and beyond the edge share one place behind the last.

use pulp::{Simd, WithSimd};

use super::{
    LANES, PHASES,
    scheme::{differences, folded, got, put, sums, undone},
};
use crate::ops::{conv::geometry::Geometry, kernel::transpose};

/// Images or maps.
pub(super) struct Side {
    pub(super) channels: usize,
    /// Of one channel.
    pub(super) pixels: usize,
    /// Vectors of a product for [`LANES`] channels: the phases of images, one for maps.
    pub(super) parts: usize,
    /// The pixels of each part of each tile.
    places: Vec<u32>,
}

impl Side {
    /// Images: 3 x 3 pixels of each of the four phases of a tile.
    pub(super) fn image(g: &Geometry) -> Self {
        let [c, h, w] = g.image;
        let [above, left] = g.padding;
        let inside =
            |at: usize, before: usize, side: usize| at.checked_sub(before).filter(|at| *at < side);
        let place = |[ty, tx]: [usize; 2], phase: usize, at: usize| {
            let y = inside(4 * ty + 2 * (at / 3) + phase / 2, above, h)?;
            let x = inside(4 * tx + 2 * (at % 3) + phase % 2, left, w)?;
            Some(y * w + x)
        };
        Self::new(g, [c, h * w, PHASES, 9], place)
    }

    /// Maps: 2 x 2 positions of a tile.
    pub(super) fn map(g: &Geometry) -> Self {
        let [o, oh, ow] = g.map;
        let place = |[ty, tx]: [usize; 2], _, at: usize| {
            let (y, x) = (2 * ty + at / 2, 2 * tx + at % 2);
            (y < oh && x < ow).then_some(y * ow + x)
        };
        Self::new(g, [o, oh * ow, 1, 4], place)
    }

    fn new(
        g: &Geometry,
        [channels, pixels, parts, taken]: [usize; 4],
        place: impl Fn([usize; 2], usize, usize) -> Option<usize>,
    ) -> Self {
        let [down, across] = super::tiles(g);
        let mut places = Vec::with_capacity(down * across * parts * taken);
        for tile in 0..down * across {
            for part in 0..parts {
                places.extend((0..taken).map(|at| {
                    place([tile / across, tile % across], part, at).unwrap_or(pixels) as u32
                }));
            }
        }
        Self { channels, pixels, parts, places }
    }

    /// Vectors of [`LANES`] channels.
    pub(super) fn blocks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// Values of a product for a tile of so many blocks of channels.
    pub(super) fn width(&self, blocks: usize) -> usize {
        blocks * self.parts * LANES
    }

    /// Values of the buffer for pixels that the transforms ask for.
    pub(super) fn buffer(&self) -> usize {
        (self.pixels + 1) * LANES
    }

    /// The factors of all products with the tiles of a block of channels of one image, given with all its
    /// channels: those of product `p` and tile `t` go to `at + p * strides[0] + t * strides[1]`.
    pub(super) fn widen(
        &self,
        (image, block): (&[f32], usize),
        pixels: &mut [f32],
        (out, at): (&mut [f32], usize),
        strides: [usize; 2],
    ) {
        let channels = block * LANES..self.channels.min((block + 1) * LANES);
        let planes = &image[channels.start * self.pixels..channels.end * self.pixels];
        let (inside, behind) = pixels[..self.buffer()].split_at_mut(self.pixels * LANES);
        behind.fill(0.0);
        if channels.len() < LANES {
            inside.fill(0.0);
        }
        transpose(planes, channels.len(), (inside, LANES));
        let (pixels, places) = (&*pixels, &self.places);
        let parts = self.parts;
        pulp::Arch::new().dispatch(Widen { places, parts, pixels, out, at, strides });
    }

    /// What the products, which lie as the factors of [`Self::widen`], give to the pixels of one image: a
    /// vector of channels for each.
    pub(super) fn fold(
        &self,
        (products, at): (&[f32], usize),
        strides: [usize; 2],
        pixels: &mut [f32],
    ) {
        let pixels = &mut pixels[..self.buffer()];
        if self.parts > 1 {
            pixels.fill(0.0);
        }
        let (places, parts) = (&self.places, self.parts);
        pulp::Arch::new().dispatch(Fold { places, parts, pixels, products, at, strides });
    }
}

struct Widen<'a> {
    places: &'a [u32],
    parts: usize,
    pixels: &'a [f32],
    out: &'a mut [f32],
    at: usize,
    strides: [usize; 2],
}

impl WithSimd for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let step = LANES / S::F32_LANES;
        let (pixels, out) = (S::as_simd_f32s(self.pixels).0, S::as_mut_simd_f32s(self.out).0);
        let [product, tile] = self.strides.map(|stride| stride / S::F32_LANES);
        let at = self.at / S::F32_LANES;
        if self.parts == 1 {
            for (t, places) in self.places.as_chunks::<4>().0.iter().enumerate() {
                for v in 0..step {
                    let factors = sums(simd, taken(pixels, places, step, v));
                    put(out, at + t * tile + v, product, factors);
                }
            }
        } else {
            for (i, places) in self.places.as_chunks::<9>().0.iter().enumerate() {
                let to = at + i / PHASES * tile + i % PHASES * step;
                for v in 0..step {
                    let factors = differences(simd, taken(pixels, places, step, v));
                    put(out, to + v, product, factors);
                }
            }
        }
    }
}

struct Fold<'a> {
    places: &'a [u32],
    parts: usize,
    pixels: &'a mut [f32],
    products: &'a [f32],
    at: usize,
    strides: [usize; 2],
}

impl WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let step = LANES / S::F32_LANES;
        let products = S::as_simd_f32s(self.products).0;
        let pixels = S::as_mut_simd_f32s(self.pixels).0;
        let [product, tile] = self.strides.map(|stride| stride / S::F32_LANES);
        let at = self.at / S::F32_LANES;
        if self.parts == 1 {
            for (t, places) in self.places.as_chunks::<4>().0.iter().enumerate() {
                for v in 0..step {
                    let values = folded(simd, got(products, at + t * tile + v, product));
                    for (place, value) in places.iter().zip(values) {
                        pixels[*place as usize * step + v] = value;
                    }
                }
            }
        } else {
            for (i, places) in self.places.as_chunks::<9>().0.iter().enumerate() {
                let from = at + i / PHASES * tile + i % PHASES * step;
                for v in 0..step {
                    let values = undone(simd, got(products, from + v, product));
                    for (place, value) in places.iter().zip(values) {
                        let pixel = &mut pixels[*place as usize * step + v];
                        *pixel = simd.add_f32s(*pixel, value);
                    }
                }
            }
        }
    }
}

/// Vector `v`, of `step`, of these pixels.
#[inline(always)]
fn taken<T: Copy, const N: usize>(
    pixels: &[T],
    places: &[u32; N],
    step: usize,
    v: usize,
) -> [T; N] {
    let mut out = [pixels[v]; N];
    for (value, place) in out.iter_mut().zip(places) {
        *value = pixels[*place as usize * step + v];
    }
    out
}
