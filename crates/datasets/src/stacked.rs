//! StackedMNIST: digits as the planes of one image, ten modes for each plane to the power of planes.

use chains_core::Seed;

use crate::{
    error::{Error, Result},
    image_set::ImageSet,
    legacy,
};

/// Planes of an image at most: the label must fit into 16 bits, a picture has three colours.
const MOST_PLANES: usize = 3;

/// Images of one to three digits each, made when they are asked for.
///
/// The label of an image is the number that its digits write: with three planes the class of the first,
/// the red one, is the hundreds of `100 a + 10 b + c`, with two the tens of `10 a + b`.
#[derive(Clone, Debug)]
pub struct StackedMnist {
    digits: ImageSet,
    planes: usize,
    choices: Choices,
}

/// Where the digits of an image come from.
#[derive(Clone, Debug)]
enum Choices {
    /// Chosen independently and evenly by `seed.indexed(i)` for image `i`.
    Seeded { len: usize, seed: Seed },
    /// Written down, image after image.
    Listed(Vec<usize>),
}

/// Some images of a [`StackedMnist`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackedImages {
    /// Pixels `(n, c, h, w)`.
    pub images: Vec<u8>,
    /// Labels, below ten to the power of channels.
    pub labels: Vec<u16>,
    /// Channels, one for each digit.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl StackedMnist {
    /// A set of `len` images of three digits each, a thousand modes.
    ///
    /// The digits of image `i` are chosen independently and evenly by `seed.indexed(i)`.
    ///
    /// # Errors
    /// If the digits are not grey, have no labels below 10, or there are none.
    pub fn new(digits: ImageSet, len: usize, seed: Seed) -> Result<Self> {
        Self::with_planes(digits, 3, len, seed)
    }

    /// As [`StackedMnist::new`] with `planes` digits an image: two give a hundred modes. The first digits
    /// of an image do not depend on the number of planes.
    ///
    /// # Errors
    /// As [`StackedMnist::new`], or if `planes` is not 1, 2 or 3.
    pub fn with_planes(digits: ImageSet, planes: usize, len: usize, seed: Seed) -> Result<Self> {
        check(&digits, planes)?;
        Ok(Self { digits, planes, choices: Choices::Seeded { len, seed } })
    }

    /// `len` images whose digits are [`legacy::randint`]`(len * planes, digits, seed)`.
    ///
    /// VERA's StackedMNIST has three planes, 60,000 images of the 60,000 training digits and seed 1234.
    /// Its code gives the first digit the units of the label; here it has the hundreds.
    ///
    /// # Errors
    /// As [`StackedMnist::with_planes`].
    pub fn legacy(digits: ImageSet, planes: usize, len: usize, seed: u32) -> Result<Self> {
        check(&digits, planes)?;
        let n = len.checked_mul(planes).ok_or_else(|| {
            Error::argument("stacked images", format!("{len} are more than can be counted"))
        })?;
        let choices = legacy::randint(n, digits.len() as u64, seed)?;
        let choices = Choices::Listed(choices.into_iter().map(|i| i as usize).collect());
        Ok(Self { digits, planes, choices })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match &self.choices {
            Choices::Seeded { len, .. } => *len,
            Choices::Listed(choices) => choices.len() / self.planes,
        }
    }

    /// Is there no image?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Digits an image, its channels.
    pub fn planes(&self) -> usize {
        self.planes
    }

    /// Number of different labels, ten to the power of planes.
    pub fn modes(&self) -> usize {
        10_usize.pow(self.planes as u32)
    }

    /// Which digits image `index` stacks.
    ///
    /// # Panics
    /// If `index` is not below [`StackedMnist::len`], like a slice.
    pub fn choice(&self, index: usize) -> Vec<usize> {
        assert!(index < self.len(), "stacked image {index} of {}", self.len());
        match &self.choices {
            Choices::Seeded { seed, .. } => {
                let mut noise = seed.indexed(index as u64).host_noise();
                let digits = self.digits.len() as u64;
                (0..self.planes).map(|_| noise.below(digits) as usize).collect()
            }
            Choices::Listed(choices) => choices[index * self.planes..][..self.planes].to_vec(),
        }
    }

    /// The label of image `index`: its digits as a number, the first one in front.
    ///
    /// # Panics
    /// If `index` is not below [`StackedMnist::len`], like a slice.
    pub fn label(&self, index: usize) -> u16 {
        self.label_of(&self.choice(index))
    }

    fn label_of(&self, choice: &[usize]) -> u16 {
        choice.iter().fold(0, |label, &i| 10 * label + u16::from(self.digits.labels[i]))
    }

    /// The images with these numbers.
    ///
    /// # Panics
    /// If an index is not below [`StackedMnist::len`], like a slice.
    pub fn images(&self, indices: &[usize]) -> StackedImages {
        let pixels = self.planes * self.digits.pixels();
        let mut images = Vec::with_capacity(indices.len() * pixels);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let choice = self.choice(index);
            choice.iter().for_each(|&digit| images.extend_from_slice(self.digits.image(digit)));
            labels.push(self.label_of(&choice));
        }
        let (height, width) = (self.digits.height, self.digits.width);
        StackedImages { images, labels, channels: self.planes, height, width }
    }
}

fn check(digits: &ImageSet, planes: usize) -> Result<()> {
    if !(1..=MOST_PLANES).contains(&planes) {
        return Err(Error::argument("stacked planes", format!("{planes} is not 1, 2 or 3")));
    }
    let fits = digits.channels == 1
        && digits.labels.len() == digits.len()
        && digits.labels.iter().all(|&label| label < 10);
    if digits.is_empty() || !fits {
        let reason = format!("`{}` must be grey digits with labels below 10", digits.name);
        return Err(Error::argument("stacked digits", reason));
    }
    Ok(())
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
            assert_eq!(choice, [planes[0], planes[2], planes[4]].map(usize::from));
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
    fn two_planes_are_the_first_two_of_three_and_have_a_hundred_modes() {
        let three = StackedMnist::new(digits(), 400, Seed::new(3)).unwrap();
        let two = StackedMnist::with_planes(digits(), 2, 400, Seed::new(3)).unwrap();
        assert_eq!((three.modes(), two.modes(), two.planes()), (1000, 100, 2));
        let mut seen = [false; 100];
        for index in 0..400 {
            let choice = three.choice(index);
            assert_eq!(two.choice(index), choice[..2]);
            let label = 10 * (choice[0] % 10) + choice[1] % 10;
            assert_eq!(
                (usize::from(two.label(index)), label),
                (label, usize::from(three.label(index)) / 10)
            );
            seen[label] = true;
        }
        // 100 modes, 400 draws: 1.8 are expected to be missed.
        assert!(seen.iter().filter(|seen| **seen).count() > 90);
        let some = two.images(&[7, 3]);
        assert_eq!((some.images.len(), some.channels), (8, 2));
        assert_eq!(usize::from(some.images[2]), two.choice(7)[1]);
        assert_eq!(some.labels, [two.label(7), two.label(3)]);
    }

    #[test]
    fn value_stability() {
        let set = StackedMnist::new(digits(), 50, Seed::new(1)).unwrap();
        for index in 0..50 {
            let mut noise = Seed::new(1).indexed(index as u64).host_noise();
            assert_eq!(set.choice(index), [0; 3].map(|_| noise.below(20) as usize));
        }
        assert_eq!([set.choice(7), set.choice(49)], FROZEN);
    }

    const FROZEN: [[usize; 3]; 2] = [[15, 15, 10], [8, 13, 13]];

    #[test]
    fn the_published_triples_are_numpys() {
        let labels: Vec<u8> = (0..60_000).map(|i| (i % 10) as u8).collect();
        let many = ImageSet::new("digits", vec![0; 60_000], labels, [1, 1, 1]).unwrap();
        let set = StackedMnist::legacy(many, 3, 60_000, 1234).unwrap();
        assert_eq!(set.len(), 60_000);
        assert_eq!(set.choice(0), [27_439, 58_067, 34_086]);
        assert_eq!(set.choice(1), [56_373, 23_924, 17_048]);
        assert_eq!(set.label(0), 976);
        assert_eq!(set.images(&[1]).labels, [348]);
        assert!(StackedMnist::legacy(digits(), 0, 5, 1).is_err());
        assert!(StackedMnist::legacy(digits(), 3, usize::MAX, 1).is_err());
    }

    #[test]
    fn sets_that_are_not_digits_are_refused() {
        let new = |set| StackedMnist::new(set, 1, Seed::new(0));
        assert!(new(ImageSet { labels: vec![], ..digits() }).is_err());
        assert!(new(ImageSet { labels: vec![10; 20], ..digits() }).is_err());
        assert!(new(digits().range(0..0)).is_err());
        let colour = ImageSet::new("c", vec![0; 3], vec![1], [3, 1, 1]).unwrap();
        assert!(new(colour).is_err());
        for planes in [0, 4] {
            assert!(StackedMnist::with_planes(digits(), planes, 1, Seed::new(0)).is_err());
        }
    }
}
