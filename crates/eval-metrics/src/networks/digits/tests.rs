//! The digit network against plain loops; directories, shapes, and who influences whom.

mod plain;

use std::fs;

use candle_core::{D, Tensor};
use chains_core::{
    Seed,
    autograd::value_and_gradients,
    checkpoint::{CONFIG_FILE, WEIGHTS_FILE, load_tensors, save_tensors},
};

use self::plain::Plain;
use super::*;

const TINY: DigitConfig = DigitConfig { channels: [2, 3], features: 5, classes: 4 };

fn store(config: &DigitConfig) -> (ParamStore, DigitNetwork) {
    let store = ParamStore::new(Seed::new(5), DType::F32, &Device::Cpu);
    let network = DigitNetwork::new(config, store.builder()).unwrap();
    // Biases begin at zero, where an error in them would not show.
    for (name, var) in store.all() {
        if name.ends_with("bias") {
            let mut noise = Seed::new(6).child(&name).host_noise();
            let mut values = vec![0.0; var.elem_count()];
            noise.fill_normal(&mut values);
            let values = values.iter().map(|v| 0.1 * v).collect::<Vec<f32>>();
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    }
    (store, network)
}

/// Bytes that look like nothing, `(n, channels, side, side)`.
fn images(n: usize, channels: usize, side: usize) -> Tensor {
    let mut noise = Seed::new(1).child("images").host_noise();
    let bytes = (0..n * channels * side * side).map(|_| noise.below(256) as u8).collect::<Vec<_>>();
    Tensor::from_vec(bytes, (n, channels, side, side), &Device::Cpu).unwrap()
}

fn saved(config: &DigitConfig) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    save_digits(dir.path(), config, &store(config).0).unwrap();
    dir
}

fn load(dir: &Path) -> Result<DigitClassifier> {
    DigitClassifier::load(dir, &Device::Cpu)
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn both(found: &Activations) -> Vec<f32> {
    [values(&found.features), values(&found.logits)].concat()
}

#[test]
fn the_shipped_shape_has_467_818_parameters_under_the_promised_names() {
    let (store, _) = store(&DigitConfig::mnist());
    assert_eq!(store.count(), 467_818);
    let mut want = DigitConfig::mnist().shapes();
    want.sort();
    let all = store.all().into_iter().map(|(name, var)| (name, var.dims().to_vec()));
    assert_eq!(all.collect::<Vec<_>>(), want);
    for (name, shape) in [
        ("convolutions.2.weight", vec![64, 32, 3, 3]),
        ("features.weight", vec![128, 3136]),
        ("head.bias", vec![10]),
    ] {
        assert!(want.contains(&(name.to_owned(), shape)), "{name}");
    }
}

#[test]
fn every_trainable_tensor_receives_a_gradient() -> Result<()> {
    let (store, network) = store(&DigitConfig::mnist());
    let x = scaled_digits(&images(6, 1, 28))?;
    let classes = Tensor::new(&[[0_u32], [3], [9], [1], [7], [4]], &Device::Cpu)?;
    let loss = || -> Result<Tensor> {
        let logits = network.logits(&network.features(&x)?)?;
        let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
        Ok(log_probs.gather(&classes, 1)?.mean_all()?.neg()?)
    };
    let (_, on_tape) = value_and_gradients(loss)?;
    let in_graph = loss()?.backward()?;
    for (name, var) in store.trainable() {
        for grads in [&on_tape, &in_graph] {
            let grad = grads.get(var.as_tensor()).map(values);
            assert!(grad.is_some_and(|grad| grad.iter().any(|g| g.abs() > 0.0)), "{name}");
        }
    }
    Ok(())
}

#[test]
fn features_and_logits_are_those_of_plain_loops() -> Result<()> {
    let (store, network) = store(&TINY);
    let images = images(3, 1, 28);
    let features = network.features(&scaled_digits(&images)?)?;
    let logits = network.logits(&features)?;
    let mut alive = 0;
    for i in 0..3 {
        let image = images.get(i)?.flatten_all()?.to_vec1::<u8>()?;
        let got = [values(&features.get(i)?), values(&logits.get(i)?)].concat();
        let want = Plain(&store).activations(&image);
        alive += want[..TINY.features].iter().filter(|v| **v > 0.0).count();
        for (got, want) in got.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got}, expected {want}");
        }
    }
    assert!(alive > 3, "hardly a feature is positive");
    Ok(())
}

#[test]
fn a_saved_network_comes_back_rounded_with_the_digest_of_its_file() -> Result<()> {
    let (store, _) = store(&TINY);
    let dir = saved(&TINY);
    let loaded = load(dir.path())?;
    // The same rounding by hand.
    for (_, var) in store.all() {
        var.set(&var.as_detached_tensor().to_dtype(DType::F16)?.to_dtype(DType::F32)?)?;
    }
    let network = DigitNetwork::new(&TINY, store.frozen())?;
    let images = images(4, 1, 28);
    let found = loaded.activations(&images)?;
    let features = network.features(&scaled_digits(&images)?)?;
    assert_eq!(values(&found.features), values(&features));
    assert_eq!(values(&found.logits), values(&network.logits(&features)?));
    assert_eq!((loaded.dim(), loaded.classes(), *loaded.config()), (5, 4, TINY));
    assert!(!found.features.track_op() && !found.logits.track_op());
    let bytes = fs::read(dir.path().join(WEIGHTS_FILE)).unwrap();
    let first = u32::from_be_bytes(Sha256::digest(&bytes)[..4].try_into().unwrap());
    assert_eq!(loaded.id(), format!("mnist-classifier:{first:08x}"));
    // Other weights have another id.
    let mut other = bytes;
    let last = other.len() - 1;
    other[last - 1] ^= 1;
    fs::write(dir.path().join(WEIGHTS_FILE), other).unwrap();
    assert_ne!(load(dir.path())?.id(), loaded.id());
    Ok(())
}

#[test]
fn the_digest_is_that_of_the_standard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abc");
    fs::write(&path, "abc").unwrap();
    // FIPS 180-2, appendix B.1.
    let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest(&path).unwrap(), want);
}

#[test]
fn an_image_has_the_same_bits_in_every_company() -> Result<()> {
    let classifier = load(saved(&DigitConfig::mnist()).path())?;
    let all = images(257, 1, 28);
    let whole = classifier.activations(&all)?;
    for size in [1, 7, 128, 256] {
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for start in (0..257).step_by(size) {
            let found = classifier.activations(&all.narrow(0, start, size.min(257 - start))?)?;
            features.extend(values(&found.features));
            logits.extend(values(&found.logits));
        }
        assert!(features == values(&whole.features), "blocks of {size}");
        assert!(logits == values(&whole.logits), "blocks of {size}");
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_matter() -> Result<()> {
    let classifier = load(saved(&DigitConfig::mnist()).path())?;
    let images = images(40, 1, 28);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| classifier.activations(&images).map(|found| both(&found)))
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn of_32_pixels_the_central_28_count_and_nothing_is_stretched() -> Result<()> {
    let classifier = load(saved(&TINY).path())?;
    let large = images(3, 1, 32);
    let centre = large.narrow(2, 2, 28)?.narrow(3, 2, 28)?;
    let want = both(&classifier.activations(&centre.contiguous()?)?);
    assert_eq!(both(&classifier.activations(&large)?), want);
    // A view of a larger tensor is no trouble either.
    assert_eq!(both(&classifier.activations(&centre)?), want);
    let scaled = scaled_digits(
        &Tensor::new(&[0_u8, 51, 255], &Device::Cpu)?
            .reshape((3, 1, 1, 1))?
            .broadcast_as((3, 1, 28, 28))?,
    )?;
    for (i, want) in [0.0, 0.2, 1.0].into_iter().enumerate() {
        let got = values(&scaled.get(i)?);
        assert!(got.iter().all(|v| (v - want).abs() < 1e-7), "{got:?}");
    }
    Ok(())
}

#[test]
fn images_of_other_shapes_and_types_are_refused() -> Result<()> {
    let classifier = load(saved(&TINY).path())?;
    let refused = |images: &Tensor| match classifier.activations(images) {
        Err(error @ Error::Shape { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    for (n, channels, side) in [(2, 3, 28), (2, 1, 30), (2, 1, 64), (0, 1, 28)] {
        let text = refused(&images(n, channels, side));
        assert!(text.contains("(b, 1, 28, 28)") && text.contains(&side.to_string()), "{text}");
    }
    let rows = images(2, 1, 28).reshape((2, 784))?;
    assert!(refused(&rows).contains("784"));
    let floats = images(2, 1, 28).to_dtype(DType::F32)?;
    assert!(refused(&floats).contains("not bytes"));
    assert!(scaled_digits(&images(1, 1, 30)).is_err());
    let (_, network) = store(&TINY);
    assert!(network.features(&images(2, 1, 32).to_dtype(DType::F32)?).is_err());
    Ok(())
}

/// Says that a digit is the byte in its upper left corner, and of 200 that it might be 3 or 5.
struct Corner(usize);

impl FeatureExtractor for Corner {
    fn id(&self) -> &str {
        "corner"
    }

    fn dim(&self) -> usize {
        1
    }

    fn classes(&self) -> usize {
        self.0
    }

    fn preprocessing(&self) -> &'static str {
        "none"
    }

    fn activations(&self, images: &Tensor) -> Result<Activations> {
        let n = images.dims()[0];
        let corner = images.flatten(1, 3)?.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<u8>()?;
        let said = |digit: u8, class: u8| match digit {
            200 => class == 3 || class == 5,
            digit => class == digit,
        };
        let logits: Vec<f32> = corner
            .iter()
            .flat_map(|digit| (0..self.0 as u8).map(|class| f32::from(said(*digit, class))))
            .collect();
        let logits = Tensor::from_vec(logits, (n, self.0), &Device::Cpu)?;
        Ok(Activations { features: Tensor::zeros((n, 1), DType::F32, &Device::Cpu)?, logits })
    }
}

#[test]
fn the_red_digit_is_the_hundreds_and_ties_go_to_the_first_class() -> Result<()> {
    for side in [28, 32] {
        let digits = [[7_u8, 0, 9], [0, 0, 1], [9, 9, 9], [200, 1, 200]].concat();
        let corners = Tensor::from_vec(digits, (4, 3, 1, 1), &Device::Cpu)?;
        let stacked = corners.broadcast_as((4, 3, side, side))?;
        assert_eq!(stacked_digits(&Corner(10), &stacked)?, [709, 1, 999, 313]);
    }
    for (n, channels, side) in [(2, 1, 28), (2, 3, 30), (0, 3, 28)] {
        let error = stacked_digits(&Corner(10), &images(n, channels, side)).unwrap_err();
        assert!(error.to_string().contains("(b, 3, 28, 28)"), "{error}");
    }
    let error = stacked_digits(&Corner(11), &images(1, 3, 28)).unwrap_err();
    assert!(error.to_string().contains("this one 11"), "{error}");
    Ok(())
}

#[test]
fn channels_are_classified_one_by_one() -> Result<()> {
    let config = DigitConfig { classes: 10, ..TINY };
    let classifier = load(saved(&config).path())?;
    let stacked = images(5, 3, 28);
    let found = stacked_digits(&classifier, &stacked)?;
    for (i, cell) in found.into_iter().enumerate() {
        let mut want = 0;
        for channel in 0..3 {
            let one = stacked.narrow(0, i, 1)?.narrow(1, channel, 1)?.contiguous()?;
            let class = classifier.activations(&one)?.logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
            want = 10 * want + class[0] as usize;
        }
        assert_eq!(cell, want);
    }
    Ok(())
}

#[test]
fn weights_that_f16_cannot_hold_are_not_saved() -> Result<()> {
    let (store, _) = store(&TINY);
    let var = store.get("head.bias").unwrap();
    var.set(&Tensor::new(&[0.0_f32, 1e6, 0.0, 0.0], &Device::Cpu)?)?;
    let dir = tempfile::tempdir().unwrap();
    let error = save_digits(dir.path(), &TINY, &store).unwrap_err().to_string();
    assert!(error.contains("head.bias") && error.contains("not finite"), "{error}");
    assert!(!dir.path().join(CONFIG_FILE).exists());
    // Nor is a store of another network.
    let other = DigitConfig { features: 6, ..TINY };
    let error = save_digits(dir.path(), &other, &store).unwrap_err().to_string();
    assert!(error.contains("features.weight") && error.contains("misshapen"), "{error}");
    Ok(())
}

#[test]
fn directories_that_are_no_digit_network_are_refused_by_name() -> Result<()> {
    let dir = saved(&TINY);
    let (config, weights) = (dir.path().join(CONFIG_FILE), dir.path().join(WEIGHTS_FILE));
    let (text, bytes) = (fs::read_to_string(&config).unwrap(), fs::read(&weights).unwrap());
    let refused = |parts: &[&str]| {
        let error = load(dir.path()).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    };
    for (from, to, parts) in [
        ("digit-classifier", "infusion", &["config.json", "method", "infusion"][..]),
        ("\"format_version\": 1", "\"format_version\": 2", &["config.json", "newer"]),
        ("\"features\": 5", "\"features\": 0", &["features", "0 is not from 1 to 4096"]),
        ("\"features\": 5", "\"features\": 4294967296", &["features", "4294967296 is not"]),
        ("\"features\": 5", "\"features\": -5", &["config.json", "features"]),
        ("\"features\": 5", "\"features\": 5, \"depth\": 4", &["config.json", "depth"]),
        ("\"classes\": 4", "\"classes\": 1", &["classes", "1 is not from 2"]),
        ("\"classes\": 4", "\"classes\": 10", &["model.safetensors", "head.weight", "head.bias"]),
        ("      2,", "      4096,", &["model.safetensors", "convolutions.0.weight", "4096"]),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&config, text.replacen(from, to, 1)).unwrap();
        refused(parts);
    }
    fs::write(&config, &text).unwrap();
    for bad in [&b""[..], b"not a tensor", &bytes[..20], &bytes[..bytes.len() - 1]] {
        fs::write(&weights, bad).unwrap();
        refused(&["model.safetensors"]);
    }
    fs::remove_file(&weights).unwrap();
    refused(&["model.safetensors"]);
    fs::write(&weights, &bytes).unwrap();
    // Tensors missing, extra, misshapen, not finite.
    let whole = load_tensors(&weights, &Device::Cpu)?;
    let changed = |edit: &dyn Fn(&mut BTreeMap<String, Tensor>)| -> Result<()> {
        let mut tensors = whole.clone();
        edit(&mut tensors);
        save_tensors(&weights, &tensors.into_iter().collect::<Vec<_>>(), None)
    };
    let zeros = |n: usize| Tensor::zeros(n, DType::F16, &Device::Cpu).unwrap();
    changed(&|tensors| {
        tensors.remove("features.bias");
        tensors.insert("head.scale".into(), zeros(4));
        tensors.insert("head.bias".into(), zeros(5));
    })?;
    refused(&["missing `features.bias`", "extra `head.scale`", "misshapen `head.bias`"]);
    changed(&|tensors| {
        let nan = zeros(4).affine(1.0, f64::NAN).unwrap();
        tensors.insert("head.bias".into(), nan);
    })?;
    refused(&["model.safetensors", "head.bias", "not finite"]);
    fs::write(&weights, &bytes).unwrap();
    load(dir.path())?;
    fs::remove_file(&config).unwrap();
    refused(&["config.json", "not a model directory"]);
    assert!(load(&dir.path().join("gone")).is_err());
    Ok(())
}

#[test]
fn a_classifier_crosses_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<DigitClassifier>();
    crosses::<DigitNetwork>();
}
