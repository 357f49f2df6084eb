use std::{
    fs,
    path::{Path, PathBuf},
};

use chains_core::checkpoint::{load_tensors, save_tensors};
use sha2::{Digest, Sha256};

use super::{layout::Layout, *};

/// The generator of the reference program.
struct Lcg(u32);

impl Lcg {
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(self.0) + 0.5) / 4_294_967_296.0
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("fixtures")
}

/// The weights of the reference program.
fn weights() -> BTreeMap<String, Tensor> {
    let mut all = tensors();
    all.sort();
    let tensor = |(at, (name, shape)): (usize, (String, Vec<usize>))| {
        let mut lcg = Lcg(at as u32 + 1);
        let inputs: usize = shape[1..].iter().product();
        let value = |u: f64| match name.as_str() {
            name if name.ends_with("conv.weight") => (2.0 * u - 1.0) * (6.0 / inputs as f64).sqrt(),
            "fc.weight" => (2.0 * u - 1.0) * (3.0 / inputs as f64).sqrt(),
            name if name.ends_with("bn.weight") => 0.8 + 0.4 * u,
            name if name.ends_with("running_var") => 0.5 + u,
            _ => 0.2 * (u - 0.5),
        };
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| value(lcg.draw()) as f32).collect();
        (name.clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    all.into_iter().enumerate().map(tensor).collect()
}

fn images(seed: u32, shape: [usize; 4]) -> Tensor {
    let mut lcg = Lcg(seed);
    let count = shape.iter().product();
    let bytes: Vec<u8> = (0..count).map(|_| (256.0 * lcg.draw()) as u8).collect();
    Tensor::from_vec(bytes, &shape[..], &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// `|a - b| / |b|` over all values.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (difference / b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>()).sqrt()
}

#[test]
fn every_stage_agrees_with_the_reference_network() -> Result<()> {
    let reference = load_tensors(&fixtures().join("inception.safetensors"), &Device::Cpu)?;
    let weights = weights();
    let images = images(3, [2, 3, 32, 40]);
    let network = Inception::new(&weights, "test".into(), InceptionOptions::default())?;
    let x = Resize::TensorFlow1.input(&images, INCEPTION_SIDE)?;
    let check = |name: &str, found: &Tensor| {
        let error = relative(&flat(found), &flat(&reference[name]));
        assert!(error < 1e-4, "{name}: {error:e}");
    };
    let mut seen = 0;
    let last = network.forward(&x, |stage, x| {
        let (_, _, h, w) = x.dims4()?;
        check(&format!("{stage}.mean"), &mean_pixel(x)?);
        check(&format!("{stage}.pixel"), &x.narrow(2, h / 2, 1)?.narrow(3, w / 3, 1)?);
        seen += 1;
        Ok(())
    })?;
    assert_eq!(seen, 18);
    check("2048", &last);
    // As an extractor, from bytes, at every level.
    for (level, name) in [
        (InceptionLevel::First, "64"),
        (InceptionLevel::Second, "192"),
        (InceptionLevel::Third, "768"),
        (InceptionLevel::Last, "2048"),
    ] {
        let biased_logits = level == InceptionLevel::First;
        let options = InceptionOptions { level, biased_logits, ..InceptionOptions::default() };
        let network = Inception { options, ..network.clone() };
        let found = network.activations(&images)?;
        check(name, &found.features);
        assert_eq!(found.features.dims(), [2, network.dim()]);
        check(if biased_logits { "logits" } else { "logits_unbiased" }, &found.logits);
    }
    Ok(())
}

#[test]
fn resizing_has_the_bits_of_the_original_rule() -> Result<()> {
    let text = fs::read(fixtures().join("resize.json")).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let size = |name: &str| row[name].as_u64().unwrap() as usize;
        let images = images(7, [1, 3, size("height"), size("width")]);
        let original = flat(&Resize::TensorFlow1.resized(&images, INCEPTION_SIDE)?);
        let bytes: Vec<u8> = original.iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, row["tensorflow"], "{row}");
        for (rule, name) in [(Resize::HalfPixel, "half_pixel"), (Resize::Corners, "corners")] {
            let values = flat(&rule.resized(&images, INCEPTION_SIDE)?);
            let n = values.len() as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
            for (value, name) in
                [(mean, format!("{name}_mean")), (square, format!("{name}_square"))]
            {
                let expected = row[&name].as_f64().unwrap();
                assert!((value - expected).abs() < 1e-5 * expected, "{name}: {value} {expected}");
            }
        }
    }
    Ok(())
}

/// A part of the network by its definition, in f64: `x` is `(c, h, w)` in rows.
struct Map {
    values: Vec<f64>,
    sides: [usize; 3],
}

impl Map {
    fn at(&self, c: usize, i: isize, j: isize) -> Option<f64> {
        let [_, h, w] = self.sides;
        let inside = (0..h as isize).contains(&i) && (0..w as isize).contains(&j);
        inside.then(|| self.values[(c * h + i as usize) * w + j as usize])
    }

    fn build(channels: usize, h: usize, w: usize, f: impl Fn(usize, usize, usize) -> f64) -> Self {
        let places =
            (0..channels).flat_map(|c| (0..h).flat_map(move |i| (0..w).map(move |j| (c, i, j))));
        Self { values: places.map(|(c, i, j)| f(c, i, j)).collect(), sides: [channels, h, w] }
    }

    /// The pixels of a 3x3 window that lie in the image.
    fn window(&self, c: usize, i: usize, j: usize, [stride, padding]: [usize; 2]) -> Vec<f64> {
        let at = |i: usize, offset: isize| (i * stride) as isize + offset - padding as isize;
        let offsets = (0..3).flat_map(|u| (0..3).map(move |v| (u, v)));
        offsets.filter_map(|(u, v)| self.at(c, at(i, u), at(j, v))).collect()
    }
}

fn naive(stage: &str, layout: &Layout, weights: &BTreeMap<String, Tensor>, x: &Map) -> Map {
    let [c, h, w] = x.sides;
    match layout {
        Layout::Unit(shape) => {
            let unit = shape.path(stage);
            let leaf = |leaf: &str| flat(&weights[&format!("{unit}.{leaf}")]);
            let (weight, gain, shift) = (leaf("conv.weight"), leaf("bn.weight"), leaf("bn.bias"));
            let (mean, variance) = (leaf("bn.running_mean"), leaf("bn.running_var"));
            let ([kh, kw], [ph, pw], stride) = (shape.kernel, shape.padding, shape.stride);
            let side = |n: usize, k: usize, p: usize| (n + 2 * p - k) / stride + 1;
            Map::build(shape.channels[1], side(h, kh, ph), side(w, kw, pw), |o, i, j| {
                let mut sum = 0.0;
                for input in 0..c {
                    for u in 0..kh {
                        for v in 0..kw {
                            let row = (i * stride + u) as isize - ph as isize;
                            let column = (j * stride + v) as isize - pw as isize;
                            let weight = weight[((o * c + input) * kh + u) * kw + v];
                            sum += f64::from(weight) * x.at(input, row, column).unwrap_or(0.0);
                        }
                    }
                }
                let scale = f64::from(gain[o]) / (f64::from(variance[o]) + 1e-3).sqrt();
                ((sum - f64::from(mean[o])) * scale + f64::from(shift[o])).max(0.0)
            })
        }
        Layout::Chain(parts) => {
            let start = Map { values: x.values.clone(), sides: x.sides };
            parts.iter().fold(start, |x, part| naive(stage, part, weights, &x))
        }
        Layout::Branches(parts) => {
            let parts: Vec<Map> = parts.iter().map(|part| naive(stage, part, weights, x)).collect();
            let channels = parts.iter().map(|part| part.sides[0]).sum();
            let [_, h, w] = parts[0].sides;
            let values = parts.into_iter().flat_map(|part| part.values).collect();
            Map { values, sides: [channels, h, w] }
        }
        Layout::Max { stride, padding } => {
            let side = |n: usize| (n + 2 * padding - 3) / stride + 1;
            Map::build(c, side(h), side(w), |c, i, j| {
                x.window(c, i, j, [*stride, *padding]).into_iter().fold(f64::MIN, f64::max)
            })
        }
        Layout::Average => Map::build(c, h, w, |c, i, j| {
            let window = x.window(c, i, j, [1, 1]);
            window.iter().sum::<f64>() / window.len() as f64
        }),
    }
}

#[test]
fn blocks_are_those_of_their_definition_with_and_without_folding() -> Result<()> {
    let weights = weights();
    let tensor = |name: &str| Ok(weights[name].clone());
    for (stage, layout) in stages() {
        // One of each kind; the wide ones would take long by the definition.
        let input = match stage {
            "Mixed_5b" => 192,
            "Mixed_6a" => 288,
            "Mixed_6b" | "Mixed_7a" => 768,
            "Mixed_7c" => 2048,
            _ => continue,
        };
        let (h, w) = if stage == "Mixed_7c" { (3, 2) } else { (7, 5) };
        let mut lcg = Lcg(99);
        let values: Vec<f32> =
            (0..input * h * w).map(|_| (2.0 * lcg.draw() - 0.7) as f32).collect();
        let x = Tensor::from_slice(&values, (1, input, h, w), &Device::Cpu)?;
        let map =
            Map { values: values.iter().map(|v| f64::from(*v)).collect(), sides: [input, h, w] };
        let expected = naive(stage, &layout, &weights, &map);
        let expected_values: Vec<f32> = expected.values.iter().map(|v| *v as f32).collect();
        for folded in [true, false] {
            let y = Node::new(stage, &layout, &tensor, folded)?.forward(&x)?;
            assert_eq!(y.dims()[1..], expected.sides, "{stage}");
            let error = relative(&flat(&y), &expected_values);
            assert!(error < 1e-5, "{stage}, folded {folded}: {error:e}");
        }
    }
    Ok(())
}

#[test]
fn the_size_of_a_batch_does_not_change_a_bit_of_the_features() -> Result<()> {
    let network = Inception::new(&weights(), "test".into(), InceptionOptions::default())?;
    // More than pass the first stages at a time.
    let images = images(11, [FEW + 2, 1, 8, 8]);
    let all = network.activations(&images)?;
    for (first, count) in [(0, 2), (FEW + 1, 1)] {
        let some = network.activations(&images.narrow(0, first, count)?)?;
        for (all, some) in [(&all.features, &some.features), (&all.logits, &some.logits)] {
            assert_eq!(flat(&all.narrow(0, first, count)?), flat(some), "{count} from {first} on");
        }
    }
    Ok(())
}

#[test]
fn a_converted_directory_is_opened_by_its_digest() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("weights.safetensors");
    let mut weights: Vec<(String, Tensor)> = weights().into_iter().collect();
    let counter = Tensor::zeros((), DType::I64, &Device::Cpu)?;
    weights.push(("Conv2d_1a_3x3.bn.num_batches_tracked".into(), counter));
    save_tensors(&source, &weights, None)?;
    let to = dir.path().join("inception");
    let text = |result: Result<Inception>| result.map(|_| ()).unwrap_err().to_string();
    let open = || Inception::load(&to, InceptionOptions::default(), &Device::Cpu);
    let message = text(open());
    assert!(message.contains("fetch inception") && message.contains("6726825d.pth"), "{message}");

    let refused = import_inception(&source, &to, false).unwrap_err().to_string();
    assert!(refused.contains("--unverified") && !to.exists(), "{refused}");
    let found = import_inception(&source, &to, true)?;
    let network = open()?;
    assert_eq!(network.id(), format!("inception-2015-12-05:unverified-{}", &found.sha256[..8]));
    assert_eq!((network.dim(), network.classes()), (2048, 1008));
    let genuine = InceptionSource { sha256: "6726825d0af5".into() };
    assert_eq!(genuine.id(), "inception-2015-12-05:6726825d");
    Ok(())
}

#[test]
fn weights_that_do_not_fit_are_listed_and_foreign_bytes_refused() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| read_inception_weights(&path(name)).unwrap_err().to_string();
    let one = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let wrong = [("fc.bias".to_owned(), one.clone()), ("AuxLogits.fc.weight".to_owned(), one)];
    save_tensors(&path("wrong.safetensors"), &wrong, None)?;
    let message = text("wrong.safetensors");
    for part in ["misshapen `fc.bias`", "extra `AuxLogits.fc.weight`", "missing `fc.weight`"] {
        assert!(message.contains(part), "{message}");
    }
    for bytes in [&b""[..], b"PK\x03\x04", b"\x80\x02}q\x00.", &[0xff; 300]] {
        fs::write(path("foreign.pth"), bytes).unwrap();
        assert!(text("foreign.pth").contains("foreign.pth"));
    }
    fs::write(path("weights.bin"), b"").unwrap();
    assert!(text("weights.bin").contains(".pth or .safetensors"));
    assert!(text("absent.pth").contains("absent.pth"));
    Ok(())
}
