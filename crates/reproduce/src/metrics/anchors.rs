//! Sets of images that no model should score like: they anchor the scale of a distance.

use chains_core::Seed;
use datasets::{ImageSet, permutation};

use crate::error::{Error, Result};

/// The class of the set that has one only.
const DIGIT: u8 = 3;

/// Images under a name, bytes.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) images: ImageSet,
}

/// The anchors: the images of `real` blurred and with their pixels shuffled, digits of one class, and
/// noise; as many of each, but for the one class where `all` has fewer.
pub(super) fn anchors(real: &ImageSet, all: &ImageSet, seed: Seed) -> Result<Vec<Set>> {
    let n = real.len();
    let of_class = (0..all.len()).filter(|at| all.labels[*at] == DIGIT).take(n);
    let one_digit = all.select(&of_class.collect::<Vec<_>>());
    if one_digit.len() < 6 {
        let message = format!("`{}` has {} digits {DIGIT}, not 6", all.name, one_digit.len());
        return Err(Error::Usage(message));
    }
    let with = |images: Vec<u8>| ImageSet { images, labels: Vec::new(), ..real.clone() };
    Ok(vec![
        Set { name: "blurred", images: with(blurred(real)) },
        Set { name: "one digit", images: one_digit },
        Set { name: "shuffled pixels", images: with(shuffled(real, seed.child("shuffled"))) },
        Set { name: "noise", images: with(uniform(n * real.pixels(), seed.child("noise"))) },
    ])
}

/// Means of 3x3 pixels within black, rounded.
fn blurred(set: &ImageSet) -> Vec<u8> {
    let (h, w) = (set.height, set.width);
    let mut out = Vec::with_capacity(set.images.len());
    for plane in set.images.chunks_exact(h * w) {
        for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
            let rows = row.saturating_sub(1)..h.min(row + 2);
            let columns = column.saturating_sub(1)..w.min(column + 2);
            let sum: u32 = rows
                .flat_map(|r| plane[r * w..][columns.clone()].iter())
                .map(|pixel| u32::from(*pixel))
                .sum();
            // At most 255 after the division.
            out.push(((2 * sum + 9) / 18) as u8);
        }
    }
    out
}

/// Every image with its pixels in an order of its own.
fn shuffled(set: &ImageSet, seed: Seed) -> Vec<u8> {
    let one = |index: usize| {
        let image = set.image(index);
        permutation(image.len(), seed.indexed(index as u64)).into_iter().map(|at| image[at])
    };
    (0..set.len()).flat_map(one).collect()
}

/// Independent bytes, all equally likely.
fn uniform(n: usize, seed: Seed) -> Vec<u8> {
    let mut values = vec![0.0_f32; n];
    seed.host_noise().fill_uniform(&mut values);
    values.into_iter().map(|u| (256.0 * u) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(images: Vec<u8>, labels: Vec<u8>, shape: [usize; 3]) -> ImageSet {
        ImageSet::new("test", images, labels, shape).unwrap()
    }

    #[test]
    fn a_blurred_pixel_is_the_mean_of_its_square_within_black() {
        // 9 in a corner, 90 in the middle of 3 x 4; then a white image.
        let image = [9, 0, 0, 0, 0, 90, 0, 0, 0, 0, 0, 0];
        let set = set([image, [255; 12]].concat(), Vec::new(), [1, 3, 4]);
        let got = blurred(&set);
        assert_eq!(got[..12], [11, 11, 10, 0, 11, 11, 10, 0, 10, 10, 10, 0]);
        // 255 4/9 = 113.3, 255 6/9 = 170.
        assert_eq!(got[12..], [113, 170, 170, 113, 170, 255, 255, 170, 113, 170, 170, 113]);
    }

    #[test]
    fn a_shuffled_image_keeps_its_pixels_and_has_an_order_of_its_own() {
        let image: Vec<u8> = (0..64).collect();
        let set = set([image.clone(), image.clone()].concat(), Vec::new(), [1, 8, 8]);
        let got = shuffled(&set, Seed::new(1));
        let (first, second) = got.split_at(64);
        assert_ne!(first, second);
        for shuffled in [first, second] {
            assert_ne!(shuffled, image);
            let mut sorted = shuffled.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, image);
        }
    }

    #[test]
    fn noise_reaches_every_byte_evenly() {
        let n = 256_000;
        let mut counts = [0_usize; 256];
        for byte in uniform(n, Seed::new(2)) {
            counts[usize::from(byte)] += 1;
        }
        // Five standard deviations of a binomial count.
        assert!(counts.iter().all(|&c| (c as f64 - 1_000.0).abs() < 5.0 * 31.6), "{counts:?}");
    }

    #[test]
    fn anchors_have_as_many_images_and_one_class_where_there_are_so_many() {
        let all = set(vec![7; 40 * 4], (0..40).map(|i| i % 5).collect(), [1, 2, 2]);
        let found = anchors(&all.range(0..10), &all, Seed::new(0)).unwrap();
        let sizes: Vec<_> = found.iter().map(|set| (set.name, set.images.len())).collect();
        let want = [("blurred", 10), ("one digit", 8), ("shuffled pixels", 10), ("noise", 10)];
        assert_eq!(sizes, want);
        assert!(found[1].images.labels.iter().all(|label| *label == DIGIT));
        assert!(anchors(&all.range(0..10), &all.range(0..20), Seed::new(0)).is_err());
    }
}
