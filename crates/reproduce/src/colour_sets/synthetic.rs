//! Images that need no file: soft blobs of colour on a plain ground.

use chains_core::Seed;
use datasets::ImageSet;

use crate::{data::usage, error::Result};

/// Blobs in an image.
const BLOBS: usize = 3;

/// A soft disc: `exp(-|p - centre|^2 / (2 radius^2))` of its colour.
struct Blob {
    centre: [f32; 2],
    radius: f32,
    colour: Vec<f32>,
}

/// `n` images `(c, h, w)`, each a random ground with three Gaussian blobs blended over it; the same
/// seed gives the same images, and the first `m` of them are those of a set of `m`.
///
/// # Errors
/// [`crate::Error::Usage`] if a size is zero.
pub(super) fn blobs(name: &str, n: usize, shape: [usize; 3], seed: Seed) -> Result<ImageSet> {
    let pixels = (0..n).flat_map(|index| image(shape, seed.indexed(index as u64))).collect();
    ImageSet::new(name, pixels, Vec::new(), shape).map_err(usage)
}

fn image([channels, height, width]: [usize; 3], seed: Seed) -> Vec<u8> {
    let mut noise = seed.host_noise();
    let mut draw = |n: usize| {
        let mut values = vec![0.0; n];
        noise.fill_uniform(&mut values);
        values
    };
    let ground = draw(channels);
    let blobs: Vec<Blob> = (0..BLOBS)
        .map(|_| {
            let place = draw(3);
            let centre = [place[0], place[1]];
            Blob { centre, radius: 0.1 + 0.15 * place[2], colour: draw(channels) }
        })
        .collect();
    let mut pixels = Vec::with_capacity(channels * height * width);
    for (channel, &ground) in ground.iter().enumerate() {
        for row in 0..height {
            for column in 0..width {
                let at = [row as f32 / height as f32, column as f32 / width as f32];
                let value = blobs.iter().fold(ground, |under, blob| {
                    let square: f32 =
                        at.iter().zip(blob.centre).map(|(a, c)| (a - c) * (a - c)).sum();
                    let cover = (-square / (2.0 * blob.radius * blob.radius)).exp();
                    under + cover * (blob.colour[channel] - under)
                });
                pixels.push((value * 255.0).round() as u8);
            }
        }
    }
    pixels
}
