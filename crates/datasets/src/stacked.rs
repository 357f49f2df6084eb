//! StackedMNIST: three digits as the colour planes of one image, a thousand modes.

use chains_core::Seed;

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
};

/// Images of three digits each, made when they are asked for.
///
/// Image `i` stacks three digits chosen independently and evenly by `seed.indexed(i)`: the first is
/// the red plane, and its class the hundreds of the label `100 a + 10 b + c`.
#[derive(Clone, Debug)]
pub struct StackedMnist {
    digits: ImageSet,
    len: usize,
    seed: Seed,
}

/// Some images of a [`StackedMnist`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackedImages {
    /// Pixels `(n, 3, h, w)`.
    pub images: Vec<u8>,
    /// Labels `100 a + 10 b + c`, below 1000.
    pub labels: Vec<u16>,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl StackedMnist {
    /// A set of `len` images over a set of digits.
    ///
    /// # Errors
    /// If the digits are not grey, have no labels below 10, or there are none.
    pub fn new(digits: ImageSet, len: usize, seed: Seed) -> Result<Self> {
        let fits = digits.channels == 1
            && digits.labels.len() == digits.len()
            && digits.labels.iter().all(|&label| label < 10);
        if digits.is_empty() || !fits {
            let reason = format!("`{}` must be grey digits with labels below 10", digits.name);
            return Err(Error::argument("stacked digits", reason));
        }
        Ok(Self { digits, len, seed })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there no image?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which digits image `index` stacks.
    ///
    /// # Panics
    /// If `index` is not below [`StackedMnist::len`], like a slice.
    pub fn choice(&self, index: usize) -> [usize; 3] {
        assert!(index < self.len, "stacked image {index} of {}", self.len);
        let mut noise = self.seed.indexed(index as u64).host_noise();
        std::array::from_fn(|_| noise.below(self.digits.len() as u64) as usize)
    }

    /// Label `100 a + 10 b + c` of image `index`.
    ///
    /// # Panics
    /// If `index` is not below [`StackedMnist::len`], like a slice.
    pub fn label(&self, index: usize) -> u16 {
        let digit = |label, i: usize| 10 * label + u16::from(self.digits.labels[i]);
        self.choice(index).into_iter().fold(0, digit)
    }

    /// The images with these numbers.
    ///
    /// # Panics
    /// If an index is not below [`StackedMnist::len`], like a slice.
    pub fn images(&self, indices: &[usize]) -> StackedImages {
        let mut images = Vec::with_capacity(3 * indices.len() * self.digits.pixels());
        for &index in indices {
            for digit in self.choice(index) {
                images.extend_from_slice(self.digits.image(digit));
            }
        }
        StackedImages {
            images,
            labels: indices.iter().map(|&index| self.label(index)).collect(),
            height: self.digits.height,
            width: self.digits.width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty digits of 1 x 2 pixels: (index, class).
    fn digits() -> ImageSet {
        let pixels = (0..20).flat_map(|i| [i, i % 10]).collect();
        let labels = (0..20).map(|i| i % 10).collect();
        ImageSet::new("digits", pixels, labels, [1, 1, 2]).unwrap()
    }

    #[test]
    fn planes_and_label_come_from_the_chosen_digits() {
        let set = StackedMnist::new(digits(), 50, Seed::new(1)).unwrap();
        let some = set.images(&[7, 3]);
        assert_eq!((some.images.len(), some.height, some.width), (12, 1, 2));
        for (place, index) in [7, 3].into_iter().enumerate() {
            let planes = &some.images[6 * place..6 * (place + 1)];
            let choice = set.choice(index);
            assert_eq!([planes[0], planes[2], planes[4]].map(usize::from), choice);
            let label = 100 * u16::from(planes[1]) + 10 * u16::from(planes[3]);
            assert_eq!(some.labels[place], label + u16::from(planes[5]));
            assert_eq!(some.labels[place], set.label(index));
        }
    }

    #[test]
    fn choices_are_even_over_digits_and_planes() {
        let set = StackedMnist::new(digits(), 20_000, Seed::new(2)).unwrap();
        let mut counts = [[0_usize; 20]; 3];
        for index in 0..set.len() {
            set.choice(index).iter().zip(&mut counts).for_each(|(&i, plane)| plane[i] += 1);
        }
        // Five standard deviations of a binomial count with p = 1/20.
        let even = |&c: &usize| (c as f64 - 1_000.0).abs() < 5.0 * 30.9;
        assert!(counts.iter().flatten().all(even), "{counts:?}");
    }

    #[test]
    fn sets_that_are_not_digits_are_refused() {
        let new = |set| StackedMnist::new(set, 1, Seed::new(0));
        assert!(new(ImageSet { labels: vec![], ..digits() }).is_err());
        assert!(new(ImageSet { labels: vec![10; 20], ..digits() }).is_err());
        assert!(new(digits().range(0..0)).is_err());
        let colour = ImageSet::new("c", vec![0; 3], vec![1], [3, 1, 1]).unwrap();
        assert!(new(colour).is_err());
    }
}
