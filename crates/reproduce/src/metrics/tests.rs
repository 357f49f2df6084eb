//! The learner: shifts, dropout, accuracy, and that it learns.

use candle_core::{DType, Device, Tensor};
use chains_core::{Seed, optim::Adam};
use datasets::{ImageSet, Mnist};

use super::{
    learner::{Digits, bytes, shifted},
    settings::TrainSettings,
};
use crate::{
    request::Scale,
    training::{Learner, UpdateAt},
};

fn set(images: Vec<u8>, labels: Vec<u8>) -> ImageSet {
    ImageSet::new("test", images, labels, [1, 28, 28]).unwrap()
}

/// White bars, their row by the label.
fn bars(n: usize) -> ImageSet {
    let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
    let image = |label: &u8| {
        let row = 4 + 2 * usize::from(*label);
        (0..784).map(move |at| if (row..row + 2).contains(&(at / 28)) { 255 } else { 0 })
    };
    set(labels.iter().flat_map(image).collect(), labels)
}

fn settings() -> TrainSettings {
    TrainSettings { shift: 0, ..TrainSettings::of_scale(Scale::Smoke) }
}

#[test]
fn digits_are_shifted_evenly_in_both_directions_over_black() {
    // One bright pixel a little off the centre.
    let mut image = vec![0; 784];
    image[13 * 28 + 15] = 255;
    let digits = set(image, vec![0]);
    let n = 5_000;
    let mut noise = Seed::new(4).host_noise();
    let x = shifted(&digits, &vec![0; n], 2, &mut noise).unwrap();
    assert_eq!(x.dims(), [n, 1, 28, 28]);
    let mut counts = [[0_usize; 5]; 5];
    for image in x.flatten_all().unwrap().to_vec1::<f32>().unwrap().chunks_exact(784) {
        let at = image.iter().position(|v| *v > 0.0).unwrap();
        assert!((image[at] - 1.0).abs() < 1e-6);
        assert_eq!(image.iter().filter(|v| **v > 0.0).count(), 1);
        counts[at / 28 - 11][at % 28 - 13] += 1;
    }
    // Five standard deviations of a binomial count with p = 1/25.
    let even = |c: &usize| (*c as f64 - 200.0).abs() < 5.0 * 13.9;
    assert!(counts.iter().flatten().all(even), "{counts:?}");
}

#[test]
fn what_leaves_the_image_is_lost_and_no_shift_changes_nothing() {
    let digits = set((0..784).map(|at| (at % 255) as u8 + 1).collect(), vec![0]);
    let mut noise = Seed::new(5).host_noise();
    let still = shifted(&digits, &[0, 0], 0, &mut noise).unwrap();
    let want = bytes(&digits, &[0, 0]).unwrap().to_dtype(DType::F32).unwrap();
    let gap = (still - (want / 255.0).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
    assert!(gap.to_scalar::<f32>().unwrap() < 1e-6);
    // Every pixel is positive, so black rows and columns tell the shift; the rest is the image's.
    for x in shifted(&digits, &[0; 50], 3, &mut noise).unwrap().chunk(50, 0).unwrap() {
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let lit = |at: usize| values[at] > 0.0;
        let count = |starts: &dyn Fn(usize) -> usize| (0..28).filter(|i| lit(starts(*i))).count();
        // Through the middle, which no shift of three leaves black.
        let (rows, columns) = (count(&|i| i * 28 + 14), count(&|i| 14 * 28 + i));
        assert!((25..=28).contains(&rows) && (25..=28).contains(&columns));
        let (top, left) = (
            (0..28).position(|i| lit(i * 28 + 14)).unwrap(),
            (0..28).position(|i| lit(14 * 28 + i)).unwrap(),
        );
        // Rows that left at the top were the image's first.
        let (first_row, first_column) =
            (if top == 0 { 28 - rows } else { 0 }, if left == 0 { 28 - columns } else { 0 });
        for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let want = f32::from(digits.images[(first_row + r) * 28 + first_column + c]) / 255.0;
            assert!((values[(top + r) * 28 + left + c] - want).abs() < 1e-6);
        }
        assert_eq!(values.iter().filter(|v| **v > 0.0).count(), rows * columns);
    }
    assert!(shifted(&digits, &[0], 28, &mut noise).is_err());
}

#[test]
fn dropout_keeps_the_mean_and_drops_its_share() {
    let settings = TrainSettings { dropout: 0.4, ..settings() };
    let data = Mnist { train: bars(10), test: bars(10) };
    let learner = Digits::new(&data, &settings, Seed::new(0), &Device::Cpu).unwrap();
    let mask = learner.dropout(400, &mut Seed::new(7).host_noise()).unwrap();
    assert_eq!(mask.dims(), [400, 128]);
    let values = mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let dropped = values.iter().filter(|v| **v == 0.0).count() as f64 / values.len() as f64;
    let se = (0.4_f64 * 0.6 / values.len() as f64).sqrt();
    assert!((dropped - 0.4).abs() < 5.0 * se, "{dropped}");
    assert!(values.iter().all(|v| *v == 0.0 || (v - 1.0 / 0.6).abs() < 1e-6));
}

#[test]
fn accuracy_is_the_share_of_the_followed_digits() {
    let mut test = bars(30);
    // Of the first 20 four are zeros, of the first 25 four.
    test.labels[3] = 0;
    test.labels[7] = 0;
    for (followed, want) in [(20, 4.0 / 20.0), (25, 5.0 / 25.0), (99, 5.0 / 30.0)] {
        let settings = TrainSettings { followed, ..settings() };
        let data = Mnist { train: bars(10), test: test.clone() };
        let learner = Digits::new(&data, &settings, Seed::new(0), &Device::Cpu).unwrap();
        // Answers zero whatever it sees.
        let bias: Vec<f32> = (0..10).map(|class| if class == 0 { 1e3 } else { 0.0 }).collect();
        let var = learner.store().get("head.bias").unwrap();
        var.set(&Tensor::new(bias, &Device::Cpu).unwrap()).unwrap();
        assert!((learner.accuracy().unwrap() - want).abs() < 1e-12);
    }
}

#[test]
fn updates_move_every_tensor_depend_on_the_seed_alone_and_learn_bars() {
    let data = Mnist { train: bars(40), test: bars(40) };
    let settings = TrainSettings { dropout: 0.2, followed: 40, ..settings() };
    let train = |seed, updates| {
        let mut learner = Digits::new(&data, &settings, Seed::new(seed), &Device::Cpu).unwrap();
        let before: Vec<_> = copies(&learner);
        let mut adam = Adam::new(settings.plan(Seed::new(seed)).adam);
        let indices: Vec<usize> = (0..20).collect();
        let losses: Vec<f64> = (0..updates)
            .map(|update| {
                let at = UpdateAt { update, indices: &indices, learning_rate: 1e-3 };
                learner.update(&mut adam, &at).unwrap()
            })
            .collect();
        let moved = before.iter().zip(copies(&learner)).all(|(a, b)| *a != b);
        assert!(moved, "a tensor did not move");
        (losses, learner.accuracy().unwrap())
    };
    let (losses, accuracy) = train(1, 25);
    // The entropy of ten classes, and what is left of it.
    assert!((losses[0] - 10_f64.ln()).abs() < 1.5, "{losses:?}");
    assert!(losses[24] < 0.3 * losses[0] && accuracy > 0.9, "{losses:?} {accuracy}");
    assert_eq!(train(1, 3).0, losses[..3]);
    assert_ne!(train(2, 1).0, losses[..1]);
}

fn copies(learner: &Digits<'_>) -> Vec<Vec<f32>> {
    let values = |(_, x): (String, Tensor)| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    learner.store().tensors().into_iter().map(values).collect()
}
