//! Quantisation, views, scores, and networks that are not there.

use chains_core::{ParamStore, Seed};
use eval_metrics::networks::{DigitConfig, DigitNetwork, save_digits};
use ndarray::array;

use super::*;

const TINY: DigitConfig = DigitConfig { channels: [1, 1], features: 4, classes: 10 };

fn save(dir: &Path, seed: u64) {
    let store = ParamStore::new(Seed::new(seed), DType::F32, &Device::Cpu);
    DigitNetwork::new(&TINY, store.builder()).unwrap();
    save_digits(dir, &TINY, &store).unwrap();
}

fn view(features: Array2<f32>, logits: Array2<f32>, extractor: &str) -> View {
    let (label, extractor) = ("a".to_owned(), extractor.to_owned());
    View { features, logits, label, extractor, preprocessing: "none", quantisation: BYTES }
}

#[test]
fn bytes_are_the_ones_that_were_dequantised() {
    let pixels: Vec<u8> = (0..2 * 784).map(|at| (at * 7 % 256) as u8).collect();
    let floats = datasets::dequantise(&pixels, &mut Seed::new(3).host_noise());
    let images = Tensor::from_vec(floats, (2, 784), &Device::Cpu).unwrap();
    let bytes = quantise(&images).unwrap();
    assert_eq!(bytes.dims(), [2, 1, 28, 28]);
    assert_eq!(bytes.flatten_all().unwrap().to_vec1::<u8>().unwrap(), pixels);
    let square = images.reshape((2, 1, 28, 28)).unwrap();
    assert_eq!(quantise(&square).unwrap().dims(), [2, 1, 28, 28]);
}

#[test]
fn pixels_outside_are_clipped_and_those_that_are_no_numbers_refused() {
    let mut values = vec![0.0_f32; 2 * 784];
    values[..6].copy_from_slice(&[-0.5, 1.0, 7.0, 0.999_999, f32::INFINITY, -f32::INFINITY]);
    let images = |values: &[f32]| Tensor::from_slice(values, (2, 784), &Device::Cpu).unwrap();
    let bytes = quantise(&images(&values)).unwrap().flatten_all().unwrap();
    assert_eq!(bytes.to_vec1::<u8>().unwrap()[..7], [0, 255, 255, 255, 255, 0, 0]);
    values[784] = f32::NAN;
    let error = quantise(&images(&values)).unwrap_err().to_string();
    assert!(error.contains("image 1"), "{error}");
    for shape in [vec![4, 392], vec![1, 2, 28, 28], vec![2, 784, 1]] {
        let error = quantise(&Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
        assert!(error.unwrap_err().to_string().contains("(n, 784)"));
    }
}

#[test]
fn a_view_is_what_the_network_says_in_blocks_and_knows_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 1);
    let classifier = DigitClassifier::load(dir.path(), &Device::Cpu).unwrap();
    let judge = Judge { label: "b".into(), classifier };
    let n = BLOCK + 3;
    let floats: Vec<f32> = (0..n * 784).map(|at| (at * 31 % 1013) as f32 / 1013.0).collect();
    let images = Tensor::from_vec(floats, (n, 784), &Device::Cpu).unwrap();
    let seen = View::of_floats(&judge, &images, &mut ()).unwrap();
    let found = judge.classifier.activations(&quantise(&images).unwrap()).unwrap();
    assert_eq!(seen.features, rows(&found.features).unwrap());
    assert_eq!(seen.logits, rows(&found.logits).unwrap());
    let part = seen.select(&[2, 900, 2]);
    assert_eq!((part.len(), seen.len()), (3, n));
    assert_eq!(part.logits.row(1), seen.logits.row(900));
    assert_eq!(part.features.row(2), seen.features.row(2));
    let metric = part.metric("x", 1.0, "");
    assert_eq!((metric.n, &metric.settings["network"]), (Some(3), &"b".into()));
    assert_eq!(metric.settings["extractor"], judge.classifier.id());
    assert_eq!(metric.settings["quantisation"], FLOOR);
    let bytes = quantise(&images).unwrap();
    let again = View::of_bytes(&judge, &bytes, &mut ()).unwrap();
    assert_eq!(again.metric("x", 1.0, "").settings["quantisation"], BYTES);
    let set = bytes.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    let set = ImageSet::new("set", set, Vec::new(), [1, 28, 28]).unwrap();
    assert_eq!(View::of_set(&judge, &set, &mut ()).unwrap().logits, again.logits);
    let none = Tensor::zeros((0, 1, 28, 28), DType::U8, &Device::Cpu).unwrap();
    assert!(View::of_bytes(&judge, &none, &mut ()).is_err());
}

#[test]
fn classes_and_confidence_are_those_of_the_logits() {
    let three = 3_f32.ln();
    let logits = array![[0.0, three, three - 90.0], [500.0, 500.0, 0.0], [0.0, 0.0, 0.0]];
    let view = view(Array2::zeros((3, 2)), logits, "x");
    assert_eq!(view.classes(), [1, 0, 0]);
    let want = (0.75 + 0.5 + 1.0 / 3.0) / 3.0;
    assert!((view.confidence() - want).abs() < 1e-7);
}

#[test]
fn scores_are_the_formulas_on_features_and_logits() {
    // Columns without covariance: variances 1/3 and 4/3, and four times those.
    let real = array![[0.0_f32, 0.0], [1.0, 2.0], [0.0, 2.0], [1.0, 0.0]];
    let fake = &real * 2.0 + 3.0;
    let ten =
        Array2::from_shape_fn((20, 10), |(row, class)| if row % 10 == class { 99.0 } else { 0.0 });
    let (real, fake) = (view(real, ten.clone(), "x"), view(fake, ten, "x"));
    let fid = mnist_fid(&fake, &real).unwrap();
    // Means (1/2, 1) and (4, 5); the difference of standard deviations is that of the real ones.
    let want = 3.5_f64.powi(2) + 16.0 + 1.0 / 3.0 + 4.0 / 3.0;
    assert!((fid.value - want).abs() < 1e-9, "{} {want}", fid.value);
    assert_eq!((fid.name.as_str(), &fid.settings["n_real"]), ("mnist-fid", &4.into()));
    assert!(mnist_fid(&real, &real).unwrap().value.abs() < 1e-9);
    let score = classifier_score(&fake).unwrap();
    assert!((score.value - 10.0).abs() < 1e-9);
    assert_eq!((score.name.as_str(), &score.settings["splits"]), ("classifier-score", &1.into()));
    let whole = kid(&fake, &real).unwrap();
    assert!(whole.value > 0.0 && !whole.settings.contains_key("subsets"));
    let cloud = |offset: f32| {
        let mut values = vec![0.0; 40];
        Seed::new(8).host_noise().fill_normal(&mut values);
        let features = Array2::from_shape_vec((20, 2), values).unwrap() + offset;
        view(features, Array2::zeros((20, 10)), "x")
    };
    let values = |offset| prdc(&cloud(offset), &cloud(0.0)).unwrap().map(|metric| metric.value);
    for (offset, want) in [(0.0, 1.0), (1e3, 0.0)] {
        let values = values(offset);
        assert!(values.iter().all(|value| (value - want).abs() < 1e-12), "{values:?}");
    }
    let names = prdc(&cloud(0.0), &cloud(0.0)).unwrap().map(|metric| metric.name);
    assert_eq!(names, ["precision", "recall", "density", "coverage"]);
    let other = view(real.features.clone(), real.logits.clone(), "y");
    for error in [mnist_fid(&fake, &other).map(drop), prdc(&fake, &other).map(drop)] {
        assert!(error.unwrap_err().to_string().contains("`x` and of `y`"));
    }
}

#[test]
fn networks_that_are_missing_are_named_with_the_way_to_make_them() {
    let root = tempfile::tempdir().unwrap();
    let text = |error: Error| {
        assert!(matches!(error, Error::Missing(_)), "{error:?}");
        error.to_string()
    };
    let both = text(ready(root.path()).unwrap_err());
    for (_, folder) in SHIPPED {
        assert!(both.contains(folder), "{both}");
    }
    assert!(both.contains("--experiment mnist-classifier"), "{both}");
    save(&root.path().join(SHIPPED[0].1), 1);
    let one = text(open(root.path(), &Device::Cpu).map(drop).unwrap_err());
    assert!(one.contains("mnist-classifier-b") && !one.contains("mnist-classifier,"), "{one}");
    save(&root.path().join(SHIPPED[1].1), 2);
    let judges = open(root.path(), &Device::Cpu).unwrap();
    let labels: Vec<_> = judges.iter().map(|judge| judge.label.as_str()).collect();
    assert_eq!(labels, ["a", "b"]);
    assert_ne!(judges[0].classifier.id(), judges[1].classifier.id());
}

#[test]
fn halves_share_nothing_are_nested_and_mix_the_file() {
    let set = ImageSet::new("set", (0..200).collect(), Vec::new(), [1, 1, 1]).unwrap();
    let [reference, floor] = halves(&set, 100).unwrap();
    let mut all = [reference.images.clone(), floor.images].concat();
    all.sort_unstable();
    assert_eq!(all, set.images);
    let [small, next] = halves(&set, 40).unwrap();
    assert_eq!(small.images, reference.images[..40]);
    assert_eq!(next.images, reference.images[40..80]);
    // Of the first half of the file; five standard deviations of the hypergeometric law.
    let early = reference.images.iter().filter(|i| **i < 100).count() as f64;
    assert!((early - 50.0).abs() < 5.0 * 3.6, "{early}");
    assert!(halves(&set, 101).unwrap_err().to_string().contains("200 images, not twice 101"));
    // Frozen: references of all runs are the same.
    assert_eq!(order(8), ORDER);
}

const ORDER: [usize; 8] = [0, 7, 4, 5, 6, 2, 3, 1];
