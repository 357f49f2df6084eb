//! Names, shapes and numbers of parameters, without a parameter.

use std::collections::BTreeMap;

use chains_core::Result;
use vaebm::{
    NvaeConfig,
    nvae::{TensorShapes, tensor_shapes},
};

fn running(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// Scalars that are trained, tensors that are trained, tensors of batch norms with their counters, and
/// kernels that the published files hold twice.
fn counts(shapes: &TensorShapes) -> [usize; 4] {
    let trained: Vec<_> = shapes.iter().filter(|(name, _)| !running(name)).collect();
    let scalars = trained.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let norms = shapes.keys().filter(|name| name.ends_with(".running_mean")).count();
    let norm_of = |name: &str| name.replace(".weight", ".log_weight_norm");
    let plain = trained.iter().filter(|(name, shape)| {
        name.ends_with(".weight") && shape.len() == 4 && !shapes.contains_key(&norm_of(name))
    });
    [scalars, trained.len(), 3 * norms, plain.count()]
}

#[test]
fn every_configuration_has_the_published_numbers_of_parameters_and_entries() -> Result<()> {
    for (config, want) in [
        (NvaeConfig::cifar10(), [130_744_004, 2566, 1092, 180]),
        (NvaeConfig::cifar10_small(), [87_188_164, 1726, 732, 120]),
        (NvaeConfig::celeba64(), [65_005_372, 1392, 588, 96]),
        (NvaeConfig::celeba_hq256(), [365_372_032, 2178, 804, 132]),
        (NvaeConfig::nvae_mnist(), [33_363_134, 1269, 642, 105]),
        (NvaeConfig::small_mnist(), [1_876_824, 407, 168, 27]),
    ] {
        assert_eq!(counts(&tensor_shapes(&config)?), want, "{config:?}");
    }
    for (config, want) in [
        (NvaeConfig::nvae_cifar10(), 130_852_480),
        (NvaeConfig::nvae_celeba64(), 153_281_364),
        (NvaeConfig::nvae_celeba_hq256(), 330_798_664),
        (NvaeConfig::nano(), 97_800),
        (NvaeConfig::extra_small(), 478_064),
        (NvaeConfig::small_stacked_mnist(), 1_877_264),
    ] {
        assert_eq!(counts(&tensor_shapes(&config)?)[0], want, "{config:?}");
    }
    Ok(())
}

#[test]
fn every_configuration_has_the_published_numbers_of_layers() -> Result<()> {
    for (config, convolutions, norms) in [
        (NvaeConfig::cifar10(), 610, 364),
        (NvaeConfig::celeba64(), 330, 196),
        (NvaeConfig::celeba_hq256(), 570, 268),
        (NvaeConfig::small_mnist(), 92, 56),
    ] {
        let shapes = tensor_shapes(&config)?;
        let kernels =
            shapes.iter().filter(|(name, shape)| name.ends_with(".weight") && shape.len() == 4);
        assert_eq!(kernels.count(), convolutions, "{config:?}");
        assert_eq!(counts(&shapes)[2], 3 * norms, "{config:?}");
    }
    Ok(())
}

/// The table of names of the published backbone of CIFAR-10, typed from its description.
#[derive(Default)]
struct Table(TensorShapes);

impl Table {
    fn put(&mut self, name: String, shape: &[usize]) {
        assert!(self.0.insert(name.clone(), shape.to_vec()).is_none(), "{name} twice");
    }

    /// A weight-normalised convolution.
    fn w(&mut self, name: &str, shape: [usize; 4], bias: bool) {
        self.put(format!("{name}.weight"), &shape);
        self.put(format!("{name}.log_weight_norm"), &[shape[0], 1, 1, 1]);
        if bias {
            self.put(format!("{name}.bias"), &shape[..1]);
        }
    }

    fn bn(&mut self, name: &str, channels: usize) {
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            self.put(format!("{name}.{leaf}"), &[channels]);
        }
    }

    fn se(&mut self, cell: &str, channels: usize, hidden: usize) {
        self.put(format!("{cell}.se.se.0.weight"), &[hidden, channels]);
        self.put(format!("{cell}.se.se.0.bias"), &[hidden]);
        self.put(format!("{cell}.se.se.2.weight"), &[channels, hidden]);
        self.put(format!("{cell}.se.se.2.bias"), &[channels]);
    }

    /// A cell of the encoder.
    fn dense(&mut self, cell: &str, input: usize, output: usize, hidden: usize) {
        self.bn(&format!("{cell}._ops.0.bn_act"), input);
        self.w(&format!("{cell}._ops.0.conv_0"), [output, input, 3, 3], true);
        self.bn(&format!("{cell}._ops.1.bn_act"), output);
        self.w(&format!("{cell}._ops.1.conv_0"), [output, output, 3, 3], true);
        self.se(cell, output, hidden);
    }

    /// A cell of the decoder, its names beginning at `first`.
    fn inverted(&mut self, cell: &str, first: usize, sizes: [usize; 3], hidden: usize) {
        let [input, wide, output] = sizes;
        let at = |i: usize| format!("{cell}._ops.0.conv.{}", first + i);
        self.bn(&format!("{}.bn", at(0)), input);
        self.put(format!("{}.conv.0.weight", at(1)), &[wide, input, 1, 1]);
        self.bn(&format!("{}.conv.1", at(1)), wide);
        self.put(format!("{}.conv.0.weight", at(2)), &[wide, 1, 5, 5]);
        self.bn(&format!("{}.conv.1", at(2)), wide);
        self.put(format!("{}.weight", at(3)), &[output, wide, 1, 1]);
        self.bn(&format!("{}.bn", at(4)), output);
        self.se(cell, output, hidden);
    }
}

fn cifar10() -> BTreeMap<String, Vec<usize>> {
    let mut t = Table::default();
    t.put("prior_ftr0".into(), &[256, 16, 16]);
    t.w("stem", [128, 3, 3, 3], true);
    t.dense("pre_process.0", 128, 128, 8);
    t.dense("pre_process.1", 128, 256, 16);
    for i in 1..=4 {
        t.w(&format!("pre_process.1.skip.conv_{i}"), [64, 128, 1, 1], true);
    }
    for g in 0..30 {
        t.dense(&format!("enc_tower.{}", 3 * g), 256, 256, 16);
        t.dense(&format!("enc_tower.{}", 3 * g + 1), 256, 256, 16);
        if g < 29 {
            t.w(&format!("enc_tower.{}.conv", 3 * g + 2), [256, 256, 1, 1], true);
            t.w(&format!("dec_sampler.{g}.1"), [40, 256, 1, 1], true);
        }
        t.w(&format!("enc_sampler.{g}"), [40, 256, 3, 3], true);
        for cell in ["cell1", "cell2"] {
            t.w(&format!("nf_cells.{g}.{cell}.conv.convz.0"), [120, 20, 3, 3], false);
            t.w(&format!("nf_cells.{g}.{cell}.conv.convz.2"), [120, 1, 5, 5], false);
            t.w(&format!("nf_cells.{g}.{cell}.mu.conv_0"), [20, 120, 1, 1], true);
        }
    }
    t.w("enc0.1", [256, 256, 1, 1], true);
    t.w("dec_tower.0.conv", [256, 276, 1, 1], true);
    for k in 1..30 {
        t.inverted(&format!("dec_tower.{}", 3 * k - 2), 0, [256, 1536, 256], 16);
        t.inverted(&format!("dec_tower.{}", 3 * k - 1), 0, [256, 1536, 256], 16);
        t.w(&format!("dec_tower.{}.conv", 3 * k), [256, 276, 1, 1], true);
    }
    t.inverted("post_process.0", 1, [256, 768, 128], 8);
    t.w("post_process.0.skip.1", [128, 256, 1, 1], false);
    t.inverted("post_process.1", 0, [128, 384, 128], 8);
    t.w("image_conditional.1", [6, 128, 3, 3], true);
    t.0
}

#[test]
fn the_backbone_of_cifar10_has_the_published_table_of_names() -> Result<()> {
    let (found, want) = (tensor_shapes(&NvaeConfig::cifar10())?, cifar10());
    for (name, shape) in &want {
        assert_eq!(found.get(name), Some(shape), "{name}");
    }
    assert_eq!(found.len(), want.len());
    Ok(())
}

#[test]
fn towers_of_several_scales_have_the_published_layout() -> Result<()> {
    let shapes = tensor_shapes(&NvaeConfig::celeba64())?;
    let steps = |tower: &str| {
        let of = |name: &String| name.strip_prefix(tower)?.split('.').next()?.parse().ok();
        shapes.keys().filter_map(of).max().map(|last: usize| last + 1)
    };
    assert_eq!([steps("enc_tower."), steps("dec_tower.")], [Some(46), Some(45)]);
    for (name, shape) in [
        ("prior_ftr0", vec![384, 8, 8]),
        ("enc_tower.15.skip.conv_1.weight", vec![48, 96, 1, 1]),
        ("enc_tower.31.skip.conv_4.weight", vec![96, 192, 1, 1]),
        ("enc_tower.45._ops.1.conv_0.weight", vec![384, 384, 3, 3]),
        ("dec_tower.0.conv.weight", vec![384, 404, 1, 1]),
        ("dec_tower.13.skip.1.weight", vec![192, 384, 1, 1]),
        ("dec_tower.29.skip.1.weight", vec![96, 192, 1, 1]),
        ("dec_tower.44.conv.weight", vec![96, 116, 1, 1]),
        ("image_conditional.1.weight", vec![6, 48, 3, 3]),
    ] {
        assert_eq!(shapes.get(name), Some(&shape), "{name}");
    }
    let shapes = tensor_shapes(&NvaeConfig::small_mnist())?;
    for (k, width) in [128, 64, 64, 32, 32].into_iter().enumerate() {
        assert_eq!(shapes[&format!("dec_sampler.{k}.1.weight")], [16, width, 1, 1]);
    }
    for (k, width) in [128, 128, 64, 64, 32, 32].into_iter().enumerate() {
        assert_eq!(shapes[&format!("enc_sampler.{k}.weight")], [16, width, 3, 3]);
    }
    let only = NvaeConfig { groups: vec![1], ..NvaeConfig::nano() };
    let shapes = tensor_shapes(&only)?;
    assert_eq!(shapes["stem_decoder.weight"], [32, 4, 1, 1]);
    assert!(!shapes.keys().any(|name| name.contains("tower") || name.contains("dec_sampler")));
    Ok(())
}
